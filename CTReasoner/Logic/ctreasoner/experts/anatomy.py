"""Objects that experts may know beyond the model's vocabulary, with names, codes and plausible volumes (``anatomy.json``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..vocabulary import VocabObject, Vocabulary

ANATOMY = ("123037004", "SCT", "Anatomical Structure")
TISSUE = ("85756007", "SCT", "Tissue")
SIDES = {"left": ("7771000", "SCT", "Left"), "right": ("24028007", "SCT", "Right")}
ANY_VOLUME = (0.0, 1e5)
SHORT = {"l": "left", "r": "right", "lt": "left", "rt": "right"}
IDLE = {"the", "a", "an", "of", "my", "his", "her", "this", "that", "patient", "s", "gland", "bone"}


@cache
def vocabulary() -> Vocabulary:
    """The shipped objects and those of ``anatomy.json``; the shipped ones first."""
    shipped = Vocabulary.load()
    rows = json.loads(Path(__file__).with_name("anatomy.json").read_text(encoding="utf-8"))["objects"]
    more = [item for row in rows for item in _sided(row)]
    return Vocabulary([*shipped, *(item for item in more if item.key not in shipped)])


def _sided(row: Mapping[str, Any]) -> list[VocabObject]:
    if not row.get("paired"):
        return [entry(row["key"], row["names"], code=row["code"], volume_ml=row["volume_ml"], colour=row["colour"])]
    return [entry(f"{row['key']}_{side}", [f"{side} {name}" for name in row["names"]], code=row["code"], colour=row["colour"],
                  volume_ml=row["volume_ml"], laterality=side, pair=f"{row['key']}_{other}", base=row["names"])
            for side, other in (("left", "right"), ("right", "left"))]


def entry(key: str, names: Iterable[str], *, code: Iterable[str] = (), volume_ml: Iterable[float] = ANY_VOLUME,
          colour: Iterable[int] = (190, 170, 90), laterality: str | None = None, pair: str | None = None,
          base: Iterable[str] = ()) -> VocabObject:
    """A vocabulary entry; without a code it is plain tissue."""
    names, base, code = tuple(names), tuple(base), tuple(code)
    display = (f"{base[0].capitalize()}, {laterality}" if laterality and base else names[0][:1].upper() + names[0][1:])
    return VocabObject(
        key=key, display=display, tier="C", region="", category=ANATOMY if code else TISSUE, type=code or TISSUE,
        colour=tuple(colour), hu_range=(-1100.0, 3100.0), hu_source="not bounded", volume_ml_range=tuple(map(float, volume_ml)),
        volume_source="wide bounds for adults, half of a small one to twice a large one", spacing_floor_mm=1.0, synonyms=names,
        laterality=laterality, pair=pair, base=base, modifier=SIDES.get(laterality or "") if code else None, components="keep",
        max_components=1000)


def words_of(name: str) -> frozenset[str]:
    """The words of a name that tell objects apart: "Kidney_L" and "the left kidney" have the same.

    >>> sorted(words_of("Kidney_L")), sorted(words_of("the left kidney"))
    (['kidney', 'left'], ['kidney', 'left'])
    """
    words = re.findall(r"[a-z]+|\d+", name.lower().replace("vertebrae", "vertebra").replace("oesoph", "esoph"))
    if len(words) > 1:
        words = [SHORT.get(w, w) for w in words]
    kept = [w[:-1] if len(w) > 4 and w.endswith("s") and not w.endswith(("ss", "us", "as", "is")) else w for w in words]
    return frozenset(w for w in kept if w not in IDLE) or frozenset(kept)


def named(words: str, objects: Iterable[VocabObject]) -> list[VocabObject]:
    """The objects that words name exactly; both sides for a paired object that is named without one."""
    asked = words_of(words)
    if not asked:
        return []
    found = [item for item in objects if any(words_of(n) == asked for n in (item.key, item.display, *item.names))]
    return found or [item for item in objects if any(words_of(n) == asked for n in item.base)]


def suggested(label: str, limit: int = 3) -> list[tuple[str, float]]:
    """(key, likeness 0 to 100) of the objects that a label may mean, best first; 100 is the very name."""
    exact = named(label, vocabulary())
    if len(exact) == 1:
        return [(exact[0].key, 100.0)]
    from rapidfuzz import fuzz, process

    names = [(" ".join(sorted(words_of(n))), item.key) for item in vocabulary() for n in (item.display, *item.names)]
    best: dict[str, float] = {}
    asked = " ".join(sorted(words_of(label)))
    for _, score, at in process.extract(asked, [n for n, _ in names], scorer=fuzz.ratio, score_cutoff=60, limit=None):
        best.setdefault(names[at][1], min(score, 99.0))
    return sorted(best.items(), key=lambda pair: -pair[1])[:limit]
