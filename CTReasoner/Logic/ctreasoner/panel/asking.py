"""Questions on their way: one is answered, others wait; the CT is handed over first; Stop ends all. No widgets here."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any

from slicer.i18n import tr as _

from ..errors import CTReasonerError
from ..events import LAST_EVENTS, Event, Mask, Options, Request
from .case import Case
from .turns import FAILED, RUNNING, STOPPED, Turn


@dataclass
class Job:
    """One question about one CT, and where it stands."""

    case: Case
    turn: Turn
    fields: dict[str, Any]
    dicom: dict[str, Any] = field(default_factory=dict)     # of an import: path and source, for `LocalEngine.ask`
    file: Future | None = None
    ask: int | None = None
    folder: Any = None
    began: float = field(default_factory=time.monotonic)
    has_begun_writing: bool = False
    stopping: bool = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


class Asking:
    """Puts questions to an engine, one after the other, and brings what comes back into the scene.

    Parameters
    ----------
    on_event : called with (job, event) after an event has been written into the scene.
    on_end : called with a job that is over, however it ended.
    """

    def __init__(self, on_event: Callable[[Job, Event], None], on_end: Callable[[Job], None]) -> None:
        self.engine: Any = None
        self._on_event, self._on_end = on_event, on_end
        self.running: Job | None = None
        self.waiting: list[Job] = []

    @property
    def is_busy(self) -> bool:
        return self.running is not None

    def put(self, case: Case, turn: Turn, *, dicom: dict[str, Any] | None = None, **fields: Any) -> None:
        """Ask, or queue behind the answer that runs; the turn says which. fields : of `Request`, without `volume`.

        dicom : what is to be imported, {dicom: path, source: files of the CT}; the words then name it.
        """
        Request(volume="?", **fields)                               # what is no question is refused before it waits
        job = Job(case, turn, fields, dict(dicom or {}))
        if self.running is None:
            self._begin(job)
        else:
            self.waiting.append(job)
            turn.note("info", _("Queued: it is asked when the running answer has ended."))

    def stop(self) -> None:
        """End the running answer and drop what waits."""
        dropped, self.waiting = self.waiting, []
        for job in dropped:
            job.turn.note("info", _("Not asked, because Stop was pressed."))
            job.turn.end(STOPPED)
        job = self.running
        if job is None:
            return
        if job.ask is None:
            job.turn.end(STOPPED)
            self._finish(job)
        elif not job.stopping:
            job.stopping = True
            self.engine.cancel(job.ask)

    def abandon(self, case: Case, sentence: str, hint: str = "") -> None:
        """End what is asked about a CT that is gone or changed, and say why."""
        for job in [j for j in self.waiting if j.case is case]:
            self.waiting.remove(job)
            job.turn.note("warning", sentence, hint)
            job.turn.end(STOPPED)
        job = self.running
        if job is not None and job.case is case:
            job.turn.note("warning", sentence, hint)
            if job.ask is not None:
                self.engine.cancel(job.ask)
            if job.has_begun_writing:
                case.transcript.mark(job.turn.answer, "cancelled")
            job.turn.end(STOPPED)
            self._finish(job)

    def fail_all(self, sentence: str, hint: str) -> None:
        """End everything: the engine is exchanged or gone."""
        for job in [*([self.running] if self.running else []), *self.waiting]:
            job.turn.note("error", sentence, hint)
            job.turn.end(FAILED)
        job, self.waiting = self.running, []
        if job is not None:
            self._finish(job)

    def step(self) -> None:
        """Send the running question once its CT is handed over."""
        job = self.running
        if job is None or job.ask is not None or job.file is None or not job.file.done():
            return
        try:
            file = job.file.result()
            request = Request(volume=file.identity, options=Options(), **job.fields)
            job.folder = self.engine.workspace(request)
            job.ask = self.engine.ask(request, file, answered=job.case.answered, known=_known(job.case), **job.dicom)
        except (CTReasonerError, CancelledError, OSError, ValueError, MemoryError) as error:
            self._refuse(job, error)

    def event(self, ask: int | None, event: Event) -> None:
        """Take an event of the engine."""
        job = self.running
        if job is None or job.ask != ask:
            return                                                  # of an answer that is over here
        try:
            self._write(job, event)
        finally:                                                    # whatever the scene makes of it, the answer goes on to its end
            job.turn.apply(event)
            self._on_event(job, event)
            if isinstance(event, LAST_EVENTS):
                self._finish(job)

    def _begin(self, job: Job) -> None:
        self.running, job.began = job, time.monotonic()
        job.turn.state = RUNNING
        try:
            job.file = job.case.file(self.engine.volumes)
        except CTReasonerError as error:
            self._refuse(job, error)

    def _write(self, job: Job, event: Event) -> None:
        try:
            if not job.has_begun_writing:
                job.has_begun_writing = True
                job.case.transcript.begin(event.answer, job.turn.question, recording=job.turn.origin == "recording")
                job.case.writer.begin(event.answer, job.turn.question)
            job.case.writer.apply(event, job.folder)
            if isinstance(event, Mask):
                job.case.held.add(event.object)
        except CTReasonerError as error:
            job.turn.note("error", str(error), error.hint)
        job.case.transcript.apply(event)

    def _refuse(self, job: Job, error: BaseException) -> None:
        if isinstance(error, CTReasonerError):
            job.turn.note("error", str(error), error.hint)
        else:
            why = str(error) or type(error).__name__
            job.turn.note("error", _("The CT could not be handed to the engine: {why}").format(why=why))
        job.turn.end(FAILED)
        self._finish(job)

    def _finish(self, job: Job) -> None:
        if self.running is not job:
            return
        self.running = None
        if job.has_begun_writing:
            job.case.writer.end()
        self._on_end(job)
        if self.running is None and self.waiting:
            self._begin(self.waiting.pop(0))


def _known(case: Case) -> dict[str, str]:
    """Return what the findings of a CT are in the vocabulary, so that an engine that did not make them can measure an edit."""
    return {f.id: f.key for f in case.writer.findings() if f.key}
