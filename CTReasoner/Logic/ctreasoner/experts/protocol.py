"""What an expert is, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import CTReasonerError
from ..events import By

if TYPE_CHECKING:
    from ..geometry import Volume
    from ..vocabulary import VocabObject

Box = tuple[Sequence[float], Sequence[float]]
"""(lowest, highest) corner, RAS mm."""


class ExpertError(CTReasonerError):
    """An expert that cannot be used, or did not do its work; the rest of the answer does not depend on it."""

    default_code = "CTR-EXP-000"


@dataclass(frozen=True, kw_only=True)
class Licence:
    """Under what the weights may be used. `name` is what answers and files show; `terms` its text or where it stands."""

    name: str
    terms: str = ""
    non_commercial: bool = False

    @property
    def note(self) -> str:
        """One line for reports and files."""
        return f"{self.name} (non-commercial use only)" if self.non_commercial else self.name


@dataclass(frozen=True, kw_only=True)
class Found:
    """A mask: a crop [i, j, k] uint8 of the CT's grid from `first_voxel`, and who drew it."""

    mask: np.ndarray
    first_voxel: tuple[int, int, int]
    by: By


class Expert(Protocol):
    """A model that knows objects; entry points of the group ``ctreasoner.experts`` give a callable that returns one.

    objects : key -> vocabulary entry with names, codes and plausible volume. region, modality : where it works ("abdomen", "CT").
    spacing_mm : what it resamples to, along R, A, S. device : "cpu" or "cuda".
    """

    name: str
    version: str
    licence: Licence
    objects: dict[str, VocabObject]
    region: str
    modality: str
    spacing_mm: tuple[float, float, float]
    device: str

    def expected_seconds(self, volume: Volume, box: Box | None = None) -> float | None:
        """How long `segment` will take on this computer; None where that was never measured."""

    def segment(self, volume: Volume, objects: Sequence[str], box: Box | None = None,
                cancelled: Callable[[], bool] = lambda: False) -> dict[str, Found]:
        """Masks by key; an empty mask where an object was not found. `box` bounds what is looked at, None is the whole scan.

        Raises ExpertError where it fails, and when `cancelled` returned True.
        """


def by_of(expert: Expert) -> By:
    """Who speaks, for events and files."""
    return By(kind="expert", name=expert.name, version=expert.version, licence=expert.licence.note)
