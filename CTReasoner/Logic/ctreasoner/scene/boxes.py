"""Boxes in the scene: a small pool of ROI nodes that are shown, moved, hidden and used again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer

from . import hierarchy
from .findings import parts_of_box
from .volume import to_vtk

ROLE, FOLDER = "CTReasoner.Box", "CTReasoner boxes"
CT = "CTReasoner.CT"  # node reference of everything that belongs to a CT
ASIDE = "CTReasoner.Aside"  # attribute of what is hidden only because another CT is chosen
SPARE = 6  # boxes that are made ahead: the looks of an object and a few findings
LOOK_COLOURS = ((0.55, 0.75, 0.95), (1.0, 0.87, 0.35), (1.0, 0.62, 0.22), (1.0, 0.36, 0.28))  # by step: wide to close


class BoxPool:
    """The ROI nodes of one CT, by what they show ("a1.o2", "look 1").

    A new ROI makes every view build its widgets, which can hold the window up for a tenth of a second and more: `make_ready`
    does that while nothing else goes on. A box that was never shown is not saved and has no item in the Data module.
    """

    def __init__(self, mrml_scene: Any, ct_node: Any) -> None:
        self.scene, self.ct = mrml_scene, ct_node
        self._free = [node for node in nodes_of(mrml_scene, ct_node, "vtkMRMLMarkupsROINode") if node.GetAttribute(ROLE)]
        self._shown: dict[str, tuple[Any, np.ndarray]] = {}
        for node in self._free:
            _put_away(node)

    def show(self, name: str, label: str, box: np.ndarray, to_world: np.ndarray, colour: Sequence[float]) -> Any:
        """Show a box under a name; its node. box : matrix of `findings.box_matrix` in the CT's coordinates."""
        node = self._shown[name][0] if name in self._shown else self._free.pop() if self._free else self._new()
        self._shown[name] = (node, box)
        self._bring_out(node)
        was = node.StartModify()
        node.SetName(label)
        _set(node, to_world @ box)
        display = node.GetDisplayNode()
        display.SetSelectedColor(*colour)
        display.SetColor(*colour)
        display.SetVisibility(1)
        node.EndModify(was)
        return node

    def follow(self, to_world: np.ndarray) -> None:
        """Put the shown boxes where the CT is now."""
        for node, box in self._shown.values():
            _set(node, to_world @ box)

    def hide(self, name: str = "") -> None:
        """Hide a box, all looks ("look") or all boxes (""); their nodes go back to the pool."""
        for shown in [n for n in self._shown if not name or n == name or n.startswith(f"{name} ")]:
            node, _ = self._shown.pop(shown)
            _put_away(node)
            self._free.append(node)

    def is_shown(self, name: str) -> bool:
        return name in self._shown

    def lose(self, node: Any) -> None:
        """A node is being removed from the scene."""
        self._free = [n for n in self._free if n is not node]
        self._shown = {name: kept for name, kept in self._shown.items() if kept[0] is not node}

    def make_ready(self) -> None:
        """Make one box ahead where there are few."""
        if len(self._free) + len(self._shown) < SPARE:
            self._free.insert(0, self._new())

    def _new(self) -> Any:
        node = slicer.vtkMRMLMarkupsROINode()
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        add_markup(self.scene, self.ct, node, ROLE)
        display = node.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetVisibility(0)
        display.SetHandlesInteractive(False)
        display.SetGlyphScale(0.05)  # no dot in the middle of what is to be seen
        display.SetFillOpacity(0.06)
        display.SetTextScale(2.5)
        return node

    def _bring_out(self, node: Any) -> None:
        """Let a box that is shown the first time be a node like others."""
        if node.GetHideFromEditors():
            node.SetHideFromEditors(False)
            node.SetSaveWithScene(True)
            node.GetDisplayNode().SetSaveWithScene(True)
            hierarchy.place(self.scene, node, self.ct, FOLDER)


def add_markup(mrml_scene: Any, ct_node: Any, node: Any, role: str) -> Any:
    """Add a locked markup that belongs to a CT, with its name and no names of points beside it, and return it."""
    node.SetAttribute(role, "1")
    node.SetLocked(True)
    mrml_scene.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.SetNodeReferenceID(CT, ct_node.GetID())
    node.GetDisplayNode().SetPropertiesLabelVisibility(True)
    node.GetDisplayNode().SetPointLabelsVisibility(False)
    return node


def nodes_of(mrml_scene: Any, ct_node: Any, class_name: str) -> list[Any]:
    """The nodes of a class that belong to a CT."""
    every = [mrml_scene.GetNthNodeByClass(n, class_name) for n in range(mrml_scene.GetNumberOfNodesByClass(class_name))]
    return [node for node in every if node.GetNodeReferenceID(CT) == ct_node.GetID()]


def _put_away(node: Any) -> None:
    node.SetDisplayVisibility(0)
    node.RemoveAttribute(ASIDE)  # it is not to come back with its CT


def _set(node: Any, world: np.ndarray) -> None:
    centre, size, axes = parts_of_box(world)
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.array(axes).T, centre
    was = node.StartModify()
    node.SetAndObserveObjectToNodeMatrix(to_vtk(matrix))
    node.SetSize(*size)
    node.EndModify(was)
