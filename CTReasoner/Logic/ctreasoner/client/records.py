"""The turns of a conversation on disk, so that an engine that is started anew can export them and goes on counting."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..events import Event, Request, from_json, request_from_json, request_to_json, to_json

FILE = "turns.jsonl"
EDITED = "edited"       # folder of the masks that a person changed, {object id}.npz, in their last state


@dataclass
class Turn:
    """A question and the events of its answer so far."""

    request: Request
    events: list[Event] = field(default_factory=list)


class Record:
    """The turns of the conversation whose masks lie in `workspace`; what a run before this one wrote is read first."""

    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        workspace.mkdir(parents=True, exist_ok=True)
        self.turns = list(_read(workspace / FILE))

    @property
    def answered(self) -> int:
        """The number n of the last answer "an"; 0 where there is none."""
        return max((number_of(turn.events) for turn in self.turns), default=0)

    def begin(self, request: Request) -> None:
        self.turns.append(Turn(request))
        self._append(json.dumps({"request": json.loads(request_to_json(request))}, ensure_ascii=False))

    def add(self, event: Event) -> None:
        self.turns[-1].events.append(event)
        self._append(to_json(event))

    def _append(self, line: str) -> None:
        with open(self.workspace / FILE, "a", encoding="utf-8", newline="\n") as file:
            file.write(line + "\n")


def number_of(events: Iterable[Event]) -> int:
    """Return n of events that belong to answer "an"; 0 where they do not say."""
    found = next((re.fullmatch(r"a(\d+)", event.answer) for event in events), None)
    return int(found[1]) if found else 0


def _read(path: Path) -> Iterable[Turn]:
    """Yield the turns of a file; a line that was cut while it was written is left out."""
    turn: Turn | None = None
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else ():
        try:
            content = json.loads(line)
            if "request" in content:
                if turn is not None:
                    yield turn
                turn = Turn(request_from_json(json.dumps(content["request"])))
            elif turn is not None and (event := from_json(line)) is not None:
                turn.events.append(event)
        except (ValueError, TypeError, InputError):
            continue
    if turn is not None:
        yield turn
