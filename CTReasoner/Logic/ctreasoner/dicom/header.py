"""Read what a slice says about itself, with limits: foreign bytes cost bounded time and memory, raise InputError only.

pydicom tolerates much that must not be tolerated here: it returns a cut value as it is, inflates without a bound and
follows nested sequences until Python gives up. So only listed attributes are kept, every length is compared with the
file's, and the pixel data are walked to their end before anything is decoded.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_partial
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from ..errors import CTReasonerError, InputError
from .archive import Member, has_dicom_mark

MAX_ELEMENTS = 5_000  # at the top level; a slice has some hundreds, with private ones a thousand
MAX_INFLATED = 1 << 30
SMALL_INFLATED = 16 << 20  # a blank slice of half a megabyte deflates 300 : 1, and may
DEFLATE_RATIO = 20  # of anything larger; CT deflates 2 : 1 to 4 : 1
MAX_SIDE = 8192  # rows and columns
MAX_DEPTH = 16  # of nested sequences in what is kept; the deepest honest one here has 4
PIXEL_DATA = 0x7FE00010
FLOAT_PIXELS = {0x7FE00008, 0x7FE00009}

# Patient and study: copied into what is derived from the series; filled with nothing where they lack.
TYPE_2 = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "StudyID", "ReferringPhysicianName"
)  # fmt: skip
KEPT = (
    *TYPE_2, "SpecificCharacterSet", "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID",
    "FrameOfReferenceUID", "PositionReferenceIndicator", "Modality", "ImageType", "StudyDescription",
    "SeriesDescription", "SeriesNumber", "SeriesDate", "SeriesTime", "AcquisitionNumber", "AcquisitionDate",
    "AcquisitionTime", "ContentDate", "ContentTime", "InstanceNumber", "PatientAge", "PatientSize", "PatientWeight",
    "BodyPartExamined", "Laterality", "PatientPosition", "Manufacturer", "ManufacturerModelName", "KVP",
    "ConvolutionKernel", "ProtocolName", "ContrastBolusAgent", "SliceThickness", "SpacingBetweenSlices",
    "GantryDetectorTilt", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "RescaleType",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "LossyImageCompression", "SmallestImagePixelValue",
    "LargestImagePixelValue", "BurnedInAnnotation", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)  # fmt: skip
KEPT_TAGS = [pydicom.datadict.tag_for_keyword(keyword) for keyword in KEPT]


@dataclass(frozen=True)
class Header:
    """One DICOM file: where it came from, its listed attributes, and where its pixels stand."""

    member: Member
    dataset: FileDataset
    has_pixels: bool

    def __getattr__(self, keyword: str):
        return self.dataset.get(keyword)


@contextmanager
def reading(member: Member) -> Iterator[None]:
    """Turn whatever a parser raises about ``member`` into one InputError; warnings of parsers are silenced."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except CTReasonerError:
        raise
    except MemoryError as error:
        raise InputError(f"{member.name!r} asks for more memory than there is.", code="CTR-IO-022") from error
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # pydicom alone raises nine kinds, and a decoder in Rust panics past Exception
        raise InputError(
            f"{member.name!r} is not a readable DICOM file.",
            code="CTR-IO-020",
            hint="It is damaged or was cut off; copy the series again.",
        ) from error


def cut_off(member: Member) -> InputError:
    """Return the error about a file that ends too early."""
    return InputError(
        f"{member.name!r} is truncated: it ends before its own header says.",
        code="CTR-IO-021",
        hint="Copy the series again; a part of it is missing.",
    )


def read_header(member: Member) -> Header | None:
    """Read the listed attributes of one file and check that its pixel data are all there.

    Returns None for a file without the DICOM mark whose name says that it is no slice.

    Raises
    ------
    InputError : not DICOM, damaged, truncated, or built to exhaust whoever reads it.
    """
    with reading(member):
        data = member.read(-1)
        if not has_dicom_mark(data[:132]):
            if member.is_bystander:
                return None
            raise InputError(
                f"{member.name!r} is not a DICOM file or was cut off at its beginning.",
                code="CTR-IO-020",
                hint="Remove it if it does not belong to the series, or copy the series again.",
            )
        dataset, has_pixels = parse(member, data, KEPT_TAGS, stop_at_pixels=True)
        check_depth(dataset)  # and decode each value now: what is wrong with one must not come out later
        check_depth(dataset.file_meta)
        for keyword in TYPE_2:
            if keyword not in dataset:
                setattr(dataset, keyword, "")
        return Header(member, dataset, has_pixels)


def read_with_pixels(member: Member) -> FileDataset:
    """Read one file again, this time with its pixel data (raw bytes, not decoded)."""
    with reading(member):
        return parse(member, member.read(-1), [*KEPT_TAGS, PIXEL_DATA], stop_at_pixels=False)[0]


def parse(member: Member, data: bytes, tags: list[int], *, stop_at_pixels: bool) -> tuple[FileDataset, bool]:
    """Return (data set with the attributes ``tags`` alone, whether there are pixels); raises what parsers raise, see `reading`."""
    stream = BytesIO(data)
    syntax = _file_meta(BytesIO(data)).get("TransferSyntaxUID")
    guard = _Guard(member, stream, stop_at_pixels)
    if syntax == DeflatedExplicitVRLittleEndian:
        meta, stream = _inflated(member, stream)
        guard = _Guard(member, stream, stop_at_pixels)
        body = read_dataset(stream, False, True, stop_when=guard, specific_tags=tags)
        dataset = FileDataset(BytesIO(), body, b"\0" * 128, meta, False, True)
        dataset.set_original_encoding(False, True, body._character_set)
    else:
        dataset = read_partial(stream, stop_when=guard, specific_tags=tags)
    if stop_at_pixels and guard.pixel_length is not None:
        guard.check_pixels(dataset)
    elif stop_at_pixels:
        guard.check_end()
    return dataset, guard.pixel_length is not None


def _file_meta(stream: BytesIO) -> FileMetaDataset:
    """Read the file meta group and leave the stream at the start of the data set."""
    pydicom.filereader.read_preamble(stream, False)
    return pydicom.filereader._read_file_meta_info(stream)


def _inflated(member: Member, stream: BytesIO) -> tuple[FileMetaDataset, BytesIO]:
    """Return the file meta and the inflated data set of a deflated file; refuses what inflates without measure."""
    meta = _file_meta(stream)
    packed = stream.read()
    limit = min(MAX_INFLATED, max(SMALL_INFLATED, DEFLATE_RATIO * len(packed)))
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflater.decompress(packed, limit)
    if inflater.unconsumed_tail or len(data) >= limit:
        raise InputError(f"{member.name!r} has {len(packed) / 1e6:.2f} MB and inflates to more than {limit / 1e6:.0f} MB.",
                         code="CTR-IO-012")
    if not inflater.eof:
        raise cut_off(member)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return meta, BytesIO(data)


class _Guard:
    """Called by pydicom before each top-level element: counts, compares lengths, remembers where the pixels stand."""

    def __init__(self, member: Member, stream: BytesIO, stop_at_pixels: bool) -> None:
        self.member, self.stream, self.stop_at_pixels = member, stream, stop_at_pixels
        self.size = len(stream.getbuffer())
        self.count = 0
        self.end: int | None = 0  # of the element that is read now, where it is known
        self.pixel_start: int = 0
        self.pixel_length: int | None = None

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        self.count += 1
        if self.count > MAX_ELEMENTS:
            raise InputError(f"{self.member.name!r} holds more than {MAX_ELEMENTS} elements.", code="CTR-IO-022")
        self.end = None if length == 0xFFFFFFFF else self.stream.tell() + length
        if self.end is not None and self.end > self.size:
            raise cut_off(self.member)
        if tag in FLOAT_PIXELS:
            raise InputError(f"{self.member.name!r} holds floating-point pixels, which no CT has.", code="CTR-IO-101")
        if tag == PIXEL_DATA:
            self.pixel_start, self.pixel_length = self.stream.tell(), length
            return self.stop_at_pixels
        return False

    def check_end(self) -> None:
        """Refuse a file whose last element does not end where the file ends."""
        if self.end is not None and self.end != self.size:
            raise cut_off(self.member)

    def check_pixels(self, dataset: FileDataset) -> None:
        """Walk the pixel data and what follows to the end of the file."""
        data = self.stream.getbuffer()
        if self.pixel_length == 0xFFFFFFFF:
            end = self._walk_items(data)
        else:
            end = self.pixel_start + self.pixel_length
            frames = int(dataset.get("NumberOfFrames") or 1)
            bits = int(dataset.BitsAllocated) * int(dataset.Rows) * int(dataset.Columns) * frames
            if int(dataset.get("SamplesPerPixel") or 1) == 1 and bits > 8 * self.pixel_length:
                raise cut_off(self.member)  # colour pictures may share samples; no CT is one
        self._walk_rest(data, end, dataset)

    def _walk_items(self, data: memoryview) -> int:
        """Return where the sequence of compressed fragments ends; it must end by its delimiter."""
        at = self.pixel_start
        while at + 8 <= self.size:
            group, element, length = struct.unpack_from("<HHL", data, at)
            at += 8
            if (group, element) == (0xFFFE, 0xE0DD):
                return at
            if (group, element) != (0xFFFE, 0xE000):
                break
            at += length
        raise cut_off(self.member)

    def _walk_rest(self, data: memoryview, end: int, dataset: FileDataset) -> None:
        """Check that what follows the pixels is zero padding or whole elements."""
        rest = bytes(data[end : end + (1 << 20)])
        if not rest.strip(b"\0"):
            return
        stream = BytesIO(bytes(data[end:]))
        guard = _Guard(self.member, stream, False)
        implicit, little = dataset.original_encoding
        for _ in pydicom.filereader.data_element_generator(stream, implicit, little, guard, specific_tags=[0x00080005]):
            pass
        guard.check_end()


def check_depth(dataset: pydicom.Dataset, depth: int = 0) -> None:
    """Refuse what is kept when its sequences nest deeper than any honest object's."""
    if depth > MAX_DEPTH:
        raise InputError(f"A sequence nests deeper than {MAX_DEPTH} levels.", code="CTR-IO-022")
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                check_depth(item, depth + 1)
