"""One door for every format. What a file is, its first bytes say, not its name."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import InputError, NotACTError, UsageError
from ..geometry import Volume, check_affine
from . import metaimage, nifti, nrrd
from .checks import check_ct
from .raw import RawImage, head_of, read_raw

FORMATS = ((nifti.is_nifti, nifti.read_header), (nrrd.is_nrrd, nrrd.read_header),
           (metaimage.is_metaimage, metaimage.read_header))
READS = "NIfTI (.nii, .nii.gz), NRRD (.nrrd), MetaImage (.mha), or DICOM as a folder, a file or a zip"
SUFFIXES = (".nii.gz", ".seg.nrrd", ".nii", ".nrrd", ".mha", ".mhd", ".dcm", ".zip")


def read_volume(path: str | os.PathLike, *, series: str | None = None) -> Volume:
    """The CT of a file or folder, in HU and RAS, checked to be one; ``series`` names one of several DICOM series.

    Raises
    ------
    InputError, GeometryError, NotACTError : with a sentence that says what is wrong.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"There is no file or folder {path.name!r}.", code="CTR-IO-001")
    if path.is_dir():
        return _read_dicom(path, series)
    try:
        size = os.path.getsize(path)
        head = head_of(path, 540) if size else b""
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror or error}.", code="CTR-IO-003") from error
    if not head:
        raise InputError(f"{path.name} is empty.", code="CTR-IO-201")
    for is_it, read_header in FORMATS:
        if is_it(head):
            if series is not None:
                raise UsageError(f"{path.name} is no DICOM: it has no series to choose from.", code="CTR-USE-010")
            return _read(path, read_header(path))
    from ..dicom import is_dicom

    if is_dicom(path):
        return _read_dicom(path, series)
    raise InputError(f"{path.name} is no CT that can be read.", code="CTR-IO-202", hint=f"Read are {READS}.")


def _read(path: Path, image: RawImage) -> Volume:
    if image.dtype.kind not in "iuf":
        raise NotACTError(f"{path.name} holds values of type {image.dtype}, not Hounsfield units.", code="CTR-IO-111")
    check_affine(image.affine)  # before the voxels are read
    voxels = _rescaled(read_raw(path, image), image.slope, image.intercept)
    volume = Volume(voxels, image.affine, name=_stem(path), source=str(path))
    check_ct(volume, eight_bit=image.dtype.itemsize == 1 and (image.slope, image.intercept) == (1.0, 0.0))
    return volume


def _rescaled(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """HU, int16 wherever every voxel is a whole number of that range, else float32; works slice by slice."""
    if stored.dtype == np.int16 and (slope, intercept) == (1.0, 0.0):
        return stored.astype(np.int16, copy=False)  # the byte order becomes this machine's
    result = np.empty(stored.shape, np.int16, order="F")
    for k in range(stored.shape[2]):
        plane = stored[:, :, k] * np.float64(slope) + intercept
        whole = np.rint(plane)
        if not np.array_equal(plane, whole) or plane.min() < -32768 or plane.max() > 32767:
            return _rescaled_float(stored, slope, intercept)
        result[:, :, k] = whole
    return result


def _rescaled_float(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    result = np.empty(stored.shape, np.float32, order="F")
    for k in range(stored.shape[2]):
        with np.errstate(over="ignore", invalid="ignore"):  # infinite values are refused afterwards, in words
            result[:, :, k] = stored[:, :, k] * np.float64(slope) + intercept
    return result


def _read_dicom(path: Path, series: str | None) -> Volume:
    from ..dicom import read_series

    found = read_series(path, series=series)
    check_ct(found.volume)
    return replace(found.volume, name=found.volume.name or path.name, source=str(path), series=found.uid, notes=found.notes)


def _stem(path: Path) -> str:
    name = path.name
    return next((name[:-len(s)] for s in SUFFIXES if name.lower().endswith(s) and len(name) > len(s)), path.stem)


def read_mask(path: str | os.PathLike, volume: Volume) -> np.ndarray:
    """A mask [i, j, k] bool on the grid of a CT, from .npy (the same grid) or NIfTI. InputError when the grids differ."""
    path = Path(path)
    try:
        if path.suffix == ".npy":
            mask = np.load(path, allow_pickle=False)
            affine = volume.affine
        else:
            import nibabel

            image = nibabel.load(path)
            mask, affine = np.asarray(image.dataobj), image.affine
    except Exception as error:  # nibabel raises many kinds for a damaged file
        raise InputError(f"The mask {path.name} cannot be read.", code="CTR-IO-220") from error
    if mask.shape != volume.shape or not np.allclose(affine, volume.affine, atol=1e-2):
        raise InputError(f"The mask {path.name} has the shape {mask.shape} and lies elsewhere than the CT of {volume.shape}.",
                         code="CTR-IO-221", hint="Save it on the grid of the CT.")
    return mask > 0
