"""Measurements of a final mask on the CT's own grid: size, shape, attenuation and place, each with unit, method and source.

Nothing here looks at what the model said. A value that cannot be measured is None with a reason, never 0 and never NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ctreasoner.components import Components
from ctreasoner.geometry import Volume, body_extent, box_of

from . import axial, tubular
from .surface import surface_mm2


class Definition(NamedTuple):
    unit: str
    method: str
    source: str


_CT = "native HU of all voxels of the mask"
NAMES: dict[str, Definition] = {
    "volume": Definition("ml", "number of voxels x voxel volume", "IBSI YEKZ; PyRadiomics VoxelVolume"),
    "mean_hu": Definition("HU", f"mean, {_CT}", "IBSI Q4LE; PyRadiomics firstorder Mean"),
    "mean_hu_core": Definition("HU", "mean of the mask eroded by 2 mm, at least one voxel", "PyRadiomics firstorder Mean"),
    "sd_hu": Definition("HU", f"standard deviation, {_CT}", "IBSI ECT3 (square root)"),
    "p5_hu": Definition("HU", f"5th percentile, {_CT}", "IBSI percentile"),
    "p50_hu": Definition("HU", f"median, {_CT}", "IBSI Y12H; PyRadiomics firstorder Median"),
    "p95_hu": Definition("HU", f"95th percentile, {_CT}", "IBSI percentile"),
    "share_below_-50": Definition("%", "share of the mask's voxels below -50 HU (fat, air)", "own"),
    "share_above_130": Definition("%", "share of the mask's voxels above 130 HU (calcium, contrast, bone)", "Agatston 1990"),
    "patchiness_hu": Definition("HU", "standard deviation between means of 5 mm blocks of the eroded mask", "own"),
    "calcified_volume": Definition("ml", "voxels above 130 HU, or 90 HU and 5 SD of the core above the median where that is "
                                   "more; not where they belong to bone outside; nodules: above 250 HU", "Agatston 1990"),
    "gas_volume": Definition("ml", "voxels below -300 HU", "own"),
    "solid_share": Definition("%", "share of the nodule's inner half above -300 HU", "own"),
    "rim_gradient": Definition("HU/mm", "75th percentile of the in-plane gradient on the outline", "own"),
    "surface": Definition("mm2", "Crofton formula over 13 directions", "Legland et al., Image Anal Stereol 2007;26:83"),
    "sphericity": Definition("1", "(36 pi V^2)^(1/3) / surface", "IBSI QCFX; PyRadiomics Sphericity"),
    "elongation": Definition("1", "square root of the second over the first eigenvalue of the voxel positions",
                             "IBSI Q3CK; PyRadiomics Elongation"),
    "equivalent_diameter": Definition("mm", "diameter of a ball of the same volume", "own"),
    "long_axis": Definition("mm", "largest distance across the axial slice of largest area", "RECIST 1.1"),
    "short_axis": Definition("mm", "largest distance perpendicular to the long axis in that slice", "RECIST 1.1"),
    "diameter_max": Definition("mm", "largest diameter perpendicular to the centre line (running median of three)",
                               "2022 ACC/AHA aortic guideline (double oblique)"),
    "diameter_median": Definition("mm", "median over the centre line of the largest diameter perpendicular to it", "own"),
    "extent_r": Definition("mm", "extent of the mask's voxels, right to left", "own"),
    "extent_a": Definition("mm", "extent of the mask's voxels, front to back", "own"),
    "extent_s": Definition("mm", "extent of the mask's voxels, along the body", "own"),
    "centre_r": Definition("mm", "RAS position of the centre of mass, to the right", "IBSI centre of mass"),
    "centre_a": Definition("mm", "RAS position of the centre of mass, to the front", "IBSI centre of mass"),
    "centre_s": Definition("mm", "RAS position of the centre of mass, upwards", "IBSI centre of mass"),
    "side": Definition("mm", "centre of mass minus the middle of the body; positive to the patient's right", "own"),
}
NAMES |= {f"diameter_max_{s}": NAMES["diameter_max"]._replace(method=f"{NAMES['diameter_max'].method}, {s} part")
          for s in ("ascending", "arch", "descending")}
"""Measurement name -> unit, method and source of the definition."""

CORE_MM, BLOCK_MM = 2.0, 5.0
FAT_HU, CALCIUM_HU, NODULE_CALCIUM_HU, GAS_HU = -50.0, 130.0, 250.0, -300.0
_MOST_VOXELS = 12_000_000    # larger crops are thinned for surface and block means, never for volume, HU and extent


@dataclass(frozen=True)
class Measured:
    """One measurement. ``geometry`` holds what can be drawn (``ends_ras``, ``plane``); ``reason`` says why ``value`` is None."""

    name: str
    value: float | None
    unit: str
    method: str
    geometry: dict | None = None
    reason: str = ""


def measure(mask: np.ndarray, first_voxel, volume: Volume, obj=None, cut_by_scan: bool = False,
            body_centre_ras=None) -> list[Measured]:
    """Measure one mask.

    mask : [i, j, k] bool or uint8, a crop of the CT's grid whose voxel 0 is ``first_voxel``. obj : its vocabulary entry, or None.
    body_centre_ras : middle of the body; found in the volume when not given. An empty mask has no measurements.
    """
    mask, first = _tight(np.asarray(mask), np.asarray(first_voxel, dtype=int))
    if mask is None:
        return []
    cut = tuple(slice(a, a + n) for a, n in zip(first, mask.shape, strict=True))
    crop = _Crop(mask, volume.voxels[cut], first, volume, getattr(obj, "key", "thing"))
    out = _Collector()
    _attenuation(crop, out)
    _size_and_place(crop, out, body_centre_ras)
    if getattr(obj, "tubular", False):
        tubular.diameters(crop, out, body_centre_ras)
    else:
        axial.axes(crop, out)
    if crop.key == "lung_nodule":
        axial.nodule(crop, out)
    return out.found


def values(measured) -> dict[str, float]:
    """Name -> value of everything that could be measured."""
    return {m.name: m.value for m in measured if m.value is not None}


class _Crop(NamedTuple):
    """A mask in its bounding box, the CT there, where it is and what it is."""

    mask: np.ndarray
    hu: np.ndarray
    first: np.ndarray
    volume: Volume
    key: str

    def ras(self, crop_mm) -> np.ndarray:
        """RAS of positions in mm along the crop's own axes (0 is the centre of its first voxel)."""
        return self.volume.index_to_world(np.asarray(crop_mm) / self.volume.spacing + self.first)


class _Collector:
    def __init__(self) -> None:
        self.found: list[Measured] = []

    def add(self, name: str, value: float | None, geometry: dict | None = None, reason: str = "") -> None:
        unit, method, _ = NAMES[name]
        if value is not None and not np.isfinite(value):
            value, reason = None, reason or "no finite value"
        reason = reason if value is None else ""
        self.found.append(Measured(name, None if value is None else float(value), unit, method, geometry, reason))


def _tight(mask: np.ndarray, first: np.ndarray):
    lo, hi = [], []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(line):
            return None, first
        lo.append(int(line[0]))
        hi.append(int(line[-1]) + 1)
    cut = mask[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))]
    return (cut if cut.dtype == bool else cut > 0), first + lo


def _attenuation(crop: _Crop, out: _Collector) -> None:
    hu = crop.hu[crop.mask]
    out.add("volume", hu.size * crop.volume.voxel_ml)
    out.add("mean_hu", hu.mean(dtype=np.float64))
    out.add("sd_hu", hu.std(dtype=np.float64))
    low, middle, high = np.percentile(hu if hu.size < 500_000 else _counted(hu), (5, 50, 95))
    for name, value in (("p5_hu", low), ("p50_hu", middle), ("p95_hu", high)):
        out.add(name, value)
    out.add("share_below_-50", 100 * np.count_nonzero(hu < FAT_HU) / hu.size)
    out.add("share_above_130", 100 * np.count_nonzero(hu > CALCIUM_HU) / hu.size)
    core = eroded(crop.mask, crop.volume.spacing)
    inner = crop.hu[core]
    few = inner.size < 10
    out.add("mean_hu_core", None if few else inner.mean(dtype=np.float64), reason="too thin" if few else "")
    patchy = None if few else _patchiness(crop, core)
    out.add("patchiness_hu", patchy, reason="" if patchy is not None else "too small")
    if crop.key in ("aorta", "lung_nodule"):
        spread = float((inner if not few else hu).std())
        out.add("calcified_volume", calcified(crop, float(middle), spread) * crop.volume.voxel_ml)
    if crop.key == "esophagus":
        out.add("gas_volume", np.count_nonzero(hu < GAS_HU) * crop.volume.voxel_ml)


def _counted(hu: np.ndarray) -> np.ndarray:
    """Sorted values of a large array, at most 200,000 of them at even steps of the order."""
    if hu.dtype.kind not in "iu":
        return np.sort(hu[:: max(1, hu.size // 2_000_000)])
    low = int(hu.min())
    total = np.cumsum(np.bincount(hu.astype(np.int32) - low))
    return np.searchsorted(total, np.linspace(0, hu.size - 1, 200_000), side="right") + low


def eroded(mask: np.ndarray, spacing, depth_mm: float = CORE_MM) -> np.ndarray:
    """The mask without what lies within ``depth_mm`` of its surface along an axis, at least one voxel."""
    for axis in range(3):
        mask = _shrunk(mask, axis, max(1, round(depth_mm / float(spacing[axis]))))
    return mask


def _shrunk(mask: np.ndarray, axis: int, depth: int) -> np.ndarray:
    """Voxels whose neighbours along an axis, up to ``depth`` away on both sides, all belong to the mask."""
    out = np.pad(mask, [(depth, depth) if a == axis else (0, 0) for a in range(3)])
    seen, wanted = 1, 2 * depth + 1
    while seen < wanted:                       # the span that is seen doubles with each step
        step = min(seen, wanted - seen)
        out = _part(out, axis, slice(0, -step)) & _part(out, axis, slice(step, None))
        seen += step
    return out


def _part(array: np.ndarray, axis: int, span: slice) -> np.ndarray:
    return array[tuple(span if a == axis else slice(None) for a in range(3))]


def _patchiness(crop: _Crop, core: np.ndarray) -> float | None:
    """SD between the means of 5 mm blocks that lie at least 70 % in the core; noise is averaged away."""
    hu, spacing = crop.hu, crop.volume.spacing
    if core.size > _MOST_VOXELS:
        hu, core, spacing = hu[::2, ::2, ::2], core[::2, ::2, ::2], spacing * 2
    factors = np.maximum(1, np.round(BLOCK_MM / spacing)).astype(int)
    count = _block_sums(core, factors)
    full = count >= 0.7 * np.prod(factors)
    if np.count_nonzero(full) < 8:
        return None
    total = _block_sums(np.where(core, hu, 0).astype(np.float32), factors)
    return float((total[full] / count[full]).std())


def _block_sums(array: np.ndarray, factors) -> np.ndarray:
    for axis, factor in enumerate(factors):
        array = np.add.reduceat(array, np.arange(0, array.shape[axis], factor), axis=axis, dtype=np.float32)
    return array


def calcified(crop: _Crop, median_hu: float, spread_hu: float) -> int:
    """Number of voxels of calcium: bright ones of the mask, without those of which most lie in something bright outside (bone)."""
    limit = NODULE_CALCIUM_HU if crop.key == "lung_nodule" else max(CALCIUM_HU, median_hu + max(90.0, 5 * spread_hu))
    first, shape = np.maximum(crop.first - 3, 0), crop.volume.shape
    last = np.minimum(crop.first + crop.mask.shape + 3, shape)
    around = crop.volume.voxels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] > limit
    at = tuple(slice(a, a + n) for a, n in zip(crop.first - first, crop.mask.shape, strict=True))
    if not np.any(around[at] & crop.mask):
        return 0
    mask = np.zeros_like(around)
    mask[at] = crop.mask
    parts = Components(around)
    inside = parts.shared(mask)
    smallest = 5.0 / (1000 * crop.volume.voxel_ml)   # 5 mm3: less is noise
    return int(inside[(inside > 0.5 * parts.sizes) & (parts.sizes >= smallest)].sum())


def _size_and_place(crop: _Crop, out: _Collector, body_centre_ras) -> None:
    volume, spacing = crop.volume, crop.volume.spacing
    millilitres = next(m.value for m in out.found if m.name == "volume")
    out.add("equivalent_diameter", (6000 * millilitres / np.pi) ** (1 / 3))
    mean, covariance = _moments(crop.mask, spacing)
    eigen = np.sort(np.linalg.eigvalsh(covariance))[::-1]
    out.add("elongation", float(np.sqrt(max(eigen[1], 0) / eigen[0])) if eigen[0] > 0 else None, reason="one voxel")
    mask, step = crop.mask, spacing
    if mask.size > _MOST_VOXELS:
        mask, step = mask[::2, ::2, ::2], spacing * 2
    surface = surface_mm2(mask, step)
    out.add("surface", surface)
    out.add("sphericity", (36 * np.pi * (1000 * millilitres) ** 2) ** (1 / 3) / surface)
    centre = crop.ras(mean)
    for name, value in zip(("centre_r", "centre_a", "centre_s"), centre, strict=True):
        out.add(name, value)
    _, size = box_of(crop.mask, crop.first, volume)
    for name, value in zip(("extent_r", "extent_a", "extent_s"), size, strict=True):
        out.add(name, value)
    if body_centre_ras is None:
        body_centre_ras = np.mean(body_extent(volume), axis=0)
    out.add("side", centre[0] - float(body_centre_ras[0]))


def _moments(mask: np.ndarray, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Mean (mm along the crop's axes) and covariance (mm2) of the voxels, from three projections."""
    planes = {pair: mask.sum(axis=3 - sum(pair), dtype=np.int32).astype(np.float64) for pair in ((0, 1), (0, 2), (1, 2))}
    at = [np.arange(n) * s for n, s in zip(mask.shape, spacing, strict=True)]
    lines = (planes[0, 1].sum(1), planes[0, 1].sum(0), planes[0, 2].sum(0))
    total = lines[0].sum()
    mean = np.array([(line * x).sum() / total for line, x in zip(lines, at, strict=True)])
    covariance = np.diag([(line * (x - m) ** 2).sum() / total for line, x, m in zip(lines, at, mean, strict=True)])
    for (a, b), plane in planes.items():
        covariance[a, b] = covariance[b, a] = (at[a] - mean[a]) @ plane @ (at[b] - mean[b]) / total
    return mean, covariance
