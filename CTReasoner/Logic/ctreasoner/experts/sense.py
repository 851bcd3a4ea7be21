"""Whether what an expert gave back can be what was asked for."""

from __future__ import annotations

import numpy as np

from ..geometry import Volume
from ..vocabulary import VocabObject
from .grids import Crop
from .protocol import Box, ExpertError, Found

BODY_HU = -500.0
MOST_OF_BODY = 0.6
ASTRAY_MM = 15.0        # beyond the midline: less is anatomy
WIDE_MM = 180.0         # a narrower body shows one side alone, and has no midline to go by


def check(found: Found, item: VocabObject, volume: Volume, box: Box | None = None) -> None:
    """Raise ExpertError where a mask is nonsense: off the grid, empty, most of the body that the expert saw, on the other side.

    box : what the expert was told to look at; None for the whole scan.
    """
    name, who = item.display.lower(), found.by.name
    first = np.array(found.first_voxel)
    if found.mask.ndim != 3 or found.mask.dtype != np.uint8 or (first < 0).any() or (first + found.mask.shape > volume.shape).any():
        raise ExpertError(f"{who} gave back a mask that does not lie on the grid of the CT.", code="CTR-EXP-023")
    voxels = int(found.mask.sum())
    if not voxels:
        raise ExpertError(f"{who} found no {name} in this scan.", code="CTR-EXP-020",
                          hint="It may lie outside of the scan, or the expert may be of no use for scans like this one.")
    seen = Crop.of(volume, box)
    where = tuple(slice(f, f + n) for f, n in zip(seen.first, seen.shape, strict=True))
    body = int((volume.voxels[where] > BODY_HU).sum())
    if voxels > MOST_OF_BODY * max(body, 1):
        raise ExpertError(f"{who} marked most of the body as {name}; its mask was not used.", code="CTR-EXP-021",
                          hint="See that the expert was made for CT: ctreasoner experts check.")
    if item.laterality and (off := beyond_midline(found, item.laterality, volume)) > ASTRAY_MM:
        raise ExpertError(f"{who} marked the {name} {off:.0f} mm beyond the midline; its mask was not used.",
                          code="CTR-EXP-022", hint="If all its sides are swapped, add it anew with --orientation.")


def odd_volume(found: Found, item: VocabObject, volume: Volume, cut: bool) -> str:
    """A sentence where the volume is none that such an object has, else ""."""
    ml, (low, high) = float(found.mask.sum()) * volume.voxel_ml, item.volume_ml_range
    if (low <= ml or cut) and ml <= high:
        return ""
    return (f"{found.by.name} marked {ml:.3g} ml as {item.display.lower()}; {low:g} to {high:g} ml would be plausible. "
            "Look at the mask before you use it.")


def beyond_midline(found: Found, side: str, volume: Volume) -> float:
    """How far (mm) the middle of a mask lies on the other side of the body; negative on its own, 0 where that cannot be told."""
    first = np.array(found.first_voxel)
    where = np.argwhere(found.mask)
    middle = volume.index_to_world([where.mean(0) + first])[0]
    k = int(np.argmax(np.abs(volume.affine[2, :3] / volume.spacing)))
    cut = [slice(None)] * 3
    cut[k] = int(np.clip(round(where[:, k].mean() + first[k]), 0, volume.shape[k] - 1))
    inside = np.argwhere(volume.voxels[tuple(cut)] > BODY_HU)
    if not len(inside):
        return 0.0
    points = volume.index_to_world(np.insert(inside.astype(float), k, cut[k], axis=1))[:, 0]
    low, high = np.percentile(points, [1, 99])
    if high - low < WIDE_MM:
        return 0.0
    off = float(middle[0] - (low + high) / 2)
    return off if side == "left" else -off
