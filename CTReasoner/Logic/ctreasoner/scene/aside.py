"""What belongs to a CT that is not chosen is put aside: hidden, and shown again as it was when its CT is chosen."""

from __future__ import annotations

from typing import Any

from .boxes import ASIDE, CT

CLASSES = ("vtkMRMLSegmentationNode", "vtkMRMLMarkupsROINode", "vtkMRMLMarkupsLineNode")


def show_only(mrml_scene: Any, ct_node: Any) -> None:
    """Hide segments, boxes and lines of every other CT, and bring back those of this one that were hidden so.

    What a person hid stays hidden. The mark that tells the two apart is an attribute, so that it is saved with the scene.
    """
    for class_name in CLASSES:
        for n in range(mrml_scene.GetNumberOfNodesByClass(class_name)):
            node = mrml_scene.GetNthNodeByClass(n, class_name)
            owner, display = node.GetNodeReferenceID(CT), node.GetDisplayNode()
            if not owner or display is None:
                continue
            if owner != ct_node.GetID():
                _hide(node, display)
            elif node.GetAttribute(ASIDE):
                node.RemoveAttribute(ASIDE)
                display.SetVisibility(1)


def _hide(node: Any, display: Any) -> None:
    if display.GetVisibility():
        node.SetAttribute(ASIDE, "1")
        display.SetVisibility(0)
