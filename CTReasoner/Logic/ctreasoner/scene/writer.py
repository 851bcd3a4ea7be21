"""The events of answers as segments, boxes and findings of one CT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import events as ev
from ..errors import InputError
from . import identity
from .board import Board
from .boxes import LOOK_COLOURS
from .findings import Entry, box_matrix
from .journal import give
from .volume import parent_matrix

FINAL = (ev.Done, ev.Cancelled, ev.Failed)
NORMALS = {"axial": (0.0, 0.0, 1.0), "coronal": (0.0, 1.0, 0.0), "sagittal": (1.0, 0.0, 0.0)}  # world RAS


class SceneWriter(Board):
    """Writes answers about one CT into the scene: one segmentation node, a few reused box nodes.

    Segments and boxes are found again in a scene that was saved and loaded. Parameters and attributes: see `Board`.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._pending: dict[str, Entry] = {}  # objects that have neither box nor mask yet
        self._looks: dict[str, int] = {}

    # ---------------------------------------------------------------- an answer

    def begin(self, answer_id: str, question: str) -> None:
        """Open an answer: surfaces go, boxes of the answer before go back to the pool. An open answer is ended first.

        Findings of an earlier conversation with the same ids are renamed ("a1.o1~1"). InputError when the CT is gone or bent.
        """
        if self._closed:
            raise InputError("The CT of this conversation is no longer in the scene.", code="CTR-SCN-005",
                             hint="Choose a CT again.")
        self.end()
        self.check_edits()
        self._from_world = np.linalg.inv(parent_matrix(self.ct))
        self._lost = False
        self._pending.clear()
        self._looks.clear()
        self._boxes.hide()
        self._line.clear()
        self._set_aside(answer_id)
        if self._store.layers is not None:
            self._store.layers.drop_surfaces()
        self._store.open(answer_id)

    def apply(self, event: ev.Event, folder: str | Path) -> None:
        """Bring one event into the scene. Never raises for what a person did to the scene; InputError for a bad mask file.

        Events of an answer that is not open, and all events once the nodes are gone, are left out.
        """
        if self.is_quiet or event.answer != self.answering:
            return
        if isinstance(event, ev.Mask):
            self._mask(event, ev.load_mask(event, folder))
        elif isinstance(event, FINAL):
            self.end(keep=not isinstance(event, ev.Failed))
        else:
            handler = self._HANDLERS.get(type(event))
            if handler is not None:
                handler(self, event)

    def _started(self, event: ev.Started) -> None:
        self._model = str(event.model.get("name") or "CTReasoner") if event.model else "CTReasoner"

    def _look(self, event: ev.Look) -> None:
        thing = event.object or ""
        if thing not in self._looks:  # the next object: the boxes of the one before are in the way
            self._boxes.hide("look")
        self._looks[thing] = n = self._looks.get(thing, -1) + 1 if thing else 0
        close = min(n + 1, len(LOOK_COLOURS) - 1) if thing else 0
        label = f"{self._known(thing).display or 'Object'}: look {n + 1}" if thing else "Whole scan"
        self._show(f"look {close}", label, event.view.centre_ras, event.view.size_mm, event.view.axes, LOOK_COLOURS[close])

    def _existence(self, event: ev.Existence) -> None:
        entry = self._store.entries.get(event.object) or self._known(event.object)
        if event.state != "present":
            self._forget(entry)
            return
        entry.key, entry.display = event.name, event.display or self.vocabulary.display(event.name)
        entry.probability = event.probability

    def _box(self, event: ev.Box) -> None:
        entry = self._known(event.object)
        entry.box = (self._from_world @ box_matrix(event.centre_ras, event.size_mm, event.axes)).tolist()
        entry.score = event.score
        self._keep(entry)
        colour = identity.colour(self.vocabulary, entry.key)
        self._show(f"found {entry.id}", entry.display, event.centre_ras, event.size_mm, event.axes, colour)
        self._tell("findings")

    def _mask(self, event: ev.Mask, crop: np.ndarray) -> None:
        entry, layers = self._known(event.object), self._store.ensure()
        if event.by.name == ev.IMPORT:
            entry.imported = ("MANUAL" if event.by.kind == "person" else
                              "SEMIAUTOMATIC" if event.stage == "refined" else "AUTOMATIC")
        elif not entry.segment_id:
            self._take_over(entry)
        crop = self._among_others(crop, event.first_voxel)
        if entry.segment_id:
            self._store.touch(entry.segment_id)
            layers.replace(entry.segment_id, crop, event.first_voxel)
        elif event.voxels:
            wanted = self._store.unused_id(entry.key or "object")
            self._store.touch(wanted)
            colour = identity.colour(self.vocabulary, entry.key, layers.segmentation.GetNumberOfSegments())
            entry.segment_id = layers.add(wanted, self._store.unused_name(entry.display), colour, crop, event.first_voxel)
        else:
            return
        entry.outdated = False
        if event.by.name != ev.IMPORT:
            entry.corrected = entry.corrected or event.stage == "refined" or event.by.kind == "person"
        self._keep(entry)
        self._sign(entry, by_model=event.by.kind != "person")
        self._tell("findings")

    def _measurement(self, event: ev.Measurement) -> None:
        entry = self._store.entries.get(event.object)
        if entry is None:
            return
        self._renew(entry, event.answer)
        if event.name == "volume":
            entry.volume_ml = event.value
        elif event.name == "mean_hu":
            entry.mean_hu = event.value
        if event.geometry and "ends_ras" in event.geometry:
            ends = np.array(event.geometry["ends_ras"], float) @ self._from_world[:3, :3].T + self._from_world[:3, 3]
            entry.lines[event.id] = {"name": event.name, "value": round(event.value, 3), "unit": event.unit,
                                     "ends": np.round(ends, 3).tolist(), "normal": self._normal(event.geometry)}
        self._tell("findings")

    def _normal(self, geometry: dict[str, Any]) -> list[float] | None:
        plane = geometry.get("plane") or {}
        normal = NORMALS.get(plane) if isinstance(plane, str) else plane.get("normal")
        return None if normal is None else (np.linalg.inv(self._from_world[:3, :3]).T @ np.array(normal, float)).tolist()

    def _statement(self, event: ev.Statement) -> None:
        claim = event.claim if isinstance(event.claim, dict) else {}
        entry = self._store.entries.get(claim.get("object"))
        if entry is not None:
            self._renew(entry, event.answer)
            entry.verdicts.append(event.verdict)
            self._tell("findings")

    _HANDLERS: Mapping[type, Callable] = {
        ev.Started: _started, ev.Look: _look, ev.Existence: _existence, ev.Box: _box, ev.Measurement: _measurement,
        ev.Statement: _statement}

    # ---------------------------------------------------------------- entries

    def _known(self, object_id: str) -> Entry:
        entry = self._store.entries.get(object_id) or self._pending.get(object_id)
        if entry is None:
            entry = self._pending[object_id] = Entry(id=object_id, answer=self.answering, display="Object")
        return entry

    def _keep(self, entry: Entry) -> None:
        self._pending.pop(entry.id, None)
        self._store.entries.put(entry)

    def _renew(self, entry: Entry, answer: str) -> None:
        """A new answer speaks of an object: what the one before said of it no longer counts."""
        if entry.told != answer:
            entry.told, entry.verdicts, entry.lines = answer, [], {}
            known = self._store.layers.known(entry.segment_id) if self._store.layers is not None and entry.segment_id else None
            if entry.outdated and entry.sent and known is not None and known.checksum == entry.sent:
                entry.outdated, entry.corrected, entry.sent = False, True, 0
                self._sign(entry)

    def _forget(self, entry: Entry) -> None:
        """An object was lost on the way: what this answer made of it goes."""
        self._pending.pop(entry.id, None)
        self._boxes.hide(f"found {entry.id}")
        if entry.answer != self.answering:
            return
        if entry.segment_id and self._store.layers is not None:
            give(self._store.layers, self._store.display, entry.segment_id, self._store.step.before.pop(entry.segment_id, None))
        self._store.entries.drop(entry)
        self._tell("findings")

    def _take_over(self, entry: Entry) -> None:
        """A new mask of an organ replaces an older one of the model's, unless a person accepted or corrected that."""
        item = self.vocabulary.get(entry.key)
        if item is None or item.clickable_only:
            return  # there may be several of it
        old = self._store.entries.first(lambda e: e.key == entry.key and e.id != entry.id and bool(e.segment_id)
                                        and e.answer != entry.answer and e.origin == "model" and not e.outdated)
        if old is not None:
            self._store.touch(old.segment_id)
            entry.segment_id = old.segment_id
            self._store.entries.drop(old, newer=entry.id)

    def _among_others(self, crop: np.ndarray, first: tuple[int, int, int]) -> np.ndarray:
        """Segments that are not ours keep their voxels, lose them to the mask, or keep them from it, as `others` says."""
        if self.others == "keep" or not crop.size:
            return crop
        for segment_id in self._store.foreign():
            overlap = self._store.layers.region(segment_id, first, crop.shape)
            if overlap is None or not np.any(overlap & np.not_equal(crop, 0)):
                continue
            if self.others == "lock":
                crop = np.where(overlap, 0, crop).astype(np.uint8)
            else:
                self._store.touch(segment_id)
                self._store.layers.remove_voxels(segment_id, crop, first)
        return crop

    def _set_aside(self, answer_id: str) -> None:
        """Object ids begin anew with each conversation; findings of an earlier one get ids of their own."""
        for entry in [e for e in self._store.entries if e.id.startswith(f"{answer_id}.")]:
            taken = {e.id for e in self._store.entries}
            self._store.entries.drop(entry)
            entry.id = next(i for i in (f"{entry.id}~{n}" for n in range(1, 10000)) if i not in taken)
            entry.answer = ""
            self._store.entries.put(entry)
        self._store.flush()
