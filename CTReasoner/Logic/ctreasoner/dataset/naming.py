"""What a source calls an object, as a key of the vocabulary; a name that the vocabulary lacks keeps its own words."""

from __future__ import annotations

import re
from functools import cache

from ctreasoner.vocabulary import Vocabulary

SIDES = ("left", "right")


@cache
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


@cache
def _keys() -> dict[str, str]:
    """Words of a name in alphabetical order -> key: "right parotid" and "parotid_right" are one."""
    table = {}
    for item in vocabulary():
        sided = [f"{item.laterality} {name}" for name in item.base] if item.laterality else []
        for name in (item.key, item.display, *item.names, *sided):
            table.setdefault(_words(name), item.key)
    return table


def _words(name: str) -> str:
    return " ".join(sorted(re.findall(r"[a-z0-9]+", name.lower())))


def key_of(name: str) -> str:
    """Key of the vocabulary, or the name in lower case with its side at the end.

    >>> key_of("Parotid_R"), key_of("right kidney"), key_of("Oesophagus"), key_of("portal vein and splenic vein*")
    ('parotid_right', 'kidney_right', 'esophagus', 'portal_vein_and_splenic_vein')
    """
    words = re.findall(r"[a-z0-9]+", name.lower())
    if len(words) > 1:
        words = [{"l": "left", "r": "right", "lt": "left", "rt": "right"}.get(w, w) for w in words]
    known = _keys().get(" ".join(sorted(words)))
    if known:
        return known
    side = next((w for w in words if w in SIDES), None)
    if side is not None and words.count(side) == 1 and words[0] == side:
        words = [*words[1:], side]
    return "_".join(words) or "thing"


def display_of(key: str) -> str:
    """The name to show.

    >>> display_of("kidney_right"), display_of("rib_left_9"), display_of("aorta")
    ('Kidney, right', 'Rib 9, left', 'Aorta')
    """
    item = vocabulary().get(key)
    if item is not None:
        return item.display
    side = side_of(key)
    words = " ".join(w for w in key.split("_") if w != side).capitalize()
    return f"{words}, {side}" if side else words


def side_of(key: str) -> str | None:
    """"left", "right" or None."""
    item = vocabulary().get(key)
    if item is not None:
        return item.laterality
    found = [word for word in key.split("_") if word in SIDES]
    return found[0] if len(found) == 1 and found[0] != key else None


def other_side(key: str) -> str | None:
    """The key of the other side, or None for an object without one."""
    item = vocabulary().get(key)
    if item is not None:
        return item.pair
    side = side_of(key)
    return "_".join(SIDES[1 - SIDES.index(w)] if w == side else w for w in key.split("_")) if side else None
