"""What panel and worker say to each other: one JSON object a line, requests with an `op`, answers with a `reply`.

    panel -> worker                                      worker -> panel
    hello   protocol, version, session (a folder), pid   hello   protocol, version, python, pid
                                                         ready   model            (or failed: code, sentence, hint)
    volume  id, path (.npy), affine, name, source,       volume  id               (or failed)
            eight_bit, content
    ask     ask, request, workspace, answered, known     event   ask, event       (ends with Done, Cancelled or Failed)
    import  ask, request, workspace, answered,           event   ask, event       (the same)
            known, path, source
    export  ask, volume, workspace, folder, source,      exported  ask, folder, files, notes    (or failed)
            edited, rejected, dicom, accepted_by,
            incomplete
    inside  ask, volume                                  inside  ask, states, is_whole              (or failed)
    push    ask, folder, address, token, certificate,    pushing  ask, words      (any number)
            without_patient                              pushed  ask, stored, already               (or failed)
    cancel  ask                                          cancelling  ask          (at once, from the reading thread)
    forget  volume                                       forgotten  volume
    bye                                                  (ends)

`inside` asks which objects a CT shows: object key -> [state, probability]. Whatever is sent behind it interrupts it; `states`
are then those that were found so far, and `is_whole` is false. `push` goes on beside whatever else is asked.

End of file on the worker's stdin means that the panel is gone: the worker then takes away the session's folder and ends.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import InputError

PROTOCOL = 1
MAX_LINE = 64 * 1024 * 1024     # characters; the longest honest line is a scribble


def encode(**content: Any) -> str:
    """Return one line with its line end."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n"


def decode(line: str) -> dict[str, Any]:
    """Return the object of a line; anything else is an InputError."""
    try:
        content = json.loads(line) if len(line) <= MAX_LINE else None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise InputError("The other process sent a line that is not a JSON object.", code="CTR-WRK-010")
    return content
