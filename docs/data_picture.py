"""Makes the picture of docs/data.md from the demo's CT and its labels: ``python docs/data_picture.py docs/pictures``."""
from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import nibabel
import numpy as np
from ctreasoner.dataset.build import build
from ctreasoner.dataset.show import label_row, overview
from ctreasoner.dataset.store import DataSet
from ctreasoner.demo import demo_ct, demo_labels
from ctreasoner.report.sheet import contact_sheet

NUMBERS = {"esophagus": 15, "trachea": 16, "heart": 51, "aorta": 52}    # of the package's own table
WIDTH = 700


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "demo"
        for name in ("images", "labels"):
            (folder / name).mkdir(parents=True)
        about = {"name": "demo", "licence": "CC BY 3.0", "labels_by": "TotalSegmentator v2", "labels_kind": "expert"}
        (folder / "source.json").write_text(json.dumps(about | {"labels": NUMBERS}))
        (folder / "images" / "demo.nii.gz").symlink_to(demo_ct())
        stored = nibabel.load(demo_labels())
        values = np.asarray(stored.dataobj)
        labels = np.where(np.isin(values, list(NUMBERS.values())), values, 0).astype(np.uint8)
        nibabel.save(nibabel.Nifti1Image(labels, stored.affine), folder / "labels" / "demo.nii.gz")
        build([folder], Path(scratch) / "out")
        data = DataSet.open(Path(scratch) / "out")
        case = data.change_case(data.case("demo"), split="val")      # this patient is never trained on
        volume, labels = data.volume(case), data.labels("demo")
        rows = [overview(data, case, volume, labels), label_row(data, case, volume, next(x for x in labels if x.key == "aorta"))]
        sheet = contact_sheet(rows, most_columns=3)
        sheet = sheet.resize((WIDTH, round(sheet.height * WIDTH / sheet.width)))
        sheet.quantize(128).save(out / "data-sheet.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
