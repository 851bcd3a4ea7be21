"""Pythons on this machine, and whether one of them can run the engine or make an environment for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .environment import LOGIC, child_environment
from .packages import engine_packages

OLDEST, NEWEST = (3, 11), (3, 13)      # numpy 2.4 and transformers 5.23 begin at 3.11; nothing newer was tried
PROBE_S = 30.0
NAMES = ("python3.12", "python3.11", "python3.13", "python3", "python")
# package -> the module that it brings, where that is not its name in lower case
MODULES = {"SimpleITK": "SimpleITK", "pynrrd": "nrrd", "pillow": "PIL", "pyjpegls": "jpeg_ls", "pylibjpeg-openjpeg": "openjpeg",
           "pylibjpeg-rle": "rle"}
PROBE = """
import importlib.util as u, json, sys
def has(name):
    try:
        return u.find_spec(name) is not None
    except (ImportError, ValueError):
        return False
lacking = [name for name in sys.argv[1:] if not has(name)]
print(json.dumps({"version": list(sys.version_info[:3]), "wide": sys.maxsize > 2**32, "lacking": lacking}))
"""


@dataclass(frozen=True)
class Python:
    """An interpreter that was asked about itself.

    problem : why it cannot be used for what it was asked for, one sentence; "" where it can.
    """

    path: str
    version: tuple[int, ...] = ()
    problem: str = ""
    lacking: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"Python {'.'.join(map(str, self.version))} ({self.path})" if self.version else self.path


def environment_python(folder: Path) -> Path:
    """Return the interpreter of a virtual environment."""
    return folder / "Scripts" / "python.exe" if os.name == "nt" else folder / "bin" / "python"


def check_engine_python(path: str | os.PathLike, environment: Mapping[str, str] | None = None) -> Python:
    """Return what a Python that a person points to (or the folder of an environment) lacks to run the engine.

    Starts a program: call it on a thread (`Installer.check` does).
    """
    path = Path(path).expanduser()
    path = environment_python(path) if path.is_dir() else path
    modules = {MODULES.get(p.name, p.name.replace("-", "_").lower()): p.name for p in engine_packages()}
    found = _probe(str(path), environment, list(modules))
    if found.problem or not found.lacking:
        return found
    names = ", ".join(modules[m] for m in found.lacking)
    return Python(found.path, found.version, f"This Python lacks {names}.", tuple(modules[m] for m in found.lacking))


def find_python(environment: Mapping[str, str] | None = None, *, avoid: Iterable[str | os.PathLike] = ()) -> Python | None:
    """Return a Python of this machine that can make an environment for the engine, or None.

    environment : that in which the host program was started: its PATH is searched. avoid : folders of Pythons that are no
    foundation, Slicer's own above all. Starts programs: call it on a thread.
    """
    avoided, seen = [os.path.realpath(a) for a in avoid], set()
    for program in _candidates(environment):
        real = os.path.realpath(program)
        if real not in seen and not any(Path(real).is_relative_to(a) for a in avoided):
            seen.add(real)
            found = maker_python(program, environment)
            if not found.problem:
                return found
    return None


def _candidates(environment: Mapping[str, str] | None) -> Iterator[str]:
    """Yield programs that may be Pythons: on the PATH, and where installers put them that change no PATH."""
    where = child_environment(environment)
    folders = where.get("PATH", where.get("Path", "")).split(os.pathsep)
    versions = ("3.12", "3.11", "3.13")
    if os.name == "nt":
        homes = (("LOCALAPPDATA", ("Programs", "Python")), ("ProgramFiles", ()))
        bases = [Path(where[name], *rest) for name, rest in homes if where.get(name)]
        folders += [str(base / f"Python{v.replace('.', '')}") for base in bases for v in versions]
    elif sys.platform == "darwin":      # what a double click starts has a bare PATH; /usr/bin/python3 may ask to be installed
        folders = [f for f in folders if f != "/usr/bin"] + ["/opt/homebrew/bin", "/usr/local/bin"]
        folders += [f"/Library/Frameworks/Python.framework/Versions/{v}/bin" for v in versions]
    for name in NAMES:
        for folder in folders:
            program = shutil.which(name, path=folder) if folder else None
            if program:
                yield program


def maker_python(path: str | os.PathLike, environment: Mapping[str, str] | None = None) -> Python:
    """Return whether a Python can make virtual environments."""
    found = _probe(str(path), environment, ["venv", "ensurepip"])
    if found.problem or not found.lacking:
        return found
    return Python(found.path, found.version, "This Python cannot make virtual environments (Debian, Ubuntu: apt-get install "
                  "python3-venv).", found.lacking)


def _probe(path: str, environment: Mapping[str, str] | None, modules: list[str]) -> Python:
    try:
        done = subprocess.run([path, "-c", PROBE, *modules], env=child_environment(environment, PYTHONPATH=str(LOGIC)),
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace",
                              timeout=PROBE_S, check=False, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
        facts = json.loads(done.stdout.strip().splitlines()[-1])
        version = tuple(int(n) for n in facts["version"])
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError, KeyError, TypeError):
        return Python(path, problem=f"{Path(path).name} does not start as a Python.")
    if not facts["wide"]:
        return Python(path, version, "This Python has 32 bits; the engine needs one with 64.")
    if not OLDEST <= version[:2] <= NEWEST:
        return Python(path, version, f"This is Python {'.'.join(map(str, version))}; the engine needs "
                      f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}.")
    return Python(path, version, lacking=tuple(facts["lacking"]))
