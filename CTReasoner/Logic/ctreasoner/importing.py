"""DICOM segmentations, reports and contours as the first turn of a conversation: found by others, measured here.

The stream is an ordinary one, so that report, panel and export take it as they take an answer. What only DICOM knows (codes,
tracking identifiers, the algorithm) stands beside each object in ``answer.json`` under "imported".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .answer import Answer, Assembler
from .events import IMPORT, By, Category, Done, Event, Existence, Intent, Mask, Measurement, Span, Started, Stream, Text
from .exporting import imported_facts, sources_of
from .version import __version__

if TYPE_CHECKING:
    from .dicom import SegObject
    from .geometry import Volume
    from .output import OutputFolder


def read_objects(path: Path, volume: Volume, ct: Path | None) -> tuple[list[SegObject], list[str]]:
    """Return the findings of DICOM objects about ``volume``, which was read from ``ct``, and notes on what was left out."""
    from .dicom import read_findings

    return read_findings(path, volume, sources_of(volume, ct))


def import_into(output: OutputFolder, objects: Sequence[SegObject]) -> Answer:
    """Record the findings as the next turn of an output folder and return it."""
    fold = Assembler(None)
    number = len(output.answers) + 1
    for _ in output.record(events_of(objects, output.volume, output.workspace, f"a{number}"), fold):
        pass
    _mark(fold.answer, objects)
    output.write_answer()
    return fold.answer


def import_alone(objects: Sequence[SegObject], volume: Volume, workspace: Path, number: int) -> Answer:
    """Return the findings as answer "a<number>", whose masks lie in ``workspace``."""
    fold = Assembler(None, folder=workspace)
    for event in events_of(objects, volume, workspace, f"a{number}"):
        fold.add(event)
    _mark(fold.answer, objects)
    return fold.answer


def _mark(answer: Answer, objects: Sequence[SegObject]) -> None:
    for found, item in zip(answer.objects, objects, strict=True):
        found.origin, found.imported = "imported", imported_facts(item)


def events_of(objects: Sequence[SegObject], volume: Volume, workspace: Path, answer: str) -> Iterator[Event]:
    """Yield the stream of an import: every mask as it is, measured on the CT; masks are written to ``workspace`` (.npy)."""
    from .vocabulary import Vocabulary

    vocabulary, stream = Vocabulary.load(), Stream(answer)
    yield stream.emit(Started, engine={"name": "ctreasoner import", "version": __version__}, model={},
                      volume={"identity": volume.identity, "shape": list(volume.shape), "spacing": volume.spacing.tolist()})
    asked = tuple({"id": f"{answer}.o{n}", "name": item.key, "asked": item.display} for n, item in enumerate(objects, start=1))
    yield stream.emit(Intent, routes=("segment",), objects=asked, by=_by("person"))
    for row, item in zip(asked, objects, strict=True):
        yield from _object(stream, row["id"], item, volume, workspace, vocabulary)
    yield stream.emit(Done, timings_s={})


def _object(stream: Stream, key: str, item: SegObject, volume: Volume, workspace: Path, vocabulary) -> Iterator[Event]:
    from .appearance.measure import measure

    by = _by("person" if item.algorithm == "MANUAL" else "expert")
    cut = any(f == 0 or f + n == whole for f, n, whole in zip(item.first_voxel, item.mask.shape, volume.shape, strict=True))
    yield stream.emit(Existence, object=key, name=item.key, display=item.display, state="present", probability=None, by=by)
    crop = np.asarray(item.mask, np.uint8)
    np.save(workspace / f"{key}.final.npy", crop, allow_pickle=False)
    stage = "refined" if item.algorithm == "SEMIAUTOMATIC" else "final"
    yield stream.emit(Mask, object=key, stage=stage, first_voxel=tuple(item.first_voxel), shape=crop.shape,
                      path=f"{key}.final.npy", voxels=int(crop.sum()), cut_by_scan=cut, by=by)
    for attribute, value in item.attributes.items():
        yield stream.emit(Category, object=key, attribute=attribute, value=value, probability=1.0, by=by)
    measured = measure(crop > 0, item.first_voxel, volume, vocabulary.get(item.key), cut)
    for number, fact in enumerate((m for m in measured if m.value is not None), start=1):
        yield stream.emit(Measurement, id=f"{key}.m{number}", object=key, name=fact.name, value=fact.value, unit=fact.unit,
                          method=fact.method, geometry=fact.geometry)
    if item.text:
        yield stream.emit(Text, text=f"{item.text} ", spans=(Span(start=0, end=len(item.text), kind="object", ref=key),))


def _by(kind: str) -> By:
    return By(kind=kind, name=IMPORT)

