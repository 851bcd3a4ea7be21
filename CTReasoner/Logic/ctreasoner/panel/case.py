"""One CT of the scene with all that belongs to it: nodes, views, prompts, conversation, the file for the engine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from ..errors import CTReasonerError
from ..events import Existence, Look, Measurement, from_json
from ..scene import Follower, PromptNodes, SceneWriter, Transcript, voxels_of, world_matrix
from ..scene import Turn as SavedTurn
from ..vocabulary import Vocabulary
from .turns import DONE, FAILED, STOPPED, Conversation, Turn

SAVED_STATES = {"done": DONE, "cancelled": STOPPED, "failed": FAILED, "open": STOPPED, "undone": DONE}


class Case:
    """What the panel keeps for a CT from its first question (or its first sight) until the CT or the scene is gone.

    Parameters
    ----------
    node : the CT; InputError where it cannot be asked about.
    logics : module logics by name, as `SceneWriter` and `PromptNodes` want them.
    """

    def __init__(self, scene: Any, node: Any, vocabulary: Vocabulary, logics: Mapping[str, Any]) -> None:
        self.node, self.id = node, node.GetID()
        self.writer = SceneWriter(scene, node, vocabulary, logics)
        self.follower = Follower(scene, node)
        self.prompts = PromptNodes(scene, node, logics)
        self.transcript = Transcript(scene, node)
        self.conversation = Conversation()
        self.conversation.turns = [restored(t, n) for n, t in enumerate(self.transcript.turns, start=1)]
        self.answered = max((_number(t.answer) for t in self.transcript.turns), default=0)
        self.steps: list[tuple[str, Any]] = []      # what undo takes back, newest last: ("answer", turn) or ("reject", id)
        self.redone: list[tuple[str, Any]] = []
        self.rejected: list[str] = []
        self._file: Future | None = None
        self._stamp: tuple = ()
        self._image: Any = None

    @property
    def name(self) -> str:
        return self.node.GetName() or ""

    def stamp(self) -> tuple:
        """What changes when voxels or geometry of the CT change."""
        image = self.node.GetImageData()
        if image is None:
            return ()
        return (id(image), image.GetPointData().GetMTime(), image.GetMTime(), world_matrix(self.node).tobytes())

    def file(self, store: Any) -> Future:
        """Return the future of the CT's file for the engine; written again only where the CT changed. InputError as `voxels_of`."""
        stamp = (id(store), *self.stamp())
        broken = self._file is not None and self._file.done() and self._file.exception() is not None
        if self._file is None or broken or stamp != self._stamp:
            voxels, matrix = voxels_of(self.node)
            self._image = self.node.GetImageData()      # its memory is read on another thread: it must not go meanwhile
            self._file = store.put(voxels, matrix, name=self.name)
            self._stamp = stamp
        return self._file

    @property
    def has_changed(self) -> bool:
        """Whether the CT is no longer what was handed to the engine."""
        try:
            return self._file is not None and self._stamp[1:] != self.stamp()
        except CTReasonerError:
            return True

    def close(self) -> None:
        """Let the nodes go; what is in the scene stays."""
        for part in (self.prompts, self.follower, self.writer):
            part.close()


def restored(saved: SavedTurn, number: int) -> Turn:
    """Return a turn of the scene's transcript as the panel shows it."""
    turn = Turn(number=number, question=saved.question, answer=saved.answer, text=saved.text, state=SAVED_STATES[saved.state],
                undone=saved.state == "undone")
    turn.spans = [(s["start"], s["end"], s["kind"], s["ref"]) for s in saved.spans]
    for content in (*saved.statements, *saved.looks):
        event = _event(content, saved.answer)
        if isinstance(event, Look):
            turn.looks.append(event)
        elif event is not None and event.type == "Statement":
            turn.statements.append(event)
    for found in saved.objects:
        turn.names[found["id"]] = found.get("display") or found.get("key") or found["id"]
        existence = _existence(found, saved.answer)
        if existence is not None:
            turn.states[found["id"]] = existence
        for m in found.get("measurements", ()):
            if isinstance(m, dict) and "id" in m:
                made = _event({"type": "Measurement", "object": found["id"], **m}, saved.answer)
                if isinstance(made, Measurement):
                    turn.measurements[made.id] = made
    for warning in saved.warnings:
        turn.note("warning", warning.get("sentence", ""), warning.get("hint", ""))
    if saved.problem:
        turn.note("error", saved.problem)
    return turn


def _existence(found: dict[str, Any], answer: str) -> Existence | None:
    content = {"type": "Existence", "object": found["id"], "name": found.get("key", ""), "display": found.get("display", ""),
               "state": found.get("state", "present"), "probability": found.get("probability")}
    event = _event(content, answer)
    return event if isinstance(event, Existence) else None


def _event(content: dict[str, Any], answer: str) -> Any:
    import json

    kind = content.get("type") or ("Statement" if "verdict" in content else "Look" if "view" in content else "")
    defaults = {"answer": answer, "seq": 0, "t": 0.0, "by": {"kind": "rule", "name": "saved"}}
    try:
        return from_json(json.dumps({**defaults, **content, "type": kind}))
    except (CTReasonerError, TypeError, ValueError):
        return None             # a line of another version: the words are still there


def _number(answer: str) -> int:
    found = re.fullmatch(r"a(\d+)", answer)
    return int(found[1]) if found else 0
