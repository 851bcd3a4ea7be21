"""Segmentations, reports and contours become findings again: our own with all that they carry, others' as far as theirs go.

What belongs to another patient or lies in another frame of reference is refused. Tracking identifiers are read from the data set
itself, so that a finding that is exported again is the same finding.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from ..errors import InputError
from ..geometry import Volume
from ..vocabulary import Vocabulary
from ..vocabulary.codes import MEASUREMENTS, SCHEME, attribute_of
from .archive import Member, members
from .grid import GridMap, grid_map, source_affine_lps
from .header import check_depth, parse, reading
from .segment import THING_COLOUR, TISSUE, Coding, SegObject, coded, coding_of, triple_of

SEGMENTATIONS = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7"}
REPORTS = {"1.2.840.10008.5.1.4.1.1.88.22": "EnhancedSR", "1.2.840.10008.5.1.4.1.1.88.33": "ComprehensiveSR",
           "1.2.840.10008.5.1.4.1.1.88.34": "Comprehensive3DSR"}  # fmt: skip
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
OFF_GRID = 0.1  # voxels by which a frame may miss the CT's grid
NO_SLICE = 0.3  # of the distance between slices: how far a contour may lie from one
WORDS = {"SEG": "segmentation", "SR": "report", "RTSTRUCT": "set of contours"}


def read_findings(path: str | Path, volume: Volume, sources: Sequence[Dataset]) -> tuple[list[SegObject], list[str]]:
    """Return the findings in ``path`` (a file, a folder or a zip) on the grid of ``volume``, and notes on what was left out.

    Parameters
    ----------
    sources : headers of the series that the volume was read from, or those that are derived for it
        (:func:`ctreasoner.dicom.derived.derived_headers`).

    Raises
    ------
    InputError : nothing to import, another patient or frame of reference, a grid that is not the CT's.
    """
    found, notes = [], []
    objects = [dataset for member in members(path) if (dataset := _read(member)) is not None]
    reports = [dataset for dataset in objects if str(dataset.SOPClassUID) in REPORTS]
    shapes = [dataset for dataset in objects if str(dataset.SOPClassUID) not in REPORTS]
    if not shapes:
        raise InputError("There is nothing to import: a report refers to a segmentation that is not here." if reports else
                         "There is nothing to import: no segmentation, report or contours are here.", code="CTR-IO-062",
                         hint="Give a DICOM SEG or RTSTRUCT, or the folder that holds a report and its segmentation.")
    grid = grid_map(volume, sources)
    for dataset in (*shapes, *reports):
        _check_belongs(dataset, sources[0])
    for dataset in shapes:
        items, said = (_contours if str(dataset.SOPClassUID) == CONTOURS else _segments)(dataset, grid, sources)
        notes += said
        for report in reports:
            items = _with_report(items, dataset, report)
        found += [item for _, item in items]
    if not found:
        raise InputError("There is nothing to import: no voxel of the CT is marked.", code="CTR-IO-062")
    return found, notes


def _read(member: Member) -> Dataset | None:
    """Return a data set that may be imported, None for any other file."""
    with reading(member):
        data = member.read(-1)
        if data[128:132] != b"DICM":
            return None
        dataset, _ = parse(member, data, None, stop_at_pixels=False)
        if str(dataset.get("SOPClassUID")) not in {*SEGMENTATIONS, *REPORTS, CONTOURS}:
            return None
        check_depth(dataset)
        return dataset


def _check_belongs(dataset: Dataset, source: Dataset) -> None:
    """Refuse what is about another patient or another frame of reference; both are named."""
    kind = WORDS.get(str(dataset.get("Modality")), "object")
    theirs, ours = str(dataset.get("PatientID") or ""), str(source.get("PatientID") or "")
    if theirs and ours and theirs != ours:
        raise InputError(f"The {kind} belongs to the patient '{theirs}', the CT to '{ours}'.", code="CTR-IO-063",
                         hint="Choose the CT that it was made on.")
    frames = {str(uid) for uid in _frames_of_reference(dataset) if uid}
    if frames and str(source.FrameOfReferenceUID) not in frames:
        raise InputError(f"The {kind} lies in the frame of reference {min(frames)}, the CT in {source.FrameOfReferenceUID}.",
                         code="CTR-IO-064", hint="Choose the series that it was made on.")


def _frames_of_reference(dataset: Dataset) -> Iterator[str | None]:
    yield dataset.get("FrameOfReferenceUID")
    for item in dataset.get("ReferencedFrameOfReferenceSequence", ()):
        yield item.get("FrameOfReferenceUID")


# --- segmentations ---------------------------------------------------------------------------------------------------
Numbered = list[tuple[int, SegObject]]


def _segments(dataset: Dataset, grid: GridMap, sources: Sequence[Dataset]) -> tuple[Numbered, list[str]]:
    """Return the segments with their numbers, each on the grid of the volume."""
    import highdicom as hd

    found: Numbered = []
    empty = 0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            uncoded = sum([_fill_codes(segment) for segment in dataset.SegmentSequence])
            segmentation = hd.seg.Segmentation.from_dataset(dataset, copy=False)
            planes = _planes(segmentation, sources, grid)
            for segment in segmentation.SegmentSequence:
                number = int(segment.SegmentNumber)
                pictures = {k: picture for k, picture in planes(number) if picture.any()}
                if pictures:
                    found.append((number, _segment(segment, *_stacked(pictures, grid))))
                empty += not pictures
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError) as error:
        raise InputError("The segmentation cannot be read: its description of frames or segments is damaged.",
                         code="CTR-IO-065") from error
    return found, [*([f"{empty} segments without a voxel were left out."] if empty else []),
                   *([f"{uncoded} segments had no codes; they are taken by their names."] if uncoded else [])]


def _fill_codes(segment: Dataset) -> bool:
    """Give a segment the codes that the standard demands and a reader insists on; return whether it had none."""
    lacking = [keyword for keyword in ("SegmentedPropertyCategoryCodeSequence", "SegmentedPropertyTypeCodeSequence")
               if triple_of(segment.get(keyword)) is None]
    for keyword in lacking:
        setattr(segment, keyword, [coded(TISSUE)])
    if not segment.get("SegmentAlgorithmType"):
        segment.SegmentAlgorithmType = "MANUAL"
    return bool(lacking)


def _planes(segmentation: Dataset, sources: Sequence[Dataset], grid: GridMap):
    """Return what yields (slice of the series, mask [column, row]) for every frame of a segment."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    to_source = np.linalg.inv(source_affine_lps(sources))
    is_fractional, half = segmentation.SegmentationType == "FRACTIONAL", int(segmentation.get("MaximumFractionalValue", 1)) / 2
    frames = segmentation.PerFrameFunctionalGroupsSequence

    def of(number: int) -> Iterator[tuple[int, np.ndarray]]:
        for index, frame in enumerate(frames):
            named = frame.get("SegmentIdentificationSequence") or shared.get("SegmentIdentificationSequence")
            if named and int(named[0].ReferencedSegmentNumber) != number:
                continue
            stored = segmentation.get_stored_frame(index + 1)
            picture = stored == number if not named else stored > (half if is_fractional else 0)
            yield _on_slice(picture.T, _frame_affine(frame, shared), to_source, grid)

    return of


def _frame_affine(frame: Dataset, shared: Dataset) -> np.ndarray:
    """Return 4x3 [column, row, 1] -> LPS mm of a frame."""
    def group(name: str) -> Dataset:
        return (frame.get(name) or shared.get(name))[0]

    across, down = np.array(group("PlaneOrientationSequence").ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = (float(v) for v in group("PixelMeasuresSequence").PixelSpacing)
    position = np.array(group("PlanePositionSequence").ImagePositionPatient, float)
    affine = np.zeros((4, 3))
    affine[:3] = np.stack([across * between_columns, down * between_rows, position], axis=1)
    affine[3, 2] = 1
    return affine


def _on_slice(picture: np.ndarray, affine: np.ndarray, to_source: np.ndarray, grid: GridMap) -> tuple[int, np.ndarray]:
    """Return the slice of the series that a frame lies on, and its picture [column, row] there."""
    columns, rows = picture.shape
    corners = (to_source @ affine @ np.array([[0, columns - 1, 0], [0, 0, rows - 1], [1, 1, 1]]))[:3]
    whole = np.rint(corners).astype(int)
    steps = np.rint((to_source @ affine)[:3, :2]).astype(int)
    straight = (np.abs(steps[:2]).sum(axis=0) == 1).all() and not steps[2].any()
    if not straight or np.abs(corners - whole).max() > OFF_GRID or not 0 <= whole[2, 0] < grid.shape[2]:
        raise InputError("The segmentation lies on another grid than the CT.", code="CTR-IO-066",
                         hint="Choose the series that it was made on, or resample it first.")
    if steps[0, 0] == 0:                                # its columns run along the rows of the series
        picture, whole = picture.T, whole[:, [0, 2, 1]]
    picture = picture[:: np.sign(whole[0, 1] - whole[0, 0]) or 1, :: np.sign(whole[1, 2] - whole[1, 0]) or 1]
    there = np.zeros(grid.shape[:2], bool)
    first = whole[:2].min(axis=1)
    lo, hi = np.maximum(first, 0), np.minimum(first + picture.shape, grid.shape[:2])
    if (hi > lo).all():
        there[lo[0] : hi[0], lo[1] : hi[1]] = picture[lo[0] - first[0] : hi[0] - first[0], lo[1] - first[1] : hi[1] - first[1]]
    return int(whole[2, 0]), there


def _stacked(pictures: Mapping[int, np.ndarray], grid: GridMap) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return a crop [i, j, k] of the volume with the pictures [column, row] of the slices, and its first voxel."""
    spans = []
    for axis in (1, 0):
        held = np.flatnonzero(np.any([picture.any(axis=axis) for picture in pictures.values()], axis=0))
        spans.append(slice(int(held[0]), int(held[-1]) + 1))
    low = min(pictures)
    crop = np.zeros((spans[0].stop - spans[0].start, spans[1].stop - spans[1].start, max(pictures) - low + 1), bool)
    for k, picture in pictures.items():
        crop[:, :, k - low] = picture[spans[0], spans[1]]
    return grid.back(crop, (spans[0].start, spans[1].start, low))


def _segment(segment: Dataset, mask: np.ndarray, first_voxel: tuple[int, int, int]) -> SegObject:
    import highdicom as hd

    kind = segment.get("SegmentedPropertyTypeCodeSequence")
    colour = THING_COLOUR
    if segment.get("RecommendedDisplayCIELabValue"):
        colour = hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb(clip=True)
    coding = Coding(
        category=triple_of(segment.get("SegmentedPropertyCategoryCodeSequence")) or TISSUE,
        type=triple_of(kind) or TISSUE,
        modifier=triple_of(kind[0].get("SegmentedPropertyTypeModifierCodeSequence")) if kind else None,
        anatomic_region=triple_of(segment.get("AnatomicRegionSequence")),
        colour=tuple(int(c) for c in colour))
    return _named(SegObject(
        key="thing", display=str(segment.get("SegmentLabel") or f"Segment {segment.SegmentNumber}"), mask=mask,
        first_voxel=first_voxel, algorithm=str(segment.get("SegmentAlgorithmType") or "MANUAL"),
        tracking_id=str(segment.get("TrackingID") or ""), tracking_uid=str(segment.get("TrackingUID") or ""), coding=coding,
        note=str(segment.get("SegmentDescription") or "")))


def _named(item: SegObject) -> SegObject:
    """Return the item with the vocabulary's key for its codes, or for its name where it has no codes of its own."""
    vocabulary = Vocabulary.load()
    for entry in vocabulary:
        known = coding_of(replace(item, key=entry.key, coding=None), vocabulary)
        sides = [code[0] if code else None for code in (known.modifier, item.coding.modifier)]
        same = known.type[:2] == item.coding.type[:2] and sides[0] == sides[1]
        by_name = item.coding.type == TISSUE and item.display.lower() in {n.lower() for n in (entry.display, *entry.names)}
        if same or by_name:
            return replace(item, key=entry.key)
    return item


# --- reports ---------------------------------------------------------------------------------------------------------
def _with_report(items: Numbered, segmentation: Dataset, report: Dataset) -> Numbered:
    """Return the segments with what a report measures and says of them."""
    import highdicom as hd

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            document = getattr(hd.sr, REPORTS[str(report.SOPClassUID)]).from_dataset(report)
            groups = document.content.get_volumetric_roi_measurement_groups()
            said = {}
            for group in groups:
                segment = group.referenced_segment
                if segment and segment[0].referenced_sop_instance_uid == segmentation.SOPInstanceUID:
                    said[int(segment[0].referenced_segment_numbers[0])] = group
            return [(n, _told(item, said[n]) if n in said else item) for n, item in items]
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError) as error:
        raise InputError("The report cannot be read: it is no measurement report (TID 1500), or damaged.",
                         code="CTR-IO-067") from error


def _told(item: SegObject, group) -> SegObject:
    names = {(code.concept[:2], code.derivation and code.derivation[:2], code.site and code.site[:2]): name
             for name, code in MEASUREMENTS.items()}
    units = {"ml": "ml", "mm": "mm", "[hnsf'U]": "HU"}
    measured = []
    for measurement in group.get_measurements():
        sites = measurement.finding_sites
        place = (_pair(measurement.name), measurement.derivation and _pair(measurement.derivation),
                 _pair(sites[0].value) if sites else None)
        if place in names and measurement.unit.value in units:
            measured.append({"id": f"i{len(measured) + 1}", "name": names[place], "value": float(measurement.value),
                             "unit": units[measurement.unit.value], "method": "read from a DICOM report"})
    attributes = dict(filter(None, (attribute_of(e.name.value, e.value.value) for e in group.get_qualitative_evaluations()
                                    if e.name.scheme_designator == SCHEME)))
    words = [str(i.TextValue) for i in group[0].ContentSequence
             if i.ValueType == "TEXT" and i.ConceptNameCodeSequence[0].CodeValue == "121106"]
    text = " ".join(word for word in words if word != item.note)
    return replace(item, measurements=tuple(measured), attributes=attributes, text=text)


def _pair(concept) -> tuple[str, str]:
    return concept.value, concept.scheme_designator


# --- contours --------------------------------------------------------------------------------------------------------
def _contours(dataset: Dataset, grid: GridMap, sources: Sequence[Dataset]) -> tuple[Numbered, list[str]]:
    """Return the regions of an RT Structure Set: the voxels whose centres lie inside an odd number of its contours."""
    to_source = np.linalg.inv(source_affine_lps(sources))
    found, left_out = [], 0
    try:
        contours = {int(roi.ReferencedROINumber): roi for roi in dataset.get("ROIContourSequence", ())}
        codes = {int(o.ReferencedROINumber): triple_of(o.get("RTROIIdentificationCodeSequence"))
                 for o in dataset.get("RTROIObservationsSequence", ())}
        for roi in dataset.StructureSetROISequence:
            number = int(roi.ROINumber)
            drawn = contours.get(number, Dataset())
            pictures: dict[int, np.ndarray] = {}
            for contour in drawn.get("ContourSequence", ()):
                left_out += not _paint(contour, pictures, to_source, grid)
            pictures = {k: picture for k, picture in pictures.items() if picture.any()}
            if pictures:
                colour = tuple(int(c) for c in drawn.get("ROIDisplayColor") or THING_COLOUR)
                coding = Coding(type=codes.get(number) or TISSUE, colour=colour)
                mask, first = _stacked(pictures, grid)
                found.append((number, _named(SegObject("thing", str(roi.get("ROIName") or f"Region {number}"), mask, first,
                                                       str(roi.get("ROIGenerationAlgorithm") or "MANUAL"), coding=coding))))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise InputError("The contours cannot be read: the structure set is damaged.", code="CTR-IO-068") from error
    return found, [f"{left_out} contours that are open or lie between the slices were left out."] if left_out else []


def _paint(contour: Dataset, pictures: dict[int, np.ndarray], to_source: np.ndarray, grid: GridMap) -> bool:
    """Add a closed contour to its slice; return whether it lies on one."""
    from matplotlib.path import Path as Polygon

    if contour.ContourGeometricType not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
        return False
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    columns, rows, slices = (to_source @ np.c_[points, np.ones(len(points))].T)[:3]
    k = round(float(slices.mean()))
    if np.abs(slices - k).max() > NO_SLICE or not 0 <= k < grid.shape[2]:
        return False
    lo = np.clip(np.floor([columns.min(), rows.min()]).astype(int), 0, grid.shape[:2])
    hi = np.clip(np.ceil([columns.max(), rows.max()]).astype(int) + 1, 0, grid.shape[:2])
    inside = np.indices(tuple(hi - lo)) + lo[:, None, None]
    marked = Polygon(np.stack([columns, rows], axis=1)).contains_points(inside.reshape(2, -1).T).reshape(inside.shape[1:])
    pictures.setdefault(k, np.zeros(grid.shape[:2], bool))[lo[0] : hi[0], lo[1] : hi[1]] ^= marked
    return True
