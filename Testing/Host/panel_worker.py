"""The worker's double with a plane for its diameter that is one, as the engine's measurements have it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Unit"))

from ctreasoner.events import Event, Measurement
from worker_doubles import Double


class PlaneDouble(Double):
    def answer(self, request, workspace=None) -> Iterator[Event]:
        for event in super().answer(request, workspace=workspace):
            if isinstance(event, Measurement) and event.geometry:
                plane = {"origin": event.geometry["ends_ras"][0], "normal": [0.0, 0.0, 1.0]}
                event = replace(event, geometry={**event.geometry, "plane": plane})
            yield event
