"""The findings of one CT in the scene, and what a person does with them: see, accept, reject, edit, undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import slicer

from ..errors import InputError
from ..vocabulary import Vocabulary
from . import identity
from .boxes import LOOK_COLOURS, BoxPool
from .evidence import EvidenceLine
from .findings import Entry, Finding, box_matrix, parts_of_box
from .observing import Observers
from .store import Store
from .volume import check_node, parent_matrix

Others = Literal["keep", "overwrite", "lock"]


class Board:
    """Findings of one CT. `SceneWriter` is the class to make; this half knows nothing of events.

    Parameters
    ----------
    mrml_scene : vtkMRMLScene.
    ct_node : the CT, a vtkMRMLScalarVolumeNode. InputError as in `voxels_of`.
    vocabulary : names, colours and codes.
    logics : mapping with "segmentations" -> vtkSlicerSegmentationsModuleLogic (``slicer.modules.segmentations.logic()``),
        which has to exist before a segment can be added.
    others : what happens to voxels of segments that are not ours: "keep" (segments may overlap), "overwrite" (they lose
        the voxels), "lock" (ours leaves them out). May be set between answers.

    Attributes
    ----------
    on_change : called with "findings" (rows of the table may differ), "edited" (somebody changed a mask: call
        `check_edits` soon), "removed" (a segment or the segmentation is gone) or "closed" (scene or CT is gone); or None.
    """

    def __init__(self, mrml_scene: Any, ct_node: Any, vocabulary: Vocabulary, logics: Mapping[str, Any], *,
                 others: Others = "keep") -> None:
        check_node(ct_node)
        parent_matrix(ct_node)  # refuses a bent CT
        self.scene, self.ct, self.vocabulary, self.logics, self.others = mrml_scene, ct_node, vocabulary, logics, others
        self.on_change: Callable[[str], None] | None = None
        self._store = Store(mrml_scene, ct_node, self._tell)
        self._boxes, self._line = BoxPool(mrml_scene, ct_node), EvidenceLine(mrml_scene, ct_node)
        self._closed = self._lost = False
        self._lit: dict[str, float] = {}  # segment id -> how it is filled when it is not highlighted
        self._model = "CTReasoner"
        self._from_world = np.eye(4)
        self._observers = Observers()
        self._observers.add_with_node(mrml_scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_node_goes)
        self._observers.add(mrml_scene, slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_closes)
        self._observers.add(mrml_scene, slicer.vtkMRMLScene.StartSaveEvent, self._on_scene_saves)
        self._observers.add(ct_node, slicer.vtkMRMLTransformableNode.TransformModifiedEvent, self._on_moved)

    def close(self) -> None:
        """Take back the observers; nodes stay. Every later call is quiet."""
        self._observers.clear()
        if not self._closed:
            self._store.flush()
        self._store.close()
        self._closed = True

    @property
    def segmentation(self) -> Any:
        """The vtkMRMLSegmentationNode; None before the first mask and after a person removed it."""
        return self._store.node

    @property
    def is_quiet(self) -> bool:
        """Whether CT or segmentation is gone, so that events are left out."""
        return self._closed or self._lost

    @property
    def answering(self) -> str:
        """Id of the open answer, or ""."""
        return self._store.step.answer if self._store.step is not None else ""

    def end(self, *, keep: bool = True) -> None:
        """Close the answer: it becomes one step of undo (`keep`: also when it changed nothing), look boxes hide."""
        if self._store.step is None:
            return
        self._boxes.hide("look")
        self._store.shut(keep=keep)
        self._store.tidy()
        self._tell("findings")

    # ---------------------------------------------------------------- what happens to the scene

    def _tell(self, what: str) -> None:
        if self.on_change is not None and not self._closed:
            self.on_change(what)

    def _on_node_goes(self, _scene: Any, _event: Any, node: Any) -> None:
        if node is self.ct:
            self._on_scene_closes()
        elif node is self._store.node and node is not None:
            self._store.lose()
            self._lost = True
            self._tell("removed")
        else:
            self._boxes.lose(node)
            self._line.lose(node)

    def _on_scene_closes(self, *_: object) -> None:
        self._tell("closed")
        self._closed = True
        self._observers.clear()
        self._store.close()

    def _on_scene_saves(self, *_: object) -> None:
        self._store.flush()

    def _on_moved(self, *_: object) -> None:
        node = self._store.node
        if node is not None and node.GetTransformNodeID() != self.ct.GetTransformNodeID():
            node.SetAndObserveTransformNodeID(self.ct.GetTransformNodeID())
        self._boxes.follow(self._to_world())
        self._line.follow(self._to_world())

    def _show(self, name: str, label: str, centre: Any, size: Any, axes: Any, colour: Any) -> None:
        box = self._from_world @ box_matrix(centre, size, axes)
        self._boxes.show(name, label, box, self._to_world(), colour)

    def _to_world(self) -> np.ndarray:
        try:
            return parent_matrix(self.ct)
        except InputError:  # bent while the answer runs: boxes stay where they were asked for
            return np.linalg.inv(self._from_world)

    # ---------------------------------------------------------------- findings

    def findings(self) -> list[Finding]:
        """All findings, in the order in which they came."""
        return [] if self._closed else [self._finding(e) for e in self._store.entries]

    def finding(self, finding_id: str) -> Finding | None:
        """The finding of an object's id; an id that a newer answer replaced gives the newer one."""
        entry = None if self._closed else self._store.entries.get(finding_id)
        return self._finding(entry) if entry is not None else None

    def finding_of_segment(self, segment_id: str) -> Finding | None:
        """The finding that a segment shows, None for segments that are not ours."""
        entry = None if self._closed else self._store.entries.of_segment(segment_id)
        return self._finding(entry) if entry is not None else None

    def _finding(self, entry: Entry) -> Finding:
        segment = self._store.layers.segmentation.GetSegment(entry.segment_id) if entry.segment_id and self._store.layers else None
        if segment is None:
            return entry.finding(self.vocabulary, self._to_world(), display=entry.display,
                                 colour=identity.colour(self.vocabulary, entry.key),
                                 visible=self._boxes.is_shown(f"found {entry.id}"))
        visible = bool(self._store.display.GetSegmentVisibility(entry.segment_id)) if self._store.display else True
        return entry.finding(self.vocabulary, self._to_world(), display=segment.GetName(), colour=tuple(segment.GetColor()),
                             visible=visible)

    def accept(self, finding_id: str) -> bool:
        """Mark a finding as accepted by a person (status Completed); False for an unknown one."""
        entry = self._segmented(finding_id)
        if entry is None:
            return False
        entry.accepted = True
        self._sign(entry)
        self._store.flush()
        self._tell("findings")
        return True

    def reject(self, finding_id: str) -> bool:
        """Take a finding and its segment out of the scene; one step of undo. False for an unknown one or in an open answer."""
        entry = None if self.is_quiet or self._store.step is not None else self._store.entries.get(finding_id)
        if entry is None:
            return False
        self.check_edits()
        self._store.flush()
        self._store.open("")
        if entry.segment_id:
            self._store.touch(entry.segment_id)
            self._store.layers.delete(entry.segment_id)
        self._store.entries.drop(entry)
        self._boxes.hide(f"found {entry.id}")
        self._store.shut()
        self._tell("findings")
        return True

    def empty(self) -> list[Finding]:
        """The findings whose segment is there and holds no voxel."""
        layers = None if self.is_quiet else self._store.layers
        if layers is None:
            return []
        return [self._finding(e) for e in self._store.entries
                if e.segment_id and layers.known(e.segment_id) is None and layers.read(e.segment_id) is None]

    def miscoded(self) -> list[Finding]:
        """The findings whose segment carries other codes in the scene than it was given, or none; no export reads them."""
        return [self._finding(e) for e in self._miscoded()]

    def restore_codes(self) -> int:
        """Give every segment of a finding the codes of the vocabulary again; return how many had others."""
        wrong = self._miscoded()
        for entry in wrong:
            with self._store.layers:
                identity.set_tags(self._store.layers.segmentation.GetSegment(entry.segment_id),
                                  {identity.TERMINOLOGY: identity.terminology(self.vocabulary, entry.key)})
        if wrong:
            self._tell("findings")
        return len(wrong)

    def _miscoded(self) -> list[Entry]:
        if self.is_quiet or self._store.layers is None:
            return []
        get = self._store.layers.segmentation.GetSegment
        return [e for e in self._store.entries if e.segment_id and (segment := get(e.segment_id)) is not None
                and identity.tag(segment, identity.TERMINOLOGY) != identity.terminology(self.vocabulary, e.key)]

    def set_visible(self, finding_id: str, visible: bool) -> None:
        """Show or hide the segment (or the box) of a finding in all views."""
        entry = None if self._closed else self._store.entries.get(finding_id)
        if entry is not None and entry.segment_id and self._store.display is not None:
            self._store.display.SetSegmentVisibility(entry.segment_id, visible)
        elif entry is not None and visible:
            self.show_box(finding_id)
        elif entry is not None:
            self._boxes.hide(f"found {entry.id}")
        self._tell("findings")

    def highlight(self, finding_id: str, on: bool) -> None:
        """Fill a segment strongly, or as before: the panel's timer makes it flash."""
        entry, display = self._segmented(finding_id), self._store.display
        if entry is None or display is None or on == (entry.segment_id in self._lit):
            return
        if on:
            self._lit[entry.segment_id] = display.GetSegmentOpacity2DFill(entry.segment_id)
        strong = 1.0 / max(display.GetOpacity2DFill(), 0.1)  # the two are multiplied
        display.SetSegmentOpacity2DFill(entry.segment_id, strong if on else self._lit.pop(entry.segment_id))

    def show_box(self, finding_id: str) -> bool:
        """Show the detection box of a finding again; False when it has none."""
        entry = None if self.is_quiet else self._store.entries.get(finding_id)
        if entry is None or entry.box is None:
            return False
        self._boxes.show(f"found {entry.id}", entry.display, np.array(entry.box), self._to_world(),
                         identity.colour(self.vocabulary, entry.key))
        return True

    def make_ready(self) -> None:
        """Make one more of the boxes that an answer will need; call it while nothing else goes on."""
        if not self.is_quiet:
            self._boxes.make_ready()

    def show_look(self, view: tuple, number: int | None, label: str, boxes: list[tuple]) -> None:
        """Show the box of a look of a past answer, and (name, centre, size, axes) of what was found by then; world RAS mm.

        number : of the look of its object, from 0; None for the whole scan.
        """
        if self.is_quiet or self.answering:
            return
        self.hide_looks()
        close = 0 if number is None else min(number + 1, len(LOOK_COLOURS) - 1)
        to_local = np.linalg.inv(self._to_world())
        self._boxes.show("look now", label, to_local @ box_matrix(*view), self._to_world(), LOOK_COLOURS[close])
        for n, (name, *box) in enumerate(boxes):
            self._boxes.show(f"look found {n}", name, to_local @ box_matrix(*box), self._to_world(), (0.9, 0.9, 0.9))

    def hide_looks(self) -> None:
        """Hide what `show_look` shows."""
        if not self._closed:
            self._boxes.hide("look")

    def centre_of(self, finding_id: str) -> tuple[float, float, float] | None:
        """World RAS mm of a finding: a voxel of its segment near the middle, else the centre of its box."""
        entry = None if self._closed else self._store.entries.get(finding_id)
        if entry is None:
            return None
        if entry.segment_id and self._store.layers is not None:
            centre = self._store.node.GetSegmentCenterRAS(entry.segment_id)
            if centre is not None:
                return tuple(map(float, centre))  # of the world, transforms included
        return parts_of_box(self._to_world() @ np.array(entry.box))[0] if entry.box is not None else None

    def _segmented(self, finding_id: str) -> Entry | None:
        entry = None if self.is_quiet else self._store.entries.get(finding_id)
        return entry if entry is not None and entry.segment_id else None

    def _sign(self, entry: Entry, *, by_model: bool = True) -> None:
        as_it_came = bool(entry.imported) and not entry.corrected
        ours = "MANUAL" if not by_model else "SEMIAUTOMATIC" if entry.corrected else "AUTOMATIC"
        segment = self._store.layers.segmentation.GetSegment(entry.segment_id)
        with self._store.layers:
            identity.set_tags(segment, {
                identity.FINDING_ID: entry.id, identity.ALGORITHM_TYPE: entry.imported if as_it_came else ours,
                identity.ALGORITHM_NAME: "" if as_it_came else self._model,
                identity.TERMINOLOGY: identity.terminology(self.vocabulary, entry.key),
                identity.STATUS: "inprogress" if not entry.accepted else "completed"})

    # ---------------------------------------------------------------- edits, undo

    def check_edits(self) -> list[str]:
        """Find segments that a person changed since the last call and mark them outdated; ids of their findings.

        Cheap when nothing changed: call it from a timer, not at each stroke.
        """
        found = [] if self.is_quiet else self._store.check_edits()
        if found:
            self._tell("findings")
        return found

    def edited_masks(self, folder: str | Path) -> dict[str, str]:
        """Write the mask of every outdated finding to `folder`; {object id: path}, for `Request.edited`.

        Each is a .npy file, uint8 [i, j, k], on the CT's grid and of the CT's shape. ResourceError when the disk is full.
        """
        self.check_edits()
        return {} if self.is_quiet else self._store.edited_masks(Path(folder))

    def mask_file(self, finding_id: str, folder: str | Path) -> dict[str, str]:
        """Write a finding's mask as it stands in the scene, as `edited_masks` does; empty where it has none."""
        entry = self._segmented(finding_id)
        return {} if entry is None else {entry.id: self._store.mask_file(entry, Path(folder))}

    @property
    def undo_answer(self) -> str | None:
        """The answer that `undo` would take back ("" for a rejection), None when there is none."""
        return self.answering or (self._store.journal.done[-1].answer if self._store.journal.done else None)

    @property
    def redo_answer(self) -> str | None:
        """The answer that `redo` would bring back."""
        return self._store.journal.undone[-1].answer if self._store.journal.undone else None

    def can_undo(self) -> bool:
        return not self.is_quiet and self.undo_answer is not None

    def can_redo(self) -> bool:
        return not self.is_quiet and not self.answering and self.redo_answer is not None

    def needs_asking_before_undo(self) -> bool:
        """Whether undo would take manual strokes with it that came after the answer."""
        self.check_edits()
        step = self._store.step or (self._store.journal.done[-1] if self._store.journal.done else None)
        return bool(step is not None and step.strokes)

    def undo(self) -> bool:
        """Take back the last answer (or rejection); an open answer is ended first. False when there is none."""
        return self._swing(back=True)

    def redo(self) -> bool:
        """Bring back what `undo` took, manual strokes of that time included."""
        return not self.answering and self._swing(back=False)

    def _swing(self, *, back: bool) -> bool:
        self.end()
        if self.is_quiet or not self._store.swing(back):
            return False
        self._boxes.hide()
        self._line.clear()
        self._tell("findings")
        return True

    # ---------------------------------------------------------------- evidence and 3D

    def evidence(self, measurement_id: str) -> tuple[float, float, float] | None:
        """Show a measurement as a line in its own plane; where its middle is (RAS mm), None when nothing can be drawn."""
        found = None if self.is_quiet else self._line_of(measurement_id)
        if found is None:
            self.clear_evidence()
            return None
        label = f"{found['name'].replace('_', ' ').capitalize()} {found['value']:.1f} {found['unit']}"
        self._line.show(label, found["ends"], self._to_world())
        middle = np.mean(np.array(found["ends"]), axis=0)
        return tuple((self._to_world() @ [*middle, 1.0])[:3].tolist())

    def plane_of(self, measurement_id: str) -> tuple[tuple, tuple] | None:
        """(origin, unit normal) of the plane in which a measurement was taken, world RAS; for `Follower.show_plane`."""
        found = None if self.is_quiet else self._line_of(measurement_id)
        if found is None or not found.get("normal"):
            return None
        world = self._to_world()
        origin = (world @ [*np.mean(np.array(found["ends"]), axis=0), 1.0])[:3]
        normal = np.linalg.inv(world[:3, :3]).T @ np.array(found["normal"])
        return tuple(origin.tolist()), tuple((normal / np.linalg.norm(normal)).tolist())

    def clear_evidence(self) -> None:
        """Hide the line."""
        if not self._closed:
            self._line.clear()

    def _line_of(self, measurement_id: str) -> dict[str, Any] | None:
        return next((e.lines[measurement_id] for e in self._store.entries if measurement_id in e.lines), None)

    def build_3d_step(self) -> bool:
        """Do one piece of the work that brings closed surfaces into the 3D views; True while more is to be done.

        Waits while an answer is open.
        """
        if self.is_quiet or self._store.step is not None or self._store.surfaces is None:
            return False
        ours = {e.segment_id for e in self._store.entries if e.segment_id}
        return bool(ours) and self._store.surfaces.step(ours)
