"""Tiny DICOM series for tests: a CT of random HU, and every way in which such a folder can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

SHAPE = (12, 10, 8)  # columns, rows, slices
STRAIGHT = np.array([[1.0, 0, 0], [0, 1.0, 0]])


def hounsfield(shape=SHAPE, seed: int = 0) -> np.ndarray:
    """Return random HU, [column, row, slice] int16."""
    return np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)


def series(
    hu: np.ndarray | None = None,
    *,
    orientation=STRAIGHT,
    spacing=(0.7, 0.8),
    step=(0.0, 0.0, 2.5),
    origin=(-40.0, -50.0, 100.0),
    modality: str = "CT",
    number: int = 3,
    slope: float = 2.0,
    intercept: float = -1024.0,
    sop_class: str = CTImageStorage,
) -> list[Dataset]:
    """Return the slices of one series in order (LPS); spacing is (rows, columns) in mm."""
    hu = hounsfield() // 2 * 2 if hu is None else hu
    uid = f"1.2.826.0.1.{number}"
    slices = []
    for k in range(hu.shape[2]):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SpecificCharacterSet = "ISO_IR 100"
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = sop_class
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(k)])
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.826.0.1.1", uid, "1.2.826.0.1.2"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Müller^Test", "P1", "19500101", "O"
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber, ds.StudyID, ds.ReferringPhysicianName = (
            "20260102",
            "101112",
            "",
            "1",
            "",
        )
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.BodyPartExamined = modality, number, k + 1, "CHEST"
        ds.ImageType, ds.SeriesDescription, ds.Manufacturer = ["ORIGINAL", "PRIMARY", "AXIAL"], "Thorax", "Nobody"
        ds.PatientPosition, ds.PositionReferenceIndicator, ds.KVP, ds.AcquisitionNumber = "HFS", "", "120", 1
        ds.Columns, ds.Rows = hu.shape[0], hu.shape[1]
        ds.SliceThickness, ds.PixelSpacing = "2.5", list(spacing)
        ds.ImageOrientationPatient = [round(float(v), 12) for v in np.ravel(orientation)]
        ds.ImagePositionPatient = [round(float(v), 10) for v in np.array(origin) + k * np.array(step)]
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 1
        ds.RescaleSlope, ds.RescaleIntercept, ds.RescaleType = str(slope), str(intercept), "HU"
        stored = np.rint((hu[:, :, k].T.astype(float) - intercept) / slope).astype("<i2")
        ds.PixelData = stored.tobytes()
        slices.append(ds)
    return slices


def save(slices: list[Dataset], folder: Path, prefix: str = "IM", shuffle: bool = True) -> Path:
    """Write slices under names whose order says nothing about positions."""
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(1).permutation(len(slices)) if shuffle else range(len(slices))
    for name, k in enumerate(order):
        slices[k].save_as(folder / f"{prefix}{name:04d}", enforce_file_format=True)
    return folder


def deflated(slices: list[Dataset], folder: Path) -> Path:
    """Write slices in the deflated transfer syntax."""
    for ds in slices:
        ds.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    return save(slices, folder)
