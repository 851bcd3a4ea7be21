"""What the table of findings shows, and what a segment remembers of it when the scene is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from ..vocabulary import Vocabulary
from .identity import from_tag, to_tag

Origin = Literal["model", "imported", "corrected", "accepted"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One object that was found in a CT.

    Attributes
    ----------
    id : of the object, as in the events ("a1.o2"); what `Request.target` and `Request.edited` want.
    segment_id : of its segment, "" while it has only a box.
    key : in the vocabulary; display : what a person reads (a segment that was renamed shows its new name).
    colour : red, green, blue from 0 to 1.
    volume_ml, mean_hu, confidence : None where unknown. confidence is the calibrated probability of existence, else the score.
    verified : True when every checked statement about it holds, False when one does not, None when none was checked.
    tier : "A", "B", "C" or "" for what the vocabulary does not know.
    origin : "model", "imported" (from DICOM objects), "corrected" (a person's click or stroke changed it) or "accepted".
    outdated : its mask was changed after it was measured: numbers and sentences about it no longer hold.
    box : (centre_ras, size_mm, axes), world RAS mm, or None.
    answer : id of the answer that brought it.
    """

    id: str
    segment_id: str = ""
    key: str = ""
    display: str = ""
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    visible: bool = True
    volume_ml: float | None = None
    mean_hu: float | None = None
    confidence: float | None = None
    verified: bool | None = None
    tier: str = ""
    origin: Origin = "model"
    outdated: bool = False
    box: tuple | None = None
    answer: str = ""


@dataclass
class Entry:
    """What is known about an object; all of it but the voxels fits into one tag of its segment.

    box : 4x4 of numbers, columns are the full edges and the centre, in the CT's own coordinates (below its transforms).
    verdicts : of the statements about it; told : the answer that made them.
    lines : measurement id -> {name, value, unit, ends, plane} of what can be drawn, in the CT's own coordinates.
    sent : checksum of the edited mask that was sent to be measured, 0 for none.
    imported : of what came from DICOM objects, how it was made there (DICOM's segment algorithm type).
    """

    id: str
    answer: str = ""
    segment_id: str = ""
    key: str = ""
    display: str = ""
    present: bool = True
    volume_ml: float | None = None
    mean_hu: float | None = None
    probability: float | None = None
    score: float | None = None
    corrected: bool = False
    accepted: bool = False
    outdated: bool = False
    box: list[list[float]] | None = None
    verdicts: list[str] = field(default_factory=list)
    told: str = ""
    lines: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: int = 0
    imported: str = ""

    def to_tag(self) -> str:
        return to_tag({name: value for name, value in asdict(self).items() if name not in ("segment_id", "sent")})

    @classmethod
    def from_tag(cls, text: str, segment_id: str, finding_id: str) -> Entry:
        """What a tag says; a tag that cannot be read gives an entry with its id alone."""
        known = {f.name for f in fields(cls)}
        content = {name: value for name, value in from_tag(text).items() if name in known}
        return cls(**{**content, "id": finding_id, "segment_id": segment_id})

    def copy(self) -> Entry:
        return replace(self, verdicts=list(self.verdicts), lines=dict(self.lines))

    @property
    def origin(self) -> Origin:
        return "accepted" if self.accepted else "corrected" if self.corrected else "imported" if self.imported else "model"

    @property
    def verified(self) -> bool | None:
        checked = [v for v in self.verdicts if v != "not checkable"]
        return None if not checked else "refuted" not in checked

    def finding(self, vocabulary: Vocabulary, to_world: np.ndarray, **look: Any) -> Finding:
        """The row of the table; `look` : display, colour and visible as the scene has them."""
        item = vocabulary.get(self.key)
        confidence = self.probability if self.probability is not None else self.score
        return Finding(id=self.id, segment_id=self.segment_id, key=self.key, volume_ml=self.volume_ml, mean_hu=self.mean_hu,
                       confidence=confidence, verified=self.verified, tier=item.tier if item else "", origin=self.origin,
                       outdated=self.outdated, box=None if self.box is None else parts_of_box(to_world @ np.array(self.box)),
                       answer=self.answer, **look)


class Entries:
    """The entries by object id, in the order in which they came; a replaced id leads to what replaced it."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}
        self._newer: dict[str, str] = {}

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def get(self, object_id: str | None) -> Entry | None:
        seen = set()
        while object_id in self._newer and object_id not in self._entries and object_id not in seen:
            seen.add(object_id)
            object_id = self._newer[object_id]
        return self._entries.get(object_id or "")

    def of_segment(self, segment_id: str) -> Entry | None:
        return next((e for e in self if e.segment_id == segment_id and segment_id), None)

    def put(self, entry: Entry) -> Entry:
        self._entries[entry.id] = entry
        return entry

    def drop(self, entry: Entry, newer: str = "") -> None:
        """Take an entry out; `newer` is the id that stands for it from now on."""
        self._entries.pop(entry.id, None)
        if newer:
            self._newer[entry.id] = newer

    def first(self, test: Callable[[Entry], bool]) -> Entry | None:
        return next((e for e in self if test(e)), None)

    def clear(self) -> None:
        self._entries.clear()
        self._newer.clear()

    def copies(self) -> list[Entry]:
        """Copies of those without a segment: no tag remembers them."""
        return [e.copy() for e in self if not e.segment_id]


def box_matrix(centre: Any, size: Any, axes: Any) -> np.ndarray:
    """4x4: columns are the full edges (axes are rows of unit vectors) and the centre."""
    out = np.eye(4)
    out[:3, :3] = np.array(axes, float).T * np.array(size, float)
    out[:3, 3] = centre
    return out


def parts_of_box(matrix: np.ndarray) -> tuple[tuple, tuple, tuple]:
    """(centre, full sizes in mm, axes as rows of unit vectors) of a box matrix."""
    size = np.linalg.norm(matrix[:3, :3], axis=0)
    axes = (matrix[:3, :3] / np.where(size > 0, size, 1)).T
    return tuple(map(float, matrix[:3, 3])), tuple(map(float, size)), tuple(tuple(map(float, a)) for a in axes)
