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

from ..events import Done, Started
from .masks import read_crop
from .records import EDITED

if TYPE_CHECKING:
    from ..conversation import Conversation, Known
    from .records import Record


def known_by_record(record: Record) -> dict[str, Known]:
    """Return {object id: what is known of it} for the objects whose masks lie in the record's workspace, as a person left them."""
    from ..conversation import known_of

    known = known_of((event for turn in record.turns for event in turn.events), record.workspace)
    shape = next((e.volume["shape"] for turn in record.turns for e in turn.events if isinstance(e, Started)), ())
    for path in (record.workspace / EDITED).glob("*.npz"):
        if path.stem in known:
            crop, first = read_crop(path, shape)
            known[path.stem].mask, known[path.stem].first_voxel = crop.astype(np.uint8), np.array(first)
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
