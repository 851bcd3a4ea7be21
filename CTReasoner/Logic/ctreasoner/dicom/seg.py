"""Masks become one DICOM segmentation (one object for all segments) that refers to the CT it was made from.

Binary by default, since every reader takes it. Where masks overlap they are laid into as few layers as do not, each one label
array over the slices that it needs, so that memory grows with the layers and not with the segments.
"""

from __future__ import annotations

import datetime
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError
from ..geometry import Volume
from ..version import __version__
from ..vocabulary import Vocabulary
from .derived import MANUFACTURER, MODEL_NAME, decimal, write_derived
from .files import copy_of, save
from .grid import GridMap, grid_map, source_affine_lps
from .present import absent_uids, forget
from .segment import ALGORITHMS, SegObject, algorithm_of, coded, coding_of
from .uids import content_uid

SEG_SERIES_NUMBER = 9001
DESCRIPTION = "CTReasoner segmentation - research use only"
KINDS = ("BINARY", "LABELMAP", "FRACTIONAL")


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
    kind: str = "BINARY",
) -> Path:
    """Write ``objects`` as one DICOM segmentation; every voxel stays where it is, for oblique and flipped volumes too.

    Parameters
    ----------
    sources : headers of the series that the volume was read from (``Series.sources``). Without them a CT series is
        derived from the volume and written into ``derived_folder`` (default: "<name>_ct" beside the segmentation).
    template : header with patient and study for the derived series (``Series.template``).
    model : name and version of the model, for the algorithm identification.
    created : when the answer was made; now, when not given. Identifiers do not depend on it.
    kind : BINARY; LABELMAP, smaller for many segments, but few readers know it; FRACTIONAL, the one that keeps probabilities.

    Raises
    ------
    InputError : no object with a voxel, or a LABELMAP of masks that overlap. GeometryError : sources not on the volume's grid.
    ResourceError : disk full.
    """
    path = Path(path)
    if not sources and any(np.any(item.mask) for item in objects):
        sources = write_derived(volume, derived_folder or path.with_name(path.stem + "_ct"), template)
    return save(build_seg(objects, volume, sources or (), vocabulary=vocabulary, model=model, created=created, kind=kind), path)


def build_seg(objects: Sequence[SegObject], volume: Volume, sources: Sequence[Dataset], *, vocabulary: Vocabulary | None = None,
              model: str = "", created: datetime.datetime | None = None, kind: str = "BINARY") -> Dataset:
    """Return the data set that :func:`write_seg` writes; ``sources`` are those of a real or a derived series."""
    if kind not in KINDS:
        raise InputError(f"{kind!r} is none of {', '.join(KINDS)}.", code="CTR-IO-052")
    objects = [item for item in objects if np.any(item.mask)]
    if not objects:
        raise InputError("There is no mask to export.", code="CTR-IO-050")
    vocabulary, created = vocabulary or Vocabulary.load(), created or datetime.datetime.now()
    layers = _layers(objects, grid_map(volume, sources), fractional=kind == "FRACTIONAL")
    if kind == "LABELMAP" and len(layers) > 1:
        raise InputError("Masks that overlap cannot go into one label map.", code="CTR-IO-053", hint="Export them as BINARY.")
    missing = absent_uids(sources)
    content = (kind, *content_of(objects, sources, model), *sorted(missing))
    descriptions = [_description(number, item, vocabulary, model) for number, item in enumerate(objects, start=1)]
    parts = [(_write_layer(layer, descriptions, sources, content, created, kind), layer.numbers) for layer in layers]
    segmentation = _merged(parts, descriptions)
    measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = decimal(np.linalg.norm(source_affine_lps(sources)[:3, 2]))  # of the whole series
    if sources[0].get("SpecificCharacterSet"):
        segmentation.SpecificCharacterSet = sources[0].SpecificCharacterSet  # highdicom 0.27 drops it
    settle(segmentation, content_uid("dimensions", *content), created)
    if missing:
        forget(segmentation, missing)
    return segmentation


def content_of(objects: Sequence[SegObject], sources: Sequence[Dataset], model: str) -> tuple[str, ...]:
    """Return what identifiers are made from: the same findings of the same series by the same program give the same ones."""
    return (
        str(sources[0].SeriesInstanceUID),
        model,
        __version__,
        *(f"{item.key}|{item.display}|{item.algorithm}|{item.tracking_id}|{item.tracking_uid}|{item.note}" for item in objects),
        *map(digest_of, objects),
    )


def digest_of(item: SegObject) -> str:
    """Return a digest of a mask, wherever its crop was cut."""
    mask = np.asarray(item.mask)
    places = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    mask = mask[tuple(slice(p[0], p[-1] + 1) for p in places)]
    first = [int(f + p[0]) for f, p in zip(item.first_voxel, places, strict=True)]
    packed = mask.astype("<f4").tobytes() if mask.dtype.kind == "f" else np.packbits(mask != 0).tobytes()
    return hashlib.sha256(packed + repr((first, mask.shape)).encode()).hexdigest()


# --- layers ----------------------------------------------------------------------------------------------------------
@dataclass
class _Layer:
    """Segments that do not overlap, in one stack of pictures.

    numbers : of the segments, from 1 over the whole object. pixels : (n, rows, columns), 0 outside; inside the place in
        ``numbers`` from 1, or for fractions the only segment's probability. slices : of the series, for each picture.
    """

    numbers: list[int]
    pixels: np.ndarray
    slices: np.ndarray


def _layers(objects: Sequence[SegObject], grid: GridMap, *, fractional: bool) -> list[_Layer]:
    """Lay every mask into the first layer in which no voxel of it is taken."""
    placed = [grid.place(item.mask, item.first_voxel, item.display) for item in objects]
    used = np.zeros(grid.shape[2], bool)
    for mask, first in placed:
        used[first[2] : first[2] + mask.shape[2]] |= (mask != 0).any(axis=(0, 1))
    slices = np.flatnonzero(used)
    place_of = np.cumsum(used) - 1  # slice of the series -> picture
    columns, rows, _ = grid.shape
    dtype = np.float32 if fractional else np.uint8 if len(objects) < 256 else np.uint16
    layers: list[_Layer] = []
    for number, (mask, first) in enumerate(placed, start=1):
        held = np.flatnonzero((mask != 0).any(axis=(0, 1)))
        there = slice(first[1], first[1] + mask.shape[1]), slice(first[0], first[0] + mask.shape[0])
        pictures = mask[:, :, held].transpose(2, 1, 0)
        at = place_of[first[2] + held]
        layer = None if fractional else next((known for known in layers if _is_free(known, at, there, pictures)), None)
        if layer is None:
            layer = _Layer([], np.zeros((len(slices), rows, columns), dtype), slices)
            layers.append(layer)
        layer.numbers.append(number)
        for k, picture in zip(at, pictures, strict=True):
            if fractional:
                layer.pixels[k][there] = np.clip(picture, 0, 1)
            else:
                layer.pixels[k][there][picture != 0] = len(layer.numbers)
    return [_needed(layer) for layer in layers]


def _is_free(layer: _Layer, at: np.ndarray, there: tuple[slice, slice], pictures: np.ndarray) -> bool:
    return not any(np.any(layer.pixels[k][there][picture != 0]) for k, picture in zip(at, pictures, strict=True))


def _needed(layer: _Layer) -> _Layer:
    """Leave out the slices on which a layer holds nothing."""
    held = layer.pixels.any(axis=(1, 2))
    return layer if held.all() else _Layer(layer.numbers, layer.pixels[held], layer.slices[held])


def _merged(parts: list[tuple[Dataset, list[int]]], descriptions: Sequence[Dataset]) -> Dataset:
    """Return one object with the frames of all layers, its segments numbered over the whole; each frame names its segment."""
    whole, _ = parts[0]
    whole.SegmentSequence = list(descriptions)
    if whole.SegmentationType == "LABELMAP":  # one layer, whose frames hold all segments
        return whole
    frames, sizes = [], []
    for part, numbers in parts:
        shared = part.SharedFunctionalGroupsSequence[0]
        alone = shared.pop("SegmentIdentificationSequence", None)  # where a layer holds one segment, all frames share it
        for frame in part.PerFrameFunctionalGroupsSequence:
            place = 1 if alone is not None else int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            identification = Dataset()
            identification.ReferencedSegmentNumber = numbers[place - 1]
            frame.SegmentIdentificationSequence = [identification]
            frames.append(frame)
        sizes.append(int(part.NumberOfFrames) * int(part.Rows) * int(part.Columns) * int(part.BitsAllocated))
    if len(parts) == 1:
        return whole
    _renumber(frames)
    whole.PixelData = _joined([part.PixelData for part, _ in parts], sizes)
    whole.NumberOfFrames = len(frames)
    whole.PerFrameFunctionalGroupsSequence = frames
    whole.SegmentsOverlap = "YES" if whole.BitsAllocated == 1 else "UNDEFINED"
    return whole


def _renumber(frames: Sequence[Dataset]) -> None:
    """Give every frame its dimension index: segment, and place among all slices that hold one (PS3.3 C.7.6.17.2)."""
    heights = [tuple(float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient) for frame in frames]
    old = [int(frame.FrameContentSequence[0].DimensionIndexValues[1]) for frame in frames]
    first = heights[0]
    far = max(set(heights), key=lambda h: sum((a - b) ** 2 for a, b in zip(h, first, strict=True)))
    other = next((k for k, h in enumerate(heights) if old[k] != old[0]), 0)
    along = np.subtract(far, first)
    rising = np.dot(np.subtract(heights[other], first), along) * (old[other] - old[0]) >= 0  # as the layers were numbered
    order = sorted(set(heights), key=lambda h: np.dot(h, along), reverse=not rising)
    places = {height: place for place, height in enumerate(order, start=1)}
    for frame, height in zip(frames, heights, strict=True):
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        frame.FrameContentSequence[0].DimensionIndexValues = [number, places[height]]


def _joined(data: Sequence[bytes], bits: Sequence[int]) -> bytes:
    """Join the pixel data of several objects; a frame may end within a byte (PS3.5 8.1.1)."""
    if all(size % 8 == 0 for size in bits[:-1]):
        whole = b"".join(part[: (size + 7) // 8] for part, size in zip(data, bits, strict=True))
    else:
        loose = [np.unpackbits(np.frombuffer(part, np.uint8), count=size, bitorder="little")
                 for part, size in zip(data, bits, strict=True)]
        whole = np.packbits(np.concatenate(loose), bitorder="little").tobytes()
    return whole + b"\0" * (len(whole) % 2)


# --- the object ------------------------------------------------------------------------------------------------------
def _write_layer(layer: _Layer, descriptions: Sequence[Dataset], sources: Sequence[Dataset], content: tuple[str, ...],
                 created: datetime.datetime, kind: str) -> Dataset:
    import highdicom as hd

    numbered = [copy_of(descriptions[number - 1]) for number in layer.numbers]
    for place, description in enumerate(numbered, start=1):
        description.SegmentNumber = place
    positions = [hd.PlanePositionSequence("PATIENT", [float(v) for v in sources[k].ImagePositionPatient]) for k in layer.slices]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return hd.seg.Segmentation(
                source_images=exportable(sources),
                pixel_array=layer.pixels,
                segmentation_type=kind,
                segment_descriptions=[hd.seg.SegmentDescription.from_dataset(d) for d in numbered],
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


def settle(dataset: Dataset, dimensions: str, created: datetime.datetime) -> None:
    """Replace what the writer drew at random or took from the clock, so that the same answer gives the same bytes."""
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = dataset.ContentDate, dataset.ContentTime
    for item in [*dataset.get("DimensionOrganizationSequence", ()), *dataset.get("DimensionIndexSequence", ())]:
        item.DimensionOrganizationUID = dimensions
    for item in dataset.get("ContributingEquipmentSequence", ()):
        if "ContributionDateTime" in item:
            item.ContributionDateTime = created


def exportable(sources: Sequence[Dataset]) -> list[Dataset]:
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


def _description(number: int, item: SegObject, vocabulary: Vocabulary, model: str) -> Dataset:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    if item.algorithm not in ALGORITHMS:
        raise InputError(f"{item.algorithm!r} is none of {', '.join(ALGORITHMS)}.", code="CTR-IO-052")
    coding = coding_of(item, vocabulary)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=item.display[:64],
        segmented_property_category=coded(coding.category),
        segmented_property_type=coded(coding.type),
        algorithm_type=item.algorithm,
        algorithm_identification=None
        if item.algorithm == "MANUAL"
        else hd.AlgorithmIdentificationSequence(
            **algorithm_of(item, model), family=codes.DCM.ArtificialIntelligence
        ),
        tracking_uid=tracking_uid_of(number, item),
        tracking_id=tracking_id_of(number, item),
        anatomic_regions=[coded(coding.anatomic_region)] if coding.anatomic_region else None,
        display_color=hd.color.CIELabColor.from_rgb(*coding.colour),
    )
    if item.note:
        description.SegmentDescription = item.note[:1024]
    if coding.modifier:
        modifier = [coded(coding.modifier)]
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = modifier
    return description


def tracking_id_of(number: int, item: SegObject) -> str:
    """Return the tracking identifier of a segment."""
    return (item.tracking_id or f"{item.key}.{number}")[:64]


def tracking_uid_of(number: int, item: SegObject) -> str:
    """Return the tracking UID of a segment: its own, or one that is made from its mask."""
    return item.tracking_uid or content_uid("segment", number, item.key, digest_of(item))
