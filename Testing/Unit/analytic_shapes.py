"""Shapes whose size is known, as voxel masks on a CT; sampled fine and thresholded at half occupancy."""

from __future__ import annotations

import numpy as np
from ctreasoner.geometry import Volume


def ct(shape=(96, 96, 80), spacing=(1.5, 1.5, 2.0), hu=-100.0, rotation=None) -> Volume:
    """An even CT around the origin; ``rotation`` (3, 3) turns its axes."""
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if rotation is None else rotation) @ np.diag(spacing)
    affine[:3, 3] = -affine[:3, :3] @ (np.array(shape) - 1) / 2
    return Volume(np.full(shape, hu, dtype=np.int16), affine)


def painted(volume: Volume, *parts: tuple[np.ndarray, float]) -> Volume:
    """The same CT with these masks at these HU."""
    voxels = volume.voxels.copy()
    for mask, hu in parts:
        voxels[mask] = hu
    return Volume(voxels, volume.affine)


def points(volume: Volume) -> np.ndarray:
    """(i, j, k, 3) RAS of every voxel centre."""
    index = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1)
    return volume.index_to_world(index.reshape(-1, 3)).reshape(*volume.shape, 3)


def ellipsoid(volume: Volume, half_axes, centre=(0, 0, 0)) -> np.ndarray:
    return (((points(volume) - centre) / np.asarray(half_axes)) ** 2).sum(-1) <= 1


def ball(volume: Volume, radius: float, centre=(0, 0, 0)) -> np.ndarray:
    return ellipsoid(volume, (radius,) * 3, centre)


def cylinder(volume: Volume, radius: float, way, half_length: float, centre=(0, 0, 0)) -> np.ndarray:
    way = np.asarray(way, dtype=float) / np.linalg.norm(way)
    offset = points(volume) - centre
    along = offset @ way
    return (np.linalg.norm(offset - along[..., None] * way, axis=-1) <= radius) & (np.abs(along) <= half_length)


def arch(volume: Volume, bend: float, ascending: float, descending: float, top: float, down: float) -> np.ndarray:
    """A U like the aorta's: radius ``ascending`` in front (+y), evenly less over the arch, ``descending`` behind.

    ``bend`` is the radius of the arch's centre line, ``top`` the level of its centre; limbs are ``down`` and twice ``down`` long.
    """
    p = points(volume)
    y, level = p[..., 1], p[..., 2] - top
    ring = np.hypot(np.hypot(y, level) - bend, p[..., 0])
    over = ascending + (descending - ascending) * np.arctan2(level, y) / np.pi
    front, back = np.hypot(p[..., 0], y - bend), np.hypot(p[..., 0], y + bend)
    limbs = (level < 0) & (level > -down)
    return (level >= 0) & (ring <= over) | limbs & (front <= ascending) | (level < 0) & (level > -2 * down) & (back <= descending)


def turned(degrees=(20.0, 10.0, 30.0)) -> np.ndarray:
    """A rotation about the three axes, one after the other."""
    out = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        c, s = np.cos(angle), np.sin(angle)
        one = np.eye(3)
        a, b = [x for x in range(3) if x != axis]
        one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
        out = out @ one
    return out
