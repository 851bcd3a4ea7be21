"""Overlaps of masks and boxes on a CT's grid, and means with patient-level bootstrap intervals."""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
SEED = 7


@dataclass(frozen=True)
class Placed:
    """A mask as a crop [i, j, k] of a CT's grid that starts at `first`."""
    crop: np.ndarray
    first: tuple[int, int, int]

    @classmethod
    def of(cls, mask: np.ndarray) -> Placed:
        """The crop round a mask that covers the whole grid."""
        spans = []
        for axis in range(3):
            line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
            if not len(line):
                return cls(np.zeros((0, 0, 0), bool), (0, 0, 0))
            spans.append((int(line[0]), int(line[-1]) + 1))
        return cls(np.asarray(mask[tuple(slice(a, b) for a, b in spans)], bool), tuple(a for a, _ in spans))

    @property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.crop))

    def between(self, axis: int, low: int, high: int) -> Placed:
        """The part whose index along an axis lies in [low, high)."""
        start = self.first[axis]
        cut = [slice(None)] * 3
        cut[axis] = slice(max(0, low - start), max(0, high - start))
        first = list(self.first)
        first[axis] = max(start, low)
        return Placed(self.crop[tuple(cut)], tuple(first))

    def centroid(self) -> np.ndarray:
        """(3,) mean voxel index; NaN for an empty mask."""
        if not self.voxels:
            return np.full(3, np.nan)
        return np.array([index.mean() for index in np.nonzero(self.crop)]) + self.first

    def box(self) -> np.ndarray | None:
        """[3, 2] lower and upper voxel edges (index - 0.5, index + 0.5), or None for an empty mask."""
        tight = Placed.of(self.crop != 0) if self.crop.size else None
        if tight is None or not tight.voxels:
            return None
        lower = np.array(self.first) + tight.first
        return np.stack([lower - 0.5, lower + tight.crop.shape - 0.5], 1)


EMPTY = Placed(np.zeros((0, 0, 0), bool), (0, 0, 0))


def dice(a: Placed, b: Placed) -> float:
    """2 |a and b| / (|a| + |b|); 1 where both are empty."""
    total = a.voxels + b.voxels
    if not total:
        return 1.0
    low = np.maximum(a.first, b.first)
    high = np.minimum(np.add(a.first, a.crop.shape), np.add(b.first, b.crop.shape))
    if (high <= low).any():
        return 0.0
    parts = [m.crop[tuple(slice(lo - f, hi - f) for lo, hi, f in zip(low, high, m.first, strict=True))] for m in (a, b)]
    return 2.0 * int(np.count_nonzero((parts[0] != 0) & (parts[1] != 0))) / total


def array_dice(a: np.ndarray, b: np.ndarray) -> float:
    """The same for two masks of one grid."""
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero((a != 0) & (b != 0))) / total if total else 1.0


def box_iou(a: np.ndarray | None, b: np.ndarray | None) -> float:
    """Intersection over union of two boxes [3, 2] in one coordinate system; 0 where one is missing."""
    if a is None or b is None:
        return 0.0
    inner = np.clip(np.minimum(a[:, 1], b[:, 1]) - np.maximum(a[:, 0], b[:, 0]), 0, None).prod()
    union = (a[:, 1] - a[:, 0]).prod() + (b[:, 1] - b[:, 0]).prod() - inner
    return float(inner / union) if union > 0 else 0.0


def interval(values_of: Mapping[str, Sequence[float]], resamples: int = RESAMPLES, seed: int = SEED) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over all values; whole patients are drawn, with what belongs to them."""
    patients = [np.asarray(v, float) for v in values_of.values() if len(v)]
    if not patients:
        return (float("nan"), float("nan"))
    sums, counts = np.array([p.sum() for p in patients]), np.array([len(p) for p in patients])
    drawn = np.random.default_rng(seed).integers(0, len(patients), (resamples, len(patients)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    low, high = np.percentile(means, [2.5, 97.5])
    return (float(low), float(high))


def summary(rows: Iterable[Mapping], value: str, patient: str = "patient") -> dict:
    """n, patients, mean, worst and interval of one column of rows."""
    grouped: dict[str, list[float]] = {}
    for row in rows:
        if row.get(value) is not None:
            grouped.setdefault(str(row[patient]), []).append(float(row[value]))
    flat = [v for values in grouped.values() for v in values]
    if not flat:
        return {"n": 0, "patients": 0, "mean": None, "worst": None, "low": None, "high": None}
    low, high = interval(grouped)
    return {"n": len(flat), "patients": len(grouped), "mean": float(np.mean(flat)), "worst": float(min(flat)),
            "low": low, "high": high}


def share(hits: int, n: int) -> dict:
    """A rate with its Wilson 95 % interval."""
    if not n:
        return {"n": 0, "hits": 0, "rate": None, "low": None, "high": None}
    z, p = 1.96, hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5
    return {"n": n, "hits": hits, "rate": p, "low": max(0.0, centre - half), "high": min(1.0, centre + half)}
