"""A line that is drawn in a slice view while the left button is held down. Slicer's own markups are placed click by click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

PRESS, MOVE, RELEASE = "LeftButtonPressEvent", "MouseMoveEvent", "LeftButtonReleaseEvent"
FIRST = 20.0        # before the views' own widgets, and before `ViewWatch`: drawing is not taking the views


class Pen:
    """Takes the left button of all slice views, from `take_up` to `put_down`; wheel, other buttons and Shift or Ctrl stay theirs.

    Parameters
    ----------
    on_point : called with a place, world RAS mm, for each place of the mouse while the button is down.
    on_release : called when it goes up.
    """

    def __init__(self, on_point: Callable[[tuple[float, ...]], None], on_release: Callable[[], None]) -> None:
        self._on_point, self._on_release = on_point, on_release
        self._placed: list[tuple[Any, int]] = []
        self._drawing: Any = None           # slice node of the view in which the button is down

    def take_up(self) -> None:
        """Draw from now on; without a main window there are no views to draw in."""
        self.put_down()
        layout = slicer.app.layoutManager()
        for name in layout.sliceViewNames() if layout is not None else ():
            widget = layout.sliceWidget(name)
            self._watch(widget.sliceView().interactor(), widget.mrmlSliceNode())

    def put_down(self) -> None:
        """Give the button back."""
        for interactor, tag in self._placed:
            interactor.RemoveObserver(tag)
        self._placed.clear()
        self._drawing = None

    def _watch(self, interactor: Any, node: Any) -> None:
        tags: dict[str, int] = {}

        def came(_caller: Any, event: str) -> None:
            command = interactor.GetCommand(tags[event])        # gone when the last stroke puts the pen down
            if self._takes(event, interactor, node):
                command.SetAbortFlag(1)                         # not for the view as well

        for event in (PRESS, MOVE, RELEASE):
            tags[event] = interactor.AddObserver(event, came, FIRST)
            self._placed.append((interactor, tags[event]))

    def _takes(self, event: str, interactor: Any, node: Any) -> bool:
        if event == PRESS and not (interactor.GetShiftKey() or interactor.GetControlKey()):
            self._drawing = node
        if self._drawing is not node:
            return False
        if event == RELEASE:
            self._drawing = None
            self._on_release()
        else:
            x, y = interactor.GetEventPosition()
            self._on_point(node.GetXYToRAS().MultiplyPoint((x, y, 0.0, 1.0))[:3])
        return True
