"""A pane: a plane through the CT as a square picture, in the radiologist's convention (patient's right on the left)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from ..geometry import Volume

OUTSIDE_HU = -30000.0               # a value that no CT has: "nothing was scanned here"
# plane -> (picture's x direction, picture's y direction), RAS
PLANES = {
    "axial": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "coronal": ((-1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    "sagittal": ((0.0, -1.0, 0.0), (0.0, 0.0, -1.0)),
}
LETTERS = (("L", "R"), ("P", "A"), ("I", "S"))     # negative, positive end of R, A, S


@dataclass(frozen=True)
class Pane:
    """Where a picture lies in the world.

    centre_ras : (3,) mm, the middle of the picture.
    right, down : unit vectors (RAS) along the picture's x and y.
    size_px : edge of the square picture. mm_per_px : its scale.
    """

    plane: str
    centre_ras: np.ndarray
    right: np.ndarray
    down: np.ndarray
    size_px: int
    mm_per_px: float

    @classmethod
    def of(cls, plane: str, centre_ras: Sequence[float], extent_mm: float, size_px: int) -> Pane:
        """Return the axial, coronal or sagittal pane of ``extent_mm`` round a point."""
        right, down = (np.array(v) for v in PLANES[plane])
        return cls(plane, np.array(centre_ras, float), right, down, size_px, extent_mm / size_px)

    @classmethod
    def oblique(cls, centre_ras: Sequence[float], normal: Sequence[float], extent_mm: float, size_px: int) -> Pane:
        """Return the pane perpendicular to ``normal``, turned so that it looks like the nearest of the three planes."""
        normal = np.array(normal, float) / np.linalg.norm(normal)
        nearest = max(PLANES, key=lambda plane: abs(np.cross(*PLANES[plane]) @ normal))
        right = np.array(PLANES[nearest][0])
        right = right - (right @ normal) * normal
        right /= np.linalg.norm(right)
        down = np.cross(normal, right)
        down = down if down @ np.array(PLANES[nearest][1]) > 0 else -down
        return cls("oblique", np.array(centre_ras, float), right, down, size_px, extent_mm / size_px)

    @property
    def normal(self) -> np.ndarray:
        """Return the unit vector perpendicular to the picture."""
        return np.cross(self.right, self.down)

    def to_px(self, points_ras: Sequence) -> np.ndarray:
        """Return (n, 2) picture coordinates of RAS points, dropped onto the plane; (0, 0) is the outer corner."""
        away = np.atleast_2d(np.asarray(points_ras, float)) - self.centre_ras
        return np.stack([away @ self.right, away @ self.down], axis=1) / self.mm_per_px + self.size_px / 2

    def distance_mm(self, points_ras: Sequence) -> np.ndarray:
        """Return how far RAS points lie from the plane, mm, without sign."""
        return np.abs((np.atleast_2d(np.asarray(points_ras, float)) - self.centre_ras) @ self.normal)

    def points(self, oversample: int = 1) -> np.ndarray:
        """Return RAS points of all pixel centres, (3, size * oversample, size * oversample)."""
        return self._grid(np.eye(4), oversample)

    def indices(self, volume: Volume, oversample: int = 1) -> np.ndarray:
        """Return the same points as fractional voxel indices of a volume."""
        return self._grid(np.linalg.inv(volume.affine), oversample)

    def _grid(self, matrix: np.ndarray, oversample: int) -> np.ndarray:
        n = self.size_px * oversample
        at = ((np.arange(n) + 0.5) / oversample - self.size_px / 2) * self.mm_per_px
        origin = matrix[:3, :3] @ self.centre_ras + matrix[:3, 3]
        across, along = matrix[:3, :3] @ self.right, matrix[:3, :3] @ self.down
        return origin[:, None, None] + across[:, None, None] * at[None, None, :] + along[:, None, None] * at[None, :, None]

    def ends(self) -> dict[str, str]:
        """Return the letters at the picture's edges.

        >>> Pane.of("axial", (0, 0, 0), 100, 10).ends()
        {'left': 'R', 'right': 'L', 'top': 'A', 'bottom': 'P'}
        """
        return {"left": direction_name(-self.right), "right": direction_name(self.right),
                "top": direction_name(-self.down), "bottom": direction_name(self.down)}

    def place(self) -> str:
        """Return where the plane cuts the body, "S 12.5 mm": along R/L, A/P or S/I, from the scanner's origin."""
        axis = int(np.argmax(np.abs(self.normal)))
        value = float(self.centre_ras[axis])
        return f"{LETTERS[axis][1] if value >= 0 else LETTERS[axis][0]} {abs(value):.1f} mm"


def direction_name(vector: Sequence[float]) -> str:
    """Return one or two letters for a direction in RAS.

    >>> direction_name((0, -1, 0)), direction_name((0.7, 0, 0.7))
    ('P', 'RS')
    """
    vector = np.asarray(vector, float)
    order = np.argsort(-np.abs(vector), kind="stable")
    return "".join(LETTERS[w][int(vector[w] > 0)] for w in order if abs(vector[w]) > 0.35)[:2]


def snapped(volume: Volume, point_ras: Sequence[float]) -> np.ndarray:
    """Return the centre of the voxel that holds a point: a plane through it needs no blur between slices."""
    index = np.clip(np.rint(volume.world_to_index(point_ras)), 0, np.array(volume.shape) - 1)
    return volume.index_to_world(index)


def slice_hu(volume: Volume, pane: Pane) -> np.ndarray:
    """Return HU (size, size) float32 of a pane; ``OUTSIDE_HU`` where nothing was scanned.

    Linear between voxels: a spline would look smoother and ring round every edge. Pixels larger than a voxel are averaged.
    """
    oversample = 2 if pane.mm_per_px > 0.8 * volume.spacing.min() else 1
    index = pane.indices(volume, oversample)
    outside = np.zeros(index.shape[1:], bool)
    for a in range(3):
        outside |= (index[a] < -0.5) | (index[a] > volume.shape[a] - 0.5)
    brick, index = _brick(volume.voxels, index)
    values = map_coordinates(brick, index, order=1, mode="nearest", output=np.float32)
    values[outside] = OUTSIDE_HU
    if oversample == 1:
        return values
    blocks = values.reshape(pane.size_px, oversample, pane.size_px, oversample)
    mean = blocks.mean(axis=(1, 3))
    mean[(blocks == OUTSIDE_HU).any(axis=(1, 3))] = OUTSIDE_HU
    return mean


def slice_mask(mask: np.ndarray, first_voxel: Sequence[int], volume: Volume, pane: Pane, oversample: int = 2) -> np.ndarray:
    """Return (n, n) bool, n = size * oversample: where the pane cuts the mask, its steps smoothed between voxels."""
    index = pane.indices(volume, oversample) - np.asarray(first_voxel, float)[:, None, None]
    near = np.ones(index.shape[1:], bool)
    for a in range(3):
        near &= (index[a] > -1) & (index[a] < mask.shape[a])
    brick, at = _brick(mask, index[:, near]) if near.any() else (None, None)
    result = np.zeros(near.shape, bool)
    if brick is not None:
        weight = map_coordinates(brick.astype(np.float32), at, order=1, mode="grid-constant", cval=0.0, output=np.float32)
        result[near] = weight > 0.5
    return result


def _brick(voxels: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the part of a volume that the positions need, and the positions in it."""
    last = np.array(voxels.shape) - 1
    axes = tuple(range(1, index.ndim))
    ends = index[:, :: max(index.shape[1] - 1, 1), :: max(index.shape[2] - 1, 1)] if len(axes) == 2 else index
    lo = np.clip(np.floor(ends.min(axis=axes)).astype(int) - 2, 0, last)      # of a whole pane, the corners are the ends
    hi = np.clip(np.ceil(ends.max(axis=axes)).astype(int) + 2, 0, last)
    brick = voxels[lo[0] : hi[0] + 1, lo[1] : hi[1] + 1, lo[2] : hi[2] + 1]
    return brick, index - lo.reshape(-1, *[1] * len(axes))
