"""A recorded answer in the place of an engine: same methods as `client.LocalEngine`, nothing to install. Plain Python, no Qt."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..client.telling import Message
from ..client.volumes import VolumeFile, VolumeStore
from ..errors import InputError
from ..events import LAST_EVENTS, Cancelled, Event, Failed, Mask, Request, from_json, read_events, to_json

HINT = "Install the engine to ask about your own CT (section Engine)."


@dataclass(frozen=True)
class Recording:
    """A folder with recording.json, ct.npz, events.jsonl and the masks that the events name."""

    folder: Path
    name: str
    question: str
    identity: str
    events: tuple[Event, ...]

    @classmethod
    def read(cls, folder: str | Path) -> Recording:
        """Return the recording of a folder; InputError (CTR-REC-001) where there is none."""
        folder = Path(folder)
        try:
            facts = json.loads((folder / "recording.json").read_text(encoding="utf-8"))
            events = tuple(read_events(folder / "events.jsonl"))
            return cls(folder, str(facts["name"]), str(facts["question"]), str(facts["identity"]), events)
        except (OSError, ValueError, KeyError, InputError) as error:
            raise InputError("The recorded answer cannot be read.", code="CTR-REC-001",
                             hint="Install the extension again.") from error

    def volume(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the CT that was asked about: voxels [i, j, k] HU and ijk -> RAS mm."""
        with np.load(self.folder / "ct.npz", allow_pickle=False) as content:
            return content["voxels"], content["affine"]


class RecordedEngine:
    """Plays a recording for each question about its CT, in the time that it took; another CT is refused in a sentence."""

    def __init__(self, recording: Recording, *, speed: float = 1.0) -> None:
        self.recording, self.speed = recording, speed
        self.state, self.problem, self.log = "stopped", {}, ""
        self.model = {"name": f"recording: {recording.name}"}
        self.silent_s = 0.0
        self.session = Path(tempfile.mkdtemp(prefix="ctreasoner-recording-"))
        self.volumes = VolumeStore(self.session / "volumes")
        self._count = 0
        self._playing: dict[int, tuple[float, list[Event]]] = {}
        self._late: list[Message] = []

    @property
    def is_busy(self) -> bool:
        return bool(self._playing)

    def start(self) -> None:
        if self.state == "stopped":
            self._set("ready")

    def ask(self, request: Request, volume: VolumeFile, *, answered: int = 0, known: Mapping[str, str] | None = None) -> int:
        self.start()
        self._count += 1
        answer = f"a{answered + self._count}"
        if volume.identity == self.recording.identity:
            events = [_renamed(e, answer) for e in self.recording.events]
        else:
            events = [Failed(answer=answer, seq=0, t=0.0, code="CTR-REC-002", hint=HINT,
                             sentence=f"The recording is about its own CT ({self.recording.name}), not about this one.")]
        self._playing[self._count] = (time.monotonic(), events)
        self._set("busy")
        return self._count

    def workspace(self, request: Request) -> Path:
        return self.recording.folder

    def export(self, volume: VolumeFile, folder: Any, **_options: Any) -> int:
        self._count += 1
        self._late.append(Message("exported", self._count, facts={
            "code": "CTR-REC-003", "sentence": "A recording cannot be exported: that needs the engine.", "hint": HINT}))
        return self._count

    def inside(self, volume: VolumeFile) -> int:
        self._count += 1
        self._late.append(Message("inside", self._count, facts={"states": {}, "is_whole": True}))     # a recording looks at nothing
        return self._count

    def cancel(self, ask: int) -> None:
        if ask in self._playing:
            began, events = self._playing.pop(ask)
            self._late.append(Message("event", ask, Cancelled(answer=events[0].answer if events else "", seq=10**6,
                                                               t=round(time.monotonic() - began, 3))))
            self._set("ready" if not self._playing else "busy")

    def restart(self) -> None:
        for ask in list(self._playing):
            self.cancel(ask)

    def forget(self, identity: str) -> None:
        """There is nothing to forget."""

    def poll(self, limit: int | None = None) -> list[Message]:
        out, self._late = self._late, []
        for ask, (began, events) in list(self._playing.items()):
            passed = (time.monotonic() - began) * self.speed
            while events and events[0].t <= passed and (limit is None or len(out) < limit):
                event = events.pop(0)
                out.append(Message("event", ask, event))
                if isinstance(event, LAST_EVENTS):
                    del self._playing[ask]
                    self._set("ready" if not self._playing else "busy")
                    out += self._late
                    self._late = []
                    break
            break                       # one question after the other
        return out

    def close(self) -> None:
        import shutil

        self._playing.clear()
        self.volumes.close()
        self.state = "stopped"
        shutil.rmtree(self.session, ignore_errors=True)

    def _set(self, state: str) -> None:
        self.state = state
        self._late.append(Message("state", facts={"state": state, "model": self.model}))


def _renamed(event: Event, answer: str) -> Event:
    """Give an event's answer another id, with the ids that begin with it."""
    old = event.answer
    line = to_json(event).replace(f'"{old}.', f'"{answer}.').replace(f'"answer": "{old}"', f'"answer": "{answer}"')
    made = from_json(line)
    return replace(made, path=event.path) if isinstance(event, Mask) else made


def recorded_ct(folder: Path):
    """Add the CT of the first recording below `folder` to Slicer's scene and return its node."""
    import slicer
    from slicer.i18n import tr as _

    found = sorted(folder.glob("*/recording.json"))
    if not found:
        raise InputError(_("No recording is installed."), code="CTR-REC-001", hint=_("Install the extension again."))
    recording = Recording.read(found[0].parent)
    voxels, affine = recording.volume()
    node = slicer.util.addVolumeFromArray(voxels.transpose(2, 1, 0).copy(), ijkToRAS=affine, name=recording.name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().AutoWindowLevelOff()
    node.GetDisplayNode().SetWindowLevel(400, 40)
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node
