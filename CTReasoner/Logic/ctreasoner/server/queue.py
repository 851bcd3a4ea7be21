"""Questions and exports in line for the engine: bounded, fair between users, and each told its position.

One task, `Queue.run`, moves everything; the rest of the server only puts jobs in and reads what has come.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ..client.records import number_of
from ..client.telling import Message
from ..client.volumes import VolumeFile
from ..errors import error_of
from ..events import LAST_EVENTS, Cancelled, Event, Failed, Progress, Request, Started, from_json, to_json
from .engine import ServerEngine
from .problems import Refused
from .settings import Limits
from .store import Store

TICK_S = 0.25
AGAIN = "Ask again."
KEEP_ALIVE_S = 15.0


@dataclass(eq=False)
class Job:
    """A question (or an export, or what a CT shows, which have no events) between its arrival and its end."""

    user: str
    conversation: str
    volume: VolumeFile
    id: str = field(default_factory=lambda: secrets.token_hex(16))
    request: Request | None = None
    export: dict[str, Any] | None = None
    answered: int = 0  # answers of this conversation so far
    known: dict[str, str] = field(default_factory=dict)
    state: str = "waiting"  # waiting, running, over
    ask: int = 0  # its number at the engine
    lines: list[tuple[str, str]] = field(default_factory=list)  # (type, JSON) by seq
    began: float = field(default_factory=time.monotonic)
    dispatched: float = 0.0
    listeners: int = 0
    left_at: float = field(default_factory=time.monotonic)  # since when nobody listens
    place: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    result: dict[str, Any] | None = None  # of what has no events

    @property
    def answer(self) -> str:
        return f"a{self.answered + 1}"


class Queue:
    """What waits for the engine, and what it works on."""

    def __init__(self, store: Store, engine: ServerEngine, limits: Limits) -> None:
        self.store, self.engine, self.limits = store, engine, limits
        self.jobs: dict[str, Job] = {}
        self.wake = asyncio.Event()
        self.draining = False
        self.finished: dict[str, int] = {}  # how answers ended, for the metrics
        self.seconds: deque[float] = deque(maxlen=50)
        self._served: dict[str, int] = {}  # user -> number of the last job that was begun
        self._count = 0

    # ------------------------------------------------------------ in
    def put(self, job: Job) -> Job:
        """Take a job, or refuse it with the time after which to try again."""
        if self.draining:
            raise Refused(
                503,
                "The server is shutting down.",
                code="CTR-SRV-010",
                hint="Try again in a minute.",
                headers={"Retry-After": "60"},
            )
        again = {"Retry-After": str(self.retry_after_s())}
        if any(j.conversation == job.conversation for j in self.jobs.values()):
            raise Refused(
                409,
                "This conversation is being answered already.",
                code="CTR-SRV-005",
                headers=again,
                hint="Wait for the answer, or cancel it.",
            )
        if len(self.jobs) >= self.limits.open:
            raise Refused(
                429, f"{len(self.jobs)} questions are waiting already.", code="CTR-SRV-007", hint="Try again later.", headers=again
            )
        if sum(j.user == job.user for j in self.jobs.values()) >= self.limits.user_open:
            raise Refused(
                429,
                f"{self.limits.user_open} of your questions are waiting already.",
                code="CTR-SRV-008",
                hint="Wait for an answer, or cancel one.",
                headers=again,
            )
        self.jobs[job.id] = job
        if job.request is not None:
            self.store.run(
                "INSERT INTO question VALUES (?, ?, ?, ?, 'open', ?)",
                job.id,
                job.user,
                job.conversation,
                job.request.text,
                time.time(),
            )
        self.wake.set()
        return job

    def retry_after_s(self) -> int:
        """Return a guess of the seconds until the line is shorter by one."""
        return max(1, round(self.median_s())) if self.seconds else 5

    def median_s(self) -> float:
        """Return the median of the last answers, from the engine's beginning to the end; 0 where there was none."""
        return statistics.median(self.seconds) if self.seconds else 0.0

    def cancel(self, job: Job) -> None:
        """End a job as its user wishes; of one that runs, the engine says when."""
        if job.state == "running" and job.request is not None:
            self.engine.cancel(job.ask)
        elif job.state == "waiting":
            self._end(job, Cancelled)
        self.wake.set()

    def abandon(self, jobs: Iterable[Job]) -> None:
        """End jobs whose CT or conversation is to be deleted, at once."""
        for job in list(jobs):
            if job.state == "running" and job.request is not None:
                self.engine.cancel(job.ask)
            self._end(job, Cancelled)

    # ------------------------------------------------------------ out
    async def stream(self, job: Job, after: int = -1) -> AsyncIterator[tuple[int, str, str] | None]:
        """Yield (seq, type, line) of the events after `after` as they come; None now and then, so that the line is not idle."""
        job.listeners += 1
        try:
            seq = after + 1
            while True:
                changed = job.changed
                while seq < len(job.lines):
                    yield (seq, *job.lines[seq])
                    seq += 1
                if job.state == "over":
                    return
                try:
                    await asyncio.wait_for(changed.wait(), KEEP_ALIVE_S)
                except TimeoutError:
                    yield None
        finally:
            job.listeners -= 1
            job.left_at = time.monotonic()

    async def result(self, job: Job) -> dict[str, Any]:
        """Take a job without events and return what comes of it; raise the error that it ended with."""
        job.listeners += 1
        self.put(job)
        try:
            async for _ in self.stream(job):
                pass
        finally:
            job.listeners -= 1
        if "code" in job.result:
            raise error_of(job.result)
        return job.result

    # ------------------------------------------------------------ the task
    async def run(self) -> None:
        """Move everything until cancelled."""
        while True:
            try:
                await asyncio.wait_for(self.wake.wait(), TICK_S)
            except TimeoutError:
                pass
            self.wake.clear()
            for message in self.engine.poll():
                self._take(message)
            self._cancel_unheard()
            self._dispatch()
            self._tell_places()

    def _take(self, message: Message) -> None:
        job = next((j for j in self.jobs.values() if j.ask and j.ask == message.ask), None)
        if job is None:
            return
        if message.kind in ("exported", "inside"):
            job.result = message.facts
            self._over(job, "failed" if "code" in message.facts else message.kind)
        elif message.kind == "event":
            event = message.event
            if isinstance(event, Started):
                event = replace(event, volume={**event.volume, "identity": job.volume.content})
            if number := number_of([event]):
                self.store.run("UPDATE conversation SET answered = ? WHERE id = ?", number, job.conversation)
                job.answered = number - 1
            self._add(job, replace(event, answer=job.answer))

    def _add(self, job: Job, event: Event) -> None:
        """Write an event down under its place in the stream that the user sees, in which waiting comes first."""
        event = replace(event, seq=len(job.lines), t=round(time.monotonic() - job.began, 6))
        line = to_json(event)
        self.store.run("INSERT INTO event VALUES (?, ?, ?, ?)", job.id, event.seq, event.type, line)
        job.lines.append((event.type, line))
        if isinstance(event, LAST_EVENTS):
            self._over(job, event.type.lower())
        self._tell(job)

    def _end(self, job: Job, kind: type[Event], **facts: Any) -> None:
        """End a job on this side; the caller of what has no events reads the same facts."""
        if job.state == "over":
            return
        if job.request is None:
            job.result = facts or {"code": "CTR-INT-000", "sentence": "It was cancelled.", "hint": ""}
            self._over(job, kind.type.lower())
        else:
            self._add(job, kind(answer=job.answer, seq=0, t=0.0, **facts))

    def _over(self, job: Job, how: str) -> None:
        if job.dispatched and how in ("done", "exported"):
            self.seconds.append(time.monotonic() - job.dispatched)
        job.state = "over"
        self.jobs.pop(job.id, None)
        self.finished[how] = self.finished.get(how, 0) + 1
        self.store.run("UPDATE question SET state = ? WHERE id = ?", how, job.id)
        self._tell(job)
        self.wake.set()

    @staticmethod
    def _tell(job: Job) -> None:
        job.changed.set()
        job.changed = asyncio.Event()  # whoever waits holds the old one

    def _cancel_unheard(self) -> None:
        now = time.monotonic()
        for job in list(self.jobs.values()):
            if job.listeners == 0 and now - job.left_at > self.limits.grace_s:
                self.cancel(job)

    def line(self) -> list[Job]:
        """Return who waits, in the order in which they will be taken: users in turn, each user's jobs as they came."""
        waiting: dict[str, deque[Job]] = {}
        for job in self.jobs.values():
            if job.state == "waiting":
                waiting.setdefault(job.user, deque()).append(job)
        users = sorted(waiting, key=lambda user: self._served.get(user, 0))
        order: list[Job] = []
        while any(waiting.values()):
            order += [waiting[user].popleft() for user in users if waiting[user]]
        return order

    def _dispatch(self) -> None:
        if any(job.state == "running" for job in self.jobs.values()):
            return
        job = next(iter(self.line()), None)
        if job is None:
            return
        self._count += 1
        self._served[job.user] = self._count
        job.state, job.dispatched = "running", time.monotonic()
        if job.request is not None:
            job.ask = self.engine.ask(job.request, job.volume, answered=job.answered, known=job.known)
        elif job.export is None:
            job.ask = self.engine.inside(job.volume)
        else:
            job.ask = self.engine.export(job.volume, conversation=job.conversation, **job.export)

    def _tell_places(self) -> None:
        line = self.line()
        for place, job in enumerate(line, start=1):
            if job.place != place and job.request is not None:
                job.place = place
                self._add(job, Progress(answer=job.answer, seq=0, t=0.0, stage="waiting", step=place, of=len(line)))

    # ------------------------------------------------------------ the end, and the next beginning
    async def drain(self) -> None:
        """Take nothing more, end what waits, and let what is being answered come to its end, for so long as is allowed."""
        self.draining = True
        for job in self.line():
            self._end(job, Failed, code="CTR-SRV-010", sentence="The server is shutting down.", hint="Try again in a minute.")
        end = time.monotonic() + self.limits.drain_s
        while self.jobs and time.monotonic() < end:
            await asyncio.sleep(0.05)
        for job in list(self.jobs.values()):
            self._end(job, Failed, code="CTR-SRV-010", sentence="The server is shutting down.", hint="Try again in a minute.")

    def close_what_was_cut(self) -> None:
        """Give the streams that a server before this one left open their last event."""
        for row in self.store.all("SELECT id FROM question WHERE state = 'open'"):
            last = self.store.one("SELECT seq, line FROM event WHERE question = ? ORDER BY seq DESC LIMIT 1", row["id"])
            before = from_json(last["line"]) if last else None
            event = Failed(
                answer=before.answer if before else "a0",
                seq=last["seq"] + 1 if last else 0,
                t=before.t if before else 0.0,
                code="CTR-SRV-015",
                sentence="The server was stopped in the middle of this answer.",
                hint=AGAIN,
            )
            self.store.run("INSERT INTO event VALUES (?, ?, ?, ?)", row["id"], event.seq, event.type, to_json(event))
            self.store.run("UPDATE question SET state = 'failed' WHERE id = ?", row["id"])
