"""Voxels behind a header: allocated only after the header agrees with the file, read to the last byte, checksums included."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..errors import InputError, NotACTError, ResourceError

MAX_VOXELS = 1 << 31
MAX_INFLATION = 200        # a real CT packs 2:1 to 5:1; zeros reach 1,032:1
SMALL = 256 << 20          # bytes; below that any inflation is harmless
CHUNK = 1 << 20
WHOLE_AGAIN = "Copy or download the file again."
GZIP, ZLIB = 31, 15        # window sizes of zlib: with them it checks CRC and length, or Adler-32


@dataclass(frozen=True)
class RawImage:
    """What a header says about the voxels of one file.

    dtype : on disk, with byte order. shape : first axis fastest. affine : index -> RAS mm.
    offset : bytes before the voxels; in a packed NIfTI they are packed too, elsewhere they are not.
    packing : None, GZIP or ZLIB; whole : the packed stream starts at the file's first byte.
    slope, intercept : HU = slope * stored + intercept.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    affine: np.ndarray
    offset: int
    packing: int | None = None
    whole: bool = False
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def nbytes(self) -> int:
        count = self.dtype.itemsize
        for n in self.shape:  # python integers: no overflow
            count *= n
        return count


def volume_shape(sizes: list[int], name: str) -> tuple[int, int, int]:
    """Three axes of at least three voxels, without the empty fourth that some programs write; refuses everything else."""
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    if len(sizes) > 3:
        raise NotACTError(f"{name} has {len(sizes)} axes ({' x '.join(map(str, sizes))}); a CT has three.", code="CTR-IO-110",
                          hint="A series over time, of channels or of colours is not read; save one volume of it.")
    if len(sizes) < 3 or min(sizes) < 3:
        shown = " x ".join(map(str, sizes)) or "nothing"
        raise InputError(f"{name} is {shown} voxels; at least three slices are needed in every direction.",
                         code="CTR-IO-210", hint="Load the whole series instead of a slice.")
    count = sizes[0] * sizes[1] * sizes[2]
    if count > MAX_VOXELS:
        raise InputError(f"{name} claims {count:,} voxels; at most {MAX_VOXELS:,} are read.", code="CTR-IO-208")
    return tuple(sizes)


def read_raw(path: Path, image: RawImage) -> np.ndarray:
    """The voxels of a file as stored, [i, j, k] with i fastest. Refuses a file that is shorter or longer than it says."""
    size = os.path.getsize(path)
    before = 0 if image.whole else image.offset
    if image.packing is None and size != image.offset + image.nbytes:
        raise _length_error(path.name, size - image.offset, image.nbytes)
    total = image.nbytes + (image.offset if image.whole else 0)
    if image.packing is not None and total > SMALL and total > MAX_INFLATION * max(size - before, 1):
        raise InputError(f"{path.name} has {size:,} bytes but claims to unpack to {total:,}: that is no CT.",
                         code="CTR-IO-208")
    try:
        content = np.empty(total, np.uint8)
        with open(path, "rb") as file:
            file.seek(before)
            if image.packing is None:
                count = file.readinto(content)
            else:
                count = _inflate(file, content, image.packing, path.name)
    except MemoryError as error:
        raise ResourceError(f"{path.name} needs {total / 1e9:.1f} GB of memory.", code="CTR-RES-002") from error
    except OSError as error:
        raise InputError(f"{path.name} cannot be read: {error.strerror or error}.", code="CTR-IO-003") from error
    if count != total:
        raise _length_error(path.name, count - (total - image.nbytes), image.nbytes)
    return np.frombuffer(content, np.uint8, image.nbytes, total - image.nbytes).view(image.dtype).reshape(
        image.shape, order="F")


def head_of(path: Path, count: int) -> bytes:
    """The first bytes of a file, unpacked when it is gzip."""
    with open(path, "rb") as file:
        head = file.read(count)
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        with gzip.open(path) as packed:
            return packed.read(count)
    except EOFError as error:
        raise _cut_off(path.name) from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise _damaged(path.name) from error


def _inflate(file: BinaryIO, target: np.ndarray, window: int, name: str) -> int:
    """Fill `target` from a packed stream; returns the bytes that came. The stream must end where the file ends."""
    stream, filled, view = zlib.decompressobj(window), 0, memoryview(target)
    for packed in iter(lambda: file.read(CHUNK), b""):
        while packed:
            if stream.eof:  # one more member, as bgzip writes
                stream = zlib.decompressobj(window)
            try:
                piece = stream.decompress(packed, CHUNK)
            except zlib.error as error:
                raise _damaged(name) from error
            if filled + len(piece) > len(view):
                raise _length_error(name, filled + len(piece), len(view), at_least=True)
            view[filled:filled + len(piece)] = piece
            filled += len(piece)
            packed = stream.unconsumed_tail or stream.unused_data
    if not stream.eof:
        raise _cut_off(name)
    return filled


def _cut_off(name: str) -> InputError:
    return InputError(f"{name} ends too early: its packed data are cut off.", code="CTR-IO-203", hint=WHOLE_AGAIN)


def _damaged(name: str) -> InputError:
    return InputError(f"{name} is damaged: its packed data do not fit their checksum.", code="CTR-IO-205", hint=WHOLE_AGAIN)


def _length_error(name: str, found: int, wanted: int, at_least: bool = False) -> InputError:
    if found < wanted:
        return InputError(f"{name} ends too early: {max(found, 0):,} of {wanted:,} bytes of voxels are there.",
                          code="CTR-IO-203", hint=WHOLE_AGAIN)
    more = "more than" if at_least else f"{found:,} bytes of voxels instead of"
    return InputError(f"{name} holds {more} the {wanted:,} that its header describes.", code="CTR-IO-204",
                      hint="The header is not the one of these voxels.")
