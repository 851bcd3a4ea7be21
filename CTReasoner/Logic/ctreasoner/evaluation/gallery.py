"""Answers to look at: drawn at random with a seed from the validation scans and the demo's CT, as picture and text.

Green is the answer, yellow the truth, both on the slices through the middle of the larger of the two. The scans of the thorax and
neck patients may not be passed on: pictures of theirs are for looking; only those whose name says *demo* may be published.
"""
from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from PIL import Image

from ctreasoner.appearance.wording import spoken
from ctreasoner.engine import Engine
from ctreasoner.evaluation.asking import Found, ask
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import Placed, dice
from ctreasoner.events import Text
from ctreasoner.report.panes import Pane
from ctreasoner.report.pictures import Drawing, Outline, draw, fitting_window, png

COUNT, SEED = 10, 20
EDGE_PX, LEAST_MM = 300, 60.0
ANSWER, TRUTH = (94, 224, 130), (255, 214, 64)
WORDS = ("describe the {}", "segment the {} and describe it", "what does the {} look like?")


def drawn(scans: Iterable[Scan], count: int = COUNT, seed: int = SEED) -> Iterator[tuple[Scan, str]]:
    """`count` pairs of scan and object, one object of a scan at most, in the order of the scans."""
    rng = random.Random(seed)
    everyone = list(scans)
    for n in sorted(rng.sample(range(len(everyone)), min(count, len(everyone)))):
        yield everyone[n], rng.choice(everyone[n].present)


def write(engine: Engine, cases: Iterable[tuple[Scan, str]], out: Path, say: Callable[[str], None] = lambda _: None,
          seed: int = SEED) -> Path:
    """gallery.md and one PNG for each case; returns the page."""
    out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    lines = [f"# Answers of {engine.model['name']} ({engine.model['hash']})", "",
             "Green: the answer. Yellow: the truth. Which ones are shown was drawn with a seed, not chosen.", ""]
    for n, (scan, key) in enumerate(cases, 1):
        text = rng.choice(WORDS).format(spoken(engine.vocabulary.display(key)))
        outcome = ask(engine, scan.volume, text, words=True)
        found = outcome.of(key) or Found("", key, state="not asked")
        said = " ".join(e.text for e in outcome.events if isinstance(e, Text)) or outcome.failed or "(nothing)"
        name = f"{n:02d}-{scan.id}-{key}.png"
        (out / name).write_bytes(png(picture(scan, key, found.mask)))
        lines += [f"## {n}. {scan.id}: \"{text}\"", "", f"![{key}]({name})", "", f"> {said}", "",
                  f"{found.state}, {found.looks} looks, Dice {dice(scan.truth(key), found.mask):.2f}", ""]
        say(f"{n}. {scan.id} {key}: {said}")
        engine.forget(scan.volume.identity)
    page = out / "gallery.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    return page


def picture(scan: Scan, key: str, mask: Placed) -> Image.Image:
    """Axial, coronal and sagittal slices with both outlines, side by side."""
    truth = scan.truth(key)
    larger = mask if mask.voxels > truth.voxels else truth
    centre = scan.volume.index_to_world([larger.centroid()])[0]
    size = [(box[:, 1] - box[:, 0]) * scan.volume.spacing for box in (truth.box(), mask.box()) if box is not None]
    extent = max(LEAST_MM, 1.4 * float(max(s.max() for s in size)))
    outlines = [Outline(m.crop, m.first, colour) for m, colour in ((truth, TRUTH), (mask, ANSWER)) if m.voxels]
    window = fitting_window(scan.volume, truth.crop, truth.first)
    sheet = Image.new("RGB", (3 * EDGE_PX, EDGE_PX))
    for n, plane in enumerate(("axial", "coronal", "sagittal")):
        pane = Pane.of(plane, centre, extent, EDGE_PX)
        sheet.paste(draw(scan.volume, pane, Drawing(window=window, outlines=outlines, title=plane)), (n * EDGE_PX, 0))
    return sheet
