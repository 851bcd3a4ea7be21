"""DICOM: every folder with one CT series and its segmentation (SEG) or contours (RTSTRUCT). What they name is what they cover.

Both are read as an import reads them (``dicom.reimport``): another patient, frame of reference or grid is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..schema import By, Source, safe_name
from . import Drawn, Found, Scan, source_of

LOOKS_LIKE = "a folder of DICOM files for each case, CT with SEG or RTSTRUCT"


def fits(folder: Path) -> bool:
    return any(_has_mark(path) for place in _places(folder) for path in _files(place)[:3])


def _places(folder: Path) -> list[Path]:
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    return [folder] if any(_has_mark(p) for p in folder.iterdir() if p.is_file()) else inside


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _has_mark(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name=folder.name)
    for place in _places(folder):
        yield Found(safe_name(place.name), f"{source.name}_{place.name}", source, place.name,
                    lambda place=place: _read(place, source))


def _read(place: Path, source: Source) -> Scan:
    from ctreasoner.dicom import read_series
    from ctreasoner.dicom.derived import derived_headers
    from ctreasoner.dicom.reimport import read_findings

    series = read_series(place)
    volume = series.volume
    items, notes = read_findings(place, volume, series.sources or derived_headers(volume, series.template))
    found = []
    for item in items:
        mask = np.zeros(volume.shape, bool)
        mask[tuple(slice(f, f + n) for f, n in zip(item.first_voxel, item.mask.shape, strict=True))] = item.mask
        kind = "person" if item.algorithm == "MANUAL" else "expert"
        by = By(kind=kind, name=source.labels_by or source.name, licence=source.licence)
        found.append(Drawn(item.display if item.key == "thing" else item.key, mask, volume.affine, place.name, by=by,
                           words=(item.text,) if item.text else ()))
    return Scan(volume, iter(found), tuple(drawn.name for drawn in found), notes=(*series.notes, *notes))
