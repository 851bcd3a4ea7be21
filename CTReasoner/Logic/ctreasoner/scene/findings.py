"""What the table of findings shows: one row for each object that was found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Origin = Literal["model", "corrected", "accepted"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One object that was found in a CT.

    Attributes
    ----------
    id : of the object, as in the events ("a1.o2"); what `Request.target` and `Request.edited` want.
    segment_id : of its segment, "" while it has only a box.
    key : in the vocabulary; display : what a person reads (a segment that was renamed shows its new name).
    colour : red, green, blue from 0 to 1.
    volume_ml, mean_hu, confidence : None where unknown. confidence is the calibrated probability of existence, else the score.
    verified : True when every checked statement about it holds, False when one does not, None when none was checked.
    tier : "A", "B", "C" or "" for what the vocabulary does not know.
    origin : "model", "corrected" (a person's click or stroke changed it) or "accepted".
    outdated : its mask was changed after it was measured: numbers and sentences about it no longer hold.
    box : (centre_ras, size_mm, axes), world RAS mm, or None.
    answer : id of the answer that brought it.
    """

    id: str
    segment_id: str = ""
    key: str = ""
    display: str = ""
    colour: tuple[float, float, float] = (0.5, 0.5, 0.5)
    visible: bool = True
    volume_ml: float | None = None
    mean_hu: float | None = None
    confidence: float | None = None
    verified: bool | None = None
    tier: str = ""
    origin: Origin = "model"
    outdated: bool = False
    box: tuple | None = None
    answer: str = ""
