"""One CT of the scene with all that belongs to it: nodes, views, prompts, conversation, the file for the engine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from ..errors import CTReasonerError
from ..events import from_json
from ..scene import Follower, PromptNodes, SceneWriter, Transcript, voxels_of, world_matrix
from ..scene import Turn as SavedTurn
from ..vocabulary import Vocabulary
from .hints import hint_for
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
        self.rejected: list[str] = []       # ids of findings that a person took away, the newest last
        self.brought_back: list[str] = []   # those of them that undo brought back
        self.outdated: set[str] = set()     # ids of findings whose mask a person changed after it was described
        self.held: set[str] = set()         # ids of findings whose mask the engine has as the scene shows it
        self.estimate: Any = None           # `inside.Estimate` of what the CT shows, None while it is not known
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
        times = image.GetPointData().GetMTime(), image.GetMTime()
        return (image.GetAddressAsString("vtkImageData"), *times, world_matrix(self.node).tobytes())

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
        for part in (self.prompts, self.follower, self.transcript, self.writer):
            part.close()


def restored(saved: SavedTurn, number: int) -> Turn:
    """Return a turn of the scene's transcript as the panel shows it."""
    turn = Turn(number=number, question=saved.question, answer=saved.answer, text=saved.text, state=SAVED_STATES[saved.state],
                undone=saved.state == "undone")
    turn.origin = "recording" if saved.recording else ""
    turn.spans = [(s["start"], s["end"], s["kind"], s["ref"]) for s in saved.spans]
    by = {"kind": "model", "name": "saved"}
    statements = [_event("Statement", saved.answer, by=by, **s) for s in saved.statements]
    turn.statements = [s for s in statements if s is not None]
    turn.looks = [look for n, s in enumerate(saved.looks) if (look := _look(s, n, saved.answer)) is not None]
    for found in saved.objects:
        turn.names[found["id"]] = found.get("display") or found.get("key") or found["id"]
        existence = _event("Existence", saved.answer, object=found["id"], name=found.get("key") or "", by=by,
                           display=found.get("display") or "", state=found.get("state", "present"),
                           probability=found.get("probability"))
        if existence is not None:
            turn.states[found["id"]] = existence
        for told in found.get("measurements", ()):
            measured = _event("Measurement", saved.answer, **{"object": found["id"], "method": "", **told})
            if measured is not None:
                turn.measurements[measured.id] = measured
    for warning in saved.warnings:
        turn.note("warning", warning.get("sentence", ""), hint_for(warning.get("code", ""), warning.get("hint", "")))
    if saved.problem:
        turn.note("error", saved.problem)
    return turn


def _look(saved: dict[str, Any], number: int, answer: str) -> Any:
    view = {"centre_ras": saved.get("centre"), "size_mm": saved.get("size"), "spacing_mm": [1, 1, 1], "shape": [1, 1, 1]}
    if "axes" in saved:
        view["axes"] = saved["axes"]
    return _event("Look", answer, object=saved.get("object"), step=number, view=view, why=saved.get("why"),
                  window=saved.get("window"), digest="", by={"kind": "model", "name": "saved"})


def _event(kind: str, answer: str, **content: Any) -> Any:
    """Return an event made of what was saved, None for what another version wrote: the words are still there."""
    try:
        return from_json(json.dumps({"answer": answer, "seq": 0, "t": 0.0, **content, "type": kind}))
    except (CTReasonerError, TypeError, ValueError):
        return None


def _number(answer: str) -> int:
    found = re.fullmatch(r"a(\d+)", answer)
    return int(found[1]) if found else 0
