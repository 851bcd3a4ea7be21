"""A simulated user: clicks, a box and a scribble for a mask, the same ones for the same seed.

Recipe: the first click uniformly inside after an erosion by one voxel, moved by 2 mm SD but never out; clicks that do not belong
from 3 to 12 mm outside; a box whose faces are off by 5 % of the size; a scribble along the longest way through a slice.
"""

from __future__ import annotations

import numpy as np

from ctreasoner.geometry import Volume, box_of

from .schema import Click, PromptBox, Prompts, Scribble

INSIDE, OUTSIDE = 3, 2              # clicks
JITTER_MM, FACE_SHARE = 2.0, 0.05
NEAR_MM, FAR_MM = 3.0, 12.0
POINTS = 5                          # of a scribble


def prompts(crop: np.ndarray, first_voxel, volume: Volume, seed: int) -> Prompts:
    """Prompts for a mask crop [i, j, k] that is not empty; every positive point lies in a voxel of the mask."""
    rng, first = np.random.default_rng(seed), np.asarray(first_voxel)
    mask = np.asarray(crop) > 0
    inside = [_click_inside(mask, first, volume, rng) for _ in range(INSIDE)]
    outside = _clicks_outside(mask, first, volume, rng)
    clicks = [Click(point_ras=tuple(p)) for p in inside] + [Click(point_ras=tuple(p), positive=False) for p in outside]
    centre, size = box_of(mask, first, volume)
    off = rng.normal(0, FACE_SHARE, (2, 3)) * size
    drawn = PromptBox(centre_ras=tuple(centre + off.mean(axis=0)), size_mm=tuple(np.maximum(size + off[1] - off[0], 0.2 * size)))
    points = volume.index_to_world(_line_through(mask) + first)
    return Prompts(seed=seed, clicks=tuple(clicks), box=drawn, scribble=Scribble(points_ras=tuple(map(tuple, points))))


def _click_inside(mask: np.ndarray, first: np.ndarray, volume: Volume, rng: np.random.Generator) -> np.ndarray:
    from scipy.ndimage import binary_erosion

    axes = np.array(mask.shape) > 1
    shape = np.zeros((3, 3, 3), bool)
    shape[tuple(slice(None) if a else slice(1, 2) for a in axes)] = True
    core = binary_erosion(mask, shape) if mask.size < 4_000_000 else mask
    places = np.argwhere(core if core.any() else mask)
    place = places[rng.integers(len(places))] + rng.uniform(-0.4, 0.4, 3) * axes
    moved = place + rng.normal(0, JITTER_MM, 3) / volume.spacing * axes
    nearest = np.rint(moved).astype(int)
    stays = np.all((nearest >= 0) & (nearest < mask.shape)) and mask[tuple(nearest)]
    return volume.index_to_world([(moved if stays else place) + first])[0]


def _clicks_outside(mask: np.ndarray, first: np.ndarray, volume: Volume, rng: np.random.Generator) -> list[np.ndarray]:
    """Points beside the mask and inside the scan; none where the mask fills everything near it."""
    reach, shape = np.ceil(FAR_MM / volume.spacing), np.array(volume.shape)
    found: list[np.ndarray] = []
    border = np.argwhere(mask)
    for _ in range(200):
        if len(found) == OUTSIDE:
            break
        start = border[rng.integers(len(border))] + first
        place = start + rng.uniform(-1, 1, 3) * reach * (shape > 1)
        at = np.rint(place).astype(int)
        if np.any(at < 0) or np.any(at >= shape):
            continue
        if not NEAR_MM <= _distance_mm(mask, at - first, volume.spacing) <= FAR_MM:
            continue
        found.append(volume.index_to_world([at])[0])
    return found


def _distance_mm(mask: np.ndarray, at: np.ndarray, spacing: np.ndarray) -> float:
    """Distance from a voxel to the mask, looked for within FAR_MM; infinite beyond."""
    reach = np.ceil(FAR_MM / spacing).astype(int)
    lo, hi = np.maximum(at - reach, 0), np.minimum(at + reach + 1, mask.shape)
    if np.any(hi <= lo):
        return float("inf")
    near = np.argwhere(mask[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))])
    if not len(near):
        return float("inf")
    return float(np.linalg.norm((near + lo - at) * spacing, axis=1).min())


def _line_through(mask: np.ndarray) -> np.ndarray:
    """(POINTS, 3) voxels of the mask along the longer way through the slice k of the largest area."""
    k = int(mask.sum(axis=(0, 1)).argmax())
    places = np.argwhere(mask[:, :, k]).astype(float)
    away = places - places.mean(axis=0)
    direction = np.linalg.svd(away, full_matrices=False)[2][0] if len(places) > 1 else np.array([1.0, 0.0])
    along = away @ direction
    chosen = []
    for wanted in np.linspace(np.percentile(along, 5), np.percentile(along, 95), POINTS):
        near = np.flatnonzero(np.abs(along - wanted) <= np.abs(along - wanted).min() + 0.5)
        across = np.linalg.norm(away[near] - along[near, None] * direction, axis=1)
        chosen.append([*places[near[across.argmin()]], k])
    return np.array(chosen)
