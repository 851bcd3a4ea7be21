"""Masks become one DICOM segmentation (binary, one object for all segments) that refers to the CT it was made from."""

from __future__ import annotations

import datetime
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ..errors import GeometryError, InputError
from ..geometry import Volume
from ..version import __version__
from ..vocabulary import VocabObject, Vocabulary
from .derived import MANUFACTURER, MODEL_NAME, write_derived
from .files import copy_of, save
from .stack import lps_to_ras
from .uids import content_uid

SEG_SERIES_NUMBER = 9001
DESCRIPTION = "CTReasoner segmentation - research use only"
ALGORITHMS = ("AUTOMATIC", "SEMIAUTOMATIC", "MANUAL")
GRID_TOLERANCE = 0.02  # voxels: how far two grids may disagree at their far corner and still be one
THING_COLOUR = (235, 200, 80)
TISSUE = ("85756007", "SCT", "Tissue")


@dataclass(frozen=True, eq=False)
class SegObject:
    """One segment: what it is, and its mask as a crop [i, j, k] of the volume's grid that starts at ``first_voxel``."""

    key: str
    display: str
    mask: np.ndarray
    first_voxel: tuple[int, int, int]
    algorithm: str = "AUTOMATIC"  # AUTOMATIC from words, SEMIAUTOMATIC from a click or box, MANUAL when a person drew it
    tracking_id: str = ""  # the object's id in the answer, "a1.o2"


def write_seg(
    path: str | Path,
    objects: Sequence[SegObject],
    volume: Volume,
    sources: Sequence[Dataset] | None = None,
    *,
    template: Dataset | None = None,
    derived_folder: str | Path | None = None,
    vocabulary: Vocabulary | None = None,
    model: str = "",
    created: datetime.datetime | None = None,
) -> Path:
    """Write ``objects`` as one DICOM segmentation; every voxel stays where it is, for oblique and flipped volumes too.

    Parameters
    ----------
    sources : headers of the series that the volume was read from (``Series.sources``). Without them a CT series is
        derived from the volume and written into ``derived_folder`` (default: "<name>_ct" beside the segmentation).
    template : header with patient and study for the derived series (``Series.template``).
    model : name and version of the model, for the algorithm identification.
    created : when the answer was made; now, when not given. Identifiers do not depend on it.

    Raises
    ------
    InputError : no object with a voxel. GeometryError : sources not on the volume's grid. ResourceError : disk full.
    """
    path = Path(path)
    objects = [item for item in objects if np.any(item.mask)]
    if not objects:
        raise InputError("There is no mask to export.", code="CTR-IO-050")
    if not sources:
        sources = write_derived(volume, derived_folder or path.with_name(path.stem + "_ct"), template)
    frames = _frames(objects, volume, sources)
    vocabulary = vocabulary or Vocabulary.load()
    segmentation = _build(objects, frames, sources, vocabulary, model, created or datetime.datetime.now())
    return save(segmentation, path)


# --- masks on the grid of the source series --------------------------------------------------------------------------
def source_affine_ras(sources: Sequence[Dataset]) -> np.ndarray:
    """Return 4x4 [column, row, slice] -> RAS mm of a series whose headers stand in order."""
    first, last = sources[0], sources[-1]
    orientation = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = orientation[0] * float(first.PixelSpacing[1])
    affine[:3, 1] = orientation[1] * float(first.PixelSpacing[0])
    affine[:3, 3] = np.array(first.ImagePositionPatient, float)
    affine[:3, 2] = (np.array(last.ImagePositionPatient, float) - affine[:3, 3]) / max(len(sources) - 1, 1)
    return lps_to_ras(affine)


@dataclass(frozen=True)
class _GridMap:
    """How the volume's voxel axes become column, row and slice of the source series."""

    axes: tuple[int, int, int]  # volume axis that runs along columns, rows, slices
    flips: tuple[bool, bool, bool]
    shape: tuple[int, int, int]  # of the series: columns, rows, slices

    def place(self, item: SegObject) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Return the mask [column, row, slice] and its first voxel there."""
        mask = (np.asarray(item.mask) != 0).transpose(self.axes)
        mask = mask[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        first = [item.first_voxel[a] for a in self.axes]
        first = [self.shape[w] - first[w] - mask.shape[w] if flip else first[w] for w, flip in enumerate(self.flips)]
        if min(first) < 0 or any(f + n > s for f, n, s in zip(first, mask.shape, self.shape, strict=True)):
            raise GeometryError(f"The mask of {item.display} leaves the scan.", code="CTR-GEO-031")
        return mask, tuple(int(f) for f in first)


def _grid_map(volume: Volume, sources: Sequence[Dataset]) -> _GridMap:
    shape = (int(sources[0].Columns), int(sources[0].Rows), len(sources))
    to_source = np.linalg.inv(source_affine_ras(sources)) @ volume.affine
    turn = np.rint(to_source[:3, :3]).astype(int)
    if not (np.abs(turn).sum(0) == 1).all() or not (np.abs(turn).sum(1) == 1).all():
        raise GeometryError("The source series does not lie on the volume's grid.", code="CTR-GEO-030")
    axes = tuple(int(np.flatnonzero(turn[w])[0]) for w in range(3))
    flips = tuple(bool(turn[w, axes[w]] < 0) for w in range(3))
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in volume.shape], indexing="ij")).reshape(3, -1)
    there = to_source[:3, :3] @ corners + to_source[:3, 3:]
    wanted = np.array(
        [shape[w] - 1 - corners[a] if flip else corners[a] for w, (a, flip) in enumerate(zip(axes, flips, strict=True))]
    )
    if tuple(volume.shape[a] for a in axes) != shape or np.abs(there - wanted).max() > GRID_TOLERANCE:
        raise GeometryError(
            "The source series does not lie on the volume's grid.",
            code="CTR-GEO-030",
            hint="Export with the series that the volume was read from.",
        )
    return _GridMap(axes, flips, shape)


@dataclass(frozen=True)
class _Frames:
    """Pictures for the slices that hold a mask, and which slice of the series each lies on.

    pixels : (n, rows, columns) segment numbers, or (n, rows, columns, segments) of 0 and 1 where masks overlap. The
        second form costs a byte for every segment and pixel, so it is kept for where it is needed.
    """

    pixels: np.ndarray
    slices: np.ndarray
    digests: tuple[str, ...]


def _frames(objects: Sequence[SegObject], volume: Volume, sources: Sequence[Dataset]) -> _Frames:
    """Paint all objects into one stack of label pictures; overlapping ones into one stack each."""
    grid = _grid_map(volume, sources)
    placed = [grid.place(item) for item in objects]
    digests = tuple(
        hashlib.sha256(np.packbits(mask).tobytes() + repr((first, mask.shape)).encode()).hexdigest() for mask, first in placed
    )
    columns, rows, count = grid.shape
    used = np.zeros(count, bool)
    for mask, first in placed:
        used[first[2] : first[2] + mask.shape[2]] |= mask.any(axis=(0, 1))
    slices = np.flatnonzero(used)
    place_of = np.cumsum(used) - 1  # slice of the series -> picture
    crops = []
    for mask, first in placed:
        rows_of = place_of[first[2] + np.flatnonzero(mask.any(axis=(0, 1)))]
        window = (rows_of, slice(first[1], first[1] + mask.shape[1]), slice(first[0], first[0] + mask.shape[0]))
        crops.append((window, mask.transpose(2, 1, 0)[mask.any(axis=(0, 1))]))
    labels = np.zeros((len(slices), rows, columns), np.uint8 if len(objects) < 256 else np.uint16)
    for number, (window, mask) in enumerate(crops, start=1):
        there = labels[window]  # a copy: the first index is a list
        if np.any(there[mask]):
            break
        there[mask] = number
        labels[window] = there
    else:
        return _Frames(labels, slices, digests)
    stacked = np.zeros((*labels.shape, len(objects)), np.uint8)
    for number, (window, mask) in enumerate(crops):
        stacked[(*window, number)] = mask
    return _Frames(stacked, slices, digests)


# --- the object ------------------------------------------------------------------------------------------------------
def _build(
    objects: Sequence[SegObject],
    frames: _Frames,
    sources: Sequence[Dataset],
    vocabulary: Vocabulary,
    model: str,
    created: datetime.datetime,
) -> Dataset:
    import highdicom as hd

    series = str(sources[0].SeriesInstanceUID)
    content = (
        series,
        model,
        __version__,
        *(f"{item.key}|{item.display}|{item.algorithm}|{item.tracking_id}" for item in objects),
        *frames.digests,
    )
    descriptions = [
        _description(number, item, vocabulary.get(item.key), model, digest)
        for number, (item, digest) in enumerate(zip(objects, frames.digests, strict=True), start=1)
    ]
    positions = [hd.PlanePositionSequence("PATIENT", [float(v) for v in sources[k].ImagePositionPatient]) for k in frames.slices]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            segmentation = hd.seg.Segmentation(
                source_images=_exportable(sources),
                pixel_array=frames.pixels,
                segmentation_type="BINARY",
                segment_descriptions=descriptions,
                plane_positions=positions,
                series_instance_uid=content_uid("seg series", *content),
                series_number=SEG_SERIES_NUMBER,
                sop_instance_uid=content_uid("seg", *content),
                instance_number=1,
                manufacturer=MANUFACTURER,
                manufacturer_model_name=MODEL_NAME,
                software_versions=__version__,
                device_serial_number="0",
                content_description="Research use only",
                content_creator_name="CTReasoner^",
                content_label="CTREASONER",
                series_description=DESCRIPTION,
                content_date=created.date(),
                content_time=created.time(),
                series_date=created.date(),
                series_time=created.time(),
            )
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise InputError(
            "The header of the source series cannot carry a segmentation.",
            code="CTR-IO-051",
            hint="Export from a volume (NIfTI) instead: a CT series is then derived.",
        ) from error
    if sources[0].get("SpecificCharacterSet"):
        segmentation.SpecificCharacterSet = sources[0].SpecificCharacterSet  # highdicom 0.27 drops it
    _settle(segmentation, content_uid("dimensions", *content), created)
    return segmentation


def _settle(segmentation: Dataset, dimensions: str, created: datetime.datetime) -> None:
    """Replace what the writer drew at random or took from the clock, so that the same answer gives the same bytes."""
    segmentation.InstanceCreationDate, segmentation.InstanceCreationTime = (
        segmentation.ContentDate,
        segmentation.ContentTime,
    )
    for item in [*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence]:
        item.DimensionOrganizationUID = dimensions
    for item in segmentation.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = created


def _exportable(sources: Sequence[Dataset]) -> list[Dataset]:
    """Return the headers; in the first, which a strict writer copies from, what it would refuse is left empty."""
    first = copy_of(sources[0])
    if first.get("PatientSex") not in ("M", "F", "O", ""):
        first.PatientSex = ""
    for keyword in ("PatientBirthDate", "StudyDate", "StudyTime"):
        value = str(first.get(keyword) or "")
        digits = value.split(".")[0]
        if value and not (digits.isdigit() and len(digits) in (2, 4, 6, 8)):
            setattr(first, keyword, "")
    return [first, *sources[1:]]


def _description(number: int, item: SegObject, entry: VocabObject | None, model: str, digest: str) -> Dataset:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    if item.algorithm not in ALGORITHMS:
        raise InputError(f"{item.algorithm!r} is none of {', '.join(ALGORITHMS)}.", code="CTR-IO-052")
    category, kind = (entry.category, entry.type) if entry else (TISSUE, TISSUE)
    colour = entry.colour if entry else THING_COLOUR
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=item.display[:64],
        segmented_property_category=_code(category),
        segmented_property_type=_code(kind),
        algorithm_type=item.algorithm,
        algorithm_identification=None
        if item.algorithm == "MANUAL"
        else hd.AlgorithmIdentificationSequence(
            name="CTReasoner", version=(model or __version__)[:64], family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=content_uid("segment", number, item.key, digest),
        tracking_id=(item.tracking_id or f"{item.key}.{number}")[:64],
        anatomic_regions=[_code(entry.anatomic_region)] if entry and entry.anatomic_region else None,
        display_color=hd.color.CIELabColor.from_rgb(*colour),
    )
    if entry and entry.modifier:
        modifier = [_code(entry.modifier)]
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifier
    return description


def _code(triple: Sequence[str]) -> Dataset:
    from highdicom.sr import CodedConcept

    return CodedConcept(value=triple[0], scheme_designator=triple[1], meaning=triple[2])
