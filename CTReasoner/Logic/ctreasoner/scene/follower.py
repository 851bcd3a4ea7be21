"""The views go where the model looks: smoothly, with a window that fits, and back again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..events import IDENTITY, Look


class Follower:
    """Moves slice views and 3D views of a scene to looks. Needs a timer: call `step` every 30 to 40 ms while `moving`.

    Attributes
    ----------
    moving : a motion is on.
    suspended : looks are noted and not followed.
    has_saved_view : there is a view to go back to.
    """

    moving: bool
    suspended: bool
    has_saved_view: bool

    def __init__(self, mrml_scene: Any, ct_node: Any) -> None:
        raise NotImplementedError

    def look(self, look_event: Look) -> None:
        """Start a motion to a look's view and window; saves the user's own view first where none is saved."""

    def focus(self, centre_ras: Sequence[float], size_mm: Sequence[float], axes: Sequence = IDENTITY,
              window: tuple[float, float] | None = None) -> None:
        """Start a motion to a box of the world; window : (level, width) HU."""

    def step(self, now_s: float) -> bool:
        """One frame. `now_s` is any clock in seconds; True while the motion goes on."""
        raise NotImplementedError

    def finish(self) -> None:
        """Go to the end of the motion at once."""

    def suspend(self) -> None:
        """Stop here: the user has taken the views."""

    def resume(self) -> None:
        """Follow again, from the newest look that was missed."""

    def save_view(self) -> None:
        """Remember layout, slice views, cameras, layers and window, unless they are remembered already."""

    def restore_view(self) -> bool:
        """Bring back what `save_view` remembered; False when nothing is."""
        raise NotImplementedError

    def forget_view(self) -> None:
        """Keep the present view as the user's own."""

    def jump(self, ras: Sequence[float]) -> None:
        """Centre all slice views on a world point, at their present zoom."""

    def close(self) -> None:
        """Stop and let the nodes go."""
