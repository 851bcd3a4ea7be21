"""The engine's packages in Slicer's own Python: only where a person chose that, and so that nothing Slicer has is replaced."""

from __future__ import annotations

import shutil
from pathlib import Path

from slicer.i18n import tr as _

from ..client.packages import engine_packages, host_requirements, normalised, write_constraints
from ..client.plan import default_build_mb
from ..errors import CTReasonerError, InputError, Interrupted

INSTEAD = "Take the tick out and install the engine into an environment of its own."


def slicers_python() -> Path:
    """Return the program that starts Slicer's own Python (PythonSlicer). InputError (CTR-INS-001) where there is none."""
    found = shutil.which("PythonSlicer")
    if found is None:
        raise InputError(_("PythonSlicer, the program of Slicer's own Python, is not on its path."), code="CTR-INS-001",
                         hint=INSTEAD)
    return Path(found)


def plan_lines() -> list[str]:
    """Return what a person reads before anything is done. InputError as `slicers_python`."""
    python, wanted = slicers_python(), _missing()
    download, disk = default_build_mb()
    licences = {normalised(p.name): p.licence for p in engine_packages()}
    return [
        _("Python: Slicer's own ({python})").format(python=python),
        _("What Slicer has stays as it is: pip gets a list of all of it, and gives up where the engine does not go with it"),
        _("Download: up to {download} MB. On disk: up to {disk} MB").format(download=f"{download:,}", disk=f"{disk:,}"),
        _("It cannot be taken back by a click, and Slicer waits until it is done; an environment of its own has neither drawback"),
        *(f"{pin.replace('==', ' ')}: {licences[normalised(pin.partition('==')[0])]}" for pin in wanted),
    ]


def install() -> Path:
    """Add what is missing, with Slicer's own dialogs, and return the program to start the engine with.

    Raises
    ------
    Interrupted : the person declined. CTReasonerError (CTR-INS-004) : this Slicer is too old, pip gave up, or something is still
    missing. ResourceError, InputError : as `write_constraints` and `slicers_python`.
    """
    try:
        import slicer.packaging
    except ImportError as error:
        raise CTReasonerError(_("This Slicer cannot add packages with constraints: that began with 5.12."), code="CTR-INS-004",
                              hint=INSTEAD) from error
    python, wanted = slicers_python(), _missing()
    constraints = write_constraints(Path(slicer.app.temporaryPath) / "CTReasoner-constraints.txt")
    try:
        slicer.packaging.pip_ensure(wanted, constraints=str(constraints), requester="CTReasoner")
    except RuntimeError as error:
        raise Interrupted(_("Nothing was installed.")) from error
    except Exception as error:          # pip ended with an error, which its dialog has shown
        raise CTReasonerError(_("The engine's packages do not go with those of Slicer, or could not be fetched; nothing "
                                "of Slicer's was replaced."), code="CTR-INS-004", hint=INSTEAD) from error
    if wanted and not slicer.packaging.pip_check(wanted):
        raise CTReasonerError(_("Slicer's Python still lacks packages of the engine."), code="CTR-INS-004", hint=INSTEAD)
    return python


def _missing() -> list[str]:
    """Return the pins of what Slicer's Python does not have at all."""
    return [requirement for requirement in host_requirements() if "==" in requirement]
