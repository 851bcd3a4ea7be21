"""A past answer again, look by look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import IDENTITY

if TYPE_CHECKING:
    from .follower import Follower
    from .transcript import Turn
    from .writer import SceneWriter


class Replay:
    """The looks of one turn, for a slider from 0 to len - 1. Segments stay as they are; views and boxes move.

    >>> replay = Replay(turn, follower, writer)     # doctest: +SKIP
    >>> replay.show(2)                              # views move to the third look, its box appears  # doctest: +SKIP
    """

    def __init__(self, turn: Turn, follower: Follower, writer: SceneWriter) -> None:
        self.turn, self._follower, self._writer = turn, follower, writer

    def __len__(self) -> int:
        """How many looks the answer had."""
        return len(self.turn.looks)

    def label(self, index: int) -> str:
        """What a look was for, to show beside the slider: "2 of 5: Heart, boundary"."""
        look = self.turn.looks[index]
        what = self.turn.label_of_object.get(look["object"] or "", "")
        return f"{index + 1} of {len(self)}: " + (f"{what}, {look['why']}" if what else look["why"])

    def show(self, index: int) -> None:
        """Go to one look: the follower's motion starts, boxes show what was known after it."""
        look = self.turn.looks[index]
        axes = look.get("axes", IDENTITY)
        self._follower.focus(look["centre"], look["size"], axes, tuple(look["window"]))
        names = self.turn.label_of_object
        boxes = [(names.get(object_id) or "Object", box["centre"], box["size"], box.get("axes", IDENTITY))
                 for object_id, box in look["boxes"].items()]
        number = sum(1 for other in self.turn.looks[:index] if other["object"] == look["object"])
        self._writer.show_look((look["centre"], look["size"], axes), number if look["object"] else None, self.label(index), boxes)

    def close(self) -> None:
        """Hide the boxes."""
        self._writer.hide_looks()
