"""``ctreasoner dataset check``: what is wrong with a data set, one sentence each, naming the file.

Everything is computed again from the arrays on disk; nothing is believed because a line says so. Anatomy can only say "this cannot
be": a mirrored patient, a mask beside its organ, a volume that no body has.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ctreasoner.errors import CTReasonerError
from ctreasoner.geometry import Volume, body_extent, box_of

from .build import voxels_identity
from .describe import rules_version
from .naming import other_side, side_of, vocabulary
from .schema import Case, Label
from .store import DataSet, Purpose

SIDE_MM = 20.0                  # a sided organ's centre so far on the other side of the body's midline is on the wrong side
APART_MM = 5.0                  # two centres that must be in an order are out of it by more than this
LOOSE = 2.0                     # volumes beyond the vocabulary's range by this factor are impossible, not unusual
LOOSE_HU = 60.0                 # mean HU beyond the range by this much
AIR_HU, MOST_AIR = -500.0, 0.25  # share of a soft organ's mask that may lie in air
ALIKE, COARSE = 0.985, 12       # correlation of coarse pictures from which two scans are one; voxels along each axis
# (object, axis of RAS, other object): the first one's centre lies further to the right, front or head
ORDER = (("trachea", 2, "heart"), ("brainstem", 2, "spinal_cord"), ("mandible", 1, "spinal_cord"), ("mandible", 1, "brainstem"),
         ("heart", 1, "esophagus"), ("trachea", 1, "esophagus"), ("liver", 0, "spleen"), ("liver", 0, "stomach"),
         ("larynx", 1, "spinal_cord"))
AXES = ("right", "front", "head")


@dataclass(frozen=True)
class Problem:
    """One finding; ``level`` "error" makes the check fail, "note" is something to know."""

    level: Literal["error", "note"]
    file: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.level}  {self.file}: {self.sentence}"


def check(data: DataSet, purpose: Purpose = "training") -> Iterator[Problem]:
    """Everything that is wrong with a data set, or that its user has to know, for training or for evaluation."""
    yield from _licences(data, purpose)
    cases = data.cases()
    yield from _patients(data, cases)
    coarse: dict[str, np.ndarray] = {}
    for case in cases:
        try:
            volume = data.volume(case)
        except CTReasonerError as error:
            yield Problem("error", _file(case, "ct.npy"), str(error))
            continue
        yield from _ct(case, volume)
        yield from _case(data, case, volume)
        if case.view == "scan" and min(case.shape) >= COARSE:
            coarse[case.id] = _coarse(volume)
    yield from _alike(cases, coarse)


def _file(case: Case, name: str) -> str:
    return f"cases/{case.id}/{name}"


# ---------------------------------------------------------------- sources and patients

def _licences(data: DataSet, purpose: Purpose) -> Iterator[Problem]:
    serious = "error" if purpose == "training" else "note"
    for source in data.sources.values():
        if not source.licence.strip():
            yield Problem(serious, "dataset.json", f"the source {source.name} has no licence; nobody may train on it.")
        elif source.forbids_derivatives:
            yield Problem(serious, "dataset.json", f"the licence of {source.name} ({source.licence[:60]}) forbids derivatives, "
                          "and weights are one; it may be evaluated on.")
        elif source.is_share_alike:
            yield Problem("note", "dataset.json", f"the licence of {source.name} ({source.licence[:60]}) is share-alike: weights "
                          "that learn from it have to carry it.")


def _patients(data: DataSet, cases: Sequence[Case]) -> Iterator[Problem]:
    lies: dict[str, dict[str, str]] = defaultdict(dict)
    twins: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        lies[case.patient].setdefault(case.split, case.id)
        twins[case.identity].append(case)
        if case.source not in data.sources:
            yield Problem("error", "cases.jsonl", f"{case.id} comes from {case.source}, of which dataset.json says nothing.")
    by_slices = {name for name, source in data.sources.items() if source.split_unit == "slices"}
    several = {patient: splits for patient, splits in lies.items() if len(splits) > 1}
    sliced = {case.patient for case in cases if case.source in by_slices}
    if several.keys() & sliced:
        yield Problem("note", "cases.jsonl", f"{len(several.keys() & sliced)} patients lie in several splits because their "
                      "publisher split slices: figures on that split are not figures on unseen patients.")
    for patient, splits in several.items():
        if patient not in sliced:
            where = " and ".join(f"{split} ({case})" for split, case in splits.items())
            yield Problem("error", "cases.jsonl", f"patient {patient} lies in {where}.")
    for group in twins.values():
        if len({case.split for case in group}) > 1:
            yield Problem("error", "cases.jsonl", f"{' and '.join(f'{c.id} ({c.split})' for c in group)} hold the same voxels.")


def _coarse(volume: Volume) -> np.ndarray:
    """A picture of COARSE voxels along each axis, without mean and of length 1."""
    index = np.ix_(*(np.linspace(0, n - 1, COARSE).round().astype(int) for n in volume.shape))
    small = np.clip(volume.voxels[index], -1024, 400).astype(float).ravel()
    small -= small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-9)


def _alike(cases: Sequence[Case], coarse: dict[str, np.ndarray]) -> Iterator[Problem]:
    """Pairs of scans in different splits that look like one."""
    chosen = [case for case in cases if case.id in coarse]
    if not chosen:
        return
    table = np.stack([coarse[case.id] for case in chosen])
    pairs = np.argwhere(np.triu(table @ table.T, 1) >= ALIKE)
    for a, b in ((chosen[i], chosen[j]) for i, j in pairs):
        if a.split != b.split and a.identity != b.identity and a.patient != b.patient:
            yield Problem("error", "cases.jsonl", f"{a.id} ({a.split}) and {b.id} ({b.split}) look like one scan.")


# ---------------------------------------------------------------- one case

def _ct(case: Case, volume: Volume) -> Iterator[Problem]:
    from ctreasoner.io import check_ct

    if voxels_identity(volume.voxels) != case.identity:
        yield Problem("error", _file(case, "ct.npy"), "its voxels are not those that were written.")
    if case.hu == "none":
        return
    try:
        if case.view == "scan":
            check_ct(volume)
    except CTReasonerError as error:
        yield Problem("error", _file(case, "ct.npy"), str(error))


def _case(data: DataSet, case: Case, volume: Volume) -> Iterator[Problem]:
    try:
        labels, asked = data.labels(case.id, proposals=True), data.questions(case.id)
    except CTReasonerError as error:
        yield Problem("error", f"cases/{case.id}", str(error))
        return
    waiting = sum(label.is_open for label in labels)
    if waiting:
        yield Problem("note", _file(case, "labels.jsonl"), f"{waiting} proposals wait for review and do not count.")
    centres: dict[str, np.ndarray] = {}
    middle = np.mean(body_extent(volume), axis=0) if case.view == "scan" and case.scale == "mm" else None
    for label in labels:
        yield from _line(case, label)
        if label.state != "present" or not label.counts:
            continue
        try:
            crop = data.mask(label)
            centre = yield from _mask(case, label, crop, volume)
        except CTReasonerError as error:
            yield Problem("error", _file(case, str(label.mask)), str(error))
            continue
        if centre is not None and case.scale == "mm":
            centres.setdefault(label.key, centre)
            yield from _plausible(case, label, crop, volume)
    if case.view == "scan":
        yield from _sides(case, centres, middle)
    known = {label.id for label in labels if label.counts}
    for question in asked:
        lost = [a.label for a in question.objects if a.label is not None and a.label not in known]
        if lost:
            yield Problem("error", _file(case, "questions.jsonl"), f"{question.id} asks for {lost[0]}, which is no label here.")


def _line(case: Case, label: Label) -> Iterator[Problem]:
    file = _file(case, "labels.jsonl")
    if label.counts and label.key not in case.covered:
        yield Problem("error", file, f"{label.id} is labelled, but {label.key} is not among what the case covers.")
    if label.rules and label.rules != rules_version() and label.counts:
        yield Problem("note", file, f"{label.id} was described by the rules {label.rules}; those of today are {rules_version()}.")


def _mask(case: Case, label: Label, crop: np.ndarray, volume: Volume):
    """Problems of one mask; returns its centre, RAS mm, or None where it makes no sense."""
    file = _file(case, str(label.mask))
    values = np.unique(crop)
    if values.max(initial=0) > 1:
        yield Problem("error", file, f"it holds the label {int(values.max())}; a mask holds 0 and 1.")
        return None
    voxels = int(np.count_nonzero(crop))
    if not voxels:
        yield Problem("error", file, "it is empty.")
        return None
    first = np.array(label.first_voxel)
    if np.any(first < 0) or np.any(first + crop.shape > volume.shape):
        yield Problem("error", file, f"it leaves the scan: {crop.shape} from {label.first_voxel} on, the CT has {volume.shape}.")
        return None
    if voxels != label.voxels:
        yield Problem("error", file, f"it has {voxels} voxels; its line says {label.voxels}.")
    centre, size = box_of(crop, first, volume)
    off = (0.0,) if label.box is None else np.abs([*(centre - label.box.centre_ras), *(size - label.box.size_mm)])
    if max(off) > 0.6 * volume.spacing.max():
        away = float(np.linalg.norm(centre - label.box.centre_ras))
        yield Problem("error", file, f"it does not lie where its line says: its box is {away:.0f} mm away.")
    if label.prompts is not None:
        missing = [c for c in label.prompts.clicks if c.positive and not _inside(crop, first, volume, c.point_ras)]
        if missing:
            yield Problem("error", file, f"{len(missing)} of its simulated clicks lie outside it.")
    return volume.index_to_world([np.argwhere(crop).mean(axis=0) + first])[0]


def _inside(crop: np.ndarray, first: np.ndarray, volume: Volume, point) -> bool:
    at = np.rint(volume.world_to_index([point])[0] - first).astype(int)
    return bool(np.all(at >= 0) and np.all(at < crop.shape) and crop[tuple(at)])


# ---------------------------------------------------------------- anatomy

def _plausible(case: Case, label: Label, crop: np.ndarray, volume: Volume) -> Iterator[Problem]:
    """HU and volume that no such object has."""
    item, file = vocabulary().get(label.key), _file(case, str(label.mask))
    if item is None:
        return
    low, high = item.volume_ml_range
    volume_ml = np.count_nonzero(crop) * volume.voxel_ml
    if label.ends == "whole" and not low / LOOSE <= volume_ml <= high * LOOSE:
        yield Problem("error", file, f"{label.display} would have {volume_ml:.3g} ml; whole ones have {low:g} to {high:g} ml.")
    if case.hu != "trusted":
        return
    where = tuple(slice(f, f + n) for f, n in zip(label.first_voxel, crop.shape, strict=True))
    own = volume.voxels[where][np.asarray(crop) > 0]
    low, high = item.hu_range
    mean, in_air, name = float(own.mean()), float(np.mean(own < AIR_HU)), label.display.lower()
    if low > -200 and in_air > MOST_AIR:
        yield Problem("error", file, f"{100 * in_air:.0f} % of {name} lie in air: the mask is not aligned with the CT.")
    elif high < -300 and 1 - in_air > 0.6:
        yield Problem("error", file, f"{100 - 100 * in_air:.0f} % of {name} lie in tissue: the mask is not aligned with the CT.")
    elif not low - LOOSE_HU <= mean <= high + LOOSE_HU:
        yield Problem("error", file, f"{label.display} has a mean of {mean:.0f} HU; {low:g} to {high:g} HU are possible.")


def _sides(case: Case, centres: dict[str, np.ndarray], middle: np.ndarray | None) -> Iterator[Problem]:
    """Pairs the wrong way round, sided organs across the midline, and neighbours in an order that no body has."""
    file = _file(case, "labels.jsonl")
    for key, centre in centres.items():
        other, side = other_side(key), side_of(key)
        if side is None:
            continue
        if other in centres:
            if side == "right" and centre[0] < centres[other][0]:
                yield Problem("error", file, f"{key} lies left of {other}: the sides are flipped.")
        elif middle is not None and (centre[0] - middle[0]) * (1 if side == "right" else -1) < -SIDE_MM:
            yield Problem("error", file, f"{key} lies on the other side of the body: the sides are flipped.")
    for first, axis, second in ORDER:
        if first in centres and second in centres and centres[first][axis] < centres[second][axis] - APART_MM:
            toward = AXES[axis]
            yield Problem("error", file, f"{first} does not lie further to the {toward} than {second}: an axis is flipped.")
