"""A folder, a file, a zip or a DICOMDIR becomes one CT series: sorted by position, complete, in HU, with its affine in RAS.

What cannot be trusted is refused with a sentence that names numbers: two series, slices that stand on one another,
slices that are missing, slices at unequal distances, anything that is not a CT. A tilted gantry is resampled, and that
is noted.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError, NotACTError, ResourceError
from ..geometry import Volume
from .archive import members
from .choosing import choose
from .directory import is_directory, listed_images
from .header import MAX_SIDE, Header, read_header, reading
from .pixels import is_lossy, stored_values
from .stack import Plane, Stack, lps_to_ras, stack_planes
from .tilt import straighten

HU_TYPES = {"", "HU", "US", "HU_MOD"}  # US: unspecified, which is what older scanners write for HU
MAX_VOXELS = 4 << 30
PADDING_ABOVE_HU = 3071.0  # a padding value that would shine like metal is turned into air
AIR_HU = -1024.0


@dataclass(frozen=True)
class Series:
    """One CT series.

    volume : HU and affine.
    sources : header of the slice at each k, without pixels; empty when the volume's grid is not that of the files
        (tilted gantry, multi-frame) or identifiers lack: a segmentation then refers to a derived series.
    template : a header with patient and study, for whatever is derived from this series.
    uid : SeriesInstanceUID.
    notes : what was left out or resampled, one sentence each.
    """

    volume: Volume
    sources: tuple[Dataset, ...]
    template: Dataset
    uid: str
    notes: tuple[str, ...] = ()


def read_series(path: str | os.PathLike, *, series: str | None = None) -> Series:
    """Read the one CT series under ``path`` (a folder, a file, a zip, or a DICOMDIR, which stands for its folder).

    Parameters
    ----------
    series : number or UID of the series to take where there are several.

    Raises
    ------
    InputError, NotACTError : with one sentence that says what was found.
    """
    stack, notes = _plan(path, series)
    frames = _decode(stack)
    affine, tilted = stack.affine_lps, stack.is_tilted
    if tilted:
        frames, affine = straighten(frames, stack)
        notes.append(
            f"The gantry was tilted by {stack.tilt_degrees:.1f} degrees; the slices were shifted onto a "
            "rectangular grid by linear interpolation."
        )
    voxels = frames.transpose(2, 1, 0)  # (slice, row, column) -> [i, j, k]
    volume = Volume(voxels, lps_to_ras(affine), name=Path(path).stem, source=os.fspath(path))
    template = stack.planes[0].header.dataset
    return Series(volume, _sources(stack), template, str(template.get("SeriesInstanceUID", "")), tuple(notes))


def read_sources(path: str | os.PathLike, *, series: str | None = None) -> tuple[tuple[Dataset, ...], Dataset]:
    """Return (sources, template) as :func:`read_series` does, without decoding a pixel."""
    stack, _ = _plan(path, series)
    return _sources(stack), stack.planes[0].header.dataset


def _sources(stack: Stack) -> tuple[Dataset, ...]:
    """Return the headers that a segmentation may refer to, in the order of the volume's slices; or none."""
    needed = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    complete = all(plane.header.dataset.get(keyword) for plane in stack.planes for keyword in needed)
    if stack.is_tilted or stack.is_multiframe or not complete:
        return ()
    return tuple(plane.header.dataset for plane in stack.planes)


# --- which files -----------------------------------------------------------------------------------------------------
def read_headers(path: str | os.PathLike) -> tuple[list[Header], list[str]]:
    """Return the headers of all DICOM files under ``path`` but a DICOMDIR's, and a note where that lists what is not here."""
    headers, listed = [], set()
    for member in members(path):
        header = read_header(member)
        if header is not None and is_directory(header):
            listed |= listed_images(header)
        elif header is not None:
            headers.append(header)
    if not headers:
        raise InputError(f"{Path(path).name!r} holds no DICOM files.", code="CTR-IO-002", hint="Give the folder of one CT series.")
    absent = len(listed - {str(header.SOPInstanceUID) for header in headers})
    return headers, [f"Images that the DICOMDIR lists and that are not here: {absent}."] if absent else []


def _plan(path: str | os.PathLike, series: str | None) -> tuple[Stack, list[str]]:
    """Read all headers, choose the series and put its planes in order."""
    headers, notes = read_headers(path)
    chosen = choose(headers, series, notes)
    if any(is_lossy(header) for header in chosen):
        notes.append("The images were compressed with loss: fine texture and Hounsfield units may differ from what was measured.")
    return stack_planes(planes_of(chosen)), notes


def planes_of(headers: Sequence[Header]) -> list[Plane]:
    """Return the planes of all slices of a series, in no order."""
    planes = []
    for header in headers:
        with reading(header.member):
            planes += _planes(header)
    return planes


# --- what stands in a file -------------------------------------------------------------------------------------------
def _planes(header: Header) -> list[Plane]:
    """Return the plane of a slice, or all planes of a multi-frame object, checked to be grey values in HU."""
    name = header.member.name
    if not header.has_pixels:
        raise InputError(
            f"{name!r} has no pixel data: it was cut off or is a reference only.",
            code="CTR-IO-021",
            hint="Copy the series again.",
        )
    if int(header.SamplesPerPixel or 1) != 1 or not str(header.PhotometricInterpretation or "").startswith("MONOCHROME"):
        raise NotACTError(f"{name!r} is a colour picture, not Hounsfield units.", code="CTR-IO-102")
    rows, columns = int(header.Rows), int(header.Columns)
    if not (0 < rows <= MAX_SIDE and 0 < columns <= MAX_SIDE):
        raise InputError(f"{name!r} says it has {columns} x {rows} pixels; the limit is {MAX_SIDE}.", code="CTR-IO-003")
    frames = header.PerFrameFunctionalGroupsSequence
    if frames:
        shared = (header.SharedFunctionalGroupsSequence or [Dataset()])[0]
        if len(frames) != int(header.NumberOfFrames or 1):
            raise InputError(f"{name!r} describes {len(frames)} frames but holds {header.NumberOfFrames}.", code="CTR-IO-021")
        return [_plane(header, index, _frame_values(frame, shared)) for index, frame in enumerate(frames)]
    if int(header.NumberOfFrames or 1) > 1:
        raise InputError(f"{name!r} holds {header.NumberOfFrames} frames without positions.", code="CTR-IO-032")
    return [_plane(header, None, header.dataset)]


FUNCTIONAL_GROUPS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence",
                     "PixelValueTransformationSequence", "FrameContentSequence")  # fmt: skip


NEEDED = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")


def _frame_values(frame: Dataset, shared: Dataset) -> Dataset:
    """Return position, orientation, spacing and rescale of one frame of a multi-frame object, in one flat data set."""
    values = Dataset()
    for group in FUNCTIONAL_GROUPS:
        items = frame.get(group) or shared.get(group)
        if items:
            values.update(items[0])
    return values


def _plane(header: Header, frame: int | None, values: Dataset) -> Plane:
    name = header.member.name
    missing = [keyword for keyword in NEEDED if values.get(keyword) in (None, "")]
    if missing:
        raise InputError(
            f"{name!r} lacks {', '.join(missing)}.",
            code="CTR-IO-033",
            hint="Without them neither place nor Hounsfield units are known.",
        )
    kind = str(values.get("RescaleType") or "").strip().upper()
    if kind not in HU_TYPES:
        raise NotACTError(f"{name!r} holds values of the type {kind}, not Hounsfield units.", code="CTR-IO-103")
    plane = Plane(
        header=header,
        frame=frame,
        position=np.array(values.ImagePositionPatient, float),
        orientation=np.array(values.ImageOrientationPatient, float).reshape(2, 3),
        spacing=np.array(values.PixelSpacing, float),
        shape=(int(header.Rows), int(header.Columns)),
        slope=float(values.RescaleSlope),
        intercept=float(values.RescaleIntercept),
        number=int(header.InstanceNumber) if frame is None and header.InstanceNumber not in (None, "") else None,
    )
    plane.check(name)
    return plane


# --- values ----------------------------------------------------------------------------------------------------------
def _decode(stack: Stack) -> np.ndarray:
    """Return HU of all planes in order, (n, rows, columns): int16 where nothing is lost, else float32."""
    shape = (len(stack.planes), *stack.planes[0].shape)
    if np.prod(shape, dtype=np.int64) > MAX_VOXELS:
        raise InputError(f"A volume of {shape[2]} x {shape[1]} x {shape[0]} voxels is too large.", code="CTR-IO-003")
    try:
        hounsfield = np.empty(shape, np.int16)
        cached: tuple[Header | None, np.ndarray | None] = (None, None)
        for k, plane in enumerate(stack.planes):
            if cached[0] is not plane.header:
                cached = (plane.header, stored_values(plane.header))
            values = _rescale(cached[1][plane.frame or 0], plane)
            if values.dtype != np.int16 and hounsfield.dtype == np.int16:
                hounsfield = hounsfield.astype(np.float32)
            hounsfield[k] = values
    except MemoryError as error:
        raise ResourceError("There is not enough memory for this series.", code="CTR-RES-002") from error
    if hounsfield.min() == hounsfield.max():
        raise NotACTError(f"All voxels have the same value ({hounsfield.flat[0]:g} HU): nothing can be seen.", code="CTR-IO-104")
    return hounsfield


def _rescale(stored: np.ndarray, plane: Plane) -> np.ndarray:
    """Return HU of one plane: stored value times slope plus intercept, padding that would shine as air."""
    values = stored.astype(np.float64) * plane.slope + plane.intercept
    padding, limit = plane.header.PixelPaddingValue, plane.header.PixelPaddingRangeLimit
    if isinstance(padding, int) and padding * plane.slope + plane.intercept > PADDING_ABOVE_HU:
        low, high = sorted((padding, limit if isinstance(limit, int) else padding))
        values[(stored >= low) & (stored <= high)] = AIR_HU
    whole = np.rint(values)
    if np.array_equal(whole, values) and values.min() >= -32768 and values.max() <= 32767:
        return whole.astype(np.int16)
    return values.astype(np.float32)
