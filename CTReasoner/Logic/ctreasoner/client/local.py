"""The engine beside the panel: a worker process, started once, kept warm, watched, stopped politely, started again.

Nothing here blocks the caller, and nothing calls back from a thread: `poll()` (from a timer on the main thread) returns what
happened since the last call.
"""

from __future__ import annotations

import os
import queue
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..checked import plain
from ..errors import CTReasonerError
from ..events import LAST_EVENTS, Cancelled, Event, Failed, Request, from_json
from ..version import __version__
from .environment import LOGIC, child_environment
from .folder import SessionFolder
from .process import LineProcess
from .protocol import PROTOCOL, decode, encode
from .telling import Message, Telling, digest
from .volumes import VolumeFile, VolumeStore

STATES = ("stopped", "starting", "ready", "busy", "failed")
ACKNOWLEDGE_S = 2.0     # a cancel that is not acknowledged for so long ends the process
STOP_S = 60.0           # an answer that goes on so long after its cancel does too, where another question waits for it
AGAIN = "Ask again: the engine is started anew."


@dataclass
class _Asked:
    request: Request
    volume: VolumeFile
    answered: int
    known: dict[str, str]
    dicom: dict[str, Any]
    answer: str = ""
    seq: int = -1
    began: float = field(default_factory=time.monotonic)
    cancelled_at: float | None = None


class LocalEngine(Telling):
    """One worker, and the folder of its session (`session`), which goes when this is closed or its program dies.

    Parameters
    ----------
    python : the interpreter that has the engine's packages; None: the one that runs this.
    environment : of the child; None: this process's own. Inside Slicer give `slicer.util.startupEnvironment()`.
    arguments : for the worker, such as ["--model", folder].

    Attributes
    ----------
    state : one of STATES. problem : {code, sentence, hint} where it is "failed". model : name, hash, size_mb
    (megabytes of its weight files) and licence, once it is ready.
    volumes : the `VolumeStore` of the session.

    Raises
    ------
    ResourceError : where the session's folder cannot be made.
    """

    def __init__(self, python: str | os.PathLike | None = None, *, environment: Mapping[str, str] | None = None,
                 arguments: Sequence[str] = ()) -> None:
        self.python, self.arguments = str(python or sys.executable), list(arguments)
        self._environment = child_environment(environment, PYTHONPATH=str(LOGIC), HF_HUB_OFFLINE="1")
        self.state, self.model = "stopped", {}
        self.problem: dict[str, str] = {}
        self._process: LineProcess | None = None
        self._log: Sequence[str] = ()
        self._greeted = False
        self._generation = 0
        self._inbox: queue.Queue[tuple[int, str, Any]] = queue.Queue()
        self._sent: set[str] = set()
        self._open: dict[int, _Asked] = {}
        self._stopping: dict[int, float] = {}       # cancelled, over for the caller, but not yet for the worker
        self._tasks: dict[int, str] = {}            # number -> kind of the message that ends it
        self._count = 0
        self._awaiting_since, self._times_silent = time.monotonic(), 0
        self._late: list[Message] = []
        self._folder = SessionFolder()
        self.session = self._folder.path
        self.volumes = VolumeStore(self.session / "volumes")

    # ------------------------------------------------------------ asking
    def start(self) -> None:
        """Start the worker where it does not run; `poll` tells when it is ready."""
        if self._process is not None and self._process.is_running:
            return
        self._generation += 1
        generation, inbox = self._generation, self._inbox
        self._sent.clear()
        self._stopping.clear()
        self._greeted = False
        try:
            self._process = LineProcess(
                [self.python, "-m", "ctreasoner.client.worker", *self.arguments], env=self._environment,
                on_line=lambda line: inbox.put((generation, "line", line)),
                on_end=lambda code: inbox.put((generation, "end", code)))
        except OSError as error:
            self._process = None
            self._fail("CTR-WRK-001", f"The engine could not be started: {error.strerror or error}.",
                       "Install the engine, or choose another Python.")
            return
        self._log = self._process.log
        self._await("starting")
        self._send(op="hello", protocol=PROTOCOL, version=__version__, session=str(self.session), pid=os.getpid())

    def ask(self, request: Request, volume: VolumeFile, *, answered: int = 0, known: Mapping[str, str] | None = None,
            dicom: str | os.PathLike | None = None, source: str | Sequence[str] = "") -> int:
        """Put a question and return its number. A worker that does not run is started; the CT is sent where it lacks it.

        Questions are answered one after the other.

        Parameters
        ----------
        answered : how many answers of this conversation an earlier engine gave (those of a scene that was loaded, say); ids go on
            from there.
        known : object id -> vocabulary key of objects of such answers, so that `request.edited` can name them.
        dicom : a SEG or RTSTRUCT, or a folder or zip with it: the answer is its findings, and the request's words name it.
        source : with `dicom`, where the CT was read from, as in `export`.
        """
        self.start()
        self._count += 1
        self._open[self._count] = _Asked(request, volume, answered, dict(known or {}),
                                         {"path": str(dicom), "source": _texts(source)} if dicom else {})
        if self._process is None:
            self._end(self._count, Failed, **self.problem)
        else:
            self._put(self._count)
        return self._count

    def _put(self, ask: int) -> None:
        asked = self._open[ask]
        self._hand_over(asked.volume)
        self._send(op="import" if asked.dicom else "ask", ask=ask, request=plain(asked.request),
                   workspace=str(self.workspace(asked.request)), answered=asked.answered, known=asked.known, **asked.dicom)
        if self.state == "ready":
            self._await("busy")

    def workspace(self, request: Request) -> Path:
        """Return the folder of the masks of one conversation about one CT; `events.load_mask` takes it."""
        return self._workspace(request.volume, request.conversation)

    def _workspace(self, volume: str, conversation: str) -> Path:
        return self._answers(volume) / digest(conversation)

    def _answers(self, volume: str) -> Path:
        return self.session / "answers" / digest(volume)

    def export(self, volume: VolumeFile, folder: str | os.PathLike, *, conversation: str = "default",
               source: str | Sequence[str] = "", edited: Mapping[str, str | os.PathLike] | None = None,
               rejected: Sequence[str] = (), dicom: Sequence[str] = ("seg",), accepted_by: str = "",
               incomplete: bool = False) -> int:
        """Have the conversation about a CT written to a folder (masks, segmentation, DICOM-SEG, report); returns a number.

        Parameters
        ----------
        source : where the CT was read from, if not `volume.source`: a folder, or the files of its series. What the DICOM-SEG
        refers to; where it does not fit the CT, a new series is written and `notes` says so.
        edited : object id -> mask file as for `Request.edited`, of masks that changed since the last question about them.
        rejected : ids of objects of which neither mask nor box is written.
        dicom : the DICOM objects: of "seg", "sr" (a report), "keys" (key images), "rtstruct" (contours).
        accepted_by : who accepted the findings, for the report; nothing is ever marked as verified.
        incomplete : `source` is what is left of the series: the segmentation, and that alone, is written against it.
        """
        self.start()
        ask = self._begin("exported", volume, op="export", folder=str(folder),
                          source=_texts(source),
                          workspace=str(self._workspace(volume.identity, conversation)),
                          edited={k: str(v) for k, v in (edited or {}).items()}, rejected=list(rejected),
                          dicom=list(dicom), accepted_by=accepted_by, incomplete=incomplete)
        if self.is_busy and self.state == "ready":
            self._await("busy")
        return ask

    def inside(self, volume: VolumeFile) -> int:
        """Ask a worker that runs which objects a CT shows, before any look; returns a number.

        It does not make the engine busy: whatever is asked next interrupts it. The message says what was found until then
        (states: key -> [state, probability]) and whether that is all (is_whole); asked again, it goes on from there.
        """
        return self._begin("inside", volume, op="inside")

    def push(self, folder: str | os.PathLike, address: str, *, token: str = "", certificate: str = "",
             without_patient: bool = False) -> int:
        """Have an export sent to an archive (see `pushing.push_folder`), beside whatever else goes on; returns a number."""
        self.start()
        return self._begin("pushed", None, op="push", folder=str(folder), address=address, token=token, certificate=certificate,
                           without_patient=without_patient)

    def _begin(self, ends_with: str, volume: VolumeFile | None, **content: Any) -> int:
        self._count += 1
        self._tasks[self._count] = ends_with
        if self._process is None:
            self._task_ended(self._count, self.problem)
            return self._count
        if volume is not None:
            self._hand_over(volume)
            content["volume"] = volume.identity
        self._send(ask=self._count, **content)
        return self._count

    def cancel(self, ask: int) -> None:
        """Ask the worker to stop an answer; it is over for the caller as soon as that is acknowledged, or after two seconds."""
        asked = self._open.get(ask)
        if asked is not None and asked.cancelled_at is None:
            asked.cancelled_at = time.monotonic()
            self._send(op="cancel", ask=ask)

    def forget(self, identity: str) -> None:
        """Drop a CT with all that was answered about it: in the worker, and its files here."""
        if identity in self._sent and self._process is not None:
            self._sent.discard(identity)
            self._send(op="forget", volume=identity)        # the files go when the worker no longer holds them
        else:
            self._remove(identity)

    def _remove(self, identity: str) -> None:
        if identity in self._sent:                          # handed over again meanwhile
            return
        shutil.rmtree(self._answers(identity), ignore_errors=True)
        try:
            self.volumes.forget(identity)
        except OSError:         # still mapped by someone: it goes with the session
            pass

    def restart(self) -> None:
        """End the worker, whatever it does, and start another; open questions fail with a sentence."""
        self._drop_process()
        self._process_gone("CTR-WRK-006", "The engine was restarted.", "Ask again.")
        self.start()

    # ------------------------------------------------------------ watching
    @property
    def is_busy(self) -> bool:
        """Whether an answer or an export is awaited."""
        return bool(self._open) or "exported" in self._tasks.values()

    @property
    def silent_s(self) -> float:
        """Seconds since the worker last said anything, while something is awaited; else 0."""
        if self.state not in ("starting", "busy") or self._process is None:
            return 0.0
        return time.monotonic() - max(self._process.last_output, self._awaiting_since)

    @property
    def log(self) -> str:
        """What the worker wrote for people, its last lines."""
        return "\n".join(list(self._log))

    def poll(self, limit: int | None = None) -> list[Message]:
        """Return what happened, in its order; at most about `limit` messages, the rest is kept for the next call."""
        self._check_cancels()
        self._check_silence()
        while limit is None or len(self._late) < limit:
            try:
                generation, kind, content = self._inbox.get_nowait()
            except queue.Empty:
                break
            if generation == self._generation:
                self._ended(content) if kind == "end" else self._line(content)
        messages, self._late = self._late, []
        return messages

    def close(self) -> None:
        """End the worker and take away the session's files. Returns within about a second."""
        process, self._process = self._process, None
        self._generation += 1
        if process is not None:
            process.send(encode(op="bye"))
            process.close_input()
            process.wait(0.5)
            process.kill()          # of a worker that has ended: what it may have started
            process.wait(1.0)
        self._open.clear()
        self._tasks.clear()
        if self.state != "stopped":
            self._set("stopped")
        self.volumes.close()
        self._folder.remove()

    # ------------------------------------------------------------ inside
    def _send(self, **content: Any) -> None:
        if self._process is not None:
            self._process.send(encode(**content))

    def _hand_over(self, volume: VolumeFile) -> None:
        if volume.identity not in self._sent:
            self._sent.add(volume.identity)
            self._send(op="volume", id=volume.identity, path=str(volume.path), affine=volume.affine, name=volume.name,
                       source=volume.source, eight_bit=volume.eight_bit, content=volume.content)

    def _line(self, line: str) -> None:
        try:
            message = decode(line)
        except CTReasonerError:         # a launcher's greeting, say
            self._process.log.append(line.rstrip("\r\n"))
            return
        try:
            handler = getattr(self, f"_on_{message.get('reply')}", None)
            if handler is not None:
                handler(message)
        except (CTReasonerError, KeyError, TypeError, ValueError) as error:
            self._drop_process()
            self._fail("CTR-WRK-010", f"The engine sent what the panel does not understand: {error}", AGAIN)

    def _on_hello(self, message: dict[str, Any]) -> None:
        self._greeted = True
        if message.get("protocol") != PROTOCOL or message.get("version") != __version__:
            self._drop_process()
            self._fail("CTR-WRK-002", f"The engine is version {message.get('version')}, the panel {__version__}.",
                       "Restart Slicer; if that does not help, install the engine again.")

    def _on_ready(self, message: dict[str, Any]) -> None:
        self.model, self.problem = message.get("model", {}), {}
        self._await("busy") if self.is_busy else self._set("ready")

    def _on_event(self, message: dict[str, Any]) -> None:
        ask, event = message["ask"], from_json(message["event"])
        if isinstance(event, LAST_EVENTS):
            self._stopping.pop(ask, None)
        asked = self._open.get(ask)
        if asked is None or event is None:      # of an answer that is over for the caller
            return
        asked.answer, asked.seq = event.answer, event.seq
        self._keep(Message("event", ask, event))
        if isinstance(event, LAST_EVENTS):
            self._closed(ask)

    def _on_cancelling(self, message: dict[str, Any]) -> None:
        if message["ask"] in self._open:
            self._stopping[message["ask"]] = time.monotonic()
            self._end(message["ask"], Cancelled)

    def _on_exported(self, message: dict[str, Any]) -> None:
        self._task_ended(message["ask"], {k: message[k] for k in ("folder", "files", "notes")})

    def _on_inside(self, message: dict[str, Any]) -> None:
        self._task_ended(message["ask"], {k: message[k] for k in ("states", "is_whole")})

    def _on_pushing(self, message: dict[str, Any]) -> None:
        self._keep(Message("pushing", message["ask"], facts={"words": str(message["words"])}))

    def _on_pushed(self, message: dict[str, Any]) -> None:
        self._task_ended(message["ask"], {k: message[k] for k in ("stored", "already")})

    def _on_forgotten(self, message: dict[str, Any]) -> None:
        self._remove(message["volume"])

    def _on_failed(self, message: dict[str, Any]) -> None:
        facts = {k: str(message.get(k) or "") for k in ("code", "sentence", "hint")}
        if message.get("ask") in self._tasks:
            self._task_ended(message["ask"], facts)
        elif message.get("op") == "volume":
            self._sent.discard(message.get("id"))       # the question about it says why; the next one sends it again
        elif message.get("op") == "load":
            self._fail(**facts)

    def _task_ended(self, ask: int, facts: dict[str, Any]) -> None:
        self._keep(Message(self._tasks.pop(ask), ask, facts=dict(facts)))
        self._rest()

    def _ended(self, code: int) -> None:
        """The process is gone without being asked to."""
        tail = [line for line in self.log.splitlines() if line.strip()][-1:]
        if not self._greeted:
            problem = ("CTR-WRK-005", f"The engine did not start: {tail[0].strip() if tail else f'its Python ended with {code}'}.",
                       "Install the engine, or choose another Python (3.11 or newer).")
        else:
            why = "ran out of memory or was ended by the system" if code in (-9, 137) else f"ended by itself (code {code})"
            problem = ("CTR-WRK-003", f"The engine {why}.", AGAIN)
        self._process_gone(*problem)
        self._fail(*problem)

    def _process_gone(self, code: str, sentence: str, hint: str) -> None:
        """Nothing that is open comes to its end any more; what was answered and drawn so far stays valid."""
        self._sent.clear()
        self._stopping.clear()
        self.state = "stopped"          # not "ready" in between: whoever waits for that would ask at once
        for ask, asked in list(self._open.items()):
            if asked.cancelled_at is not None:
                self._end(ask, Cancelled)
            else:
                self._end(ask, Failed, code=code, sentence=sentence, hint=hint)
        for ask in list(self._tasks):
            self._task_ended(ask, {"code": code, "sentence": sentence, "hint": hint})

    def _check_cancels(self) -> None:
        now = time.monotonic()
        deaf = any(a.cancelled_at is not None and now - a.cancelled_at > ACKNOWLEDGE_S for a in self._open.values())
        stuck = self._open and self.state != "starting" and any(now - t > STOP_S for t in self._stopping.values())
        if deaf or stuck:
            self._replace()

    def _replace(self) -> None:
        """End a worker that does not stop. Questions that wait behind it are put to the next one; nothing of them was answered."""
        self._drop_process()
        waiting = {n: a for n, a in self._open.items() if a.cancelled_at is None and a.seq < 0}
        for ask in waiting:
            del self._open[ask]
        self._process_gone("CTR-WRK-004", "The engine did not stop and was ended.", AGAIN)
        self._set("stopped", code="CTR-WRK-004", sentence="The engine did not stop and was ended.", hint="It is started anew.")
        self._open.update(waiting)
        if waiting:
            self.start()
        for ask in waiting:
            if self._process is not None:
                self._put(ask)

    def _drop_process(self) -> None:
        """End the process; what it still says, its end included, is no longer listened to."""
        process, self._process = self._process, None
        self._generation += 1
        if process is not None:
            process.kill()

    def _end(self, ask: int, kind: type[Event], **facts: Any) -> None:
        """End an answer on this side: the panel sees exactly one last event, whatever became of the worker."""
        asked = self._open[ask]
        event = kind(answer=asked.answer or f"ask{ask}", seq=asked.seq + 1, t=round(time.monotonic() - asked.began, 3), **facts)
        self._keep(Message("event", ask, event))
        self._closed(ask)

    def _closed(self, ask: int) -> None:
        self._open.pop(ask, None)
        self._rest()

    def _fail(self, code: str, sentence: str, hint: str) -> None:
        self.problem = {"code": code, "sentence": sentence, "hint": hint}
        self._set("failed", **self.problem)
        for ask in list(self._open) if self._process is None else ():
            self._end(ask, Failed, **self.problem)

    def _await(self, state: str) -> None:
        self._awaiting_since = time.monotonic()
        self._set(state)

    def _keep(self, message: Message) -> None:
        self._late.append(message)


def _texts(source: str | Sequence[str]) -> str | list[str]:
    return source if isinstance(source, str) else [str(s) for s in source]
