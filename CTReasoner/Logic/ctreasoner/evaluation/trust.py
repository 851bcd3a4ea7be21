"""How far a probability can be trusted: AUROC, expected calibration error with its bins, and risk against coverage."""
from __future__ import annotations

import numpy as np

BINS = 15


def auroc(p: np.ndarray, truth: np.ndarray) -> float | None:
    """Probability that a true case has a higher p than a false one (ties count half); None without both kinds."""
    from scipy.stats import rankdata

    p, truth = np.asarray(p, float), np.asarray(truth, bool)
    n, m = int(truth.sum()), int((~truth).sum())
    if not n or not m:
        return None
    return float((rankdata(p)[truth].sum() - n * (n + 1) / 2) / (n * m))


def reliability(p: np.ndarray, truth: np.ndarray, bins: int = BINS) -> list[dict]:
    """Bins of equal mass: mean p, share that is true, n. Equal probabilities are never torn apart."""
    p, truth = np.asarray(p, float), np.asarray(truth, bool)
    edges = np.unique(np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1])) if len(p) else []
    where = np.searchsorted(edges, p, side="left")
    return [{"p": float(p[where == b].mean()), "rate": float(truth[where == b].mean()), "n": int((where == b).sum())}
            for b in range(len(edges) + 1) if (where == b).any()]


def expected_error(bins: list[dict]) -> float | None:
    """Expected calibration error of reliability bins."""
    n = sum(b["n"] for b in bins)
    return sum(b["n"] * abs(b["p"] - b["rate"]) for b in bins) / n if n else None


def risk_coverage(confidence: np.ndarray, wrong: np.ndarray, points: int = 100) -> list[dict]:
    """Share of wrong answers among the surest ones, at up to `points` coverages; equally sure ones come together."""
    confidence, wrong = np.asarray(confidence, float), np.asarray(wrong, bool)
    order = np.argsort(-confidence, kind="stable")
    ranked, errors = confidence[order], np.cumsum(wrong[order])
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(ranked) else np.zeros(0, int)
    chosen = last[np.unique(np.linspace(0, len(last) - 1, min(points, len(last))).round().astype(int))] if len(last) else last
    return [{"coverage": float((k + 1) / len(ranked)), "risk": float(errors[k] / (k + 1))} for k in chosen]


def area(curve: list[dict]) -> float | None:
    """Mean risk over the coverages of a risk-coverage curve (AURC)."""
    if not curve:
        return None
    x, y = np.array([0.0, *(c["coverage"] for c in curve)]), np.array([curve[0]["risk"], *(c["risk"] for c in curve)])
    return float(np.trapezoid(y, x))
