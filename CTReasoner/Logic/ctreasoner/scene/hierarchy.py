"""Where nodes stand in the subject hierarchy: beside their CT, under its study."""

from __future__ import annotations

from typing import Any

import slicer

INVALID = 0


def place(mrml_scene: Any, node: Any, ct_node: Any, folder: str = "") -> int:
    """Put a node under the study of the CT, or under the CT's own parent where it has no study; the node's item.

    folder : name of a folder below it, made when it is missing.
    """
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(mrml_scene)
    if tree is None:
        return INVALID
    parent = parent_of(tree, ct_node)
    if folder:
        parent = tree.GetItemChildWithName(parent, folder) or tree.CreateFolderItem(parent, folder)
    item = tree.GetItemByDataNode(node)
    if item == INVALID:
        return tree.CreateItem(parent, node)
    if tree.GetItemParent(item) != parent:
        tree.SetItemParent(item, parent)
    return item


def parent_of(tree: Any, ct_node: Any) -> int:
    """The item under which the results of a CT stand."""
    item = tree.GetItemByDataNode(ct_node)
    if item == INVALID:
        return tree.GetSceneItemID()
    return tree.GetItemAncestorAtLevel(item, "Study") or tree.GetItemParent(item) or tree.GetSceneItemID()
