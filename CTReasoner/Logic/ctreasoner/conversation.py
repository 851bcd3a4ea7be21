"""What an engine remembers of a conversation about one scan: turns, objects, masks, and where to go on from."""
from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ctreasoner.appearance.measure import Measured
    from ctreasoner.model.eyes import Faces, Sight
    from ctreasoner.model.processor import Turn


@dataclass
class Known:
    """An object of the conversation. `key` is a vocabulary key, "thing", or None for something unknown; the mask is a crop on
    the CT's grid; sight, code and logits are those of its last look, so that a click costs the decoder only."""
    id: str
    number: int
    key: str | None
    display: str
    state: str = "present"
    box: Faces | None = None
    mask: np.ndarray | None = None
    first_voxel: np.ndarray | None = None
    cut: bool = False
    sight: Sight | None = None
    code: Any = None
    logits: np.ndarray | None = None
    clicks: list = field(default_factory=list)          # (RAS point, positive)
    categories: dict[str, str] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    looks: int = 0


@dataclass
class Conversation:
    turns: list[Turn] = field(default_factory=list)
    objects: dict[int, Known] = field(default_factory=dict)
    answers: int = 0
    recent = 3                                          # turns that the model still reads

    def by_id(self, object_id: str) -> Known | None:
        return next((o for o in self.objects.values() if o.id == object_id), None)
