"""Words for questions: noun phrases for known and unknown things, invented words, spelling and case noise.

Everything here is wording for training prompts; the engine never reads it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from ctreasoner.vocabulary import VocabObject, Vocabulary

TEXTS = Path(__file__).with_name("texts")
SPLITS = ("train", "heldout")

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Phrase(NamedTuple):
    """A noun phrase and what it names: `keys` in the order of the answer, empty for something unknown."""

    text: str
    keys: tuple[str, ...]
    takes_article: bool = True


@dataclass(frozen=True)
class _Names:
    single: tuple[str, ...]
    adjectives: tuple[str, ...]
    parts: tuple[str, ...]
    item: VocabObject


def read_texts(name: str) -> dict:
    """One JSON file of the training texts."""
    return json.loads((TEXTS / name).read_text(encoding="utf-8"))


@lru_cache(maxsize=1)
def style() -> dict:
    """Articles, polite words, side words and joints."""
    return {key: tuple(value) for key, value in read_texts("style.json").items()}


@lru_cache(maxsize=1)
def nouns() -> dict[tuple[str, str], tuple[str, ...]]:
    """Nouns outside the vocabulary: (group, split) -> words; groups are 'anatomical' and 'other'."""
    table = read_texts("nouns.json")
    return {(group, split): tuple(table[group][split]) for group in table for split in SPLITS}


@lru_cache(maxsize=1)
def _names() -> dict[str, _Names]:
    return {
        item.key: _Names(
            single=(*item.names, *_sided(item)),
            adjectives=item.adjectives,
            parts=item.parts,
            item=item,
        )
        for item in Vocabulary.load()
    }


def _sided(item: VocabObject) -> tuple[str, ...]:
    """All ways to put a side word before or behind the names of a paired object."""
    side = item.laterality
    if side is None:
        return ()
    words = style()
    before = [f"{word} {name}" for name in item.base for word in dict.fromkeys(words[side])]
    behind = [f"{name} {word}" for name in item.base for word in words[f"after_{side}"]]
    return tuple(dict.fromkeys((*before, *behind)))


def synonyms_for(key: str) -> tuple[str, ...]:
    """Every phrase that may name `key` in a prompt: names, sides, plurals, adjectives, each once."""
    names = _names()[key]
    return tuple(dict.fromkeys((*names.single, *names.item.plurals, *names.adjectives)))


def known(rng: random.Random, key: str, *, parts: bool = False) -> Phrase:
    """A phrase for one known object; with `parts` also one of its measured segments ("aortic arch")."""
    names = _names()[key]
    roll = rng.random()
    if parts and names.parts and roll < 0.25:
        return Phrase(rng.choice(names.parts), (key,))
    if roll < 0.45:
        return Phrase(names.single[0], (key,))
    if roll < 0.47 and names.item.plurals:
        return Phrase(rng.choice(names.item.plurals), (key,))
    if names.item.base and roll < 0.75:  # plain "left lung" more often than the rarer side words
        return Phrase(f"{names.item.laterality} {rng.choice(names.item.base)}", (key,))
    return Phrase(rng.choice(names.single), (key,))


def adjective(rng: random.Random, key: str) -> Phrase | None:
    """The adjective of an object ("aortic"), or None when it has none."""
    choices = _names()[key].adjectives
    return Phrase(rng.choice(choices), (key,), takes_article=False) if choices else None


def both(rng: random.Random, key: str) -> Phrase:
    """A phrase for both sides of a paired object ("both parotids"): two keys, in the order of the words."""
    item = _names()[key].item
    pattern = rng.choice(style()["both"]) if rng.random() < 0.6 else "{p}"
    text = pattern.format(p=rng.choice(item.base_plurals), b=rng.choice(item.base))
    sides = {item.laterality: item.key, _names()[item.pair].item.laterality: item.pair}
    left_first = "left" in text and text.find("left") < text.find("right")
    order = ("left", "right") if left_first else ("right", "left")
    return Phrase(text, tuple(sides[side] for side in order), takes_article=pattern == "{p}")


def pair_of(key: str) -> str | None:
    """The key of the other side."""
    return _names()[key].item.pair


def unknown(rng: random.Random, split: str = "train") -> Phrase:
    """A noun phrase outside the vocabulary: anatomy, an everyday noun or an invented word."""
    roll = rng.random()
    if roll < 0.14:
        return Phrase(pseudo_word(rng), ())
    group = "anatomical" if roll < 0.72 else "other"
    word = rng.choice(nouns()[group, split])
    if group == "anatomical" and roll < 0.2 and not word.startswith(("left", "right", "both")):
        word = f"{rng.choice(('left', 'right'))} {word}"
    return Phrase(word, (), takes_article=not word.startswith("both "))


def pseudo_word(rng: random.Random) -> str:
    """An invented, pronounceable word of one to three syllables."""
    parts = style()
    while True:
        count = rng.choice((1, 2, 2, 2, 3))
        word = "".join(
            rng.choice(parts["onsets"]) + rng.choice(parts["vowels"]) + rng.choice(parts["codas"]) for _ in range(count)
        )
        word += rng.choice(parts["endings"])
        if len(word) > 3 and word not in _reserved():
            return word


@lru_cache(maxsize=1)
def _reserved() -> frozenset[str]:
    """Single words that name something of the vocabulary."""
    return frozenset(word for key in _names() for name in synonyms_for(key) for word in name.split())


def edit(rng: random.Random, text: str) -> tuple[str, int, int]:
    """One random spelling error: (text, position, change of length). Digits and punctuation stay."""
    places = [index for index, letter in enumerate(text) if letter.isalpha()]
    if not places:
        return text, 0, 0
    at = rng.choice(places)
    kind = rng.randrange(4)
    if kind == 0 and len(places) > 3:
        return text[:at] + text[at + 1 :], at, -1
    if kind == 1:
        return text[:at] + rng.choice(_LETTERS) + text[at:], at, 1
    if kind == 2 and at + 1 < len(text) and text[at + 1].isalpha():
        return text[:at] + text[at + 1] + text[at] + text[at + 2 :], at, 0
    return text[:at] + rng.choice(_LETTERS) + text[at + 1 :], at, 0


def recase(rng: random.Random, text: str) -> str:
    """The same letters in another case; the length never changes."""
    roll = rng.random()
    if roll < 0.58:
        return text
    if roll < 0.86:
        changed = text[:1].upper() + text[1:]
    elif roll < 0.93:
        changed = text.upper()
    elif roll < 0.97:
        changed = text.title()
    else:
        changed = "".join(letter.upper() if rng.random() < 0.15 else letter for letter in text)
    return changed if len(changed) == len(text) else text


def joined(rng: random.Random, phrases: Sequence[Phrase]) -> list[str]:
    """The joints before phrases 1, 2, ... of a list, the last with "and" or another joint."""
    words = style()
    comma = rng.choice(words["commas"])
    last = rng.choice(words["joins"])
    joints = [comma] * (len(phrases) - 2) + [last]
    the = rng.random() < 0.35
    return [
        joint + "the " if the and phrase.takes_article and not joint.endswith("the ") else joint
        for joint, phrase in zip(joints, phrases[1:], strict=True)
    ]
