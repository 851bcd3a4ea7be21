"""Slice and 3D views: real displayable managers in an offscreen render window, blitted into a widget that takes real Qt events.

The same on xcb and on Qt's offscreen platform. Renders are collected: a request starts a timer of zero milliseconds.
"""

from __future__ import annotations

import time

import numpy as np
import slicer
import vtk
from PyQt5 import QtCore, QtGui, QtWidgets
from vtk.util import numpy_support

from . import receivers
from .indexclasses import implements

KEYS = {
    QtCore.Qt.Key_Escape: "Escape",
    QtCore.Qt.Key_Delete: "Delete",
    QtCore.Qt.Key_Backspace: "BackSpace",
    QtCore.Qt.Key_Left: "Left",
    QtCore.Qt.Key_Right: "Right",
    QtCore.Qt.Key_Up: "Up",
    QtCore.Qt.Key_Down: "Down",
    QtCore.Qt.Key_Return: "Return",
    QtCore.Qt.Key_Space: "space",
    QtCore.Qt.Key_Home: "Home",
    QtCore.Qt.Key_End: "End",
    QtCore.Qt.Key_PageUp: "Prior",
    QtCore.Qt.Key_PageDown: "Next",
    QtCore.Qt.Key_Shift: "Shift_L",
    QtCore.Qt.Key_Control: "Control_L",
    QtCore.Qt.Key_Tab: "Tab",
    QtCore.Qt.Key_Plus: "plus",
    QtCore.Qt.Key_Minus: "minus",
    QtCore.Qt.Key_BracketLeft: "bracketleft",
    QtCore.Qt.Key_BracketRight: "bracketright",
    QtCore.Qt.Key_BraceLeft: "braceleft",
    QtCore.Qt.Key_BraceRight: "braceright",
}
BUTTONS = {QtCore.Qt.LeftButton: "Left", QtCore.Qt.RightButton: "Right", QtCore.Qt.MiddleButton: "Middle"}
CURSORS = {
    vtk.VTK_CURSOR_DEFAULT: QtCore.Qt.ArrowCursor,
    vtk.VTK_CURSOR_ARROW: QtCore.Qt.ArrowCursor,
    vtk.VTK_CURSOR_HAND: QtCore.Qt.PointingHandCursor,
    vtk.VTK_CURSOR_CROSSHAIR: QtCore.Qt.CrossCursor,
    vtk.VTK_CURSOR_SIZEALL: QtCore.Qt.SizeAllCursor,
}


@implements("ctkVTKAbstractView")
class AbstractView(QtWidgets.QWidget):
    """What both kinds of view share."""

    render_seconds = 0.0  # inside Render() and the host's reading back, all views together
    render_count = 0

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setMinimumSize(60, 60)
        self.setMouseTracking(True)
        self.setFocusPolicy(QtCore.Qt.StrongFocus)
        self._frame, self._paused, self._wanted, self._group, self._style = None, 0, False, None, None
        self._timer = QtCore.QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self._render)
        self._renderer, self._window = vtk.vtkRenderer(), vtk.vtkRenderWindow()
        self._interactor = vtk.vtkGenericRenderWindowInteractor()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.AddRenderer(self._renderer)
        self._interactor.SetRenderWindow(self._window)
        self._window.AddObserver(
            "CursorChangedEvent", lambda *_: self.setCursor(CURSORS.get(self._window.GetCurrentCursor(), QtCore.Qt.ArrowCursor))
        )

    # what Python may call
    def interactor(self):
        return self._interactor

    def renderWindow(self):
        return self._window

    def interactorStyle(self):
        return self._style

    def scheduleRender(self):
        self._wanted = True
        if not self._paused and not self._timer.isActive():
            self._timer.start()

    def forceRender(self):
        self._timer.stop()
        self._render()

    def pauseRender(self):
        self._paused += 1
        return self._paused

    def resumeRender(self):
        self._paused = max(0, self._paused - 1)
        if not self._paused and self._wanted:
            self.scheduleRender()
        return self._paused

    def setRenderPaused(self, paused):
        return self.pauseRender() if paused else self.resumeRender()

    def shut(self):
        """Let go of the scene before the widget goes."""
        self._timer.stop()
        self._paused += 1
        if self._group is not None:
            self._group.RemoveAllObservers()
            self._group.SetMRMLDisplayableNode(None)
        if self._style is not None:
            self._style.SetInteractor(None)
        self._window.RemoveAllObservers()
        self._window.Finalize()
        self._group = None

    # rendering
    def _before_render(self):
        """Hook of the slice view."""

    def _render(self):
        self._wanted = False
        if self.width() < 2 or self.height() < 2 or self._group is None:
            return
        self._before_render()
        start = time.perf_counter()
        self._window.Render()
        AbstractView.render_count += 1
        width, height = self._window.GetSize()
        pixels = vtk.vtkUnsignedCharArray()
        self._window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
        self._frame = np.ascontiguousarray(numpy_support.vtk_to_numpy(pixels).reshape(height, width, 3)[::-1])
        AbstractView.render_seconds += time.perf_counter() - start
        self.update()

    def paintEvent(self, _event):
        painter = QtGui.QPainter(self)
        if self._frame is None:
            painter.fillRect(self.rect(), QtCore.Qt.black)
            return
        height, width, _ = self._frame.shape
        painter.drawImage(0, 0, QtGui.QImage(self._frame.data, width, height, 3 * width, QtGui.QImage.Format_RGB888))

    def resizeEvent(self, _event):
        self._window.SetSize(self.width(), self.height())
        self._interactor.UpdateSize(self.width(), self.height())
        self._interactor.ConfigureEvent()
        self.scheduleRender()

    # events of Qt -> events of VTK
    def _send(self, event, name, repeat=0, key=None):
        modifiers = event.modifiers()
        place = event.pos() if hasattr(event, "pos") else self.mapFromGlobal(QtGui.QCursor.pos())
        self._interactor.SetEventInformation(
            place.x(),
            self.height() - 1 - place.y(),
            int(bool(modifiers & QtCore.Qt.ControlModifier)),
            int(bool(modifiers & QtCore.Qt.ShiftModifier)),
            "\0",
            repeat,
            key,
        )
        self._interactor.SetAltKey(int(bool(modifiers & QtCore.Qt.AltModifier)))
        self._interactor.InvokeEvent(name)

    def mousePressEvent(self, event):
        self._send(event, BUTTONS.get(event.button(), "Middle") + "ButtonPressEvent")

    def mouseReleaseEvent(self, event):
        self._send(event, BUTTONS.get(event.button(), "Middle") + "ButtonReleaseEvent")

    def mouseDoubleClickEvent(self, event):
        self._send(event, BUTTONS.get(event.button(), "Middle") + "ButtonDoubleClickEvent")

    def mouseMoveEvent(self, event):
        self._send(event, "MouseMoveEvent")

    def wheelEvent(self, event):
        self._send(event, "MouseWheelForwardEvent" if event.angleDelta().y() > 0 else "MouseWheelBackwardEvent")

    def enterEvent(self, _event):
        self._interactor.InvokeEvent("EnterEvent")

    def leaveEvent(self, _event):
        self._interactor.InvokeEvent("LeaveEvent")

    def keyPressEvent(self, event):
        self._key(event, "KeyPressEvent")
        if event.text():
            self._interactor.InvokeEvent("CharEvent")

    def keyReleaseEvent(self, event):
        self._key(event, "KeyReleaseEvent")

    def _key(self, event, name):
        modifiers = event.modifiers()
        symbol = KEYS.get(event.key(), event.text() or "")
        letter = event.text()[:1] if event.text()[:1].isascii() else ""
        self._interactor.SetKeyEventInformation(
            int(bool(modifiers & QtCore.Qt.ControlModifier)),
            int(bool(modifiers & QtCore.Qt.ShiftModifier)),
            letter or "\0",
            int(event.isAutoRepeat()),
            symbol,
        )
        self._interactor.InvokeEvent(name)


class Managed:
    """Displayable managers by class, for the MRML views."""

    def getDisplayableManagers(self, collection):
        for place in range(self._group.GetDisplayableManagerCount()):
            collection.AddItem(self._group.GetNthDisplayableManager(place))

    def displayableManagerByClassName(self, name):
        return self._group.GetDisplayableManagerByClassName(name)

    def interactorObserver(self):
        return self._style


@implements("ctkVTKSliceView")
class VTKSliceView(AbstractView):
    """Level of inheritance of the index."""


@implements("qMRMLSliceView")
class SliceView(Managed, VTKSliceView):
    """A slice view; the image is drawn as CTK's light box manager draws it."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node, self._slice_logic = None, None

    def open(self, core, logic, node):
        """Start the displayable managers for a slice node."""
        self._slice_logic, self._node = logic, node
        overlay = vtk.vtkRenderer()
        overlay.SetLayer(1)
        self._window.SetNumberOfLayers(2)
        self._window.AddRenderer(overlay)
        for renderer in (self._renderer, overlay):
            renderer.GetActiveCamera().ParallelProjectionOn()
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(core.slice_factory, self._renderer)
        self._mapper, self._actor = vtk.vtkImageMapper(), vtk.vtkActor2D()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._logic_tag = logic.AddObserver("ModifiedEvent", lambda *_: self.scheduleRender())
        self._style = slicer.vtkMRMLSliceViewInteractorStyle()
        self._style.SetSliceLogic(logic)
        self._style.SetDisplayableManagers(self._group)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyleUser())
        self._style.SetInteractor(self._interactor)
        self._interactor.Initialize()
        self._group.SetMRMLDisplayableNode(node)
        self._group.AddObserver("UpdateEvent", lambda *_: self.scheduleRender())

    def shut(self):
        self._slice_logic.RemoveObserver(self._logic_tag)
        super().shut()

    def _before_render(self):
        port = self._slice_logic.GetImageDataConnection()
        self._mapper.SetInputConnection(port)
        self._actor.SetVisibility(port is not None)
        if not self._renderer.HasViewProp(self._actor):
            self._renderer.AddViewProp(self._actor)

    def resizeEvent(self, event):
        super().resizeEvent(event)
        if self._slice_logic is not None:
            self._slice_logic.ResizeSliceNode(self.width(), self.height())
        receivers.emit(self, "resized(QSize)", self.size())

    def mrmlSliceNode(self):
        return self._node

    def sliceViewInteractorStyle(self):
        return self._style

    def convertDeviceToXYZ(self, place):
        return [float(place[0]), float(place[1]), 0.0]      # of the interactor: from the lower left corner

    def convertXYZToRAS(self, xyz):
        return list(self._node.GetXYToRAS().MultiplyPoint([*xyz, 1.0])[:3])

    def convertRASToXYZ(self, ras):
        inverse = vtk.vtkMatrix4x4()
        vtk.vtkMatrix4x4.Invert(self._node.GetXYToRAS(), inverse)
        return list(inverse.MultiplyPoint([*ras, 1.0])[:3])


@implements("ctkVTKRenderView")
class VTKRenderView(AbstractView):
    """Level of inheritance of the index."""

    def zoomIn(self):
        self._renderer.GetActiveCamera().Dolly(1.2)
        self.scheduleRender()

    def zoomOut(self):
        self._renderer.GetActiveCamera().Dolly(1 / 1.2)
        self.scheduleRender()

    def setFocalPoint(self, x, y, z):
        self._renderer.GetActiveCamera().SetFocalPoint(x, y, z)
        self.scheduleRender()


@implements("qMRMLThreeDView")
class ThreeDView(Managed, VTKRenderView):
    """A 3D view."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None

    def open(self, core, node):
        """Start the displayable managers for a view node."""
        self._node = node
        self._renderer.SetUseDepthPeeling(1)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(core.threed_factory, self._renderer)
        self._style = slicer.vtkMRMLThreeDViewInteractorStyle()
        self._style.SetDisplayableManagers(self._group)
        self._interactor.SetInteractorStyle(vtk.vtkInteractorStyle3D())
        self._style.SetInteractor(self._interactor)
        self._interactor.Initialize()
        self._group.SetMRMLDisplayableNode(node)
        self._group.AddObserver("UpdateEvent", lambda *_: self.scheduleRender())

    def mrmlViewNode(self):
        return self._node

    def cameraNode(self):
        scene = self._node.GetScene()
        nodes = scene.GetNodesByClass("vtkMRMLCameraNode")
        nodes.UnRegister(None)
        cameras = [nodes.GetItemAsObject(i) for i in range(nodes.GetNumberOfItems())]
        return next((c for c in cameras if c.GetLayoutName() == self._node.GetLayoutName()), None)

    def resetCamera(self, reset_rotation=True, reset_translation=True, reset_distance=True):
        self.cameraNode().Reset(reset_rotation, reset_translation, reset_distance, self._renderer)

    def resetFocalPoint(self):
        """Look at the middle of what is visible; box, axis labels and crosshair do not count."""
        node, crosshair = self._node, self._node.GetScene().GetFirstNodeByClass("vtkMRMLCrosshairNode")
        shown = node.GetBoxVisible(), node.GetAxisLabelsVisible(), crosshair.GetCrosshairMode()
        changing = node.StartModify()
        node.SetBoxVisible(0)
        node.SetAxisLabelsVisible(0)
        node.EndModify(changing)
        crosshair.SetCrosshairMode(0)
        bounds = [0.0] * 6
        self._renderer.ComputeVisiblePropBounds(bounds)
        if vtk.vtkMath.AreBoundsInitialized(bounds):
            self._renderer.GetActiveCamera().SetFocalPoint(*[(bounds[2 * i] + bounds[2 * i + 1]) / 2 for i in range(3)])
        node.SetBoxVisible(shown[0])
        node.SetAxisLabelsVisible(shown[1])
        node.InvokeEvent(node.ResetFocalPointRequestedEvent)
        crosshair.SetCrosshairMode(shown[2])
        self._renderer.ResetCameraClippingRange()
        self.scheduleRender()

    def rotateToViewAxis(self, axis):
        if isinstance(axis, str):
            labels = [self._node.GetAxisLabel(i) for i in range(self._node.AxisLabelsCount)]
            if axis not in labels:
                raise ValueError(f"rotateToViewAxis: {axis!r} is none of {labels}")
            axis = labels.index(axis)
        camera = self.cameraNode()
        camera.RotateTo((camera.Left, camera.Right, camera.Posterior, camera.Anterior, camera.Inferior, camera.Superior)[axis])
