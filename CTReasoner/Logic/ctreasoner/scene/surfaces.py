"""Closed surfaces for the 3D views: made one at a time, shown all at once, kept as long as their masks stay the same.

As soon as the first segment of a segmentation has a surface, Slicer's 3D views make those of all others at one go, which
takes seconds: so the first one gets its surface last. `CreateClosedSurfaceRepresentation` would make all at one go as well.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np
import slicer
import vtk

from .layers import LABELMAP, SURFACE, Layers
from .volume import local_matrix, to_vtk

MAX_SIDE = 96  # voxels along an axis that a surface is made of: more of them cost seconds and look the same in a 3D view
METHOD, NETS = "Conversion method", "1"  # surface nets take a third of the time of Slicer's default, flying edges


class Surfaces:
    """Makes the surfaces of the segments of a `Layers`."""

    def __init__(self, layers: Layers) -> None:
        self._layers = layers
        self._made: dict[str, tuple[tuple, Any]] = {}  # segment id -> (what it was made of, surface)

    def step(self, ours: Set[str]) -> bool:
        """Make one surface that is missing, or show all of them where none is; True while more is to be done.

        ours : ids of segments whose surface may leave out voxels; those of other people's segments are Slicer's own.
        """
        segmentation = self._layers.segmentation
        lacking = [i for i in segmentation.GetSegmentIDs() if segmentation.GetSegment(i).GetRepresentation(SURFACE) is None]
        for segment_id in lacking:
            source = self._source(segment_id)
            if segment_id not in self._made or self._made[segment_id][0] != source:
                self._made[segment_id] = (source, self._make(segment_id, MAX_SIDE if segment_id in ours else 0))
                return True
        if lacking:
            self._show(lacking)
        return False

    def _source(self, segment_id: str) -> tuple:
        """What changes when a surface has to be made anew: the mask, and how it is converted."""
        return (*self._layers.version(segment_id), self._layers.segmentation.SerializeAllConversionParameters())

    def _make(self, segment_id: str, most: int) -> Any:
        found = self._layers.read(segment_id)
        if found is None:
            return vtk.vtkPolyData()
        crop, first = found
        step = np.ceil(np.array(crop.shape) / most).astype(int) if most else np.ones(3, int)
        image = self._layers.image(crop[tuple(slice(None, None, s) for s in step)], (0, 0, 0))
        lattice = np.diag([*step.astype(float), 1.0])
        lattice[:3, 3] = first
        image.SetGeometryFromImageToWorldMatrix(to_vtk(local_matrix(self._layers.ct) @ lattice))
        alone, part = slicer.vtkSegmentation(), slicer.vtkSegment()
        alone.SetSourceRepresentationName(LABELMAP)
        alone.CopyConversionParameters(self._layers.segmentation)
        part.AddRepresentation(LABELMAP, image)
        alone.AddSegment(part, segment_id)
        alone.CreateRepresentation(SURFACE)
        return part.GetRepresentation(SURFACE) or vtk.vtkPolyData()

    def _show(self, lacking: list[str]) -> None:
        segmentation = self._layers.segmentation
        self._made = {i: self._made[i] for i in segmentation.GetSegmentIDs() if i in self._made}
        with self._layers:
            for segment_id in reversed(lacking):
                surface = vtk.vtkPolyData()
                surface.ShallowCopy(self._made[segment_id][1])  # Slicer converts an edited mask into the object that it finds
                segmentation.GetSegment(segment_id).AddRepresentation(SURFACE, surface)
            segmentation.InvokeEvent(slicer.vtkSegmentation.ContainedRepresentationNamesModified)
