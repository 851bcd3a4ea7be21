"""What an engine remembers of a conversation about one scan: turns, objects, masks, and where to go on from."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ctreasoner.errors import InputError
from ctreasoner.events import Event, Existence, Mask, load_mask

if TYPE_CHECKING:
    from ctreasoner.appearance.measure import Measured
    from ctreasoner.events import By
    from ctreasoner.model.eyes import Faces, Sight
    from ctreasoner.model.processor import Turn
    from ctreasoner.vocabulary import VocabObject


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
    path: Path | None = None                            # where the exported mask lies, for checking against it
    cut: bool = False
    given: bool = False                                 # the mask is not what the engine drew: imported, by hand, or of another run
    sight: Sight | None = None
    code: Any = None
    logits: np.ndarray | None = None
    clicks: list = field(default_factory=list)          # (RAS point, positive)
    categories: dict[str, str] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    looks: int = 0
    asked: str = ""                                     # the words of the question that name it
    entry: VocabObject | None = None                    # of an object that an expert knows, with `by`, the expert
    by: By | None = None

    @property
    def model_key(self) -> str | None:
        """What the model calls it: it has no name for what only an expert knows."""
        return self.key if self.entry is None else "thing"


@dataclass
class Conversation:
    turns: list[Turn] = field(default_factory=list)
    objects: dict[int, Known] = field(default_factory=dict)
    said: list[tuple[str, list[int]]] = field(default_factory=list)    # words with their slots, numbers of their objects
    answers: int = 0
    earlier: dict[str, Known] = field(default_factory=dict)            # objects that the model no longer reads of, by id
    offered: tuple[str, str] | None = None                             # what to ask an expert after a yes, and its name
    experts_allowed: set[str] = field(default_factory=set)
    experts_refused: set[str] = field(default_factory=set)
    recent = 3                                          # turns that the model still reads
    most = 8                                            # objects that are numbered before the numbering starts anew

    def by_id(self, object_id: str) -> Known | None:
        return next((o for o in self.objects.values() if o.id == object_id), None) or self.earlier.get(object_id)

    def take_in(self, events: Iterable[Event], folder: Path) -> None:
        """Count an answer that was not given here (an import), and know its objects from now on."""
        self.earlier.update(known_of(events, folder))
        self.answers += 1

    def make_room(self) -> None:
        """The model counts objects to twelve: when few numbers are left, its memory starts anew (masks stay)."""
        if max(self.objects, default=0) > self.most:
            self.earlier.update({o.id: o for o in self.objects.values()})
            self.objects, self.turns, self.said = {}, [], []


def known_of(events: Iterable[Event], folder: Path) -> dict[str, Known]:
    """{object id: what is known of it} for the objects of a stream whose masks lie in `folder`; a file that is gone is left out."""
    named, known = {}, {}
    for event in events:
        if isinstance(event, Existence):
            named[event.object] = event
        elif isinstance(event, Mask) and event.stage != "coarse" and event.object in named:
            try:
                crop = np.array(load_mask(event, folder))
            except InputError:
                continue
            said = named[event.object]
            key = None if said.state == "unsupported" else said.name
            known[said.object] = Known(said.object, 0, key, said.display, mask=crop, first_voxel=np.array(event.first_voxel),
                                       path=Path(folder) / event.path, cut=event.cut_by_scan, given=True)
    return known
