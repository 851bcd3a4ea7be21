"""The events of answers as segments, boxes and findings of one CT."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from ..events import Event
from ..vocabulary import Vocabulary
from .findings import Finding

Others = Literal["keep", "overwrite", "lock"]


class SceneWriter:
    """Writes answers about one CT into the scene: one segmentation node, a few reused box nodes.

    Parameters
    ----------
    mrml_scene : vtkMRMLScene.
    ct_node : the CT, a vtkMRMLScalarVolumeNode. InputError as in `voxels_of`.
    vocabulary : names, colours and codes.
    logics : mapping with "segmentations" -> vtkSlicerSegmentationsModuleLogic (``slicer.modules.segmentations.logic()``).
    others : what happens to voxels of segments that are not ours: "keep" (segments may overlap), "overwrite" (they lose
        the voxels), "lock" (ours leaves them out). May be set between answers.

    Attributes
    ----------
    segmentation : vtkMRMLSegmentationNode, or None before the first answer and after a person removed it.
    on_change : called with "findings", "edited", "removed" or "closed" after something happened to the nodes; None.
    """

    on_change: Callable[[str], None] | None = None
    others: Others = "keep"

    def __init__(self, mrml_scene: Any, ct_node: Any, vocabulary: Vocabulary, logics: Mapping[str, Any], *,
                 others: Others = "keep") -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Take back the observers; nodes stay. Every later call is quiet."""

    # ---------------------------------------------------------------- an answer

    def begin(self, answer_id: str, question: str) -> None:
        """Open an answer: surfaces go, boxes of the answer before go back to the pool. An open answer is ended first."""

    def apply(self, event: Event, folder: str | Path) -> None:
        """Bring one event into the scene. Never raises for what a person did to the scene; InputError for a bad mask file.

        Events of an answer that is not open, and all events once the nodes are gone, are left out.
        """

    def end(self) -> None:
        """Close the answer: it becomes one step of undo, look boxes hide, many layers become one."""

    @property
    def is_quiet(self) -> bool:
        """Whether CT or segmentation is gone, so that events are left out."""
        raise NotImplementedError

    # ---------------------------------------------------------------- findings

    def findings(self) -> list[Finding]:
        """All findings, in the order of the segments."""
        raise NotImplementedError

    def finding(self, finding_id: str) -> Finding | None:
        """The finding of an object's id; an id that a newer answer replaced gives the newer one."""
        raise NotImplementedError

    def finding_of_segment(self, segment_id: str) -> Finding | None:
        """The finding that a segment shows, None for segments that are not ours."""
        raise NotImplementedError

    def accept(self, finding_id: str) -> bool:
        """Mark a finding as accepted by a person (status Completed)."""
        raise NotImplementedError

    def reject(self, finding_id: str) -> bool:
        """Take a finding and its segment out of the scene; one step of undo."""
        raise NotImplementedError

    def set_visible(self, finding_id: str, visible: bool) -> None:
        """Show or hide the segment of a finding in all views."""

    def highlight(self, finding_id: str, on: bool) -> None:
        """Fill a segment strongly, or as before: the panel's timer makes it flash."""

    def show_box(self, finding_id: str) -> bool:
        """Show the detection box of a finding again."""
        raise NotImplementedError

    def centre_of(self, finding_id: str) -> tuple[float, float, float] | None:
        """World RAS mm of a finding: the middle of its segment, else of its box."""
        raise NotImplementedError

    # ---------------------------------------------------------------- edits by a person

    def check_edits(self) -> list[str]:
        """Find segments that a person changed since the last call and mark them outdated; ids of their findings.

        Cheap when nothing changed: call it from a timer, not at each stroke.
        """
        raise NotImplementedError

    def edited_masks(self, folder: str | Path) -> dict[str, str]:
        """Write the mask of every outdated finding to `folder`; {object id: path}, for `Request.edited`.

        Each is a .npy file, uint8 [i, j, k], on the CT's grid and of the CT's shape.
        """
        raise NotImplementedError

    # ---------------------------------------------------------------- undo

    def undo(self) -> bool:
        """Take back the last answer (or rejection); an open answer is ended first. False when there is none."""
        raise NotImplementedError

    def redo(self) -> bool:
        """Bring back what `undo` took."""
        raise NotImplementedError

    def can_undo(self) -> bool:
        raise NotImplementedError

    def can_redo(self) -> bool:
        raise NotImplementedError

    def needs_asking_before_undo(self) -> bool:
        """Whether undo would take manual strokes with it that came after the answer."""
        raise NotImplementedError

    # ---------------------------------------------------------------- evidence and 3D

    def evidence(self, measurement_id: str) -> tuple[float, float, float] | None:
        """Show a measurement as a line in its own plane; where its middle is (RAS mm), None when nothing can be drawn."""
        raise NotImplementedError

    def clear_evidence(self) -> None:
        """Hide the line."""

    def build_3d_step(self) -> bool:
        """Make the closed surface of one segment that lacks it; True while more are to come. Waits while an answer is open."""
        raise NotImplementedError
