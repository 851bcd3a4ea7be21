"""The environment variables of a Python that is not the one that runs this."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

LOGIC = Path(__file__).resolve().parents[2]     # the folder that holds the package

# Inside Slicer these name Slicer's own Python; another interpreter started with them fails at once.
FOREIGN = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONUSERBASE", "PYTHONPLATLIBDIR",
           "__PYVENV_LAUNCHER__", "VIRTUAL_ENV")


def child_environment(environment: Mapping[str, str] | None = None, **changes: str) -> dict[str, str]:
    """Return the environment for a child Python.

    environment : that in which the host program was started (inside Slicer give `slicer.util.startupEnvironment()`); None: this
    process's own. Nothing of the host's Python is left in it, and text is UTF-8 whatever the locale says.
    """
    kept = {k: v for k, v in (os.environ if environment is None else environment).items() if k.upper() not in FOREIGN}
    return {**kept, "PYTHONUTF8": "1", "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **changes}
