"""What moves by itself: views that follow, segments that flash, looks of a past answer, surfaces that are made at leisure."""

from __future__ import annotations

import time
from typing import Any

from ..scene import Replay
from .case import Case
from .turns import look_of

FLASHES, FLASH_S = 3, 0.22
SURFACE_PAUSE_S = 0.3


class Showing:
    """Runs on the controller's tick."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._case: Case | None = None
        self._flash: tuple[Case, str, float] | None = None
        self._is_lit = False
        self._replay: Replay | None = None
        self._replayed = ""
        self._next_surface, self._wants_surfaces = 0.0, False

    def show_case(self, case: Case | None) -> None:
        """Look after the views of this CT."""
        self._end_flash()
        self._close_replay()
        self._case = case
        self._wants_surfaces = case is not None

    def refresh(self) -> None:
        """Set the slider for the newest answer that has looks."""
        turn = self._newest()
        count = len(turn.looks) if turn is not None and turn.state == "done" else 0
        slider, label = self._ui.looksSlider, self._ui.looksLabel
        slider.visible = label.visible = count > 1
        if turn is not None and turn.answer != self._replayed:
            self._close_replay()
        if slider.maximum != max(0, count - 1):
            blocked = slider.blockSignals(True)
            slider.maximum = max(0, count - 1)
            slider.value = slider.maximum
            slider.blockSignals(blocked)
        self._wants_surfaces = self._case is not None

    def step(self, now: float, *, idle: bool) -> None:
        """One tick."""
        case = self._case
        if case is not None:
            case.follower.step(now)
        self._step_flash(now)
        if idle and self._wants_surfaces and case is not None and now >= self._next_surface:
            self._wants_surfaces = case.writer.build_3d_step()
            self._next_surface = now + SURFACE_PAUSE_S

    # ------------------------------------------------------------ flash
    def flash(self, case: Case, key: str) -> None:
        """Let a segment flash a few times."""
        self._end_flash()
        self._flash = (case, key, time.monotonic())

    def _step_flash(self, now: float) -> None:
        if self._flash is None:
            return
        case, key, began = self._flash
        phase = int((now - began) / FLASH_S)
        if phase >= 2 * FLASHES:
            self._end_flash()
        elif self._is_lit != (phase % 2 == 0):
            self._is_lit = not self._is_lit
            case.writer.highlight(key, self._is_lit)

    def _end_flash(self) -> None:
        if self._flash is not None and self._is_lit:
            self._flash[0].writer.highlight(self._flash[1], False)
        self._flash, self._is_lit = None, False

    # ------------------------------------------------------------ looks of a past answer
    def show_look(self, ref: str) -> None:
        """Move to a look by its link "answer/number"."""
        case = self._case
        look = look_of(case.conversation, ref) if case is not None else None
        if look is None:
            return
        answer, _, number = ref.rpartition("/")
        if not self._open_replay(answer):
            self._move_to(look)
            return
        if int(number) < len(self._replay):
            self._replay.show(int(number))

    def slide(self, index: int) -> None:
        """Move to a look of the newest answer: the slider."""
        turn = self._newest()
        if turn is None:
            return
        if self._open_replay(turn.answer) and index < len(self._replay):
            self._replay.show(index)
            self._ui.looksLabel.text = self._replay.label(index)

    def _move_to(self, look: Any) -> None:
        self._case.follower.focus(look.view.centre_ras, look.view.size_mm, look.view.axes, look.window)

    def _open_replay(self, answer: str) -> bool:
        if self._replay is not None and self._replayed == answer:
            return True
        self._close_replay()
        saved = self._case.transcript.turn(answer) if self._case is not None else None
        if saved is None:
            return False
        self._replay, self._replayed = Replay(saved, self._case.follower, self._case.writer), answer
        return True

    def _close_replay(self) -> None:
        if self._replay is not None:
            self._replay.close()
        self._replay, self._replayed = None, ""

    def _newest(self) -> Any:
        turns = self._case.conversation.turns if self._case is not None else []
        return next((t for t in reversed(turns) if t.looks and not t.is_open), None)
