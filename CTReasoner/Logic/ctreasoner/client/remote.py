"""A server in the place of the engine beside the panel: the methods of `local.LocalEngine`, over HTTP.

Nothing here blocks the caller: one thread does what is asked, one after the other, and `poll()` returns what happened. A CT is sent
as voxels and place, without anything else that a DICOM file holds.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CTReasonerError
from ..events import LAST_EVENTS, Cancelled, Event, Failed, Request, Started
from ..geometry import Volume
from .folder import SessionFolder
from .masks import read_crop
from .telling import Message, Telling, digest
from .volumes import VolumeFile, VolumeStore
from .wire import NotThere, Wire, foreign

NEW_SERIES = "The DICOM objects refer to a new CT series, not to the original: its files do not leave this computer."


@dataclass
class _Asked:
    request: Request
    volume: VolumeFile
    answered: int
    known: dict[str, str]
    answer: str = ""
    seq: int = -1
    began: float = field(default_factory=time.monotonic)
    question: str = ""                  # at the server, once it has been put


class RemoteEngine(Telling):
    """One server, and a folder for masks that came from it (`session`), which goes when this is closed.

    Parameters are those of `wire.Wire`; attributes and methods those of `LocalEngine`. `restart` connects anew.

    Raises
    ------
    UsageError : CTR-NET-010 for an address that cannot be one. ResourceError : where the session's folder cannot be made.
    """

    def __init__(self, url: str, token: str = "", *, certificate: str | os.PathLike | None = None) -> None:
        self._wire = Wire(url, token, certificate=certificate)
        self.state, self.model, self.log = "stopped", {}, ""
        self.problem: dict[str, str] = {}
        self._inbox: queue.Queue[Message] = queue.Queue()
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._open: dict[int, _Asked] = {}
        self._exports: set[int] = set()
        self._ids: dict[str, str] = {}              # identity here -> id there
        self._talks: dict[tuple[str, str], str] = {}
        self._count, self._heard, self._times_silent = 0, time.monotonic(), 0
        self._lock = threading.Lock()               # of _open, _exports and state
        self._folder = SessionFolder()
        self.session = self._folder.path
        self.volumes = VolumeStore(self.session / "volumes")
        self._thread: threading.Thread | None = None

    def test(self) -> dict[str, Any]:
        """Return the server's facts (version, model, limits, waiting); raise the sentence that says why it cannot be used."""
        return self._wire.check()

    # ------------------------------------------------------------ asking
    def start(self) -> None:
        """Connect where that was not done; `poll` tells when the server is ready."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True, name="ctreasoner-remote")
            self._thread.start()
        if self.state in ("stopped", "failed"):
            self._set("starting")
            self._jobs.put(self._connect)

    def ask(self, request: Request, volume: VolumeFile, *, answered: int = 0, known: Mapping[str, str] | None = None,
            dicom: str | os.PathLike | None = None, source: str | Sequence[str] = "") -> int:
        """Put a question and return its number; see `LocalEngine.ask`. The CT is sent where the server lacks it.

        DICOM objects (`dicom`) are not taken over a server: such a question fails with a sentence.
        """
        self.start()
        with self._lock:
            self._count += 1
            ask = self._count
            self._open[ask] = _Asked(request, volume, answered, dict(known or {}))
        if dicom is not None:
            self._end(ask, Failed, code="CTR-USE-028", sentence="A server takes no DICOM objects to import.",
                      hint="Import them with the engine on this computer.")
            return ask
        self._jobs.put(lambda: self._answer(ask))
        self._busy()
        return ask

    def workspace(self, request: Request) -> Path:
        """Return the folder of the masks of one conversation about one CT; `events.load_mask` takes it."""
        return self.session / "answers" / digest(request.volume) / digest(request.conversation)

    def export(self, volume: VolumeFile, folder: str | os.PathLike, *, conversation: str = "default",
               source: str | Sequence[str] = "", edited: Mapping[str, str | os.PathLike] | None = None,
               rejected: Sequence[str] = (), dicom: Sequence[str] = ("seg",), accepted_by: str = "",
               incomplete: bool = False) -> int:
        """Have the conversation about a CT written and fetched to a folder; see `LocalEngine.export`.

        `incomplete` changes nothing: what a server writes never refers to the original images.
        """
        self.start()
        with self._lock:
            self._count += 1
            ask = self._count
            self._exports.add(ask)
        notes = [NEW_SERIES] if source or volume.source else []
        changed = {key: str(path) for key, path in (edited or {}).items()}
        wanted = {"rejected": list(rejected), "dicom": list(dicom), "accepted_by": accepted_by}
        self._jobs.put(lambda: self._export(ask, volume, Path(folder), conversation, changed, wanted, notes))
        self._busy()
        return ask

    def inside(self, volume: VolumeFile) -> int:
        """Ask which objects a CT shows, before any look; returns a number, see `LocalEngine.inside`.

        Only of a CT that the server has, because something was asked about it: it is not sent for a guess. Of another one the
        message says nothing (states: {}), as if that were all.
        """
        with self._lock:
            self._count += 1
            ask = self._count
        there = self._ids.get(volume.identity)
        if there is None:
            self._keep(Message("inside", ask, facts={"states": {}, "is_whole": True}))
        else:       # beside the thread of questions, which do not wait for it
            threading.Thread(target=self._inside, args=(ask, there), daemon=True).start()
        return ask

    def push(self, folder: str | os.PathLike, address: str, *, token: str = "", certificate: str = "",
             without_patient: bool = False) -> int:
        """Refuse to send an export to an archive: what a server writes refers to a series that no archive has."""
        with self._lock:
            self._count += 1
            ask = self._count
        self._keep(Message("pushed", ask, facts={
            "code": "CTR-USE-027", "sentence": "What a server wrote is not sent to an archive.",
            "hint": "Answer with the engine on this computer, and export again."}))
        return ask

    def cancel(self, ask: int) -> None:
        """Stop an answer: it is over for the caller at once, and the server is told."""
        with self._lock:
            asked = self._open.get(ask)
        if asked is not None:
            self._end(ask, Cancelled)
            if asked.question:
                threading.Thread(target=self._wire.cancel, args=(asked.question,), daemon=True).start()

    def forget(self, identity: str) -> None:
        """Drop a CT with all that was answered about it: at the server, and its files here."""
        if self._thread is not None:
            self._jobs.put(lambda: self._forget(identity))
        self.volumes.forget(identity)

    def restart(self) -> None:
        """Connect anew; open questions fail with a sentence."""
        with self._lock:
            asks = list(self._open)
        for ask in asks:
            self._end(ask, Failed, code="CTR-WRK-006", sentence="The engine was restarted.", hint="Ask again.")
        self._set("stopped")
        self.start()

    # ------------------------------------------------------------ watching
    @property
    def is_busy(self) -> bool:
        """Whether an answer or an export is awaited."""
        return bool(self._open or self._exports)

    @property
    def silent_s(self) -> float:
        """Seconds since the server last said anything, while something is awaited; else 0."""
        return time.monotonic() - self._heard if self.state in ("starting", "busy") else 0.0

    def poll(self, limit: int | None = None) -> list[Message]:
        """Return what happened, in its order; at most `limit` messages, the rest is kept for the next call."""
        self._check_silence()
        messages: list[Message] = []
        while limit is None or len(messages) < limit:
            try:
                messages.append(self._inbox.get_nowait())
            except queue.Empty:
                break
        return messages

    def close(self) -> None:
        """Stop what is open and take away the session's files. The server keeps what it has until it forgets, or it expires."""
        for ask in list(self._open):
            self.cancel(ask)
        self._jobs.put(None)
        self.state = "stopped"
        self.volumes.close()
        self._folder.remove()

    # ------------------------------------------------------------ the thread
    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _connect(self) -> None:
        try:
            info = self.test()
            while info["engine"] == "starting":     # its model loads
                time.sleep(0.5)
                info = self.test()
            self.model, self.problem = info["model"], {}
            self._set("busy" if self.is_busy else "ready")
        except CTReasonerError as error:
            self._fail(error)

    def _fail(self, error: CTReasonerError) -> None:
        self.problem = _facts(error)
        self._set("failed", **self.problem)

    def _answer(self, ask: int) -> None:
        asked = self._open.get(ask)
        if asked is None:                           # cancelled while it waited
            return
        try:
            self._ask(ask, asked)
        except CTReasonerError as error:
            self._end(ask, Failed, **_facts(error))
        self._rest()

    def _ask(self, ask: int, asked: _Asked) -> None:
        if self.state == "failed":
            self._connect()
        if self.state == "failed":
            self._end(ask, Failed, **self.problem)
            return
        there = self._id_of(asked.volume)
        self._send_edited(asked.request.edited, there, asked.request.conversation, asked.volume)

        def begun(question: str) -> None:
            asked.question = question

        events = self._wire.ask(asked.request, there, self.workspace(asked.request), answered=asked.answered, known=asked.known,
                                on_begun=begun)
        try:
            for event in events:
                self._heard = time.monotonic()
                if not self._tell(ask, event):      # over for the caller
                    return
        finally:
            events.close()

    def _id_of(self, volume: VolumeFile) -> str:
        """Return the CT's id at the server, where it is sent if it is not there (any more)."""
        known = self._ids.get(volume.identity)
        if known is not None:
            try:
                self._wire.call("GET", f"/v1/volumes/{known}")
                return known
            except NotThere:
                pass
        voxels = np.load(volume.path, mmap_mode="r", allow_pickle=False)
        there = self._wire.send_volume(Volume(voxels, np.array(volume.affine)), lambda done, of: self._hear())
        self._ids[volume.identity] = there
        return there

    def _hear(self) -> None:
        self._heard = time.monotonic()

    def _send_edited(self, edited: Mapping[str, str], there: str, conversation: str, volume: VolumeFile) -> None:
        if not edited:
            return
        talk = self._wire.conversation(there, conversation)
        for key, path in edited.items():
            crop, first = read_crop(path, volume.shape)
            self._wire.send_edited(talk, key, crop, first)

    def _export(self, ask: int, volume: VolumeFile, folder: Path, conversation: str, edited: Mapping[str, str],
                wanted: dict[str, Any], notes: list[str]) -> None:
        try:
            there = self._id_of(volume)
            self._send_edited(edited, there, conversation, volume)
            files, more = self._wire.export(self._wire.conversation(there, conversation), folder, **wanted)
            facts: dict[str, Any] = {"folder": str(folder), "files": files, "notes": notes + more}
        except CTReasonerError as error:
            facts = dict(_facts(error))
        with self._lock:
            self._exports.discard(ask)
        self._keep(Message("exported", ask, facts=facts))
        self._rest()

    def _inside(self, ask: int, there: str) -> None:
        try:
            shown = self._wire.call("GET", f"/v1/volumes/{there}/objects")
            facts = {"states": {key: (str(state), float(p)) for key, (state, p) in shown["states"].items()},
                     "is_whole": bool(shown["is_whole"])}
        except CTReasonerError as error:
            facts = _facts(error)
        except (AttributeError, KeyError, TypeError, ValueError):       # JSON, but none that the API knows
            facts = _facts(foreign(self._wire.host))
        self._keep(Message("inside", ask, facts=facts))

    def _forget(self, identity: str) -> None:
        there = self._ids.pop(identity, identity)
        try:
            self._wire.call("DELETE", f"/v1/volumes/{there}")
        except CTReasonerError:                     # not there, or no server: there is nothing to forget
            pass

    # ------------------------------------------------------------ inside
    def _tell(self, ask: int, event: Event) -> bool:
        """Pass an event on; False where its answer is over for the caller."""
        with self._lock:
            asked = self._open.get(ask)
            if asked is None:
                return False
            if isinstance(event, Started):          # whole numbers that came as float32 have another hash there
                event = replace(event, volume={**event.volume, "identity": asked.volume.identity})
            asked.answer, asked.seq = event.answer, event.seq
            self._keep(Message("event", ask, event))
            if isinstance(event, LAST_EVENTS):
                del self._open[ask]
        return True

    def _end(self, ask: int, kind: type[Event], **facts: Any) -> None:
        """End an answer on this side, unless it is over: the panel sees exactly one last event."""
        with self._lock:
            asked = self._open.pop(ask, None)
            if asked is not None:
                passed = round(time.monotonic() - asked.began, 3)
                event = kind(answer=asked.answer or f"ask{ask}", seq=asked.seq + 1, t=passed, **facts)
                self._keep(Message("event", ask, event))
        self._rest()

    def _busy(self) -> None:
        self._heard = time.monotonic()
        if self.state == "ready":
            self._set("busy")

    def _set(self, state: str, **facts: Any) -> None:
        self._heard = time.monotonic()
        super()._set(state, **facts)

    def _keep(self, message: Message) -> None:
        self._inbox.put(message)


def _facts(error: CTReasonerError) -> dict[str, str]:
    return {"code": error.code, "sentence": str(error), "hint": error.hint}
