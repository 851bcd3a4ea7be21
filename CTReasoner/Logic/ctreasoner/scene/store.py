"""The segmentation node of a CT with what is known about each of its segments, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from ..errors import ResourceError
from . import hierarchy, identity, journal
from .boxes import CT, nodes_of
from .findings import Entries, Entry
from .layers import Layers
from .observing import Observers
from .surfaces import METHOD, NETS, Surfaces

MANY_LAYERS = 6  # each layer of its own costs every slice view time at every move


class Store:
    """Segments, entries and journal of one CT. `told` is called with "edited", "removed" or "findings"."""

    def __init__(self, mrml_scene: Any, ct_node: Any, told: Callable[[str], None]) -> None:
        self.scene, self.ct, self._told = mrml_scene, ct_node, told
        self.entries, self.journal = Entries(), journal.Journal()
        self.layers: Layers | None = None
        self.surfaces: Surfaces | None = None
        self.step: journal.Step | None = None
        self._enough = MANY_LAYERS
        self._touched = False  # a mask may have been changed by somebody else
        self._observers = Observers()
        for node in nodes_of(mrml_scene, ct_node, "vtkMRMLSegmentationNode"):
            self._adopt(node)
            self.reload([])
            break

    @property
    def node(self) -> Any:
        """The vtkMRMLSegmentationNode, or None."""
        return self.layers.node if self.layers is not None else None

    @property
    def display(self) -> Any:
        return self.node.GetDisplayNode() if self.node is not None else None

    def ensure(self) -> Layers:
        """The layers, with a segmentation node made when there is none."""
        if self.layers is None:
            node = slicer.vtkMRMLSegmentationNode()
            node.SetName(f"{self.ct.GetName()} findings")
            self.scene.AddNode(node)
            node.CreateDefaultDisplayNodes()
            node.GetSegmentation().SetConversionParameter(METHOD, NETS)
            node.SetNodeReferenceID(CT, self.ct.GetID())
            node.SetAndObserveTransformNodeID(self.ct.GetTransformNodeID())
            node.SetReferenceImageGeometryParameterFromVolumeNode(self.ct)  # after the transform, which it would put in else
            hierarchy.place(self.scene, node, self.ct)
            self._adopt(node)
        return self.layers

    def _adopt(self, node: Any) -> None:
        self.layers = Layers(node, self.ct)
        self.surfaces = Surfaces(self.layers)
        segmentation = node.GetSegmentation()
        self._observers.add(segmentation, slicer.vtkSegmentation.SourceRepresentationModified, self._on_voxels)
        self._observers.add(segmentation, slicer.vtkSegmentation.SegmentRemoved, self._on_removed)
        self._observers.add(segmentation, slicer.vtkSegmentation.SegmentModified, self._on_renamed)
        self._observers.add(segmentation, slicer.vtkSegmentation.SegmentAdded, self._on_renamed)

    def lose(self) -> None:
        """The segmentation node is gone: nothing of it can be brought back."""
        self._observers.clear()
        self.layers = self.surfaces = self.step = None
        self.entries.clear()
        self.journal.clear()

    def close(self) -> None:
        self._observers.clear()
        self.layers = self.surfaces = self.step = None

    # ---------------------------------------------------------------- what others do

    def _on_voxels(self, *_: object) -> None:
        if self.layers is not None and not self.layers.writing:
            self._touched = True
            self._told("edited")

    def _on_removed(self, *_: object) -> None:
        if self.layers is None or self.layers.writing:
            return
        ids = set(self.layers.segmentation.GetSegmentIDs())
        for entry in [e for e in self.entries if e.segment_id and e.segment_id not in ids]:
            self.entries.drop(entry)
        self._told("removed")

    def _on_renamed(self, *_: object) -> None:
        if self.layers is not None and not self.layers.writing:
            self._told("findings")

    def check_edits(self) -> list[str]:
        """Ids of the objects whose voxels a person changed since the last look."""
        if not self._touched or self.layers is None:
            return []
        self._touched = False
        ours = [e for e in self.entries if e.segment_id]
        changed = set(self.layers.changed(e.segment_id for e in ours))
        found = [e for e in ours if e.segment_id in changed]
        for entry in found:
            entry.outdated, entry.accepted = True, False
            self.journal.stroke(entry.segment_id)
            if self.step is not None and entry.segment_id in self.step.before:
                self.step.strokes.add(entry.segment_id)
        if found:
            self.flush()
        return [e.id for e in found]

    def edited_masks(self, folder: Path) -> dict[str, str]:
        """Masks of outdated findings as .npy of the CT's shape; {object id: path}."""
        out = {}
        for entry in [e for e in self.entries if e.outdated and e.segment_id]:
            known = self.layers.known(entry.segment_id)
            entry.sent = known.checksum if known is not None else 0
            out[entry.id] = self.mask_file(entry, folder)
        return out

    def mask_file(self, entry: Entry, folder: Path) -> str:
        """Write a finding's mask as .npy of the CT's shape; its path."""
        path, found = folder / f"{entry.id}.edited.npy", self.layers.read(entry.segment_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shape = tuple(self.ct.GetImageData().GetDimensions())
            # i fastest, and zeros that are never written take no time and no room
            mask = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape, fortran_order=True)
            if found is not None:
                _put(mask, *found)
            mask.flush()
        except OSError as error:
            raise ResourceError(f"The edited mask could not be written: {error.strerror or error}.", code="CTR-RES-001",
                                hint="Free some space.") from error
        return str(path)

    # ---------------------------------------------------------------- writing

    def touch(self, segment_id: str) -> None:
        """Remember how a segment was before the open step changes it, once."""
        if self.step is not None and segment_id not in self.step.before:
            self.step.before[segment_id] = journal.take(self.layers, self.display, segment_id)

    def unused_id(self, wanted: str) -> str:
        """A segment id that is free."""
        ids, name, n = set(self.ensure().segmentation.GetSegmentIDs()), wanted, 1
        while name in ids:
            n += 1
            name = f"{wanted}_{n}"
        return name

    def unused_name(self, wanted: str) -> str:
        """A segment name that is free: "Nodule", "Nodule 2"."""
        segmentation = self.ensure().segmentation
        names, name, n = {segmentation.GetSegment(i).GetName() for i in segmentation.GetSegmentIDs()}, wanted, 1
        while name in names:
            n += 1
            name = f"{wanted} {n}"
        return name

    def foreign(self) -> list[str]:
        """Ids of the segments that are not ours."""
        if self.layers is None:
            return []
        ours = {e.segment_id for e in self.entries}
        return [i for i in self.layers.segmentation.GetSegmentIDs() if i not in ours]

    def flush(self) -> None:
        """Write what is known about each object into the tag of its segment."""
        if self.layers is None:
            return
        with self.layers:
            for entry in self.entries:
                segment = self.layers.segmentation.GetSegment(entry.segment_id) if entry.segment_id else None
                if segment is not None:
                    identity.set_tags(segment, {identity.FINDING_ID: entry.id, identity.FINDING: entry.to_tag()})

    def reload(self, loose: list[Entry]) -> None:
        """Read the entries from the tags of the segments; `loose` are those without a segment."""
        for entry in self.entries:
            self.entries.drop(entry)
        seen = set()
        for segment_id in self.layers.segmentation.GetSegmentIDs() if self.layers is not None else ():
            segment = self.layers.segmentation.GetSegment(segment_id)
            finding_id = identity.tag(segment, identity.FINDING_ID)
            if finding_id and finding_id not in seen:  # a copy that a person made of our segment is theirs
                seen.add(finding_id)
                self.entries.put(Entry.from_tag(identity.tag(segment, identity.FINDING), segment_id, finding_id))
                if self.layers.known(segment_id) is None:
                    self.layers.note(segment_id)
        for entry in loose:
            self.entries.put(entry)

    def tidy(self) -> None:
        """Join our segments when too many have an image of their own; those that overlap need several in any case."""
        ours = [e.segment_id for e in self.entries if e.segment_id]
        if self.layers is not None and len(ours) > 1 and self.layers.segmentation.GetNumberOfLayers() > self._enough:
            self._enough = self.layers.join(ours) + len(self.foreign()) + MANY_LAYERS - 1

    # ---------------------------------------------------------------- undo

    def open(self, answer: str) -> None:
        """Begin a step of undo."""
        self.step = journal.Step(answer, loose=self.entries.copies())

    def shut(self, *, keep: bool = True) -> None:
        """End the step; `keep` says whether it counts although it changed nothing."""
        step, self.step = self.step, None
        self.flush()
        if step is not None and (keep or step.before):
            self.journal.push(step)

    def swing(self, back: bool) -> bool:
        """Take a step back (or forth)."""
        source, target = (self.journal.done, self.journal.undone) if back else (self.journal.undone, self.journal.done)
        if not source:
            return False
        self.check_edits()
        self.flush()
        step = source.pop()
        other = journal.Step(step.answer, loose=self.entries.copies())
        if step.before:
            layers = self.ensure()
            layers.drop_surfaces()
            for segment_id, shot in step.before.items():
                other.before[segment_id] = journal.take(layers, self.display, segment_id)
                journal.give(layers, self.display, segment_id, shot)
        target.append(other)
        self.reload(step.loose)
        return True


def _put(mask: np.ndarray, crop: np.ndarray, first: tuple[int, int, int]) -> None:
    """Paste a crop into a whole grid; what a person drew outside the grid is left out."""
    lo = np.maximum(first, 0)
    hi = np.minimum(np.add(first, crop.shape), mask.shape)
    if np.all(hi > lo):
        mask[tuple(map(slice, lo, hi))] = crop[tuple(map(slice, lo - first, hi - first))]
