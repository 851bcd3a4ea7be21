"""View widgets and the layout manager: views are placed as the scene's layout node describes them."""

from __future__ import annotations

import slicer
import vtk
from PyQt5 import QtCore, QtGui, QtWidgets

from . import receivers
from .indexclasses import implements
from .views import SliceView, ThreeDView


@implements("qMRMLWidget")
class MRMLWidget(QtWidgets.QWidget):
    """A widget that knows a scene."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            receivers.emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)


@implements("qMRMLViewControllerBar")
class ViewControllerBar(MRMLWidget):
    """The coloured bar above a view."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._row = QtWidgets.QHBoxLayout(self)
        self._row.setContentsMargins(0, 0, 4, 0)
        self._row.setSpacing(4)
        self._label = QtWidgets.QLabel(self)
        self._label.setAlignment(QtCore.Qt.AlignCenter)
        self._label.setMinimumWidth(22)
        self._row.addWidget(self._label)
        self.setMaximumHeight(22)

    def show_node(self, node):
        """Label and colour of a view node."""
        colour = QtGui.QColor.fromRgbF(*node.GetLayoutColor())
        self._label.setText(node.GetLayoutLabel() or "")
        dark = "white" if colour.lightness() < 128 else "black"
        self._label.setStyleSheet(f"background: {colour.name()}; color: {dark};")

    def barWidget(self):
        return self

    def barLayout(self):
        return self._row

    def viewLabel(self):
        return self._label


@implements("qMRMLSliceControllerWidget")
class SliceController(ViewControllerBar):
    """Slider for the slice offset, kept in step with the slice logic."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._logic, self._updating = None, False
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._slider.setFocusPolicy(QtCore.Qt.NoFocus)
        self._text = QtWidgets.QLabel(self)
        self._text.setMinimumWidth(70)
        self._row.addWidget(self._slider, 1)
        self._row.addWidget(self._text)
        self._slider.valueChanged.connect(self._moved)

    def open(self, logic, node):
        """Follow a slice logic."""
        self._logic = logic
        self.show_node(node)
        self._node, self._tag = node, receivers.observe(self, node, "ModifiedEvent", "_refresh")
        self._refresh()

    def shut(self):
        """Stop following."""
        self._node.RemoveObserver(self._tag)

    def _range(self):
        low, high = [0.0, 0.0], vtk.reference(1.0)
        self._logic.GetSliceOffsetRangeResolution(low, high)
        return low[0], low[1], max(float(high), 1e-3)

    def _refresh(self):
        low, high, step = self._range()
        offset = self._logic.GetSliceOffset()
        self._updating = True
        self._slider.setRange(0, max(0, round((high - low) / step)))
        self._slider.setValue(round((offset - low) / step))
        self._updating = False
        self._text.setText(f"{offset:.1f} mm")

    def _moved(self, value):
        if not self._updating and self._logic is not None:
            low, _, step = self._range()
            self._logic.StartSliceOffsetInteraction()
            self._logic.SetSliceOffset(low + value * step)
            self._logic.EndSliceOffsetInteraction()

    def setSliceOffsetValue(self, value):
        self._logic.StartSliceOffsetInteraction()
        self._logic.SetSliceOffset(value)
        self._logic.EndSliceOffsetInteraction()

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()


@implements("qMRMLThreeDViewControllerWidget")
class ThreeDController(ViewControllerBar):
    """The bar above a 3D view."""


@implements("qMRMLAbstractViewWidget")
class AbstractViewWidget(MRMLWidget):
    """A view with its bar."""

    def _place(self, bar, view):
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(0)
        box.addWidget(bar)
        box.addWidget(view, 1)
        self._bar, self._view = bar, view

    def controllerWidget(self):
        return self._bar

    def viewWidget(self):
        return self._view

    def pauseRender(self):
        self._view.pauseRender()

    def resumeRender(self):
        self._view.resumeRender()

    def setRenderPaused(self, paused):
        self._view.setRenderPaused(paused)

    def mrmlAbstractViewNode(self):
        return self._node

    @property
    def viewLabel(self):
        return self._node.GetLayoutLabel()


@implements("qMRMLSliceWidget")
class SliceWidget(AbstractViewWidget):
    """A slice view of the layout."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node, self._logic = None, None
        self._place(SliceController(self), SliceView(self))

    def open(self, core, tag):
        """Make or find the slice node of a layout tag and show it."""
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(core.logic)
        core.logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(core.scene)
        self._node = core.scene.GetSingletonNode(tag, "vtkMRMLSliceNode")
        if self._node is None:
            self._node = self._logic.AddSliceNode(tag)
        else:
            self._logic.SetSliceNode(self._node)  # the layout logic has made it
        self._view.open(core, self._logic, self._node)
        self._bar.open(self._logic, self._node)
        self.setMRMLScene(core.scene)

    def sliceView(self):
        return self._view

    def sliceController(self):
        return self._bar

    def sliceLogic(self):
        return self._logic

    def logic(self):
        return self._logic

    def mrmlSliceNode(self):
        return self._node

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def interactorStyle(self):
        return self._view.interactorStyle()

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    @property
    def sliceViewName(self):
        return self._node.GetLayoutName()

    @property
    def sliceOrientation(self):
        return self._node.GetOrientation()

    @sliceOrientation.setter
    def sliceOrientation(self, name):
        self._node.SetOrientation(name)

    def setSliceOrientation(self, name):
        self._node.SetOrientation(name)


@implements("qMRMLThreeDWidget")
class ThreeDWidget(AbstractViewWidget):
    """A 3D view of the layout."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node, self._logic = None, None
        self._place(ThreeDController(self), ThreeDView(self))

    def open(self, core, tag):
        """Make or find the view node of a layout tag and show it."""
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(core.logic)
        core.logic.GetViewLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(core.scene)
        self._node = core.scene.GetSingletonNode(tag, "vtkMRMLViewNode") or self._logic.AddViewNode(tag)
        self._view.open(core, self._node)
        self._bar.show_node(self._node)
        self.setMRMLScene(core.scene)

    def threeDView(self):
        return self._view

    def threeDController(self):
        return self._bar

    def viewLogic(self):
        return self._logic

    def logic(self):
        return self._logic

    def mrmlViewNode(self):
        return self._node


@implements("qSlicerLayoutManager")
class LayoutManager(QtCore.QObject):
    """Keeps the view widgets and arranges those of the current layout in the viewport."""

    def __init__(self, viewport, core):
        super().__init__(viewport)
        self._viewport, self._core, self._slices, self._threeds, self._paused = viewport, core, {}, {}, 0
        self._box = QtWidgets.QVBoxLayout(viewport)
        self._box.setContentsMargins(0, 0, 0, 0)
        self._arranged = None
        self._node = core.layout_logic.GetLayoutNode()
        self._tag = self._node.AddObserver("ModifiedEvent", lambda *_: self._arrange())
        self.layout = self._node.SlicerLayoutFourUpView
        for tag in ("Red", "Green", "Yellow"):
            self._slice(tag)
        self._threed("1")

    def shut(self):
        """Let every view go of the scene."""
        self._node.RemoveObserver(self._tag)
        for widget in self.viewWidgets():
            widget.viewWidget().shut()
        for widget in self._slices.values():
            widget.sliceController().shut()

    def _slice(self, tag):
        if tag not in self._slices:
            widget = self._slices[tag] = SliceWidget(self._viewport)
            widget.hide()
            widget.open(self._core, tag)
        return self._slices[tag]

    def _threed(self, tag):
        if tag not in self._threeds:
            widget = self._threeds[tag] = ThreeDWidget(self._viewport)
            widget.hide()
            widget.open(self._core, tag)
        return self._threeds[tag]

    def _arrange(self):
        root = self._node.GetLayoutRootElement()
        number = self._node.GetViewArrangement()
        if root is None or number == self._arranged:
            return
        self._arranged = number
        used = set()
        content = self._build(root, used)
        for widget in (*self._slices.values(), *self._threeds.values()):
            if widget not in used:
                widget.setParent(self._viewport)
                widget.hide()
            view_node = widget.mrmlAbstractViewNode()
            view_node.SetMappedInLayout(1 if widget in used else 0)
        while self._box.count():
            self._box.takeAt(0).widget().deleteLater()
        self._box.addWidget(content)
        for widget in used:
            widget.show()
        receivers.emit(self, "layoutChanged(int)", number)

    def _build(self, element, used):
        name = element.GetName()
        if name == "view":
            kind, tag = element.GetAttribute("class"), element.GetAttribute("singletontag")
            if kind not in ("vtkMRMLSliceNode", "vtkMRMLViewNode"):
                raise NotImplementedError(f"the host has no views of {kind}")
            widget = self._slice(tag) if kind == "vtkMRMLSliceNode" else self._threed(tag)
            used.add(widget)
            return widget
        children = [element.GetNestedElement(i) for i in range(element.GetNumberOfNestedElements())]
        if name == "item":
            return self._build(children[0], used)
        frame = QtWidgets.QWidget()
        grid = QtWidgets.QGridLayout(frame)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(2)
        kind = element.GetAttribute("type") or "horizontal"
        if kind == "tab":
            raise NotImplementedError("the host has no tabbed layouts")
        for place, child in enumerate(children):
            row, column = (place, 0) if kind == "vertical" else (0, place)
            row, column = int(child.GetAttribute("row") or row), int(child.GetAttribute("column") or column)
            grid.addWidget(self._build(child, used), row, column)
            grid.setRowStretch(row, 1)
            grid.setColumnStretch(column, 1)
        return frame

    @property
    def layout(self):
        return self._node.GetViewArrangement()

    @layout.setter
    def layout(self, number):
        self._node.SetViewArrangement(number)

    def setLayout(self, number):
        self.layout = number

    @property
    def threeDViewCount(self):
        return len(self._threeds)

    def layoutLogic(self):
        return self._core.layout_logic

    def viewport(self, _name=""):
        return self._viewport

    def mrmlScene(self):
        return self._core.scene

    def mrmlSliceLogics(self):
        return self._core.logic.GetSliceLogics()

    def mrmlViewLogics(self):
        return self._core.logic.GetViewLogics()

    def sliceViewNames(self):
        return [tag for tag, widget in self._slices.items() if widget.mrmlSliceNode().IsMappedInLayout()]

    def sliceWidget(self, tag):
        return self._slices.get(tag)

    def threeDWidget(self, which):
        if isinstance(which, str):
            return next((w for w in self._threeds.values() if w.mrmlViewNode().GetLayoutName() == which), None)
        return list(self._threeds.values())[which] if 0 <= which < len(self._threeds) else None

    def activeMRMLThreeDViewNode(self):
        return next(iter(self._threeds.values())).mrmlViewNode()

    def viewWidget(self, node):
        return next((w for w in self.viewWidgets() if w.mrmlAbstractViewNode() is node), None)

    def viewWidgets(self):
        return [*self._slices.values(), *self._threeds.values()]

    def resetSliceViews(self):
        for widget in self._slices.values():
            widget.sliceLogic().FitSliceToAll()

    def resetThreeDViews(self):
        for widget in self._threeds.values():
            widget.threeDView().resetFocalPoint()
            widget.threeDView().resetCamera()

    def pauseRender(self):
        for widget in self.viewWidgets():
            widget.pauseRender()

    def resumeRender(self):
        for widget in self.viewWidgets():
            widget.resumeRender()

    def setRenderPaused(self, paused):
        self.pauseRender() if paused else self.resumeRender()
