"""MetaImage with its voxels in the same file, plain or packed: what the header says (as ITK writes it)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import InputError, NotACTError
from .raw import ZLIB, RawImage, volume_shape

MAX_HEADER = 1 << 16
DTYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def is_metaimage(head: bytes) -> bool:
    first = head.lstrip()
    return first.startswith((b"ObjectType", b"NDims")) and b"=" in first[:40]


def read_header(path: Path) -> RawImage:
    fields, offset = _fields(path)
    if fields["ElementDataFile"] != "LOCAL":
        raise InputError(f"{path.name} keeps its voxels in another file.", code="CTR-IO-207",
                         hint="Save it as one file (.mha, not .mhd).")
    try:
        return _described(path, fields, offset)
    except (KeyError, ValueError) as error:
        raise InputError(f"the header of {path.name} makes no sense ({error}).", code="CTR-IO-206") from error


def _described(path: Path, fields: dict[str, str], offset: int) -> RawImage:
    if int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise NotACTError(f"{path.name} holds several values per voxel, not Hounsfield units.", code="CTR-IO-111")
    sizes = [int(n) for n in fields["DimSize"].split()]
    if len(sizes) != int(fields["NDims"]):
        raise ValueError("NDims and DimSize differ")
    shape = volume_shape(sizes, path.name)
    if len(sizes) != 3 or not _true(fields.get("BinaryData", "True")) or int(fields.get("HeaderSize", "0")) != 0:
        raise ValueError("a layout that is not read")
    big = _true(fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")))
    dtype = np.dtype(DTYPES[fields["ElementType"]]).newbyteorder(">" if big else "<")
    packed = _true(fields.get("CompressedData", "False"))
    slope, intercept = float(fields.get("ElementToIntensityFunctionSlope", 1)), float(
        fields.get("ElementToIntensityFunctionOffset", 0))
    return RawImage(dtype=dtype, shape=shape, affine=_affine(fields), offset=offset, packing=ZLIB if packed else None,
                    slope=slope, intercept=intercept)


def _affine(fields: dict[str, str]) -> np.ndarray:
    matrix = _numbers(fields, 9, "TransformMatrix", "Orientation", "Rotation").reshape(3, 3)  # row n: direction of axis n
    affine = np.eye(4)
    affine[:3, :3] = matrix.T * _numbers(fields, 3, "ElementSpacing")
    affine[:3, 3] = _numbers(fields, 3, "Offset", "Position", "Origin")
    return LPS_TO_RAS @ affine


def _numbers(fields: dict[str, str], count: int, *names: str) -> np.ndarray:
    text = next((fields[name] for name in names if name in fields), None)
    if text is None:
        raise ValueError(f"no {names[0]}")
    values = np.array([float(v) for v in text.split()])
    if len(values) != count or not (np.abs(values) < 1e9).all():  # no number, or one that overflows when it is multiplied
        raise ValueError(names[0])
    return values


def _true(text: str) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}[text.lower()]


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """(field -> text, offset of the voxels): the header ends with the line of ElementDataFile."""
    with open(path, "rb") as file:
        head = file.read(MAX_HEADER)
    fields: dict[str, str] = {}
    offset = 0
    while offset < len(head):
        end = head.find(b"\n", offset)
        if end < 0:
            break
        name, _, value = head[offset:end].decode("utf-8", errors="replace").partition("=")
        fields[name.strip()] = value.strip()
        offset = end + 1
        if name.strip() == "ElementDataFile":
            return fields, offset
    raise InputError(f"{path.name} ends within its header.", code="CTR-IO-203", hint="Copy or download the file again.")
