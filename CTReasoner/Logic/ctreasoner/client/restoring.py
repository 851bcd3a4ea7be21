"""What an engine still knows of a conversation that another process began: its objects, so that an edit can be measured, and,
where that is wanted, its last questions, so that a later one may speak of them.

Runs in the engine's process alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..events import Done, Existence, Mask, load_mask

if TYPE_CHECKING:
    from ..conversation import Conversation, Known
    from .records import Record


def known_by_record(record: Record) -> dict[str, Known]:
    """Return {object id: what is known of it} for the objects whose masks lie in the record's workspace."""
    from ..conversation import Known

    events = [event for turn in record.turns for event in turn.events]
    named = {e.object: e for e in events if isinstance(e, Existence)}
    known = {}
    for mask in (e for e in events if isinstance(e, Mask) and e.stage != "coarse" and e.object in named):
        try:
            crop = np.array(load_mask(mask, record.workspace))
        except InputError:
            continue
        said = named[mask.object]
        known[mask.object] = Known(mask.object, 0, None if said.state == "unsupported" else said.name, said.display, mask=crop,
                                   first_voxel=np.array(mask.first_voxel), path=record.workspace / mask.path, cut=mask.cut_by_scan)
    return known


def known_by_name(names: Mapping[str, str]) -> dict[str, Known]:
    """Return {object id: what is known of it} for objects of which only their vocabulary keys are known."""
    from ..conversation import Known
    from ..vocabulary import Vocabulary

    vocabulary = Vocabulary.load() if names else {}
    return {key: Known(key, 0, name, vocabulary.display(name) if name in vocabulary else name) for key, name in names.items()}


def relive(reasoner: Any, talk: Conversation, record: Record, is_cancelled: Callable[[], bool]) -> None:
    """Answer the last questions of a record again, as many as the model reads: the same weights and seeds give the same objects
    under the same ids. Changed masks are left to `known_by_record`; an answer that was cut off is not gone on with.
    """
    from .records import number_of

    finished = [t for t in record.turns if t.events and isinstance(t.events[-1], Done) and not t.request.edited]
    for turn in finished[-talk.recent:]:
        talk.answers = number_of(turn.events) - 1
        with tempfile.TemporaryDirectory(dir=record.workspace) as unseen:
            for _ in reasoner.answer(turn.request, workspace=Path(unseen)):
                if is_cancelled():
                    return
