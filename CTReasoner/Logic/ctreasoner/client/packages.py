"""Which packages the engine needs, and what must stay as it is where they go into Slicer's own Python."""

from __future__ import annotations

import importlib.metadata
import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, ResourceError
from .environment import LOGIC

REQUIREMENTS = LOGIC.parent / "Resources" / "requirements-engine.txt"
_LINE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[^\s#]+)\s*(?:#\s*(?P<licence>.*))?$")
_VERSION = re.compile(r"(\d+!)?\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?(\.dev\d+)?(\+[a-z0-9]+([._-][a-z0-9]+)*)?", re.IGNORECASE)


@dataclass(frozen=True)
class Package:
    name: str
    version: str
    licence: str = ""

    @property
    def pin(self) -> str:
        return f"{self.name}=={self.version}"


def engine_packages(path: Path = REQUIREMENTS) -> tuple[Package, ...]:
    """Return the packages of a file of pins, with their licences.

    Raises
    ------
    InputError : where it is missing or a line is no pin (CTR-INS-010): the installation of the extension is broken.
    """
    packages = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"The list of the engine's packages cannot be read: {error.strerror or error}.", code="CTR-INS-010",
                         hint="Install the extension again.") from error
    for line in (text.strip() for text in lines):
        if line and not line.startswith("#"):
            found = _LINE.match(line)
            if found is None:
                raise InputError(f"'{line}' in the list of the engine's packages is no pin.", code="CTR-INS-010",
                                 hint="Install the extension again.")
            packages.append(Package(found["name"], found["version"], (found["licence"] or "").strip()))
    return tuple(packages)


def normalised(name: str) -> str:
    """Return the one spelling of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed_packages() -> dict[str, str]:
    """Return {name: version} of all that is installed in the Python that runs this."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        if name and version and _VERSION.fullmatch(version):        # a damaged one has neither, and pip refuses odd versions
            found.setdefault(normalised(name), version)             # the first on the path is the one that is imported
    return dict(sorted(found.items()))


def write_constraints(path: str | os.PathLike) -> Path:
    """Write a pip constraints file that keeps everything installed in the Python that runs this at its version.

    With it `slicer.packaging.pip_ensure(host_requirements(), constraints=path)` can add packages to Slicer's Python, and can
    replace none.

    Raises
    ------
    ResourceError : where it cannot be written (CTR-RES-001).
    """
    path = Path(path)
    lines = [f"{name}=={version}" for name, version in installed_packages().items()]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    except OSError as error:
        raise ResourceError(f"{path.name} could not be written: {error.strerror or error}.", code="CTR-RES-001",
                            hint="Free some space or choose another folder.") from error
    return path


def host_requirements(path: Path = REQUIREMENTS) -> list[str]:
    """Return the engine's packages for the Python that runs this: what it has already by name alone, the rest pinned."""
    here = installed_packages()
    return [p.name if normalised(p.name) in here else p.pin for p in engine_packages(path)]
