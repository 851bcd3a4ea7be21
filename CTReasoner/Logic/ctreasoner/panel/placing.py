"""Click, box and scribble: from the button to the prompt in the scene, and Esc to give up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from slicer.i18n import tr as _

from ..errors import CTReasonerError
from .case import Case
from .keys import ESCAPE, WindowKeys
from .pen import Pen

POINT, BOX, SCRIBBLE = "point", "box", "scribble"
ASK, ADD, REMOVE = 0, 1, 2          # rows of the box "A point means"


class Placing:
    """Keeps the buttons in step with the place mode of the scene and with the pen.

    Parameters
    ----------
    buttons : {"point": button, "box": button, "scribble": button}, checkable.
    on_placed : called with (case, kind) when something was placed that lies in the CT.
    on_problem : called with the error that says what is wrong with what was placed.
    """

    def __init__(self, buttons: Mapping[str, Any], keys: WindowKeys, on_placed: Callable[[Case, str], None],
                 on_problem: Callable[[CTReasonerError], None]) -> None:
        self._buttons, self._keys, self._on_placed, self._on_problem = dict(buttons), keys, on_placed, on_problem
        self.kind, self._case = "", None
        self._arrived: tuple[Case, str] | None = None
        self._pen = Pen(self._draw, self._drawn)

    def start(self, case: Case, kind: str, *, positive: bool = True, target: str | None = None) -> None:
        """Enter place mode; what was being placed before is given up."""
        self.cancel()
        self.kind, self._case = kind, case
        case.prompts.on_placed = self._placed
        case.prompts.place(kind, positive=positive, target=target)
        if kind == SCRIBBLE:
            self._pen.take_up()
        self._keys.add(ESCAPE, self.cancel)
        self._show()

    def cancel(self) -> None:
        """Leave place mode (Esc, a second click on the button, another module)."""
        case, kind = self._case, self.kind
        self._done()
        if case is not None and kind:
            case.prompts.cancel()

    def step(self) -> None:
        """Take what was placed, and notice a place mode that ended without us: a right click, or the mouse mode toolbar."""
        arrived, self._arrived = self._arrived, None
        if arrived is not None:
            self._take(*arrived)
        elif self.kind and self._case is not None and self._case.prompts.placing is None:
            self._done()

    def _draw(self, point: tuple[float, ...]) -> None:
        self._case.prompts.draw(point)

    def _drawn(self) -> None:
        self._case.prompts.drawn()

    def _placed(self, kind: str) -> None:
        """The scene is in the middle of telling: what the prompt leads to waits for the next tick."""
        case = self._case
        self._done()
        if case is not None:
            self._arrived = (case, kind)

    def _take(self, case: Case, kind: str) -> None:
        try:
            case.prompts.check()
        except CTReasonerError as error:
            case.prompts.clear()
            error.hint = error.hint or _("Click inside the CT.")
            self._on_problem(error)
            return
        self._on_placed(case, kind)

    def _done(self) -> None:
        self.kind, self._case = "", None
        self._pen.put_down()
        self._keys.remove(ESCAPE)
        self._show()

    def _show(self) -> None:
        for kind, button in self._buttons.items():
            if button.checked != (kind == self.kind):
                button.checked = kind == self.kind


def drawn(case: Case | None) -> str:
    """Say what goes with the next question, "" for nothing."""
    if case is None:
        return ""
    try:
        points, boxes, lines = len(case.prompts.clicks()), len(case.prompts.boxes()), len(case.prompts.scribbles())
    except CTReasonerError as error:
        return str(error)
    parts = [_("1 point") if points == 1 else _("{n} points").format(n=points)] if points else []
    parts += [_("a box")] if boxes else []
    parts += [_("a scribble")] if lines else []
    return ", ".join(parts)
