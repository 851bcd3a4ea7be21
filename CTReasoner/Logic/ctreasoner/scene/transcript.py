"""The conversation about a CT, kept in the scene as JSON lines of a text node, and found again when the scene is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import slicer
import vtk

from .. import events as ev
from ..checked import plain
from . import hierarchy
from .boxes import CT, nodes_of
from .observing import Observers

ROLE, VERSION = "CTReasoner.Transcript", 1
MAX_TURNS = 200  # older ones leave the node: a large text makes saving a scene slow
BOOKKEEPING = {"v", "answer", "seq", "t", "type", "by"}
STATES = {ev.Done: "done", ev.Cancelled: "cancelled", ev.Failed: "failed"}
Content = dict[str, Any]


@dataclass
class Turn:
    """One question and its answer.

    Attributes
    ----------
    text, spans, statements : as in the events; spans count characters of `text`.
    objects : structured description: {id, key, display, state, probability, box, mask, measurements, categories}.
    looks : compact events for `Replay`.
    state : "open", "done", "cancelled", "failed" or "undone"; problem : the sentence of a failure.
    recording : shown from a recording, not answered now.
    """

    answer: str
    question: str
    text: str = ""
    spans: list[Content] = field(default_factory=list)
    statements: list[Content] = field(default_factory=list)
    objects: list[Content] = field(default_factory=list)
    looks: list[Content] = field(default_factory=list)
    warnings: list[Content] = field(default_factory=list)
    state: str = "open"
    problem: str = ""
    recording: bool = False

    @property
    def label_of_object(self) -> dict[str, str]:
        """Object id -> what a person reads."""
        return {o["id"]: o.get("display", "") for o in self.objects}

    def object(self, object_id: str) -> Content:
        """The description of an object, begun where it is new."""
        found = next((o for o in self.objects if o["id"] == object_id), None)
        if found is None:
            found = {"id": object_id, "measurements": [], "categories": []}
            self.objects.append(found)
        return found


class Transcript:
    """The turns about one CT in a vtkMRMLTextNode.

    The node may hold what a person typed about a patient; it is saved with the scene like any other node.

    Attributes
    ----------
    turns : oldest first.
    """

    def __init__(self, mrml_scene: Any, ct_node: Any) -> None:
        """Find the transcript of a CT in the scene; without one the node is made with the first turn."""
        self.scene, self.ct = mrml_scene, ct_node
        self.node = next((n for n in nodes_of(mrml_scene, ct_node, "vtkMRMLTextNode") if n.GetAttribute(ROLE)), None)
        self.turns: list[Turn] = restore(self.node.GetText() or "") if self.node is not None else []
        for turn in self.turns:
            if turn.state == "open":  # the scene was saved in the middle of it
                turn.state = "cancelled"
        self._closed = False
        self._observers = Observers()
        self._observers.add(mrml_scene, slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_closes)
        self._observers.add(mrml_scene, slicer.vtkMRMLScene.StartSaveEvent, self._on_scene_saves)
        self._observers.add_with_node(mrml_scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_node_goes)

    def begin(self, answer_id: str, question: str, *, recording: bool = False) -> Turn:
        """Open a turn; one that is still open is cancelled."""
        for turn in self.turns:
            if turn.state == "open":
                turn.state = "cancelled"
        self.turns.append(Turn(answer_id, question, recording=recording))
        self.save()
        return self.turns[-1]

    def apply(self, event: ev.Event) -> None:
        """Fold an event into the open turn; the last one closes it and writes the node."""
        turn = self.turns[-1] if self.turns else None
        if turn is None or turn.state != "open" or turn.answer != event.answer:
            return
        fold(turn, event)
        if isinstance(event, ev.LAST_EVENTS):
            self.save()

    def mark(self, answer_id: str, state: str) -> None:
        """Set the state of the newest turn of an answer: "undone" after undo, "done" after redo."""
        turn = self.turn(answer_id)
        if turn is not None:
            turn.state = state
            self.save()

    def turn(self, answer_id: str) -> Turn | None:
        """The newest turn of an answer."""
        return next((t for t in reversed(self.turns) if t.answer == answer_id), None)

    def clear(self) -> None:
        """Forget all turns."""
        self.turns.clear()
        self.save()

    def save(self) -> None:
        """Write the node; quiet once scene or CT are gone."""
        if self._closed:
            return
        if self.node is None:
            if not self.turns:
                return
            self.node = self._new()
        lines = [json.dumps({"v": VERSION, **asdict(turn)}, ensure_ascii=False) for turn in self.turns[-MAX_TURNS:]]
        self.node.SetText("".join(f"{line}\n" for line in lines))

    def close(self) -> None:
        """Write the node and take back the observers."""
        self.save()
        self._observers.clear()
        self._closed = True

    def _new(self) -> Any:
        node = slicer.vtkMRMLTextNode()
        node.SetName(f"{self.ct.GetName()} conversation")
        node.SetAttribute(ROLE, str(VERSION))
        node.SetEncoding(vtk.VTK_ENCODING_UTF_8)
        self.scene.AddNode(node)
        node.SetNodeReferenceID(CT, self.ct.GetID())
        hierarchy.place(self.scene, node, self.ct)
        return node

    def _on_scene_closes(self, *_: object) -> None:
        self._closed = True
        self._observers.clear()

    def _on_scene_saves(self, *_: object) -> None:
        self.save()

    def _on_node_goes(self, _scene: Any, _event: Any, node: Any) -> None:
        if node is self.ct:
            self._on_scene_closes()
        elif node is self.node:  # a person deleted it: what was said so far goes with it
            self.node = None
            self.turns[:] = [t for t in self.turns if t.state == "open"]


def restore(text: str) -> list[Turn]:
    """The turns of a node's text; lines that are damaged or of a newer version are left out."""
    names, out = {f.name for f in fields(Turn)}, []
    for line in text.split("\n"):  # words may hold other line ends
        try:
            content = json.loads(line)
            if content.get("v", VERSION) <= VERSION:
                out.append(Turn(**{k: v for k, v in content.items() if k in names}))
        except (ValueError, TypeError, AttributeError):
            continue
    return out


def fold(turn: Turn, event: ev.Event) -> None:
    """Bring one event into a turn."""
    handler = _FOLDS.get(type(event))
    if handler is not None:
        handler(turn, event)


def _look(turn: Turn, event: ev.Look) -> None:
    view = {"centre": _short(event.view.centre_ras), "size": _short(event.view.size_mm)}
    if event.view.axes != ev.IDENTITY:
        view["axes"] = [_short(a, 6) for a in event.view.axes]
    boxes = dict(turn.looks[-1]["boxes"]) if turn.looks else {}
    turn.looks.append({"object": event.object, "why": event.why, **view, "window": _short(event.window), "boxes": boxes})


def _box(turn: Turn, event: ev.Box) -> None:
    box = {"centre": _short(event.centre_ras), "size": _short(event.size_mm)}
    if event.axes != ev.IDENTITY:
        box["axes"] = [_short(a, 6) for a in event.axes]
    turn.object(event.object)["box"] = {**box, "score": round(event.score, 4)}
    if turn.looks:
        turn.looks[-1]["boxes"][event.object] = box


def _existence(turn: Turn, event: ev.Existence) -> None:
    turn.object(event.object).update(key=event.name, display=event.display, state=event.state, probability=event.probability)


def _mask(turn: Turn, event: ev.Mask) -> None:
    turn.object(event.object)["mask"] = {"stage": event.stage, "first_voxel": list(event.first_voxel), "shape": list(event.shape),
                                         "voxels": event.voxels, "cut_by_scan": event.cut_by_scan}


def _measurement(turn: Turn, event: ev.Measurement) -> None:
    thing = turn.object(event.object)
    kept = [m for m in thing["measurements"] if m["id"] != event.id]
    thing["measurements"] = [*kept, {"id": event.id, "name": event.name, "value": event.value, "unit": event.unit}]


def _category(turn: Turn, event: ev.Category) -> None:
    turn.object(event.object)["categories"].append({"attribute": event.attribute, "value": event.value,
                                                    "probability": round(event.probability, 4)})


def _text(turn: Turn, event: ev.Text) -> None:
    before = len(turn.text)
    turn.text += event.text
    turn.spans += [{"start": s.start + before, "end": s.end + before, "kind": s.kind, "ref": s.ref} for s in event.spans]


def _statement(turn: Turn, event: ev.Statement) -> None:
    turn.statements.append({k: v for k, v in plain(event).items() if k not in BOOKKEEPING})


def _warning(turn: Turn, event: ev.Warning_) -> None:
    turn.warnings.append({"code": event.code, "sentence": event.sentence, "hint": event.hint})


def _last(turn: Turn, event: ev.Event) -> None:
    turn.state = STATES[type(event)]
    if isinstance(event, ev.Failed):
        turn.problem = " ".join(part for part in (event.sentence, event.hint) if part)


def _short(numbers: Iterable[float], digits: int = 3) -> list[float]:
    return [round(float(n), digits) for n in numbers]


_FOLDS: Mapping[type, Callable[[Turn, Any], None]] = {
    ev.Look: _look, ev.Box: _box, ev.Existence: _existence, ev.Mask: _mask, ev.Measurement: _measurement, ev.Category: _category,
    ev.Text: _text, ev.Statement: _statement, ev.Warning_: _warning, ev.Done: _last, ev.Cancelled: _last, ev.Failed: _last}
