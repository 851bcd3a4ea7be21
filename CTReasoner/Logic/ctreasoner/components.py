"""Connected parts of a mask, exactly, in the time that its surface takes and not its volume.

A mask is read as runs: voxels in a row along its longest axis. There are few of them however thin the slices are, and two
runs belong together where they touch in neighbouring rows (connectivity by faces).
"""

from __future__ import annotations

import numpy as np


class Components:
    """The parts of a mask [i, j, k] bool: ``sizes`` in voxels, part 0 first; ``part_at`` an index; ``keep`` some of them."""

    def __init__(self, mask: np.ndarray) -> None:
        self.mask, self.axis = mask, int(np.argmax(mask.shape))
        self.row, self.start, self.stop = _runs(mask, self.axis)
        self.part, count = _joined(len(self.row), *self._touching())
        self.sizes = np.bincount(self.part, self.stop - self.start, count).astype(np.int64)

    def part_at(self, index: tuple[int, int, int]) -> int | None:
        """The part that holds a voxel, None outside of the mask (and outside of the array)."""
        if not all(0 <= i < n for i, n in zip(index, self.mask.shape, strict=True)) or not self.mask[tuple(index)]:
            return None
        others = [int(i) for a, i in enumerate(index) if a != self.axis]
        row = others[0] * self._across + others[1]
        return int(self.part[np.searchsorted(self._keys(self.row, self.start), row * self._length + index[self.axis], "right") - 1])

    def keep(self, parts) -> np.ndarray:
        """The mask with these parts alone."""
        out = self.mask.copy()
        rows = np.moveaxis(out, self.axis, -1)
        for row, start, stop in zip(*(a[~np.isin(self.part, list(parts))] for a in (self.row, self.start, self.stop)), strict=True):
            rows[row // self._across, row % self._across, start:stop] = False
        return out

    def shared(self, other: np.ndarray) -> np.ndarray:
        """How many voxels of each part lie in `other` [i, j, k] bool as well."""
        row, start, stop = _runs(self.mask & other, self.axis)
        run = np.searchsorted(self._keys(self.row, self.start), self._keys(row, start), "right") - 1
        return np.bincount(self.part[run], stop - start, len(self.sizes)).astype(np.int64)

    @property
    def _across(self) -> int:
        """Rows of one layer."""
        return [n for a, n in enumerate(self.mask.shape) if a != self.axis][1]

    @property
    def _length(self) -> int:
        return self.mask.shape[self.axis] + 1

    def _keys(self, row: np.ndarray, at: np.ndarray) -> np.ndarray:
        """One number for a place, rows after each other."""
        return row * self._length + at

    def _touching(self) -> tuple[np.ndarray, np.ndarray]:
        """Pairs of runs that lie beside each other."""
        starts, stops = self._keys(self.row, self.start), self._keys(self.row, self.stop)
        first, second = [], []
        for step, here in ((self._across, slice(None)), (1, self.row % self._across < self._across - 1)):
            run = np.arange(len(self.row))[here]
            move = step * self._length
            low = np.searchsorted(stops, starts[run] + move, "right")
            high = np.searchsorted(starts, stops[run] + move, "left")
            count = np.maximum(high - low, 0)
            first.append(np.repeat(run, count))
            second.append(np.repeat(low - np.cumsum(count) + count, count) + np.arange(count.sum()))
        return np.concatenate(first), np.concatenate(second)


def _runs(mask: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, first voxel, voxel behind the last) of every run along an axis, in order."""
    rows = np.moveaxis(mask, axis, -1)
    change = np.zeros((*rows.shape[:2], rows.shape[2] + 1), bool)
    change[..., 0], change[..., -1] = rows[..., 0], rows[..., -1]
    np.not_equal(rows[..., 1:], rows[..., :-1], out=change[..., 1:-1])
    row, at = np.divmod(np.flatnonzero(change), change.shape[2])          # starts and stops take turns within a row
    return row[::2], at[::2], at[1::2]


def _joined(count: int, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, int]:
    """(number of its group for each of `count` things, number of groups) when these pairs belong together."""
    root = np.arange(count)
    while True:
        a, b = root[first], root[second]
        if np.array_equal(a, b):
            break
        np.minimum.at(root, np.maximum(a, b), np.minimum(a, b))
        while not np.array_equal(root, root[root]):
            root = root[root]
    roots, part = np.unique(root, return_inverse=True)
    return part, len(roots)
