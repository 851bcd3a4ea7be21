"""The conversation as data: what was asked, and what an answer said so far. Plain Python, no Qt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ..events import (
    Cancelled,
    Done,
    Event,
    Existence,
    Failed,
    Look,
    Measurement,
    Progress,
    Started,
    Statement,
    Text,
    Warning_,
)
from .hints import hint_for

WAITING, RUNNING, DONE, STOPPED, FAILED = "waiting", "running", "done", "stopped", "failed"
KEPT = (Started, Look, Existence, Measurement, Text, Statement, Warning_, Done, Cancelled, Failed)
LINK_KINDS = ("object", "measurement", "look", "statement")


@dataclass(frozen=True)
class Note:
    """A sentence of the panel or the engine beside the answer. level: "info", "warning" or "error"."""

    level: str
    sentence: str
    hint: str = ""


@dataclass
class Turn:
    """One question and its answer. `prompts` says in words what was drawn with it; `events` are those worth keeping."""

    number: int
    question: str
    prompts: str = ""
    origin: str = ""                # "recording" where the answer was recorded before
    state: str = WAITING
    answer: str = ""
    text: str = ""
    events: list[Event] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    spans: list[tuple[int, int, str, str]] = field(default_factory=list)    # start, end, kind, ref
    statements: list[Statement] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)                     # object id -> the name to show
    states: dict[str, Existence] = field(default_factory=dict)
    measurements: dict[str, Measurement] = field(default_factory=dict)
    outdated: set[str] = field(default_factory=set)                         # objects that a person changed afterwards
    undone: bool = False
    seconds: float = 0.0
    stage: str = ""
    step: int = 0
    of: int = 0

    @property
    def is_open(self) -> bool:
        return self.state in (WAITING, RUNNING)

    def apply(self, event: Event) -> bool:
        """Take an event in; returns whether the transcript looks different now."""
        self.answer, self.seconds = event.answer, event.t
        if self.state == WAITING:
            self.state = RUNNING
        if isinstance(event, KEPT):
            self.events.append(event)
        handler = getattr(self, f"_on_{event.type.lower()}", None)
        if handler is None:
            return False
        handler(event)
        return True

    def note(self, level: str, sentence: str, hint: str = "") -> None:
        """Add a sentence, once."""
        new = Note(level, sentence, hint)
        if new not in self.notes:
            self.notes.append(new)

    def end(self, state: str) -> None:
        """Close a turn that no last event closed."""
        self.state = state

    def _on_started(self, _event: Started) -> None:
        self.stage = "started"

    def _on_look(self, event: Look) -> None:
        self.looks.append(event)

    def _on_existence(self, event: Existence) -> None:
        self.names[event.object] = event.display or event.name
        self.states[event.object] = event

    def _on_measurement(self, event: Measurement) -> None:
        self.measurements[event.id] = event

    def _on_text(self, event: Text) -> None:
        at = len(self.text)
        self.spans += [(at + s.start, at + s.end, s.kind, s.ref) for s in event.spans]
        self.text += event.text

    def _on_statement(self, event: Statement) -> None:
        self.statements.append(event)

    def _on_progress(self, event: Progress) -> None:
        self.stage, self.step, self.of = event.stage, event.step, event.of

    def _on_warning(self, event: Warning_) -> None:
        self.note("warning", event.sentence, hint_for(event.code, event.hint))

    def _on_done(self, _event: Done) -> None:
        self.state = DONE

    def _on_cancelled(self, _event: Cancelled) -> None:
        self.state = STOPPED

    def _on_failed(self, event: Failed) -> None:
        self.state = FAILED
        self.note("error", event.sentence, hint_for(event.code, event.hint))


class Conversation:
    """The turns about everything in the scene, in order."""

    def __init__(self, turns: Iterable[Turn] = ()) -> None:
        self.turns: list[Turn] = list(turns)

    def ask(self, question: str, prompts: str = "", origin: str = "") -> Turn:
        """Add a question and return its turn."""
        turn = Turn(number=len(self.turns) + 1, question=question, prompts=prompts, origin=origin)
        self.turns.append(turn)
        return turn

    def turn_of_answer(self, answer: str) -> Turn | None:
        """Return the turn with this answer id."""
        return next((t for t in reversed(self.turns) if t.answer == answer), None)

    def turn_of_object(self, key: str) -> Turn | None:
        """Return the newest turn that speaks of an object."""
        return next((t for t in reversed(self.turns) if key in t.states), None)

    def measurement(self, key: str) -> Measurement | None:
        """Return a measurement by id, the newest first."""
        return next((t.measurements[key] for t in reversed(self.turns) if key in t.measurements), None)

    def statement(self, key: str) -> Statement | None:
        """Return a statement by id, the newest first."""
        return next((s for t in reversed(self.turns) for s in t.statements if s.id == key), None)

    def outdate(self, key: str) -> None:
        """Mark what was said about an object as outdated: a person changed its mask."""
        for turn in self.turns:
            if key in turn.states:
                turn.outdated.add(key)

    def told(self) -> dict[str, str]:
        """Return vocabulary key -> state of every object that an answer spoke of, as the newest one has it."""
        return {e.name: e.state for t in self.turns for e in t.states.values()}


def split_link(href: str) -> tuple[str, str]:
    """Return kind and reference of a link of the transcript, ("", "") for what is none."""
    kind, _, ref = href.partition(":")
    return (kind, ref) if kind in LINK_KINDS and ref else ("", "")


def look_of(conversation: Conversation, ref: str) -> Look | None:
    """Return the look behind "answer/number"; the number counts the looks of the answer from 0."""
    answer, _, number = ref.rpartition("/")
    turn = conversation.turn_of_answer(answer)
    if turn is None or not number.isdigit() or int(number) >= len(turn.looks):
        return None
    return turn.looks[int(number)]


class History:
    """Earlier prompts, for the keys Up and Down; what was being typed comes back at the end."""

    def __init__(self, limit: int = 100) -> None:
        self._lines: list[str] = []
        self._at, self._draft, self._limit = 0, "", limit

    def add(self, line: str) -> None:
        """Keep a prompt that was sent; a repeated one is kept once."""
        if line and line not in self._lines[-1:]:
            self._lines = [*self._lines, line][-self._limit:]
        self._at, self._draft = len(self._lines), ""

    def older(self, current: str) -> str:
        """Return the prompt before."""
        if self._at == len(self._lines):
            self._draft = current
        self._at = max(0, self._at - 1)
        return self._lines[self._at] if self._lines else current

    def newer(self, current: str) -> str:
        """Return the prompt after, at the end what was being typed."""
        if self._at >= len(self._lines):
            return current
        self._at += 1
        return self._lines[self._at] if self._at < len(self._lines) else self._draft
