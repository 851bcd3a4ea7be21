"""A CT series derived from a volume that was not a DICOM series, so that a segmentation has something to refer to."""

from __future__ import annotations

import re
from itertools import permutations
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from ..geometry import Volume
from ..version import __version__
from .files import copy_of, save
from .stack import lps_to_ras
from .uids import content_uid

MANUFACTURER, MODEL_NAME = "CTReasoner", "CTReasoner"
DERIVED_SERIES_NUMBER = 9000
DESCRIPTION = "CTReasoner derived CT - research use only"
FILE_PATTERN = re.compile(r"slice_\d{5}\.dcm")
PATIENT_AND_STUDY = ("SpecificCharacterSet", "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge",
                     "PatientSize", "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
                     "StudyDescription", "AccessionNumber", "ReferringPhysicianName", "PatientPosition",
                     "BodyPartExamined", "FrameOfReferenceUID", "PositionReferenceIndicator")  # fmt: skip


UNKNOWN_PATIENT, UNKNOWN_ID = "Unknown^", re.compile(r"CT-[0-9a-f]{12}")
UNKNOWN = ("PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
           "ReferringPhysicianName", "PatientPosition", "PositionReferenceIndicator")  # fmt: skip


def is_without_patient(header: Dataset) -> bool:
    """Whether an object belongs to the patient that stands in where a CT names none: the derived series, or what refers to it."""
    return str(header.get("PatientName")) == UNKNOWN_PATIENT and bool(UNKNOWN_ID.fullmatch(str(header.get("PatientID"))))


def axial_order(affine_ras: np.ndarray) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Return which voxel axis runs most nearly to L, P and S, and whether each must be flipped to do so.

    Reordering and flipping moves no voxel: an oblique volume stays oblique.
    """
    directions = lps_to_ras(affine_ras)[:3, :3] / np.linalg.norm(affine_ras[:3, :3], axis=0)
    axes = max(permutations(range(3)), key=lambda axes: sum(abs(directions[w, a]) for w, a in enumerate(axes)))
    return axes, tuple(bool(directions[w, a] < 0) for w, a in enumerate(axes))


def axial_affine_lps(volume: Volume) -> np.ndarray:
    """Return 4x4 [column, row, slice] -> LPS mm of the volume's own grid in axial order."""
    axes, flips = axial_order(volume.affine)
    change = np.zeros((4, 4))  # new index -> old index
    change[3, 3] = 1
    for w, (a, flip) in enumerate(zip(axes, flips, strict=True)):
        change[a, w] = -1 if flip else 1
        change[a, 3] = volume.shape[a] - 1 if flip else 0
    return lps_to_ras(volume.affine @ change)


def write_derived(volume: Volume, folder: str | Path, template: Dataset | None = None) -> list[Dataset]:
    """Write the volume as a CT series of axial order into ``folder`` (slice_00001.dcm, ...); return headers in order.

    Parameters
    ----------
    template : header of the series that the volume came from; its patient, study and frame of reference are kept.
    """
    folder = Path(folder)
    axes, flips = axial_order(volume.affine)
    voxels = volume.voxels.transpose(axes)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    headers = derived_headers(volume, template)
    for k, header in enumerate(headers):
        pixels = np.clip(np.rint(voxels[:, :, k].T), -32768, 32767).astype("<i2")
        filled = copy_of(header)
        filled.PixelData = pixels.tobytes()
        save(filled, folder / f"slice_{k + 1:05d}.dcm")
    for path in folder.iterdir():  # of an earlier, longer volume
        if FILE_PATTERN.fullmatch(path.name) and int(path.name[6:11]) > len(headers):
            path.unlink()
    return headers


def derived_headers(volume: Volume, template: Dataset | None = None) -> list[Dataset]:
    """Return the headers that :func:`write_derived` gives the slices, in order, without writing anything."""
    affine = axial_affine_lps(volume)
    common = _common(volume, affine, template)
    axes, _ = axial_order(volume.affine)
    return [_slice_header(common, volume, affine, k) for k in range(volume.shape[axes[2]])]


def _common(volume: Volume, affine: np.ndarray, template: Dataset | None) -> Dataset:
    """Return what all slices share."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.PatientName, header.PatientID = UNKNOWN_PATIENT, f"CT-{volume.identity[:12]}"
    for keyword in UNKNOWN:
        setattr(header, keyword, "")
    header.StudyInstanceUID = content_uid(volume.identity, "study")
    header.FrameOfReferenceUID = content_uid(volume.identity, "frame of reference")
    for keyword in PATIENT_AND_STUDY if template is not None else ():
        if template.get(keyword) not in (None, ""):
            setattr(header, keyword, template.get(keyword))
    if "BodyPartExamined" not in header:
        header.Laterality = ""  # type 2C: wanted, though unknown, where no body part is named
    header.Modality = "CT"
    header.SOPClassUID = CTImageStorage
    header.SeriesInstanceUID = content_uid(volume.identity, np.round(affine, 5).tolist(), "derived ct")
    header.SeriesNumber = DERIVED_SERIES_NUMBER
    header.SeriesDescription = DESCRIPTION
    header.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
    header.DerivationDescription = "Same voxels, written as DICOM"
    header.Manufacturer, header.ManufacturerModelName, header.SoftwareVersions = MANUFACTURER, MODEL_NAME, __version__
    header.AcquisitionNumber = header.KVP = None
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    header.PixelSpacing = [decimal(spacing[1]), decimal(spacing[0])]
    header.SliceThickness = header.SpacingBetweenSlices = decimal(spacing[2])
    header.ImageOrientationPatient = [decimal(v) for v in (affine[:3, :2] / spacing[:2]).T.ravel()]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    header.RescaleSlope, header.RescaleIntercept, header.RescaleType = "1", "0", "HU"
    header.WindowCenter, header.WindowWidth = "40", "400"
    return header


def _slice_header(common: Dataset, volume: Volume, affine: np.ndarray, k: int) -> Dataset:
    header = copy_of(common)
    axes, _ = axial_order(volume.affine)
    header.Columns, header.Rows = volume.shape[axes[0]], volume.shape[axes[1]]
    header.InstanceNumber = k + 1
    header.ImagePositionPatient = [decimal(v) for v in (affine @ [0, 0, k, 1])[:3]]
    header.SOPInstanceUID = content_uid(common.SeriesInstanceUID, k)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = CTImageStorage
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    return header


def decimal(value: float) -> str:
    """Return a number as DICOM's decimal string, as exact as its 16 characters allow.

    >>> decimal(-0.0), decimal(1 / 3), decimal(-123.45678901234567)
    ('0', '0.33333333333333', '-123.45678901234')
    """
    if abs(value) < 1e-10:
        return "0"
    for digits in range(16, 5, -1):
        text = f"{value:.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{value:.8g}"
