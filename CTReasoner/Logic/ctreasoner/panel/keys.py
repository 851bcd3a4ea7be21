"""Keys that live only while the panel is open, and the keys of the prompt line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer

from .turns import History

CLICK_KEY = "Ctrl+Shift+P"      # Slicer's own Ctrl+Shift keys are A, T and Space (markups toolbar)
ESCAPE = "Esc"


class WindowKeys:
    """Shortcuts of the main window that come and go; one that somebody else holds already is left to them."""

    def __init__(self) -> None:
        self._live: dict[str, Any] = {}

    def add(self, key: str, action: Callable[[], None]) -> bool:
        """Bind a key; False where there is no main window, or the key is taken (two bindings would silence both)."""
        window = slicer.util.mainWindow()
        if window is None or key in self._live or _is_taken(window, key):
            return False
        shortcut = qt.QShortcut(window)
        shortcut.setKey(qt.QKeySequence(key))
        shortcut.connect("activated()", action)
        self._live[key] = shortcut
        return True

    def remove(self, key: str) -> None:
        """Take a binding back."""
        shortcut = self._live.pop(key, None)
        if shortcut is not None:
            shortcut.setEnabled(False)
            shortcut.setParent(None)
            shortcut.deleteLater()

    def clear(self) -> None:
        """Take all back."""
        for key in list(self._live):
            self.remove(key)


def _is_taken(window: Any, key: str) -> bool:
    wanted = qt.QKeySequence(key).toString()
    return any(s.key.toString() == wanted and s.enabled for s in window.findChildren(qt.QShortcut))


class PromptKeys(qt.QObject):
    """Up and Down in the prompt line bring earlier questions back."""

    def __init__(self, line: Any) -> None:
        qt.QObject.__init__(self, line)
        self.line, self.history = line, History()
        line.installEventFilter(self)

    def eventFilter(self, watched: Any, event: Any) -> bool:
        """Take the two keys; everything else goes on to the line."""
        if event.type() != qt.QEvent.KeyPress or event.key() not in (qt.Qt.Key_Up, qt.Qt.Key_Down):
            return False
        step = self.history.older if event.key() == qt.Qt.Key_Up else self.history.newer
        self.line.text = step(self.line.text)
        return True
