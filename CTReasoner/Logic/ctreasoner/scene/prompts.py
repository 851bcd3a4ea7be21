"""What a person clicks and draws, as prompts in world RAS mm."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import slicer

from ..errors import InputError
from ..events import IDENTITY, Click, PromptBox, Scribble
from .findings import parts_of_box
from .observing import Observers
from .volume import contains, to_numpy, world_matrix

Kind = Literal["point", "box", "scribble"]
MAX_POINTS = 64  # of a scribble
STEP_MM = 1.0  # between two points of a line that is being drawn
POSITIVE, NEGATIVE = (0.25, 0.85, 0.35), (0.95, 0.3, 0.3)
CLASSES = {"add": "vtkMRMLMarkupsFiducialNode", "remove": "vtkMRMLMarkupsFiducialNode", "box": "vtkMRMLMarkupsROINode",
           "scribble": "vtkMRMLMarkupsCurveNode"}
NAMES = {"add": "CTReasoner click", "remove": "CTReasoner click outside", "box": "CTReasoner box",
         "scribble": "CTReasoner scribble"}
SIGN = "CTReasoner.Sign"  # attribute: [positive, target]


class PromptNodes:
    """Reused markups nodes for points, one box and one scribble. They are no part of a saved scene.

    A box that is drawn in an oblique view stands along R, A, S like any ROI; turned by its handles it keeps its axes.

    Attributes
    ----------
    on_placed : called with "point", "box" or "scribble" when a person has finished placing; None.
    placing : the kind that is being placed, or None.
    """

    def __init__(self, mrml_scene: Any, ct_node: Any, logics: Mapping[str, Any]) -> None:
        """logics : mapping with "markups" -> vtkSlicerMarkupsLogic."""
        self.scene, self.ct, self.logics = mrml_scene, ct_node, logics
        self.on_placed: Callable[[Kind], None] | None = None
        self.placing: Kind | None = None
        self._nodes: dict[str, Any] = {}
        self._sign: tuple[bool, str | None] = (True, None)
        self._observers, self._closed = Observers(), False
        self._observers.add_with_node(mrml_scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_node_goes)
        self._observers.add(mrml_scene, slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_closes)
        self._interaction = mrml_scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if self._interaction is not None:
            self._observers.add(self._interaction, self._interaction.InteractionModeChangedEvent, self._on_mode)

    # ---------------------------------------------------------------- placing

    def place(self, kind: Kind, *, positive: bool = True, target: str | None = None) -> None:
        """Begin one point, one box or one scribble; `target` is the id of an object to correct.

        A box or scribble that is there is drawn anew. A point ends with one click, a box with two, both in Slicer's place mode;
        a scribble grows by `draw` and ends with `drawn`. `cancel` ends any.
        """
        if self._closed or self._interaction is None:
            return
        self.cancel()
        name = ("add" if positive else "remove") if kind == "point" else kind
        node = self._node(name)
        self._sign = (positive, target)
        if kind != "point":
            node.RemoveAllControlPoints()
            node.SetAttribute(SIGN, json.dumps([positive, target]))  # markups write measurements into the description
            _paint(node, POSITIVE if positive else NEGATIVE)
        node.GetDisplayNode().SetVisibility(1)
        self.placing = kind
        if kind == "scribble":
            return
        self.logics["markups"].SetActiveList(node)
        self._interaction.SetPlaceModePersistence(0)  # before the mode: a click then ends it
        self._interaction.SetCurrentInteractionMode(self._interaction.Place)

    def cancel(self) -> None:
        """Leave place mode and remove the preview and what is half drawn (Esc)."""
        placing, self.placing = self.placing, None
        if placing is None or self._closed:
            return
        if placing != "scribble" and self._interaction.GetCurrentInteractionMode() == self._interaction.Place:
            self._interaction.SwitchToViewTransformMode()
        for name, node in self._nodes.items():
            _drop_preview(node)
            if name == placing:
                node.RemoveAllControlPoints()

    def draw(self, point_ras: Sequence[float]) -> None:
        """Lead the line of the scribble that was begun to a world point, RAS mm."""
        if self.placing != "scribble":
            return
        node = self._node("scribble")
        count = node.GetNumberOfControlPoints()
        if not count or np.linalg.norm(np.subtract(_point(node, count - 1), point_ras)) >= STEP_MM:
            node.AddControlPointWorld(list(map(float, point_ras)))

    def drawn(self) -> None:
        """The scribble is done."""
        if self.placing == "scribble":
            self.placing = None
            if self._node("scribble").GetNumberOfControlPoints():
                self._placed("scribble")

    def add_click(self, point_ras: Sequence[float], *, positive: bool = True, target: str | None = None) -> None:
        """Place a point without the mouse. InputError (CTR-GEO-020) outside the CT."""
        self._inside(point_ras)
        node = self._node("add" if positive else "remove")
        self._sign = (positive, target)
        node.AddControlPointWorld(list(map(float, point_ras)))
        self._label(node)

    def _on_point(self, node: Any, *_: object) -> None:
        if self.placing != "point":
            return
        self._label(node)
        self.placing = None
        if self._interaction.GetCurrentInteractionMode() == self._interaction.Place:
            self._interaction.SwitchToViewTransformMode()
        _drop_preview(node)
        self._placed("point")

    def _label(self, node: Any) -> None:
        last = node.GetNumberOfControlPoints() - 1
        while last > 0 and node.GetNthControlPointPositionStatus(last) != node.PositionDefined:
            last -= 1
        positive, target = self._sign
        node.SetNthControlPointLabel(last, "+" if positive else "−")
        node.SetNthControlPointDescription(last, target or "")

    def _on_mode(self, *_: object) -> None:
        """A box is done when the view goes back to its usual mode; a scribble is given up when another thing is placed."""
        is_placing = self._interaction.GetCurrentInteractionMode() == self._interaction.Place
        if self.placing == "scribble" and is_placing:
            self.cancel()
        elif self.placing == "box" and not is_placing:
            self.placing = None
            _drop_preview(self._nodes["box"])
            if self.boxes_drawn():
                self._placed("box")

    def _placed(self, kind: Kind) -> None:
        if self.on_placed is not None:
            self.on_placed(kind)

    # ---------------------------------------------------------------- reading

    def check(self) -> None:
        """InputError (CTR-GEO-020) when a prompt lies outside the CT."""
        self.clicks()
        self.boxes()
        self.scribbles()

    def clicks(self) -> tuple[Click, ...]:
        """The placed points, world RAS mm. InputError as in `check`."""
        out = []
        for name in ("add", "remove"):
            node = self._nodes.get(name)
            for n in range(node.GetNumberOfControlPoints() if node is not None else 0):
                if node.GetNthControlPointPositionStatus(n) == node.PositionDefined:
                    point = self._inside(_point(node, n))
                    out.append(Click(point_ras=point, positive=name == "add", target=node.GetNthControlPointDescription(n) or None))
        return tuple(out)

    def boxes_drawn(self) -> bool:
        """Whether a box with an inside is there."""
        node = self._nodes.get("box")
        return node is not None and node.GetNumberOfDefinedControlPoints() > 0 and min(node.GetSize()) > 0

    def boxes(self) -> tuple[PromptBox, ...]:
        """The drawn box; a rotated one keeps its axes. InputError when nothing of it lies in the CT."""
        if not self.boxes_drawn():
            return ()
        node = self._nodes["box"]
        matrix = to_numpy(node.GetObjectToWorldMatrix())
        edges = matrix.copy()
        edges[:3, :3] = matrix[:3, :3] * np.array(node.GetSize())
        centre, size, axes = parts_of_box(edges)
        corners = np.array([[(b >> a & 1) - 0.5 for a in range(3)] for b in range(8)]) @ edges[:3, :3].T + edges[:3, 3]
        to_index = np.linalg.inv(world_matrix(self.ct))
        index = corners @ to_index[:3, :3].T + to_index[:3, 3]
        if np.any(index.max(0) < -0.5) or np.any(index.min(0) > np.array(self.ct.GetImageData().GetDimensions()) - 0.5):
            raise self._outside("The box", centre)
        straight = np.allclose(axes, np.eye(3), atol=1e-6)
        return (PromptBox(centre_ras=centre, size_mm=size, axes=IDENTITY if straight else axes),)

    def scribbles(self) -> tuple[Scribble, ...]:
        """The drawn line, at most 64 points. InputError when it leaves the CT."""
        node = self._nodes.get("scribble")
        if node is None or node.GetNumberOfDefinedControlPoints() == 0:
            return ()
        curve = node.GetCurvePointsWorld()
        count = curve.GetNumberOfPoints() if curve is not None else 0
        if count > 1:
            chosen = np.unique(np.linspace(0, count - 1, min(count, MAX_POINTS)).round().astype(int))
            points = [curve.GetPoint(int(n)) for n in chosen]
        else:
            points = [_point(node, n) for n in range(node.GetNumberOfControlPoints())]
        positive, target = json.loads(node.GetAttribute(SIGN) or "[true, null]")
        return (Scribble(points_ras=tuple(self._inside(p) for p in points), positive=positive, target=target),)

    def _inside(self, point: Sequence[float]) -> tuple[float, float, float]:
        if not contains(self.ct, point):
            raise self._outside("The point", point)
        return tuple(map(float, point))

    def _outside(self, what: str, point: Sequence[float]) -> InputError:
        shown = ", ".join(f"{v:.0f}" for v in point)
        return InputError(f"{what} at {shown} (RAS mm) lies outside the CT {self.ct.GetName()}.", code="CTR-GEO-020",
                          hint="Click inside the images of this CT.")

    # ---------------------------------------------------------------- nodes

    def clear(self) -> None:
        """Remove all prompts."""
        self.cancel()
        for node in self._nodes.values():
            node.RemoveAllControlPoints()
            if node.GetDisplayNode() is not None:
                node.GetDisplayNode().SetVisibility(0)

    def close(self) -> None:
        """Remove the nodes and observers."""
        if self._closed:
            return
        self.cancel()
        self._observers.clear()
        self._closed = True
        for node in list(self._nodes.values()):
            self.scene.RemoveNode(node)
        self._nodes.clear()

    def _node(self, name: str) -> Any:
        if name not in self._nodes:
            node = getattr(slicer, CLASSES[name])()
            node.SetName(NAMES[name])
            node.SetSaveWithScene(False)
            node.SetHideFromEditors(True)  # no item in the Data module
            self.scene.AddNode(node)
            node.CreateDefaultDisplayNodes()
            node.GetDisplayNode().SetSaveWithScene(False)
            _paint(node, NEGATIVE if name == "remove" else POSITIVE)
            if name == "scribble":
                node.SetCurveTypeToLinear()
                node.SetLocked(True)  # its points are not there to be caught by the mouse
                node.GetDisplayNode().SetGlyphScale(0.5)
                node.GetDisplayNode().SetPointLabelsVisibility(False)
                node.GetDisplayNode().SetPropertiesLabelVisibility(False)
            if name in ("add", "remove"):
                self._observers.add(node, node.PointPositionDefinedEvent, self._on_point)
            self._nodes[name] = node
        self._nodes[name].GetDisplayNode().SetVisibility(1)
        return self._nodes[name]

    def _on_node_goes(self, _scene: Any, _event: Any, node: Any) -> None:
        if node is self.ct:
            self._on_scene_closes()
            return
        for name in [n for n, kept in self._nodes.items() if kept is node]:
            del self._nodes[name]
            if self.placing is not None:
                self.placing = None

    def _on_scene_closes(self, *_: object) -> None:
        self.placing, self._closed = None, True
        self._observers.clear()
        self._nodes.clear()


def _point(node: Any, n: int) -> tuple[float, float, float]:
    point = [0.0, 0.0, 0.0]
    node.GetNthControlPointPositionWorld(n, point)
    return tuple(point)


def _drop_preview(node: Any) -> None:
    """Remove points that follow the mouse and were never set down."""
    for n in reversed(range(node.GetNumberOfControlPoints())):
        if node.GetNthControlPointPositionStatus(n) == node.PositionPreview:
            node.RemoveNthControlPoint(n)


def _paint(node: Any, colour: Sequence[float]) -> None:
    display = node.GetDisplayNode()
    display.SetSelectedColor(*colour)
    display.SetColor(*colour)
