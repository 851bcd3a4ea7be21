"""NIfTI-1 and NIfTI-2 in one file, plain or gzip: what the header says."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ..errors import InputError, NotACTError
from .raw import GZIP, RawImage, head_of, volume_shape

MAGICS = {b"n+1\0": 348, b"n+2\0": 540}
PAIRS = (b"ni1\0", b"ni2\0")
COLOURS_OR_COMPLEX = {32, 128, 1792, 2048, 2304}  # NIfTI datatype codes
MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
MAX_OFFSET = 64 << 20  # extensions of the header


def is_nifti(head: bytes) -> bool:
    """Whether the first 540 bytes (unpacked) are a NIfTI header, of a pair or not."""
    return head[344:348] in MAGICS or head[344:348] in PAIRS or head[4:8] in MAGICS or head[4:8] in PAIRS


def read_header(path: Path) -> RawImage:
    import nibabel  # costs 0.5 s

    head = head_of(path, 540)
    magic = head[344:348] if head[344:348] in (*MAGICS, *PAIRS) else head[4:8]
    if magic in PAIRS:
        raise InputError(f"{path.name} is the header of another file.", code="CTR-IO-207",
                         hint="Save header and voxels in one .nii file.")
    kind = nibabel.Nifti1Header if MAGICS[magic] == 348 else nibabel.Nifti2Header
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = kind(head[:MAGICS[magic]], check=False)
            return _described(path, header)
    except InputError:
        raise
    except Exception as error:  # whatever a hostile header makes of the library
        raise InputError(f"the header of {path.name} makes no sense.", code="CTR-IO-206") from error


def _described(path: Path, header) -> RawImage:
    code, count = int(header["datatype"]), int(header["dim"][0])
    if code in COLOURS_OR_COMPLEX:
        raise NotACTError(f"{path.name} holds colours or complex numbers, not Hounsfield units.", code="CTR-IO-111")
    if not 1 <= count <= 7:
        raise InputError(f"the header of {path.name} makes no sense: {count} axes.", code="CTR-IO-206")
    shape = volume_shape([int(n) for n in header["dim"][1:count + 1]], path.name)
    if int(header["sform_code"]) <= 0 and int(header["qform_code"]) <= 0:
        raise InputError(f"{path.name} does not say which way the patient lies.", code="CTR-IO-211",
                         hint="Its sform and qform codes are 0; convert it again from DICOM.")
    affine = np.array(header.get_best_affine(), float)
    unit = int(header["xyzt_units"]) & 7
    if unit not in MM_PER_UNIT:
        raise InputError(f"{path.name} has an unknown unit of length.", code="CTR-IO-206")
    affine[:3] *= MM_PER_UNIT[unit]
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:  # the standard's "no scaling"
        slope, intercept = 1.0, 0.0
    offset = float(header["vox_offset"])
    if not (352 <= offset <= MAX_OFFSET and offset == int(offset)):
        raise InputError(f"the header of {path.name} makes no sense: voxels from byte {offset:g} on.", code="CTR-IO-206")
    with open(path, "rb") as file:
        packing = GZIP if file.read(2) == b"\x1f\x8b" else None
    return RawImage(dtype=header.get_data_dtype(), shape=shape, affine=affine, offset=int(offset), packing=packing,
                    whole=packing is not None, slope=slope, intercept=intercept if np.isfinite(intercept) else 0.0)
