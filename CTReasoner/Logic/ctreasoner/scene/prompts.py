"""What a person clicks and draws, as prompts in world RAS mm."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ..events import Click, PromptBox, Scribble

Kind = Literal["point", "box", "scribble"]


class PromptNodes:
    """Three reused markups nodes: points, one box, one scribble.

    Attributes
    ----------
    on_placed : called with "point", "box" or "scribble" when a person has finished placing; None.
    placing : the kind that is being placed, or None.
    """

    on_placed: Callable[[Kind], None] | None = None
    placing: Kind | None = None

    def __init__(self, mrml_scene: Any, ct_node: Any, logics: Mapping[str, Any]) -> None:
        """logics : mapping with "markups" -> vtkSlicerMarkupsLogic."""
        raise NotImplementedError

    def place(self, kind: Kind, *, positive: bool = True, target: str | None = None) -> None:
        """Enter place mode for one point, one box or one scribble; `target` is the id of an object to correct."""

    def cancel(self) -> None:
        """Leave place mode and remove the preview (Esc)."""

    def check(self) -> None:
        """InputError (CTR-GEO-020) when a prompt lies outside the CT."""

    def clicks(self) -> tuple[Click, ...]:
        """The placed points. InputError as in `check`."""
        raise NotImplementedError

    def boxes(self) -> tuple[PromptBox, ...]:
        """The drawn box; a rotated one keeps its axes."""
        raise NotImplementedError

    def scribbles(self) -> tuple[Scribble, ...]:
        """The drawn line, at most 64 points."""
        raise NotImplementedError

    def clear(self) -> None:
        """Remove all prompts."""

    def close(self) -> None:
        """Remove the nodes and observers."""
