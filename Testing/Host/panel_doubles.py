"""An engine that says what a test tells it to, with the methods of `client.LocalEngine`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from ctreasoner.client.local import Message
from ctreasoner.client.volumes import VolumeFile, VolumeStore
from ctreasoner.events import (
    LAST_EVENTS,
    Box,
    By,
    Cancelled,
    Done,
    Event,
    Existence,
    Failed,
    Look,
    Mask,
    Measurement,
    Request,
    Span,
    Started,
    Statement,
    Text,
    ViewBox,
)

MODEL = By(kind="model", name="double")
RULE = By(kind="rule", name="verify")


class ScriptedEngine:
    """Keeps the requests it gets; `say` and `answer` make it speak."""

    def __init__(self) -> None:
        self.state, self.problem, self.model, self.log, self.silent_s = "ready", {}, {"name": "double"}, "loaded", 0.0
        self.session = Path(tempfile.mkdtemp(prefix="ctreasoner-double-"))
        self.volumes = VolumeStore(self.session / "volumes")
        self.requests: list[Request] = []
        self.files: list[VolumeFile] = []
        self.known: list[dict[str, str]] = []
        self.exports: list[dict[str, Any]] = []
        self.pushes: list[dict[str, Any]] = []
        self.wondered: list[VolumeFile] = []
        self.cancelled: list[int] = []
        self.closed = False
        self._open: dict[int, list] = {}
        self._box: list[Message] = []

    @property
    def is_busy(self) -> bool:
        return bool(self._open)

    def start(self) -> None:
        self.state = "ready"

    def restart(self) -> None:
        self.start()

    def ask(self, request: Request, volume: VolumeFile, *, answered: int = 0, known: dict[str, str] | None = None) -> int:
        self.requests.append(request)
        self.known.append(dict(known or {}))
        self.files.append(volume)
        ask = len(self.requests)
        self._open[ask] = [f"a{answered + ask}", 0]
        return ask

    def workspace(self, request: Request) -> Path:
        return self.session

    def export(self, volume: VolumeFile, folder: Any, **options: Any) -> int:
        self.exports.append({"folder": Path(folder), **options})
        return 1000 + len(self.exports)

    def push(self, folder: Any, address: str, **options: Any) -> int:
        self.pushes.append({"folder": Path(folder), "address": address, **options})
        return 3000 + len(self.pushes)

    def inside(self, volume: VolumeFile) -> int:
        self.wondered.append(volume)
        return 2000 + len(self.wondered)

    def cancel(self, ask: int) -> None:
        self.cancelled.append(ask)
        if ask in self._open:
            self.say(Cancelled, ask=ask)

    def forget(self, identity: str) -> None:
        """Nothing is kept."""

    def poll(self, limit: int | None = None) -> list[Message]:
        out, self._box = self._box[:limit], self._box[limit:] if limit else []
        return out

    def close(self) -> None:
        self.closed = True
        self.volumes.close()

    # ------------------------------------------------------------ what a test says
    def say(self, kind: type[Event], *, ask: int | None = None, **fields: Any) -> Event:
        """Emit one event of the newest (or the named) question."""
        ask = ask or len(self.requests)
        answer, seq = self._open[ask]
        self._open[ask][1] += 1
        event = kind(answer=answer, seq=seq, t=0.1 * seq, **fields)
        if isinstance(event, LAST_EVENTS):
            del self._open[ask]
        self._box.append(Message("event", ask, event))
        return event

    def state_is(self, state: str, **facts: Any) -> None:
        """Change state and tell."""
        self.state = state
        self._box.append(Message("state", facts={"state": state, "model": self.model, **facts}))

    def exported(self, number: int, **facts: Any) -> None:
        """Answer an export."""
        self._box.append(Message("exported", 1000 + number, facts=facts))

    def pushing(self, number: int, words: str) -> None:
        """Say how far a sending is."""
        self._box.append(Message("pushing", 3000 + number, facts={"words": words}))

    def pushed(self, number: int, **facts: Any) -> None:
        """Answer a sending."""
        self._box.append(Message("pushed", 3000 + number, facts=facts))

    def shows(self, number: int, *, is_whole: bool = True, **states: tuple[str, float]) -> None:
        """Say which objects a CT shows."""
        facts = {"states": {k: list(v) for k, v in states.items()}, "is_whole": is_whole}
        self._box.append(Message("inside", 2000 + number, facts=facts))

    def look(self, *, ask: int | None = None, key: str | None = None, step: int = 0, centre=(0.0, 0.0, 0.0),
             size=(80.0, 80.0, 80.0)) -> None:
        view = ViewBox(centre_ras=centre, size_mm=size, spacing_mm=(2, 2, 2), shape=(40, 40, 40))
        self.say(Look, ask=ask, object=key, step=step, view=view, why="object" if key else "whole scan", window=(40.0, 400.0),
                 digest="d", by=MODEL)

    def begin(self, *, ask: int | None = None) -> str:
        """Started and the first look; returns the answer's id."""
        ask = ask or len(self.requests)
        answer = self._open[ask][0]
        self.say(Started, ask=ask, engine="double", model=self.model, volume={"identity": self.files[ask - 1].identity})
        self.look(ask=ask)
        return answer

    def find(self, answer: str, number: int, name: str, first, shape, *, said_ml: float | None = None) -> str:
        """An object that is a filled block of the CT's grid, measured, and said; returns its id."""
        key, crop = f"{answer}.o{number}", np.ones(shape, np.uint8)
        np.save(self.session / f"{key}.npy", crop)
        self.say(Existence, object=key, name=name, display=name.capitalize(), state="present", probability=0.9, by=MODEL)
        self.say(Box, object=key, centre_ras=(0.0, 0.0, 0.0), size_mm=(40.0, 40.0, 40.0), score=0.9, look=0, by=MODEL)
        self.look(key=key, step=1)
        self.say(Mask, object=key, stage="final", first_voxel=tuple(first), shape=tuple(shape), path=f"{key}.npy",
                 voxels=int(crop.sum()), by=MODEL)
        volume = float(crop.sum()) * 0.001 * 27
        ends = [[-10.0, 0.0, 0.0], [10.0, 0.0, 0.0]]
        self.say(Measurement, id=f"{key}.m1", object=key, name="volume", value=volume, unit="ml", method="voxels x volume")
        self.say(Measurement, id=f"{key}.m2", object=key, name="long_axis", value=20.0, unit="mm", method="largest distance",
                 geometry={"ends_ras": ends, "plane": {"origin": [0.0, 0.0, 0.0], "normal": [0.0, 0.0, 1.0]}})
        told = volume if said_ml is None else said_ml
        words, size = f"The {name} has a volume of {told:.0f} ml", " and is 20 mm long. "
        text = words + size
        self.say(Text, text=text, spans=(
            Span(start=4, end=4 + len(name), kind="object", ref=key),
            Span(start=text.index(f"{told:.0f} ml"), end=len(words), kind="measurement", ref=f"{key}.m1"),
            Span(start=text.index("20 mm"), end=text.index("20 mm") + 5, kind="measurement", ref=f"{key}.m2")))
        self.say(Statement, id=f"{key}.s1", start=0, end=len(words), claim={"kind": "volume", "object": key},
                 verdict="verified" if said_ml is None else "refuted", rule="volume", said=round(told), found=round(volume, 1),
                 evidence={}, by=RULE)
        return key

    def finish(self, *, ask: int | None = None) -> None:
        self.say(Done, ask=ask, timings_s={"total": 1.0})

    def fail(self, sentence: str, hint: str = "", code: str = "CTR-RES-002") -> None:
        self.say(Failed, code=code, sentence=sentence, hint=hint)
