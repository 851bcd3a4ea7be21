"""Files on their way out, and changed masks on their way in."""

from __future__ import annotations

import base64
import binascii
import gzip
import math
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..client.volumes import VolumeFile
from ..errors import InputError
from ..events import Mask
from .schemas import Edited


def nifti(file: VolumeFile, event: Mask, crop: np.ndarray, scratch: Path) -> bytes:
    """Return a mask on its CT's grid as the bytes of a .nii.gz file; `scratch` is a folder to write in."""
    from ..geometry import Volume
    from ..io import write_mask_nifti

    volume = Volume(np.load(file.path, mmap_mode="r", allow_pickle=False), np.array(file.affine))
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        target = Path(folder) / "mask.nii.gz"
        write_mask_nifti(crop, event.first_voxel, volume, target)
        return target.read_bytes()


def label_map(grid: np.ndarray, affine: np.ndarray, extension: str, is_packed: bool = True) -> bytes:
    """Return labels (uint8, [i, j, k]) with their place (ijk -> RAS mm) as the bytes of a ".nrrd" or ".nii.gz" file."""
    if extension == ".nii.gz":
        import nibabel

        image = nibabel.Nifti1Image(grid, affine)
        image.set_sform(affine, code="scanner")
        image.set_qform(affine, code="scanner")
        image.header.set_xyzt_units("mm")
        return gzip.compress(image.to_bytes(), compresslevel=1, mtime=0)
    from ..io.writing import RAS_TO_LPS

    vectors = [f"({','.join(repr(float(v)) for v in column)})" for column in (RAS_TO_LPS @ affine)[:3].T]
    lines = ["NRRD0004", "type: unsigned char", "dimension: 3", "space: left-posterior-superior",
             f"sizes: {' '.join(map(str, grid.shape))}", f"space directions: {' '.join(vectors[:3])}",
             "kinds: domain domain domain", f"space origin: {vectors[3]}",
             f"encoding: {'gzip' if is_packed else 'raw'}"]  # fmt: skip
    voxels = grid.tobytes(order="F")
    return "\n".join([*lines, "", ""]).encode() + (gzip.compress(voxels, compresslevel=1, mtime=0) if is_packed else voxels)


def unpacked(edited: Edited, whole: list[int]) -> np.ndarray:
    fits = all(a >= 0 and n >= 0 and a + n <= size for a, n, size in zip(edited.first_voxel, edited.shape, whole, strict=True))
    count = math.prod(edited.shape) if fits else 0
    try:
        unpacker = zlib.decompressobj()
        bits = unpacker.decompress(base64.b64decode(edited.bits, validate=True), (count + 7) // 8 + 1)
        if not fits or len(bits) != (count + 7) // 8 or not unpacker.eof:
            raise ValueError
    except (zlib.error, binascii.Error, ValueError) as error:
        raise InputError(
            "The changed mask does not lie in the CT, or its bits do not fit its shape.", code="CTR-WRK-020"
        ) from error
    return np.unpackbits(np.frombuffer(bits, np.uint8), count=count).reshape(edited.shape).astype(bool)


def exported(folder: Path) -> dict[str, Path]:
    """Return {path relative to the folder: file}; the arrays of the stream are not among them."""
    files = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path for name, path in files.items() if not name.startswith("arrays/")}


def zipped(folder: Path) -> Path:
    target = folder.with_suffix(".zip")
    part = target.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, path in exported(folder).items():
            archive.write(path, name)
    return part.replace(target)
