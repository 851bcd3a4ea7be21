"""A user's hands: real Qt mouse and key events sent to widgets and views."""

from __future__ import annotations

import vtk
from PyQt5 import QtCore, QtGui, QtTest, QtWidgets

from .wrapping import Wrapper

NO, SHIFT, CTRL = QtCore.Qt.NoModifier, QtCore.Qt.ShiftModifier, QtCore.Qt.ControlModifier
LEFT, RIGHT, MIDDLE = QtCore.Qt.LeftButton, QtCore.Qt.RightButton, QtCore.Qt.MiddleButton


def _widget(thing) -> QtWidgets.QWidget:
    return thing._host_object if isinstance(thing, Wrapper) else thing


def point_of(view, ras) -> QtCore.QPoint:
    """Where a world position (RAS, mm) is drawn in a slice or 3D view."""
    view = _widget(view)
    node = getattr(view, "_node", None)
    if node is not None and node.IsA("vtkMRMLSliceNode"):
        x, y, _ = view.convertRASToXYZ(list(ras))
    else:
        renderer = view._renderer
        renderer.SetWorldPoint(*ras, 1.0)
        renderer.WorldToDisplay()
        x, y, _ = renderer.GetDisplayPoint()
    return QtCore.QPoint(round(x), view.height() - 1 - round(y))


def _place(widget, at) -> QtCore.QPoint:
    if at is None:
        return widget.rect().center()
    if len(at) == 3:
        return point_of(widget, at)
    return QtCore.QPoint(int(at[0]), int(at[1]))


def move(thing, at=None, modifier=NO):
    """Move the mouse; ``at``: pixel (x, y) or, in a view, RAS (r, a, s); default the middle."""
    widget = _widget(thing)
    place = _place(widget, at)
    event = QtGui.QMouseEvent(
        QtCore.QEvent.MouseMove,
        QtCore.QPointF(place),
        QtCore.QPointF(widget.mapToGlobal(place)),
        QtCore.Qt.NoButton,
        QtCore.Qt.NoButton,
        modifier,
    )
    QtWidgets.QApplication.sendEvent(widget, event)


def click(thing, at=None, button=LEFT, modifier=NO):
    """Move there and click."""
    widget = _widget(thing)
    move(widget, at, modifier)
    QtTest.QTest.mouseClick(widget, button, modifier, _place(widget, at))


def drag(thing, start, end, button=LEFT, modifier=NO, steps: int = 5):
    """Press, move in steps, release."""
    widget = _widget(thing)
    first, last = _place(widget, start), _place(widget, end)
    move(widget, start, modifier)
    QtTest.QTest.mousePress(widget, button, modifier, first)
    for step in range(1, steps + 1):
        place = first + (last - first) * step / steps
        event = QtGui.QMouseEvent(
            QtCore.QEvent.MouseMove,
            QtCore.QPointF(place),
            QtCore.QPointF(widget.mapToGlobal(place)),
            QtCore.Qt.NoButton,
            button,
            modifier,
        )
        QtWidgets.QApplication.sendEvent(widget, event)
    QtTest.QTest.mouseRelease(widget, button, modifier, last)


def wheel(thing, notches: int = 1, at=None, modifier=NO):
    """Turn the wheel, positive away from the user."""
    widget = _widget(thing)
    place = _place(widget, at)
    event = QtGui.QWheelEvent(
        QtCore.QPointF(place),
        QtCore.QPointF(widget.mapToGlobal(place)),
        QtCore.QPoint(),
        QtCore.QPoint(0, 120 * notches),
        QtCore.Qt.NoButton,
        modifier,
        QtCore.Qt.NoScrollPhase,
        False,
    )
    QtWidgets.QApplication.sendEvent(widget, event)


def key(thing, which, modifier=NO):
    """Press a key: a Qt key code, a letter, or a sequence such as ``"Ctrl+Z"``."""
    widget = _widget(thing)
    if isinstance(which, str) and len(which) > 1:
        QtTest.QTest.keySequence(widget, QtGui.QKeySequence(which))
    else:
        QtTest.QTest.keyClick(widget, which, modifier)


def text(thing, words: str):
    """Type words into a widget; characters outside ASCII come as an input method commits them."""
    widget = _widget(thing)
    for letter in words:
        if letter.isascii():
            QtTest.QTest.keyClick(widget, letter)
        else:
            event = QtGui.QInputMethodEvent()
            event.setCommitString(letter)
            QtWidgets.QApplication.sendEvent(widget, event)


__all__ = ["CTRL", "LEFT", "MIDDLE", "NO", "RIGHT", "SHIFT", "click", "drag", "key", "move", "point_of", "text", "vtk", "wheel"]
