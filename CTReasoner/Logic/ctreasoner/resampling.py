"""Fast linear resampling of three-dimensional arrays, with numpy alone. What positions mean in mm is geometry.py's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

import numpy as np


def linear_weights(positions: np.ndarray, n: int, box: float) -> np.ndarray:
    """(outputs, n) float32: linear interpolation at fractional `positions`, averaged over `box` voxels.

    Rows sum to 1 where a voxel is near enough; the outermost half voxel repeats the last value.
    """
    distance = np.clip(positions, -0.5, n - 0.5)[:, None] - np.arange(n)
    if box > 1e-3:
        table = _ramp(distance + box / 2) - _ramp(distance - box / 2)
    else:
        table = np.maximum(0.0, 1.0 - np.abs(distance))
    return (table / table.sum(axis=1, keepdims=True)).astype(np.float32)


def _ramp(x: np.ndarray) -> np.ndarray:
    """Integral of the triangle of width 2 up to x."""
    x = np.clip(x, -1.0, 1.0)
    return np.where(x < 0, (x + 1) ** 2 / 2, 1 - (1 - x) ** 2 / 2)


def separable(array: np.ndarray, weights: Sequence[np.ndarray]) -> np.ndarray:
    """Contract each axis of `array` with its (outputs, n) table; reads what has weight, keeps the layout in memory."""
    order = tuple(int(a) for a in np.argsort([-abs(s) for s in array.strides], kind="stable"))
    turned, tables = array.transpose(order), [weights[a] for a in order]
    used = [np.flatnonzero(table.any(axis=0)) for table in tables]
    needed = tuple(slice(u[0], u[-1] + 1) for u in used)
    turned = turned[needed]
    tables = [np.ascontiguousarray(table[:, part]) for table, part in zip(tables, needed, strict=True)]
    growth = [len(table) / table.shape[1] for table in tables]
    for axis in ((0, 1, 2) if growth[0] < growth[1] else (1, 0, 2)):  # the strongest reduction first
        turned = _contract(turned, tables[axis], axis)
    return turned.transpose(np.argsort(order))


def _contract(array: np.ndarray, table: np.ndarray, axis: int) -> np.ndarray:
    """Contract one axis of [a, b, c], in float32 pieces that stay in the cache; banded tables go in groups of rows."""
    a, b, c = array.shape
    if axis == 2:
        return (np.asarray(array, np.float32).reshape(a * b, c) @ table.T).reshape(a, b, len(table))
    bands = list(_bands(table))
    if axis == 1:
        result = np.zeros((a, len(table), c), np.float32)
        for index in range(a):
            piece = np.asarray(array[index], np.float32)
            for rows, columns, block in bands:
                np.matmul(block, piece[columns], out=result[index, rows])
        return result
    result = np.zeros((len(table), b, c), np.float32)
    height = max(1, 400_000 // (a * c))
    for start in range(0, b, height):
        piece = np.ascontiguousarray(array[:, start:start + height], np.float32).reshape(a, -1)
        for rows, columns, block in bands:
            result[rows, start:start + height] = (block @ piece[columns]).reshape(len(block), -1, c)
    return result


def _bands(table: np.ndarray) -> Iterator[tuple[slice, slice, np.ndarray]]:
    height = max(8, -(-len(table) // 12))
    for start in range(0, len(table), height):
        block = table[start:start + height]
        used = np.flatnonzero(block.any(axis=0))
        columns = slice(used[0], used[-1] + 1)
        yield slice(start, start + len(block)), columns, np.ascontiguousarray(block[:, columns])


def slabs(matrix: np.ndarray, shape: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray]]]:
    """For each x of a grid: the three coordinates, each [y, z], of its points under `matrix`."""
    y, z = np.arange(shape[1])[:, None], np.arange(shape[2])[None, :]
    for x in range(shape[0]):
        yield x, [matrix[a, 0] * x + matrix[a, 1] * y + matrix[a, 2] * z + matrix[a, 3] for a in range(3)]


def trilinear(grid: np.ndarray, points: Sequence[np.ndarray]) -> np.ndarray:
    """Values of `grid` at fractional indices (three flat arrays), edges repeated."""
    strides = [s // grid.itemsize for s in grid.strides]
    flat = grid.reshape(-1, order="A") if grid.flags.forc else np.ascontiguousarray(grid).reshape(-1)
    if not grid.flags.forc:
        strides = [grid.shape[1] * grid.shape[2], grid.shape[2], 1]
    low, high, fraction = [], [], []
    for point, n, stride in zip(points, grid.shape, strides, strict=True):
        point = np.clip(point, 0, n - 1)
        cell = np.minimum(point.astype(np.int64), max(n - 2, 0))
        fraction.append((point - cell).astype(np.float32))
        low.append(cell * stride)
        high.append(np.minimum(cell + 1, n - 1) * stride)
    result = np.zeros(len(fraction[0]), np.float32)
    for corner in product((0, 1), repeat=3):
        place = sum((high if up else low)[a] for a, up in enumerate(corner))
        weight = np.prod([fraction[a] if up else 1 - fraction[a] for a, up in enumerate(corner)], axis=0)
        result += weight * flat[place]
    return result
