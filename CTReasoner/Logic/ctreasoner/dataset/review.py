"""``ctreasoner dataset review``: a named person looks at every proposal, the most uncertain first, and decides.

Each decision is on disk before the next proposal is shown. Nothing but this dialogue writes ``reviewed_by``.
"""

from __future__ import annotations

import datetime
import gzip
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ctreasoner.errors import CTReasonerError, InputError, UsageError
from ctreasoner.geometry import Volume

from .grids import on_grid, read_labels, read_segments, tight
from .naming import key_of
from .propose import with_mask
from .questions import questions
from .schema import Case, Label
from .store import DataSet

HELP = ("a = accept, c FILE = correct (a mask of yours on the grid of the CT), r = reject, "
        "e = write CT and mask for editing in 3D Slicer, s = skip, q = quit")


@dataclass
class Reviewed:
    accepted: int = 0
    corrected: int = 0
    rejected: int = 0
    skipped: int = 0
    left: int = 0


def person_named(name: str) -> str:
    """The name of the reviewer, refused (CTR-USE-020) where it is none."""
    name = re.sub(r"\s+", " ", name).strip()
    if len(re.findall(r"[^\W\d_]{2,}", name)) < 2:
        raise UsageError("A review is signed with a first and a last name.", code="CTR-USE-020",
                         hint='ctreasoner dataset review DIR --name "First Last"')
    return name


def waiting(data: DataSet) -> list[tuple[Case, Label]]:
    """Every proposal without a decision, the most uncertain first; those that say nothing of it last."""
    found = [(case, label) for case in data.cases() for label in data.labels(case.id, proposals=True) if label.is_open]
    return sorted(found, key=lambda pair: (-(pair[1].uncertainty or 0.0), pair[0].id, pair[1].id))


def review(data: DataSet, person: str, ask: Callable[[str], str], say: Callable[[str], None], *, seed: int = 0) -> Reviewed:
    """Show every waiting proposal and keep what the person says; the end of input or Ctrl-C ends it, and nothing is lost.

    ask : shows a prompt and returns a line; raises EOFError at the end of input.
    """
    person = person_named(person)
    for case in data.cases():
        settle(data, case, seed)                         # what an interruption left half way
    done, order = Reviewed(), waiting(data)
    try:
        for number, (case, label) in enumerate(order, 1):
            say(f"\n[{number} of {len(order)}] {_told(data, case, label)}")
            if not _decide(data, case, label, person, ask, say, seed, done):
                break
    except (EOFError, KeyboardInterrupt):
        say("\nStopped; every decision so far is kept.")
    done.left = len(waiting(data))
    return done


def _told(data: DataSet, case: Case, label: Label) -> str:
    """A proposal in words, its picture written beside the data."""
    unsure = "unknown" if label.uncertainty is None else f"{label.uncertainty:.2f}"
    head = f"{label.display} in {case.id}, proposed by {label.proposed_by.name}, uncertainty {unsure}"
    if label.mask is None:
        return f"{head}\n  It is said not to be in this scan. Scan: {_picture(data, case, None)}"
    words = label.wordings[0] if label.wordings else ""
    return f"{head}\n  {label.voxels} voxels. {words}\n  Picture: {_picture(data, case, label)}"


def _picture(data: DataSet, case: Case, label: Label | None) -> Path:
    from ctreasoner.report.sheet import contact_sheet

    from .show import label_row, overview, write_picture

    volume = data.volume(case)
    row = overview(data, case, volume, ()) if label is None else label_row(data, case, volume, label)
    return write_picture(contact_sheet([row], most_columns=3), _folder(data) / f"{case.id}.{label.id if label else 'scan'}.png")


def _folder(data: DataSet) -> Path:
    folder = data.folder / "review"
    folder.mkdir(exist_ok=True)
    return folder


def _decide(data: DataSet, case: Case, label: Label, person: str, ask, say, seed: int, done: Reviewed) -> bool:
    """Ask until there is a decision about one proposal; False ends the review."""
    while True:
        word, _, rest = ask("a, c FILE, r, e, s, q or ? > ").strip().partition(" ")
        if word == "a":
            _keep(data, case, label, person, "accepted", seed, changed=0)
            done.accepted += 1
        elif word == "c" and rest.strip():
            try:
                correct(data, case, label, person, Path(rest.strip()).expanduser(), seed)
            except CTReasonerError as error:
                say(f"{error} {error.hint}".strip())
                continue
            done.corrected += 1
        elif word == "r":
            _keep(data, case, label, person, "rejected", seed)
            done.rejected += 1
        elif word == "e":
            say(f"CT and mask: {', '.join(str(p) for p in export(data, case, label))}")
            continue
        elif word == "s":
            done.skipped += 1
        elif word == "q":
            return False
        else:
            say(HELP)
            continue
        return True


# ---------------------------------------------------------------- decisions

def correct(data: DataSet, case: Case, label: Label, person: str, path: Path, seed: int) -> None:
    """Put a person's mask in the place of a proposal; the proposal's own mask stays on disk."""
    volume = data.volume(case)
    mask = _mask_of(path, label.key, volume)
    found = tight(mask)
    if found is None:
        raise InputError(f"{path.name} is empty.", code="CTR-DATA-024", hint="Reject the proposal if the object is not there.")
    before = data.whole_mask(label) if label.mask is not None else np.zeros(volume.shape, bool)
    changed = int(np.count_nonzero(before ^ mask))
    better = with_mask(replace(label, wordings=()), found, volume, case, seed, f"masks/{label.id}.reviewed.npy")
    data.write_mask(better, found[0].astype(np.uint8))
    _keep(data, case, better, person, "corrected", seed, changed=changed)


def _mask_of(path: Path, key: str, volume: Volume) -> np.ndarray:
    """The mask in a file: the only one, or the segment that is named like the object."""
    if path.name.lower().endswith(".seg.nrrd"):
        segments = list(read_segments(path))
        named = [s for s in segments if key_of(s[0]) == key] or segments
        if len(named) != 1:
            raise InputError(f"{path.name} holds {len(segments)} segments and not exactly one that is named {key}.",
                             code="CTR-DATA-031")
        mask, affine = named[0][1:]
    else:
        stored, affine = read_labels(path)
        if len(np.unique(stored[stored > 0])) > 1:
            raise InputError(f"{path.name} holds several labels; one mask is needed.", code="CTR-DATA-031")
        mask = stored > 0
    return on_grid(mask, affine, volume, path.name)


def _keep(data: DataSet, case: Case, label: Label, person: str, decision: str, seed: int, changed: int | None = None) -> None:
    """Write one decision, then what follows from it."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    decided = replace(label, decision=decision, reviewed_by=person, reviewed_at=now, changed_voxels=changed)
    labels = [decided if other.id == label.id else other for other in data.labels(case.id, proposals=True)]
    data.write_labels(case.id, labels)
    settle(data, data.case(case.id), seed)


def settle(data: DataSet, case: Case, seed: int) -> None:
    """Bring coverage and questions of a case up to what its reviewed labels say; changes nothing where they agree."""
    labels = data.labels(case.id, proposals=True)
    if not any(label.proposed_by for label in labels):
        return
    counting = [label for label in labels if label.counts]
    covered = tuple(dict.fromkeys((*case.covered, *(label.key for label in counting))))
    if covered != case.covered:
        case = data.change_case(case, covered=covered)
    wanted = questions(case, counting, seed) if covered else []
    if data.questions(case.id) != wanted:
        data.write_questions(case.id, wanted)


def export(data: DataSet, case: Case, label: Label) -> Sequence[Path]:
    """CT and mask as NIfTI below DIR/review, for an editor; an empty mask where the object is said not to be there."""
    import nibabel

    from ctreasoner.io import atomic, write_mask_nifti

    volume, folder = data.volume(case), _folder(data)
    ct, mask = folder / f"{case.id}.nii.gz", folder / f"{case.id}.{label.id}.nii.gz"
    if not ct.is_file():
        image = nibabel.Nifti1Image(np.asarray(volume.voxels), volume.affine)
        with atomic(ct) as file, gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0) as packed:
            packed.write(image.to_bytes())
    crop, first = (data.mask(label), label.first_voxel) if label.mask else (np.zeros((1, 1, 1), bool), (0, 0, 0))
    write_mask_nifti(crop, first, volume, mask)
    return ct, mask
