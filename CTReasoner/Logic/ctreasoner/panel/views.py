"""What a person does in the views: the first wheel or drag is noticed, so that nothing moves under their hands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

TOUCHES = ("MouseWheelForwardEvent", "MouseWheelBackwardEvent", "LeftButtonPressEvent",
           "MiddleButtonPressEvent", "RightButtonPressEvent")
FIRST = 10.0        # before the views' own widgets: they end an event that they use


class ViewWatch:
    """Calls `on_user()` at wheel and mouse buttons in any view, except where a prompt is being placed."""

    def __init__(self, on_user: Callable[[], None]) -> None:
        self._on_user, self._layout = on_user, None
        self._placed: list[tuple[Any, int]] = []

    def attach(self) -> None:
        """Watch all views of the present layout; without a main window there are none."""
        self.detach()
        layout = slicer.app.layoutManager()
        if layout is None:
            return
        self._layout = layout
        layout.connect("layoutChanged(int)", self._again)
        for interactor in _interactors(layout):
            self._placed += [(interactor, interactor.AddObserver(event, self._touched, FIRST)) for event in TOUCHES]

    def detach(self) -> None:
        """Stop watching."""
        for interactor, tag in self._placed:
            interactor.RemoveObserver(tag)
        self._placed.clear()
        if self._layout is not None:
            self._layout.disconnect("layoutChanged(int)", self._again)
            self._layout = None

    def _again(self, _layout: int) -> None:
        self.attach()

    def _touched(self, _interactor: Any, _event: str) -> None:
        node = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
        if node is None or node.GetCurrentInteractionMode() != node.Place:
            self._on_user()


def _interactors(layout: Any) -> list[Any]:
    found = []
    for name in layout.sliceViewNames():
        widget = layout.sliceWidget(name)
        if widget is not None:
            found.append(widget.sliceView().interactor())
    for number in range(layout.threeDViewCount):
        found.append(layout.threeDWidget(number).threeDView().interactor())
    return [i for i in found if i is not None]
