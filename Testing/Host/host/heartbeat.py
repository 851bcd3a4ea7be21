"""How long the main thread was blocked: a timer that should tick every 5 ms, and what RenderWindow.Render() took of each gap."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field

from PyQt5 import QtCore

from .views import AbstractView


@dataclass
class Heartbeat:
    """``with Heartbeat() as beat: ...``, then ``beat.blocked_ms`` and ``beat.blocked_without_render_ms``, one number for each tick.

    Reading the picture back from the render window is work of the host alone (Slicer's views show it directly);
    it is part of ``blocked_ms`` and left out with the rendering.
    """

    interval_ms: int = 5
    blocked_ms: list[float] = field(default_factory=list)
    blocked_without_render_ms: list[float] = field(default_factory=list)

    def __enter__(self):
        self._timer = QtCore.QTimer()
        self._timer.setTimerType(QtCore.Qt.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._last, self._rendered = time.perf_counter(), AbstractView.render_seconds
        self._timer.start(self.interval_ms)
        return self

    def __exit__(self, *_):
        self._timer.stop()

    def _tick(self):
        now, rendered = time.perf_counter(), AbstractView.render_seconds
        gap = max(0.0, 1000 * (now - self._last) - self.interval_ms)
        self.blocked_ms.append(gap)
        self.blocked_without_render_ms.append(max(0.0, gap - 1000 * (rendered - self._rendered)))
        self._last, self._rendered = now, rendered

    def summary(self) -> dict[str, float]:
        """Median and worst of both, in milliseconds."""
        pairs = (("blocked", self.blocked_ms), ("without_render", self.blocked_without_render_ms))
        return {
            f"{name}_{what}_ms": round(value, 1)
            for name, numbers in pairs
            if numbers
            for what, value in (("median", statistics.median(numbers)), ("worst", max(numbers)))
        }
