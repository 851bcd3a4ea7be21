"""TotalSegmentator's data set and its program's output: s0001/ct.nii.gz beside s0001/segmentations/<class>.nii.gz; meta.csv.

A class is covered where its file lies there; an empty file means that the class was looked for and is absent.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctreasoner.errors import InputError

from ..schema import safe_name
from . import Drawn, Found, Scan, images, source_of, stem

LOOKS_LIKE = "CASE/ct.nii.gz with CASE/segmentations/*.nii.gz"


def fits(folder: Path) -> bool:
    return any((case / "segmentations").is_dir() for case in [folder, *folder.iterdir()] if case.is_dir())


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name="totalsegmentator", labels_by="TotalSegmentator's annotators, nnU-Net in the loop",
                       protocol="TotalSegmentator classes", citation="Wasserthal et al., Radiology: AI 2023, 10.1148/ryai.230024")
    splits = _splits(folder / "meta.csv")
    places = [folder] if (folder / "segmentations").is_dir() else sorted(p for p in folder.iterdir() if p.is_dir())
    for case in places:
        ct = next((p for p in images(case) if stem(p) == "ct"), None)
        if ct is None or not (case / "segmentations").is_dir():
            continue
        published = splits.get(case.name)
        yield Found(safe_name(case.name), f"{source.name}_{case.name}", source, f"{case.name}/{ct.name}",
                    lambda case=case, ct=ct: _read(case, ct), published, published)


def _splits(path: Path) -> dict[str, str]:
    """Folder -> train, val or test; columns image_id and split, separated by semicolons."""
    if not path.is_file():
        return {}
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return {row["image_id"]: row["split"] for row in rows if row.get("split") in ("train", "val", "test") and row.get("image_id")}


def _read(case: Path, ct: Path) -> Scan:
    from ctreasoner.io import read_volume

    files = images(case / "segmentations")
    return Scan(read_volume(ct), _masks(case, files), tuple(stem(p) for p in files))


def _masks(case: Path, files: list[Path]) -> Iterator[Drawn]:
    from ..grids import read_labels

    some = False
    for path in files:
        stored, affine = read_labels(path)
        if stored.max() > 1:
            raise InputError(f"{case.name}/{path.name} holds the label {int(stored.max())}; a mask holds 0 and 1.",
                             code="CTR-DATA-023")
        if np.any(stored):
            some = True
        yield Drawn(stem(path), stored > 0, affine, f"{case.name}/{path.name}")
    if not some:
        raise InputError(f"Every mask of {case.name} is empty: nothing is labelled.", code="CTR-DATA-024",
                         hint="Leave the case away if nobody labelled it.")
