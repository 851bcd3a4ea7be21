"""The engine as a process: `python -m ctreasoner.client.worker`. Protocol: see `protocol`.

One thread reads (so that a cancel or the end of the panel is noticed at once), the main thread works. Whatever else prints
goes to stderr: stdout carries the protocol alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import CTReasonerError, InputError, UsageError
from ..events import LAST_EVENTS, Cancelled, Event, Failed, Mask, Request, request_from_json, to_json
from ..geometry import Volume
from ..version import __version__
from .protocol import PROTOCOL, decode, encode

PARENT_CHECK_S = 2.0


class Worker:
    """Serves one panel.

    Parameters
    ----------
    make : called once, returns what has `register(volume)` and `answer(request, workspace=)`, as a `Reasoner`.
    send : takes one line.
    """

    def __init__(self, make: Callable[[], Any], send: Callable[[str], None]) -> None:
        self._make, self._write = make, send
        self._lock = threading.Lock()
        self._jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._cancelled: set[int] = set()
        self._volumes: dict[str, tuple[Volume, str]] = {}
        self._asked: dict[tuple[str, str], list[tuple[Request, list[Event], Path]]] = {}
        self._reasoner: Any = None
        self.session: Path | None = None
        self.said_bye = False

    def send(self, **content: Any) -> None:
        """Write one line; a panel that is gone is noticed by the reading thread."""
        with self._lock:
            try:
                self._write(encode(**content))
            except (OSError, ValueError):
                pass

    # ------------------------------------------------------------ the reading thread
    def read(self, lines: Any) -> None:
        """Take lines until the end: a cancel is noted and acknowledged here, the rest waits for the main thread."""
        for line in lines:
            try:
                message = decode(line)
            except InputError as error:
                self._failed(error)
                continue
            op = message.get("op")
            if op == "hello":
                self._hello(message)
            elif op == "cancel":
                self._cancelled.add(message.get("ask"))
                self.send(reply="cancelling", ask=message.get("ask"))
            elif op == "bye":
                self.said_bye = True
                break
            else:
                self._jobs.put(message)
        self._jobs.put(None)

    def _hello(self, message: dict[str, Any]) -> None:
        if message.get("session"):
            self.session = Path(message["session"])
        self.send(reply="hello", protocol=PROTOCOL, version=__version__, python=sys.version.split()[0], pid=os.getpid())
        self._jobs.put({"op": "load"})

    # ------------------------------------------------------------ the main thread
    def work(self) -> None:
        """Do one job after the other until the panel says bye or is gone."""
        while (job := self._jobs.get()) is not None:
            handler = getattr(self, f"_do_{job.get('op')}", None)
            try:
                if handler is None:
                    raise UsageError(f"The engine has no '{job.get('op')}'.", code="CTR-WRK-011")
                handler(job)
            except CTReasonerError as error:
                self._failed(error, job)
            except MemoryError:
                self._failed(CTReasonerError("There is not enough memory.", code="CTR-RES-002", hint="Close other programs."), job)
            except Exception as error:  # the process stays: the next question may be answered
                import traceback

                traceback.print_exc()
                self._failed(CTReasonerError(f"The engine stumbled: {type(error).__name__}: {error}", code="CTR-WRK-012",
                                             hint="The log holds the details."), job)

    def _failed(self, error: CTReasonerError, job: dict[str, Any] | None = None) -> None:
        job = job or {}
        facts = {"code": error.code, "sentence": str(error), "hint": error.hint}
        if job.get("op") == "ask":
            event = Failed(answer=f"ask{job.get('ask')}", seq=0, t=0.0, **facts)
            self.send(reply="event", ask=job.get("ask"), event=to_json(event))
        else:
            self.send(reply="failed", op=job.get("op", ""), ask=job.get("ask"), id=job.get("id"), **facts)

    def _do_load(self, _job: dict[str, Any]) -> None:
        if self._reasoner is None:
            self._reasoner = self._make()
        model = getattr(getattr(self._reasoner, "engine", self._reasoner), "model", {})
        self.send(reply="ready", model=dict(model))

    def _do_volume(self, job: dict[str, Any]) -> None:
        import numpy as np

        try:
            voxels = np.load(job["path"], mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError) as error:
            raise InputError("The CT's file cannot be read by the engine.", code="CTR-WRK-013") from error
        volume = Volume(voxels, np.array(job["affine"], float), name=job.get("name", ""), source=job.get("source", ""))
        if volume.identity != job["id"]:
            raise InputError("The CT changed while it was handed over.", code="CTR-WRK-014", hint="Ask again.")
        self._ready().register(volume)
        self._volumes[volume.identity] = (volume, job.get("source", ""))
        self.send(reply="volume", id=volume.identity)

    def _do_ask(self, job: dict[str, Any]) -> None:
        import json

        ask, request = job["ask"], request_from_json(json.dumps(job["request"]))
        workspace = Path(job["workspace"])
        workspace.mkdir(parents=True, exist_ok=True)
        if request.volume not in self._volumes:
            raise InputError("The engine does not have this CT.", code="CTR-WRK-015", hint="Ask again.")
        kept: list[Event] = []
        self._asked.setdefault((request.volume, request.conversation), []).append((request, kept, workspace))
        stream = self._ready().answer(request, workspace=workspace)
        try:
            for event in self._until_cancelled(ask, stream):
                kept.append(event)
                self.send(reply="event", ask=ask, event=to_json(event))
        finally:
            self._cancelled.discard(ask)

    def _until_cancelled(self, ask: int, stream: Any) -> Any:
        """Pass a stream on; a cancel ends it after the event that is being made, and keeps the engine warm."""
        last: Event | None = None
        if ask in self._cancelled:
            yield Cancelled(answer=f"ask{ask}", seq=0, t=0.0)
            return
        for event in stream:
            last = event
            if ask in self._cancelled and not isinstance(event, LAST_EVENTS):
                getattr(stream, "close", lambda: None)()
                yield event
                yield Cancelled(answer=event.answer, seq=event.seq + 1, t=event.t)
                return
            yield event
        if not isinstance(last, LAST_EVENTS):
            raise CTReasonerError("The answer stopped in the middle.", code="CTR-WRK-016")

    def _do_export(self, job: dict[str, Any]) -> None:
        """Write the whole conversation (masks, segmentation, markups, DICOM, report) into a folder, edits included."""
        from ..answer import Assembler
        from ..output import OutputFolder

        turns = self._asked.get((job["volume"], job.get("conversation", "default")), [])
        if not turns:
            raise UsageError("There is no answer about this CT yet.", code="CTR-WRK-017", hint="Ask a question first.")
        volume, source = self._volumes[job["volume"]]
        source = job.get("source") or source
        output = OutputFolder(Path(job["folder"]), volume, source=Path(source) if source else None)
        edited, earlier = job.get("edited") or {}, {}
        for request, events, workspace in turns:
            fold = Assembler(request, earlier=earlier)
            for _ in output.record((_carried(e, workspace, output.workspace, edited) for e in events), fold):
                pass
            for found in fold.answer.objects:
                if found.id in edited:
                    found.origin = "edited"
            earlier.update((o.id, o) for o in fold.answer.objects)
        self.send(reply="exported", ask=job.get("ask"), folder=str(output.folder), files=output.finish())

    def _do_forget(self, job: dict[str, Any]) -> None:
        identity = job["volume"]
        self._volumes.pop(identity, None)
        for key in [k for k in self._asked if k[0] == identity]:
            del self._asked[key]
        engine = getattr(self._reasoner, "engine", self._reasoner)
        if hasattr(engine, "forget"):
            engine.forget(identity)
        self.send(reply="forgotten", volume=identity)

    def _ready(self) -> Any:
        if self._reasoner is None:
            self._do_load({})
        return self._reasoner

    def clean(self) -> None:
        """Take away the session's folder where the panel no longer can."""
        if self.session is not None and not self.said_bye:
            shutil.rmtree(self.session, ignore_errors=True)


def _carried(event: Event, source: Path, target: Path, edited: dict[str, Any]) -> Event:
    """Copy a mask's array (or the person's version of it) to the folder of an export."""
    if not isinstance(event, Mask):
        return event
    change = edited.get(event.object)
    if change and event.stage != "coarse":
        name = f"{event.object}.edited.npy"
        shutil.copyfile(change["path"], target / name)
        return replace(event, path=name, first_voxel=tuple(change["first_voxel"]), shape=tuple(change["shape"]),
                       voxels=int(change["voxels"]))
    path = target / event.path
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / event.path, path)
    return event


def _make_reasoner(factory: str, model: str, threads: int | None) -> Any:
    """Return the engine's front door: our own, or what `module:name` makes."""
    if factory:
        module, _, name = factory.partition(":")
        return getattr(importlib.import_module(module), name)()
    try:
        from ..reasoner import Reasoner

        return Reasoner.from_pretrained(model, threads=threads)
    except ImportError as error:
        raise CTReasonerError(f"The engine's Python lacks {error.name or error}.", code="CTR-WRK-018",
                              hint="Install the engine, or choose a Python that has it.") from error


def _watch_parent(worker: Worker) -> None:
    """End when the parent is gone, however it went (a pipe that a third process holds open never ends)."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_S)
    worker.clean()
    os._exit(0)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ctreasoner.client.worker", description="The engine as a process; JSON lines.")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--factory", default="", help="module:name of a callable that makes another engine")
    options = parser.parse_args(arguments)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)                                   # stray prints, from C code too, go to stderr
    sys.stdout = sys.stderr

    def send(line: str) -> None:
        out.write(line)
        out.flush()

    worker = Worker(lambda: _make_reasoner(options.factory, options.model, options.threads), send)

    def read() -> None:
        worker.read(open(0, encoding="utf-8", errors="replace", newline="\n", closefd=False))
        if not worker.said_bye:                     # the panel is gone: whatever is being worked on is for nobody
            worker.clean()
        os._exit(0)

    threading.Thread(target=read, daemon=True, name="reader").start()
    if hasattr(os, "getppid") and os.name == "posix":
        threading.Thread(target=_watch_parent, args=(worker,), daemon=True, name="parent").start()
    worker.work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
