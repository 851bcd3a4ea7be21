"""Slicer's own widgets, as far as a module needs them: the node selector and its kin, against the real scene."""

from __future__ import annotations

from PyQt5 import QtWidgets

from . import receivers
from .indexclasses import implements
from .widgets_ctk import CollapsibleButton


@implements("qSlicerWidget")
class SlicerWidget(QtWidgets.QWidget):
    """A widget that hears of the scene."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def setMRMLScene(self, scene):
        self._scene = scene
        receivers.emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)


@implements("qMRMLNodeComboBox")
class NodeComboBox(QtWidgets.QWidget):
    """Chooses a node of the scene; nothing is chosen by itself, except a neighbour of a node that is removed."""

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        row.addWidget(self._box)
        self._scene, self._tags, self._nodes, self._node_tags, self._current = None, [], [], {}, None
        self._types, self._attributes, self._labels, self._hidden_types = [], [], {}, []
        self._none, self._add, self._remove, self._rename, self._edit = False, True, True, False, False
        self._show_hidden, self._children, self._select_new, self._base, self._none_text = False, True, False, "", "None"
        self._filling = False
        self._box.activated.connect(self._chosen)

    # the scene
    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if self._scene is not None:
            for tag in self._tags:
                self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        if scene is not None:
            events = (
                scene.NodeAddedEvent,
                scene.NodeRemovedEvent,
                scene.EndImportEvent,
                scene.EndCloseEvent,
                scene.EndBatchProcessEvent,
            )
            self._tags = [receivers.observe(self, scene, event, "_refresh") for event in events]
        self._refresh()

    def _accepts(self, node):
        if node.GetHideFromEditors() and not self._show_hidden:
            return False
        kinds = [t for t in self._types if node.IsA(t)]
        if not kinds or (not self._children and node.GetClassName() not in self._types):
            return False
        if any(node.IsA(t) for t in self._hidden_types) and node.GetClassName() not in self._types:
            return False
        wanted = [(name, value) for kind, name, value in self._attributes if node.IsA(kind)]
        return all(
            node.GetAttribute(name) is not None and (value is None or node.GetAttribute(name) == value) for name, value in wanted
        )

    def _refresh(self):
        if self._scene is not None and self._scene.IsBatchProcessing():
            return
        before, place = self._nodes, self._nodes.index(self._current) if self._current in self._nodes else -1
        everything = [self._scene.GetNthNode(i) for i in range(self._scene.GetNumberOfNodes())] if self._scene is not None else []
        self._nodes = [node for node in everything if self._accepts(node)]
        for node, tag in [(n, t) for n, t in self._node_tags.items() if n not in self._nodes]:
            node.RemoveObserver(tag)
            del self._node_tags[node]
        for node in self._nodes:
            if node not in self._node_tags:
                self._node_tags[node] = receivers.observe(self, node, "ModifiedEvent", "_rename_rows")
        for node in self._nodes:
            if node not in before:
                receivers.emit(self, "nodeAdded(vtkMRMLNode*)", node)
        current = self._current
        new = [node for node in self._nodes if node not in before]
        if current not in self._nodes:
            remaining = min(place, len(self._nodes) - 1)
            current = self._nodes[remaining] if place >= 0 and self._nodes else None
        if self._select_new and new and before:
            current = new[-1]
        self._fill(current)

    def _fill(self, current):
        self._filling = True
        self._box.clear()
        if self._none:
            self._box.addItem(self._none_text)
        for node in self._nodes:
            self._box.addItem(node.GetName() or "")
        actions = [
            text
            for wanted, text in (
                (self._add, "Create new..."),
                (self._rename, "Rename current node..."),
                (self._edit, "Edit current node..."),
                (self._remove, "Delete current node"),
            )
            if wanted
        ]
        if actions and self._scene is not None:
            self._box.insertSeparator(self._box.count())
            self._box.addItems(actions)
        self._filling = False
        self._choose(current)

    def _rename_rows(self):
        first = int(self._none)
        for place, node in enumerate(self._nodes):
            if self._box.itemText(first + place) != (node.GetName() or ""):
                self._box.setItemText(first + place, node.GetName() or "")
                if node is self._current:
                    receivers.emit(self, "currentNodeRenamed(QString)", node.GetName())

    def _choose(self, node):
        self._box.setCurrentIndex(int(self._none) + self._nodes.index(node) if node in self._nodes else (0 if self._none else -1))
        if node is self._current:
            return
        self._current = node
        receivers.emit(self, "currentNodeChanged(vtkMRMLNode*)", node)
        receivers.emit(self, "currentNodeChanged(bool)", node is not None)
        receivers.emit(self, "currentNodeIDChanged(QString)", self.currentNodeID)

    def _chosen(self, row):
        """A row chosen by hand: a node, None, or an action."""
        place = row - int(self._none)
        text = self._box.itemText(row)
        if 0 <= place < len(self._nodes):
            self._choose(self._nodes[place])
            receivers.emit(self, "nodeActivated(vtkMRMLNode*)", self._nodes[place])
        elif place == -1:
            self._choose(None)
        else:
            self._fill(self._current)
            if text == "Create new...":
                self.addNode()
            elif text == "Delete current node":
                self.removeCurrentNode()
            else:
                raise NotImplementedError(f"the host has no dialog for {text!r}")

    # what Python may call
    def currentNode(self):
        return self._current

    def currentNodeId(self):
        return self.currentNodeID

    @property
    def currentNodeID(self):
        return self._current.GetID() if self._current is not None else ""

    @currentNodeID.setter
    def currentNodeID(self, name):
        self.setCurrentNode(name)

    def setCurrentNodeID(self, name):
        self.setCurrentNode(name)

    def setCurrentNode(self, node):
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node) if self._scene is not None and node else None
        self._choose(node if node in self._nodes else None)

    def setCurrentNodeIndex(self, place):
        self._choose(self._nodes[place])

    def nodeCount(self):
        return len(self._nodes)

    def nodeFromIndex(self, place):
        return self._nodes[place] if 0 <= place < len(self._nodes) else None

    def addNode(self, kind=None):
        node = self._scene.CreateNodeByClass(kind or self._types[0])
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self._base or node.GetNodeTagName()))
        for owner, name, value in self._attributes:
            if node.IsA(owner):
                node.SetAttribute(name, value)
        self._scene.AddNode(node)
        receivers.emit(self, "nodeAddedByUser(vtkMRMLNode*)", node)
        receivers.emit(self, "nodeAddedByUserAction(vtkMRMLNode*)", node)
        self._choose(node)
        return node

    def removeCurrentNode(self):
        if self._current is not None:
            receivers.emit(self, "nodeAboutToBeRemoved(vtkMRMLNode*)", self._current)
            self._scene.RemoveNode(self._current)

    def addAttribute(self, kind, name, value=None):
        self._attributes.append((kind, name, value))
        self._refresh()

    def removeAttribute(self, kind, name):
        self._attributes = [entry for entry in self._attributes if entry[:2] != (kind, name)]
        self._refresh()

    def nodeTypeLabel(self, kind):
        return self._labels.get(kind, "")

    def setNodeTypeLabel(self, label, kind):
        self._labels[kind] = label

    # properties
    @property
    def nodeTypes(self):
        return list(self._types)

    @nodeTypes.setter
    def nodeTypes(self, kinds):
        self._types = list(kinds)
        self._refresh()

    @property
    def hideChildNodeTypes(self):
        return list(self._hidden_types)

    @hideChildNodeTypes.setter
    def hideChildNodeTypes(self, kinds):
        self._hidden_types = list(kinds)
        self._refresh()

    @property
    def baseName(self):
        return self._base

    @baseName.setter
    def baseName(self, name):
        self._base = name

    @property
    def noneDisplay(self):
        return self._none_text

    @noneDisplay.setter
    def noneDisplay(self, text):
        self._none_text = text
        self._refresh()

    @property
    def sizeAdjustPolicy(self):
        return self._box.sizeAdjustPolicy()

    @sizeAdjustPolicy.setter
    def sizeAdjustPolicy(self, policy):
        self._box.setSizeAdjustPolicy(policy)


@implements("qMRMLCollapsibleButton")
class MRMLCollapsibleButton(CollapsibleButton):
    """A collapsible button that can hand a scene on."""


@implements("ctkMenuButton")
class MenuButton(QtWidgets.QPushButton):
    """Level of inheritance of the index."""


@implements("qMRMLSegmentationShow3DButton")
class Show3DButton(MenuButton):
    """Shows a segmentation's closed surfaces."""

    def __init__(self, parent=None):
        super().__init__("Show 3D", parent)
        self.setCheckable(True)
        self._node, self._locked = None, False
        self.toggled.connect(self._toggled)

    def setSegmentationNode(self, node):
        self._node = node
        self.setEnabled(node is not None and not self._locked)
        shown = node is not None and node.GetSegmentation().ContainsRepresentation("Closed surface")
        self.blockSignals(True)
        self.setChecked(bool(shown))
        self.blockSignals(False)

    def segmentationNode(self):
        return self._node

    @property
    def locked(self):
        return self._locked

    @locked.setter
    def locked(self, locked):
        self._locked = locked

    def setLocked(self, locked):
        self._locked = locked

    def _toggled(self, shown):
        if self._node is not None:
            self._node.CreateClosedSurfaceRepresentation() if shown else self._node.RemoveClosedSurfaceRepresentation()


def _switch(attribute):
    def read(self):
        return getattr(self, attribute)

    def write(self, value):
        setattr(self, attribute, bool(value))
        self._refresh()

    return property(read, write)


for _name, _attribute in (
    ("noneEnabled", "_none"),
    ("addEnabled", "_add"),
    ("removeEnabled", "_remove"),
    ("renameEnabled", "_rename"),
    ("editEnabled", "_edit"),
    ("showHidden", "_show_hidden"),
    ("showChildNodeTypes", "_children"),
    ("selectNodeUponCreation", "_select_new"),
):
    setattr(NodeComboBox, _name, _switch(_attribute))

__all__ = ["NodeComboBox", "SlicerWidget"]
