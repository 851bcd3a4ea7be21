"""How an expert's process talks: one job as JSON on stdin, JSON lines on stdout, arrays as .npy files beside the job.

Runs in the expert's own Python: standard library and numpy alone.
"""

from __future__ import annotations

import json
import os
import sys
import traceback


class Refused(Exception):
    """What a person is told, in one sentence."""


def run(check, segment) -> int:
    """Read a job, do it with ``check(job)`` or ``segment(job, tell)``, and say what came of it.

    ``segment`` returns labels [x, y, z] (uint8 or uint16) on the grid of the job's image. Whatever the expert's package prints goes
    to stderr.
    """
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    def tell(**content) -> None:
        out.write(json.dumps(content) + "\n")
        out.flush()

    try:
        job = json.loads(sys.stdin.readline())
        if job["do"] == "check":
            tell(reply="checked", **check(job))
        else:
            import numpy as np

            np.save(job["result"], segment(job, tell), allow_pickle=False)
            tell(reply="segmented")
    except Refused as refused:
        tell(reply="refused", sentence=str(refused))
    except MemoryError:
        tell(reply="refused", sentence="It ran out of memory.")
    except Exception as error:
        traceback.print_exc()
        tell(reply="refused", sentence=f"It stumbled: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
    return 0


def load_weights(path: str, allowed=()):
    """What ``torch.load`` gives for a file of weights that holds tensors and plain values alone (and the types in `allowed`).

    A file that needs more than that would run code when it is read: it is refused, without exception.
    """
    import torch

    try:
        with torch.serialization.safe_globals(list(allowed)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:      # what torch and its reader raise for a damaged or a hostile file is of many types
        name = os.path.basename(path)
        raise Refused(f"{name} is damaged, or a pickle that holds more than tensors; nothing in it was run.") from error
