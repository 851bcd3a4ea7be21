"""Other people's programs look at the DICOM objects that we write: dciodvfy (dicom3tools) and dcmqi's readers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

WARNINGS = Path(__file__).with_name("dciodvfy_warnings.tsv")


def known_warnings() -> list[tuple[re.Pattern, str]]:
    """Return (pattern of a warning, the clause of the standard by which it may stand) of the checked-in list."""
    rows = [line.split("\t") for line in WARNINGS.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return [(re.compile(pattern), clause) for pattern, clause in rows]


def complaints(path: Path) -> list[str]:
    """Return every error that dciodvfy finds, and every warning that is not in the list."""
    done = subprocess.run([shutil.which("dciodvfy"), path], capture_output=True, text=True, timeout=120, errors="replace")
    lines = (done.stdout + done.stderr).splitlines()
    known = known_warnings()
    return [line for line in lines if line.startswith("Error")] + [
        line for line in lines if line.startswith("Warning") and not any(pattern.search(line) for pattern, _ in known)]


def dcmqi(program: str, *arguments: object) -> subprocess.CompletedProcess:
    """Run one of dcmqi's programs; it must succeed."""
    call = [Path(sys.executable).parent / program, *map(str, arguments)]
    return subprocess.run(call, check=True, capture_output=True, timeout=120)
