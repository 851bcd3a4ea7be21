"""Distances between the surfaces of two masks in millimetres: normalised surface Dice and the 95 % Hausdorff distance.

A surface is the set of voxel faces between inside and outside, each with its area; so anisotropic grids are right without a
special case, and a mask of one voxel has a surface too. The distance from a face to the other surface is that from its centre to
the nearest centre of a face there. Definitions: Nikolov et al., arXiv 1809.04430 (surface Dice at a tolerance); Metrics Reloaded
(HD95). MONAI's figures for the same masks agree (there is a test); it is not used here because an evaluation needs no more than
the engine has.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctreasoner.evaluation.scores import Placed


@dataclass(frozen=True)
class Distances:
    """mm from every face of one surface to the other surface, and the areas (mm2) of the faces; both ways."""
    there: np.ndarray
    there_area: np.ndarray
    back: np.ndarray
    back_area: np.ndarray

    def surface_dice(self, tolerance_mm: float) -> float:
        """Share of both surfaces' area that lies within the tolerance of the other one."""
        sides = ((self.there, self.there_area), (self.back, self.back_area))
        near = sum(float(area[far <= tolerance_mm + 1e-6].sum()) for far, area in sides)
        return near / float(self.there_area.sum() + self.back_area.sum())

    def hausdorff(self, percent: float = 95.0) -> float:
        """The larger of both directions' percentile by area, mm."""
        return max(_percentile(self.there, self.there_area, percent), _percentile(self.back, self.back_area, percent))


def faces(mask: Placed, spacing: Sequence[float], ends: tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(centres [n, 3] mm from voxel 0, areas [n] mm2) of the faces of a mask.

    ends : [first, last) slices where both masks were cut: faces on these two planes are no surface and are left out.
    """
    spacing = np.asarray(spacing, float)
    padded = np.pad(mask.crop != 0, 1)
    centres, areas = [], []
    for axis in range(3):
        index = np.argwhere(np.diff(padded, axis=axis)).astype(float) - 1 + mask.first
        index[:, axis] += 0.5
        if ends is not None and axis == 2:
            index = index[(index[:, 2] != ends[0] - 0.5) & (index[:, 2] != ends[1] - 0.5)]
        centres.append(index * spacing)
        areas.append(np.full(len(index), float(spacing.prod() / spacing[axis])))
    return np.concatenate(centres), np.concatenate(areas)


def distances(a: Placed, b: Placed, spacing: Sequence[float], ends: tuple[int, int] | None = None) -> Distances | None:
    """Distances between two surfaces, or None where one of them has none."""
    from scipy.spatial import cKDTree

    (one, one_area), (two, two_area) = faces(a, spacing, ends), faces(b, spacing, ends)
    if not len(one) or not len(two):
        return None
    return Distances(cKDTree(two).query(one)[0], one_area, cKDTree(one).query(two)[0], two_area)


def _percentile(values: np.ndarray, weights: np.ndarray, percent: float) -> float:
    order = np.argsort(values)
    reached = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(reached, percent / 100 * reached[-1])])
