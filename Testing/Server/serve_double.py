"""A server whose engine is a double, as a program: `serve_double.py DATA JSON`, where JSON holds limits and settings to change."""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from ctreasoner.server.cli import run
from ctreasoner.server.settings import Limits, Settings

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "Unit"))
FACTORY = f"{HERE / 'server_doubles.py'}:Patient"


def main(data: str, changes: str) -> None:
    asked = json.loads(changes)
    if "file_bytes" in asked:  # as a full disk: no file may grow further
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked.pop("file_bytes"), resource.RLIM_INFINITY))
    limits = Limits(**asked.pop("limits", {}))
    paths = {name: Path(asked.pop(name)) for name in ("tls_cert", "tls_key") if name in asked}
    if "password_file" in asked.get("access", {}):
        asked["access"]["password_file"] = Path(asked["access"]["password_file"])
    worker = tuple(asked.pop("worker", ("--factory", FACTORY)))
    run(Settings(data=Path(data), limits=limits, worker=worker, **paths, **asked))


if __name__ == "__main__":
    main(*sys.argv[1:])
