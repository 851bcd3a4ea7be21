"""What a segment says about itself: names, colour, terminology, DICOM tags, and the finding that it shows."""

from __future__ import annotations

import json
from typing import Any

import vtk

from ..vocabulary import Code, Vocabulary

FINDING_ID, FINDING = "CTReasoner.FindingID", "CTReasoner.Finding"
ALGORITHM_TYPE, ALGORITHM_NAME = "DICOM.SegmentAlgorithmType", "DICOM.SegmentAlgorithmName"
STATUS = "Segmentation.Status"  # what the Segment Editor shows
TERMINOLOGY = "TerminologyEntry"
TISSUE: Code = ("85756007", "SCT", "Tissue")
CONTEXT = "Segmentation category and type - 3D Slicer General Anatomy list"
ANATOMIC_CONTEXT = "Anatomic codes - DICOM master list"
PALETTE = ((0.90, 0.62, 0.00), (0.34, 0.71, 0.91), (0.00, 0.62, 0.45), (0.94, 0.89, 0.26), (0.80, 0.47, 0.65), (0.84, 0.37, 0.00))


def tag(segment: Any, name: str) -> str:
    """The text of a tag, "" where there is none."""
    value = vtk.mutable("")
    return str(value) if segment.GetTag(name, value) else ""


def tags_of(segment: Any) -> dict[str, str]:
    """The tags of ours and those that DICOM and the Segment Editor read."""
    names = (FINDING_ID, FINDING, ALGORITHM_TYPE, ALGORITHM_NAME, STATUS, TERMINOLOGY)
    return {name: tag(segment, name) for name in names if segment.HasTag(name)}


def set_tags(segment: Any, tags: dict[str, str]) -> None:
    """Write tags; one that already says so stays, so that nothing is told twice."""
    for name, value in tags.items():
        if not segment.HasTag(name) or tag(segment, name) != value:
            segment.SetTag(name, value)


def terminology(vocabulary: Vocabulary, key: str) -> str:
    """Slicer's seven parts, from the codes of the vocabulary; tissue for what it does not know."""
    item = vocabulary.get(key)
    category, kind, modifier, region = (item.category, item.type, item.modifier, item.anatomic_region) if item else (
        TISSUE, TISSUE, None, None)
    return "~".join([CONTEXT, _code(category), _code(kind), _code(modifier), ANATOMIC_CONTEXT, _code(region), _code(None)])


def colour(vocabulary: Vocabulary, key: str, number: int = 0) -> tuple[float, float, float]:
    """Red, green, blue from 0 to 1: the vocabulary's, or one of a few that are told apart with any colour vision."""
    item = vocabulary.get(key)
    return tuple(c / 255 for c in item.colour) if item else PALETTE[number % len(PALETTE)]


def to_tag(content: dict[str, Any]) -> str:
    """One line of JSON without the sign that parts tags in a segmentation file."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return text.replace("|", "\\u007c")


def from_tag(text: str) -> dict[str, Any]:
    """The content of `to_tag`; empty for what another program wrote."""
    try:
        content = json.loads(text)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _code(code: Code | None) -> str:
    if code is None:
        return "^^"
    value, scheme, meaning = code
    return f"{scheme}^{value}^{meaning}"
