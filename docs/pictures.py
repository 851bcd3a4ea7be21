"""Makes the README's pictures from the report of a demo: ``python docs/pictures.py demo/report.html docs/pictures``."""
from __future__ import annotations

import base64
import io
import re
import sys
from pathlib import Path

from PIL import Image

SHEETS = {      # file: words that a picture's description must begin with, in order, for the object in question
    "aorta": ("coronal picture of look 0", "coronal picture of look 1", "coronal picture with the mask",
              "oblique picture with the mask"),
    "nodule": ("axial picture of look 0", "axial picture of look 1", "axial picture with the mask",
               "coronal picture with the mask"),
}
GAP = 8
WIDTH = 1200             # px of a sheet, as wide as a page shows it


def pictures(report: Path) -> list[tuple[str, Image.Image]]:
    """(description, picture) of every picture of a report, in order."""
    found = re.findall(r'<img[^>]*?alt="([^"]*)"[^>]*?src="data:image/\w+;base64,([^"]+)"', report.read_text(encoding="utf-8"))
    return [(words, Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for words, data in found]


def sheet(all_pictures: list[tuple[str, Image.Image]], subject: str, beginnings: tuple[str, ...]) -> Image.Image:
    """One row: of the pictures from the subject's first on, the first that fit."""
    start = next(n for n, (words, _) in enumerate(all_pictures) if subject in words)
    own = all_pictures[start:start + 12]
    chosen = [next(picture for words, picture in own if words.startswith(beginning)) for beginning in beginnings]
    width = sum(p.width for p in chosen) + GAP * (len(chosen) - 1)
    out = Image.new("RGB", (width, max(p.height for p in chosen)), "white")
    for n, picture in enumerate(chosen):
        out.paste(picture, (n * (picture.width + GAP), 0))
    return out


if __name__ == "__main__":
    report, folder = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for subject, beginnings in SHEETS.items():
        picture = sheet(pictures(report), subject, beginnings)
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        picture.quantize(96).save(folder / f"{subject}.png", optimize=True)
