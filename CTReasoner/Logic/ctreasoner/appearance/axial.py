"""Long and short axis in an axial slice, and what is measured of lung nodules alone."""

from __future__ import annotations

import numpy as np


def axes(crop, out) -> None:
    """RECIST long axis and perpendicular short axis in the axial slice of largest area, end points in RAS."""
    spacing, across = crop.volume.spacing, axial_axis(crop.volume)
    plane = [a for a in range(3) if a != across]
    level = int(crop.mask.sum(axis=tuple(plane)).argmax())
    points = outline(crop.mask.take(level, axis=across), spacing[plane])
    (a, b), (c, d) = long_and_short(points)
    normal = crop.volume.affine[:3, across] / spacing[across]
    for name, ends in (("long_axis", (a, b)), ("short_axis", (c, d))):
        full = np.empty((2, 3))
        full[:, plane], full[:, across] = ends, level * spacing[across]
        ras = crop.ras(full)
        geometry = {"ends_ras": ras.tolist(), "plane": {"origin": ras.mean(0).tolist(), "normal": normal.tolist()}}
        out.add(name, float(np.linalg.norm(np.subtract(*ends))), geometry)


def axial_axis(volume) -> int:
    """The voxel axis that runs along the body."""
    return int(np.argmax(np.abs(volume.affine[2, :3]) / volume.spacing))


def outline(area: np.ndarray, spacing) -> np.ndarray:
    """(n, 2) mm, the middles of all pixel edges between inside and outside."""
    padded = np.pad(area, 1)
    found = []
    for axis in range(2):
        at = np.argwhere(np.diff(padded, axis=axis)).astype(float) - 1
        at[:, axis] += 0.5
        found.append(at * np.asarray(spacing))
    return np.concatenate(found)


def long_and_short(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """End points (2, 2) of the longest chord, and of the longest one perpendicular to it."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = points[ConvexHull(points).vertices]
    except QhullError:
        hull = points
    square = ((hull[:, None] - hull[None]) ** 2).sum(-1)
    a, b = np.unravel_index(square.argmax(), square.shape)
    long = hull[[a, b]]
    way = (long[1] - long[0]) / max(np.linalg.norm(long[1] - long[0]), 1e-9)
    side = np.array([-way[1], way[0]])
    polygon = _ordered_chords(hull, long[0], way, side)
    return long, polygon


def _ordered_chords(hull: np.ndarray, origin, way, side) -> np.ndarray:
    """The longest chord of a convex polygon along ``side``: over positions along ``way``, top edge minus bottom edge."""
    u, v = (hull - origin) @ way, (hull - origin) @ side
    at = np.linspace(u.min(), u.max(), 201)
    top, bottom = np.full(at.size, -np.inf), np.full(at.size, np.inf)
    for (u0, v0), (u1, v1) in zip(zip(u, v, strict=True), zip(np.roll(u, -1), np.roll(v, -1), strict=True), strict=True):
        if abs(u1 - u0) < 1e-9:
            continue
        inside = (at >= min(u0, u1)) & (at <= max(u0, u1))
        height = v0 + (at - u0) / (u1 - u0) * (v1 - v0)
        top[inside], bottom[inside] = np.maximum(top[inside], height[inside]), np.minimum(bottom[inside], height[inside])
    best = int(np.argmax(np.where(np.isfinite(top - bottom), top - bottom, -1)))
    return np.array([origin + at[best] * way + top[best] * side, origin + at[best] * way + bottom[best] * side])


def nodule(crop, out) -> None:
    """Share of solid voxels in the inner half of a nodule, and how steep its rim is."""
    from scipy import ndimage

    spacing = crop.volume.spacing
    across = axial_axis(crop.volume)
    plane = np.array([a for a in range(3) if a != across])
    weight = np.where(np.arange(3) == across, 1e3, spacing)      # depth within each slice: few slices, large steps
    pad = np.where(np.arange(3) == across, 0, 4)
    lo, hi = np.maximum(crop.first - pad, 0), np.minimum(crop.first + crop.mask.shape + pad, crop.volume.shape)
    hu = np.array(crop.volume.voxels[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))], dtype=np.float32)
    mask = np.zeros(hu.shape, dtype=bool)
    mask[tuple(slice(a, a + n) for a, n in zip(crop.first - lo, crop.mask.shape, strict=True))] = crop.mask
    padded = np.pad(mask, 1)
    depth = ndimage.distance_transform_edt(padded, sampling=weight)[1:-1, 1:-1, 1:-1]
    inner = hu[depth >= max(0.5 * depth.max(), float(spacing[plane].min()))]
    out.add("solid_share", 100 * float(np.mean(inner > -300)) if inner.size else None, reason="too small")
    if min(hu.shape[a] for a in plane) < 3:
        out.add("rim_gradient", None, reason="too small")
        return
    away = ndimage.distance_transform_edt(~padded, sampling=weight)[1:-1, 1:-1, 1:-1]
    near = 1.1 * spacing[plane].max()
    rim = np.where(mask, depth, away) <= near
    slope = np.hypot(*(np.gradient(hu, spacing[a], axis=int(a)) for a in plane))
    out.add("rim_gradient", float(np.percentile(slope[rim], 75)))
