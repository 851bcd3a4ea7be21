"""``ctreasoner dataset propose``: masks, boxes, prompts and descriptions for CTs that nobody labelled.

A proposal is no label. It says who proposed it and how unsure that is; a person's review decides (``review``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from ctreasoner.errors import CTReasonerError, InputError
from ctreasoner.events import By
from ctreasoner.geometry import Volume, box_of
from ctreasoner.version import __version__

from .build import Built, fill, split_by_name, voxels_identity
from .describe import rules_version
from .grids import tight, touches_border, turned_volume
from .layouts import stem
from .naming import display_of, vocabulary
from .schema import Case, Label, Source, safe_name
from .store import DataSet


@dataclass(frozen=True, eq=False)
class Proposal:
    """One object of one CT as something sees it.

    mask : bool on the whole grid, None for "it is not there". uncertainty : 0 to 1; it orders the review and claims no more.
    text : a description in words, each number measured; may be empty.
    """

    key: str
    mask: np.ndarray | None
    uncertainty: float
    text: str = ""


class Proposer(Protocol):
    """The engine, or an expert's model behind the same two names."""

    by: By

    def propose(self, volume: Volume) -> Iterator[Proposal]: ...


class EngineProposer:
    """Asks the engine for every object that can be asked for by name, or for those of ``keys``.

    Uncertainty is 1 - p * IoU: p, the calibrated probability of what it says (present or not); IoU, how far the box that its head
    read agrees with the box of its final mask.
    """

    def __init__(self, reasoner, keys: Sequence[str] = ()) -> None:
        self.reasoner = reasoner
        self.keys = tuple(keys) or tuple(item.key for item in vocabulary() if not item.clickable_only)
        unknown = [key for key in self.keys if key not in vocabulary() or vocabulary()[key].clickable_only]
        if unknown:
            raise InputError(f"'{unknown[0]}' is no object that can be proposed.", code="CTR-DATA-030",
                             hint="ctreasoner objects lists the names.")
        self.by = By(kind="model", name="unknown")

    def propose(self, volume: Volume) -> Iterator[Proposal]:
        for key in self.keys:
            answer = self.reasoner.ask(volume, f"Segment and describe the {display_of(key).lower()}", conversation=f"propose {key}")
            self.by = By(kind="model", name=str(answer.model.get("name", "unknown")), version=str(answer.model.get("hash", "")))
            found = answer.find(key)
            if found is None or found.existence not in ("present", "absent", "outside"):
                continue
            sure = 1.0 if found.probability is None else float(found.probability)
            mask = answer.mask(found.id) if found.existence == "present" else None
            if mask is None or not mask.any():
                yield Proposal(key, None, round(1 - sure, 4))
                continue
            agrees = _iou(mask, volume, _head_box(answer, found.id))
            yield Proposal(key, mask, round(1 - sure * agrees, 4), answer.text)


def _head_box(answer, name: str):
    """The last box that came before the final mask: the head's own."""
    boxes = []
    for event in answer.events:
        if event.type == "Mask" and event.stage != "coarse" and event.object == name:
            break
        if event.type == "Box" and event.object == name:
            boxes.append(event)
    return boxes[-1] if boxes else None


def _iou(mask: np.ndarray, volume: Volume, head_box) -> float:
    """Intersection over union of two RAS boxes; 1 where there is nothing to compare."""
    if head_box is None:
        return 1.0
    cut = tight(mask)
    centre, size = box_of(*cut, volume)
    low = np.maximum(centre - size / 2, np.array(head_box.centre_ras) - np.array(head_box.size_mm) / 2)
    high = np.minimum(centre + size / 2, np.array(head_box.centre_ras) + np.array(head_box.size_mm) / 2)
    shared = float(np.prod(np.maximum(high - low, 0)))
    return shared / (float(np.prod(size)) + float(np.prod(head_box.size_mm)) - shared)


def propose(files: Sequence[Path], out: Path, proposer: Proposer, *, licence: str, name: str = "unlabelled", seed: int = 0,
            say: Callable[[str], None] = lambda _: None) -> Built:
    """Write a case with proposals for each CT; one that is there already stays as it is, reviewed or not.

    Raises: InputError CTR-DATA-010 without a licence. A CT that cannot be read is refused with a sentence.
    """
    if not licence.strip():
        raise InputError("Nothing says under which licence these CTs may be used.", code="CTR-DATA-010",
                         hint="--licence \"...\"; write what the hospital or the publisher allows.")
    data = DataSet.create(out, {"ctreasoner": __version__, "seed": seed, "rules": rules_version()})
    done = Built()
    for path in map(Path, files):
        if safe_name(stem(path)) in {case.id for case in data.cases()}:
            done.there += 1
            continue
        try:
            volume = _ct(path)
            twin = next((c.id for c in data.cases() if c.identity == voxels_identity(volume.voxels)), None)
            if twin is not None:
                raise InputError(f"{path.name} holds the very voxels of {twin}.", code="CTR-DATA-026")
        except CTReasonerError as error:
            done.refused.append(str(error) if path.name in str(error) else f"{path.name}: {error}")
            say(f"refused  {done.refused[-1]}")
            continue
        case, labels, masks = _made(path, volume, proposer, name, seed)
        source = Source(name=name, licence=licence, labels_by=proposer.by.name, labels_kind=proposer.by.kind)
        data.add_source(source)
        data.add_case(case, volume.voxels, labels, masks, [])
        done.written += 1
        say(f"{case.id}  {sum(label.mask is not None for label in labels)} masks proposed, "
            f"{sum(label.mask is None for label in labels)} objects not seen")
    return done


def _ct(path: Path) -> Volume:
    from ctreasoner.io import read_volume

    return turned_volume(read_volume(path))


def _made(path: Path, volume: Volume, proposer: Proposer, source: str, seed: int):
    key = safe_name(stem(path))
    case = Case(id=key, source=source, patient=f"{source}_{key}", split=split_by_name(f"{source}_{key}"), shape=volume.shape,
                affine=tuple(map(tuple, volume.affine)), identity=voxels_identity(volume.voxels), notes=volume.notes)
    labels, masks = [], {}
    for proposal in proposer.propose(volume):
        label = Label(id=proposal.key, case=key, key=proposal.key, display=display_of(proposal.key), state="absent",
                      drawn_by=proposer.by, proposed_by=proposer.by, uncertainty=min(1.0, max(0.0, proposal.uncertainty)))
        found = None if proposal.mask is None else tight(proposal.mask)
        if found is not None:
            label = with_mask(label, found, volume, case, seed, f"masks/{label.id}.npy")
            label = replace(label, wordings=tuple(dict.fromkeys((*([proposal.text] if proposal.text else []), *label.wordings))))
            masks[label.id] = found[0].astype(np.uint8)
        labels.append(label)
    return case, labels, masks


def with_mask(label: Label, found: tuple[np.ndarray, tuple[int, ...]], volume: Volume, case: Case, seed: int, path: str) -> Label:
    """The label with a mask (crop, first voxel), measured and described; ``path`` is where the mask goes."""
    crop, first = found
    ends = "cut by scan" if touches_border(crop, first, volume.shape) else "whole"
    there = replace(label, state="present", mask=path, first_voxel=first, shape=crop.shape, ends=ends,
                    voxels=int(np.count_nonzero(crop)))
    return fill(there, crop, volume, case, seed)
