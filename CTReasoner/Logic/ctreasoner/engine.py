"""The heart: one request in, a stream of events out. Every front door consumes this stream and nothing else.

    Started, Look (whole scan), Intent, per object: Existence, Box, (Look Box)*, Mask (coarse, final), Category*, Measurement*,
    then Text, Statement*, and exactly one of Done, Cancelled, Failed.
"""
from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ctreasoner.answering import Answering
from ctreasoner.conversation import Conversation
from ctreasoner.errors import CTReasonerError, InputError
from ctreasoner.events import By, Cancelled, Done, Event, Failed, Request, Stream
from ctreasoner.geometry import Volume
from ctreasoner.model import stored, weights
from ctreasoner.model.eyes import Eyes
from ctreasoner.vocabulary import Vocabulary

LICENCE = "research use only"


class Engine:
    """A loaded model, the volumes it was given, and its conversations. One answer at a time."""

    def __init__(self, folder: Path, threads: int | None = None):
        if threads:
            torch.set_num_threads(threads)
        self.folder, self.vocabulary = Path(folder), Vocabulary.load()
        self.eyes = Eyes(weights.load_vision(folder))
        self.model = {"name": stored.read_config(folder).get("name", Path(folder).name), "hash": stored.weights_hash(folder)}
        self.by = By(kind="model", name=f"CTReasoner {self.model['name']}", version=self.model["hash"], licence=LICENCE)
        self._volumes: dict[str, Volume] = {}
        self._conversations: dict[tuple[str, str], Conversation] = {}
        self._inside: dict[str, dict[str, tuple[str, float]]] = {}
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
        self._inside.pop(identity, None)
        self.eyes.forget(identity)
        for key in [k for k in self._conversations if k[1] == identity]:
            del self._conversations[key]

    def conversation(self, request: Request) -> Conversation:
        return self._conversations.setdefault((request.conversation, self.volume(request).identity), Conversation())

    def volume(self, request: Request) -> Volume:
        if request.volume in self._volumes:
            return self._volumes[request.volume]
        if not Path(request.volume).exists():
            raise InputError(f"There is no CT at {Path(request.volume).name}.", code="CTR-IN-001")
        from ctreasoner.io import read_volume
        volume = read_volume(request.volume)
        self._volumes[request.volume] = volume
        return volume

    def inside(self, volume: Volume) -> Iterator[tuple[str, str, float]]:
        """(key, state, probability) of each object that can be asked for by name, as view 0 shows it: an estimate without a look.

        One short forward pass lies between two objects, so whoever reads can stop at any; what was found is kept with view 0.
        """
        from ctreasoner.looking import state_of
        whole, speaker, found = self.eyes.whole(volume), self.speaker, self._inside.setdefault(volume.identity, {})
        for key, name in speaker.processor.names.items():
            item = self.vocabulary.get(key)
            if item is None or item.clickable_only:
                continue
            if key not in found:
                thought = speaker.think(speaker.processor.question(f"segment the {name}"), whole, [], {}, 1)
                code = next((thought.codes[o.number] for o in thought.plan.objects if o.key == key), None)
                if code is None:        # the model took the name for something else: it would not answer about this object
                    continue
                found[key] = state_of(self.eyes, whole, code, self.calibration)
            yield key, *found[key]

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
            for event in _timed(Answering(self, request, conversation, stream, folder).events(), timings):
                yield event
                if cancelled():
                    yield stream.emit(Cancelled, timings_s=timings, peak_memory_mb=peak_memory_mb())
                    return
            yield stream.emit(Done, timings_s=timings, peak_memory_mb=peak_memory_mb())
        except CTReasonerError as error:
            yield stream.emit(Failed, code=error.code, sentence=str(error), hint=error.hint)
        except MemoryError:
            yield stream.emit(Failed, code="CTR-RES-002", hint="Close other programs.",
                              sentence="There is not enough memory for this scan.")


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


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far; None on Windows, whose Python does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024 * 1024 if sys.platform == "darwin" else 1024), 1)
