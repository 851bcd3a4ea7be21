"""How well words agree: macro-F1 over classes that are frequent enough, and Cohen's kappa."""
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

LEAST = 20          # cases that a class needs before its F1 counts


def f1_of(truth: Sequence[str], said: Sequence[str]) -> dict[str, tuple[float, int]]:
    """Class -> (F1, cases), for every class of the truth."""
    cases, chosen = Counter(truth), Counter(said)
    right = Counter(t for t, s in zip(truth, said, strict=True) if t == s)
    return {c: (2 * right[c] / (n + chosen[c]), n) for c, n in cases.items()}


def macro_f1(pairs: Sequence[tuple[str, str, str]], least: int = LEAST) -> tuple[float | None, int]:
    """(mean F1, how many classes) of (attribute, truth, said) over all attribute-value classes with enough cases."""
    values = []
    for attribute in dict.fromkeys(a for a, _, _ in pairs):
        mine = [(t, s) for a, t, s in pairs if a == attribute]
        values += [f for f, n in f1_of(*zip(*mine, strict=True)).values() if n >= least]
    return (float(np.mean(values)) if values else None, len(values))


def kappa(one: Sequence[str], two: Sequence[str], order: Sequence[str] | None = None) -> float | None:
    """Cohen's kappa of two lists of words; with `order` the words are ordinal and disagreement is weighted quadratically.

    None where both say one and the same word throughout: chance explains everything then.
    """
    names = list(order) if order is not None else sorted({*one, *two})
    place = {name: n for n, name in enumerate(names)}
    table = np.zeros((len(names),) * 2)
    for a, b in zip(one, two, strict=True):
        table[place[a], place[b]] += 1
    index = np.arange(len(names), dtype=float)
    weight = (index[:, None] - index) ** 2 if order is not None else (index[:, None] != index).astype(float)
    total = table.sum()
    expected = (weight * np.outer(table.sum(1), table.sum(0))).sum() / total if total else 0.0
    return float(1 - (weight * table).sum() / expected) if expected > 0 else None
