"""Subject-hierarchy items as Slicer's Qt plugins make them: on NodeAdded, not during import; segments are child items."""

from __future__ import annotations

import slicer
import vtk

# what the plugins' canAddNodeToSubjectHierarchy claim
CLAIMED = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLModelNode",
    "vtkMRMLTransformNode",
    "vtkMRMLTextNode",
    "vtkMRMLTableNode",
    "vtkMRMLPlotChartNode",
    "vtkMRMLPlotSeriesNode",
)
BRANCH = "VirtualBranch"  # level of segment items, and the attribute of the item above them


class Plugins:
    """Watches a scene; what qSlicerSubjectHierarchyPluginLogic and the segmentations plugin do."""

    def __init__(self, scene):
        self.scene = scene
        self._segments: dict[str, list] = {}
        self._tags = [
            scene.AddObserver(scene.NodeAddedEvent, self._added),
            scene.AddObserver(scene.NodeAboutToBeRemovedEvent, self._removed),
            scene.AddObserver(scene.EndImportEvent, self._imported),
            scene.AddObserver(scene.EndRestoreEvent, self._imported),
            scene.AddObserver(scene.EndBatchProcessEvent, self._batch_ended),
            scene.AddObserver(scene.EndCloseEvent, lambda *_: self._resolve()),
        ]
        self._node()

    def close(self):
        """Stop watching."""
        for tag in self._tags:
            self.scene.RemoveObserver(tag)
        for name in list(self._segments):
            self._forget(name)

    def _node(self):
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)

    @staticmethod
    def wanted(node) -> bool:
        """Some plugin claims the node, and editors show it."""
        return not node.GetHideFromEditors() and any(node.IsA(kind) for kind in CLAIMED)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _added(self, _scene, _event, node):
        if self.scene.IsImporting() or self.scene.IsRestoring() or node is None or node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        self._item(node)

    def _item(self, node):
        if not self.wanted(node):
            return
        hierarchy = self._node()
        if hierarchy is None or hierarchy.GetItemByDataNode(node):
            return
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
        if node.IsA("vtkMRMLSegmentationNode"):
            self._follow(node)

    def _resolve(self):
        return slicer.vtkMRMLSubjectHierarchyNode.ResolveSubjectHierarchy(self.scene)

    def _batch_ended(self, *_):
        """Items whose node has gone go too; nodes that have none get one."""
        hierarchy = self._node()
        if hierarchy is None:
            return
        items = vtk.vtkIdList()
        hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), items, True)
        for item in [items.GetId(i) for i in range(items.GetNumberOfIds())]:
            kept = hierarchy.GetItemLevel(item) or hierarchy.HasItemAttribute(item, BRANCH)
            if not kept and hierarchy.GetItemDataNode(item) is None:
                hierarchy.RemoveItem(item, False, False)
        self._imported()

    def _imported(self, *_):
        self._resolve()
        for place in range(self.scene.GetNumberOfNodes()):
            node = self.scene.GetNthNode(place)
            self._item(node)
            if node.IsA("vtkMRMLSegmentationNode") and node.GetID() not in self._segments:
                self._follow(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _removed(self, _scene, _event, node):
        if node is None:
            return
        self._forget(node.GetID())
        if node.IsA("vtkMRMLSubjectHierarchyNode"):
            return
        hierarchy = self._node() if not self.scene.IsClosing() else None
        if hierarchy is not None:
            item = hierarchy.GetItemByDataNode(node)
            if item:
                hierarchy.RemoveItem(item, False, False)

    def _follow(self, node):
        segmentation = node.GetSegmentation()
        events = (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified)
        tags = [segmentation.AddObserver(event, lambda *_, n=node: self._segment_items(n)) for event in events]
        self._segments[node.GetID()] = [segmentation, tags]
        self._segment_items(node)

    def _forget(self, name):
        segmentation, tags = self._segments.pop(name, (None, ()))
        for tag in tags:
            segmentation.RemoveObserver(tag)

    def _segment_items(self, node):
        """One child item per segment, attribute ``segmentID``."""
        hierarchy = self._node()
        if hierarchy is None:
            return
        parent = hierarchy.GetItemByDataNode(node)
        if not parent:
            return
        hierarchy.SetItemAttribute(parent, BRANCH, "1")
        children = vtk.vtkIdList()
        hierarchy.GetItemChildren(parent, children)
        items = {
            hierarchy.GetItemAttribute(children.GetId(i), "segmentID"): children.GetId(i) for i in range(children.GetNumberOfIds())
        }
        present = [node.GetSegmentation().GetNthSegmentID(i) for i in range(node.GetSegmentation().GetNumberOfSegments())]
        for name, item in items.items():
            if name and name not in present:
                hierarchy.RemoveItem(item, False, False)
        for name in present:
            title = node.GetSegmentation().GetSegment(name).GetName() or name
            if name in items:
                if hierarchy.GetItemName(items[name]) != title:
                    hierarchy.SetItemName(items[name], title)
                continue
            item = hierarchy.CreateHierarchyItem(parent, title, BRANCH)
            hierarchy.SetItemAttribute(item, node.GetSegmentIDAttributeName(), name)
