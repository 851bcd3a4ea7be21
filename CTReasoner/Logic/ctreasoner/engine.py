"""The heart: one request in, a stream of events out. Every front door consumes this stream and nothing else.

    Started, Look (whole scan), Intent, per object: Existence, Box, (Look Box)*, Mask (coarse, final), Category*, Measurement*,
    then Text, Statement*, and exactly one of Done, Cancelled, Failed.
"""
from __future__ import annotations

import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ctreasoner import __version__
from ctreasoner.conversation import Conversation, Known
from ctreasoner.errors import CTReasonerError, InputError, UsageError
from ctreasoner.events import (
    By,
    Cancelled,
    Done,
    Event,
    Failed,
    Intent,
    Measurement,
    Request,
    Started,
    Statement,
    Stream,
    Text,
    Warning_,
)
from ctreasoner.geometry import Volume
from ctreasoner.looking import Seeker
from ctreasoner.model import weights
from ctreasoner.model.eyes import Eyes, Sight
from ctreasoner.vocabulary import Vocabulary

LICENCE = "research use only"
CLICKABLE = ("lung_nodule", "thing")


class Engine:
    """A loaded model, the volumes it was given, and its conversations. One answer at a time."""

    def __init__(self, folder: Path, threads: int | None = None):
        if threads:
            torch.set_num_threads(threads)
        self.folder, self.vocabulary = Path(folder), Vocabulary.load()
        self.eyes = Eyes(weights.load_vision(folder))
        self.model = {"name": weights.read_config(folder).get("name", Path(folder).name), "hash": weights.weights_hash(folder)}
        self.by = By(kind="model", name=f"CTReasoner {self.model['name']}", version=self.model["hash"], licence=LICENCE)
        self._volumes: dict[str, Volume] = {}
        self._conversations: dict[tuple[str, str], Conversation] = {}
        self._speaker, self._problem = None, None
        # transformers takes seconds to import: it happens while the first look is already on its way.
        self._loading = threading.Thread(target=self._load_language, daemon=True)
        self._loading.start()

    @classmethod
    def from_pretrained(cls, folder: str | Path, threads: int | None = None) -> Engine:
        """An engine from a model folder. Raises ModelError in one sentence when it is missing, damaged or of another version."""
        return cls(Path(folder), threads)

    def _load_language(self) -> None:
        try:
            from ctreasoner.model.speaker import Speaker
            language, processor, config = weights.load_language(self.folder)
            self._speaker = Speaker(language, processor, config.whole_tokens, config.look_tokens)
            self.calibration = config.calibration
        except CTReasonerError as error:
            self._problem = error
        except Exception as error:  # a broken installation must reach the person who asked, not a thread's log
            self._problem = CTReasonerError(f"The language model could not be started: {error}", code="CTR-MODEL-005")

    @property
    def speaker(self):
        self._loading.join()
        if self._problem:
            raise self._problem
        return self._speaker

    def register(self, volume: Volume) -> str:
        """Makes a volume known; requests name it by the identity that is returned."""
        self._volumes[volume.identity] = volume
        return volume.identity

    def forget(self, identity: str) -> None:
        """Drops a volume, what was encoded of it and its conversations."""
        self._volumes.pop(identity, None)
        self.eyes.forget(identity)
        for key in [k for k in self._conversations if k[1] == identity]:
            del self._conversations[key]

    def conversation(self, request: Request) -> Conversation:
        return self._conversations.setdefault((request.conversation, self._volume(request).identity), Conversation())

    def _volume(self, request: Request) -> Volume:
        if request.volume in self._volumes:
            return self._volumes[request.volume]
        if not Path(request.volume).exists():
            raise InputError(f"There is no CT at {Path(request.volume).name}.", code="CTR-IN-001")
        from ctreasoner.io import read_volume
        volume = read_volume(request.volume)
        self._volumes[request.volume] = volume
        return volume

    def answer(self, request: Request, workspace: Path | str | None = None,
               cancelled: Callable[[], bool] = lambda: False) -> Iterator[Event]:
        """The events of one answer; masks are written to `workspace` (.npy). Between any two events `cancelled` is asked."""
        folder = Path(workspace) if workspace else Path(tempfile.mkdtemp(prefix="ctreasoner-"))
        folder.mkdir(parents=True, exist_ok=True)
        stream, timings = Stream("a0"), {}
        try:
            conversation = self.conversation(request)
            conversation.answers += 1
            stream.answer = f"a{conversation.answers}"
            torch.manual_seed(request.options.seed)
            for event in _timed(_Answer(self, request, conversation, stream, folder).events(), timings):
                yield event
                if cancelled():
                    yield stream.emit(Cancelled, timings_s=timings, peak_memory_mb=peak_memory_mb())
                    return
            yield stream.emit(Done, timings_s=timings, peak_memory_mb=peak_memory_mb())
        except CTReasonerError as error:
            yield stream.emit(Failed, code=error.code, sentence=str(error), hint=error.hint)
        except MemoryError:
            yield stream.emit(Failed, code="CTR-RES-002", sentence="There is not enough memory for this scan.", hint="Close other programs.")


class _Answer:
    """One question about one scan."""

    def __init__(self, engine: Engine, request: Request, conversation: Conversation, stream: Stream, folder: Path):
        self.engine, self.request, self.conversation, self.stream, self.folder = engine, request, conversation, stream, folder
        self.volume, self.vocabulary, self.by = engine._volume(request), engine.vocabulary, engine.by
        self._check_points()

    def events(self) -> Iterator[Event]:
        volume = self.volume
        yield self.stream.emit(Started, engine=__version__, model=self.engine.model, volume={
            "identity": volume.identity, "name": volume.name, "shape": list(volume.shape), "spacing_mm": [float(s) for s in volume.spacing]})
        if self.request.edited:
            yield from self._edited()
            return
        whole = self.engine.eyes.whole(volume)
        self.seeker = Seeker(self.engine.eyes, None, volume, self.stream, self.by, self.folder, {}, self.vocabulary)
        yield self.seeker.look_event(whole, None, 0, "whole scan")
        self.seeker.speaker, self.seeker.calibration = self.engine.speaker, self.engine.calibration
        target = self._target()
        if target is not None and not self.request.text.strip():
            yield from self._refined(target)
            return
        yield from self._planned(whole)

    # a question ---------------------------------------------------------------------------------------------

    def _planned(self, whole: Sight) -> Iterator[Event]:
        from ctreasoner.model.processor import Turn
        text, talk = self.request.text.strip(), self.conversation
        names, points = self._prompt_tokens(whole)
        question = self.engine.speaker.processor.question(text, names, talk.turns[-talk.recent:])
        known = {n: o.key for n, o in talk.objects.items() if (o.state == "present" and o.mask is not None) or o.box is not None}
        thought = self.engine.speaker.think(question, whole, points, known, self.request.options.max_objects)
        routes = [r for r in thought.plan.routes if r in ("detect", "segment", "describe")]
        objects = [self._object(planned, thought, question, text) for planned in thought.plan.objects]
        yield self.stream.emit(Intent, routes=tuple(routes), by=self.by, objects=tuple(
            {"id": o.id, "name": o.key or "unknown", "asked": self._asked(p.number, thought, question, text)}
            for o, p in zip(objects, thought.plan.objects)))
        if not routes:
            yield self._unanswerable(thought.plan.routes)
        for known_object, planned in zip(objects, thought.plan.objects):
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
        display = self.vocabulary.display(planned.key) if planned.key in self.vocabulary else ("Clicked structure" if planned.key == "thing" else asked or "unknown")
        new = Known(f"{self.stream.answer}.o{sum(o.id.startswith(self.stream.answer + '.') for o in self.conversation.objects.values()) + 1}",
                    planned.number, planned.key, display)
        self.conversation.objects[planned.number] = new
        return new

    @staticmethod
    def _asked(number: int, thought, question, text: str) -> str:
        if number not in thought.asked or not question.offsets:
            return ""
        first, last = thought.asked[number]
        return text[question.offsets[first][0]:question.offsets[last][1]].strip(" .,;:?!\"'")

    def _one(self, known: Known, thought, whole: Sight, routes: list[str]) -> Iterator[Event]:
        seeker, clicks = self.seeker, self._clicks()
        if known.key is None:
            known.state = "unsupported"
            yield seeker.existence_event(known, None)
            yield self._suggestion(known)
            return
        if clicks and known.key in CLICKABLE:
            known.clicks = clicks
            yield seeker.existence_event(known, None)
            yield from seeker.find_at(known, thought, whole, next(p for p, positive in clicks if positive), self.request.options.max_looks)
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
            return self.stream.emit(Warning_, code="click_needed", sentence="A nodule is segmented where you click; it is not searched for.",
                                    hint="Click on it.")
        return self.stream.emit(Warning_, code="question_unsupported", sentence="This question names nothing that can be looked for in this scan.",
                                hint="Ask for an object, for example: segment the aorta.")

    def _suggestion(self, known: Known) -> Event:
        similar = [self.vocabulary.display(k) for k in self.vocabulary.suggest(known.display)] if known.display else []
        hint = f"Did you mean {' or '.join(similar)}?" if similar else "`ctreasoner objects` lists what can be asked for."
        return self.stream.emit(Warning_, code="object_unsupported", sentence=f"The model does not know the object \"{known.display}\".", hint=hint)

    # measuring and saying -----------------------------------------------------------------------------------

    def _measured(self, known: Known, measured: list | None = None) -> Iterator[Event]:
        from ctreasoner.appearance.measure import measure
        if known.mask is None or not known.mask.size:
            return
        if measured is None:
            known.measured = measure(known.mask > 0, known.first_voxel, self.volume, self.vocabulary.get(known.key) if known.key else None, known.cut)
        for n, m in enumerate(known.measured, 1):
            if m.value is not None:
                yield self.stream.emit(Measurement, id=f"{known.id}.m{n}", object=known.id, name=m.name, value=m.value, unit=m.unit,
                                       method=m.method, geometry=m.geometry)

    def _facts(self, known: Known):
        from ctreasoner.appearance.wording import Facts
        return Facts(object=known.id, display=known.display, obj=self.vocabulary.get(known.key) if known.key else None,
                     measured={m.name: m for m in known.measured}, ids={m.name: f"{known.id}.m{n}" for n, m in enumerate(known.measured, 1)},
                     box_size_mm=tuple(known.box.size) if known.box is not None else None)

    def _words(self, thought, objects: list[Known], routes: list[str]) -> Iterator[Event]:
        told = []
        for o in objects:
            state = "lost" if o.state in ("absent", "outside") and o.looks else o.state
            told.append((o.key, state, o.categories if state == "present" and o.mask is not None else {}))
        words = self.engine.speaker.say(thought, told)
        yield from self._checked(words, objects)

    def _checked(self, words: str, objects: list[Known]) -> Iterator[Event]:
        """Fills the slots, checks every sentence against what was exported, and leaves out what states a finding unchecked."""
        from ctreasoner.appearance.verify import checked_text
        from ctreasoner.appearance.wording import fill, render
        askable = [self.vocabulary.display(k).lower() for k in self._inside()] if not objects else []
        text, spans = render(fill([words], [self._facts(o) for o in objects], askable))
        text, spans, statements = checked_text(text, spans, {
            o.id: (o.display, o.key, o.mask, o.first_voxel, o.state) for o in objects}, self.volume, self.vocabulary)
        yield self.stream.emit(Text, text=text, spans=tuple(spans))
        for n, s in enumerate(statements, 1):
            yield self.stream.emit(Statement, id=f"{self.stream.answer}.s{n}", start=s.start, end=s.end, claim=s.claim, verdict=s.verdict,
                                   rule=s.rule, said=s.said, found=s.found, evidence=s.evidence, by=By(kind="rule", name="verify"))

    def _inside(self) -> list[str]:
        """Keys of the objects that view 0 shows, for what can be asked instead."""
        whole = self.engine.eyes.whole(self.volume)
        from ctreasoner.model.eyes import states
        speaker, out = self.engine.speaker, []
        for key in speaker.processor.name_ids:
            if key in CLICKABLE:
                continue
            question = speaker.processor.question(f"segment the {speaker.processor.names[key]}")
            thought = speaker.think(question, whole, [], {}, 1)
            code = next(iter(thought.codes.values()), None)
            if code is not None and states(self.engine.eyes.context(whole, code[None])[0])["present"] > 0.5:
                out.append(key)
        return out

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
        if found is None or found.sight is None or found.mask is None:
            raise UsageError(f"There is no object {wanted} with a mask in this conversation.", code="CTR-ASK-003")
        return found

    def _refined(self, target: Known) -> Iterator[Event]:
        target.clicks = [*target.clicks, *self._clicks()]
        yield from self.seeker.refine(target)
        yield from self._measured(target)

    def _edited(self) -> Iterator[Event]:
        for object_id, path in self.request.edited.items():
            known = self.conversation.by_id(object_id)
            if known is None:
                raise UsageError(f"There is no object {object_id} in this conversation.", code="CTR-ASK-003")
            mask = np.load(path, allow_pickle=False) if str(path).endswith(".npy") else _mask_file(path, self.volume)
            if mask.shape != self.volume.shape:
                raise InputError(f"The edited mask has the shape {mask.shape}, the CT {self.volume.shape}.", code="CTR-IN-002")
            from ctreasoner.model.closer import touches_border, trimmed
            known.mask, known.first_voxel = trimmed(mask > 0, np.zeros(3, int))
            known.cut = bool(known.mask.size) and touches_border(known.mask.shape, known.first_voxel, self.volume)
            yield from self._measured(known)


def _mask_file(path: str, volume: Volume) -> np.ndarray:
    from ctreasoner.io import read_mask
    return read_mask(path, volume)


def _timed(events: Iterator[Event], timings: dict[str, float]) -> Iterator[Event]:
    """Adds the seconds before each event to its kind."""
    last = time.perf_counter()
    for event in events:
        now = time.perf_counter()
        stage = {"Look": "looking", "Box": "finding", "Mask": "segmenting", "Category": "choosing", "Measurement": "measuring",
                 "Text": "speaking", "Statement": "checking", "Intent": "understanding"}.get(event.type, "starting")
        timings[stage] = round(timings.get(stage, 0.0) + now - last, 4)
        yield event
        last = time.perf_counter()


def peak_memory_mb() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
