"""Any folder: images/NAME.* with labels/NAME.* (or masks/), NIfTI, NRRD or MetaImage; source.json says what the numbers mean.

A .seg.nrrd of 3D Slicer names its segments itself; its segments alone are covered then.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ctreasoner.errors import InputError

from ..schema import safe_name
from . import SOURCE_FILE, Drawn, Found, Scan, images, numbered, pair, source_of, stem

LOOKS_LIKE = "images/ and labels/ with source.json"
FOLDERS = ("labels", "masks")


def fits(folder: Path) -> bool:
    return bool(images(folder / "images")) and any((folder / name).is_dir() for name in FOLDERS)


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name=folder.name)
    names = numbered(about.get("labels", {}), SOURCE_FILE)
    labelled = {stem(p): p for name in FOLDERS for p in images(folder / name)}
    for ct in images(folder / "images"):
        file = labelled.get(stem(ct))
        segments = file is not None and file.name.lower().endswith(".seg.nrrd")
        if file is not None and not segments and not names:
            raise InputError(f"{file.name} holds numbers, and {SOURCE_FILE} has no 'labels' to say what they mean.",
                             code="CTR-DATA-023", hint='Write for example {"licence": "CC BY 4.0", "labels": {"liver": 1}}.')
        read = (lambda ct=ct, file=file: _segments(ct, file)) if segments else pair(ct, file, names)
        yield Found(safe_name(stem(ct)), f"{source.name}_{stem(ct)}", source, ct.name, read, None if file else "unlabelled")


def _segments(ct: Path, file: Path) -> Scan:
    from ctreasoner.io import read_volume

    from ..grids import read_segments

    found = [Drawn(name, mask, affine, file.name) for name, mask, affine in read_segments(file)]
    if not any(drawn.mask.any() for drawn in found):
        raise InputError(f"{file.name} is empty: nothing is labelled in it.", code="CTR-DATA-024")
    return Scan(read_volume(ct), iter(found), tuple(drawn.name for drawn in found))
