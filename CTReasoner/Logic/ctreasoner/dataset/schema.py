"""What stands in a data set: one dataclass for each kind of line, checked when it is made, from Python or from a file.

Lengths are mm, points RAS, arrays [i, j, k] along the patient's right, front and head (nearest axes, never resampled).
A class is known in a case only where it is ``covered``: covered without a label means absent, not covered means unknown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ctreasoner.checked import Checked, fields_of, plain, rebuild
from ctreasoner.errors import InputError
from ctreasoner.events import By, Click, PromptBox, Scribble, Vector

SCHEMA = 1
Row = tuple[float, float, float, float]
Split = Literal["train", "val", "test", "unlabelled"]
State = Literal["present", "absent", "outside", "unsupported"]
Ends = Literal["whole", "cut by scan", "cut by crop", "drawn range"]
_NO_DERIVATIVES = re.compile(r"\bND\b|no[- ]?derivative|derivatives?\s+(works\s+)?(are|is)\s+(not|forbidden)", re.IGNORECASE)
_SHARE_ALIKE = re.compile(r"\bSA\b|share[- ]?alike")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, kw_only=True)
class Source(Checked):
    """Where cases come from.

    licence : its words; empty where none is known, which training refuses. labels_by, labels_kind : who or what drew.
    split_unit : "slices" where the publisher split slices, so that a patient may lie on both sides.
    """

    name: str
    licence: str = ""
    citation: str = ""
    protocol: str = ""
    labels_by: str = ""
    labels_kind: Literal["model", "expert", "rule", "person"] = "person"
    split_unit: Literal["patients", "slices"] = "patients"

    @property
    def forbids_derivatives(self) -> bool:
        """Whether the licence forbids what training makes of the data ("ND", "no derivatives")."""
        return bool(_NO_DERIVATIVES.search(self.licence))

    @property
    def is_share_alike(self) -> bool:
        """Whether what is made of the data has to carry the same licence."""
        return bool(_SHARE_ALIKE.search(self.licence))


@dataclass(frozen=True, kw_only=True)
class Case(Checked):
    """One CT of one patient.

    affine : voxel centre [i, j, k] -> RAS mm, rows. published_split : the publisher's own word ("fold3"), or None.
    view : "crop" where only the surroundings of one object were published: nothing can be said of sides or of what is outside.
    hu : "trusted", "approximate" (a scale that was recovered: no attribute rests on it), or "none" (8-bit pictures).
    scale : "unknown" where not even the millimetres are known; such a case has no measurement.
    covered : keys that somebody looked for. identity : sha256 of the voxels. notes : what reading changed, one sentence each.
    """

    id: str
    source: str
    patient: str
    split: Split
    published_split: str | None = None
    shape: tuple[int, int, int]
    affine: tuple[Row, Row, Row, Row]
    view: Literal["scan", "crop"] = "scan"
    hu: Literal["trusted", "approximate", "none"] = "trusted"
    scale: Literal["mm", "unknown"] = "mm"
    covered: tuple[str, ...] = ()
    identity: str
    notes: tuple[str, ...] = ()

    def check(self) -> None:
        name_of_file(self.id, "Case.id")


@dataclass(frozen=True, kw_only=True)
class Prompts(Checked):
    """What a simulated user would point at; the same seed gives the same."""

    seed: int
    clicks: tuple[Click, ...]
    box: PromptBox
    scribble: Scribble


@dataclass(frozen=True, kw_only=True)
class Measure(Checked):
    """One measurement of the mask; ``reason`` says why a value is None. Names and methods: ``appearance.measure.NAMES``."""

    name: str
    value: float | None
    unit: str
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Attribute(Checked):
    """One word of a description.

    value : None where it cannot be told (``reason`` says why). accepted : every word that is right near a border of the rule.
    evidence : the measurements that the rule looked at. shares : readers behind each word, where people rated.
    """

    name: str
    value: str | None
    accepted: tuple[str, ...] = ()
    by: By
    evidence: dict[str, float] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Label(Checked):
    """What is known, or proposed, about one object in one case.

    key : of the vocabulary, or the source's own name in lower case. mask : path below the case's folder, a crop from
    ``first_voxel``, uint8; None for a proposal that says "absent". ends : whether the mask is the whole object.
    words : what people wrote about it. wordings : the description said in several ways. rules : version of the rules.
    proposed_by, uncertainty (0 to 1, for the order of review) : set for a proposal. decision, reviewed_by, reviewed_at,
    changed_voxels : set by a person's review, and by nothing else.
    """

    id: str
    case: str
    key: str
    display: str
    state: Literal["present", "absent"] = "present"
    mask: str | None = None
    first_voxel: tuple[int, int, int] = (0, 0, 0)
    shape: tuple[int, int, int] = (0, 0, 0)
    voxels: int = 0
    ends: Ends = "whole"
    box: PromptBox | None = None
    prompts: Prompts | None = None
    measurements: tuple[Measure, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    words: tuple[str, ...] = ()
    wordings: tuple[str, ...] = ()
    ratings: tuple[tuple[int, ...], ...] = ()
    rules: str = ""
    drawn_by: By
    proposed_by: By | None = None
    uncertainty: float | None = None
    decision: Literal["accepted", "corrected", "rejected"] | None = None
    reviewed_by: str | None = None
    reviewed_at: str | None = None
    changed_voxels: int | None = None

    def check(self) -> None:
        name_of_file(self.id, "Label.id")
        reviewed = (self.decision, self.reviewed_by, self.reviewed_at)
        if any(reviewed) and not all(reviewed):
            raise InputError(f"Label {self.id} has a part of a review: decision, reviewed_by and reviewed_at belong together.",
                             code="CTR-DATA-004")

    @property
    def counts(self) -> bool:
        """Whether it is a label: drawn by its source, or a proposal that a person accepted or corrected."""
        return self.proposed_by is None or self.decision in ("accepted", "corrected")

    @property
    def is_open(self) -> bool:
        """Whether it waits for a person."""
        return self.proposed_by is not None and self.decision is None


@dataclass(frozen=True, kw_only=True)
class Asked(Checked):
    """One object of a question: the words ``text[start:end]`` (equal where none names it), and which answers are right."""

    key: str | None
    label: str | None
    start: int
    end: int
    states: tuple[State, ...]


@dataclass(frozen=True, kw_only=True)
class Question(Checked):
    """What a person might ask about the case, and what is right.

    wording : "heldout" wordings are never trained on. earlier : the question before it, for one that speaks of an earlier answer.
    slices : the part [first, last) of the scan along k that is shown, where an object was left outside on purpose.
    answers : the words, several ways; empty where no words are asked for.
    """

    id: str
    case: str
    text: str
    wording: Literal["train", "heldout"]
    intent: str
    topic: str
    routes: tuple[str, ...]
    objects: tuple[Asked, ...] = ()
    clicks: tuple[Click, ...] = ()
    boxes: tuple[PromptBox, ...] = ()
    scribbles: tuple[Scribble, ...] = ()
    reference: str | None = None
    earlier: str | None = None
    slices: tuple[int, int] | None = None
    answers: tuple[str, ...] = ()


def name_of_file(text: str, what: str) -> str:
    """Return ``text`` if it is safe as the name of a file or folder, else raise InputError."""
    if not _NAME.fullmatch(text):
        raise InputError(f"{what} '{text[:60]}' is no safe name: letters, digits, '.', '_' and '-' are, 100 at most.",
                         code="CTR-DATA-004")
    return text


def safe_name(text: str) -> str:
    """Return a name that :func:`name_of_file` accepts and that looks like ``text``."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._-")[:100] or "case"


def to_line(item: Checked) -> str:
    """One line of JSON, without the line end."""
    return json.dumps(plain(item), ensure_ascii=False, allow_nan=False)


def from_line(kind: type, content: Mapping[str, Any], where: str) -> Any:
    """An instance from a parsed line; InputError (CTR-DATA-003) begins with ``where``."""
    unknown = set(content) - set(fields_of(kind))
    if unknown:
        raise InputError(f"{where}: a {kind.__name__.lower()} has no {', '.join(sorted(unknown))}.", code="CTR-DATA-003")
    try:
        return rebuild(kind, dict(content))
    except InputError as error:
        raise InputError(f"{where}: {error}", code="CTR-DATA-003", hint=error.hint) from error


__all__ = ["SCHEMA", "Asked", "Attribute", "By", "Case", "Click", "Ends", "Label", "Measure", "PromptBox", "Prompts", "Question",
           "Scribble", "Source", "Split", "State", "Vector", "from_line", "name_of_file", "safe_name", "to_line"]
