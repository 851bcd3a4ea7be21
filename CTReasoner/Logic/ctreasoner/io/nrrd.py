"""NRRD with its voxels in the same file, raw or gzip: what the header says. Format: teem.sourceforge.net/nrrd/format.html."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..errors import InputError
from .raw import GZIP, RawImage, volume_shape

MAX_HEADER = 1 << 20
TYPES = {
    "i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",), "f8": ("double",),
}  # fmt: skip
DTYPES = {name: code for code, names in TYPES.items() for name in names}
SPACES = {  # signs that turn the file's world into RAS
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip


def is_nrrd(head: bytes) -> bool:
    return head.startswith(b"NRRD000")


def read_header(path: Path) -> RawImage:
    fields, offset = _fields(path)
    if "data file" in fields or "datafile" in fields or offset is None:
        raise InputError(f"{path.name} keeps its voxels in another file.", code="CTR-IO-207",
                         hint="Save it as one file (.nrrd, not .nhdr).")
    try:
        return _described(path, fields, offset)
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"the header of {path.name} makes no sense ({error}).", code="CTR-IO-206") from error


def _described(path: Path, fields: dict[str, str], offset: int) -> RawImage:
    sizes = [int(n) for n in fields["sizes"].split()]
    if len(sizes) != int(fields["dimension"]):
        raise ValueError("sizes and dimension differ")
    shape = volume_shape(sizes, path.name)
    if len(sizes) != 3 or any(int(fields.get(f, "0")) for f in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise ValueError("a layout that is not read")
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise InputError(f"{path.name} is packed as '{encoding[:20]}', which is not read.", code="CTR-IO-213",
                         hint="Save it as raw or gzip.")
    dtype = np.dtype(DTYPES[fields["type"].lower()])
    if dtype.itemsize > 1:
        dtype = dtype.newbyteorder({"little": "<", "big": ">"}[fields["endian"].lower()])
    return RawImage(dtype=dtype, shape=shape, affine=_affine(path, fields), offset=offset,
                    packing=None if encoding == "raw" else GZIP)


def _affine(path: Path, fields: dict[str, str]) -> np.ndarray:
    signs = SPACES.get(fields.get("space", "").lower())
    if signs is None or "space directions" not in fields:
        raise InputError(f"{path.name} does not say which way the patient lies.", code="CTR-IO-211",
                         hint="Its header needs 'space' and 'space directions'.")
    units = re.findall(r'"(.*?)"', fields.get("space units", ""))
    if any(unit not in ("mm", "") for unit in units):
        raise InputError(f"{path.name} measures in {units[0][:10]!r}, not in mm.", code="CTR-IO-206")
    directions = np.array([_vector(v) for v in re.findall(r"\(.*?\)", fields["space directions"])])
    if directions.shape != (3, 3):
        raise ValueError("space directions")
    affine = np.eye(4)
    affine[:3, :3] = directions.T
    affine[:3, 3] = _vector(fields["space origin"])
    affine[:3] *= np.array(signs)[:, None]
    return affine


def _vector(text: str) -> list[float]:
    values = [float(v) for v in text.strip().strip("()").split(",")]
    if len(values) != 3:
        raise ValueError("a vector")
    return values


def _fields(path: Path) -> tuple[dict[str, str], int | None]:
    """(lower-case field -> text, offset of the voxels); the offset is None when no blank line ends the header."""
    with open(path, "rb") as file:
        head = file.read(MAX_HEADER)
    end = re.search(rb"\r?\n\r?\n", head)
    text = (head[:end.start()] if end else head[:65536]).decode("utf-8", errors="replace")
    fields: dict[str, str] = {}
    for line in text.splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon and not line.startswith("#") and not value.startswith("="):  # := is a key of the user's own
            fields[name.strip().lower()] = value.strip()
    if end is None and "data file" not in fields:
        raise InputError(f"{path.name} ends within its header, or the header does not end.", code="CTR-IO-203",
                         hint="Copy or download the file again.")
    return fields, end.end() if end else None
