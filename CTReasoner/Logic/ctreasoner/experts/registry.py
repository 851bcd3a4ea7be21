"""Which experts there are: the user's file and the entry points of installed packages, in the user's order."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from ..answer import write_json
from .protocol import Expert, ExpertError

GROUP = "ctreasoner.experts"
PLACE = "CTREASONER_EXPERTS"        # environment variable: another file than the usual one
VERSION = 1


def place() -> Path:
    """The user's file."""
    if os.environ.get(PLACE):
        return Path(os.environ[PLACE])
    base = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return Path(base or Path.home() / ".config") / "ctreasoner" / "experts.json"


def read() -> dict[str, Any]:
    """Content of the user's file: {"v", "use": "ask" or "always", "experts": [...]}; empty where there is none."""
    path = place()
    if not path.is_file():
        return {"v": VERSION, "use": "ask", "experts": []}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        good = content["v"] == VERSION and content["use"] in ("ask", "always") and all(
            isinstance(e["name"], str) and isinstance(e["kind"], str) for e in content["experts"])
        if not good:
            raise ValueError("not a list of experts")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ExpertError(f"The list of experts {path.name} cannot be read.", code="CTR-EXP-001",
                          hint="Remove the file and add the experts anew: ctreasoner experts add.") from error
    return content


def write(content: Mapping[str, Any]) -> None:
    place().parent.mkdir(parents=True, exist_ok=True)
    write_json(content, place())


def experts() -> tuple[list[Expert], list[str]]:
    """(every expert that can be used, one sentence for each that cannot), the user's file first, in its order."""
    found, problems = [], []
    try:
        entries = read()["experts"]
    except ExpertError as error:
        return [], [str(error)]
    for entry in entries:
        try:
            found.append(made(entry))
        except ExpertError as error:
            problems.append(f"{entry['name']}: {error}")
    for point in entry_points(group=GROUP):
        try:
            found.append(point.load()())
        except Exception as error:      # a foreign package: whatever it raises, the others stay usable
            problems.append(f"{point.name}: it cannot be loaded: {type(error).__name__}.")
    return found, problems


def made(entry: Mapping[str, Any]) -> Expert:
    """The expert of an entry of the user's file."""
    from .foreign import KINDS, ForeignExpert

    if entry["kind"] not in KINDS:
        raise ExpertError(f"There is no kind of expert called '{entry['kind']}'.", code="CTR-EXP-002",
                          hint=f"There are {', '.join(KINDS)}.")
    return ForeignExpert(entry)


def always() -> bool:
    """Whether the user wants experts to be used without being asked."""
    try:
        return read()["use"] == "always"
    except ExpertError:
        return False
