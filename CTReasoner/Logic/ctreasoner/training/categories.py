"""The words that are right for each object of each training case: rules on the true mask at the scan's own resolution.

    python -m ctreasoner.training.categories runs/data

Writes categories.json: case id -> object -> attribute -> value. Where grey levels are not trustworthy, only shape words stay.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ctreasoner.appearance.attributes import attributes_for, rule
from ctreasoner.appearance.measure import measure, values
from ctreasoner.geometry import Volume
from ctreasoner.training.views import NUMBER, read_prepared
from ctreasoner.vocabulary import Vocabulary

ATTENUATION = ("density", "homogeneity", "calcification", "gas")


def words_of(case, vocabulary: Vocabulary) -> dict[str, dict[str, str]]:
    """Attribute values of every object of a prepared case that has a mask."""
    affine = np.diag([*case.spacing, 1.0])
    volume = Volume(case.hu.numpy(), affine)
    out = {}
    for key in case.present:
        mask = case.labels.numpy() == NUMBER[key]
        where = np.nonzero(mask)
        lo, hi = [int(a.min()) for a in where], [int(a.max()) + 1 for a in where]
        cut = key in case.cut or any(a == 0 or b == n for a, b, n in zip(lo, hi, mask.shape, strict=True))
        crop = mask[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))]
        found = values(measure(crop, lo, volume, vocabulary[key], cut))
        trusted = case.hu_class in (None, "fine")
        chosen = {a: rule(a, vocabulary[key], found, cut) for a in attributes_for(key) if trusted or a not in ATTENUATION}
        out[key] = {a: v for a, v in chosen.items() if v}
    return out


def main(argv: list[str]) -> None:
    folder, vocabulary, table = Path(argv[0]), Vocabulary.load(), {}
    for source in ("segthor", "openkbp"):
        for case in read_prepared(folder, source, ("train",)):
            table[case.id] = words_of(case, vocabulary)
            print(case.id, table[case.id], flush=True)
    (folder / "categories.json").write_text(json.dumps(table))


if __name__ == "__main__":
    main(sys.argv[1:])
