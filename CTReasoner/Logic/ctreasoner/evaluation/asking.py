"""Asks the engine typed questions and keeps what its events say: evaluation has no other way into the model."""
from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np

from ctreasoner import looking
from ctreasoner.engine import Engine
from ctreasoner.evaluation.scores import EMPTY, Placed
from ctreasoner.events import Box, Event, Existence, Failed, Intent, Look, Mask, Options, Request, Warning_
from ctreasoner.geometry import Volume

_CONVERSATIONS = itertools.count(1)


@dataclass
class Found:
    """What an answer said about one object: the last box of the heads [3, 2] in RAS mm, and the mask on the CT's grid."""
    id: str
    key: str
    asked: str = ""
    state: str = ""
    probability: float | None = None          # of the state
    present: float | None = None              # that it is there, whatever the state
    head_box: np.ndarray | None = None
    mask: Placed = EMPTY
    looks: int = 0


@dataclass
class Outcome:
    routes: tuple[str, ...] = ()
    objects: list[Found] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    failed: str = ""
    seconds: float = 0.0

    def of(self, key: str) -> Found | None:
        return next((o for o in self.objects if o.key == key), None)

    @property
    def masks(self) -> int:
        """Objects that got a mask with at least one voxel."""
        return sum(o.mask.voxels > 0 for o in self.objects)


def ask(engine: Engine, volume: Volume, text: str = "", *, until: Callable[[Event], bool] | None = None,
        conversation: str | None = None, words: bool = False, **request) -> Outcome:
    """One question about a volume. `until` ends the reading after the first event that it is true for."""
    talk = conversation or f"evaluation {next(_CONVERSATIONS)}"
    asked = Request(volume=engine.register(volume), text=text, conversation=talk, options=Options(want_text=words), **request)
    outcome, by_id, start = Outcome(), {}, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="ctreasoner-eval-") as folder, _beliefs() as believed:
        events = engine.answer(asked, workspace=folder)
        for event in events:
            outcome.events.append(event)
            _take(event, outcome, by_id, Path(folder))
            if isinstance(event, Existence) and event.probability is not None and believed:
                by_id[event.object].present = round(believed.pop(0), 4)
            if until is not None and until(event):
                events.close()
                break
    outcome.seconds = time.perf_counter() - start
    return outcome


def final_mask(event: Event) -> bool:
    """The last mask of the first object: what comes after it (measuring, words) is not needed for an overlap."""
    return isinstance(event, Mask) and event.stage != "coarse"


def first_existence(event: Event) -> bool:
    return isinstance(event, Existence)


def not_present(event: Event) -> bool:
    return (isinstance(event, Existence) and event.state != "present") or final_mask(event)


def _take(event: Event, outcome: Outcome, by_id: dict[str, Found], folder: Path) -> None:
    if isinstance(event, Intent):
        outcome.routes = tuple(event.routes)
        for o in event.objects:
            by_id[o["id"]] = Found(o["id"], o["name"], o.get("asked", ""))
        outcome.objects = list(by_id.values())
    elif isinstance(event, Warning_):
        outcome.warnings.append(event.code)
    elif isinstance(event, Failed):
        outcome.failed = f"{event.code} {event.sentence}"
    elif getattr(event, "object", None) is not None:
        if event.object not in by_id:                  # a correction: no plan names its object
            by_id[event.object] = Found(event.object, "")
            outcome.objects = list(by_id.values())
        found = by_id[event.object]
        if isinstance(event, Existence):
            found.state, found.probability = event.state, event.probability
        elif isinstance(event, Look):
            found.looks += 1
        elif isinstance(event, Box):
            centre, half = np.array(event.centre_ras), np.array(event.size_mm) / 2
            found.head_box = np.stack([centre - half, centre + half], 1)
        elif isinstance(event, Mask) and event.stage != "coarse":
            crop = np.load(folder / event.path, allow_pickle=False)
            found.mask = Placed(crop != 0, tuple(event.first_voxel))


@contextmanager
def _beliefs():
    """Collects the calibrated probability that each object is there, in the order in which they are decided at view 0."""
    believed, calibrated = [], looking.calibrated

    def kept(p: dict[str, float], calibration: dict) -> dict[str, float]:
        out = calibrated(p, calibration)
        believed.append(out["present"])
        return out

    with patch.object(looking, "calibrated", kept):
        yield believed


def in_voxels(box: np.ndarray | None, volume: Volume) -> np.ndarray | None:
    """A RAS box [3, 2] as voxel edges of a scan stored along the world's axes; None stays None."""
    if box is None:
        return None
    corners = volume.world_to_index(np.stack([box[:, 0], box[:, 1]]))
    return np.sort(corners.T, axis=1)


@contextmanager
def looks_kept(engine: Engine):
    """Views that were encoded once are not encoded again: many wordings about one scan see the same few views."""
    kept, see = {}, engine.eyes.see

    def cached(volume: Volume, view):
        key = (volume.identity, view)
        if key not in kept:
            kept[key] = see(volume, view)
        return kept[key]

    engine.eyes.see = cached
    try:
        yield
    finally:
        del engine.eyes.see
