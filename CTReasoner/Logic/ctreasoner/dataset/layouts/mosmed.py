"""MosMed+ in the form of LViT: Train_Folder/img, labelcol and Train_text.xlsx, likewise Val and Test. 8-bit slices, no millimetres.

The publisher split slices, not patients: figures on that split are no figures on unseen patients.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctreasoner.errors import InputError
from ctreasoner.geometry import Volume

from ..schema import safe_name
from . import Drawn, Found, Scan, source_of

LOOKS_LIKE = "Train_Folder/img and labelcol with Train_text.xlsx"
PARTS = {"Train": "train", "Val": "val", "Test": "test"}
NAME = "lung infection"
UNKNOWN_SCALE = np.diag([-1.0, -1.0, 1.0, 1.0])      # columns run to the left, rows to the back; one "mm" a pixel


def fits(folder: Path) -> bool:
    return (folder / "Train_Folder" / "img").is_dir() and (folder / "Train_Folder" / "labelcol").is_dir()


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name="mosmed_plus", labels_by="the data set's annotators", protocol="infected areas of the lung, 2D",
                       split_unit="slices",
                       citation="Morozov et al. 2020 (MosMedData); Li et al., LViT, IEEE TMI 2024, arXiv 2206.14718")
    for part, split in PARTS.items():
        place = folder / f"{part}_Folder"
        said = _texts(place / f"{part}_text.xlsx")
        for picture in sorted((place / "img").glob("*.*")) if place.is_dir() else ():
            names = picture.stem, f"mask_{picture.stem}"
            mask = next((p for p in sorted((place / "labelcol").glob(f"*{picture.stem}.*")) if p.stem in names), None)
            if mask is None:
                continue
            words = said.get(mask.name) or said.get(picture.name) or ""
            yield Found(safe_name(f"{part}_{picture.stem}"), f"{source.name}_{re.sub(r'_[0-9]+$', '', picture.stem)}", source,
                        f"{place.name}/img/{picture.name}", lambda p=picture, m=mask, w=words: _read(p, m, w), split,
                        f"{part}_Folder")


def _texts(path: Path) -> dict[str, str]:
    """Name of a mask -> what was written about it; the first two columns, the first row names them."""
    if not path.is_file():
        return {}
    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
        rows = [tuple(row[:2]) for row in book.active.iter_rows(min_row=2, values_only=True)]
        book.close()
    except Exception as error:  # openpyxl raises many kinds for a damaged file
        raise InputError(f"{path.name} cannot be read as a table.", code="CTR-DATA-022") from error
    return {str(name): str(text).strip() for name, text in rows if name and text}


def _read(picture: Path, mask: Path, words: str) -> Scan:
    grey, drawn = _pixels(picture), _pixels(mask) > 0
    if grey.shape != drawn.shape:
        raise InputError(f"{mask.name} has {drawn.shape[0]} x {drawn.shape[1]} pixels, {picture.name} has "
                         f"{grey.shape[0]} x {grey.shape[1]}.", code="CTR-DATA-021")
    volume = Volume(grey[:, :, None].astype(np.int16), UNKNOWN_SCALE, name=picture.stem)
    found = Drawn(NAME, drawn[:, :, None], UNKNOWN_SCALE, mask.name, words=(words,) if words else ())
    return Scan(volume, iter([found]), (NAME,), hu="none", scale="unknown",
                notes=("An 8-bit picture of one slice: no HU, no millimetres.",))


def _pixels(path: Path) -> np.ndarray:
    """[column, row] grey values of a picture."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("L")).T
    except (OSError, ValueError) as error:
        raise InputError(f"{path.name} cannot be read as a picture.", code="CTR-DATA-022") from error
