"""The finished answer: what is left of a stream of events when it has ended, and ``answer.json``.

An ``Assembler`` folds events one by one, in any state of completeness: stop after any event and the answer so far is valid.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .checked import plain
from .errors import InputError, ResourceError
from .version import __version__

if TYPE_CHECKING:
    import numpy as np

    from .events import Event, Request

ANSWER_VERSION = 1
STATES = {"Done": "done", "Cancelled": "cancelled", "Failed": "failed"}


@dataclass
class FoundObject:
    """One object of an answer.

    Attributes
    ----------
    id, name, display : "a1.o2", the vocabulary key, what a person reads.
    existence : "present", "absent", "outside" or "unsupported"; "" while the model has not said.
    box : {centre_ras, size_mm, axes, score}, RAS mm, or None.
    mask : the last ``Mask`` event, or None; its array lies beside the stream.
    measurements, categories : as in the events, without the bookkeeping fields.
    origin : how the object came into the answer: "text", "click", "box", "scribble", "edited", "imported" or "earlier" (of another
        answer). imported : what DICOM said of an imported object and its next export says again.
    """

    id: str
    name: str = ""
    display: str = ""
    existence: str = ""
    probability: float | None = None
    box: dict[str, Any] | None = None
    mask: Any = None
    measurements: list[dict[str, Any]] = field(default_factory=list)
    categories: list[dict[str, Any]] = field(default_factory=list)
    origin: str = "text"
    by: dict[str, Any] | None = None
    imported: dict[str, Any] | None = None

    def measured(self, name: str) -> float | None:
        """Return the value of the named measurement, or None where it was not measured."""
        return next((m["value"] for m in self.measurements if m["name"] == name), None)


@dataclass
class Answer:
    """Everything that one question brought.

    ``state`` is "open" until the stream's last event, then "done", "cancelled" or "failed" (``error`` then says why).
    ``folder`` is where the arrays of the masks lie.
    """

    id: str = ""
    question: str = ""
    clicks: list[Any] = field(default_factory=list)
    routes: tuple[str, ...] = ()
    text: str = ""
    spans: list[dict[str, Any]] = field(default_factory=list)
    objects: list[FoundObject] = field(default_factory=list)
    looks: list[dict[str, Any]] = field(default_factory=list)
    statements: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: float | None = None
    state: str = "open"
    error: dict[str, str] | None = None
    engine: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    volume: dict[str, Any] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list, repr=False)
    folder: Path | None = None

    def find(self, key: str) -> FoundObject | None:
        """Return the object with this id, or else the first with this vocabulary key."""
        by_id = next((o for o in self.objects if o.id == key), None)
        return by_id or next((o for o in self.objects if o.name == key), None)

    def mask(self, key: str) -> np.ndarray | None:
        """Return an object's mask as (i, j, k) bool on the CT's whole grid, or None where it has none."""
        import numpy as np

        from .events import load_mask

        found = self.find(key)
        if found is None or found.mask is None or self.folder is None:
            return None
        event = found.mask
        whole = np.zeros(tuple(int(n) for n in self.volume["shape"]), bool)
        where = tuple(slice(int(a), int(a) + int(n)) for a, n in zip(event.first_voxel, event.shape, strict=True))
        whole[where] = load_mask(event, self.folder) > 0
        return whole


class Assembler:
    """Fold events into an ``Answer``.

    Parameters
    ----------
    request : the question; only its words and the kind of its prompts are used.
    earlier : objects of earlier answers of the conversation by id: a follow-up speaks of them by their id.
    """

    def __init__(self, request: Request | None = None, *, earlier: Mapping[str, FoundObject] | None = None,
                 folder: Path | None = None) -> None:
        self.answer = Answer(question=getattr(request, "text", ""), clicks=list(getattr(request, "clicks", ())), folder=folder)
        self._earlier = dict(earlier or {})
        self._origin = _origin(request)
        self._edited = set(getattr(request, "edited", None) or ())

    def add(self, event: Event) -> None:
        """Take one event. Unknown types change nothing."""
        kind = event.type
        self.answer.events.append(event)
        self.answer.id = self.answer.id or event.answer
        handler = getattr(self, f"_on_{kind.lower()}", None)
        if handler is not None:
            handler(event)
        if kind in STATES:
            self.answer.state = STATES[kind]
            self.answer.timings_s = dict(getattr(event, "timings_s", None) or {})
            self.answer.peak_memory_mb = getattr(event, "peak_memory_mb", None)

    def _object(self, key: str) -> FoundObject:
        found = self.answer.find(key)
        if found is not None and found.id == key:
            return found
        old = self._earlier.get(key)
        new = FoundObject(id=key, origin="edited" if key in self._edited else self._origin)
        if old is not None:
            new = FoundObject(id=key, name=old.name, display=old.display, existence=old.existence, probability=old.probability,
                              box=old.box, mask=old.mask, origin="edited" if key in self._edited else "earlier", by=old.by)
        self.answer.objects.append(new)
        return new

    def _on_started(self, event) -> None:
        self.answer.engine = dict(event.engine) if isinstance(event.engine, Mapping) else {"name": event.engine}
        self.answer.model, self.answer.volume = dict(event.model), dict(event.volume)

    def _on_intent(self, event) -> None:
        self.answer.routes = tuple(event.routes)
        for item in event.objects:
            found = self._object(item["id"])
            found.name = item.get("name") or found.name

    def _on_look(self, event) -> None:
        self.answer.looks.append(_facts(event))

    def _on_existence(self, event) -> None:
        found = self._object(event.object)
        found.name, found.display = event.name, event.display or event.name
        found.existence, found.probability, found.by = event.state, event.probability, plain(event.by)
        if event.state != "present":            # lost on the way: what was seen of it no longer counts
            found.box = found.mask = None

    def _on_box(self, event) -> None:
        found = self._object(event.object)
        found.box = {k: plain(getattr(event, k)) for k in ("centre_ras", "size_mm", "axes", "score")}

    def _on_mask(self, event) -> None:
        found = self._object(event.object)
        found.mask, found.by = event, plain(event.by) or found.by
        if event.stage == "refined" and found.origin == "edited":      # a click went on from the changed mask
            found.origin = "earlier"

    def _on_category(self, event) -> None:
        self._object(event.object).categories.append(_facts(event, drop=("object",)))

    def _on_measurement(self, event) -> None:
        self._object(event.object).measurements.append(_facts(event, drop=("object",)))

    def _on_text(self, event) -> None:
        shift = len(self.answer.text)
        self.answer.text += event.text
        for span in event.spans:
            facts = plain(span)
            facts["start"], facts["end"] = facts["start"] + shift, facts["end"] + shift
            self.answer.spans.append(facts)

    def _on_statement(self, event) -> None:
        self.answer.statements.append(_facts(event))

    def _on_warning(self, event) -> None:
        self.answer.warnings.append(_facts(event))

    def _on_failed(self, event) -> None:
        self.answer.error = _facts(event)


def assemble(events: Iterable[Event], request: Request | None = None, *, folder: Path | None = None,
             earlier: Mapping[str, FoundObject] | None = None) -> Answer:
    """Return the answer that a stream, finished or not, amounts to."""
    fold = Assembler(request, folder=folder, earlier=earlier)
    for event in events:
        fold.add(event)
    return fold.answer


def turn_to_dict(answer: Answer, mask_path: Callable[[FoundObject], str | None]) -> dict[str, Any]:
    """Return one turn of ``answer.json``; ``mask_path`` names an object's mask file relative to that file."""
    return {
        "answer": answer.id,
        "question": answer.question,
        "clicks": plain(answer.clicks),
        "state": answer.state,
        "error": answer.error,
        "routes": list(answer.routes),
        "text": answer.text,
        "spans": answer.spans,
        "objects": [_object_to_dict(o, mask_path(o)) for o in answer.objects],
        "looks": answer.looks,
        "statements": answer.statements,
        "warnings": answer.warnings,
        "timings_s": answer.timings_s,
        "peak_memory_mb": answer.peak_memory_mb,
    }


def answer_file(answers: Iterable[Answer], mask_path: Callable[[FoundObject], str | None], *,
                files: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the whole of ``answer.json`` for the turns of one conversation about one volume."""
    answers = list(answers)
    first = answers[0] if answers else Answer()
    return {
        "v": ANSWER_VERSION,
        "versions": {"ctreasoner": __version__, "python": sys.version.split()[0], "engine": first.engine, "model": first.model},
        "volume": first.volume,
        "turns": [turn_to_dict(a, mask_path) for a in answers],
        "files": dict(files or {}),
    }


def write_json(content: Any, path: Path) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of one. A full disk is a ``ResourceError``."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ResourceError(f"{path.name} could not be written: {error.strerror or error}.", code="CTR-RES-001",
                            hint="Free some space or choose another folder.") from error


def read_answer_file(path: Path) -> dict[str, Any]:
    """Return the content of an ``answer.json``; another version or a broken file is an ``InputError``."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{Path(path).name} cannot be read as an answer.", code="CTR-IO-060") from error
    if not isinstance(content, dict) or content.get("v") != ANSWER_VERSION:
        raise InputError(f"{Path(path).name} is not an answer of version {ANSWER_VERSION}.", code="CTR-IO-061")
    return content


def _facts(event: Event, drop: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return an event's own fields, without those that every event has."""
    return {k: v for k, v in plain(event).items() if k not in {"answer", "seq", "t", "v", *drop}}


def _origin(request: Request | None) -> str:
    """Return which kind of prompt brought the objects of a request."""
    if getattr(request, "text", ""):
        return "text"
    kinds = (("clicks", "click"), ("boxes", "box"), ("scribbles", "scribble"), ("edited", "edited"))
    return next((kind for name, kind in kinds if getattr(request, name, None)), "text")


def _object_to_dict(found: FoundObject, mask_path: str | None) -> dict[str, Any]:
    return {
        "id": found.id,
        "name": found.name,
        "display": found.display,
        "existence": found.existence,
        "probability": found.probability,
        "box": found.box,
        "mask": mask_path,
        "stage": getattr(found.mask, "stage", None),
        "voxels": getattr(found.mask, "voxels", None),
        "cut_by_scan": getattr(found.mask, "cut_by_scan", None),
        "measurements": found.measurements,
        "categories": found.categories,
        "origin": found.origin,
        "by": found.by,
        **({"imported": found.imported} if found.imported else {}),
    }
