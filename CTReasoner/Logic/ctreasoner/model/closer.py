"""The closer look: which view comes next, when to stop, and how logits become a mask on the CT's grid."""
from __future__ import annotations

import numpy as np

from ctreasoner.components import Components
from ctreasoner.geometry import View, Volume, to_grid
from ctreasoner.model.eyes import Faces

LEAST_MARGIN_MM = 10.0       # round a box: what lies beside an object tells what it is
BEYOND = 0.5                 # probability from which a face counts as cut by the view
MOVED = 0.10                 # a face that moves by more than this share of the size asks for another look


def next_view(box: Faces, seen: View, volume: Volume, floor_mm: float) -> View:
    """The snapped view round a box: faces plus max(10 mm, 2 sd); a face that the view cut is followed by 30 % of the size."""
    lo, hi = volume.extent_ras()
    margin = np.maximum(LEAST_MARGIN_MM, 2 * box.sd)
    lower, upper = box.lower.copy(), box.upper.copy()
    for axis in range(3):
        if box.beyond[axis, 0] > BEYOND:
            lower[axis] = seen.lo[axis] - 0.3 * box.size[axis]
        if box.beyond[axis, 1] > BEYOND:
            upper[axis] = seen.hi[axis] + 0.3 * box.size[axis]
    # Nothing is gained by looking outside the scan; a little air keeps a cut face inside the view.
    lower, upper = np.maximum(lower, lo), np.minimum(upper, hi)
    upper = np.maximum(upper, lower + 1.0)
    return View.around(lower, upper, margin, spacing_floor=floor_mm, native=volume.spacing)


def wider(view: View, volume: Volume, floor_mm: float) -> View:
    """One view up: the same centre, 1.6 times the size."""
    half = np.array(view.size_mm) * 0.8
    centre = np.array(view.centre_ras)
    return View.around(centre - half, centre + half, 0.0, spacing_floor=floor_mm, native=volume.spacing)


def another(box: Faces, before: Faces, view: View, logits: np.ndarray | None = None) -> bool:
    """Whether one more look is worth it: a face moved by more than 10 % of the size, or lies beyond the view."""
    if (box.beyond > BEYOND).any():
        return True
    moved = np.abs(box.position - before.position) / box.size[:, None]
    return bool((moved[before.beyond <= BEYOND] > MOVED).any()) and not _inside(box, view)


def _inside(box: Faces, view: View) -> bool:
    """A box with its margin lies inside the view: moving the view would show nothing new."""
    room = np.minimum(box.lower - np.array(view.lo), np.array(view.hi) - box.upper)
    return bool((room > 4.0).all())


def on_grid(logits: np.ndarray, view: View, volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """(logits [i, j, k] on a crop of the CT's grid, first voxel (3,)); everything outside the crop is background.

    The crop reaches one view voxel beyond the positive logits: no interpolated value farther out can be positive, and the time
    grows with the object, not with the view.
    """
    positive = np.asarray(logits) > 0
    if not positive.any():
        return np.zeros((0, 0, 0), np.float32), np.zeros(3, int)
    lower, upper = np.array(view.lo, float), np.array(view.hi, float)
    for axis in range(3):
        line = np.flatnonzero(positive.any(axis=tuple(a for a in range(3) if a != axis)))
        lower[axis], upper[axis] = (view.lo[axis] + view.spacing_mm[axis] * n for n in (line[0] - 1, line[-1] + 2))
    values, first = to_grid(np.ascontiguousarray(logits, np.float32), view, volume, lower, upper)
    return values, np.asarray(first)


def tidy(mask: np.ndarray, keep: str, most: int, seeds: list[tuple[int, int, int]] = ()) -> np.ndarray:
    """The component rule of an object: the largest `most` parts (at least a tenth of the largest), or those under the seeds."""
    if not mask.any():
        return mask
    parts = Components(mask)
    if len(parts.sizes) <= 1:
        return mask
    under = {parts.part_at(s) for s in seeds} - {None}
    if under:
        return parts.keep(under)
    order = np.argsort(-parts.sizes)
    most = 1 if keep == "largest" else most
    return parts.keep([p for p in order[:most] if parts.sizes[p] >= 0.1 * parts.sizes[order[0]]])


def trimmed(mask: np.ndarray, first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mask's own bounding box: (crop uint8, first voxel)."""
    if not mask.any():
        return np.zeros((0, 0, 0), np.uint8), first
    spans = []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append((int(line[0]), int(line[-1]) + 1))
    crop = mask[tuple(slice(a, b) for a, b in spans)]
    return np.ascontiguousarray(crop, np.uint8), first + np.array([a for a, _ in spans])


def touches_border(shape: tuple[int, ...], first: np.ndarray, volume: Volume) -> bool:
    """Whether a mask reaches the edge of the scan."""
    return bool((np.asarray(first) <= 0).any() or (np.asarray(first) + shape >= volume.shape).any())
