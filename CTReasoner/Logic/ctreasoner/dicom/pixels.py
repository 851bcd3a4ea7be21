"""Decode one slice (or one multi-frame object) to stored values, whatever its compression."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.encaps import generate_fragments
from pydicom.pixels import pixel_array
from pydicom.uid import UID, RLELossless

from ..errors import InputError
from .header import Header, read_with_pixels, reading

# Lossless JPEG, the commonest compression in archives, has no permissively licensed decoder among pydicom's plug-ins.
JPEG_LOSSLESS = {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.51"}


def stored_values(header: Header) -> np.ndarray:
    """Return the stored values of a file, (frames, rows, columns), before any rescale.

    Raises
    ------
    InputError : no decoder, damaged codestream, or a codestream of another size than the header says.
    """
    with reading(header.member):
        dataset = read_with_pixels(header.member)
        syntax = UID(dataset.file_meta.TransferSyntaxUID)
        if syntax.is_encapsulated:
            _check_codestreams(header, dataset.PixelData)
        if str(syntax) in JPEG_LOSSLESS:
            values = _decode_with_simpleitk(header)
        else:
            try:
                plugin = "pydicom" if syntax == RLELossless else ""  # the quick decoder of RLE panics on damaged data
                values = pixel_array(dataset, raw=True, decoding_plugin=plugin)
            except (NotImplementedError, RuntimeError) as error:
                raise InputError(
                    f"{header.member.name!r} is compressed as {syntax.name}, and cannot be decoded here.",
                    code="CTR-IO-023",
                    hint="Save the series uncompressed and try again.",
                ) from error
        values = values.reshape((-1, *values.shape[-2:]))
        expected = (int(header.NumberOfFrames or 1), int(header.Rows), int(header.Columns))
        if values.shape != expected:
            raise InputError(
                f"{header.member.name!r} decodes to {values.shape}, but its header says {expected}.", code="CTR-IO-021"
            )
        return values


def _decode_with_simpleitk(header: Header) -> np.ndarray:
    """Decode through GDCM, which ITK brings along. It rescales by itself, so the rescale is taken back."""
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "slice.dcm")
        path.write_bytes(header.member.read(-1))
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        values = sitk.GetArrayFromImage(reader.Execute())
    if header.NumberOfFrames and int(header.NumberOfFrames) > 1:
        raise InputError(
            f"{header.member.name!r} holds several frames as JPEG lossless, and cannot be decoded here.",
            code="CTR-IO-023",
            hint="Save the series uncompressed and try again.",
        )
    slope, intercept = float(header.RescaleSlope or 1), float(header.RescaleIntercept or 0)
    return np.rint((values.astype(np.float64) - intercept) / slope).astype(np.int32)


# --- what a codestream says about its own size: a decoder allocates that much before it fails ------------------------
def _check_codestreams(header: Header, data: bytes) -> None:
    rows, columns = int(header.Rows), int(header.Columns)
    for fragment in generate_fragments(data):
        for height, width in _codestream_sizes(fragment):
            if height > rows or width > columns:
                raise InputError(
                    f"{header.member.name!r} holds a picture of {width} x {height}, but its header says {columns} x {rows}.",
                    code="CTR-IO-021",
                )


def _codestream_sizes(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield (height, width) of a JPEG, JPEG-LS or JPEG 2000 codestream that starts at ``data``."""
    if data[:4] == b"\xff\x4f\xff\x51":
        width, height, x0, y0 = struct.unpack_from(">LLLL", data, 8)
        yield height - y0, width - x0
        return
    at = 2
    while data[:2] == b"\xff\xd8" and at + 9 <= len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in (0xF7, *range(0xC0, 0xD0)) and marker not in (0xC4, 0xC8, 0xCC):
            yield struct.unpack_from(">HH", data, at + 5)
            return
        at += 2 + length
