"""One question about one scan: what the model plans, finds, segments, measures and says, as events in their order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ctreasoner import __version__
from ctreasoner.consulting import Router, reply
from ctreasoner.conversation import Conversation, Known
from ctreasoner.errors import InputError, UsageError
from ctreasoner.events import By, Event, Intent, Measurement, Request, Started, Statement, Stream, Text, Warning_
from ctreasoner.experts import anatomy
from ctreasoner.looking import Seeker
from ctreasoner.model.eyes import Sight

if TYPE_CHECKING:
    from ctreasoner.engine import Engine

CLICKABLE = ("lung_nodule", "thing")


class Answering:
    """One question about one scan."""

    def __init__(self, engine: Engine, request: Request, conversation: Conversation, stream: Stream, folder: Path):
        self.engine, self.request, self.conversation, self.stream, self.folder = engine, request, conversation, stream, folder
        self.volume, self.vocabulary, self.by = engine.volume(request), engine.vocabulary, engine.by
        self.router = Router(self)
        self._check_points()

    def events(self) -> Iterator[Event]:
        volume = self.volume
        about = {"identity": volume.identity, "name": volume.name, "shape": list(volume.shape),
                 "spacing_mm": [float(s) for s in volume.spacing]}
        yield self.stream.emit(Started, engine=__version__, model=self.engine.model, volume=about)
        if self.request.edited:
            yield from self._edited()
            return
        whole = self.engine.eyes.whole(volume)
        self.seeker = Seeker(self.engine.eyes, None, volume, self.stream, self.by, self.folder, {}, self.vocabulary)
        yield self.seeker.look_event(whole, None, 0, "whole scan")
        self.seeker.speaker, self.seeker.calibration = self.engine.speaker, self.engine.calibration
        target = self._target()
        if target is not None and (self._clicks() or not self.request.text.strip()):
            yield from self._refined(target, whole)
            return
        yield from self._planned(whole)

    # a question ---------------------------------------------------------------------------------------------

    def _planned(self, whole: Sight) -> Iterator[Event]:
        from ctreasoner.model.processor import Turn
        text, talk = self._replied(self.request.text.strip()), self.conversation
        talk.make_room()
        names, points = self._prompt_tokens(whole)
        question = self.engine.speaker.processor.question(text, names, talk.turns[-talk.recent:])
        known = {n: o.model_key for n, o in talk.objects.items() if o.state == "present" and o.box is not None}
        thought = self.engine.speaker.think(question, whole, points, known, self.request.options.max_objects)
        routes = [r for r in thought.plan.routes if r in ("detect", "segment", "describe")]
        objects = [self._object(planned, thought, question, text) for planned in thought.plan.objects]
        asked = [self._asked(p.number, thought, question, text) for p in thought.plan.objects]
        yield self.stream.emit(Intent, routes=tuple(routes), by=self.by, objects=tuple(
            {"id": o.id, "name": o.key or "unknown", "asked": words, **(self.router.about(words) if o.key is None else {})}
            for o, words in zip(objects, asked, strict=True)))
        if not routes and (words := self.router.named_in(text)):
            routes, objects = ["segment"], [self._unnamed(words)]
            yield from self.router.answer(objects[0], words, must_ask=True)
        elif not routes:
            yield self._unanswerable(thought.plan.routes)
        for known_object, planned in zip(objects, thought.plan.objects, strict=False):
            if not planned.reference:
                yield from self._one(known_object, thought, whole, routes)
            else:
                yield from self._again(known_object, thought, whole, routes)
        if self.request.options.want_text:
            yield from self._words(thought, objects, routes)
        talk.turns.append(Turn(text, thought.plan.tokens))

    def _object(self, planned, thought, question, text: str) -> Known:
        if planned.reference:
            return self.conversation.objects[planned.number]
        asked = self._asked(planned.number, thought, question, text)
        if planned.key in self.vocabulary:
            display = self.vocabulary.display(planned.key)
        else:
            display = "Clicked structure" if planned.key == "thing" else asked or "unknown"
        mine = sum(o.id.startswith(self.stream.answer + ".") for o in self.conversation.objects.values())
        new = Known(f"{self.stream.answer}.o{mine + 1}", planned.number, planned.key, display, asked=asked)
        self.conversation.objects[planned.number] = new
        return new

    def _unnamed(self, words: str) -> Known:
        """An object that is not in the model's plan, with the next free number."""
        number = max(self.conversation.objects, default=0) + 1
        new = self.conversation.objects[number] = Known(f"{self.stream.answer}.o1", number, None, words, asked=words)
        return new

    def _replied(self, text: str) -> str:
        """The text to answer: after a yes to an expert, what it was offered for."""
        talk = self.conversation
        offered, talk.offered, said = talk.offered, None, reply(text)
        if offered is None or said is None:
            return text
        (talk.experts_allowed if said else talk.experts_refused).add(offered[1])
        return offered[0]

    @staticmethod
    def _asked(number: int, thought, question, text: str) -> str:
        if number not in thought.asked or not question.offsets:
            return ""
        first, last = thought.asked[number]
        return text[question.offsets[first][0]:question.offsets[last][1]].strip(" .,;:?!\"'")

    def _one(self, known: Known, thought, whole: Sight, routes: list[str]) -> Iterator[Event]:
        seeker, clicks = self.seeker, self._clicks()
        boxed = known.key == "thing" and self.request.boxes and self.router.may(known.asked)
        if known.key is None or boxed:
            yield from self.router.answer(known, known.asked)
            return
        if clicks and known.key in CLICKABLE:
            point = next((p for p, positive in clicks if positive), None)
            if point is None:
                raise UsageError("A click that says what does not belong needs an object to take it from.", code="CTR-ASK-004",
                                 hint="Click inside the object first, or choose the finding that is to be corrected.")
            known.clicks = clicks
            yield seeker.existence_event(known, None)
            drawn = max((max(b.size_mm) for b in self.request.boxes), default=None)
            yield from seeker.find_at(known, thought, whole, point, self.request.options.max_looks, drawn)
        else:
            probability = seeker.exists(known, whole, thought.codes[known.number])
            yield seeker.existence_event(known, probability)
            if known.state != "present":
                return
            yield from seeker.find(known, thought, whole, self.request.options.max_looks)
        if known.state == "present" and set(routes) & {"segment", "describe"}:
            yield from seeker.segment(known, thought)
            yield from self._measured(known)

    def _again(self, known: Known, thought, whole: Sight, routes: list[str]) -> Iterator[Event]:
        """An object of an earlier answer: nothing runs, unless it has no mask yet and one is needed now."""
        if known.mask is None and known.state == "present" and set(routes) & {"segment", "describe"}:
            yield from self.seeker.find(known, thought, whole, self.request.options.max_looks)
            if known.state == "present":
                yield from self.seeker.segment(known, thought)
                yield from self._measured(known)
        else:
            yield from self._measured(known, known.measured)

    def _unanswerable(self, routes: list[str]) -> Event:
        if routes == ["need_click"]:
            return self.stream.emit(Warning_, code="click_needed", hint="Click on it.",
                                    sentence="A nodule is segmented where you click; it is not searched for.")
        return self.stream.emit(Warning_, code="question_unsupported", hint="Ask for an object, for example: segment the aorta.",
                                sentence="This question names nothing that can be looked for in this scan.")

    def suggestion(self, known: Known) -> Event:
        similar = [self.vocabulary.display(k) for k in self.vocabulary.suggest(known.display)] if known.display else []
        hint = f"Did you mean {' or '.join(similar)}?" if similar else "`ctreasoner objects` lists what can be asked for."
        return self.stream.emit(Warning_, code="object_unsupported", hint=hint,
                                sentence=f"The model does not know the object \"{known.display}\".")

    # measuring and saying -----------------------------------------------------------------------------------

    def _measured(self, known: Known, measured: list | None = None) -> Iterator[Event]:
        from ctreasoner.appearance.measure import measure
        if known.mask is None or not known.mask.size:
            return
        if measured is None:
            known.measured = measure(known.mask > 0, known.first_voxel, self.volume, self._entry(known), known.cut)
        for n, m in enumerate(known.measured, 1):
            if m.value is not None:
                yield self.stream.emit(Measurement, id=f"{known.id}.m{n}", object=known.id, name=m.name, value=m.value, unit=m.unit,
                                       method=m.method, geometry=m.geometry)

    def _facts(self, known: Known):
        from ctreasoner.appearance.wording import Facts
        ids = {m.name: f"{known.id}.m{n}" for n, m in enumerate(known.measured, 1)}
        return Facts(object=known.id, display=known.display, obj=self._entry(known), measured={m.name: m for m in known.measured},
                     ids=ids, box_size_mm=tuple(known.box.size) if known.box is not None else None)

    def _entry(self, known: Known):
        return known.entry or (self.vocabulary.get(known.key) if known.key else None)

    def _words(self, thought, objects: list[Known], routes: list[str]) -> Iterator[Event]:
        told = []
        for o in objects:
            state = "lost" if o.state in ("absent", "outside") and o.looks else o.state
            told.append((o.model_key, state, o.categories if state == "present" and o.mask is not None else {}))
        words = self.engine.speaker.say(thought, told, self._slots(objects))
        self.conversation.said.append((words, [o.number for o in objects]))
        yield from self._checked(words, objects)

    def _slots(self, objects: list[Known]) -> list[set[str]]:
        """For each object what its slots can show; without an object, what the scan can be asked for."""
        from ctreasoner.appearance.wording import fillable
        facts = [self._facts(o) for o in objects]
        return [fillable(f, facts) for f in facts] or [{"askable"}]

    def _checked(self, words: str, objects: list[Known]) -> Iterator[Event]:
        """Fills the slots, checks every sentence against what was exported, and leaves out what states a finding unchecked."""
        from ctreasoner.appearance.verify import checked_text
        from ctreasoner.appearance.wording import fill, render, spoken
        shown = [] if objects else [key for key, state, _ in self.engine.inside(self.volume) if state == "present"]
        askable = [spoken(self.vocabulary.display(key)) for key in shown]
        text, spans = render(fill([words], [self._facts(o) for o in objects], askable))
        exported = {o.id: (o.display, o.key, _exported(o), o.first_voxel, o.state, tuple(o.box.size) if o.box is not None else None)
                    for o in objects}
        text, spans, statements = checked_text(text, spans, exported, self.volume, anatomy.vocabulary())
        yield self.stream.emit(Text, text=text, spans=tuple(spans))
        for n, s in enumerate(statements, 1):
            yield self.stream.emit(Statement, id=f"{self.stream.answer}.s{n}", start=s.start, end=s.end, claim=s.claim,
                                   verdict=s.verdict, rule=s.rule, said=s.said, found=s.found, evidence=s.evidence,
                                   by=By(kind="rule", name="verify"))

    # prompts, refinement, edits -----------------------------------------------------------------------------

    def _clicks(self) -> list[tuple[tuple[float, float, float], bool]]:
        request = self.request
        out = [(c.point_ras, c.positive) for c in request.clicks]
        out += [(p, s.positive) for s in request.scribbles for p in s.points_ras[:: max(1, len(s.points_ras) // 6)]]
        return out + [(b.centre_ras, True) for b in request.boxes] if not any(p for _, p in out) else out

    def _prompt_tokens(self, whole: Sight) -> tuple[list[str], list]:
        from ctreasoner.model.language import point_features
        from ctreasoner.model.speaker import point_place
        view, names, points = whole.view, [], []
        for point, positive in self._clicks()[:4]:
            voxel = torch.tensor((np.array(point) - view.lo) / np.array(view.spacing_mm) - 0.5, dtype=torch.float32)
            with torch.inference_mode():
                features = point_features(whole.features, voxel[None], view.shape)[0]
            names.append("<click+>" if positive else "<click->")
            points.append((features, point_place(voxel, view)))
        return names, points

    def _check_points(self) -> None:
        for point, _ in self._clicks():
            if not self.volume.contains(point):
                lo, hi = self.volume.extent_ras()
                raise InputError(f"The point {', '.join(f'{v:g}' for v in point)} (RAS mm) lies outside the scan, which goes from "
                                 f"{', '.join(f'{v:.0f}' for v in lo)} to {', '.join(f'{v:.0f}' for v in hi)}.", code="CTR-GEO-020")

    def _target(self) -> Known | None:
        wanted = self.request.target or next((c.target for c in (*self.request.clicks, *self.request.scribbles) if c.target), None)
        if wanted is None:
            return None
        found = self.conversation.by_id(wanted)
        if found is not None and found.entry is not None:
            raise UsageError(f"{found.display} was drawn by {found.by.name}, which takes no clicks.", code="CTR-ASK-005",
                             hint="Correct the mask by hand, or click without naming it: the model then draws what lies there.")
        if found is None or found.mask is None or not found.mask.size:
            raise UsageError(f"There is no object {wanted} with a mask in this conversation.", code="CTR-ASK-003")
        return found

    def _refined(self, target: Known, whole: Sight) -> Iterator[Event]:
        clicks = self._clicks()
        target.clicks = [*target.clicks, *clicks]
        if target.given:
            from ctreasoner.refining import refine_given
            yield from refine_given(self.seeker, target, whole, clicks)
        else:
            yield from self.seeker.refine(target)
        yield from self._measured(target)

    def _edited(self) -> Iterator[Event]:
        """A mask that a person changed is measured, and what was said about it is said and checked again; no model runs."""
        from ctreasoner.io import read_mask
        from ctreasoner.model.closer import touches_border, trimmed
        for object_id, path in self.request.edited.items():
            known = self.conversation.by_id(object_id)
            if known is None:
                raise UsageError(f"There is no object {object_id} in this conversation.", code="CTR-ASK-003")
            known.mask, known.first_voxel = trimmed(read_mask(path, self.volume), np.zeros(3, int))
            known.given, known.clicks = True, []
            known.cut = bool(known.mask.size) and touches_border(known.mask.shape, known.first_voxel, self.volume)
            known.path = self.folder / f"{known.id}.edited.npy"
            np.save(known.path, known.mask, allow_pickle=False)
            yield from self._measured(known)
        for words, numbers in self.conversation.said:
            objects = [self.conversation.objects[n] for n in numbers]
            if any(o.id in self.request.edited for o in objects):
                yield from self._checked(words, objects)


def _exported(known: Known):
    """The mask as it lies on disk; the checker reads that and nothing else."""
    return known.path if known.path is not None and known.path.exists() else known.mask
