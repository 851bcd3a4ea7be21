"""Values counted again from an exported mask and the CT, for the check of a text. Takes no measurement from anywhere.

Simple ways on purpose, other ones than ``measure`` where there are two: a chord by turning the slice, a tube's diameter
as the smallest cut through its deepest points (no centre line), the parts of the aorta by what each axial slice shows.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from . import measure as m
from .attributes import THING, accepted
from .axial import axial_axis, nodule
from .surface import surface_mm2

POINTS, TURNS, RAYS = 40, 60, 32
END_MM = 10.0


class Recount:
    """One object's mask, read back, and what can be counted on it; each value once, when it is first asked for."""

    def __init__(self, mask, first_voxel, volume, obj=None, body_centre_ras=None) -> None:
        array = np.load(mask, mmap_mode="r") if isinstance(mask, (str, Path)) else np.asarray(mask)
        tight, first = m._tight(array, np.asarray(first_voxel, dtype=int))
        self.empty = tight is None
        self.volume, self.obj, self.body_centre_ras = volume, obj or THING, body_centre_ras
        self.key = self.obj.key
        if self.empty:
            return
        cut = tuple(slice(a, a + n) for a, n in zip(first, tight.shape, strict=True))
        self.mask, self.first, self.hu_box = tight, first, volume.voxels[cut]
        self.spacing = np.asarray(volume.spacing, dtype=float)

    @cached_property
    def hu(self) -> np.ndarray:
        return np.asarray(self.hu_box[self.mask], dtype=np.float64)

    @cached_property
    def _crop(self):
        return m._Crop(self.mask, self.hu_box, self.first, self.volume, self.key)

    @cached_property
    def centre_ras(self) -> np.ndarray:
        """Mean position of the mask's voxels, from every fifth at most."""
        where = np.flatnonzero(self.mask)[:: max(1, np.count_nonzero(self.mask) // 50_000)]
        index = np.stack(np.unravel_index(where, self.mask.shape), 1) + self.first
        return self.volume.index_to_world(index).mean(0)

    @cached_property
    def side_mm(self) -> float:
        """How far right of the body's middle (mm)."""
        if self.body_centre_ras is not None:
            return float(self.centre_ras[0] - self.body_centre_ras[0])
        from ctreasoner.geometry import body_extent

        lo, hi = body_extent(self.volume)
        return float(self.centre_ras[0] - (lo[0] + hi[0]) / 2)

    @cached_property
    def cut(self) -> bool:
        """The mask touches the border of the scan."""
        return bool(np.any(self.first <= 0) or np.any(self.first + self.mask.shape >= self.volume.shape))

    @cached_property
    def box_mm(self) -> np.ndarray:
        """Extent of the voxels along R, A, S."""
        ends = np.stack(np.meshgrid(*((f - 0.5, f + n - 0.5) for f, n in zip(self.first, self.mask.shape, strict=True))), -1)
        corners = self.volume.index_to_world(ends.reshape(-1, 3))
        if np.allclose(np.sort(np.abs(self.volume.affine[:3, :3] / self.spacing), axis=0)[:2], 0, atol=1e-3):
            return np.ptp(corners, axis=0)
        at = np.argwhere(self.mask) + self.first
        half = np.abs(self.volume.affine[:3, :3]).sum(1)
        return np.ptp(self.volume.index_to_world(at), axis=0) + half

    def value(self, name: str) -> float | None:
        """A number by its measurement name, or None where it cannot be counted again."""
        if self.empty:
            return None
        if name in _SIMPLE:
            return float(_SIMPLE[name](self))
        if name in ("long_axis", "short_axis"):
            return self._chords[name == "short_axis"]
        if name.startswith("diameter_"):
            return self._diameter(name)
        return None

    @cached_property
    def _calcified(self) -> float:
        core = self.hu_box[m.eroded(self.mask, self.spacing)]
        spread = float((core if core.size >= 10 else self.hu).std())
        return m.calcified(self._crop, float(np.percentile(self.hu, 50)), spread) * self.value("volume") / self.hu.size

    @cached_property
    def _chords(self) -> tuple[float, float]:
        """Long axis by turning the slice of largest area in half degrees; short axis as the widest strip across it."""
        across = axial_axis(self.volume)
        plane = [a for a in range(3) if a != across]
        level = int(self.mask.sum(axis=tuple(plane)).argmax())
        at = np.argwhere(self.mask.take(level, axis=across)) * self.spacing[plane]
        angle = np.deg2rad(np.arange(0, 180, 0.5))
        ways = np.stack([np.cos(angle), np.sin(angle)])
        across_pixel = np.abs(ways).T @ self.spacing[plane] * 0.75   # from pixel centres to the outline, both ends
        width = np.ptp(at @ ways, axis=0) + across_pixel
        best = int(width.argmax())
        u, v = at @ ways[:, best], at @ ways[:, (best + 180) % 360]
        strip = np.floor((u - u.min()) / (1.5 * self.spacing[plane].max())).astype(int)
        low, high = np.full(strip.max() + 1, np.inf), np.full(strip.max() + 1, -np.inf)
        np.minimum.at(low, strip, v)
        np.maximum.at(high, strip, v)
        return float(width[best]), float((high - low).max() + across_pixel[(best + 180) % 360])

    def words(self, attribute: str) -> tuple[str, ...]:
        """Values of a category that the rule accepts on this mask."""
        return () if self.empty else accepted(attribute, self.obj, self._for_rule(attribute), self.cut)

    def _for_rule(self, attribute: str) -> dict[str, float]:
        found = {name: self.value(name) for name in _NEEDED.get(attribute, ())}
        if attribute == "homogeneity":
            found["patchiness_hu"] = self._patchiness
        if attribute in ("shape", "spiculation"):
            found |= self._form
        if attribute in ("texture", "margin"):
            out = m._Collector()
            nodule(self._crop, out)
            found |= m.values(out.found)
        if attribute == "size" and self.obj.tubular:
            found = {n: self._diameter(n) for n in ("diameter_max", *(f"diameter_max_{s}" for s in PARTS))
                     if self.key == "aorta" or n == "diameter_max"}
        return {name: value for name, value in found.items() if value is not None}

    @cached_property
    def _patchiness(self) -> float | None:
        core = m.eroded(self.mask, self.spacing)
        return m._patchiness(self._crop, core) if np.count_nonzero(core) >= 10 else None

    @cached_property
    def _form(self) -> dict[str, float]:
        at = np.argwhere(self.mask) * self.spacing
        eigen = np.sort(np.linalg.eigvalsh(np.cov(at.T)))[::-1] if len(at) > 3 else np.ones(3)
        surface = surface_mm2(self.mask, self.spacing)
        return {"elongation": float(np.sqrt(max(eigen[1], 0) / eigen[0])) if eigen[0] > 0 else 1.0,
                "sphericity": (36 * np.pi * (1000 * self.value("volume")) ** 2) ** (1 / 3) / surface}

    # Tubes

    def _diameter(self, name: str) -> float | None:
        width, part = self._cuts
        part_wanted = name.removeprefix("diameter_max_")
        chosen = width[part == part_wanted] if part_wanted in PARTS else width
        if not len(chosen):
            return None
        return float(np.median(chosen) if name == "diameter_median" else chosen.max())

    @cached_property
    def _cuts(self) -> tuple[np.ndarray, np.ndarray]:
        """Diameter of the smallest cut through each deep point of a tube, and the part of the aorta it lies in."""
        points, depth, occupied, step = self._deep_points()
        if not len(points):
            return np.empty(0), np.empty(0, dtype="<U10")
        normal = _smallest_cut(points, depth, occupied, step)
        width = _across(points, normal, depth, occupied, step)
        ras = self.volume.affine[:3, :3] / self.spacing
        part = self._parts(points, (normal @ ras.T)[:, 2]) if self.key == "aorta" else np.full(len(points), "", dtype="<U10")
        return width, part

    def _deep_points(self):
        """Points on the ridge of the distance to the wall, in mm of the crop, spread along the tube; none near a cut end."""
        from scipy import ndimage

        factor = np.maximum(1, np.floor(1.4 / self.spacing + 0.2)).astype(int)
        padded = np.pad(self.mask, [(factor[a], factor[a] + (-self.mask.shape[a]) % factor[a]) for a in range(3)])
        shape = [n for a in range(3) for n in (padded.shape[a] // factor[a], factor[a])]
        occupied = padded.reshape(shape).mean((1, 3, 5), dtype=np.float32)
        step = self.spacing * factor
        depth = ndimage.distance_transform_edt(occupied >= 0.5, sampling=step)
        at = np.argwhere(depth > 0.5 * np.percentile(depth[occupied >= 0.5], 99))
        deep = depth[tuple(at.T)]
        ridge = deep >= ndimage.maximum_filter(depth, 3)[tuple(at.T)] - 0.35 * step.min()
        at, deep = at[ridge], deep[ridge]
        place = at * step + (step - self.spacing) / 2 - factor * self.spacing
        keep = []
        free = np.ones(len(at), dtype=bool)
        apart = max(5.0, float(np.median(deep)) * 0.7) if len(deep) else 5.0
        while free.any() and len(keep) < 3 * POINTS:
            best = int(np.where(free, deep, -1).argmax())
            keep.append(best)
            free &= np.linalg.norm(place - place[best], axis=1) > apart
        keep = np.array(keep, dtype=int)
        keep = keep[self._away_from_ends(place[keep], deep[keep])] if len(keep) else keep
        occupied = ndimage.gaussian_filter(occupied, 0.8)       # no steps of single voxels
        return place[keep], deep[keep], occupied, (step, (step - self.spacing) / 2 - factor * self.spacing)

    def _away_from_ends(self, place: np.ndarray, deep: np.ndarray) -> np.ndarray:
        """Not within a radius and 10 mm of where the scan cuts; an end has all other deep points on one side."""
        index = place / self.spacing + self.first
        border = np.minimum(index, np.array(self.volume.shape) - 1 - index) * self.spacing
        open_end = border.min(1) > deep + END_MM
        if len(place) < 4:
            return open_end
        gap = np.linalg.norm(place[:, None] - place, axis=-1)
        near = np.argsort(gap, axis=1)[:, 1:4]
        ways = place[near] - place[:, None]
        ways /= np.maximum(np.linalg.norm(ways, axis=-1, keepdims=True), 1e-9)
        both_sides = (ways[:, 0] * ways[:, 1]).sum(-1) < 0.3
        both_sides |= (ways[:, 0] * ways[:, 2]).sum(-1) < 0.3
        return open_end & both_sides

    def _parts(self, points: np.ndarray, steep: np.ndarray) -> np.ndarray:
        """Parts of the aorta: of two limbs in a slice the front one ascends; below them it descends, above lies the arch."""
        from scipy import ndimage

        axis = axial_axis(self.volume)
        ras = self.volume.index_to_world(points / self.spacing + self.first)
        levels = np.clip(np.round(points[:, axis] / self.spacing[axis]).astype(int), 0, self.mask.shape[axis] - 1)
        part = np.full(len(points), "descending", dtype="<U10")
        two = np.zeros(len(points), dtype=bool)
        for n, level in enumerate(levels):
            labels, count = ndimage.label(self.mask.take(int(level), axis=axis))
            size = np.bincount(labels.ravel(), minlength=2)[1:]
            big = np.flatnonzero(size >= 0.15 * size.sum()) + 1
            if count < 2 or len(big) < 2:
                continue
            two[n] = True
            plane = [a for a in range(3) if a != axis]
            middle = np.full((len(big), 3), float(level))
            middle[:, plane] = ndimage.center_of_mass(labels > 0, labels, big)
            where = self.volume.index_to_world(middle + self.first)
            own = np.linalg.norm(where[:, :2] - ras[n, :2], axis=1).argmin()
            if where[own, 1] > where[:, 1].mean():
                part[n] = "ascending"
        if two.any():
            top = ras[two, 2].max()
            part[(ras[:, 2] > top - 3) & (np.abs(steep) < 0.7) | ~two & (ras[:, 2] > top)] = "arch"
            part[two & (np.abs(steep) < 0.6) & (ras[:, 2] > top - 25)] = "arch"
        return part


PARTS = ("ascending", "arch", "descending")
_NEEDED = {
    "density": ("p50_hu",), "calcification": ("calcified_volume", "p95_hu"), "gas": ("gas_volume",), "size": ("volume",),
}


_SIMPLE = {
    "volume": lambda s: s.hu.size * abs(np.linalg.det(s.volume.affine[:3, :3])) / 1000,
    "mean_hu": lambda s: s.hu.mean(),
    "sd_hu": lambda s: s.hu.std(),
    "p5_hu": lambda s: np.percentile(s.hu, 5),
    "p50_hu": lambda s: np.percentile(s.hu, 50),
    "p95_hu": lambda s: np.percentile(s.hu, 95),
    "gas_volume": lambda s: np.mean(s.hu < -300) * s.value("volume"),
    "calcified_volume": lambda s: s._calcified,
    "equivalent_diameter": lambda s: 2 * (3 * 1000 * s.value("volume") / (4 * np.pi)) ** (1 / 3),
}


def _smallest_cut(points, depth, occupied, step) -> np.ndarray:
    """Normals of the planes through each point that cut the least area: first over half a sphere, then around the best."""
    n = np.arange(TURNS) + 0.5
    polar, turn = np.arccos(1 - n / TURNS), np.pi * (1 + 5**0.5) * n
    ways = np.stack([np.cos(turn) * np.sin(polar), np.sin(turn) * np.sin(polar), np.cos(polar)], 1)
    normal = np.broadcast_to(ways, (len(points), TURNS, 3))
    for spread in (0.25, 0.10):
        area = _area(points, normal, depth, occupied, step)
        best = normal[np.arange(len(points)), area.argmin(1)]
        a, b = _frame(best)
        ring = np.arange(8) * np.pi / 4
        around = best[:, None] + spread * (np.cos(ring)[:, None] * a[:, None] + np.sin(ring)[:, None] * b[:, None])
        normal = np.concatenate([best[:, None], around / np.linalg.norm(around, axis=-1, keepdims=True)], 1)
    area = _area(points, normal, depth, occupied, step)
    return normal[np.arange(len(points)), area.argmin(1)]


def _area(points, normal, depth, occupied, step) -> np.ndarray:
    radius, _ = _radii(np.repeat(points, normal.shape[1], 0), normal.reshape(-1, 3), np.repeat(depth, normal.shape[1]), occupied,
                       step, 16)
    return (radius**2).mean(1).reshape(normal.shape[:2])


def _across(points, normal, depth, occupied, step) -> np.ndarray:
    """Largest distance across the cut with this normal."""
    radius, ways = _radii(points, normal, depth, occupied, step, RAYS)
    typical = np.median(radius, axis=1, keepdims=True)
    rim = ways * np.minimum(radius, 1.4 * typical)[..., None]
    return np.linalg.norm(rim[:, :, None] - rim[:, None], axis=-1).max((1, 2))


def _radii(points, normal, depth, occupied, step, rays):
    from scipy.ndimage import map_coordinates

    a, b = _frame(normal)
    angle = np.arange(rays) * 2 * np.pi / rays
    ways = np.cos(angle)[:, None] * a[:, None] + np.sin(angle)[:, None] * b[:, None]
    along = np.linspace(0, 1, 22)[1:] * (2.4 * depth + 3)[:, None]
    place = points[:, None, None] + ways[:, :, None] * along[:, None, :, None]
    cells = np.moveaxis((place - step[1]) / step[0], -1, 0).astype(np.float32)
    value = map_coordinates(occupied, cells, order=1, mode="constant", prefilter=False)
    out = value < 0.5
    out[..., -1] = True
    stop = out.argmax(-1)
    i, j = np.indices(stop.shape)
    before = np.where(stop > 0, value[i, j, np.maximum(stop - 1, 0)], 1.0)
    part = np.clip((before - 0.5) / np.maximum(before - value[i, j, stop], 1e-6), 0, 1)
    pace = along[:, :1]
    return (stop + part) * pace, ways


def _frame(normal):
    helper = np.eye(3)[np.argmin(np.abs(normal), axis=-1)]
    a = np.cross(normal, helper)
    a /= np.linalg.norm(a, axis=-1, keepdims=True)
    return a, np.cross(normal, a)
