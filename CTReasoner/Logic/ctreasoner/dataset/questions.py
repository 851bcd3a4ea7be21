"""Questions of every kind that the engine answers, for one case, with what is right.

Only what is known is asked for: a covered object with a mask is present; a covered one without is absent; a scan that ends before
an object leaves it outside; a noun outside the vocabulary is unsupported. What a source does not cover is never asked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

import ctreasoner.training.prompts as prompts
import ctreasoner.training.wordings as wordings
from ctreasoner.appearance.wording import spoken

from .describe import said, situation_of
from .naming import other_side, vocabulary
from .schema import Asked, By, Case, Label, Question

HELD_OUT = 0.2                          # share of questions with a wording that is never trained on
BEYOND_MM, LEAST_MM = 15.0, 45.0        # a scan ends so far before an object that it does not show it; a shorter one is none
MOST_OBJECTS = 5
TOPIC = {"position": "side", "identity": "identify", "compare": "size"}
ABSENT, OUTSIDE = ("absent", "outside"), ("outside",)


@dataclass
class _Known:
    """What may be asked in one case."""

    case: Case
    present: list[Label]                # askable by name: one label of each key
    clickable: list[Label]              # what a click may mean
    absent: list[str]                   # covered, nothing there
    rng: random.Random
    split: str = "train"
    made: list[Question] = field(default_factory=list)

    def add(self, **fields) -> Question:
        question = Question(id=f"q{len(self.made) + 1}", case=self.case.id, wording=self.split, **fields)
        self.made.append(question)
        return question


def questions(case: Case, labels: Sequence[Label], seed: int, rounds: int = 2) -> list[Question]:
    """Every kind of question that this case allows, ``rounds`` times; the same for the same seed."""
    known = _known(case, labels, random.Random(f"{seed} {case.id}"))
    for _ in range(rounds):
        for ask in (_named, _absent, _clicked, _boxed, _follow_ups, _beyond, _unsupported, _compared, _declined):
            known.split = "heldout" if known.rng.random() < HELD_OUT else "train"
            ask(known)
    return known.made


def _known(case: Case, labels: Sequence[Label], rng: random.Random) -> _Known:
    book = vocabulary()
    there = [label for label in labels if label.state == "present" and label.counts]
    keys = {label.key for label in there}
    named = [label for n, label in enumerate(there) if label.key in book and not book[label.key].clickable_only
             and label.key not in [other.key for other in there[:n]]]
    absent = [key for key in case.covered if key in book and not book[key].clickable_only and key not in keys]
    absent += [label.key for label in labels if label.state == "absent" and label.counts and label.key not in (*keys, *absent)]
    return _Known(case, named, there, absent if case.view == "scan" else [], rng)


# ---------------------------------------------------------------- the kinds

def _named(known: _Known) -> None:
    for intent in ("segment", "detect", "describe", "mixed"):
        if not known.present:
            return
        most = min(MOST_OBJECTS, len(known.present))
        chosen = known.rng.sample(known.present, known.rng.choices(range(1, most + 1), [2.0 ** -n for n in range(most)])[0])
        _ask(known, intent, chosen)


def _absent(known: _Known) -> None:
    """A covered object that nobody drew, alone and beside one that is there.

    Whether the scan covers its place nobody said: "absent" and "outside" are both right, and no words are given.
    """
    if not known.absent:
        return
    _ask(known, known.rng.choice(("segment", "detect", "describe")), [], absent=[known.rng.choice(known.absent)])
    if known.present:
        _ask(known, "segment", [known.rng.choice(known.present)], absent=[known.rng.choice(known.absent)])


def _clicked(known: _Known) -> None:
    for label in known.rng.sample(known.clickable, min(2, len(known.clickable))):
        sample = _drawn(known, "click", pointer="click")
        if label.prompts is None or sample is None:
            continue
        clicks = tuple(c for c in label.prompts.clicks if c.positive)[:max(1, sample.clicks)]
        known.add(**_meaning(sample), objects=(_asked(label, None),), clicks=clicks,
                  answers=_answers(known, sample, [label], clicked=True))
        if label.key in vocabulary():
            sample = _drawn(known, "click_named", objects=[label.key], pointer="click")
            if sample is None or len(sample.mentions) != 1:
                continue
            known.add(**_meaning(sample), objects=_mentions(sample, [label]), clicks=clicks[:1],
                      answers=_answers(known, sample, [label], clicked=True))


def _boxed(known: _Known) -> None:
    """A box, and a scribble, without a name."""
    for pointer in ("box", "scribble"):
        pool = [label for label in known.clickable if label.prompts is not None]
        if not pool:
            return
        label = known.rng.choice(pool)
        sample = _drawn(known, "click", pointer=pointer)
        if sample is None:
            continue
        drawn = {"boxes": (label.prompts.box,)} if pointer == "box" else {"scribbles": (label.prompts.scribble,)}
        known.add(**_meaning(sample), objects=(_asked(label, None),), **drawn,
                  answers=_answers(known, sample, [label], clicked=True))


def _follow_ups(known: _Known) -> None:
    """Questions that speak of an earlier answer; each with the question before it."""
    for reference in prompts.REFERENCES:
        before, meant = _before(known, reference)
        if not before:
            continue
        by_key = {label.key: label for label in (meant if reference == "same_again" else before)}
        sample = _drawn(known, "followup", reference=reference, keys=list(by_key), mentioned=tuple(by_key))
        if sample is None:
            continue
        if reference in ("named", "same_again"):
            meant = [by_key[m.key] for m in sample.mentions]
        earlier = _ask(known, "segment", before)
        if earlier is None:
            continue
        objects = _mentions(sample, meant) if sample.mentions else tuple(_asked(label, None) for label in meant)
        meaning = {**_meaning(sample), "routes": sample.routes or earlier.routes}
        known.add(**meaning, objects=objects, reference=reference, earlier=earlier.id, answers=_answers(known, sample, meant))


def _before(known: _Known, reference: str) -> tuple[list[Label], list[Label]]:
    """(objects of the question before, those that the reference then means)."""
    pool, rng = known.present, known.rng
    if reference in ("other_side", "left", "right"):
        sided = {label.key: label for label in pool}
        pairs = [(a, sided[other]) for key, a in sided.items() if (other := other_side(key)) in sided]
        pairs = [(a, b) for a, b in pairs if reference == "other_side" or b.key.endswith(reference)]
        first, second = rng.choice(pairs) if pairs else (None, None)
        return ([first], [second]) if first else ([], [])
    if reference in ("both", "larger", "smaller", "first", "second"):
        if len(pool) < 2:
            return [], []
        two = rng.sample(pool, 2)
        return two, {"first": two[:1], "second": two[1:]}.get(reference, two)
    if reference == "same_again":
        if len(pool) < 2:
            return [], []
        return (two := rng.sample(pool, 2))[:1], two[1:]
    one = rng.sample(pool, min(1, len(pool)))
    return one, one


def _beyond(known: _Known) -> None:
    """The scan ends before an object: it is outside then."""
    case = known.case
    if case.view != "scan" or case.scale != "mm" or not known.present:
        return
    spacing = float(np.linalg.norm(np.array(case.affine)[:3, 2]))
    label = known.rng.choice(known.present)
    gap, n = int(np.ceil(BEYOND_MM / spacing)), case.shape[2]
    parts = [(0, label.first_voxel[2] - gap), (label.first_voxel[2] + label.shape[2] + gap, n)]
    first, last = max(parts, key=lambda part: part[1] - part[0])
    if (last - first) * spacing < LEAST_MM or label.ends in ("drawn range", "cut by crop"):
        return
    _ask(known, known.rng.choice(("segment", "detect", "describe")), [label], outside=(first, last))


def _unsupported(known: _Known) -> None:
    sample = _drawn(known, "segment", objects=[None])
    known.add(**_meaning(sample), objects=_mentions(sample, [None]), answers=_refused(known, [None], sample))
    if known.present:
        label = known.rng.choice(known.present)
        sample = _drawn(known, "mixed", objects=[label.key, None])
        known.add(**_meaning(sample), objects=_mentions(sample, [label, None]), answers=_refused(known, [label, None], sample))


def _compared(known: _Known) -> None:
    if len(known.present) > 1:
        _ask(known, "describe", known.rng.sample(known.present, 2), topic="compare")


def _declined(known: _Known) -> None:
    """What the engine does not answer, and a nodule without a click."""
    for intent, kind in (("question_unsupported", "question_unsupported"), ("needs_click", "need_click")):
        sample = _drawn(known, intent)
        names = [spoken(label.display) for label in known.present[:MOST_OBJECTS]]
        text = said(wordings.compose_refusal(known.rng, kind), (), askable=names)
        known.add(**{**_meaning(sample), "routes": ("decline",) if kind != "need_click" else ("need_click",)},
                  answers=(text,) if text else ())


# ---------------------------------------------------------------- parts of a question

def _ask(known: _Known, intent: str, present: Sequence[Label], *, absent: Sequence[str] = (), topic: str | None = None,
         outside: tuple[int, int] | None = None) -> Question | None:
    """A question that names objects by words."""
    labels: list[Label | str] = [*present, *absent]
    known.rng.shuffle(labels)
    keys = [label if isinstance(label, str) else label.key for label in labels]
    sample = _drawn(known, intent, objects=keys, topic=topic)
    if sample is None or len(sample.mentions) != len(keys):
        return None
    order = [next(x for x in labels if (x if isinstance(x, str) else x.key) == m.key) for m in sample.mentions]
    objects = tuple(_asked(x, m, outside) for x, m in zip(order, sample.mentions, strict=True))
    answers = () if absent else _refused(known, order, sample, outside=True) if outside else _answers(known, sample, order)
    return known.add(**_meaning(sample), objects=objects, slices=outside, answers=answers)


def _drawn(known: _Known, intent: str, *, objects=None, keys=None, topic=None, reference=None, pointer=None, mentioned=None):
    """A sample of the wanted kind that names nothing but ``mentioned``; None where the frames have none."""
    for _ in range(60):
        sample = prompts.draw(known.rng, known.split, intent, objects=objects, keys=keys, topic=topic, reference=reference,
                              unsupported=0.0 if objects is None else 0.15)
        if (pointer is None or sample.pointer == pointer) and reference in (None, sample.reference) and (
                topic is None or sample.topic == topic) and (
                mentioned is None or all(m.key in mentioned for m in sample.mentions)):
            return sample
    return None


def _meaning(sample) -> dict:
    return {"text": sample.text, "intent": sample.intent, "topic": sample.topic, "routes": sample.routes}


def _mentions(sample, labels: Sequence[Label | None]) -> tuple[Asked, ...]:
    """The mentions of a sample with the labels they mean (None: unsupported), found by key."""
    by_key = {label.key if label else None: label for label in labels}
    return tuple(_asked(by_key.get(m.key), m) for m in sample.mentions)


def _asked(what: Label | str | None, mention, outside: tuple[int, int] | None = None) -> Asked:
    start, end = (mention.start, mention.end) if mention is not None else (0, 0)
    if what is None:
        return Asked(key=None, label=None, start=start, end=end, states=("unsupported",))
    if isinstance(what, str):
        return Asked(key=what, label=None, start=start, end=end, states=ABSENT)
    return Asked(key=what.key, label=what.id, start=start, end=end, states=OUTSIDE if outside else ("present",))


def _answers(known: _Known, sample, labels: Sequence[Label], *, clicked: bool = False) -> tuple[str, ...]:
    """Two different texts about what is there, each number measured; fewer where nothing can be said."""
    compared = sample.topic == "compare" and len(labels) == 2
    routes, topic = sample.routes or ("segment",), TOPIC.get(sample.topic, sample.topic)
    topic = topic if topic in wordings.TOPICS else "general"
    situations = [situation_of(label, routes=routes, topic=topic, number=n, clicked=clicked) for n, label in enumerate(labels, 1)]

    def compose() -> list[str]:
        if compared:
            return wordings.compose_compare(known.rng)
        if len(labels) == 1:
            return wordings.compose(known.rng, situations[0])
        return wordings.compose_many(known.rng, situations, topic)

    return _different(compose, labels) or (() if compared else _parts(known, labels))


def _parts(known: _Known, labels: Sequence[Label]) -> tuple[str, ...]:
    """A text for objects that the scan cuts: one sentence each, which says so beside the size of the part."""
    sentences = []
    for label in labels:
        for _ in range(8):
            text = said(wordings.compose(known.rng, situation_of(label, topic="size")), [label])
            if text:
                sentences.append(text)
                break
    return (" ".join(sentences),) if sentences and len(sentences) == len(labels) else ()


def _refused(known: _Known, what: Sequence[Label | None], sample, *, outside: bool = False) -> tuple[str, ...]:
    """Texts where an object is unknown (None), or where the scan ends before all of them."""
    stand_ins = [label or _unknown(known, sample) for label in what]
    states = ["unsupported" if label is None else "outside" if outside else "present" for label in what]
    routes = sample.routes or ("segment",)
    situations = [situation_of(label, state=state, routes=routes, number=n)
                  for n, (label, state) in enumerate(zip(stand_ins, states, strict=True), 1)]

    def compose() -> list[str]:
        if len(situations) == 1:
            return wordings.compose(known.rng, situations[0])
        return wordings.compose_many(known.rng, situations)

    return _different(compose, stand_ins)


def _unknown(known: _Known, sample) -> Label:
    """What stands for a noun outside the vocabulary: its name is all that the words need."""
    words = next((sample.text[m.start:m.end] for m in sample.mentions if m.key is None), "structure")
    by = By(kind="rule", name="questions")
    return Label(id="none", case=known.case.id, key=words, display=words, state="absent", drawn_by=by)


def _different(compose, labels: Sequence[Label]) -> tuple[str, ...]:
    texts: dict[str, None] = {}
    for _ in range(8):
        text = said(compose(), labels)
        if text:
            texts[text] = None
        if len(texts) == 2:
            break
    return tuple(texts)


def kinds(made: Sequence[Question]) -> Iterator[str]:
    """Every kind that is among questions: intent, and the answer's state or the reference where it has one."""
    yield from sorted({f"{q.intent}{' ' + q.reference if q.reference else ''}"
                       f"{' ' + s if (s := next((a.states[0] for a in q.objects if a.states[0] != 'present'), '')) else ''}"
                       for q in made})
