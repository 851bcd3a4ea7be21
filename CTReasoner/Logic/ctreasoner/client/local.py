"""The engine beside the panel: a worker process, started once, kept warm, watched, stopped politely, started again.

Nothing here blocks the caller, and nothing calls back from a thread: `poll()` (from a timer on the main thread) returns what
happened since the last call.
"""

from __future__ import annotations

import os
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checked import plain
from ..errors import CTReasonerError
from ..events import LAST_EVENTS, Cancelled, Event, Failed, Request, from_json
from ..version import __version__
from .process import LineProcess
from .protocol import PROTOCOL, decode, encode
from .volumes import VolumeFile

LOGIC = Path(__file__).resolve().parents[2]     # the folder that holds the package
STATES = ("stopped", "starting", "ready", "busy", "failed")
ACKNOWLEDGE_S = 2.0     # a cancel that is not acknowledged for so long ends the process
PREFIX = "ctreasoner-engine-"


@dataclass(frozen=True)
class Message:
    """What `poll` returns. kind: "state" (facts: state, sentence, hint, model), "event" (ask, event), "exported" (ask, files)."""

    kind: str
    ask: int | None = None
    event: Event | None = None
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Asked:
    request: Request
    answer: str = ""
    seq: int = -1
    t: float = 0.0
    began: float = field(default_factory=time.monotonic)
    cancelled_at: float | None = None


class LocalEngine:
    """One worker.

    Parameters
    ----------
    python : the interpreter that has the engine's packages; None: the one that runs this.
    environment : of the child; None: this process's own (inside Slicer give `slicer.util.startupEnvironment()`).
    arguments : for the worker, such as ["--model", folder].
    """

    def __init__(self, python: str | os.PathLike | None = None, *, environment: Mapping[str, str] | None = None,
                 arguments: Sequence[str] = ()) -> None:
        self.python, self.arguments = str(python or sys.executable), list(arguments)
        self._environment = dict(os.environ if environment is None else environment)
        self.state, self.model = "stopped", {}
        self.problem: dict[str, str] = {}
        self._process: LineProcess | None = None
        self._generation = 0
        self._inbox: queue.Queue[tuple[int, str, Any]] = queue.Queue()
        self._sent: set[str] = set()
        self._open: dict[int, _Asked] = {}
        self._exports: set[int] = set()
        self._count = 0
        self._late: list[Message] = []
        _sweep()
        self.session = Path(tempfile.mkdtemp(prefix=PREFIX))
        (self.session / "owner").write_text(str(os.getpid()), encoding="ascii")

    # ------------------------------------------------------------ asking
    def start(self) -> None:
        """Start the worker where it does not run; `poll` tells when it is ready."""
        if self._process is not None and self._process.is_running:
            return
        self._generation += 1
        generation, inbox = self._generation, self._inbox
        self._sent.clear()
        try:
            self._process = LineProcess(
                [self.python, "-m", "ctreasoner.client.worker", *self.arguments], env=self._child_environment(),
                on_line=lambda line: inbox.put((generation, "line", line)),
                on_end=lambda code: inbox.put((generation, "end", code)))
        except OSError as error:
            self._process = None
            self._fail("CTR-WRK-001", f"The engine could not be started: {error.strerror or error}.",
                       "Install the engine, or choose another Python.")
            return
        self._set("starting")
        self._send(op="hello", protocol=PROTOCOL, version=__version__, session=str(self.session))

    def ask(self, request: Request, volume: VolumeFile) -> int:
        """Put a question and return its number. A worker that does not run is started; the CT is sent where it lacks it."""
        self.start()
        self._count += 1
        ask = self._count
        self._open[ask] = _Asked(request)
        if self._process is None:
            self._end(ask, Failed, code=self.problem["code"], sentence=self.problem["sentence"], hint=self.problem["hint"])
            return ask
        self._hand_over(volume)
        self._send(op="ask", ask=ask, request=plain(request), workspace=str(self.workspace(request)))
        if self.state == "ready":
            self._set("busy")
        return ask

    def workspace(self, request: Request) -> Path:
        """Return the folder of the masks of one conversation about one CT."""
        import hashlib

        name = hashlib.sha256(f"{request.volume} {request.conversation}".encode()).hexdigest()[:16]
        return self.session / "answers" / name

    def export(self, volume: VolumeFile, folder: str | os.PathLike, *, conversation: str = "default", source: str = "",
               edited: Mapping[str, Any] | None = None) -> int:
        """Have the conversation about a CT written to a folder. edited : object id -> {path, first_voxel, shape, voxels}."""
        self.start()
        self._count += 1
        self._exports.add(self._count)
        self._hand_over(volume)
        self._send(op="export", ask=self._count, volume=volume.identity, conversation=conversation, folder=str(folder),
                   source=source, edited=dict(edited or {}))
        return self._count

    def cancel(self, ask: int) -> None:
        """Ask the worker to stop an answer; it is over for the caller as soon as that is acknowledged, or after two seconds."""
        asked = self._open.get(ask)
        if asked is not None and asked.cancelled_at is None:
            asked.cancelled_at = time.monotonic()
            self._send(op="cancel", ask=ask)

    def forget(self, identity: str) -> None:
        """Drop a CT: in the worker, and its file."""
        if identity in self._sent:
            self._send(op="forget", volume=identity)
            self._sent.discard(identity)

    # ------------------------------------------------------------ watching
    @property
    def is_busy(self) -> bool:
        return bool(self._open or self._exports)

    @property
    def silent_s(self) -> float:
        """Seconds since the worker last said anything, while something is awaited; else 0."""
        waiting = self.state in ("starting", "busy") and self._process is not None
        return time.monotonic() - self._process.last_output if waiting else 0.0

    @property
    def log(self) -> str:
        return "\n".join(self._process.log) if self._process else ""

    def poll(self, budget_s: float = 0.01) -> Iterator[Message]:
        """Yield what happened, for about so long; the rest waits for the next call."""
        until = time.monotonic() + budget_s
        late, self._late = self._late, []
        yield from late
        self._check_cancels()
        while time.monotonic() < until or budget_s <= 0:
            try:
                generation, kind, content = self._inbox.get_nowait()
            except queue.Empty:
                break
            if generation != self._generation:
                continue
            self._ended(content) if kind == "end" else self._line(content)
            late, self._late = self._late, []
            yield from late
        late, self._late = self._late, []
        yield from late

    def close(self) -> None:
        """End the worker and take away the session's files. Returns within about a second."""
        process, self._process = self._process, None
        self._generation += 1
        if process is not None:
            process.send(encode(op="bye"))
            process.close_input()
            if not process.wait(0.5):
                process.kill()
                process.wait(2.0)
        self._set("stopped")
        shutil.rmtree(self.session, ignore_errors=True)

    # ------------------------------------------------------------ inside
    def _send(self, **content: Any) -> None:
        if self._process is not None:
            self._process.send(encode(**content))

    def _hand_over(self, volume: VolumeFile) -> None:
        if volume.identity not in self._sent:
            self._sent.add(volume.identity)
            self._send(op="volume", id=volume.identity, path=str(volume.path), affine=volume.affine, name=volume.name,
                       source=volume.source)

    def _child_environment(self) -> dict[str, str]:
        environment = dict(self._environment)
        environment["PYTHONPATH"] = os.pathsep.join(p for p in (str(LOGIC), environment.get("PYTHONPATH", "")) if p)
        environment.update(PYTHONUTF8="1", PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
        return environment

    def _line(self, line: str) -> None:
        try:
            message = decode(line)
            handler = getattr(self, f"_on_{message.get('reply')}", None)
            if handler is not None:
                handler(message)
        except (CTReasonerError, KeyError, TypeError, ValueError) as error:
            self._fail("CTR-WRK-010", f"The engine sent what the panel does not understand: {error}", "See the log.")

    def _on_hello(self, message: dict[str, Any]) -> None:
        if message["protocol"] != PROTOCOL or message["version"] != __version__:
            theirs, code = message["version"], "CTR-WRK-002"
            self._process.kill()
            self._fail(code, f"The engine is version {theirs}, the panel {__version__}.", "Restart Slicer, or reinstall the engine.")

    def _on_ready(self, message: dict[str, Any]) -> None:
        self.model = message.get("model", {})
        self._set("busy" if self._open else "ready")

    def _on_event(self, message: dict[str, Any]) -> None:
        ask, asked = message["ask"], self._open.get(message["ask"])
        event = from_json(message["event"])
        if asked is None or event is None:      # of an answer that is over for the caller
            return
        asked.answer, asked.seq, asked.t = event.answer, event.seq, event.t
        if isinstance(event, LAST_EVENTS):
            self._closed(ask)
        self._late.append(Message("event", ask, event))

    def _on_cancelling(self, message: dict[str, Any]) -> None:
        if message["ask"] in self._open:
            self._end(message["ask"], Cancelled)

    def _on_exported(self, message: dict[str, Any]) -> None:
        self._exports.discard(message["ask"])
        self._late.append(Message("exported", message["ask"], facts={"folder": message["folder"], "files": message["files"]}))

    def _on_failed(self, message: dict[str, Any]) -> None:
        facts = {k: str(message.get(k) or "") for k in ("code", "sentence", "hint")}
        if message.get("ask") in self._exports:
            self._exports.discard(message["ask"])
            self._late.append(Message("exported", message["ask"], facts=facts))
        elif message.get("op") == "volume":
            self._sent.discard(message.get("id"))
        else:
            self._fail(facts["code"], facts["sentence"], facts["hint"])

    def _ended(self, code: int) -> None:
        """The process is gone without being asked to."""
        why = "ran out of memory or was ended by the system" if code in (-9, 137) else f"ended by itself (code {code})"
        tail = self.log.strip().splitlines()[-1:] or [""]
        failed_before = self.state == "failed"
        self._process_gone("CTR-WRK-003", f"The engine {why}.", tail[0] or "Ask again: it is started anew.")
        if not failed_before:
            self._fail("CTR-WRK-003", f"The engine {why}.", tail[0] or "Ask again: it is started anew.")

    def _process_gone(self, code: str, sentence: str, hint: str) -> None:
        self._sent.clear()
        for ask in list(self._open):
            self._end(ask, Failed, code=code, sentence=sentence, hint=hint)
        for ask in list(self._exports):
            self._exports.discard(ask)
            self._late.append(Message("exported", ask, facts={"code": code, "sentence": sentence, "hint": hint}))

    def _check_cancels(self) -> None:
        now = time.monotonic()
        if any(a.cancelled_at is not None and now - a.cancelled_at > ACKNOWLEDGE_S for a in self._open.values()):
            for ask, asked in list(self._open.items()):
                if asked.cancelled_at is not None:
                    self._end(ask, Cancelled)
            self._process.kill()
            self._generation += 1               # its end is no crash
            self._process_gone("CTR-WRK-004", "The engine did not stop and was ended.", "Ask again: it is started anew.")
            self._process = None
            self._set("stopped")

    def _end(self, ask: int, kind: type[Event], **facts: Any) -> None:
        """End an answer on this side: the panel sees exactly one last event, whatever became of the worker."""
        asked = self._open[ask]
        self._closed(ask)
        event = kind(answer=asked.answer or f"ask{ask}", seq=asked.seq + 1, t=round(time.monotonic() - asked.began, 3), **facts)
        self._late.append(Message("event", ask, event))

    def _closed(self, ask: int) -> None:
        self._open.pop(ask, None)
        if not self._open and self.state == "busy":
            self._set("ready")

    def _fail(self, code: str, sentence: str, hint: str) -> None:
        self.problem = {"code": code, "sentence": sentence, "hint": hint}
        self._set("failed", **self.problem)
        for ask in list(self._open):
            self._end(ask, Failed, **self.problem)

    def _set(self, state: str, **facts: Any) -> None:
        self.state = state
        self._late.append(Message("state", facts={"state": state, "model": self.model, **facts}))


def _sweep() -> None:
    """Take away what the sessions of programs that no longer run left behind (a power cut, say)."""
    if os.name != "posix":
        return
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            os.kill(int((folder / "owner").read_text(encoding="ascii")), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (OSError, ValueError):
            continue
