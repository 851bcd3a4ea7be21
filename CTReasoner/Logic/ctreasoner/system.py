"""Say which system library or program is missing, and which package brings it: ``python -m ctreasoner.system engine|dev``."""

from __future__ import annotations

import importlib
import re
import shutil
import sys

IMPORTS = {
    "engine": ("torch", "SimpleITK", "scipy.ndimage", "nibabel", "pydicom"),
    "dev": ("vtkmodules.vtkCommonCore", "vtkmodules.vtkRenderingOpenGL2", "PyQt5.QtWidgets"),
}
PROGRAMS = {"engine": (), "dev": ("dciodvfy", "Orthanc")}

# Debian and Ubuntu; other distributions carry them under like names.
PACKAGE_OF = {
    "libGL": "libgl1",
    "libEGL": "libegl1",
    "libOpenGL": "libopengl0",
    "libX11": "libx11-6",
    "libXrender": "libxrender1",
    "libXext": "libxext6",
    "libXt": "libxt6",
    "libSM": "libsm6",
    "libICE": "libice6",
    "libfontconfig": "libfontconfig1",
    "libfreetype": "libfreetype6",
    "libglib-2.0": "libglib2.0-0",
    "libgthread-2.0": "libglib2.0-0",
    "libgomp": "libgomp1",
    "libstdc++": "libstdc++6",
    "libz": "zlib1g",
    "dciodvfy": "dicom3tools",
    "Orthanc": "orthanc orthanc-dicomweb",
}


def explain(error: ImportError, module: str) -> str:
    """Return one sentence about a failed import: the missing library and the package that holds it."""
    found = re.search(r"((lib[\w.+-]+?)\.so[.\d]*): cannot open shared object", str(error))
    if not found:
        return f"{module} does not load: {error}."
    package = PACKAGE_OF.get(found[2])
    advice = f"install the package {package} (Debian, Ubuntu: apt-get install {package})" if package else "install it"
    return f"{module} needs the system library {found[1]}: {advice}."


def missing(group: str) -> list[str]:
    """Return a sentence for every system library or program that the group lacks here."""
    sentences = []
    for module in IMPORTS[group]:
        try:
            importlib.import_module(module)
        except ImportError as error:
            sentences.append(explain(error, module))
    for program in PROGRAMS[group]:
        if shutil.which(program) is None:
            package = PACKAGE_OF[program]
            sentences.append(f"The program {program} is missing: apt-get install {package}. Tests that need it are left out.")
    return sentences


def main(argv: list[str]) -> int:
    """Print what is missing. Returns 1 where a library is missing; a missing program only takes its tests away."""
    sentences = missing(argv[0] if argv else "engine")
    for sentence in sentences:
        print(sentence, file=sys.stderr)  # noqa: T201 (this is a program)
    return int(any("The program" not in sentence for sentence in sentences))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
