"""Cuts training views out of prepared cases: geometry, area averaging and the targets of every queried object.

All volumes are RAS arrays with axis-aligned spacing, so millimetres here are measured from the centre of voxel 0.
"""
from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ctreasoner.dataset.known import DEMO_PATIENT, SET_ASIDE
from ctreasoner.dataset.prepare import OBJECTS

NUMBER = {key: i + 1 for i, key in enumerate(OBJECTS)}
AIR = -1024.0


@dataclass
class Prepared:
    """One prepared case, resident in memory: hu int16 [x, y, z], labels uint8 numbered as OBJECTS (0: background)."""
    id: str
    source: str
    split: str
    patient: str
    hu: Tensor
    labels: Tensor
    spacing: np.ndarray                      # mm
    covered: tuple[str, ...]
    cut: tuple[str, ...]
    boxes: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)   # mm, lower and upper corner
    voxels: dict[str, int] = field(default_factory=dict)
    ratings: list | None = None
    hu_class: str | None = None
    coarse: Prepared | None = None         # the same case at twice the spacing, for coarse views

    def halved(self) -> Prepared:
        """The case in 2 x 2 x 2 block means (labels by majority), made once."""
        if self.coarse is None:
            even = tuple(slice(0, n - n % 2) for n in self.hu.shape)
            hu = F.avg_pool3d(self.hu[even].float()[None, None], 2)[0, 0].round().short()
            labels = torch.zeros(hu.shape, dtype=torch.uint8)
            for key in self.covered:
                share = F.avg_pool3d((self.labels[even] == NUMBER[key]).float()[None, None], 2)[0, 0]
                labels[share >= 0.5] = NUMBER[key]
            self.coarse = Prepared(self.id, self.source, self.split, self.patient, hu, labels, self.spacing * 2,
                                   self.covered, self.cut)
        return self.coarse

    @property
    def present(self) -> list[str]:
        return [key for key in self.covered if self.voxels.get(key)]


def read_prepared(folder: Path | str, source: str | None = None, splits: tuple[str, ...] | None = None) -> list[Prepared]:
    """All prepared cases of a folder, filtered by source and split."""
    out = []
    for path in sorted(Path(folder).glob("*.npz")):
        line = json.loads(path.with_suffix(".json").read_text())
        if (source and line["source"] != source) or (splits and line["split"] not in splits):
            continue
        with np.load(path) as stored:
            hu, labels = stored["hu"], stored["labels"]
        case = Prepared(line["id"], line["source"], line["split"], line["patient"], torch.from_numpy(hu),
                        torch.from_numpy(labels), np.array(line["spacing_mm"], float), tuple(line["covered"]),
                        tuple(line["cut"]), ratings=line.get("ratings"), hu_class=line.get("hu_class"))
        for key in case.covered:
            where = np.nonzero(labels == NUMBER[key])
            case.voxels[key] = len(where[0])
            if len(where[0]):
                case.boxes[key] = (np.array([a.min() for a in where]) * case.spacing - case.spacing / 2,
                                   np.array([a.max() for a in where]) * case.spacing + case.spacing / 2)
        out.append(case)
    return out


TRAINING = ("train", "fold0", "fold1", "fold2", "fold3")


def training_cases(folder: Path | str) -> list[Prepared]:
    """Every prepared case that weights may see."""
    return [case for case in read_prepared(folder, splits=TRAINING) if case.patient != DEMO_PATIENT and case.id not in SET_ASIDE]


@dataclass
class Pose:
    """Where a view lies in its case: centre (mm), spacing (mm), shape, and the augmenting 3x3 matrix (identity: none)."""
    centre: np.ndarray
    spacing: float
    shape: tuple[int, int, int]
    matrix: np.ndarray = field(default_factory=lambda: np.eye(3))

    def points(self) -> Tensor:
        """Millimetres of every voxel centre, [x, y, z, 3] float32."""
        axes = [(np.arange(n) - (n - 1) / 2) * self.spacing for n in self.shape]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ self.matrix.T + self.centre
        return torch.from_numpy(grid.astype(np.float32))


def cut(case: Prepared, pose: Pose, keys: list[str], z_range: tuple[int, int] | None = None,
        displace: Tensor | None = None, fill: str = "air") -> tuple[Tensor, Tensor, Tensor]:
    """(hu [x, y, z], soft masks [k, x, y, z] of `keys`, inside [x, y, z] bool) of one view.

    Block means by whole factors bring the voxels near the view's spacing, then one linear resampling.
    `z_range` pretends that the scan ends there (slice numbers). Outside the scan is air, or the border voxel ("edge").
    """
    points = pose.points()
    if displace is not None:
        points = points + displace
    if pose.spacing > 2 * case.spacing.min():
        points = points - torch.from_numpy((0.5 * case.spacing).astype(np.float32))
        z_range = z_range and (z_range[0] // 2, max(z_range[0] // 2 + 1, z_range[1] // 2))
        case = case.halved()
    shape = np.array(case.hu.shape)
    low_limit, high_limit = np.zeros(3, int), shape.copy()
    if z_range:
        low_limit[2], high_limit[2] = z_range
    index = points / torch.tensor(case.spacing, dtype=torch.float32)
    flat = index.reshape(-1, 3)
    factor = np.maximum(1, np.floor(pose.spacing / case.spacing + 0.25).astype(int))
    lo = np.clip(np.floor(flat.amin(0).numpy()).astype(int) - factor - 1, low_limit, high_limit - 1)
    hi = np.clip(np.ceil(flat.amax(0).numpy()).astype(int) + factor + 2, lo + 1, high_limit)
    hi = np.maximum(hi - (hi - lo) % factor, lo + 1)
    block = tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))
    hu = case.hu[block].float()
    labels = case.labels[block]
    maps = [hu - AIR] + [(labels == NUMBER[key]).float() for key in keys]
    stack = torch.stack(maps)[None]
    if factor.max() > 1:
        factor = np.minimum(factor, np.array(hu.shape))
        stack = F.avg_pool3d(stack, tuple(int(f) for f in factor))
    n = torch.tensor(stack.shape[2:], dtype=torch.float32)
    local = (index - torch.tensor(lo + (factor - 1) / 2, dtype=torch.float32)) / torch.tensor(factor, dtype=torch.float32)
    inside = ((local > -0.5 - 1e-4) & (local < n - 0.5 + 1e-4)).all(-1)
    grid = ((2 * local + 1) / n - 1).flip(-1)[None]
    edge = F.grid_sample(stack, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    hu_out, masks = edge[0] + AIR, edge[1:]
    if fill == "air":
        hu_out = torch.where(inside, hu_out, torch.full_like(hu_out, AIR))
    return hu_out, masks * inside, inside


def faces_of(mask: Tensor) -> tuple[np.ndarray, np.ndarray] | None:
    """Faces [3, 2] in voxels of a soft mask's 0.5 level, and [3, 2] whether it reaches the view's border; None if empty."""
    hard = mask > 0.5
    faces, overflow = np.zeros((3, 2)), np.zeros((3, 2), bool)
    for axis in range(3):
        others = [d for d in range(3) if d != axis]
        line = hard.any(others[1]).any(others[0]).numpy()
        if not line.any():
            return None
        first, last = int(line.argmax()), len(line) - 1 - int(line[::-1].argmax())
        faces[axis] = first, last + 1
        overflow[axis] = first == 0, last == len(line) - 1
    return faces, overflow
