"""A conversation as files: masks, segmentation, markups, DICOM, report. Runs in the engine's process alone."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..events import Event, Mask
from .masks import crop_of, read_crop
from .records import EDITED

if TYPE_CHECKING:
    from ..answer import FoundObject
    from ..geometry import Volume
    from ..output import OutputFolder
    from .records import Record

INCOMPLETE = "Images of the CT are missing: the segmentation refers to those that are there."
NEW_SERIES = "The DICOM objects refer to a new CT series, not to the original."
Crop = tuple[np.ndarray, tuple[int, int, int]]


def write_export(record: Record, volume: Volume, folder: str | Path, *, source: str | Sequence[str] = "",
                 edited: Mapping[str, str], rejected: Iterable[str] = (), dicom: Sequence[str] = ("seg",),
                 accepted_by: str = "", incomplete: bool = False) -> tuple[Path, dict[str, str], list[str]]:
    """Write every turn of a conversation into a folder; return it, {what: path relative to it}, and notes to read.

    Parameters
    ----------
    source : where the CT was read from, a folder or the very files; a DICOM series there is what the segmentation refers to.
    edited : object id -> path of a mask as a person left it; those of earlier requests count as well.
    rejected : ids of objects of which neither mask nor box is written.
    dicom : which DICOM objects are written: "seg", "sr", "keys", "rtstruct".
    accepted_by : the person who accepted the findings, for the report ("sr").
    incomplete : `source` is what is left of the series; the segmentation refers to that.

    Raises
    ------
    ResourceError, InputError : as `OutputFolder` does.
    """
    from ..exporting import Wish
    from ..output import OutputFolder

    with tempfile.TemporaryDirectory(dir=record.workspace) as gathered:
        place, notes = source_of(source or volume.source, Path(gathered))
        incomplete = incomplete and place is not None
        wish = Wish(tuple(dicom), accepted_by=accepted_by, incomplete=incomplete)
        output = OutputFolder(Path(folder), volume, source=place, wish=wish)
        _replay(record, volume, output, edited, set(rejected))
        try:
            return output.folder, output.finish(), [*notes, *([INCOMPLETE] if incomplete else [])]
        except InputError as error:
            if output.source is None:
                raise
            # a CT that was moved, cropped or resampled: a series of its own is written for it
            output.source, output.wish = None, replace(wish, incomplete=False)
            return output.folder, output.finish(), [f"{NEW_SERIES} {error}"]


def source_of(source: str | Sequence[str], folder: Path) -> tuple[Path | None, list[str]]:
    """Return where the original CT lies, and a note where it no longer does. Files are gathered: others may lie beside them."""
    files = [source] if isinstance(source, str) else list(source)
    if any(not Path(file).exists() for file in files if file):
        return None, [f"{NEW_SERIES} Its files are no longer where they were."]
    if isinstance(source, str):
        return Path(source) if source else None, []
    for number, file in enumerate(files):
        try:
            os.link(file, folder / f"{number:06d}.dcm")
        except OSError:             # another disk, or one without links
            shutil.copyfile(file, folder / f"{number:06d}.dcm")
    return folder, []


def _replay(record: Record, volume: Volume, output: OutputFolder, edited: Mapping[str, str], rejected: set[str]) -> None:
    """Have the output folder record every turn once more, with what the person changed."""
    from ..answer import Assembler
    from .bringing import facts_of

    earlier: dict[str, FoundObject] = {}
    imported = facts_of(record.workspace)
    crops = _crops(record, volume, edited)
    for turn in record.turns:
        fold = Assembler(turn.request, earlier=earlier)
        for _ in output.record(_carried(turn.events, record.workspace, output.workspace, crops), fold):
            pass
        for found in fold.answer.objects:
            if found.origin == "text" and found.id in imported:
                found.origin, found.imported = "imported", imported[found.id]
            if found.id in crops:
                found.origin = "edited"
            if found.id in rejected:
                found.mask = found.box = None
        earlier.update((o.id, o) for o in fold.answer.objects)


def _crops(record: Record, volume: Volume, edited: Mapping[str, str]) -> dict[str, Crop]:
    """Return the masks that a person changed, in their last state."""
    paths = {path.stem: path for path in sorted((record.workspace / EDITED).glob("*.npz"))}
    paths.update({key: Path(path) for key, path in edited.items()})
    return {key: _read(path, volume) for key, path in paths.items()}


def _read(path: Path, volume: Volume) -> Crop:
    if path.suffix == ".npz":
        return read_crop(path, volume.shape)
    from ..io import read_mask

    return crop_of(read_mask(path, volume))


def _carried(events: Iterable[Event], source: Path, target: Path, crops: Mapping[str, Crop]) -> Iterator[Event]:
    """Yield events with the arrays of their masks (or the person's version of them) copied to the folder of an export."""
    for event in events:
        if not isinstance(event, Mask):
            yield event
        elif event.object in crops and event.stage != "coarse":
            crop, first = crops[event.object]
            name = f"{event.object}.edited.npy"
            np.save(target / name, crop.astype(np.uint8))
            yield replace(event, path=name, first_voxel=first, shape=crop.shape, voxels=int(crop.sum()))
        else:
            path = target / event.path
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / event.path, path)
            yield event
