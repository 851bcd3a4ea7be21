"""An engine for the worker's tests, named on its command line; words of the question say what goes wrong.

Nothing here waits for a time: "tick" goes on until it is stopped, "stick" until the file `gate` lies in the answers' folder.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ctreasoner.conversation import Conversation
from ctreasoner.errors import ModelError
from ctreasoner.events import Done, Event, Measurement, Progress, Request, Started, Stream
from fake_engine import FakeEngine

LONGEST_S = 300.0       # no double outlives its test by more


class Double(FakeEngine):
    model = {"name": "double", "hash": "0"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        self.talks: dict[tuple[str, str], Conversation] = {}
        self.forgotten: list[str] = []

    def conversation(self, request: Request) -> Conversation:
        return self.talks.setdefault((request.volume, request.conversation), Conversation())

    def forget(self, identity: str) -> None:
        self.volumes.pop(identity)

    def inside(self, volume) -> Iterator[tuple[str, str, float]]:
        yield "heart", "present", 0.9
        yield "mandible", "outside", 0.8

    def answer(self, request: Request, workspace: Path | None = None) -> Iterator[Event]:
        talk = self.conversation(request)
        self.answers = talk.answers
        talk.answers += 1
        if request.edited:
            yield from self._edited(request, f"a{talk.answers}")
            return
        for count, event in enumerate(super().answer(request, workspace=workspace)):
            if count == 2:
                yield from self._trouble(request.text, event, workspace)
                if "tick" in request.text:
                    return
            yield event

    def _trouble(self, text: str, event: Event, workspace: Path) -> Iterator[Event]:
        """Go wrong after two events."""
        until = time.monotonic() + LONGEST_S
        if "stumble" in text:
            raise ZeroDivisionError("by nothing")
        if "full disk" in text:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if "memory" in text:
            raise MemoryError
        if "crash" in text:
            sys.stderr.write("Fatal: the sky fell\n")
            sys.stderr.flush()
            os._exit(3)
        if "killed" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "freeze" in text:
            os.kill(os.getpid(), signal.SIGSTOP)
        while "stick" in text and time.monotonic() < until and not (workspace / "gate").exists():
            time.sleep(0.01)
        seq = event.seq
        while "tick" in text and time.monotonic() < until:
            yield Progress(answer=event.answer, seq=seq, t=event.t, stage="ticking", step=seq, of=10**6)
            seq += 1
            time.sleep(0.01)

    def _edited(self, request: Request, answer: str) -> Iterator[Event]:
        stream, volume = Stream(answer), self.volumes[request.volume]
        yield stream.emit(Started, engine="double", model=self.model, volume={
            "identity": volume.identity, "shape": list(volume.shape), "spacing": list(volume.spacing)})
        for key, path in request.edited.items():
            if key not in self.conversation(request).earlier and self.answers == 0:
                raise KeyError(key)
            millilitres = float(np.load(path).sum() * volume.voxel_ml)
            yield stream.emit(Measurement, id=f"{key}.m1", object=key, name="volume", value=millilitres, unit="ml", method="count")
        yield stream.emit(Done, timings_s={})


class Curious(Double):
    def inside(self, volume) -> Iterator[tuple[str, str, float]]:
        """Never come to an end by itself."""
        until = time.monotonic() + LONGEST_S
        while time.monotonic() < until:
            yield "heart", "present", 0.9
            time.sleep(0.01)


class Chatty(Double):
    def register(self, volume):
        print("hello from a library")
        os.write(1, b"and from C\n")
        return super().register(volume)


def lacking():
    raise ImportError("No module named 'torch'", name="torch")


def without_model():
    raise ModelError("There is no model 'compact'.", code="CTR-MOD-001", hint="Name a model folder.")
