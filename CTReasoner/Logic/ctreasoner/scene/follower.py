"""The views go where the model looks: smoothly, with a window that fits, and back again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer

from ..events import IDENTITY, Look
from . import views
from .findings import box_matrix
from .observing import Observers

DURATION_S = 0.45
FRAMES = 9  # at least so many, also where a slow renderer makes the motion longer


@dataclass
class _Target:
    """A box of the world and the window to see it with."""

    centre: np.ndarray
    edges: np.ndarray  # columns: full edges, mm
    window: tuple[float, float] | None  # (level, width) HU


@dataclass
class _Motion:
    slices: list[tuple[str, views.SliceView, views.SliceView]]  # node id, from, to
    cameras: list[tuple[str, np.ndarray, np.ndarray, np.ndarray, np.ndarray]]  # node id, focal and offset: from, to
    window: tuple[tuple[float, float], tuple[float, float]] | None
    start_s: float | None = None
    share: float = 0.0


class Follower:
    """Moves slice views and 3D views of a scene to looks. Needs a timer: call `step` every 30 to 40 ms while `moving`.

    A motion takes 0.45 s and 9 frames or more; what `step` costs beside rendering is a few ms. A look that comes during a
    motion turns it towards the new place at once. Views keep their orientation; their pixels stay square.

    Attributes
    ----------
    suspended : looks are noted and not followed.
    frames : frames of the present or last motion.
    """

    def __init__(self, mrml_scene: Any, ct_node: Any) -> None:
        self.scene, self.ct = mrml_scene, ct_node
        self.suspended, self.frames = False, 0
        self._motion: _Motion | None = None
        self._missed: _Target | None = None
        self._saved: views.SavedView | None = None
        self._closed = False
        self._observers = Observers()
        self._observers.add(mrml_scene, slicer.vtkMRMLScene.StartCloseEvent, self._on_scene_closes)
        self._observers.add_with_node(mrml_scene, slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._on_node_goes)

    @property
    def moving(self) -> bool:
        """A motion is on: `step` has something to do."""
        return self._motion is not None

    @property
    def has_saved_view(self) -> bool:
        """There is a view to go back to."""
        return self._saved is not None

    # ---------------------------------------------------------------- going there

    def look(self, look_event: Look) -> None:
        """Start a motion to a look's view and window; saves the user's own view first where none is saved."""
        view = look_event.view
        self.focus(view.centre_ras, view.size_mm, view.axes, look_event.window)

    def focus(self, centre_ras: Sequence[float], size_mm: Sequence[float], axes: Sequence = IDENTITY,
              window: tuple[float, float] | None = None) -> None:
        """Start a motion to a box of the world. size_mm : full edges along `axes`; window : (level, width) HU."""
        matrix = box_matrix(centre_ras, size_mm, axes)
        self._go(_Target(matrix[:3, 3], matrix[:3, :3], window))

    def focus_box(self, box: tuple) -> None:
        """Start a motion to the box of a `Finding`."""
        self.focus(*box)

    def _go(self, target: _Target) -> None:
        if self._closed:
            return
        if self.suspended:
            self._missed = target
            return
        self.save_view()
        self.frames = 0
        slices = [(n.GetID(), views.look_of(n), views.look_at_box(n, target.centre, target.edges))
                  for n in views.slice_views(self.scene)]
        self._motion = _Motion(slices, [self._fly(c, target) for c in views.cameras(self.scene)], self._windows(target.window))

    @staticmethod
    def _fly(camera: Any, target: _Target) -> tuple:
        """From where a camera is to where the box fills two thirds of its view, seen from the same side."""
        now = camera.GetCamera()
        focal = np.array(now.GetFocalPoint())
        offset = np.array(now.GetPosition()) - focal
        length = np.linalg.norm(offset)
        towards = offset / length if length > 0 else np.array([0.0, 1.0, 0.0])
        radius = max(float(np.linalg.norm(target.edges, axis=0).max()) / 2, 5.0)
        distance = 1.5 * radius / np.sin(np.radians(max(now.GetViewAngle(), 5.0)) / 2)
        return camera.GetID(), focal, target.centre, offset, towards * distance

    def _windows(self, wanted: tuple[float, float] | None) -> tuple | None:
        display = self.ct.GetDisplayNode()
        if wanted is None or display is None:
            return None
        return (display.GetLevel(), display.GetWindow()), (float(wanted[0]), float(wanted[1]))

    def step(self, now_s: float) -> bool:
        """One frame. `now_s` is any clock in seconds; True while the motion goes on."""
        motion = self._motion
        if motion is None:
            return False
        if motion.start_s is None:
            motion.start_s = now_s - DURATION_S / FRAMES  # the first frame is a step already
        wanted = (now_s - motion.start_s) / DURATION_S
        self._frame(motion, min(wanted, motion.share + 1 / FRAMES, 1.0))
        return self.moving

    def finish(self) -> None:
        """Go to the end of the motion at once."""
        if self._motion is not None:
            self._frame(self._motion, 1.0)

    def _frame(self, motion: _Motion, share: float) -> None:
        motion.share = share
        self.frames += 1
        eased = share * share * (3 - 2 * share)
        for node_id, start, end in motion.slices:
            node = self.scene.GetNodeByID(node_id)
            if node is not None:
                views.set_look(node, end if share >= 1 else views.between(start, end, eased))
        for node_id, focal, to_focal, offset, to_offset in motion.cameras:
            node = self.scene.GetNodeByID(node_id)
            if node is not None:
                point = focal + (to_focal - focal) * eased
                views.set_camera(node, point, point + offset + (to_offset - offset) * eased)
        self._set_window(motion, eased)
        if share >= 1:
            self._motion = None

    def _set_window(self, motion: _Motion, share: float) -> None:
        display = self.ct.GetDisplayNode()
        if motion.window is None or display is None:
            return
        (level, width), (to_level, to_width) = motion.window
        was = display.StartModify()
        display.SetAutoWindowLevel(0)
        display.SetWindowLevel(width + (to_width - width) * share, level + (to_level - level) * share)
        display.EndModify(was)

    # ---------------------------------------------------------------- the user's hand

    def suspend(self) -> None:
        """Stop here: the user has taken the views."""
        self.suspended = True
        self._motion = None

    def resume(self) -> None:
        """Follow again, from the newest look that was missed."""
        self.suspended = False
        missed, self._missed = self._missed, None
        if missed is not None:
            self._go(missed)

    def save_view(self) -> None:
        """Remember layout, slice views, cameras, layers and window, unless they are remembered already."""
        if self._saved is None and not self._closed:
            self._saved = views.save(self.scene, self.ct)

    def restore_view(self) -> bool:
        """Bring back what `save_view` remembered; False when nothing is. A motion stops; looks are followed as before."""
        saved, self._saved = self._saved, None
        self._motion = self._missed = None
        if saved is None or self._closed:
            return False
        views.restore(self.scene, self.ct, saved)
        return True

    def forget_view(self) -> None:
        """Keep the present view as the user's own."""
        self._saved = None

    def jump(self, ras: Sequence[float]) -> None:
        """Centre all slice views on a world point, at their present zoom; a motion stops."""
        self._motion = None
        for node in [] if self._closed else views.slice_views(self.scene):
            node.JumpSliceByCentering(*map(float, ras))

    def show_plane(self, origin: Sequence[float], normal: Sequence[float]) -> str:
        """Turn the slice view that is nearest to a plane into it; its layout name, "" where there is no view.

        `restore_view` turns it back.
        """
        nodes = [] if self._closed else views.slice_views(self.scene)
        if not nodes:
            return ""
        self.save_view()
        self._motion = None
        for node in nodes:
            node.JumpSliceByCentering(*map(float, origin))
        best = max(nodes, key=lambda n: abs(sum(n.GetSliceToRAS().GetElement(r, 2) * normal[r] for r in range(3))))
        views.show_plane(best, origin, normal)
        return best.GetLayoutName() or ""

    # ---------------------------------------------------------------- the end

    def close(self) -> None:
        """Stop and let the nodes go."""
        self._closed = True
        self._observers.clear()
        self._motion = self._missed = self._saved = None

    def _on_scene_closes(self, *_: object) -> None:
        self.close()

    def _on_node_goes(self, _scene: Any, _event: Any, node: Any) -> None:
        if node is self.ct:
            self.close()

