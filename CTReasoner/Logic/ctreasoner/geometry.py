"""Volumes, views and the way between them. World is RAS millimetres everywhere; arrays are ``[i, j, k]``.

A `Volume` is the only owner of an affine. A `View` is a box of the world, its axes always R, A, S, with a voxel budget.
`sample` brings a volume into a view (area-averaged from the original voxels), `to_grid` brings logits back onto the CT.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import GeometryError
from .resampling import linear_weights, separable, slabs, trilinear

AIR_HU = -1024.0        # what lies outside the scan
BUDGET = 96**3          # voxels of a view (compact profile)
SNAP_MM = 4.0           # centres of views stand on this grid, so that two wordings see the same view
SIZE_RATIO = 1.12       # and sizes on this one
CELL, SMALLEST = 16, 64  # a view's shape is a multiple of CELL, at least SMALLEST (the side of a training view) per axis
MAX_SHEAR = 1e-3        # largest cosine between two voxel axes (0.06 degrees)
SPACING_LIMITS_MM = (0.01, 50.0)


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT: voxels in HU and where they are.

    voxels : [i, j, k] int16 or float32, HU; other number types are converted, to int16 where nothing is lost.
    affine : 4x4, voxel index (centre of voxel) -> RAS mm, without shear.
    source, series : the path that it was read from, and which DICOM series of it.
    notes : what reading changed (a tilted gantry straightened, slices left out), one sentence each.
    """

    voxels: np.ndarray
    affine: np.ndarray
    name: str = ""
    source: str = ""
    series: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        voxels = hounsfield(self.voxels)
        affine = np.array(self.affine, dtype=np.float64)
        check_affine(affine)
        if voxels.ndim != 3 or min(voxels.shape) < 1:
            raise GeometryError(f"a volume has three axes; this one has the shape {voxels.shape}.", code="CTR-GEO-001")
        voxels = voxels.view()
        voxels.flags.writeable = False
        affine.flags.writeable = False
        object.__setattr__(self, "voxels", voxels)
        object.__setattr__(self, "affine", affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(int(n) for n in self.voxels.shape)

    @cached_property
    def spacing(self) -> np.ndarray:
        """(3,) mm between voxel centres along i, j, k."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of one voxel, ml."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @cached_property
    def identity(self) -> str:
        """sha256 hex of voxels and affine (to 1e-5 mm), the same for every memory layout."""
        hasher = hashlib.sha256(repr((self.shape, self.voxels.dtype.str)).encode())
        hasher.update((np.round(self.affine, 5) + 0.0).astype("<f8").tobytes())
        columns = self.voxels.T  # i fastest, as files store it
        for k in range(0, columns.shape[0], 16):
            hasher.update(np.ascontiguousarray(columns[k:k + 16]))
        return hasher.hexdigest()

    @cached_property
    def _inverse(self) -> np.ndarray:
        return np.linalg.inv(self.affine)

    def world_to_index(self, points_ras: Sequence) -> np.ndarray:
        """(n, 3) RAS mm -> (n, 3) fractional voxel indices."""
        return _transform(self._inverse, points_ras)

    def index_to_world(self, indices: Sequence) -> np.ndarray:
        """(n, 3) fractional voxel indices -> (n, 3) RAS mm."""
        return _transform(self.affine, indices)

    def extent_ras(self) -> tuple[np.ndarray, np.ndarray]:
        """(lo, hi), RAS mm: the box round the outer edges of all voxels."""
        return _bounds(self.affine, np.full(3, -0.5), np.array(self.shape) - 0.5)

    def contains(self, point_ras: Sequence) -> bool:
        """Whether a point (3,) lies inside the outer edges of the voxels."""
        index = self.world_to_index(point_ras)
        return bool(np.all((index >= -0.5) & (index <= np.array(self.shape) - 0.5)))


@dataclass(frozen=True, kw_only=True)
class View:
    """A box of the world with axes R, A, S: centre in mm, shape in voxels (multiples of 16), spacing in mm."""

    centre_ras: tuple[float, float, float]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        centre = tuple(float(c) for c in self.centre_ras)
        shape = tuple(int(n) for n in self.shape)
        spacing = tuple(float(s) for s in np.broadcast_to(self.spacing_mm, 3))
        if len(shape) != 3 or any(n < CELL or n % CELL for n in shape):
            raise GeometryError(f"the shape of a view is three multiples of {CELL}, not {shape}.", code="CTR-GEO-010")
        if len(centre) != 3 or not np.all(np.isfinite(centre + spacing)) or min(spacing) <= 0:
            raise GeometryError(f"a view at {centre} with a spacing of {spacing} mm makes no sense.",
                                code="CTR-GEO-011")
        object.__setattr__(self, "centre_ras", centre)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "spacing_mm", spacing)

    @property
    def size_mm(self) -> np.ndarray:
        return np.array(self.shape) * np.array(self.spacing_mm)

    @property
    def lo(self) -> np.ndarray:
        """(3,) RAS mm, outer edge."""
        return np.array(self.centre_ras) - self.size_mm / 2

    @property
    def hi(self) -> np.ndarray:
        return np.array(self.centre_ras) + self.size_mm / 2

    @property
    def affine(self) -> np.ndarray:
        """4x4, centre of voxel [x, y, z] -> RAS mm."""
        affine = np.diag([*self.spacing_mm, 1.0])
        affine[:3, 3] = self.lo + np.array(self.spacing_mm) / 2
        return affine

    def axis(self, w: int) -> np.ndarray:
        """World coordinates (mm) of the voxel centres along axis w."""
        return self.lo[w] + (np.arange(self.shape[w]) + 0.5) * self.spacing_mm[w]

    @classmethod
    def whole(cls, volume: Volume, budget: int = BUDGET, min_spacing: float = 5.0) -> View:
        """The view round the body (HU > -500) of the whole scan; isotropic, centre on the 4 mm grid."""
        lo, hi = body_extent(volume)
        centre = _snap((lo + hi) / 2)
        size = 2 * np.maximum(hi - centre, centre - lo)
        return cls._fit(centre, size, min_spacing, budget)

    @classmethod
    def around(cls, lo_ras: Sequence, hi_ras: Sequence, margin_mm: float | Sequence = 6.0, *, spacing_floor: float,
               native: float | Sequence, budget: int = BUDGET) -> View:
        """The snapped view round a box.

        margin_mm : one number, or (3, 2): per axis below and above.
        spacing_floor, native : the spacing (mm) is never below either (of `native` the smallest counts).
        budget : voxels; the view may have 1.15 times as many.
        """
        lo, hi = np.asarray(lo_ras, float), np.asarray(hi_ras, float)
        margin = np.broadcast_to(np.asarray(margin_mm, float), (3, 2))
        if not (np.all(np.isfinite([lo, hi])) and np.all(hi >= lo) and np.all(np.isfinite(margin))):
            raise GeometryError(f"a box from {lo.tolist()} to {hi.tolist()} has no inside.", code="CTR-GEO-012")
        lo, hi = lo - margin[:, 0], hi + margin[:, 1]
        centre = _snap((lo + hi) / 2)
        size = np.maximum(2 * np.maximum(hi - centre, centre - lo), CELL)
        steps = np.ceil(np.log(size / CELL) / np.log(SIZE_RATIO) - 1e-9)
        finest = max(float(spacing_floor), float(np.min(native)))
        return cls._fit(centre, CELL * SIZE_RATIO**steps, finest, int(1.15 * budget))

    @classmethod
    def _fit(cls, centre: np.ndarray, size_mm: np.ndarray, finest: float, budget: int) -> View:
        """The finest isotropic spacing, in steps of 2 %, at which the shape stays within the budget."""
        spacing = finest
        while True:
            cells = np.ceil(size_mm / spacing / CELL - 1e-6).astype(int) * CELL
            shape = np.maximum(cells, SMALLEST)
            if int(np.prod(shape)) <= budget or int(shape.max()) == SMALLEST:
                return cls(centre_ras=tuple(centre), shape=tuple(shape), spacing_mm=(spacing,) * 3)
            spacing *= 1.02


# ---------------------------------------------------------------- resampling

def sample(volume: Volume, view: View) -> np.ndarray:
    """HU of a view, float32 [x, y, z]: original voxels averaged over the view's voxels, -1024 outside the scan.

    Along each axis the linear interpolant is averaged over (view spacing - voxel spacing), which is plain linear
    interpolation where the view is as fine as the scan or finer. Flipped or permuted storage gives the same view.
    """
    axes = _aligned_axes(volume)
    values = _sample_oblique(volume, view) if axes is None else _sample_aligned(volume, view, axes)
    return np.maximum(values, AIR_HU, out=values)  # padding of -2048 and the like is air


def inside_fraction(volume: Volume, view: View) -> float:
    """Share of a view's voxels (0 to 1) whose centre lies inside the scan."""
    axes = _aligned_axes(volume)
    if axes is not None:
        along = zip(axes, _positions(volume, view, axes), strict=True)
        return float(np.prod([_inside(positions, volume.shape[a]).mean() for a, positions in along]))
    to_index = volume._inverse @ view.affine
    return float(np.mean([_inside_all(points, volume.shape).mean() for _, points in slabs(to_index, view.shape)]))


def to_grid(values: np.ndarray, view: View, volume: Volume, lo_ras: Sequence | None = None,
            hi_ras: Sequence | None = None, fill: float = -20.0) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Logits of a view, float32 [x, y, z], on the CT's own grid (trilinear).

    Returns (array, first_voxel): a crop [i, j, k] of the CT that covers the view, or the part of it between `lo_ras`
    and `hi_ras`; voxels of the crop whose centre is outside that box (oblique scans) hold `fill`. Empty when nothing
    overlaps.
    """
    if values.shape != view.shape:
        raise GeometryError(f"values of shape {values.shape} do not belong to a view of {view.shape}.",
                            code="CTR-GEO-013")
    lo = view.lo if lo_ras is None else np.maximum(view.lo, np.asarray(lo_ras, float))
    hi = view.hi if hi_ras is None else np.minimum(view.hi, np.asarray(hi_ras, float))
    if np.any(hi <= lo):
        return np.zeros((0, 0, 0), np.float32), (0, 0, 0)
    first, last = _bounds(volume._inverse, lo, hi)
    first = np.clip(np.ceil(first - 1e-6), 0, volume.shape).astype(int)
    last = np.clip(np.floor(last + 1e-6) + 1, first, volume.shape).astype(int)
    origin = tuple(int(f) for f in first)
    if np.any(last <= first):
        return np.zeros(tuple(last - first), np.float32), origin
    axes = _aligned_axes(volume)
    if axes is None:
        return _to_grid_oblique(values, view, volume, first, last, (lo, hi), fill), origin
    return _to_grid_aligned(values, view, volume, first, last, axes), origin


def _sample_aligned(volume: Volume, view: View, axes: Sequence[int]) -> np.ndarray:
    spacing = volume.spacing
    weights, inside = [None] * 3, [None] * 3
    for w, (a, positions) in enumerate(zip(axes, _positions(volume, view, axes), strict=True)):
        weights[a] = linear_weights(positions, volume.shape[a], view.spacing_mm[w] / spacing[a] - 1.0)
        inside[w] = _inside(positions, volume.shape[a])
    values = separable(volume.voxels, weights).transpose(axes)
    valid = inside[0][:, None, None] & inside[1][:, None] & inside[2]
    return np.where(valid, values, np.float32(AIR_HU))


def _sample_oblique(volume: Volume, view: View) -> np.ndarray:
    """Average along the voxel axes onto a grid 1.5 times finer than the view, then interpolate between its points."""
    lo, hi = _bounds(volume._inverse, view.lo, view.hi)
    lo, hi = np.maximum(lo, 0.0), np.minimum(hi, np.array(volume.shape) - 1.0)
    values = np.full(view.shape, AIR_HU, np.float32)
    if np.any(hi < lo - 0.5):
        return values
    lo = np.minimum(lo, hi)
    directions = volume.affine[:3, :3] / volume.spacing
    ratio = np.linalg.norm(directions * np.array(view.spacing_mm)[:, None], axis=0) / volume.spacing
    step = np.maximum(1.0, ratio / 1.5)
    lo = np.where(step == 1.0, np.floor(lo), lo)  # at full resolution the grid is the scan's own
    counts = np.ceil((hi - lo) / step).astype(int) + 1
    weights = [linear_weights(lo[a] + np.arange(counts[a]) * step[a], volume.shape[a], ratio[a] - step[a])
               for a in range(3)]
    grid = separable(volume.voxels, weights)
    for x, points in slabs(volume._inverse @ view.affine, view.shape):
        inside = _inside_all(points, volume.shape)
        scaled = [(points[a][inside] - lo[a]) / step[a] for a in range(3)]
        values[x][inside] = trilinear(grid, scaled)
    return values


def _to_grid_aligned(values: np.ndarray, view: View, volume: Volume, first: np.ndarray, last: np.ndarray,
                     axes: Sequence[int]) -> np.ndarray:
    weights = []
    for a in range(3):
        w = list(axes).index(a)
        line = np.tile((first + last - 1) / 2.0, (last[a] - first[a], 1))
        line[:, a] = np.arange(first[a], last[a])
        positions = (volume.index_to_world(line)[:, w] - view.lo[w]) / view.spacing_mm[w] - 0.5
        weights.append(linear_weights(positions, view.shape[w], 0.0))
    turned = np.asarray(values, np.float32).transpose(np.argsort(axes))
    slow_first = np.asfortranarray(turned)  # the result gets the layout of the scan: i fastest
    return separable(slow_first, weights)


def _to_grid_oblique(values: np.ndarray, view: View, volume: Volume, first: np.ndarray, last: np.ndarray,
                     box: tuple[np.ndarray, np.ndarray], fill: float) -> np.ndarray:
    shift = np.eye(4)
    shift[:3, 3] = first
    to_view = np.linalg.inv(view.affine) @ volume.affine @ shift
    lo, hi = ((edge - view.lo) / view.spacing_mm - 0.5 for edge in box)
    grid, result = np.asarray(values, np.float32), np.full(tuple(last - first), fill, np.float32)
    for x, points in slabs(to_view, result.shape):
        inside = np.logical_and.reduce([(points[w] >= lo[w] - 1e-6) & (points[w] <= hi[w] + 1e-6) for w in range(3)])
        result[x][inside] = trilinear(grid, [p[inside] for p in points])
    return result


def _aligned_axes(volume: Volume) -> tuple[int, int, int] | None:
    """For each world axis the voxel axis along it; None for an oblique scan (more than 0.01 mm off over its length)."""
    lengths = np.abs(volume.affine[:3, :3]) * (np.array(volume.shape) - 1).clip(1)
    axes = tuple(int(a) for a in np.argmax(np.abs(volume.affine[:3, :3] / volume.spacing), axis=1))
    if sorted(axes) != [0, 1, 2]:
        return None
    astray = lengths.copy()
    astray[range(3), axes] = 0.0
    return axes if astray.sum(axis=1).max() < 0.01 else None


def _positions(volume: Volume, view: View, axes: Sequence[int]) -> Iterator[np.ndarray]:
    """Per world axis: fractional voxel indices of the view's voxel centres, along `axes[w]`."""
    for w, a in enumerate(axes):
        line = np.tile(np.array(view.centre_ras), (view.shape[w], 1))
        line[:, w] = view.axis(w)
        yield volume.world_to_index(line)[:, a]


def _inside(positions: np.ndarray, n: int) -> np.ndarray:
    return (positions >= -0.5 - 1e-6) & (positions <= n - 0.5 + 1e-6)


def _inside_all(points: Sequence[np.ndarray], shape: Sequence[int]) -> np.ndarray:
    return np.logical_and.reduce([_inside(p, n) for p, n in zip(points, shape, strict=True)])


# ---------------------------------------------------------------- small things

def hounsfield(voxels: np.ndarray) -> np.ndarray:
    """The array as int16 where nothing is lost, else float32; no copy where it already is one of them."""
    voxels = np.asanyarray(voxels)
    if voxels.dtype in (np.dtype(np.int16), np.dtype(np.float32)) and voxels.dtype.isnative:
        return voxels
    if voxels.dtype.kind not in "iuf":
        raise GeometryError(f"voxels of type {voxels.dtype} are not numbers in HU.", code="CTR-GEO-002")
    if voxels.dtype.kind == "f" or not voxels.size or voxels.min() < -32768 or voxels.max() > 32767:
        return voxels.astype(np.float32)
    return voxels.astype(np.int16)


def check_affine(affine: np.ndarray) -> None:
    """Refuse an affine that is no rotation (or flip) with a spacing."""
    if affine.shape != (4, 4) or not np.all(np.isfinite(affine)) or not np.allclose(affine[3], [0, 0, 0, 1]):
        raise GeometryError("the affine is not a 4x4 matrix of finite numbers.", code="CTR-GEO-003")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    low, high = SPACING_LIMITS_MM
    if np.any(spacing < low) or np.any(spacing > high):
        shown = " x ".join(f"{s:.4g}" for s in spacing)
        raise GeometryError(f"a voxel of {shown} mm is not one of a CT.", code="CTR-GEO-004",
                            hint=f"Voxel edges between {low} and {high} mm are read; check the unit of length.")
    directions = affine[:3, :3] / spacing
    cosine = float(np.abs(directions.T @ directions - np.eye(3)).max())
    if cosine > MAX_SHEAR:
        degrees = float(np.degrees(np.arcsin(min(cosine, 1.0))))
        raise GeometryError(f"the axes of the scan are sheared by {degrees:.1f} degrees.", code="CTR-GEO-005",
                            hint="Resample it to a rectangular grid first (a tilted gantry in DICOM is resampled).")


def body_extent(volume: Volume, threshold_hu: float = -500.0) -> tuple[np.ndarray, np.ndarray]:
    """(lo, hi), RAS mm: the box round all that is denser than `threshold_hu`, from every n-th voxel; else the scan.

    A plane counts when it holds 0.5 % of what the fullest plane holds: a wire or noise does not stretch the box.
    """
    step = np.maximum(1, np.array(volume.shape) // 64)
    dense = volume.voxels[::step[0], ::step[1], ::step[2]] > threshold_hu
    lo, hi = np.zeros(3), np.array(volume.shape) - 1.0
    for a in range(3):
        profile = dense.sum(axis=tuple(b for b in range(3) if b != a))
        found = np.flatnonzero(profile > 0.005 * profile.max())
        if len(found):
            lo[a] = max(0, (found[0] - 1) * step[a] + 1)
            hi[a] = min(volume.shape[a] - 1, (found[-1] + 1) * step[a] - 1)
    return _bounds(volume.affine, lo - 0.5, hi + 0.5)


def box_of(mask: np.ndarray, first_voxel: Sequence[int], volume: Volume) -> tuple[np.ndarray, np.ndarray]:
    """(centre_ras, size_mm): the RAS box round the voxel edges of a mask crop [i, j, k] starting at `first_voxel`."""
    mask = np.asarray(mask).astype(bool)
    if not mask.any():
        raise GeometryError("an empty mask has no box.", code="CTR-GEO-014")
    j, k = np.nonzero(mask.any(axis=0))
    columns = mask[:, j, k]
    ends = np.argmax(columns, axis=0), mask.shape[0] - 1 - np.argmax(columns[::-1], axis=0)
    outer = np.concatenate([np.stack([i, j, k], axis=1) for i in ends]) + np.asarray(first_voxel)
    points = volume.index_to_world(outer)  # a box touches each column at one of its ends
    half = np.abs(volume.affine[:3, :3]).sum(axis=1) / 2
    lo, hi = points.min(axis=0) - half, points.max(axis=0) + half
    return (lo + hi) / 2, hi - lo


def digest(array: np.ndarray) -> str:
    """First 16 hex digits of the sha256 of an array with its shape and type."""
    array = np.ascontiguousarray(array)
    hasher = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
    hasher.update(array)
    return hasher.hexdigest()[:16]


def _snap(centre: np.ndarray) -> np.ndarray:
    return np.round(centre / SNAP_MM) * SNAP_MM + 0.0


def _transform(affine: np.ndarray, points: Sequence) -> np.ndarray:
    return np.asarray(points, dtype=np.float64) @ affine[:3, :3].T + affine[:3, 3]


def _bounds(affine: np.ndarray, lo: np.ndarray, hi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The axis-aligned box round a transformed box."""
    centre = _transform(affine, (lo + hi) / 2)
    half = np.abs(affine[:3, :3]) @ (hi - lo) / 2
    return centre - half, centre + half
