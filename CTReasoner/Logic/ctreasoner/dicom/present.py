"""A series of which images are missing: what is there, in its place on the grid of the volume that was read from all of it.

A segmentation can be written against that: its frames lie where they always did, and refer to the images that are present.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError
from ..geometry import Volume
from .choosing import choose
from .files import copy_of
from .grid import GRID_TOLERANCE
from .series import planes_of, read_headers
from .uids import content_uid

LPS = np.array([-1.0, -1.0, 1.0])       # times RAS, and the way back


class Absent(Dataset):
    """Stands for the header of an image that is missing: position and all else as its neighbours have it, no UID of its own."""


def read_present(path: str | os.PathLike, volume: Volume) -> list[Dataset]:
    """Return the headers of the series of ``volume`` (of the only one there, where it names none), an ``Absent`` for a missing one.

    Raises
    ------
    InputError : the series is not there, or an image of it does not lie on the volume's grid (CTR-IO-069).
    """
    headers, notes = read_headers(path)
    here = {str(h.SeriesInstanceUID or "") for h in headers}
    wanted = volume.series or (min(here) if len(here) == 1 else "")
    of_series = [h for h in headers if str(h.SeriesInstanceUID or "") == wanted]
    if not wanted or not of_series:
        raise InputError("The series that the answer is about is not here.", code="CTR-IO-069",
                         hint="Give the folder with the images that are left of it.")
    planes = planes_of(choose(of_series, None, notes))
    places = volume.world_to_index([plane.position * LPS for plane in planes])      # of each first pixel
    falls = (np.cross(*planes[0].orientation) * LPS) @ volume.affine[:3, :3] / volume.spacing   # cosines: normal and axes
    along = int(np.argmax(np.abs(falls)))
    count, numbers = volume.shape[along], np.rint(places[:, along]).astype(int)
    off = np.abs(places[:, along] - numbers).max(), np.ptp(np.delete(places, along, 1), axis=0).max()
    if max(off) > GRID_TOLERANCE or len(set(numbers)) < len(numbers) or numbers.min() < 0 or numbers.max() >= count:
        raise InputError("The images do not lie on the grid of the CT that was asked about.", code="CTR-IO-069",
                         hint="Give the images of the very series.")
    step = volume.affine[:3, along] * LPS
    if falls[along] < 0:                                # sources stand in the order of their normal
        numbers, step = count - 1 - numbers, -step
    found = dict(zip(numbers.tolist(), (plane.header.dataset for plane in planes), strict=True))
    return [found.get(k) or _absent(k, found, step) for k in range(count)]


def _absent(k: int, found: dict[int, Dataset], step: np.ndarray) -> Absent:
    near = min(found, key=lambda n: abs(n - k))
    header = Absent(copy_of(found[near]))
    header.file_meta = found[near].file_meta
    position = np.array(found[near].ImagePositionPatient, float) + (k - near) * step
    header.ImagePositionPatient = [round(float(v), 6) for v in position]
    header.SOPInstanceUID = content_uid("absent", header.SeriesInstanceUID, k)
    return header


def absent_uids(sources: Sequence[Dataset]) -> set[str]:
    """Return the UIDs that stand for missing images."""
    return {str(source.SOPInstanceUID) for source in sources if isinstance(source, Absent)}


def forget(segmentation: Dataset, uids: set[str]) -> None:
    """Take the references to missing images out of a segmentation; where a frame has none left, its list is empty (type 2)."""
    for series in segmentation.get("ReferencedSeriesSequence", ()):
        series.ReferencedInstanceSequence = [i for i in series.ReferencedInstanceSequence if i.ReferencedSOPInstanceUID not in uids]
    for frame in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in frame.get("DerivationImageSequence", ()):
            derivation.SourceImageSequence = [s for s in derivation.SourceImageSequence if s.ReferencedSOPInstanceUID not in uids]
        if "DerivationImageSequence" in frame:
            frame.DerivationImageSequence = [d for d in frame.DerivationImageSequence if len(d.SourceImageSequence)]
