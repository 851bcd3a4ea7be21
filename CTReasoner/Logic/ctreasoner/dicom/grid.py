"""How a volume's own grid lies on the images of a DICOM series: which axis is which, and which of them run backwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from ..errors import GeometryError
from ..geometry import Volume
from .stack import lps_to_ras

GRID_TOLERANCE = 0.02  # voxels: how far two grids may disagree at their far corner and still be one


def source_affine_lps(sources: Sequence[Dataset]) -> np.ndarray:
    """Return 4x4 [column, row, slice] -> LPS mm of a series whose headers stand in order."""
    first, last = sources[0], sources[-1]
    orientation = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = orientation[0] * float(first.PixelSpacing[1])
    affine[:3, 1] = orientation[1] * float(first.PixelSpacing[0])
    affine[:3, 3] = np.array(first.ImagePositionPatient, float)
    affine[:3, 2] = (np.array(last.ImagePositionPatient, float) - affine[:3, 3]) / max(len(sources) - 1, 1)
    return affine


@dataclass(frozen=True)
class GridMap:
    """How the volume's voxel axes become column, row and slice of the source series."""

    axes: tuple[int, int, int]  # volume axis that runs along columns, rows, slices
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]  # of the series: columns, rows, slices

    def place(self, mask: np.ndarray, first_voxel: Sequence[int], name: str = "") -> tuple[np.ndarray, tuple[int, int, int]]:
        """Return a crop [i, j, k] of the volume as [column, row, slice], and its first voxel there; nothing is copied.

        Raises
        ------
        GeometryError : a part of it lies outside (CTR-GEO-031).
        """
        mask = np.asarray(mask).transpose(self.axes)
        mask = mask[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        first = [first_voxel[a] for a in self.axes]
        first = [self.shape[w] - first[w] - mask.shape[w] if flip else first[w] for w, flip in enumerate(self.flips)]
        if min(first) < 0 or any(f + n > s for f, n, s in zip(first, mask.shape, self.shape, strict=True)):
            raise GeometryError(f"The mask of {name} leaves the scan.", code="CTR-GEO-031")
        return mask, tuple(int(f) for f in first)

    def back(self, mask: np.ndarray, first: Sequence[int]) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Return a crop [column, row, slice] of the series as a crop [i, j, k] of the volume, and its first voxel there."""
        mask = mask[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        place = [self.shape[w] - first[w] - mask.shape[w] if flip else first[w] for w, flip in enumerate(self.flips)]
        order = np.argsort(self.axes)
        return mask.transpose(order), tuple(int(place[w]) for w in order)


def grid_map(volume: Volume, sources: Sequence[Dataset]) -> GridMap:
    """Return the way from a volume to the series that it was read from.

    Raises
    ------
    GeometryError : the two do not lie on one another (CTR-GEO-030).
    """
    shape = (int(sources[0].Columns), int(sources[0].Rows), len(sources))
    to_source = np.linalg.inv(lps_to_ras(source_affine_lps(sources))) @ volume.affine
    turn = np.rint(to_source[:3, :3]).astype(int)
    if not (np.abs(turn).sum(0) == 1).all() or not (np.abs(turn).sum(1) == 1).all():
        raise GeometryError("The source series does not lie on the volume's grid.", code="CTR-GEO-030")
    axes = tuple(int(np.flatnonzero(turn[w])[0]) for w in range(3))
    flips = tuple(bool(turn[w, axes[w]] < 0) for w in range(3))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij")).reshape(3, -1)
    there = to_source[:3, :3] @ corners + to_source[:3, 3:]
    wanted = np.array(
        [shape[w] - 1 - corners[a] if flip else corners[a] for w, (a, flip) in enumerate(zip(axes, flips, strict=True))]
    )
    if tuple(volume.shape[a] for a in axes) != shape or np.abs(there - wanted).max() > GRID_TOLERANCE:
        raise GeometryError(
            "The source series does not lie on the volume's grid.",
            code="CTR-GEO-030",
            hint="Export with the series that the volume was read from.",
        )
    return GridMap(axes, flips, shape)
