"""A conversation as files: masks, segmentation, markups, DICOM, report. Runs in the engine's process alone."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..events import Event, Mask
from .masks import read_crop

if TYPE_CHECKING:
    from ..geometry import Volume
    from .records import Record

Crop = tuple[np.ndarray, tuple[int, int, int]]


def write_export(record: Record, volume: Volume, folder: str | Path, *, source: str = "", edited: Mapping[str, str],
                 rejected: Iterable[str] = ()) -> tuple[Path, dict[str, str]]:
    """Write every turn of a conversation into a folder and return it with {what: path relative to it}.

    Parameters
    ----------
    source : where the CT was read from; a DICOM series there is what the segmentation refers to.
    edited : object id -> path of a mask as a person left it; those of earlier requests count as well.
    rejected : ids of objects of which neither mask nor box is written.

    Raises
    ------
    ResourceError, InputError : as `OutputFolder` does.
    """
    from ..answer import Assembler
    from ..output import OutputFolder

    place = Path(source or volume.source) if source or volume.source else None
    output = OutputFolder(Path(folder), volume, source=place if place is not None and place.exists() else None)
    crops, rejected, earlier = _crops(record, volume, edited), set(rejected), {}
    for turn in record.turns:
        fold = Assembler(turn.request, earlier=earlier)
        for _ in output.record(_carried(turn.events, record.workspace, output.workspace, crops), fold):
            pass
        for found in fold.answer.objects:
            if found.id in crops:
                found.origin = "edited"
            if found.id in rejected:
                found.mask = found.box = None
        earlier.update((o.id, o) for o in fold.answer.objects)
    return output.folder, output.finish()


def _crops(record: Record, volume: Volume, edited: Mapping[str, str]) -> dict[str, Crop]:
    """Return the masks that a person changed, in their last state."""
    paths = {path.stem: path for path in sorted((record.workspace / "edited").glob("*.npz"))}
    for turn in record.turns:       # masks that came as files of another kind
        paths.update({key: Path(path) for key, path in turn.request.edited.items() if key not in paths and Path(path).exists()})
    paths.update({key: Path(path) for key, path in edited.items()})
    return {key: _read(path, volume) for key, path in paths.items()}


def _read(path: Path, volume: Volume) -> Crop:
    if path.suffix == ".npz":
        return read_crop(path, volume.shape)
    from ..io import read_mask

    whole = read_mask(path, volume)
    spans = [np.flatnonzero(whole.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    if not whole.any():
        return whole[:0, :0, :0], (0, 0, 0)
    where = tuple(slice(int(s[0]), int(s[-1]) + 1) for s in spans)
    return whole[where], tuple(s.start for s in where)


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
