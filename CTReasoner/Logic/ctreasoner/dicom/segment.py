"""One segment: what it is, where it is, and what is known of it; the same for SEG, SR, key images and RTSTRUCT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from ..version import __version__
from ..vocabulary import Code, Vocabulary

ALGORITHMS = ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL")
THING_COLOUR = (235, 200, 80)
TISSUE: Code = ("85756007", "SCT", "Tissue")


@dataclass(frozen=True)
class Coding:
    """What kind of thing a segment is, in codes, and its colour (RGB, 0 to 255)."""

    category: Code = TISSUE
    type: Code = TISSUE
    modifier: Code | None = None
    anatomic_region: Code | None = None
    colour: tuple[int, int, int] = THING_COLOUR


@dataclass(frozen=True, eq=False)
class SegObject:
    """One segment.

    key, display : the vocabulary's key ("thing" for what it does not name), and what a person reads.
    mask : a crop [i, j, k] of the volume's grid that begins at ``first_voxel``: true or not 0 inside; floats from 0 to 1 are
        probabilities and go into a FRACTIONAL segmentation alone.
    algorithm : AUTOMATIC from words, SEMIAUTOMATIC from a click or box, MANUAL when a person drew it.
    tracking_id, tracking_uid : the finding's name ("a1.o2") and UID; the UID is made from the mask where it is not given.
    maker : (name, version) of the expert that drew it; None for the model's own.
    coding : codes and colour of what came from elsewhere; else those of the vocabulary.
    note : what a person should know of this segment ("Changed since it was imported."), for its description.
    measurements : as in ``answer.json``: {name, value, unit, method, geometry}.
    attributes : {attribute: value}. text : the sentences about it.
    """

    key: str
    display: str
    mask: np.ndarray
    first_voxel: tuple[int, int, int]
    algorithm: str = "AUTOMATIC"
    tracking_id: str = ""
    tracking_uid: str = ""
    coding: Coding | None = None
    note: str = ""
    maker: tuple[str, str] | None = None
    measurements: Sequence[Mapping[str, Any]] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    text: str = ""


def coding_of(item: SegObject, vocabulary: Vocabulary) -> Coding:
    """Return a segment's own codes, or else those of its vocabulary entry, or else "tissue"."""
    if item.coding is not None:
        return item.coding
    entry = vocabulary.get(item.key)
    if entry is None:
        return Coding()
    return Coding(entry.category, entry.type, entry.modifier, entry.anatomic_region, entry.colour)


def algorithm_of(item: SegObject, model: str) -> dict[str, str]:
    """Return name and version of what drew a segment: an expert, or the model."""
    if item.maker:
        return {"name": item.maker[0][:64], "version": (item.maker[1] or "unknown")[:64]}
    return {"name": "CTReasoner", "version": (model or __version__)[:64]}


def coded(triple: Sequence[str]) -> Dataset:
    """Return a coded concept (value, scheme, meaning) as an item of a code sequence."""
    from highdicom.sr import CodedConcept

    return CodedConcept(value=triple[0], scheme_designator=triple[1], meaning=triple[2])


def triple_of(items: Sequence[Dataset] | None) -> Code | None:
    """Return the first code of a code sequence as (value, scheme, meaning), None where there is none."""
    if not items:
        return None
    first = items[0]
    value = first.get("CodeValue") or first.get("LongCodeValue") or first.get("URNCodeValue")
    found = (value, first.get("CodingSchemeDesignator"), first.get("CodeMeaning"))
    return tuple(str(part) for part in found) if all(found) else None
