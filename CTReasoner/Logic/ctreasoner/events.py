"""The contract: one `Request` goes in, a stream of events comes out. Standard library only: every host can import it.

A stream: `Started`, the whole-scan `Look`, `Intent`, per object `Existence` and, where present, `Box`, (`Look` `Box`)*,
`Mask` (coarse, final), `Category`*, `Measurement`*, then `Text`, `Statement`, then exactly one of `Done`, `Cancelled`,
`Failed`. `Progress` and `Warning` may stand anywhere. A consumer may stop after any event and has a valid state.

Lengths are mm, points RAS, times seconds since the request. What exists is valid: fields are checked when an object is
made, from Python or from a line of JSON (unknown fields are ignored, unknown types skipped, wrong types refused).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from .checked import Checked, fields_of, plain, rebuild
from .errors import GeometryError, InputError, ResourceError, UsageError

VERSION = 1
MAX_TEXT = 2000  # characters of a question
Vector = tuple[float, float, float]
Axes = tuple[Vector, Vector, Vector]
IDENTITY: Axes = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


# ---------------------------------------------------------------- the request

@dataclass(frozen=True, kw_only=True)
class By(Checked):
    """Who says so."""

    kind: Literal["model", "expert", "rule", "person"]
    name: str
    version: str = ""
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class ViewBox(Checked):
    """A view as it travels: shape in voxels along its axes."""

    centre_ras: Vector
    size_mm: Vector
    spacing_mm: Vector
    shape: tuple[int, int, int]
    axes: Axes = IDENTITY


@dataclass(frozen=True, kw_only=True)
class Click(Checked):
    """A point that belongs to the object (positive) or does not; `target` is the id of an earlier object."""

    point_ras: Vector
    positive: bool = True
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class PromptBox(Checked):
    """A box drawn by a person: centre and full edge lengths."""

    centre_ras: Vector
    size_mm: Vector
    axes: Axes = IDENTITY

    def check(self) -> None:
        if min(self.size_mm) <= 0:
            shown = ", ".join(f"{s:g}" for s in self.size_mm)
            raise GeometryError(f"A box needs three positive sizes in mm; this one has {shown}.", code="CTR-GEO-021")


@dataclass(frozen=True, kw_only=True)
class Scribble(Checked):
    """A polyline inside the object (positive) or outside it."""

    points_ras: tuple[Vector, ...]
    positive: bool = True
    target: str | None = None


@dataclass(frozen=True, kw_only=True)
class Options(Checked):
    """How an answer may be made."""

    max_looks: int = 3
    max_objects: int = 12
    seed: int = 0
    want_text: bool = True
    experts: bool = False


@dataclass(frozen=True, kw_only=True)
class Request(Checked):
    """One question about one CT.

    volume : path or content hash.
    edited : object id -> path of a mask that a person changed; it is measured and described, without a look.
    target : id of an object of an earlier answer.
    """

    volume: str
    text: str = ""
    clicks: tuple[Click, ...] = ()
    boxes: tuple[PromptBox, ...] = ()
    scribbles: tuple[Scribble, ...] = ()
    edited: dict[str, str] = field(default_factory=dict)
    target: str | None = None
    conversation: str = "default"
    options: Options = field(default_factory=Options)

    def check(self) -> None:
        if not (self.text.strip() or self.clicks or self.boxes or self.scribbles or self.edited):
            raise UsageError("There is no question: give words, a click, a box or a scribble.", code="CTR-USE-001",
                             hint="For example: segment the aorta.")
        if len(self.text) > MAX_TEXT:
            raise UsageError(f"The question has {len(self.text)} characters; {MAX_TEXT} are read at most.",
                             code="CTR-USE-003")


# ---------------------------------------------------------------- the events

IMPORT = "DICOM import"          # the name in `by` of what came from DICOM objects


@dataclass(frozen=True, kw_only=True)
class Span(Checked):
    """A piece of a `Text` that stands for something: `ref` is the id of an object or measurement, or a look number."""

    start: int
    end: int
    kind: Literal["object", "measurement", "look"]
    ref: str


@dataclass(frozen=True, kw_only=True)
class Event(Checked):
    """What every event has: the answer it belongs to, its number in it, seconds since the request."""

    type: ClassVar[str]  # the name on the wire

    answer: str
    seq: int
    t: float
    v: int = VERSION

    def __init_subclass__(cls) -> None:
        cls.type = cls.__name__.rstrip("_")
        EVENT_TYPES[cls.type] = cls


EVENT_TYPES: dict[str, type[Event]] = {}


@dataclass(frozen=True, kw_only=True)
class Started(Event):
    """model : name and hash. volume : identity, shape, spacing."""

    engine: str | dict[str, Any]
    model: dict[str, Any]
    volume: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Intent(Event):
    """What the model understood. objects : dicts {id, name, asked}."""

    routes: tuple[Literal["detect", "segment", "describe"], ...]
    objects: tuple[dict[str, Any], ...]
    by: By


@dataclass(frozen=True, kw_only=True)
class Look(Event):
    """A view that was encoded. window : (level, width) HU. digest : of the very tensor."""

    object: str | None
    step: int
    view: ViewBox
    why: Literal["whole scan", "region", "object", "boundary"]
    window: tuple[float, float]
    digest: str
    by: By


@dataclass(frozen=True, kw_only=True)
class Existence(Event):
    """probability : calibrated, None where the model has none (an unsupported object)."""

    object: str
    name: str
    display: str
    state: Literal["present", "absent", "outside", "unsupported"]
    probability: float | None = None
    by: By


@dataclass(frozen=True, kw_only=True)
class Box(Event):
    """Where an object is, after the look with this number."""

    object: str
    centre_ras: Vector
    size_mm: Vector
    axes: Axes = IDENTITY
    score: float
    look: int
    by: By


@dataclass(frozen=True, kw_only=True)
class Mask(Event):
    """A mask on the CT's grid: a crop [i, j, k] from `first_voxel`, uint8, in the .npy file `path`; see `load_mask`."""

    object: str
    stage: Literal["coarse", "final", "refined"]
    first_voxel: tuple[int, int, int]
    shape: tuple[int, int, int]
    path: str
    voxels: int
    cut_by_scan: bool = False
    by: By


@dataclass(frozen=True, kw_only=True)
class Category(Event):
    """A word that the model chose before anything was measured."""

    object: str
    attribute: str
    value: str
    probability: float
    by: By


@dataclass(frozen=True, kw_only=True)
class Measurement(Event):
    """geometry : end points (RAS) and plane of a diameter, for drawing."""

    id: str
    object: str
    name: str
    value: float
    unit: str
    method: str
    geometry: dict[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Text(Event):
    """A piece of the answer's words; spans count characters of this piece."""

    text: str
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Statement(Event):
    """A claim of the text (characters start to end), checked against mask and CT. said, found, evidence : any JSON."""

    id: str
    start: int
    end: int
    claim: Any
    verdict: Literal["verified", "refuted", "not checkable"]
    rule: str
    said: Any = None
    found: Any = None
    evidence: Any = None
    by: By


@dataclass(frozen=True, kw_only=True)
class Progress(Event):
    stage: str
    step: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Warning_(Event):
    """Called "Warning" on the wire."""

    code: str
    sentence: str
    hint: str = ""


@dataclass(frozen=True, kw_only=True)
class Done(Event):
    timings_s: dict[str, float]
    peak_memory_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Cancelled(Event):
    timings_s: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failed(Event):
    code: str
    sentence: str
    hint: str = ""


LAST_EVENTS = (Done, Cancelled, Failed)


class Stream:
    """Makes the events of one answer, numbered from 0 and timed from now."""

    def __init__(self, answer: str) -> None:
        self.answer = answer
        self._count = 0
        self._start = time.perf_counter()

    def emit(self, kind: type[Event], **fields: Any) -> Event:
        event = kind(answer=self.answer, seq=self._count, t=round(time.perf_counter() - self._start, 6), **fields)
        self._count += 1
        return event


# ---------------------------------------------------------------- JSON lines

def to_json(event: Event) -> str:
    """One line, without the line end."""
    return json.dumps({"type": event.type, **plain(event)}, ensure_ascii=False, allow_nan=False)


def from_json(line: str, number: int = 1) -> Event | None:
    """The event of a line, None for a type that this version does not know. InputError names the line `number`."""
    content = _object(line, number)
    name = content.get("type")
    if not isinstance(name, str):
        raise InputError(f"line {number}: an event has no type.", code="CTR-EVT-002")
    kind = EVENT_TYPES.get(name)
    if kind is None:
        return None
    version = content.get("v", VERSION)
    if isinstance(version, int) and version > VERSION:
        raise InputError(f"line {number}: events of version {version} need a newer CTReasoner.", code="CTR-EVT-004")
    return _made(kind, content, number)


def request_to_json(request: Request) -> str:
    """One line, without the line end."""
    return json.dumps(plain(request), ensure_ascii=False, allow_nan=False)


def request_from_json(line: str, number: int = 1) -> Request:
    """The request of a line; InputError names the line `number`."""
    return _made(Request, _object(line, number), number)


def write_events(events: Iterable[Event], path: str | os.PathLike) -> None:
    """Append each event to a file as it comes; a line is handed to the system before the next event is asked for."""
    try:
        with open(path, "a", encoding="utf-8", newline="\n") as file:
            for event in events:
                file.write(to_json(event) + "\n")
                file.flush()
    except OSError as error:
        raise ResourceError(f"{Path(path).name} could not be written: {error.strerror or error}.", code="CTR-RES-001",
                            hint="Free some space or choose another folder.") from error


def read_events(path: str | os.PathLike) -> Iterator[Event]:
    """The known events of a recorded stream. A last line that was cut while it was written is left out."""
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"{Path(path).name} cannot be read: {error.strerror or error}.", code="CTR-EVT-005") from error
    for number, raw in enumerate(lines, start=1):
        torn = number == len(lines)  # a whole line ends with a line end, so the last piece is empty
        if not raw.strip():
            continue
        try:
            event = from_json(raw.decode("utf-8", errors="strict"), number)
        except (UnicodeDecodeError, InputError) as error:
            if torn:
                return
            if isinstance(error, InputError):
                raise
            raise InputError(f"line {number}: not UTF-8.", code="CTR-EVT-001") from error
        if event is not None:
            yield event


def load_mask(event: Mask, folder: str | os.PathLike):
    """The mask's crop [i, j, k], uint8, memory-mapped; refused when it is not what the event says or lies elsewhere."""
    import numpy as np  # the only need for it here

    root, path = Path(folder).resolve(), (Path(folder) / event.path).resolve()
    if not path.is_relative_to(root):
        raise InputError("the path of a mask leaves the folder of its answer.", code="CTR-EVT-006")
    try:
        array = np.load(path, mmap_mode="r" if math.prod(event.shape) else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"the mask of {event.object} cannot be read.", code="CTR-EVT-007") from error
    if array.shape != event.shape or array.dtype != np.uint8:
        raise InputError(f"the mask of {event.object} is not the one that its event describes.", code="CTR-EVT-008")
    return array


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        content = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(f"line {number}: not JSON.", code="CTR-EVT-001") from error
    if not isinstance(content, dict):
        raise InputError(f"line {number}: not a JSON object.", code="CTR-EVT-001")
    return content


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _made(kind: type, content: dict[str, Any], number: int):
    try:
        return rebuild(kind, {k: v for k, v in content.items() if k in fields_of(kind)})
    except InputError as error:
        raise type(error)(f"line {number}: {error}", code=error.code, hint=error.hint) from error
