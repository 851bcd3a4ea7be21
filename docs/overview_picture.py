"""Makes the picture of docs/batch.md: ``python docs/overview_picture.py docs/pictures``.

A batch over pieces of the demo's CT, and its overview as a browser shows it (Chromium: apt-get install chromium).
"""
from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from ctreasoner.batch.cli import make_job
from ctreasoner.batch.overview import PAGE, write_overview
from ctreasoner.batch.sources import find
from ctreasoner.batch.table import write_table
from ctreasoner.batch.worker import Worker
from ctreasoner.demo import demo_ct
from PIL import Image

NAME = "batch-overview.png"
PIECES = [(first, last) for first in (0, 6, 12) for last in (133, 127, 121, 115)] + [(0, 80)]      # slices, from the feet
SIZE, WIDTH = (1100, 1500), 760


def main(out: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("The picture of the overview needs Chromium: apt-get install chromium.")
    whole = nibabel.load(demo_ct())
    voxels = np.asarray(whole.dataobj).astype(np.int16)
    with tempfile.TemporaryDirectory() as scratch:
        cts = Path(scratch) / "cts"
        cts.mkdir()
        for first, last in PIECES:
            affine = whole.affine.copy()
            affine[:3, 3] = (whole.affine @ [0, 0, first, 1])[:3]
            nibabel.save(nibabel.Nifti1Image(voxels[:, :, first:last], affine), cts / f"slices-{first:03d}-{last:03d}.nii.gz")
        (cts / "cut-off.nii.gz").write_bytes((cts / "slices-000-080.nii.gz").read_bytes()[:100_000])
        job = make_job(Path(scratch) / "out", ["Segment the aorta"])
        worker, sources = Worker(job), find(str(cts))
        outcomes = {source.key: worker.outcome(source) for source in sources}
        failed = {key: outcome for key, outcome in outcomes.items() if outcome["state"] == "failed"}
        write_table(job, sources, {key: outcome["unit"] for key, outcome in outcomes.items() if key not in failed}, failed)
        write_overview(job)
        shot = Path(scratch) / "shot.png"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={SIZE[0]},{SIZE[1]}")
        subprocess.run([browser, *options, f"--screenshot={shot}", str(job.out / PAGE)], check=True, capture_output=True)
        picture = Image.open(shot).convert("RGB")
        picture = picture.resize((WIDTH, round(picture.height * WIDTH / picture.width)), Image.Resampling.LANCZOS)
        picture.quantize(128).save(out / NAME, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
