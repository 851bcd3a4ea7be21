"""Questions for training: what a person might type, and what should be understood from it.

`draw` composes one question from frames ("outline the {xs}"), noun phrases and noise. Frames live in
``texts/frames_*.json``; "[a|b]" in a frame stands for either. Held-out frames and nouns are never used in training.

Slots: {x} one object, {xs} one or several, {p} several or both sides, {adj} an adjective, {n} an object that is
named but not wanted, {k} an object at a click (in 'needs_click': a nodule without one).
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from ctreasoner.training import phrases
from ctreasoner.training.phrases import Phrase, synonyms_for
from ctreasoner.vocabulary import Vocabulary

__all__ = ["INTENTS", "REFERENCES", "ROUTES", "TOPICS", "Mention", "PromptSample", "draw", "frames", "synonyms_for"]

INTENTS = {  # name: share in draws without an intent
    "segment": 0.19,
    "detect": 0.11,
    "describe": 0.18,
    "mixed": 0.12,
    "click": 0.06,
    "click_named": 0.04,
    "followup": 0.14,
    "question_unsupported": 0.11,
    "needs_click": 0.05,
}
ROUTES = ("detect", "segment", "describe")
TOPICS = (
    "general", "size", "density", "calcification", "shape", "position", "presence", "identity", "compare",
    "search", "diagnosis", "prognosis", "other_scan", "meta", "foreign", "no_reference",  # without an answer
)  # fmt: skip
REFERENCES = (
    "it", "both", "other_side", "left", "right", "first", "second", "larger", "smaller", "previous", "named",
    "same_again",
)  # fmt: skip
_FILES = {name: f"frames_{name}.json" for name in INTENTS} | {"question_unsupported": "frames_unsupported.json"}
_SLOT = re.compile(r"\{(\w+)\}")
_CHOICE = re.compile(r"\[([^\]]*)\]")
_ARTICLE = re.compile(r"(^|\s)(?:the|a|any|my|his|her|(?:the|this|our) patient's) $")
_NODULE = "lung_nodule"


class Mention(NamedTuple):
    """One object of the answer and the words (`text[start:end]`) that ask for it; both sides share their words."""

    kind: str  # 'known' or 'unsupported'
    key: str | None
    start: int
    end: int


@dataclass(frozen=True)
class PromptSample:
    """A question and its meaning.

    `routes` is empty for questions without an answer and for follow-ups that repeat the earlier routes
    (`repeats`). `mentions` stand in the order of the answer. `pointer` is 'click', 'box', 'scribble' or None;
    `clicks` counts click tokens. `reference` names earlier objects: 'it', 'both', 'other_side', 'left', 'right',
    'first', 'second', 'larger', 'smaller', 'previous', 'named', 'same_again', or None.
    """

    text: str
    intent: str
    routes: tuple[str, ...]
    mentions: tuple[Mention, ...] = ()
    clicks: int = 0
    topic: str = "general"
    reference: str | None = None
    pointer: str | None = None

    @property
    def repeats(self) -> bool:
        """Whether the question is to be answered by the routes of the turn before."""
        return self.intent == "followup" and not self.routes


class _Line(NamedTuple):
    """One frame line: every expansion as alternating literals and slot names."""

    expansions: tuple[tuple[str, ...], ...]
    slots: tuple[str, ...]  # those that name wanted objects


class _Group(NamedTuple):
    intent: str
    topic: str
    routes: tuple[str, ...]
    reference: str | None
    pointer: str | None
    mentionless: bool
    lines: tuple[_Line, ...]


class _Book(NamedTuple):
    groups: tuple[_Group, ...]
    weights: tuple[float, ...]  # cumulative


def expand(frame: str) -> list[str]:
    """All frames that "[a|b]" stands for.

    >>> expand("[find|show] the {x}")
    ['find the {x}', 'show the {x}']
    """
    parts = _CHOICE.split(frame)
    choices = [part.split("|") if index % 2 else [part] for index, part in enumerate(parts)]
    return ["".join(pick) for pick in itertools.product(*choices)]


@cache
def _book(intent: str, split: str, several: int) -> _Book:
    """Groups of one intent and split. `several`: see `_fits`."""
    groups, weights, total = [], [], 0.0
    for entry in phrases.read_texts(_FILES[intent])["groups"]:
        lines = tuple(line for line in _lines(intent, entry, split) if _fits(line, several))
        if not lines:
            continue
        total += sum(len(line.expansions) for line in lines) ** 0.5
        weights.append(total)
        groups.append(
            _Group(
                intent,
                entry["topic"],
                tuple(entry["routes"]),
                entry.get("reference"),
                entry.get("pointer", "click" if intent in ("click", "click_named") else None),
                entry.get("mentionless", False),
                lines,
            )
        )
    return _Book(tuple(groups), tuple(weights))


def _lines(intent: str, entry: dict, split: str) -> list[_Line]:
    """The lines of one group; what is held out somewhere in the intent is no training frame."""
    barred = _held_out(intent) if split == "train" else frozenset()
    found = []
    for frame in entry[split]:
        texts = [text for text in expand(frame) if text not in barred or not text]
        if texts:
            expansions = tuple(tuple(_SLOT.split(text)) for text in texts)
            found.append(_Line(expansions, tuple(slot for slot in expansions[0][1::2] if slot != "n")))
    return found


@cache
def _held_out(intent: str) -> frozenset[str]:
    entries = phrases.read_texts(_FILES[intent])["groups"]
    return frozenset(text for entry in entries for frame in entry["heldout"] for text in expand(frame))


def _fits(line: _Line, several: int) -> bool:
    """Whether a frame can hold one (1), two (2) or more (3) given objects; 0 asks for nothing."""
    if several == 1:
        return len(line.slots) == 1 and line.slots[0] != "p"
    return several == 0 or line.slots in (("xs",), ("p",)) or (several == 2 and len(line.slots) == 2)


def frames(intent: str, split: str = "train") -> tuple[str, ...]:
    """Every frame of an intent, expanded, each once."""
    entries = phrases.read_texts(_FILES[intent])["groups"]
    found = dict.fromkeys(text for entry in entries for frame in entry[split] for text in expand(frame))
    return tuple(text for text in found if split != "train" or text not in _held_out(intent))


@lru_cache(maxsize=1)
def _askable() -> tuple[str, ...]:
    return tuple(item.key for item in Vocabulary.load() if not item.clickable_only)


def draw(
    rng: random.Random,
    split: str = "train",
    intent: str | None = None,
    *,
    keys: Sequence[str] | None = None,
    objects: Sequence[str | None] | None = None,
    topic: str | None = None,
    reference: str | None = None,
    unsupported: float = 0.15,
    noise: float = 1.0,
) -> PromptSample:
    """One question with its meaning.

    `keys` limits the known objects that may be drawn. `objects` fixes the mentions exactly and in this order
    (None: something outside the vocabulary; intents segment, detect, describe, mixed, click_named). `topic` and
    `reference` keep only such frames where there are any. `unsupported` is the share of unknown nouns,
    `noise` scales politeness, typos, case and punctuation (0: the plain frame).
    """
    if intent is None:
        intent = rng.choices(tuple(INTENTS), tuple(INTENTS.values()))[0]
    several = 0 if objects is None else min(3, len(objects))
    group = _pick_group(rng, _book(intent, split, several), topic, reference)
    line = rng.choice(group.lines)
    writer = _Writer(rng, split, group, keys, objects, unsupported, noise)
    writer.slots_left = len(line.slots)
    parts = rng.choice(line.expansions)
    for index, part in enumerate(parts):
        if index % 2:
            writer.fill(part)
        else:
            writer.literal(part, before_slot=index + 1 < len(parts))
    return writer.finish()


def _pick_group(rng: random.Random, book: _Book, topic: str | None, reference: str | None) -> _Group:
    if topic is None and reference is None:
        return rng.choices(book.groups, cum_weights=book.weights)[0]
    fitting = [
        group
        for group in book.groups
        if (topic is None or group.topic == topic) and (reference is None or group.reference == reference)
    ]
    return rng.choice(fitting or book.groups)


class _Writer:
    """Writes one question and remembers where each object was named."""

    def __init__(self, rng, split, group, keys, objects, unsupported, noise):
        self.rng, self.split, self.group, self.noise = rng, split, group, noise
        self.keys = [key for key in _askable() if keys is None or key in keys]
        self.nodules = keys is None or _NODULE in keys
        self.unsupported = 0.0 if group.reference == "named" else unsupported  # an earlier object is a known one
        self.fixed = None if objects is None else list(objects)
        self.slots_left = 1
        self.text = ""
        self.mentions: list[Mention] = []
        self.used: set[str] = {key for key in objects or () if key}  # never also named as not wanted

    def literal(self, text: str, *, before_slot: bool) -> None:
        """Add frame text; "the" before a slot may become another article or none."""
        if before_slot and text.endswith("the ") and self.rng.random() < 0.16 * self.noise:
            article = self.rng.choice(phrases.style()["articles"])
            text = text[:-4] + (article + " " if article else "")
        self.text += text

    def fill(self, slot: str) -> None:
        """Put noun phrases into a slot."""
        if slot == "n":
            self._add(self._single(wanted=False), mentioned=False)
            return
        chosen = self._chosen(slot)
        self.slots_left -= 1
        joints = phrases.joined(self.rng, chosen) if len(chosen) > 1 else []
        for index, phrase in enumerate(chosen):
            if index:
                self.text += joints[index - 1]
            self._add(phrase, mentioned=not self.group.mentionless)

    def _chosen(self, slot: str) -> list[Phrase]:
        if self.fixed is not None:
            return self._fixed(slot)
        if slot == "k":
            return [self._clicked()]
        if slot == "adj":
            return [self._adjective()]
        if slot == "p":
            return self._several(force=True)
        return self._several(force=False) if slot == "xs" else [self._single()]

    def _fixed(self, slot: str) -> list[Phrase]:
        """Phrases for the objects that were asked for; the two sides of a pair may be named at once."""
        if self.slots_left > 1:
            wanted, self.fixed = self.fixed[:1], self.fixed[1:]
        else:
            wanted, self.fixed = self.fixed, []
        chosen: list[Phrase] = []
        while wanted:
            key = wanted.pop(0)
            if key is None:
                chosen.append(phrases.unknown(self.rng, self.split))
            elif wanted and wanted[0] is not None and wanted[0] == phrases.pair_of(key) and self.rng.random() < 0.7:
                chosen.append(self._both_ordered(key, wanted.pop(0)))
            elif slot == "adj":
                chosen.append(phrases.adjective(self.rng, key) or phrases.known(self.rng, key))
            else:
                chosen.append(phrases.known(self.rng, key, parts=self._parts_fit))
        return chosen

    def _both_ordered(self, first: str, second: str) -> Phrase:
        for _ in range(4):
            phrase = phrases.both(self.rng, first)
            if phrase.keys == (first, second) or ("left" not in phrase.text and "right" not in phrase.text):
                return phrase._replace(keys=(first, second))
        return phrases.both(self.rng, first)

    @property
    def _parts_fit(self) -> bool:
        return self.group.routes == ("describe",) and self.group.intent == "describe"

    def _single(self, *, wanted: bool = True) -> Phrase:
        free = [key for key in self.keys if key not in self.used]
        if not free or self.rng.random() < (self.unsupported if wanted else 0.4):
            return phrases.unknown(self.rng, self.split)
        key = self.rng.choice(free)
        self.used.add(key)
        return phrases.known(self.rng, key, parts=self._parts_fit)

    def _adjective(self) -> Phrase:
        free = [key for key in self.keys if key not in self.used]
        phrase = phrases.adjective(self.rng, self.rng.choice(free)) if free else None
        return phrase or self._single()

    def _clicked(self) -> Phrase:
        if self.group.intent == "needs_click":
            return phrases.known(self.rng, _NODULE)
        roll = self.rng.random()
        if roll < self.unsupported / 2:
            return phrases.unknown(self.rng, self.split)
        nodule = self.nodules and (roll < 0.5 or not self.keys)
        if not nodule and not self.keys:
            return phrases.unknown(self.rng, self.split)
        return phrases.known(self.rng, _NODULE if nodule else self.rng.choice(self.keys))

    def _several(self, *, force: bool) -> list[Phrase]:
        """One to five phrases; a pair may come as one phrase. With `force`: several objects at least."""
        rng = self.rng
        free = [key for key in self.keys if key not in self.used]
        paired = [key for key in free if phrases.pair_of(key) in free]
        if paired and rng.random() < (0.7 if force else 0.1):
            return [self._both(rng.choice(paired))]
        count = rng.choices((1, 2, 3, 4, 5), (0, 60, 28, 8, 4) if force else (52, 20, 14, 10, 4))[0]
        chosen = []
        for _ in range(count):
            pair = [key for key in paired if key not in self.used and phrases.pair_of(key) not in self.used]
            chosen.append(self._both(rng.choice(pair)) if pair and rng.random() < 0.08 else self._single())
        return chosen

    def _both(self, key: str) -> Phrase:
        phrase = phrases.both(self.rng, key)
        self.used.update(phrase.keys)
        return phrase

    def _add(self, phrase: Phrase, *, mentioned: bool) -> None:
        if not phrase.takes_article:
            self.text = _ARTICLE.sub(r"\1", self.text)
        start = len(self.text)
        self.text += phrase.text
        if not mentioned:
            return
        for key in phrase.keys or (None,):
            self.mentions.append(Mention("unsupported" if key is None else "known", key, start, len(self.text)))

    def finish(self) -> PromptSample:
        """Add noise and the rest of the meaning."""
        if self.noise > 0 and self.text:
            self._soften()
            self._punctuate()
            self._misspell()
            self.text = phrases.recase(self.rng, self.text) if self.rng.random() < self.noise else self.text
        group = self.group
        clicks = self.rng.choices((1, 2, 3), (85, 10, 5))[0] if group.pointer == "click" else 0
        return PromptSample(
            text=self.text,
            intent=group.intent,
            routes=group.routes,
            mentions=tuple(self.mentions),
            clicks=clicks,
            topic=group.topic,
            reference=group.reference,
            pointer=group.pointer,
        )

    def _soften(self) -> None:
        """A polite word before, or a tail behind."""
        rng, words = self.rng, phrases.style()
        if self.group.intent == "question_unsupported" or len(self.text) < 8:
            return
        if rng.random() < 0.12 * self.noise and not self.text.startswith(("please", "now", "and", "so", "ok")):
            self._insert(0, rng.choice(words["polite"]))
        if rng.random() < 0.12 * self.noise and not re.search(r"please|scan|ct\b|image|this|for me|now", self.text):
            end = len(self.text) - (self.text[-1] in "?.!")
            self._insert(end, rng.choice(words["tails"]))

    def _punctuate(self) -> None:
        rng, roll = self.rng, self.rng.random() / self.noise
        if self.text[-1] == "?" and roll < 0.25:
            self.text = self.text[:-1].rstrip() if roll < 0.22 and len(self.text) > 1 else self.text + "?"
        elif self.text[-1].isalpha() and roll < 0.16:
            self.text += rng.choice((".", ".", ".", ".", "!", " ", "..", "?"))
        self.text = self.text or "?"

    def _misspell(self) -> None:
        if self.rng.random() < 0.1 * self.noise:
            self.text, at, change = phrases.edit(self.rng, self.text)
            self._shift(at, change)

    def _insert(self, at: int, words: str) -> None:
        self.text = self.text[:at] + words + self.text[at:]
        self._shift(at, len(words))

    def _shift(self, at: int, change: int) -> None:
        """Move the mentions after an edit at `at`; words that grow or shrink inside keep their mention."""
        self.mentions = [
            mention._replace(
                start=mention.start + change * (at < mention.start or (at == mention.start and change > 1)),
                end=mention.end + change * (at < mention.end),
            )
            for mention in self.mentions
        ]
