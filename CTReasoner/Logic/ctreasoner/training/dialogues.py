"""Composes what the language model learns: questions with history, their plans, and the words that follow.

Everything here is token ids and keys; pictures come later (see language_stage and joint_stage).
"""
from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ctreasoner.appearance.attributes import attributes_for, values_for
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.model.processor import CTReasonerProcessor, Question, Turn
from ctreasoner.training import prompts, wordings
from ctreasoner.vocabulary import Vocabulary

SPOKEN = {"esophagus": "oesophagus", "lung_nodule": "lung nodule", "spinal_cord": "spinal cord",
          "parotid_left": "left parotid", "parotid_right": "right parotid", "lung_left": "left lung", "lung_right": "right lung"}
NAMES = {key: SPOKEN.get(key, key) for key in OBJECTS}
AGAIN = 0.35                 # share of questions after others that name only what was answered before
PAIR = {"parotid_left": "parotid_right", "parotid_right": "parotid_left", "lung_left": "lung_right", "lung_right": "lung_left"}


@dataclass
class Dialogue:
    """A question (history included), the plan that answers it, and where its mentions stand."""
    question: Question
    routes: list[str]
    objects: list[tuple[int, str | None, bool]]                 # number, key, reference
    plan: list[int]
    mentions: list[tuple[int, int] | None] = field(default_factory=list)   # per object: first and last prompt token
    topic: str = "general"
    clicks: int = 0


class Composer:
    """Draws dialogues; deterministic for a seed."""

    def __init__(self, processor: CTReasonerProcessor, seed: int, split: str = "train"):
        self.processor, self.rng, self.split = processor, random.Random(seed), split
        self.vocabulary = Vocabulary.load()

    def draw(self, objects: list[str] | None = None, intent: str | None = None) -> Dialogue:
        """Any question, often after others; with `objects`, one that asks for exactly these for the first time."""
        history, known = self._before(objects or ())
        again = [key for key in known if key in NAMES and key != "lung_nodule"] if objects is None else []
        keys = again if again and self.rng.random() < AGAIN else None
        sample = prompts.draw(self.rng, self.split, intent, objects=objects, keys=keys)
        while sample.pointer or (sample.routes and not sample.mentions and sample.intent != "followup"):
            sample = prompts.draw(self.rng, self.split, intent, objects=objects, keys=keys)      # clicks come from `clicked`
        if sample.intent == "followup":
            return self._follow_up(sample)
        routes = {"question_unsupported": ["decline"], "needs_click": ["need_click"]}.get(sample.intent, list(sample.routes))
        refused = routes in (["decline"], ["need_click"])        # such a plan holds no object
        return self._dialogue(sample, routes, [] if refused else self._mentioned(sample, known), history)

    def clicked(self, key: str | None, named: bool) -> Dialogue:
        """A question with a click on `key` (None: something without a name)."""
        history, known = self._before(())
        number = len(known) + 1
        if named and key in OBJECTS:
            sample = prompts.draw(self.rng, self.split, "click_named", objects=[key])
            if sample.pointer:
                return self._dialogue(sample, list(sample.routes), [(number, key, False)], history)
        sample = prompts.draw(self.rng, self.split, "click")
        return self._dialogue(sample, list(sample.routes), [(number, key or "thing", False)], history)

    # parts --------------------------------------------------------------------------------------------------

    def _mentioned(self, sample, known: list[str]) -> list[tuple[int, str | None, bool]]:
        """What a question names: an object of an earlier answer is a reference to it, everything else is new."""
        out, number = [], len(known)
        for mention in sample.mentions[:6]:
            key = mention.key if mention.kind == "known" else None
            if key in known:
                out.append((known.index(key) + 1, key, True))
            else:
                number += 1
                out.append((number, key, False))
        return out

    def _before(self, new: Sequence[str]) -> tuple[list[Turn], list[str]]:
        """Earlier turns (none in most cases) that a question does not depend on, and the objects that they named; none is `new`."""
        rng, turns, known = self.rng, [], []
        pool = [k for k in OBJECTS if k != "lung_nodule" and k not in new]
        for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
            if rng.random() < 0.25:                              # something was clicked, a nodule more often than not
                key = rng.choice(["lung_nodule"] * 6 + ["thing", *(k for k in pool if k not in known)])
                sample = prompts.draw(rng, self.split, "click")
                turns.append(Turn(sample.text, self.processor.plan(list(sample.routes), [(len(known) + 1, key, False)])))
                known.append(key)
                continue
            keys = rng.sample([k for k in pool if k not in known], rng.choice((1, 1, 2, 3)))
            old = [k for k in known if k in pool]
            if old and rng.random() < 0.3:                       # one of them was named before
                keys = [*keys[1:], rng.choice(old)]
                rng.shuffle(keys)
            turns.append(self._turn(keys, known)[0])
            known += [k for k in keys if k not in known]
        return turns, known

    def _dialogue(self, sample, routes, objects, history: list[Turn]) -> Dialogue:
        rng, processor = self.rng, self.processor
        points = []
        if sample.pointer == "click":
            points = ["<click+>"] * sample.clicks
        elif sample.pointer:
            points = ["<region>" if sample.pointer == "box" else "<scribble+>"]
        model = processor.tokenizer.backend_tokenizer.model
        model.dropout = 0.1 if rng.random() < 0.5 else None      # BPE dropout: words are seen in several pieces
        question = processor.question(sample.text, points, history)
        model.dropout = None
        spans = [_tokens(question.offsets, m.start, m.end) for m in sample.mentions[:len(objects)]]
        spans += [None] * (len(objects) - len(spans))
        return Dialogue(question, routes, objects, processor.plan(routes, objects), spans, sample.topic, len(points))

    def _follow_up(self, sample) -> Dialogue:
        ref = sample.reference
        history, known, routes = self._history(ref, sample)
        n = len(known)
        last = known[-1]
        if ref in ("it", "previous"):
            objects = [(n, last, True)]
        elif ref in ("both", "larger", "smaller"):
            objects = [(n - 1, known[-2], True), (n, last, True)]
        elif ref == "first":
            objects = [(1, known[0], True)]
        elif ref == "second":
            objects = [(2, known[1], True)]
        elif ref == "named":
            key = next((m.key for m in sample.mentions if m.key in known), last)
            objects = [(known.index(key) + 1, key, True)]
        elif ref == "same_again":
            objects = self._mentioned(sample, known)
        else:                                                    # other_side, left, right
            key = PAIR[last] if ref == "other_side" else last.rsplit("_", 1)[0] + "_" + ref
            objects = [(known.index(key) + 1, key, True)] if key in known else [(n + 1, key, False)]
        return self._dialogue(sample, list(sample.routes) or routes, objects, history)

    def _history(self, ref: str, sample) -> tuple[list[Turn], list[str], list[str]]:
        """Earlier turns that make the reference clear: (turns, keys by number, routes of the last turn)."""
        rng = self.rng
        pool = [k for k in OBJECTS if k != "lung_nodule"]
        if ref in ("other_side", "left", "right"):
            key = rng.choice(sorted(PAIR))
            if ref != "other_side" and rng.random() < 0.6 and key.endswith(ref):
                key = PAIR[key]
            last = [key] if ref == "other_side" or rng.random() < 0.7 else [PAIR[key], key]
        elif ref in ("both", "larger", "smaller", "first", "second"):
            last = [*rng.sample(pool, 2)]
            if rng.random() < 0.4:
                key = rng.choice(sorted(PAIR))
                last = [key, PAIR[key]]
        elif ref == "named":
            wanted = [m.key for m in sample.mentions if m.key in pool]
            last = [wanted[0] if wanted else rng.choice(pool), *rng.sample(pool, rng.choice((0, 0, 1)))]
            last = list(dict.fromkeys(last))
            rng.shuffle(last)
        else:
            last = [rng.choice(pool)]
        turns, known = [], []
        if ref not in ("first", "second") and rng.random() < 0.3:
            earlier = rng.choice([k for k in pool if k not in last])
            turns.append(self._turn([earlier], [])[0])
            known.append(earlier)
        turn, routes = self._turn(last, known)
        return [*turns, turn], [*known, *last], routes

    def _turn(self, keys: list[str], known: list[str]) -> tuple[Turn, list[str]]:
        """A turn that names `keys`, of which some may be `known` from turns before."""
        intent = self.rng.choice(("segment", "segment", "describe", "mixed", "detect"))
        sample = prompts.draw(self.rng, self.split, intent, objects=keys)
        new = [k for k in keys if k not in known]
        objects = [(known.index(k) + 1, k, True) if k in known else (len(known) + 1 + new.index(k), k, False) for k in keys]
        return Turn(sample.text, self.processor.plan(list(sample.routes), objects)), list(sample.routes)

    # words --------------------------------------------------------------------------------------------------

    def categories(self, key: str | None) -> dict[str, str]:
        """Random categories, for words that must follow whatever was chosen."""
        return {a: self.rng.choice(values_for(key or "thing", a)) for a in attributes_for(key or "thing")}

    def words(self, dialogue: Dialogue) -> tuple[list[int], list[int]]:
        """(told, said): what the words may rest on, and the words themselves ending with <end>."""
        rng, processor = self.rng, self.processor
        if dialogue.routes[0] in ("decline", "need_click"):
            kind = "question_unsupported" if dialogue.routes[0] == "decline" else "need_click"
            return processor.told([]), self._said(wordings.compose_refusal(rng, kind))
        situations, told = [], []
        for n, (_, key, reference) in enumerate(dialogue.objects):
            state = self._state(key, reference)
            speaks = state == "present" and (reference or set(dialogue.routes) & {"segment", "describe"})
            categories = self.categories(key) if speaks else {}
            told.append((key, state, categories))
            situations.append(self._situation(n + 1, key, state, dialogue, categories))
        comparing = dialogue.topic == "compare" and len(situations) == 2 and all(s["state"] == "present" for s in situations)
        if comparing:
            text = wordings.compose_compare(rng)
        elif len(situations) == 1:
            text = wordings.compose(rng, situations[0])
        else:
            text = wordings.compose_many(rng, situations, situations[0]["topic"])
        return processor.told(told), self._said(text)

    def _state(self, key: str | None, reference: bool) -> str:
        if key is None:
            return "unsupported"
        if reference or key in ("thing", "lung_nodule"):
            return "present"
        return self.rng.choices(("present", "outside", "absent", "lost"), (75, 13, 6, 6))[0]

    def _situation(self, number, key, state, dialogue, categories) -> dict:
        item = self.vocabulary.get(key) if key in self.vocabulary else None
        topic = {"position": "presence", "identity": "identify", "compare": "size"}.get(dialogue.topic, dialogue.topic)
        reference = None
        if item is not None and item.size_reference:
            reference = "segment" if key == "aorta" else None
        elif item is not None and not item.clickable_only and not item.tubular:
            reference = "volume"
        routes = tuple(r for r in dialogue.routes)
        return {"key": key or "thing", "display": NAMES.get(key, ""), "state": state, "routes": routes, "topic": topic,
                "categories": categories, "tubular": bool(item and item.tubular), "cut": categories.get("extent") == "cut",
                "clicked": dialogue.clicks > 0, "reference": reference, "number": number}

    def _said(self, pieces: list[str]) -> list[int]:
        return [*self.processor.encode("".join(pieces)), self.processor.ids["<end>"]]


def _tokens(offsets: list[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    """First and last token that touch the characters [start, end)."""
    hit = [i for i, (a, b) in enumerate(offsets) if a < end and b > start]
    return (hit[0], hit[-1]) if hit else None
