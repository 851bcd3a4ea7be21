"""Masks as contours on the source slices: an RT Structure Set, which radiotherapy planning reads (PS3.3 A.19)."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from ..errors import InputError
from ..geometry import Volume
from ..version import __version__
from ..vocabulary import Vocabulary
from .contours import outlines
from .derived import MANUFACTURER, MODEL_NAME, PATIENT_AND_STUDY, UNKNOWN
from .files import save
from .grid import GridMap, grid_map
from .seg import content_of, exportable, tracking_id_of
from .segment import SegObject, coded, coding_of
from .uids import content_uid

RTSTRUCT_SERIES_NUMBER = 9004
DESCRIPTION = "CTReasoner contours - research use only"
STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"  # what readers expect of a referenced study: retired, and still the convention
DIGITS = 4  # of a coordinate in mm


def write_rtstruct(path: str | Path, objects: Sequence[SegObject], volume: Volume, sources: Sequence[Dataset], *,
                   vocabulary: Vocabulary | None = None, model: str = "", created: datetime.datetime | None = None) -> Path:
    """Write the contours of ``objects`` on the slices of ``sources``; they enclose exactly the area of the masks.

    Raises
    ------
    InputError : no object with a voxel. GeometryError : sources not on the volume's grid. ResourceError : disk full.
    """
    objects = [item for item in objects if np.any(item.mask)]
    if not objects:
        raise InputError("There is no mask to export.", code="CTR-IO-050")
    vocabulary, created = vocabulary or Vocabulary.load(), created or datetime.datetime.now()
    content = content_of(objects, sources, model)
    dataset = _header(exportable(sources)[0], content, created)
    dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(sources)]
    grid = grid_map(volume, sources)
    dataset.StructureSetROISequence = []
    dataset.ROIContourSequence = []
    dataset.RTROIObservationsSequence = []
    for number, item in enumerate(objects, start=1):
        dataset.StructureSetROISequence.append(_roi(number, item, sources))
        dataset.ROIContourSequence.append(_contours(number, item, grid, sources, vocabulary))
        dataset.RTROIObservationsSequence.append(_observation(number, item, vocabulary))
    return save(dataset, Path(path))


def _header(source: Dataset, content: tuple[str, ...], created: datetime.datetime) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword in (*PATIENT_AND_STUDY, *UNKNOWN):
        if keyword not in ("SpecificCharacterSet", "PatientPosition", "BodyPartExamined"):
            value = source.get(keyword)
            if value not in (None, "") or keyword in UNKNOWN:
                setattr(dataset, keyword, "" if value is None else value)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = content_uid("rtstruct", *content)
    dataset.SeriesInstanceUID = content_uid("rtstruct series", *content)
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "RTSTRUCT", RTSTRUCT_SERIES_NUMBER, 1
    dataset.SeriesDescription, dataset.OperatorsName = DESCRIPTION, ""
    dataset.Manufacturer, dataset.ManufacturerModelName, dataset.SoftwareVersions = MANUFACTURER, MODEL_NAME, __version__
    dataset.StructureSetLabel, dataset.StructureSetDescription = "CTREASONER", "Research use only"
    dataset.ApprovalStatus = "UNAPPROVED"
    date, time = created.strftime("%Y%m%d"), created.strftime("%H%M%S")
    for name in ("StructureSet", "InstanceCreation", "Series"):
        setattr(dataset, f"{name}Date", date)
        setattr(dataset, f"{name}Time", time)
    return dataset


def _frame_of_reference(sources: Sequence[Dataset]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = sources[0].SeriesInstanceUID
    series.ContourImageSequence = [image_reference(source) for source in sources]
    study = Dataset()
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = STUDY_CLASS, sources[0].StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame = Dataset()
    frame.FrameOfReferenceUID = sources[0].FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def image_reference(source: Dataset) -> Dataset:
    """Return a reference to an image, for a sequence of them."""
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item


def _roi(number: int, item: SegObject, sources: Sequence[Dataset]) -> Dataset:
    roi = Dataset()
    roi.ROINumber = number
    roi.ReferencedFrameOfReferenceUID = sources[0].FrameOfReferenceUID
    roi.ROIName = item.display[:64]
    roi.ROIDescription = " ".join(filter(None, (tracking_id_of(number, item), item.note)))[:1024]
    roi.ROIGenerationAlgorithm = item.algorithm
    return roi


def _observation(number: int, item: SegObject, vocabulary: Vocabulary) -> Dataset:
    observation = Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = number
    code = coded(coding_of(item, vocabulary).type)
    observation.RTROIIdentificationCodeSequence = [code]
    observation.RTROIInterpretedType = observation.ROIInterpreter = ""
    return observation


def _contours(number: int, item: SegObject, grid: GridMap, sources: Sequence[Dataset], vocabulary: Vocabulary) -> Dataset:
    roi = Dataset()
    roi.ReferencedROINumber = number
    roi.ROIDisplayColor = list(coding_of(item, vocabulary).colour)
    roi.ContourSequence = []
    for source, points in contour_points(item, grid, sources):
        contour = Dataset()
        contour.ContourImageSequence = [image_reference(source)]
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(points)
        contour.ContourData = [_number(value) for value in points.ravel()]
        roi.ContourSequence.append(contour)
    return roi


def contour_points(item: SegObject, grid: GridMap, sources: Sequence[Dataset]) -> Iterator[tuple[Dataset, np.ndarray]]:
    """Yield (header of the slice, (n, 3) corners in LPS mm) for every polygon of a mask, from the first slice to the last."""
    mask, first = grid.place(np.asarray(item.mask) != 0, item.first_voxel, item.display)
    for k in range(mask.shape[2]):
        source = sources[first[2] + k]
        across, down = np.array(source.ImageOrientationPatient, float).reshape(2, 3)
        row_mm, column_mm = (float(v) for v in source.PixelSpacing)  # between rows, between columns
        origin = np.array(source.ImagePositionPatient, float)
        for polygon in outlines(mask[:, :, k].T):
            columns, rows = (polygon + first[:2]).T
            yield source, origin + np.outer(columns * column_mm, across) + np.outer(rows * row_mm, down)


def _number(value: float) -> str:
    text = f"{value:.{DIGITS}f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text
