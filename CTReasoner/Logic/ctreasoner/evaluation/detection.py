"""How good boxes are: overlap, the error of their walls in millimetres, and average precision with existence as the score."""
from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

IOU = 0.5


def wall_error(box: np.ndarray | None, truth: np.ndarray, spacing: Sequence[float], axes: int = 3) -> float | None:
    """Mean distance (mm) of the walls of two boxes [3, 2] in voxels along the first `axes` axes; None without a box."""
    if box is None:
        return None
    return float((np.abs(box - truth) * np.asarray(spacing, float)[:, None])[:axes].mean())


def average_precision(detections: Iterable[tuple[float, bool]], positives: int) -> float | None:
    """Area under the precision-recall curve (all points, precision made monotone) of (score, is it right)."""
    ranked = sorted(detections, key=lambda d: -d[0])
    if not positives:
        return None
    hits = np.cumsum([right for _, right in ranked], dtype=float)
    precision = hits / np.arange(1, len(ranked) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(sum(p for p, (_, right) in zip(best, ranked, strict=True) if right) / positives)


def of_rows(rows: Iterable[dict], outside: Iterable[dict], which: str, least: float = IOU) -> float | None:
    """AP of the boxes `which` ("head" or "mask") of present objects; a box of what lies outside is a false detection."""
    rows = list(rows)
    found = [(r["present"], r[f"box_iou_{which}"] >= least) for r in rows if r["state"] == "present" and r["present"] is not None]
    found += [(r["present"], False) for r in outside if r["state"] == "present" and r["present"] is not None]
    return average_precision(found, len(rows))
