"""Tiny DICOM series for tests: a CT of random HU, and every way in which such a folder can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
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


def compressed(slices: list[Dataset], syntax: str, folder: Path) -> Path:
    """Write slices in a compressed transfer syntax that pydicom can write."""
    for ds in slices:
        ds.compress(syntax)
    return save(slices, folder)


def jpeg_lossless(slices: list[Dataset]) -> list[Dataset]:
    """Compress slices as JPEG lossless (process 14, selection value 1), by GDCM inside SimpleITK."""
    import tempfile

    import SimpleITK as sitk

    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetUseCompression(True)
    writer.SetCompressor("JPEG")
    with tempfile.TemporaryDirectory() as folder:
        writer.SetFileName(f"{folder}/slice.dcm")
        for ds in slices:
            kind = np.int16 if ds.PixelRepresentation else np.uint16
            stored = np.frombuffer(ds.PixelData, kind).reshape(1, ds.Rows, ds.Columns)
            writer.Execute(sitk.GetImageFromArray(stored))
            written = pydicom.dcmread(f"{folder}/slice.dcm")
            assert written.file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
            ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLosslessSV1
            ds.PixelData = encapsulate(list(generate_frames(written.PixelData, number_of_frames=1)))
            ds["PixelData"].VR = "OB"
    return slices


def multi_frame(slices: list[Dataset], order: list[int]) -> Dataset:
    """Return an enhanced CT whose frames are the slices, in any order; what they share stands in the shared groups."""
    whole = slices[0]
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedCTImageStorage
    frames = []
    for k in order:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = slices[k].ImagePositionPatient
        frame.PlanePositionSequence = Sequence([position])
        frames.append(frame)
    shared, direction, measures, rescale, kernel = (Dataset() for _ in range(5))
    direction.ImageOrientationPatient = whole.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    rescale.RescaleSlope, rescale.RescaleIntercept, rescale.RescaleType = whole.RescaleSlope, whole.RescaleIntercept, "HU"
    kernel.ConvolutionKernel = "Br40"
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = Sequence([direction]), Sequence([measures])
    shared.PixelValueTransformationSequence, shared.CTReconstructionSequence = Sequence([rescale]), Sequence([kernel])
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = Sequence([shared]), Sequence(frames)
    whole.NumberOfFrames = len(order)
    if whole.file_meta.TransferSyntaxUID.is_encapsulated:
        whole.PixelData = encapsulate([next(generate_frames(slices[k].PixelData, number_of_frames=1)) for k in order])
    else:
        whole.PixelData = b"".join(slices[k].PixelData for k in order)
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "RescaleSlope",
                    "RescaleIntercept"):
        del whole[keyword]
    return whole
