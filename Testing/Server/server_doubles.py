"""The worker's double with one more word: "hold" waits, and goes on once the file `gate` lies in the answers' folder; and one
whose mask depends on where is pointed."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from ctreasoner.events import Event, Mask, Request

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Unit"))  # the worker's process knows the package alone
from worker_doubles import LONGEST_S, Double


class Patient(Double):
    def _trouble(self, text: str, event: Event, workspace: Path) -> Iterator[Event]:
        until = time.monotonic() + LONGEST_S
        while "hold" in text and time.monotonic() < until and not (workspace / "gate").exists():
            time.sleep(0.01)
        yield from super()._trouble(text, event, workspace)


class Pointed(Patient):
    """Its mask of what is pointed at: in every box and within 8.7 mm of a positive click, not within 4.6 mm of a negative one."""

    def answer(self, request: Request, workspace: Path | None = None) -> Iterator[Event]:
        for event in super().answer(request, workspace=workspace):
            if isinstance(event, Mask) and request.clicks:
                mask = np.load(workspace / event.path) & self._near(request, event)
                np.save(workspace / event.path, mask)
                event = replace(event, voxels=int(mask.sum()))
            yield event

    def _near(self, request: Request, event: Mask) -> np.ndarray:
        places = np.stack(np.indices(event.shape), axis=-1).reshape(-1, 3) + event.first_voxel
        world = self.volumes[request.volume].index_to_world(places)
        near = np.zeros(len(world), bool)
        for click in request.clicks:
            distance = np.linalg.norm(world - click.point_ras, axis=1)
            near = near | (distance <= 8.7) if click.positive else near & (distance > 4.6)
        for box in request.boxes:
            near &= (np.abs(world - box.centre_ras) <= np.array(box.size_mm) / 2 + 1e-6).all(axis=1)
        return near.reshape(event.shape)
