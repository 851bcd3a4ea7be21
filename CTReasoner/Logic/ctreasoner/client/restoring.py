"""What an engine that was started anew still knows of a conversation: its masks, so that an edit of one can be measured.

Runs in the engine's process alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..events import Existence, Mask, load_mask

if TYPE_CHECKING:
    from ..conversation import Known
    from .records import Record


def known_objects(record: Record) -> dict[str, Known]:
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
