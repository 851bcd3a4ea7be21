"""A measurement as a line in the views, in the plane in which it was taken."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from . import hierarchy
from .boxes import ASIDE, add_markup, nodes_of

ROLE = "CTReasoner.Evidence"
COLOUR = (1.0, 0.95, 0.35)


class EvidenceLine:
    """One reused vtkMRMLMarkupsLineNode."""

    def __init__(self, mrml_scene: Any, ct_node: Any) -> None:
        self.scene, self.ct = mrml_scene, ct_node
        self.node = next((n for n in nodes_of(mrml_scene, ct_node, "vtkMRMLMarkupsLineNode") if n.GetAttribute(ROLE)), None)
        self.line: np.ndarray | None = None
        self.clear()

    def show(self, label: str, ends: Any, to_world: np.ndarray) -> None:
        """Show a line; `ends` : (2, 3) mm in the CT's coordinates."""
        if self.node is None:
            self.node = self._new()
        self.line = np.array(ends, float)
        self.node.SetName(label)
        self.follow(to_world)
        self.node.GetDisplayNode().SetVisibility(1)

    def follow(self, to_world: np.ndarray) -> None:
        """Put the shown line where the CT is now."""
        if self.node is None or self.line is None:
            return
        was = self.node.StartModify()
        self.node.RemoveAllControlPoints()
        for end in self.line @ to_world[:3, :3].T + to_world[:3, 3]:
            self.node.AddControlPointWorld(end.tolist())
        self.node.EndModify(was)

    def clear(self) -> None:
        """Hide the line."""
        self.line = None
        if self.node is not None and self.node.GetDisplayNode() is not None:
            self.node.GetDisplayNode().SetVisibility(0)
            self.node.RemoveAttribute(ASIDE)

    def lose(self, node: Any) -> None:
        """A node is being removed from the scene."""
        if node is self.node:
            self.node = self.line = None

    def _new(self) -> Any:
        node = add_markup(self.scene, self.ct, slicer.vtkMRMLMarkupsLineNode(), ROLE)
        display = node.GetDisplayNode()
        display.SetSelectedColor(*COLOUR)
        hierarchy.place(self.scene, node, self.ct)
        return node
