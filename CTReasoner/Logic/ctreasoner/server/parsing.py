"""A foreign file is read in a process of its own, with limits on memory, time and what it may write.

`python -m ctreasoner.server.parsing FILE OUT` writes OUT.npy (HU [i, j, k]) and prints one JSON object: facts, or a problem.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from ..client.environment import LOGIC, child_environment
from ..errors import CTReasonerError, ResourceError, error_of
from .problems import Refused

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")  # each takes address space
SAYS = 1 << 20  # bytes of a child's answer that are read


async def parse(file: Path, out: Path, *, most_bytes: int, most_s: float) -> dict[str, Any]:
    """Return {identity, affine, shape, spacing_mm, dicom, notes} of the CT in `file`; its voxels then lie in `out`.

    Raises
    ------
    CTReasonerError : what reading raises, or Refused (CTR-SRV-014) where the limits were not enough.
    """
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "ctreasoner.server.parsing",
        str(file),
        str(out),
        str(most_bytes),
        str(int(most_s)),
        env=child_environment(PYTHONPATH=str(LOGIC), **THREADS),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        said = await asyncio.wait_for(child.stdout.read(SAYS), most_s)
        await asyncio.wait_for(child.wait(), most_s)
    except TimeoutError:
        raise _beyond(f"it takes more than {most_s:.0f} seconds to read") from None
    finally:
        if child.returncode is None:  # the time is over, or the server stops
            os.killpg(child.pid, signal.SIGKILL)
            await child.wait()
    try:
        facts = json.loads(said)
    except ValueError:
        raise _beyond("reading it needed more than the memory or time that is allowed, or crashed") from None
    if "code" in facts:
        raise error_of(facts)
    return facts


def _beyond(why: str) -> Refused:
    return Refused(422, f"The file was refused: {why}.", code="CTR-SRV-014", hint="Send one CT series.")


def _read(file: Path, out: Path) -> dict[str, Any]:
    import numpy as np

    from ..dicom import is_dicom
    from ..io import read_volume

    volume = read_volume(file)
    try:
        np.save(out, volume.voxels)
    except OSError as error:
        raise ResourceError(
            "The CT could not be written to the server's disk.",
            code="CTR-RES-001",
            hint="Ask who runs the server to free some space.",
        ) from error
    return {
        "identity": volume.identity,
        "affine": volume.affine.tolist(),
        "shape": list(volume.shape),
        "notes": list(volume.notes),
        "spacing_mm": [float(s) for s in volume.spacing],
        "dicom": is_dicom(file),
    }


def _limit(most_bytes: int, most_s: int) -> None:
    """Let the system end this process where it takes too much. On Windows the time limit of `parse` alone holds."""
    if os.name != "posix":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (most_s, most_s + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))


def main(arguments: list[str]) -> int:
    file, out, most_bytes, most_s = Path(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3])
    _limit(most_bytes, most_s)
    try:
        facts = _read(file, out)
    except CTReasonerError as error:
        facts = {"code": error.code, "sentence": str(error), "hint": error.hint}
    except MemoryError:
        facts = {"code": "CTR-RES-002", "sentence": "Reading the file needs more memory than is allowed.", "hint": ""}
    print(json.dumps(facts))  # noqa: T201 (this is the result)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
