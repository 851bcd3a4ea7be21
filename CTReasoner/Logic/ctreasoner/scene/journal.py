"""Undo and redo of answers: how each touched segment was before, in few bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import identity
from .findings import Entry
from .layers import Layers, pack, unpack

DEPTH = 20


@dataclass
class Snapshot:
    """One segment as it was: its place in the list, its packed voxels, names, tags and how it is shown."""

    segment_id: str
    place: int
    name: str
    colour: tuple[float, float, float]
    tags: dict[str, str]
    visible: bool
    first: tuple[int, int, int] = (0, 0, 0)
    shape: tuple[int, int, int] = (0, 0, 0)
    packed: bytes = b""


@dataclass
class Step:
    """What one answer changed. before : segment id -> how it was, None for a segment that it made.

    loose : entries without a segment, before. strokes : segments that a person edited after the answer.
    """

    answer: str
    before: dict[str, Snapshot | None] = field(default_factory=dict)
    loose: list[Entry] = field(default_factory=list)
    strokes: set[str] = field(default_factory=set)


class Journal:
    """The last `DEPTH` answers, to be taken back and brought again."""

    def __init__(self) -> None:
        self.done: list[Step] = []
        self.undone: list[Step] = []

    def push(self, step: Step) -> None:
        """A new step; what was undone before it is gone."""
        self.done.append(step)
        self.undone.clear()
        del self.done[:-DEPTH]

    def stroke(self, segment_id: str) -> None:
        """A person edited a segment: the newest step that touched it would lose the edit."""
        step = next((s for s in reversed(self.done) if segment_id in s.before), None)
        if step is not None:
            step.strokes.add(segment_id)

    def clear(self) -> None:
        self.done.clear()
        self.undone.clear()

    @property
    def size(self) -> int:
        """Bytes of all packed voxels."""
        return sum(len(s.packed) for step in (*self.done, *self.undone) for s in step.before.values() if s is not None)


def take(layers: Layers, display: Any, segment_id: str) -> Snapshot | None:
    """How a segment is now; None when there is no such segment."""
    segment = layers.segmentation.GetSegment(segment_id)
    if segment is None:
        return None
    found = layers.read(segment_id)
    shot = Snapshot(segment_id, layers.segmentation.GetSegmentIndex(segment_id), segment.GetName() or "", tuple(segment.GetColor()),
                    identity.tags_of(segment), bool(display.GetSegmentVisibility(segment_id)) if display else True)
    if found is not None:
        crop, shot.first = found
        shot.shape, shot.packed = crop.shape, pack(crop)
    return shot


def give(layers: Layers, display: Any, segment_id: str, shot: Snapshot | None) -> None:
    """Make a segment as a snapshot says; None removes it."""
    segment = layers.segmentation.GetSegment(segment_id)
    if shot is None:
        if segment is not None:
            layers.delete(segment_id)
        return
    crop = unpack(shot.packed, shot.shape) if shot.packed else np.zeros((0, 0, 0), np.uint8)
    if segment is None:
        layers.add(segment_id, shot.name, shot.colour, crop, shot.first)
        layers.segmentation.SetSegmentIndex(segment_id, min(shot.place, layers.segmentation.GetNumberOfSegments() - 1))
        segment = layers.segmentation.GetSegment(segment_id)
    else:
        layers.replace(segment_id, crop, shot.first)
    with layers:
        segment.SetName(shot.name)
        segment.SetColor(*shot.colour)
        for name in identity.tags_of(segment):
            if name not in shot.tags:
                segment.RemoveTag(name)
        identity.set_tags(segment, shot.tags)
    if display is not None:
        display.SetSegmentVisibility(segment_id, shot.visible)

