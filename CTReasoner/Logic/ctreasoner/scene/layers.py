"""Masks ``[i, j, k]`` of a CT's grid in and out of a segmentation, and what changed in it since.

A new mask gets a cropped image of its own, which is quick to write; `join` puts segments that do not overlap into one
shared image, which is quick to browse. A part of a segment changes by the MERGE modes alone: MODE_REPLACE on a part
would empty the rest.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from .volume import local_matrix, to_numpy, to_vtk

LABELMAP, SURFACE = "Binary labelmap", "Closed surface"
MAX_LABEL = 255
SAME_GRID = 1e-3  # voxels between two lattices that count as one
Crop = tuple[np.ndarray, tuple[int, int, int]]  # (uint8 [i, j, k] of 0 and 1, first voxel)


@dataclass(frozen=True)
class Known:
    """How a segment stood after our last write: its box, voxels and checksum, and the age of its image."""

    first: tuple[int, int, int]
    shape: tuple[int, int, int]
    voxels: int
    checksum: int
    age: int


class Layers:
    """The labelmaps of one segmentation node on the grid of one CT.

    Attributes
    ----------
    writing : above 0 while our own writes run: events then are ours.
    """

    def __init__(self, segmentation_node: Any, ct_node: Any) -> None:
        self.node, self.ct = segmentation_node, ct_node
        self.segmentation = segmentation_node.GetSegmentation()
        self.writing = 0
        self._known: dict[str, Known] = {}

    def __enter__(self) -> Layers:
        self.writing += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.writing -= 1

    # ---------------------------------------------------------------- writing

    def add(self, segment_id: str, name: str, colour: Sequence[float], crop: np.ndarray, first: Sequence[int]) -> str:
        """Add a segment with an image of its own; the id that it got. colour : 0 to 1."""
        with self:
            image = self.image(crop, first)
            made = self.node.AddSegmentFromBinaryLabelmapRepresentation(image, name, list(colour), segment_id)
            self._remember(made, trimmed(crop, first), self.segmentation.GetSegment(made).GetRepresentation(LABELMAP))
        return made

    def replace(self, segment_id: str, crop: np.ndarray, first: Sequence[int]) -> None:
        """Give a segment a whole new mask, in an image of its own; neighbours of a shared image keep theirs."""
        segment = self.segmentation.GetSegment(segment_id)
        with self:
            self._leave(segment_id, segment)
            image = self.image(crop, first)
            segment.SetLabelValue(1)
            segment.AddRepresentation(LABELMAP, image)
            image.Modified()  # the swap alone tells no view
            self._remember(segment_id, trimmed(crop, first), image)

    def remove_voxels(self, segment_id: str, crop: np.ndarray, first: Sequence[int]) -> None:
        """Take the voxels of a mask out of a segment; nothing outside the crop and no other segment changes."""
        with self:
            self._merge(segment_id, np.equal(crop, 0), first, slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MIN)

    def add_voxels(self, segment_id: str, crop: np.ndarray, first: Sequence[int]) -> None:
        """Put the voxels of a mask into a segment; no other segment changes.

        Not by MODE_MERGE_MAX: in a shared image that writes the label 1, whichever segment it belongs to.
        """
        with self:
            self._merge(segment_id, crop, first, slicer.vtkSlicerSegmentationsModuleLogic.MODE_MERGE_MASK)

    def delete(self, segment_id: str) -> None:
        """Remove a segment."""
        with self:
            self._leave(segment_id, self.segmentation.GetSegment(segment_id))
            self.segmentation.RemoveSegment(segment_id)
            self._known.pop(segment_id, None)

    def join(self, segment_ids: Iterable[str]) -> int:
        """Put segments into as few shared images as their overlaps allow; the number of images."""
        masks = {i: found for i in segment_ids if (found := self.read(i)) is not None}
        groups = _groups(masks)
        with self:
            for members in groups:
                if len(members) == 1 and self._is_alone(members[0]):
                    continue  # it has a cropped image of its own already
                labels, first = _labels(masks, members)
                image = self.image(labels, first, labels_as_they_are=True)
                for label, segment_id in enumerate(members, start=1):
                    segment = self.segmentation.GetSegment(segment_id)
                    segment.SetLabelValue(label)
                    segment.AddRepresentation(LABELMAP, image)
                image.Modified()
                for segment_id in members:
                    self._remember(segment_id, masks[segment_id], image)
        return len(groups)

    def _is_alone(self, segment_id: str) -> bool:
        image = self.segmentation.GetSegment(segment_id).GetRepresentation(LABELMAP)
        return sum(self.segmentation.GetSegment(i).GetRepresentation(LABELMAP) is image for i in self._ids()) == 1

    def _merge(self, segment_id: str, crop: np.ndarray, first: Sequence[int], mode: int) -> None:
        image = self.image(crop, first)
        extent = list(image.GetExtent())
        slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, self.node, segment_id, mode, extent)
        if segment_id in self._known:
            self._known.pop(segment_id)  # its box may have grown
            self.note(segment_id)

    def _leave(self, segment_id: str, segment: Any) -> None:
        """Clear the label of a segment in the image that it shares, so that the label does not stay behind."""
        image = segment.GetRepresentation(LABELMAP)
        if image is None or self._is_alone(segment_id):
            return
        sharing = [i for i in self._ids() if self.segmentation.GetSegment(i).GetRepresentation(LABELMAP) is image]
        array, _ = self._array(image)
        known = self._known.get(segment_id)
        box = array if known is None else _within(array, self._lower(image), known)
        box[box == segment.GetLabelValue()] = 0
        image.Modified()
        for other in sharing:
            if other in self._known:
                self._known[other] = replace(self._known[other], age=image.GetMTime())

    def image(self, crop: np.ndarray, first: Sequence[int], *, labels_as_they_are: bool = False) -> Any:
        """Return a vtkOrientedImageData of a crop [i, j, k] at its place in the CT's lattice."""
        if not crop.size:  # an image needs a voxel; one of 0 is an empty mask
            crop, first = np.zeros((1, 1, 1), np.uint8), (0, 0, 0)
        values = crop if labels_as_they_are else np.not_equal(crop, 0).view(np.uint8)
        image = slicer.vtkOrientedImageData()
        image.SetExtent([int(v) for f, n in zip(first, crop.shape, strict=True) for v in (f, f + n - 1)])
        image.SetGeometryFromImageToWorldMatrix(to_vtk(local_matrix(self.ct)))
        flat = np.ascontiguousarray(values.transpose(2, 1, 0)).ravel()  # free where the mask came with i fastest
        image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=1, array_type=vtk.VTK_UNSIGNED_CHAR))
        return image

    # ---------------------------------------------------------------- reading

    def read(self, segment_id: str) -> Crop | None:
        """The mask of a segment on the CT's grid, cropped to its voxels or nearly so; None when it is empty."""
        segment = self.segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(LABELMAP) if segment is not None else None
        if image is None or not image.GetNumberOfPoints():
            return None
        known = self._known.get(segment_id)
        if known is not None and known.age == image.GetMTime() and self._shift(image) is not None:
            array, _ = self._array(image)
            return (_within(array, self._lower(image), known) == segment.GetLabelValue()).view(np.uint8), known.first
        return self._scan(segment, image)

    def _scan(self, segment: Any, image: Any) -> Crop | None:
        shift = self._shift(image)
        label = segment.GetLabelValue()
        if shift is None:  # another lattice: the tool that drew it kept its own
            image, label = self._resampled(image, label), 1
            shift = np.zeros(3, int)
        array, lower = self._array(image)
        return trimmed(array == label, lower + shift)

    def region(self, segment_id: str, first: Sequence[int], shape: Sequence[int]) -> np.ndarray | None:
        """The mask of a segment inside a box of voxels, uint8 `shape`; None where it has no voxel there."""
        found = self.read(segment_id)
        if found is None:
            return None
        crop, at = found
        lo = np.maximum(first, at)
        hi = np.minimum(np.add(first, shape), np.add(at, crop.shape))
        if np.any(hi <= lo):
            return None
        out = np.zeros(tuple(shape), np.uint8, order="F")
        here = tuple(map(slice, lo - first, hi - first))
        out[here] = crop[tuple(map(slice, lo - at, hi - at))]
        return out if out[here].any() else None

    def _array(self, image: Any) -> tuple[np.ndarray, np.ndarray]:
        """(view [i, j, k] of an image, its lower corner)."""
        scalars = vtk_to_numpy(image.GetPointData().GetScalars())
        return scalars.reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0), np.array(image.GetExtent()[::2])

    def _lower(self, image: Any) -> np.ndarray:
        shift = self._shift(image)
        return np.array(image.GetExtent()[::2]) + (0 if shift is None else shift)

    def _shift(self, image: Any) -> np.ndarray | None:
        """Whole voxels from an image's lattice to the CT's; None when the two are different grids."""
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        between = np.linalg.inv(local_matrix(self.ct)) @ to_numpy(matrix)
        move = between[:3, 3]
        if np.abs(between[:3, :3] - np.eye(3)).max() > SAME_GRID / 1000 or np.abs(move - np.round(move)).max() > SAME_GRID * 10:
            return None
        return np.round(move).astype(int)

    def _resampled(self, image: Any, label: int) -> Any:
        """The label of an image on the CT's grid, as 1."""
        alone = slicer.vtkOrientedImageData()
        alone.DeepCopy(image)
        values = vtk_to_numpy(alone.GetPointData().GetScalars())
        values[:] = values == label
        reference = slicer.vtkOrientedImageData()
        reference.SetExtent([v for n in self.ct.GetImageData().GetDimensions() for v in (0, n - 1)])
        reference.SetGeometryFromImageToWorldMatrix(to_vtk(local_matrix(self.ct)))
        out = slicer.vtkOrientedImageData()
        resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
        resample(alone, reference, out, False, False)
        return out

    # ---------------------------------------------------------------- surfaces

    def drop_surfaces(self) -> None:
        """Remove every closed surface, so that no write makes one anew."""
        with self:
            self.node.RemoveClosedSurfaceRepresentation()

    # ---------------------------------------------------------------- what changed

    def note(self, segment_id: str) -> None:
        """Remember how a segment stands now."""
        segment = self.segmentation.GetSegment(segment_id)
        image = segment.GetRepresentation(LABELMAP) if segment is not None else None
        found = self._scan(segment, image) if image is not None and image.GetNumberOfPoints() else None
        self._remember(segment_id, found, image)

    def _remember(self, segment_id: str, found: Crop | None, image: Any) -> None:
        if found is None:
            self._known.pop(segment_id, None)
            return
        crop, first = found
        self._known[segment_id] = Known(first, crop.shape, np.count_nonzero(crop), checksum(crop), image.GetMTime())

    def known(self, segment_id: str) -> Known | None:
        """How a segment stood at the last `note`."""
        return self._known.get(segment_id)

    def version(self, segment_id: str) -> tuple:
        """What differs when a mask differs: place and checksum where they are known, else the age of its image."""
        known, image = self._known.get(segment_id), self.segmentation.GetSegment(segment_id).GetRepresentation(LABELMAP)
        age = image.GetMTime() if image is not None else 0
        return (known.first, known.checksum) if known is not None and known.age == age else (age,)

    def changed(self, segment_ids: Iterable[str]) -> list[str]:
        """Those of the segments whose voxels differ from the last `note`; all of them are noted anew."""
        by_image: dict[Any, list[str]] = {}
        for segment_id in segment_ids:
            segment, before = self.segmentation.GetSegment(segment_id), self._known.get(segment_id)
            image = segment.GetRepresentation(LABELMAP) if segment is not None else None
            if image is not None and (before is None or before.age != image.GetMTime()):
                by_image.setdefault(image, []).append(segment_id)
        return [i for image, ids in by_image.items() for i in self._differing(image, ids)]

    def _differing(self, image: Any, segment_ids: list[str]) -> list[str]:
        """Those of the segments of one image whose voxels are not the known ones."""
        out = []
        for segment_id in segment_ids:
            before = self._known.get(segment_id)
            if before is not None and len(segment_ids) > 1 and self._stands(segment_id, image, before):
                self._known[segment_id] = replace(before, age=image.GetMTime())
                continue
            self.note(segment_id)
            after = self._known.get(segment_id)
            if (before and (before.first, before.checksum)) != (after and (after.first, after.checksum)):
                out.append(segment_id)
        return out

    def _stands(self, segment_id: str, image: Any, before: Known) -> bool:
        """Whether a label of a shared image has the same voxels as before: as many, and the same ones in its box."""
        array, lower = self._array(image)[0], self._lower(image)
        start = np.subtract(before.first, lower)
        if self._shift(image) is None or np.any(start < 0) or np.any(start + before.shape > array.shape):
            return False
        mine = array == self.segmentation.GetSegment(segment_id).GetLabelValue()
        return np.count_nonzero(mine) == before.voxels and checksum(_within(mine, lower, before).view(np.uint8)) == before.checksum

    def _ids(self) -> list[str]:
        return list(self.segmentation.GetSegmentIDs())


def checksum(crop: np.ndarray) -> int:
    """A number that tells two masks apart: shape and voxels."""
    return zlib.crc32(np.packbits(crop.ravel(order="F")), zlib.crc32(repr(crop.shape).encode()))


def pack(crop: np.ndarray) -> bytes:
    """A mask in few bytes."""
    return zlib.compress(np.packbits(crop.ravel(order="F")).tobytes(), 1)


def unpack(packed: bytes, shape: Sequence[int]) -> np.ndarray:
    """The mask of `pack`, uint8 [i, j, k]."""
    bits = np.unpackbits(np.frombuffer(zlib.decompress(packed), np.uint8), count=int(np.prod(shape)))
    return bits.reshape(tuple(shape), order="F")


def _within(array: np.ndarray, lower: np.ndarray, known: Known) -> np.ndarray:
    start = np.subtract(known.first, lower)
    return array[tuple(map(slice, start, start + known.shape))]


def trimmed(crop: np.ndarray, first: Sequence[int]) -> Crop | None:
    """A mask without empty planes at its faces, as 0 and 1; None when it is empty. No copy where it is so already."""
    mask = np.not_equal(crop, 0)
    ends = [(slice(None),) * axis + (at,) for axis in range(3) for at in (0, -1)]
    if mask.size and all(mask[end].any() for end in ends):
        return mask.view(np.uint8), tuple(int(v) for v in first)
    box = _bounds(mask)
    if box is None:
        return None
    lo, hi = box
    return mask[tuple(map(slice, lo, hi))].copy(order="F").view(np.uint8), tuple(int(v) for v in lo + first)


def _bounds(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """(lowest, one past the highest) index of the true voxels; k first, where memory is slowest."""
    lo, hi = np.zeros(3, int), np.array(mask.shape)
    for axis in (2, 1, 0):
        window = mask[tuple(map(slice, lo, hi))]
        hits = np.flatnonzero(window.any(axis=tuple(a for a in range(3) if a != axis)))
        if not hits.size:
            return None
        lo[axis], hi[axis] = lo[axis] + hits[0], lo[axis] + hits[-1] + 1
    return lo, hi


def _groups(masks: dict[str, Crop]) -> list[list[str]]:
    """Segments that may share an image: none of a group overlaps another of it. The largest come first."""
    groups: list[list[str]] = []
    for segment_id in sorted(masks, key=lambda i: -masks[i][0].size):
        for members in groups:
            if len(members) < MAX_LABEL and not any(_overlap(masks[segment_id], masks[other]) for other in members):
                members.append(segment_id)
                break
        else:
            groups.append([segment_id])
    return groups


def _overlap(one: Crop, other: Crop) -> bool:
    lo = np.maximum(one[1], other[1])
    hi = np.minimum(np.add(one[1], one[0].shape), np.add(other[1], other[0].shape))
    if np.any(hi <= lo):
        return False
    windows = [crop[tuple(map(slice, lo - first, hi - first))] for crop, first in (one, other)]
    return bool(np.any(windows[0] & windows[1]))


def _labels(masks: dict[str, Crop], members: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(labels 1, 2, ... of the members, uint8 [i, j, k]; first voxel) in the box round all of them."""
    lo = np.min([masks[i][1] for i in members], axis=0)
    hi = np.max([np.add(masks[i][1], masks[i][0].shape) for i in members], axis=0)
    labels = np.zeros(tuple(hi - lo), np.uint8, order="F")
    for label, segment_id in enumerate(members, start=1):
        crop, first = masks[segment_id]
        np.copyto(labels[tuple(map(slice, first - lo, first - lo + crop.shape))], label, where=crop.view(bool))
    return labels, lo
