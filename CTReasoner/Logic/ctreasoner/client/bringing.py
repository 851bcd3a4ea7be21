"""DICOM segmentations and contours as an answer of a conversation. Runs in the engine's process alone."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..events import Event, Started, Warning_
from .exporting import source_of

if TYPE_CHECKING:
    from ..geometry import Volume

FILE = "imported.json"      # beside the turns: what the export of an imported object says again


def import_events(path: Path, volume: Volume, source: str | Sequence[str], workspace: Path, answer: str) -> Iterator[Event]:
    """Yield the findings of DICOM objects about a CT as an answer; masks and what an export needs go to the workspace.

    Parameters
    ----------
    source : where the CT was read from, a folder or the very files; "" where that is not known.

    Raises
    ------
    InputError : as `dicom.read_findings`.
    """
    from ..exporting import imported_facts
    from ..importing import events_of, read_objects

    if not path.exists():
        raise InputError(f"There is no file or folder '{path.name}'.", code="CTR-IO-001")
    with tempfile.TemporaryDirectory(dir=workspace) as gathered:
        place, _ = source_of(source or volume.source, Path(gathered))
        objects, notes = read_objects(path, volume, place)
    facts = {f"{answer}.o{n}": imported_facts(item) for n, item in enumerate(objects, start=1)}
    _write({**facts_of(workspace), **facts}, workspace / FILE)
    seq = 0
    for event in events_of(objects, volume, workspace, answer):
        yield replace(event, seq=seq)
        seq += 1
        if isinstance(event, Started):
            for note in notes:
                yield Warning_(answer=answer, seq=seq, t=event.t, code="import", sentence=note)
                seq += 1


def facts_of(workspace: Path) -> dict[str, Any]:
    """Return {object id: what `exporting.imported_facts` said} of all that was imported into a conversation."""
    path = workspace / FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _write(facts: Mapping[str, Any], path: Path) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(facts), encoding="utf-8")
    os.replace(part, path)
