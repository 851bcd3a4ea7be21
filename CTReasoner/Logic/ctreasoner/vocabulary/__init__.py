"""The objects that can be asked for: names, sides, tiers, codes, colours and plausible ranges.

The vocabulary names and checks what the model answers; it never decides what a prompt means. Prompt words are
matched by the model alone, and `Vocabulary.suggest` speaks only after the model said *unsupported*.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ctreasoner.errors import InputError

__all__ = ["TIERS", "Code", "VocabObject", "Vocabulary"]

Code = tuple[str, str, str]
"""A coded concept: (value, scheme, meaning), for example ("80891009", "SCT", "Heart")."""

TIERS = {"A": "validated", "B": "experimental", "C": "interactive only"}

_CODES = ("category", "type", "modifier", "anatomic_region")
_FILE = Path(__file__).with_name("objects.json")


@dataclass(frozen=True, kw_only=True)
class VocabObject:
    """One object of the vocabulary.

    `hu_range` bounds the mean HU and `volume_ml_range` the volume (ml) of a plausible, uncut mask;
    `spacing_floor_mm` is the finest spacing at which the object was trained. `nests_in` names objects whose
    masks may hold this one. `components` is 'largest' (keep that one) or 'keep' (up to `max_components`).
    """

    key: str
    display: str
    tier: str
    region: str
    category: Code
    type: Code
    colour: tuple[int, int, int]
    hu_range: tuple[float, float]
    hu_source: str
    volume_ml_range: tuple[float, float]
    volume_source: str
    spacing_floor_mm: float
    synonyms: tuple[str, ...] = ()
    plurals: tuple[str, ...] = ()
    adjectives: tuple[str, ...] = ()
    latin: tuple[str, ...] = ()
    abbreviations: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()  # named segments that are measured as a part of this object
    laterality: str | None = None
    pair: str | None = None
    base: tuple[str, ...] = ()  # names without a side, for paired objects
    base_plurals: tuple[str, ...] = ()
    modifier: Code | None = None
    anatomic_region: Code | None = None
    components: str = "largest"
    max_components: int = 1
    tubular: bool = False
    nests_in: tuple[str, ...] = ()
    clickable_only: bool = False
    size_reference: tuple[Mapping[str, Any], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every name of this object alone: synonyms, Latin and abbreviations, each once."""
        return tuple(dict.fromkeys((*self.synonyms, *self.latin, *self.abbreviations)))


class Vocabulary:
    """The objects by key, in file order."""

    def __init__(self, objects: Iterator[VocabObject] | list[VocabObject] | tuple[VocabObject, ...]):
        self._objects = {item.key: item for item in objects}

    @classmethod
    def load(cls, path: str | Path | None = None) -> Vocabulary:
        """Read `path`, or the vocabulary that ships.

        Raises: InputError (CTR-VOC-001 unreadable, CTR-VOC-002 an object is wrong).
        """
        source = Path(path) if path is not None else _FILE
        try:
            entries = json.loads(source.read_text(encoding="utf-8"))["objects"]
            items = [dict(entry) for entry in entries]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"The vocabulary {source.name} cannot be read.",
                code="CTR-VOC-001",
                hint="It must be a JSON file with a list named 'objects'.",
            ) from error
        vocabulary = cls([_object(entry, source.name) for entry in items])
        _check_links(vocabulary, source.name, len(items))
        return vocabulary

    def __contains__(self, key: object) -> bool:
        return key in self._objects

    def __iter__(self) -> Iterator[VocabObject]:
        return iter(self._objects.values())

    def __len__(self) -> int:
        return len(self._objects)

    def keys(self) -> tuple[str, ...]:
        """All keys in file order."""
        return tuple(self._objects)

    def get(self, key: str) -> VocabObject | None:
        """The object of `key`, or None."""
        return self._objects.get(key)

    def __getitem__(self, key: str) -> VocabObject:
        return self._objects[key]

    def display(self, key: str) -> str:
        """The name to show for `key`; a key without an entry is shown in words ("thing" -> "Thing")."""
        item = self._objects.get(key)
        return item.display if item else key.replace("_", " ").capitalize()

    def suggest(self, words: str, *, limit: int = 3, cutoff: float = 72.0) -> list[str]:
        """Keys whose names are spelled like `words`, best first: "did you mean ...?".

        An empty list when nothing is near, or when rapidfuzz is not installed.
        """
        try:
            from rapidfuzz import fuzz, process
        except ImportError:
            return []
        asked = re.sub(r"\s+", " ", words).strip().lower()
        if len(asked) < 3:
            return []
        names = [(name.lower(), item.key) for item in self for name in (item.display, *item.names, *item.base)]
        found = process.extract(asked, [name for name, _ in names], scorer=fuzz.ratio, score_cutoff=cutoff, limit=None)
        return list(dict.fromkeys(names[index][1] for _, _, index in found))[:limit]


def _object(entry: dict[str, Any], source: str) -> VocabObject:
    known = {field.name for field in fields(VocabObject)}
    try:
        values = {name: _frozen(value) for name, value in entry.items() if name in known}
        item = VocabObject(**values)
        _check(item)
    except (TypeError, ValueError) as error:
        key = entry.get("key", "?")
        raise InputError(
            f"Object '{key}' of the vocabulary {source} is wrong: {error}",
            code="CTR-VOC-002",
            hint="Compare it with an object of the vocabulary that ships.",
        ) from error
    return item


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def _check(item: VocabObject) -> None:
    for name in _CODES:
        code = getattr(item, name)
        if code is not None and (len(code) != 3 or not all(isinstance(part, str) and part for part in code)):
            raise ValueError(f"{name} is not a (value, scheme, meaning) triple.")
    if item.tier not in TIERS:
        raise ValueError(f"tier {item.tier!r} is none of {', '.join(TIERS)}.")
    if item.laterality not in (None, "left", "right"):
        raise ValueError(f"laterality {item.laterality!r} is neither left nor right.")
    if len(item.colour) != 3 or not all(isinstance(c, int) and 0 <= c <= 255 for c in item.colour):
        raise ValueError("colour is not three whole numbers from 0 to 255.")
    for name in ("hu_range", "volume_ml_range"):
        low, high = getattr(item, name)
        if not low < high:
            raise ValueError(f"{name} is not (low, high).")
    if item.components not in ("largest", "keep") or item.max_components < 1 or item.spacing_floor_mm <= 0:
        raise ValueError("components, max_components or spacing_floor_mm is out of range.")


def _check_links(vocabulary: Vocabulary, source: str, count: int) -> None:
    broken = [
        item.key
        for item in vocabulary
        if any(other not in vocabulary for other in (*item.nests_in, *([item.pair] if item.pair else [])))
    ]
    if broken or len(vocabulary) != count:
        what = f"names objects that it does not hold ({', '.join(broken)})" if broken else "holds a key twice"
        raise InputError(f"The vocabulary {source} {what}.", code="CTR-VOC-002", hint="Check keys, pair and nests_in.")
