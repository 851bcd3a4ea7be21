"""Decode one slice (or one multi-frame object) to stored values, whatever its compression."""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments, generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import UID, RLELossless, SecondaryCaptureImageStorage

from ..errors import InputError
from .header import Header, read_with_pixels, reading
from .uids import content_uid

# Lossless JPEG (.57, .70), the commonest compression in archives, and its form of 12 bits (.51) have no permissively
# licensed decoder among pydicom's plug-ins: pylibjpeg-libjpeg is GPL-3. GDCM, inside SimpleITK, decodes them.
JPEG_BY_GDCM = {"1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.51"}
LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}  # other syntaxes allow both: LossyImageCompression tells


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
        if str(syntax) in JPEG_BY_GDCM:
            values = _decode_with_simpleitk(dataset)
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


def _decode_with_simpleitk(dataset: Dataset) -> np.ndarray:
    """Decode JPEG frames through GDCM, which ITK brings along: (frames, rows, columns).

    Each frame goes into a file of its own that holds nothing but the picture, so that GDCM neither rescales nor reads
    anything else of a foreign header.
    """
    import SimpleITK as sitk

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    frames = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "frame.dcm")
        reader.SetFileName(str(path))
        for codestream in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
            _picture(dataset, codestream).save_as(path, enforce_file_format=True)
            frames.append(sitk.GetArrayFromImage(reader.Execute()).reshape(int(dataset.Rows), int(dataset.Columns)))
    return np.stack(frames)


def _picture(dataset: Dataset, codestream: bytes) -> Dataset:
    """Return one compressed frame as a capture without patient, place or rescale."""
    picture = Dataset()
    picture.file_meta = FileMetaDataset()
    picture.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    picture.SOPClassUID = picture.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    picture.SOPInstanceUID = picture.file_meta.MediaStorageSOPInstanceUID = content_uid(codestream)
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
                    "SamplesPerPixel", "PhotometricInterpretation"):  # fmt: skip
        setattr(picture, keyword, dataset.get(keyword))
    picture.PixelData = encapsulate([codestream])
    return picture


def is_lossy(header: Header) -> bool:
    """Whether the pixels were compressed with loss, now or at any time before."""
    syntax = str(getattr(header.dataset, "file_meta", {}).get("TransferSyntaxUID", ""))
    return syntax in LOSSY or header.LossyImageCompression == "01"


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
