"""The description of a label: every attribute with the measurements that it rests on, and several wordings of it.

Rules give the words; where radiologists rated an object, their words stand and the rule is only beside them as evidence.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import ctreasoner.training.wordings as wordings
from ctreasoner.appearance import attributes, wording
from ctreasoner.appearance.measure import Measured, measure, values
from ctreasoner.geometry import Volume

from .naming import vocabulary
from .schema import Attribute, By, Case, Label, Measure

ATTENUATION = ("density", "homogeneity", "calcification", "gas", "texture", "margin")
"""Attributes that rest on HU; nothing is said of them where the scale was recovered or is lost."""
HU_NAMES = ("hu", "calcified_volume", "gas_volume", "solid_share", "rim_gradient", "share_")
TOPICS = ("general", "general", "size", "density", "shape", "side")
RULE_FILES = ("attributes.py", "measure.py", "axial.py", "tubular.py", "centreline.py", "surface.py")
PARTIAL = "drawn range", "cut by crop"


@cache
def rules_version() -> str:
    """First 12 hex digits of the sha256 of everything that measures and judges: it changes when the rules do."""
    folder = Path(attributes.__file__).parent
    content = b"".join((folder / name).read_bytes() for name in RULE_FILES)
    return hashlib.sha256(content).hexdigest()[:12]


@dataclass(frozen=True)
class Description:
    measurements: tuple[Measure, ...] = ()
    attributes: tuple[Attribute, ...] = ()
    wordings: tuple[str, ...] = ()


class _Watched(dict):
    """Measurements that remember which of them a rule looked at."""

    def __init__(self, content: Mapping[str, float]) -> None:
        super().__init__(content)
        self.seen: dict[str, float] = {}

    def get(self, name, default=None):
        return self[name] if name in self else default  # noqa: SIM401 (get is what this defines)

    def __getitem__(self, name):
        self.seen[name] = super().__getitem__(name)
        return self.seen[name]


def describe(label: Label, crop: np.ndarray, volume: Volume, case: Case, body_centre_ras, seed: int) -> Description:
    """Measure a mask and put it in words. ``crop`` is the label's mask; ``body_centre_ras`` None for a crop of a scan."""
    if case.scale == "unknown":
        return Description()
    obj = vocabulary().get(label.key)
    cut = label.ends != "whole"
    centre = body_centre_ras if body_centre_ras is not None else np.mean(volume.extent_ras(), axis=0)
    found = measure(crop, label.first_voxel, volume, obj, cut, centre)
    found = [_limited(m, case) for m in found]
    said = tuple(_attribute(a, obj, label, found, case, cut) for a in attributes.attributes_for(label.key))
    stored = tuple(Measure(name=m.name, value=m.value, unit=m.unit, reason=m.reason) for m in found)
    return Description(stored, said, tuple(_wordings(label, said, found, case, seed)))


def _limited(m: Measured, case: Case) -> Measured:
    """Take a value away that this case cannot give."""
    if case.view == "crop" and m.name == "side":
        return Measured(m.name, None, m.unit, m.method, None, "only a part of the body")
    if case.hu != "trusted" and any(part in m.name for part in HU_NAMES):
        return Measured(m.name, None, m.unit, m.method, None, "no trusted HU")
    return m


def _attribute(name: str, obj, label: Label, found: Sequence[Measured], case: Case, cut: bool) -> Attribute:
    watched = _Watched(values(found))
    value = attributes.rule(name, obj, watched, cut)
    accepted = attributes.accepted(name, obj, watched, cut)
    reason = "" if value is not None else "not measurable"
    if name == "extent" and label.ends in PARTIAL:
        value, accepted, reason = None, (), f"the mask is not the whole object ({label.ends})"
    if name in ATTENUATION and case.hu != "trusted":
        value, accepted, reason = None, (), "no trusted HU"
    by = By(kind="rule", name="appearance.attributes", version=rules_version())
    read = _readers(label).get(name)
    if read is not None:
        return Attribute(name=name, value=read[0], accepted=(read[0],), shares=read[1], evidence=watched.seen,
                         by=By(kind="person", name=label.drawn_by.name))
    return Attribute(name=name, value=value, accepted=accepted, evidence=watched.seen, by=by, reason=reason)


def _readers(label: Label) -> dict[str, tuple[str, dict[str, float]]]:
    """The median word of the readers and the share behind each word, for what they rated."""
    if not label.ratings:
        return {}
    case = {"ratings": label.ratings}
    words, shares = attributes.nodule_labels(case), attributes.nodule_soft_labels(case)
    return {name: (words[name], shares[name]) for name in words}


def facts_of(label: Label, number: int = 1) -> wording.Facts:
    """What the slots of a text may show of a label."""
    measured = {m.name: Measured(m.name, m.value, m.unit, "", None, m.reason) for m in label.measurements
                if m.value is not None or m.name != "side"}
    size = label.box.size_mm if label.box is not None else None
    return wording.Facts(object=f"o{number}", display=label.display, obj=vocabulary().get(label.key), measured=measured,
                         ids={name: name for name in measured}, box_size_mm=size)


def situation_of(label: Label, *, state: str = "present", routes: Sequence[str] = ("describe",), topic: str = "general",
                 number: int = 1, clicked: bool = False) -> dict[str, Any]:
    """What ``training.wordings`` needs to know to say a label."""
    obj = vocabulary().get(label.key)
    known = {a.name: a.value for a in label.attributes if a.value is not None}
    return {"key": label.key, "state": state, "routes": tuple(routes), "topic": topic, "categories": known,
            "tubular": bool(obj and obj.tubular), "cut": label.ends != "whole", "clicked": clicked,
            "reference": wordings.reference_kind(obj) if label.ends == "whole" else None, "number": number}


def said(fragments: Sequence[str], labels: Sequence[Label], *, whole: bool = True, askable: Sequence[str] = ()) -> str | None:
    """A text with its slots filled, or None where it would give a part as the whole or (``whole``) a slot has no value.

    Without ``whole`` a slot may say why it has none, as the engine does. ``askable``: names that a refusal may offer.
    """
    text = "".join(fragments)
    partial = [label for label in labels if label.ends in PARTIAL or (label.ends == "cut by scan" and not _says_cut(text))]
    if "<slot:volume>" in text and partial:
        return None
    pieces = wording.fill(fragments, [facts_of(label, n) for n, label in enumerate(labels, 1)], askable)
    if whole and any(isinstance(p, wording.Slot) and not p.measured for p in pieces):
        return None
    return wording.render(pieces)[0]


def _says_cut(text: str) -> bool:
    """Whether a text says that the scan cuts what it speaks of: a volume is that of a part then."""
    return any(phrase in text for phrase in wordings.phrases("extent", "cut"))


def _wordings(label: Label, found: Sequence[Attribute], measured: Sequence[Measured], case: Case, seed: int) -> list[str]:
    """Up to six texts, each different, in which every number is one of the measurements."""
    rng = random.Random(f"{seed} {label.case} {label.id}")
    stored = tuple(Measure(name=m.name, value=m.value, unit=m.unit, reason=m.reason) for m in measured)
    full = _with(label, stored, found)
    texts: dict[str, None] = {}
    sided = any(m.name == "side" and m.value is not None for m in stored)
    for topic in (t for t in TOPICS if sided or t != "side"):
        for attempt in range(6):
            text = said(wordings.compose(rng, situation_of(full, topic=topic)), [full], whole=attempt < 4)
            if text and text not in texts:
                texts[text] = None
                break
    return list(texts)


def _with(label: Label, measurements: tuple[Measure, ...], found: Sequence[Attribute]) -> Label:
    return replace(label, measurements=measurements, attributes=tuple(found))
