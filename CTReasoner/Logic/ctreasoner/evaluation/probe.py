"""Handles for the proofs: plans that are given, hidden states that are recorded or replaced, one view for several codes.

Only evaluation and tests use this. Everything is patched from outside and put back; the engine knows nothing of it.
"""
from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from ctreasoner.conversation import Known
from ctreasoner.engine import Engine
from ctreasoner.evaluation.asking import Outcome, ask
from ctreasoner.geometry import Volume
from ctreasoner.model import grammar
from ctreasoner.model.eyes import Sight
from ctreasoner.model.processor import Question
from ctreasoner.model.speaker import Speaker, Thought

_TALKS = itertools.count(1)
Label = tuple[int, str, int]      # object number, DET | BOX | SEG, how many of them before


class GivenPlan(grammar.PlanGrammar):
    """The grammar with routes and names given beforehand: what is decoded is this plan, the hidden states are the model's own.

    `routes` None leaves the choice of the routes to the model, `keys` None that of the objects; a number among them is an
    object of an earlier answer, "thing" what was clicked.
    """

    def __init__(self, ids, names, *, routes: Sequence[str] | None = None, keys: Sequence[str | int] | None = None, **others):
        super().__init__(ids, names, **others)
        self.given_routes, self.given_keys = routes, keys

    def allowed(self) -> list[int]:
        may, n = super().allowed(), len(self.plan.objects)
        if self.state == "route" and self.given_routes is not None:
            routes = [self.ids[grammar.ROUTE_TOKENS[r]] for r in self.given_routes]
            done = len(self.plan.routes)
            if done < len(routes):
                return [routes[done]]
            may = [t for t in may if t not in {self.ids[r] for r in grammar.ROUTE_TOKENS.values()}]
        if self.given_keys is None:
            return may
        more = [t for t in may if self._text[t] in grammar.OBJECT_TOKENS]
        if self.state in ("route", "object") and self.plan.routes and n < len(self.given_keys):
            wanted = self.given_keys[n]
            return [self.ids[grammar.REFERENCE_TOKENS[wanted - 1]]] if isinstance(wanted, int) else more
        if self.state == "object":
            return [self.ids["<GO>"]]
        if self.state == "name":
            key = self.given_keys[n - 1]
            name = (self.ids["<THING>"],) if key == "thing" else self.names[key]
            return [name[len(self.spelled)] if len(self.spelled) < len(name) else self.ids["<DET>"]]
        return may


@contextmanager
def given_plan(routes: Sequence[str] | None = None, keys: Sequence[str | int] | None = None) -> Iterator[None]:
    """Every plan inside the block has these routes and these objects."""
    with patch.object(grammar, "PlanGrammar", partial(GivenPlan, routes=routes, keys=keys)):
        yield


@dataclass
class Tap:
    """Records the hidden state of every routing token; `replace(label, state)` may give another one."""
    replace: Callable[[Label, Tensor], Tensor | None] = lambda label, state: None
    states: dict[Label, Tensor] = field(default_factory=dict)
    question: Question | None = None
    thought: Thought | None = None
    _at: tuple[int | None, str] = (None, "DET")

    @contextmanager
    def on(self, speaker: Speaker) -> Iterator[Tap]:
        language = speaker.language
        code, begin, segment, think = language.code, speaker.begin, speaker.segment, speaker.think

        def coded(state: Tensor) -> Tensor:
            number, name = self._at
            if name == "DET":
                number = 1 + sum(label[1] == "DET" for label in self.states)
            label = (number, name, sum(known[:2] == (number, name) for known in self.states))
            self.states[label] = state.clone()
            other = self.replace(label, state)
            return code(state if other is None else other)

        def beginning(thought: Thought, number: int, key: str | None) -> Tensor:
            self._at = (number, "BOX")
            return begin(thought, number, key)

        def segmenting(thought: Thought) -> Tensor:
            self._at = (self._at[0], "SEG")
            return segment(thought)

        def thinking(question: Question, *others) -> Thought:
            self._at, self.question = (None, "DET"), question
            self.thought = think(question, *others)
            return self.thought

        language.code, speaker.begin, speaker.segment, speaker.think = coded, beginning, segmenting, thinking
        try:
            yield self
        finally:
            for owner, name in ((language, "code"), (speaker, "begin"), (speaker, "segment"), (speaker, "think")):
                delattr(owner, name)


@dataclass
class Carried:
    """One object after an answer: what the engine knows of it, and the hidden states that carried it."""
    known: Known
    states: dict[tuple[str, int], Tensor]
    outcome: Outcome
    question: Question
    thought: Thought

    @property
    def state(self) -> Tensor:
        """The hidden state at <SEG>."""
        return self.states["SEG", 0]

    @property
    def sight(self) -> Sight:
        return self.known.sight


def carry(engine: Engine, volume: Volume, text: str, keys: Sequence[str], routes: Sequence[str] = ("segment",),
          replace: Callable[[Label, Tensor], Tensor | None] | None = None, present: bool = True) -> list[Carried]:
    """Answers a question under a given plan and returns its objects; with `present` they are looked for in any case."""
    tap, talk = Tap(*([replace] if replace else [])), f"proof {text} {next(_TALKS)}"
    with given_plan(routes, keys), tap.on(engine.speaker), certain(engine) if present else nullcontext():
        outcome = ask(engine, volume, text, conversation=talk)
    objects = engine._conversations.pop((talk, volume.identity)).objects
    return [Carried(known, {label[1:]: state for label, state in tap.states.items() if label[0] == number}, outcome,
                    tap.question, tap.thought) for number, known in objects.items()]


@contextmanager
def certain(engine: Engine) -> Iterator[None]:
    """Nothing is called absent: proofs about masks need masks."""
    from ctreasoner import looking

    engine.speaker  # noqa: B018 (the calibration comes with the language half)
    calibration = engine.calibration
    engine.calibration = {**calibration, "threshold": 0.0}
    try:
        with patch.object(looking, "FOUND", 0.0):
            yield
    finally:
        engine.calibration = calibration


@contextmanager
def told(engine: Engine, key: str) -> Iterator[None]:
    """As if the question were understood as "segment this object", and the object were there."""
    with given_plan(["segment"], [key]), certain(engine):
        yield


@torch.inference_mode()
def draw(engine: Engine, sight: Sight, code: Tensor) -> Tensor:
    """Mask logits [k, x, y, z] of codes [k, 128] in one view."""
    out = []
    for some in code.split(4):
        context, pixels = engine.eyes.context(sight, some)
        out.append(engine.eyes.masks(sight, context, pixels, some)[0])
    return torch.cat(out)


@torch.inference_mode()
def existence(engine: Engine, sight: Sight, code: Tensor) -> Tensor:
    """[k, 4] probabilities of the states of codes in one view."""
    return torch.cat([engine.eyes.context(sight, some)[0].existence[0].softmax(-1) for some in code.split(8)])


@torch.inference_mode()
def code_of(engine: Engine, state: Tensor) -> Tensor:
    return engine.speaker.language.code(state)


@torch.inference_mode()
def looked(engine: Engine, carried: Carried, sight: Sight, whole: Sight) -> Tensor:
    """The code at <SEG> when the object's block holds this one look."""
    speaker, known = engine.speaker, carried.known
    speaker.begin(carried.thought, known.number, known.key)
    speaker.look(carried.thought, sight, whole)
    return speaker.segment(carried.thought)


@torch.inference_mode()
def uncached(engine: Engine, carried: Carried, whole: Sight, blocked: Sequence[int] = ()) -> Tensor:
    """The code at <SEG> from one pass over the whole sequence; no token attends to the `blocked` positions."""
    speaker, known, question = engine.speaker, carried.known, carried.question
    t, language = speaker.t, speaker.language
    before = [*carried.thought.tokens, *speaker.processor.block(known.number, known.key, "present"), t["<BOX>"], t["<LOOK>"]]
    ids = [*before, *[t["<vis>"]] * speaker.look_tokens ** 3, t["<BOX>"], t["<SEG>"]]
    embeds = language.embed(torch.tensor([ids])).clone()
    embeds[0, 1:1 + speaker.whole_tokens ** 3] = speaker._visual(whole, speaker.whole_tokens, whole)[0]
    embeds[0, len(before):len(ids) - 2] = speaker._visual(carried.sight, speaker.look_tokens, whole)[0]
    mask = torch.ones(1, len(ids), dtype=torch.long)
    mask[0, list(blocked)] = 0
    _, states, _ = language(embeds, mask)
    assert question.ids == ids[:len(question.ids)]
    return language.code(states[0, -1])


@contextmanager
def counted(engine: Engine) -> Iterator[dict[str, int]]:
    """How often the heads ran inside the block: look (existence, boxes), detail and masks (the pixel decoder)."""
    vision, calls = engine.eyes.vision, dict.fromkeys(("look", "detail", "masks"), 0)
    originals = {name: getattr(vision, name) for name in calls}

    def counting(name: str, *arguments, **named):
        calls[name] += 1
        return originals[name](*arguments, **named)

    for name in calls:
        setattr(vision, name, partial(counting, name))
    try:
        yield calls
    finally:
        for name in calls:
            delattr(vision, name)


def shared_view(volume: Volume, sights: Sequence[Sight], spacing_mm: float = 3.0):
    """One snapped view round several looks."""
    from ctreasoner.geometry import View

    lo = np.min([s.view.lo for s in sights], 0)
    hi = np.max([s.view.hi for s in sights], 0)
    return View.around(lo, hi, 0.0, spacing_floor=spacing_mm, native=volume.spacing)
