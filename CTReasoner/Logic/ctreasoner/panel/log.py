"""The log behind its disclosure: what the panel did and what the engine wrote, with nothing that names a patient."""

from __future__ import annotations

import collections
import time
from typing import Any

import qt

from ..events import Event

LINES = 400
REFRESH_S = 1.0
KINDS = {           # code begins with -> what is told of it here
    "CTR-SCN": "the CT cannot be used as it is", "CTR-GEO": "a place or a size that does not fit the CT",
    "CTR-IO": "the CT cannot be read", "CTR-USE": "the request lacks something", "CTR-ASK": "the question cannot be answered",
    "CTR-WRK": "the engine's process", "CTR-RES": "disk or memory", "CTR-MOD": "the model", "CTR-INS": "the installation",
    "CTR-NET": "the network", "CTR-REC": "a recording", "CTR-EVT": "a file of the answer"}


class Log:
    """Collects lines; the widget is filled only while it is open."""

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._lines: collections.deque[str] = collections.deque(maxlen=LINES)
        self._shown, self._next, self._engine_log = "", 0.0, ""
        ui.copyLogButton.connect("clicked()", self.copy)

    def add(self, line: str) -> None:
        """Add a line with the time."""
        if line:
            self._lines.append(f"{time.strftime('%H:%M:%S')} {line}")

    def add_problem(self, part: str, code: str) -> None:
        """Add the code of what went wrong with what its kind is; the sentence that a person reads may name a patient."""
        kind = next((words for start, words in KINDS.items() if code.startswith(start)), "see docs/troubleshooting.md")
        self.add(f"{part}: {code or 'no code'} ({kind})")

    def add_event(self, event: Event) -> None:
        """Add an event's name and the ids in it; its words may name a patient and stay out."""
        named = {k: getattr(event, k, None) for k in ("object", "state", "stage", "step", "code")}
        parts = [f"{k}={v}" for k, v in named.items() if v not in (None, "")]
        self.add(f"{event.answer} {event.seq} {event.t:.2f}s {event.type} {' '.join(parts)}".rstrip())

    def step(self, engine: Any) -> None:
        """Show what is new, about once a second, while the section is open."""
        now = time.monotonic()
        if now < self._next or self._ui.logSection.collapsed:
            return
        self._next = now + REFRESH_S
        self._engine_log = engine.log if engine is not None else self._engine_log
        text = self.text()
        if text != self._shown:
            self._shown = text
            self._ui.logTextEdit.setPlainText(text)
            bar = self._ui.logTextEdit.verticalScrollBar()
            bar.value = bar.maximum

    def text(self) -> str:
        """The whole log."""
        engine = f"\n--- engine\n{self._engine_log}" if self._engine_log else ""
        return "\n".join(self._lines) + engine

    def copy(self) -> None:
        """Copy the log to the clipboard."""
        qt.QApplication.clipboard().setText(self.text())
