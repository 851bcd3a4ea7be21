"""Masks on the CT's grid: .nii.gz, and .seg.nrrd with names, colours and terminology as 3D Slicer reads them.

Both are written plane by plane, so that a mask never needs the memory of the whole grid, and byte for byte the same each time.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ..errors import GeometryError, UsageError
from ..geometry import Volume
from .files import atomic

if TYPE_CHECKING:
    from ..vocabulary import Code, Vocabulary

TISSUE: Code = ("85756007", "SCT", "Tissue")  # what Slicer gives a segment without a meaning
UNNAMED_COLOUR = (241, 214, 145)
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
FASTEST = 1  # zlib level: masks are mostly zeros
CONTEXTS = "Segmentation category and type - 3D Slicer General Anatomy list", "Anatomic codes - DICOM master list"


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One mask to be written.

    mask : crop [i, j, k] of the CT's grid from `first_voxel`, anything but 0 belongs to it.
    id : unique in its file, for example "a1.o2". colour : 0 to 255. Codes are (value, scheme, meaning).
    algorithm : DICOM's word, AUTOMATIC, SEMIAUTOMATIC or MANUAL. maker, licence : who drew it; of its weights.
    """

    id: str
    key: str
    display: str
    mask: np.ndarray
    first_voxel: tuple[int, int, int]
    colour: tuple[int, int, int] = UNNAMED_COLOUR
    category: Code = TISSUE
    type: Code = TISSUE
    modifier: Code | None = None
    anatomic_region: Code | None = None
    algorithm: str = "AUTOMATIC"
    maker: str = "CTReasoner"
    licence: str = ""

    @classmethod
    def named(cls, key: str, mask: np.ndarray, first_voxel: Sequence[int], vocabulary: Vocabulary, *, id: str = "",
              display: str = "", algorithm: str = "AUTOMATIC", maker: str = "CTReasoner", licence: str = "") -> Segment:
        """A segment with colour and codes of the vocabulary; what the vocabulary does not know becomes plain tissue."""
        known = vocabulary.get(key)
        codes = {} if known is None else {name: getattr(known, name) for name in (
            "colour", "category", "type", "modifier", "anatomic_region")}
        name = display or (known.display if known else key)
        return cls(id=id or key, key=key, display=name, mask=mask, first_voxel=tuple(int(f) for f in first_voxel),
                   algorithm=algorithm, maker=maker, licence=licence, **codes)


def write_mask_nifti(mask: np.ndarray, first_voxel: Sequence[int], volume: Volume, path: str | os.PathLike) -> None:
    """Write a mask crop [i, j, k] as 0 and 1 (uint8) on the whole grid of the CT."""
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header.set_sform(volume.affine, code="scanner")
    header.set_qform(volume.affine, code="scanner")
    header["vox_offset"], header["magic"], header["scl_slope"], header["scl_inter"] = 352, b"n+1", 1, 0
    header["descrip"] = b"CTReasoner"
    crop = _cropped(mask, first_voxel, volume)
    with atomic(path) as file, _packed(file) as packed:
        packed.write(header.binaryblock + bytes(4))
        for plane in _planes([(crop, 1)], first_voxel, volume):
            packed.write(plane)


def write_seg_nrrd(segments: Sequence[Segment], volume: Volume, path: str | os.PathLike) -> None:
    """Write segments on the whole grid of the CT; segments that overlap go into layers of their own."""
    if not segments or len(segments) > 255 or len({s.id for s in segments}) != len(segments):
        raise UsageError("A segmentation file takes 1 to 255 segments with different ids.", code="CTR-USE-010")
    crops = [_cropped(s.mask, s.first_voxel, volume) for s in segments]
    placed = _layers([(crop, np.array(s.first_voxel)) for crop, s in zip(crops, segments, strict=True)])
    layers = 1 + max(layer for layer, _ in placed)
    header = _seg_header(segments, crops, placed, layers, volume)
    with atomic(path) as file:
        file.write(header.encode("utf-8"))
        with _packed(file) as packed:
            stacks = [_stack(segments, crops, placed, layer, volume) for layer in range(layers)]
            for planes in zip(*stacks, strict=True):  # the layers of a voxel lie side by side
                packed.write(np.stack(planes, axis=-1).tobytes() if layers > 1 else planes[0])


def terminology_entry(segment: Segment) -> str:
    """Slicer's text for what a segment is: context ~ category ~ type ~ modifier ~ context ~ region ~ region modifier."""
    def text(code: Code | None) -> str:
        value, scheme, meaning = code or ("", "", "")
        return "^".join(_tag_text(part) for part in (scheme, value, meaning))

    return "~".join((CONTEXTS[0], text(segment.category), text(segment.type), text(segment.modifier), CONTEXTS[1],
                     text(segment.anatomic_region), text(None)))


def _seg_header(segments: Sequence[Segment], crops: Sequence[np.ndarray], placed: Sequence[tuple[int, int]], layers: int,
                volume: Volume) -> str:
    affine = RAS_TO_LPS @ volume.affine
    vectors = [f"({','.join(repr(float(v)) for v in affine[:3, a])})" for a in range(4)]
    many = layers > 1
    lines = [
        "NRRD0004", "# Segmentation of CTReasoner, for 3D Slicer", "type: unsigned char", f"dimension: {4 if many else 3}",
        "space: left-posterior-superior", f"sizes: {f'{layers} ' if many else ''}{' '.join(map(str, volume.shape))}",
        f"space directions: {'none ' if many else ''}{' '.join(vectors[:3])}",
        f"kinds: {'list ' if many else ''}domain domain domain", "encoding: gzip", f"space origin: {vectors[3]}",
    ]
    for n, (segment, crop, (layer, label)) in enumerate(zip(segments, crops, placed, strict=True)):
        tags = {"TerminologyEntry": terminology_entry(segment), "DICOM.SegmentAlgorithmType": segment.algorithm,
                "DICOM.SegmentAlgorithmName": _tag_text(segment.maker), "CTReasoner.ObjectID": segment.id,
                "CTReasoner.Name": segment.key, "Segmentation.Status": "completed"}
        if segment.licence:
            tags["CTReasoner.Licence"] = _tag_text(segment.licence)
        fields = {
            "Color": " ".join(f"{c / 255:.6g}" for c in segment.colour), "ColorAutoGenerated": "0",
            "Extent": _extent(crop, segment.first_voxel), "ID": segment.id, "LabelValue": label, "Layer": layer,
            "Name": _tag_text(segment.display), "NameAutoGenerated": "0",
            "Tags": "|".join(f"{name}:{value.replace('|', ' ')}" for name, value in tags.items()) + "|",
        }
        lines += [f"Segment{n}_{name}:={value}" for name, value in fields.items()]
    lines += ["Segmentation_ContainedRepresentationNames:=Binary labelmap|", "Segmentation_ConversionParameters:=",
              "Segmentation_MasterRepresentation:=Binary labelmap", "Segmentation_SourceRepresentation:=Binary labelmap",
              "Segmentation_ReferenceImageExtentOffset:=0 0 0"]
    return "\n".join(lines) + "\n\n"


def _layers(crops: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[tuple[int, int]]:
    """(layer, label value) for each crop: the first layer in which nothing else lies on its voxels."""
    members: list[list[tuple[np.ndarray, np.ndarray]]] = []
    placed = []
    for crop in crops:
        layer = next((n for n, others in enumerate(members) if not any(_overlap(crop, o) for o in others)), len(members))
        if layer == len(members):
            members.append([])
        members[layer].append(crop)
        placed.append((layer, len(members[layer])))
    return placed


def _overlap(one: tuple[np.ndarray, np.ndarray], two: tuple[np.ndarray, np.ndarray]) -> bool:
    lo = np.maximum(one[1], two[1])
    hi = np.minimum(one[1] + one[0].shape, two[1] + two[0].shape)
    if np.any(hi <= lo):
        return False
    parts = [crop[tuple(slice(a, b) for a, b in zip(lo - first, hi - first, strict=True))] for crop, first in (one, two)]
    return bool(np.any(parts[0] & parts[1]))


def _stack(segments: Sequence[Segment], crops: Sequence[np.ndarray], placed: Sequence[tuple[int, int]], layer: int,
           volume: Volume) -> Iterator[np.ndarray]:
    mine = [(crop, label, s.first_voxel) for s, crop, (at, label) in zip(segments, crops, placed, strict=True) if at == layer]
    return _planes([(crop, label) for crop, label, _ in mine], [first for *_, first in mine], volume)


def _planes(crops: Sequence[tuple[np.ndarray, int]], first_voxels: Sequence, volume: Volume) -> Iterator[np.ndarray]:
    """For each k the plane [j, i] (i fastest) of labels; one first voxel for all crops, or one each."""
    firsts = np.broadcast_to(np.asarray(first_voxels), (len(crops), 3))
    for k in range(volume.shape[2]):
        plane = np.zeros((volume.shape[1], volume.shape[0]), np.uint8)
        for (crop, label), (i, j, start) in zip(crops, firsts, strict=True):
            if start <= k < start + crop.shape[2]:
                part = plane[j:j + crop.shape[1], i:i + crop.shape[0]]
                part[crop[:, :, k - start].T] = label
        yield plane


def _cropped(mask: np.ndarray, first_voxel: Sequence[int], volume: Volume) -> np.ndarray:
    crop, first = np.asarray(mask) != 0, np.asarray(first_voxel)
    if crop.ndim != 3 or np.any(first < 0) or np.any(first + crop.shape > volume.shape):
        raise GeometryError(f"a mask of {crop.shape} from voxel {tuple(first_voxel)} on does not lie in a scan of {volume.shape}.",
                            code="CTR-GEO-015")
    return crop


def _extent(crop: np.ndarray, first_voxel: Sequence[int]) -> str:
    """First and last index of the voxels along i, j, k; "0 -1" per axis when there are none."""
    if not crop.any():
        return "0 -1 0 -1 0 -1"
    ends = []
    for a in range(3):
        used = np.flatnonzero(crop.any(axis=tuple(b for b in range(3) if b != a))) + first_voxel[a]
        ends += [used[0], used[-1]]
    return " ".join(str(int(e)) for e in ends)


def _tag_text(text: str) -> str:
    """Text without what separates Slicer's tags, codes and header lines."""
    return "".join(" " if c in "|~^\n\r\\" else c for c in text)


def _packed(file: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=FASTEST, mtime=0)
