"""SegTHOR as published: train/Patient_01/Patient_01.nii.gz with GT.nii.gz; test/Patient_41.nii.gz without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..schema import safe_name
from . import Found, images, pair, source_of, stem

LOOKS_LIKE = "Patient_NN/Patient_NN.nii.gz with GT.nii.gz"
NAMES = {1: "esophagus", 2: "heart", 3: "trachea", 4: "aorta"}


def fits(folder: Path) -> bool:
    return any(_drawn(p) for p in folder.glob("Patient_*")) or any(_drawn(p) for p in folder.glob("train/Patient_*"))


def _drawn(folder: Path) -> bool:
    return folder.is_dir() and any(stem(p) == "GT" for p in images(folder))


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name="segthor", labels_by="an experienced radiotherapist, by hand",
                       protocol="radiotherapy organs at risk",
                       citation="Lambert et al., SegTHOR, IPTA 2020, 10.1109/IPTA50016.2020.9286453")
    for place in sorted([*folder.glob("Patient_*"), *folder.glob("train/Patient_*"), *folder.glob("test/Patient_*")]):
        files = images(place) if place.is_dir() else [place]
        ct = next((p for p in files if stem(p).startswith("Patient_")), None)
        truth = next((p for p in files if stem(p) == "GT"), None)
        if ct is not None:
            yield Found(safe_name(f"segthor_{stem(ct)}"), f"segthor_{stem(ct)}", source, f"{place.name}/{ct.name}",
                        pair(ct, truth, NAMES), None if truth else "unlabelled")
