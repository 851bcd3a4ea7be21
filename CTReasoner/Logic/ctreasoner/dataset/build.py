"""``ctreasoner dataset build``: image and mask pairs become the data set.

A case that cannot be trusted is refused with a sentence that names its file; the others are built. An interrupted build goes on
where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ctreasoner.errors import CTReasonerError, GeometryError, InputError, ResourceError
from ctreasoner.geometry import Volume, body_extent, box_of
from ctreasoner.version import __version__

from .describe import describe, rules_version
from .grids import on_grid, tight, touches_border, turned_volume
from .layouts import SOURCE_FILE, Drawn, Found, Scan, about_of, layout, layout_of
from .naming import display_of, key_of
from .questions import questions
from .schema import By, Case, Label, PromptBox, Source
from .simulate import prompts
from .store import DataSet

TRAIN_SHARE = 0.8               # of patients without a published split


@dataclass
class Built:
    """What a build did. ``refused``: one sentence for each case that was left out."""

    written: int = 0
    there: int = 0
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Settings:
    """How to build.

    layout : one of ``layouts.NAMES``; empty: found out. licence : of sources that do not name theirs.
    seed : of prompts and wordings. proposed_by : a program whose masks these are; they wait for a review then.
    """

    layout: str = ""
    licence: str = ""
    seed: int = 0
    proposed_by: str = ""


def build(sources: Sequence[Path], out: Path, settings: Settings | None = None, *, say: Callable[[str], None] = lambda _: None,
          only: Callable[[Found], bool] = lambda _: True) -> Built:
    """Read every source and write what can be trusted; ``only`` says which cases to take.

    Raises: InputError for a source as a whole: no layout (CTR-DATA-020), no licence (CTR-DATA-010).
    """
    settings = settings or Settings()
    data = DataSet.create(out, {"ctreasoner": __version__, "seed": settings.seed, "rules": rules_version()})
    done = Built()
    for folder in map(Path, sources):
        name = settings.layout or layout_of(folder)
        say(f"{folder.name}: layout {name}")
        for found in layout(name).cases(folder, about_of(folder, settings.licence)):
            if only(found):
                _take(data, found, folder, settings, done, say)
    return done


def _take(data: DataSet, found: Found, folder: Path, settings: Settings, done: Built, say: Callable[[str], None]) -> None:
    if not found.source.licence.strip():
        raise InputError(f"{folder.name}/{SOURCE_FILE} names no licence, and no --licence was given.", code="CTR-DATA-010",
                         hint="Find the licence of the data and write it down; without one nobody may use them.")
    known = {case.id: case for case in data.cases()}
    if found.id in known and known[found.id].source == found.source.name:
        done.there += 1
        return
    try:
        split = _split(found, known.values())
        if found.id in known:
            raise InputError(f"{found.file}: a case named {found.id} came from {known[found.id].source} already.",
                             code="CTR-DATA-027")
        case, voxels, labels, masks = _made(found, split, settings.seed)
        twin = next((other for other in known.values() if other.identity == case.identity and other.split != split), None)
        if twin is not None:
            raise InputError(f"{found.file} holds the very voxels of {twin.id}, which lies in {twin.split}, not {split}.",
                             code="CTR-DATA-026")
    except ResourceError:
        raise
    except (CTReasonerError, OSError) as error:          # an OSError here is one of reading; writing comes afterwards
        done.refused.append(_sentence(found, error))
        say(f"refused  {done.refused[-1]}")
        return
    if settings.proposed_by:
        case, labels = as_proposals(case, labels, settings.proposed_by)
    data.add_source(found.source)
    data.add_case(case, voxels, labels, masks, [] if settings.proposed_by else questions(case, labels, settings.seed))
    done.written += 1
    say(f"{case.id}  {case.split}  {len(labels)} labels")


def _sentence(found: Found, error: Exception) -> str:
    """Why a case was refused, with its file."""
    if isinstance(error, OSError):
        return f"{found.file} cannot be read: {error.strerror or error}."
    text = f"{error} [{error.code}]"
    return text if found.file in text else f"{found.file}: {text}"


def as_proposals(case: Case, labels: Sequence[Label], expert: str) -> tuple[Case, list[Label]]:
    """The same masks as what another program proposes: nothing is covered, nothing counts, until a person has looked."""
    by = By(kind="expert", name=expert)
    return replace(case, covered=()), [replace(label, drawn_by=by, proposed_by=by) for label in labels]


def _split(found: Found, known: Iterable[Case]) -> str:
    """The publisher's split, or one drawn from the patient's name; never a patient on two sides."""
    split = found.split or split_by_name(found.patient)
    other = next((case for case in known if case.patient == found.patient and case.split != split), None)
    if other is not None and found.source.split_unit == "patients":
        raise InputError(f"{found.file} is of patient {found.patient}, who lies in {other.split} with {other.id} and would lie in "
                         f"{split} too.", code="CTR-DATA-025", hint="Put all scans of a patient on one side.")
    return split


def split_by_name(patient: str) -> str:
    """Train or val by a hash of the patient's name: more patients move nobody.

    >>> split_by_name("a"), split_by_name("b"), split_by_name("a")
    ('train', 'val', 'train')
    """
    return "train" if int(hashlib.sha256(patient.encode()).hexdigest()[:8], 16) / 2**32 < TRAIN_SHARE else "val"


def _made(found: Found, split: str, seed: int) -> tuple[Case, np.ndarray, list[Label], dict[str, np.ndarray]]:
    """Everything of one case, in memory."""
    scan = found.read()
    volume = turned_volume(scan.volume)
    case = Case(
        id=found.id, source=found.source.name, patient=found.patient, split=split, published_split=found.published_split,
        shape=volume.shape, affine=tuple(map(tuple, volume.affine)), view=scan.view, hu=scan.hu, scale=scan.scale,
        covered=tuple(dict.fromkeys(map(key_of, scan.covered))), identity=voxels_identity(volume.voxels),
        notes=(*volume.notes, *scan.notes))
    labels, masks = [], {}
    for label, crop in _labels(case, scan, volume, found.source):
        described = fill(label, crop, volume, case, seed)
        labels.append(described)
        masks[label.id] = crop.astype(np.uint8)
    return case, volume.voxels, labels, masks


def voxels_identity(voxels: np.ndarray) -> str:
    """sha256 of the voxels in their order, whatever their affine."""
    return hashlib.sha256(np.ascontiguousarray(voxels)).hexdigest()


def _labels(case: Case, scan: Scan, volume: Volume, source: Source) -> Iterator[tuple[Label, np.ndarray]]:
    """Every mask that is not empty, on the grid of the CT; a second one of a key is numbered."""
    count: dict[str, int] = {}
    for drawn in scan.masks:
        key = key_of(drawn.name)
        found = tight(on_grid(drawn.mask, drawn.affine, volume, drawn.file))
        if found is None:
            continue                                     # looked for and not there: covered says so
        count[key] = count.get(key, 0) + 1
        crop, first = found
        name = key if count[key] == 1 else f"{key}.{count[key]}"
        yield Label(id=name, case=case.id, key=key, display=display_of(key), mask=f"masks/{name}.npy", first_voxel=first,
                    shape=crop.shape, voxels=int(crop.sum()), ends=_ends(drawn, crop, first, case), words=drawn.words,
                    ratings=tuple(map(tuple, drawn.ratings)), drawn_by=drawn.by or _by(source)), crop


def _by(source: Source) -> By:
    return By(kind=source.labels_kind, name=source.labels_by or source.name, licence=source.licence)


def _ends(drawn: Drawn, crop: np.ndarray, first: tuple[int, ...], case: Case) -> str:
    if drawn.range_only:
        return "drawn range"
    if drawn.cut_by_crop:
        return "cut by crop"
    if touches_border(crop, first, case.shape):
        return "cut by crop" if case.view == "crop" else "cut by scan"
    return "whole"


def fill(label: Label, crop: np.ndarray, volume: Volume, case: Case, seed: int) -> Label:
    """The label with box, prompts, measurements, attributes and wordings of its mask."""
    if not np.any(crop):
        raise GeometryError(f"The mask of {label.display} in {case.id} is empty.", code="CTR-DATA-024")
    centre, size = box_of(crop, label.first_voxel, volume)
    body = np.mean(body_extent(volume), axis=0) if case.view == "scan" else None
    own = int(hashlib.sha256(f"{seed} {case.id} {label.id}".encode()).hexdigest()[:8], 16)
    boxed = replace(label, box=PromptBox(centre_ras=tuple(centre), size_mm=tuple(size)),
                    prompts=prompts(crop, label.first_voxel, volume, own))
    said = describe(boxed, crop, volume, case, body, seed)
    return replace(boxed, measurements=said.measurements, attributes=said.attributes, wordings=said.wordings, rules=rules_version())
