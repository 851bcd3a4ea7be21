"""Reads the compact CT layout (animated AVIF of companded HU, labels as npz) with numpy and Pillow alone.

One line of ``index.jsonl`` is one case. HU codes are piecewise linear: 0 is -1024, 52 is -192, 216 is 300, 255 is 1704.
Arrays are RAS [x, y, z]. Zero in the labels means background or *not covered*.
"""
from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from ctreasoner.errors import InputError

_CODES = (0, 52, 216, 255)
_HUS = (-1024, -192, 300, 1704)
# drawn over the treated range only: no organ ends where such a mask ends
RANGE_ONLY = {("openkbp", "spinal_cord"), ("openkbp", "esophagus")}
DEMO_PATIENT = "LIDC-IDRI-0001"           # never trained on: the demo stays an unseen scan
# training patients that no training sees: the threshold of "it is there" is fitted on them (evaluation/calibrate.py)
SET_ASIDE = ("segthor_03", "segthor_12", "segthor_26", "segthor_40", "openkbp_002", "openkbp_004", "openkbp_007", "openkbp_013",
             "openkbp_020", "openkbp_021", "openkbp_026", "openkbp_027")
FOLDS = {**dict.fromkeys(("fold0", "fold1", "fold2", "fold3"), "train"), "fold4": "val"}   # shipped weights never see fold4
_TABLE = np.round(np.interp(np.arange(256), _CODES, _HUS)).astype(np.int16)


@dataclass
class Case:
    """One CT with labels: hu int16 [x, y, z] in HU, labels uint8 [x, y, z] with `values` {name: value}."""
    id: str
    source: str
    patient: str
    split: str
    hu: np.ndarray
    affine: np.ndarray               # voxel index -> RAS mm
    labels: np.ndarray
    values: dict[str, int]
    covered: tuple[str, ...]
    cut: tuple[str, ...]             # classes whose mask is not whole
    line: dict = field(repr=False, default_factory=dict)

    @property
    def spacing(self) -> np.ndarray:
        return np.linalg.norm(self.affine[:3, :3], axis=0)


def lines(root: Path | str, source: str | None = None, split: str | None = None) -> Iterator[dict]:
    """The index lines of one folder, filtered by source and split, in file order."""
    index = Path(root) / "index.jsonl"
    if not index.is_file():
        raise InputError(f"{index} does not exist: this is not a folder of the compact CT layout.", code="CTR-DATA-001")
    for number, text in enumerate(index.read_text(encoding="utf-8").splitlines(), 1):
        try:
            line = json.loads(text)
            _ = line["source"], line["split"], line["id"], line["patient"]
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"index.jsonl line {number} is no line of the compact CT layout.", code="CTR-DATA-001") from error
        if (source is None or line["source"] == source) and (split is None or line["split"] == split):
            yield line


def load(root: Path | str, line: dict) -> Case:
    """The case of one index line."""
    root = Path(root)
    nx, ny, nz = line["shape"]
    first = line.get("frame0", 0)
    codes = _sequence(root / line["file"]) if line["kind"] == "crop" else _frames(root / line["file"], first, nz)
    codes = codes[:nx, :ny, first:first + nz] if line["kind"] == "crop" else codes[:nx, :ny]
    labels = _labels(root / line["label_file"])[:nx, :ny, first:first + nz]
    if codes.shape != (nx, ny, nz) or labels.shape != (nx, ny, nz):
        raise InputError(f"{line['id']}: image {codes.shape} or labels {labels.shape} differ from the index {(nx, ny, nz)}.",
                         code="CTR-DATA-002")
    affine = np.diag([*map(float, line["spacing_mm"]), 1.0])
    affine[:3, 3] = line["origin_ras_mm"]
    cut = tuple(line.get("cut_by_crop") or ()) + tuple(line.get("cut_by_scan") or ())
    return Case(line["id"], line["source"], line["patient"], line["split"], _TABLE[codes], affine,
                np.ascontiguousarray(labels), dict(line["label_values"]), tuple(line["covered"]), cut, line)


def cases(root: Path | str, source: str | None = None, split: str | None = None) -> Iterator[Case]:
    for line in lines(root, source, split):
        yield load(root, line)


def split_of(line: dict) -> str:
    """Train, val or unlabelled: the split of an index line, folds and the demo's patient put on their side."""
    return "val" if line["patient"] == DEMO_PATIENT else FOLDS.get(line["split"], line["split"])


def _frames(path: Path, first: int, count: int) -> np.ndarray:
    """Frames of an animated AVIF as uint8 [x, y, count]."""
    out = []
    with Image.open(path) as image:
        for k in range(first, first + count):
            image.seek(k)
            out.append(np.asarray(image.convert("L")).T)
    return np.stack(out, axis=-1)


@lru_cache(maxsize=2)
def _sequence(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        count = getattr(image, "n_frames", 1)
    return _frames(path, 0, count)


@lru_cache(maxsize=2)
def _labels(path: Path) -> np.ndarray:
    with np.load(path) as stored:
        return stored["labels"].transpose(2, 1, 0)
