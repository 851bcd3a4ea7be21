"""The worker's double with one more word: "hold" waits, and goes on once the file `gate` lies in the answers' folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ctreasoner.events import Event

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Unit"))  # the worker's process knows the package alone
from worker_doubles import LONGEST_S, Double


class Patient(Double):
    def _trouble(self, text: str, event: Event, workspace: Path) -> Iterator[Event]:
        until = time.monotonic() + LONGEST_S
        while "hold" in text and time.monotonic() < until and not (workspace / "gate").exists():
            time.sleep(0.01)
        yield from super()._trouble(text, event, workspace)
