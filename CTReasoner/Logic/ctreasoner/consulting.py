"""Who answers for an object that the model does not know: which expert, whether it may, and its work as events."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import CTReasonerError
from .events import By, Category, Event, Mask, Progress, Warning_
from .experts import anatomy, registry, sense
from .experts.protocol import Box, Expert, ExpertError, Found, by_of
from .geometry import View, box_of

if TYPE_CHECKING:
    from .answering import Answering
    from .conversation import Known
    from .vocabulary import VocabObject

TELL_S = 0.5
YES = {"yes", "y", "yes please", "ok", "okay", "sure", "use it", "yes use it", "do it", "please do"}
NO = {"no", "n", "no thanks", "no thank you", "do not", "don t", "do not use it"}
RULE = By(kind="rule", name="attributes")


def reply(text: str) -> bool | None:
    """What a text says to "Use it?": True, False, or None where it is another question."""
    words = " ".join(re.findall(r"[a-z]+", text.lower()))
    return True if words in YES else False if words in NO else None


class Router:
    """The experts, as one answer uses them. They are looked up when the model first says that it does not know something."""

    def __init__(self, answering: Answering) -> None:
        self.answering = answering
        self._experts: list[Expert] | None = None
        self.problems: list[str] = []

    @property
    def experts(self) -> list[Expert]:
        if self._experts is None:
            self._experts, self.problems = registry.experts()
        return self._experts

    def objects(self, words: str) -> list[tuple[Expert, VocabObject]]:
        """(first expert that covers it, object) for what these words name: two where a paired object is named without a side."""
        found: dict[str, tuple[Expert, VocabObject]] = {}
        for expert in self.experts:
            for item in anatomy.named(words, expert.objects.values()):
                found.setdefault(item.key, (expert, item))
        exact = [pair for pair in found.values() if anatomy.named(words, [pair[1]]) and not _by_base(words, pair[1])]
        return exact or list(found.values())

    def named_in(self, text: str) -> str:
        """The longest name of an expert's object that stands in a question which the model declined, or ""."""
        said = f" {' '.join(re.findall(r'[a-z0-9]+', text.lower()))} "
        names = {n.lower() for e in self.experts for item in e.objects.values() for n in (item.display, *item.names)}
        return max((n for n in names if f" {n} " in said), key=len, default="")

    # the answer -------------------------------------------------------------------------------------------------

    def about(self, words: str) -> dict[str, Any]:
        """What the intent says of who answers for these words."""
        found = self.objects(words) if words else []
        return {"expert": {k: v for k, v in _facts(by_of(found[0][0])).items() if v}} if len(found) == 1 else {}

    def may(self, words: str) -> bool:
        """Whether one expert covers what these words name, and may be used unasked."""
        found = self.objects(words) if words else []
        return len(found) == 1 and self._allowed(found[0][0])

    def _allowed(self, expert: Expert, must_ask: bool = False) -> bool:
        a = self.answering
        said = expert.name in a.conversation.experts_allowed
        return said or (not must_ask and (a.request.options.experts or registry.always()))

    def answer(self, known: Known, words: str, must_ask: bool = False) -> Iterator[Event]:
        """Existence, and what follows from it. The object stays unsupported where no expert does it, and the answer says why."""
        found = self.objects(words) if words else []
        if len(found) != 1:
            yield from self._unsupported(known, [self._side_needed(found)] if found else [self.answering.suggestion(known)])
            return
        (expert, item), talk = found[0], self.answering.conversation
        if self._allowed(expert, must_ask):
            yield from self._use(known, expert, item)
        elif expert.name in talk.experts_refused:
            sentence = f"The model does not know the object \"{words}\"; {expert.name}, which covers it, was not to be used."
            yield from self._unsupported(known, [self._warning("expert_refused", sentence)])
        else:
            talk.offered = (f"Segment the {words}.", expert.name)
            yield from self._unsupported(known, [self._offer(expert, item)])

    def _offer(self, expert: Expert, item: VocabObject) -> Event:
        seconds = expert.expected_seconds(self.answering.volume, self._box())
        place = "CPU" if expert.device == "cpu" else "GPU"
        time_ = f"about {_rounded(seconds)} on this {place}" if seconds is not None else "how long it takes was not measured"
        return self._warning("expert_available", f"{expert.name} covers the {_spoken(item)}; {time_}. Licence: "
                             f"{expert.licence.note}. Use it?", "Answer yes or no; ask with --experts to be asked no more.")

    def _side_needed(self, found: list) -> Event:
        names = " or the ".join(_spoken(item) for _, item in found)
        return self._warning("side_needed", f"Is the {names} meant?", "Ask for one of them by its side.")

    def _unsupported(self, known: Known, warnings: list[Event]) -> Iterator[Event]:
        known.state = "unsupported"
        yield self.answering.seeker.existence_event(known, None)
        yield from warnings
        for problem in self.problems:
            yield self._warning("expert_unusable", f"An expert cannot be used. {problem}", "ctreasoner experts list")
        self.problems = []

    def _warning(self, code: str, sentence: str, hint: str = "") -> Event:
        return self.answering.stream.emit(Warning_, code=code, sentence=sentence, hint=hint)

    # its work ---------------------------------------------------------------------------------------------------

    def _use(self, known: Known, expert: Expert, item: VocabObject) -> Iterator[Event]:
        box, outcome, stop = self._box(), {}, threading.Event()
        worker = threading.Thread(target=_work, args=(expert, self.answering.volume, item, box, stop, outcome), daemon=True)
        expected, begun = expert.expected_seconds(self.answering.volume, box) or 0.0, time.monotonic()
        worker.start()
        try:
            while worker.is_alive():
                worker.join(TELL_S)
                elapsed = int(time.monotonic() - begun)
                yield self.answering.stream.emit(Progress, stage=f"{expert.name}: {_spoken(item)}", step=elapsed,
                                                 of=max(int(expected), elapsed + 1))
        finally:
            stop.set()
        if "error" in outcome:
            error = outcome["error"]
            yield from self._unsupported(known, [self._warning("expert_failed", f"{error} [{error.code}]", error.hint)])
        else:
            yield from self._shown(known, outcome["found"], item)

    def _shown(self, known: Known, found: Found, item: VocabObject) -> Iterator[Event]:
        """A mask as the model's own are shown: where it is, a closer look, the mask, words by rule, measurements."""
        from .appearance.attributes import attributes_for, rule
        from .appearance.measure import measure, values
        from .model.closer import touches_border
        from .model.eyes import Faces

        a, volume = self.answering, self.answering.volume
        known.key, known.entry, known.by, known.display, known.state = item.key, item, found.by, item.display, "present"
        known.mask, known.first_voxel = found.mask, np.array(found.first_voxel)
        known.cut = touches_border(known.mask.shape, known.first_voxel, volume)
        centre, size = (np.array(v) for v in box_of(known.mask > 0, known.first_voxel, volume))
        known.box = Faces(np.stack([centre - size / 2, centre + size / 2], 1), np.zeros((3, 2)), np.zeros((3, 2)))
        yield a.seeker.existence_event(known, None)
        yield a.seeker.box_event(known, 1.0)
        view = View.around(centre - size / 2, centre + size / 2, 10.0, spacing_floor=item.spacing_floor_mm, native=volume.spacing)
        known.looks = 1
        yield a.seeker.look_event(a.engine.eyes.see(volume, view), known.id, 1, "object", item.key, by=found.by)
        yield a.seeker.box_event(known, 1.0)
        known.path = a.folder / f"{known.id}.final.npy"
        np.save(known.path, known.mask, allow_pickle=False)
        yield a.stream.emit(Mask, object=known.id, stage="final", first_voxel=tuple(int(v) for v in known.first_voxel),
                            shape=known.mask.shape, path=known.path.name, voxels=int(known.mask.sum()), cut_by_scan=known.cut,
                            by=found.by)
        if odd := sense.odd_volume(found, item, volume, known.cut):
            yield self._warning("expert_volume", odd)
        known.measured = measure(known.mask > 0, known.first_voxel, volume, item, known.cut)
        for attribute in attributes_for(item.key):
            value = rule(attribute, item, values(known.measured), known.cut)
            if value is not None:
                known.categories[attribute] = value
                yield a.stream.emit(Category, object=known.id, attribute=attribute, value=value, probability=1.0, by=RULE)
        yield from a._measured(known, known.measured)

    def _box(self) -> Box | None:
        """The box that a person drew, which spares the expert the rest of the scan."""
        boxes = self.answering.request.boxes
        if not boxes:
            return None
        centre, size = np.array(boxes[0].centre_ras), np.array(boxes[0].size_mm)
        return centre - size / 2, centre + size / 2


def _work(expert: Expert, volume, item: VocabObject, box: Box | None, stop: threading.Event, outcome: dict[str, Any]) -> None:
    try:
        found = expert.segment(volume, [item.key], box, stop.is_set)[item.key]
        sense.check(found, item, volume, box)
        outcome["found"] = found
    except CTReasonerError as error:
        outcome["error"] = error
    except Exception as error:      # a foreign package: the answer goes on whatever it raises
        outcome["error"] = ExpertError(f"{expert.name} stumbled: {type(error).__name__}: {error}", code="CTR-EXP-029")


def _facts(by: By) -> dict[str, str]:
    return {"name": by.name, "version": by.version, "licence": by.licence}


def _by_base(words: str, item: VocabObject) -> bool:
    return anatomy.words_of(words) in [anatomy.words_of(n) for n in item.base]


def _spoken(item: VocabObject) -> str:
    from .appearance.wording import spoken

    return spoken(item.display)


def _rounded(seconds: float) -> str:
    if seconds >= 90:
        return f"{max(2, round(seconds / 60))} min"
    return f"{max(1, round(seconds, -1 if seconds >= 20 else 0)):.0f} s"
