"""The conversation about a CT, kept in the scene as JSON lines of a text node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..events import Event


@dataclass
class Turn:
    """One question and its answer.

    text, spans, statements : as in the events, spans counted in `text`.
    objects : structured description: {id, key, display, state, probability, box, mask, measurements, categories}.
    looks : compact events for `Replay`.
    state : "open", "done", "cancelled", "failed", "undone".
    """

    answer: str
    question: str
    text: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    state: Literal["open", "done", "cancelled", "failed", "undone"] = "open"
    problem: str = ""


class Transcript:
    """The turns about one CT in a vtkMRMLTextNode; they come back with the scene.

    Attributes
    ----------
    turns : oldest first.
    """

    turns: list[Turn]

    def __init__(self, mrml_scene: Any, ct_node: Any) -> None:
        """Find the transcript of a CT in the scene, or begin one (the node is made with the first turn)."""
        raise NotImplementedError

    def begin(self, answer_id: str, question: str) -> Turn:
        """Open a turn."""
        raise NotImplementedError

    def apply(self, event: Event) -> None:
        """Fold an event into the open turn; the last one closes it and writes the node."""

    def mark(self, answer_id: str, state: str) -> None:
        """Set the state of a turn ("undone" after undo, "done" after redo)."""

    def turn(self, answer_id: str) -> Turn | None:
        """The newest turn of an answer."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget all turns."""

    def save(self) -> None:
        """Write the node."""


def compact(events: Iterable[Event]) -> list[dict[str, Any]]:
    """Looks and boxes of an answer, as little JSON as a replay needs."""
    raise NotImplementedError
