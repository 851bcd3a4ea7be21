"""A past answer again, look by look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .transcript import Turn

if TYPE_CHECKING:
    from .follower import Follower
    from .writer import SceneWriter


class Replay:
    """The looks of one turn, for a slider from 0 to len - 1.

    >>> replay = Replay(turn, follower, writer)     # doctest: +SKIP
    >>> replay.show(2)                              # views move to the third look, its box appears  # doctest: +SKIP
    """

    def __init__(self, turn: Turn, follower: Follower, writer: SceneWriter) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        """How many looks the answer had."""
        raise NotImplementedError

    def label(self, index: int) -> str:
        """What a look was for, to show beside the slider: "2 of 5: Heart, boundary"."""
        raise NotImplementedError

    def show(self, index: int) -> None:
        """Go to one look: the follower's motion starts, boxes show what was known after it."""

    def close(self) -> None:
        """Hide the boxes."""
