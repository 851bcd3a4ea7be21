"""`ctreasoner batch` with a double of the engine: ``python batch_double.py INPUT --ask ... --out DIR``.

The environment says how it behaves: with CTREASONER_DOUBLE_UNITS no answer begins once so many units are whole (it waits to be
killed, however slow the machine is); a CT whose name holds "deadly" ends the process.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Unit"))
import numpy as np
from ctreasoner import cli
from ctreasoner.batch import pipeline, worker
from fake_engine import FakeEngine, phantom_volume


def write_cts(folder: Path, count: int) -> Path:
    """Write phantoms that differ in size of the heart, and a file that is cut off."""
    import nibabel

    folder.mkdir(parents=True)
    for n in range(count):
        volume = phantom_volume()
        voxels = np.array(volume.voxels)
        voxels[0, 0, 0] += n
        voxels[: 7 + n % 3][voxels[: 7 + n % 3] == 60] = 0
        nibabel.save(nibabel.Nifti1Image(voxels, volume.affine), folder / f"ct{n:02d}.nii.gz")
    (folder / "broken.nii.gz").write_bytes((folder / "ct00.nii.gz").read_bytes()[:200])
    return folder


class DoubleEngine(FakeEngine):
    """Counts its answers, and stops where it is told to."""

    asked = 0

    def __init__(self, out: Path) -> None:
        super().__init__()
        self.out = out

    def register(self, volume):
        self.answers = 0
        return super().register(volume)

    def forget(self, identity: str) -> None:
        self.volumes.pop(identity, None)

    def answer(self, request, workspace=None):
        volume = self.volumes[request.volume]
        if "deadly" in volume.name:
            os._exit(9)
        self.asked += 1
        most = int(os.environ.get("CTREASONER_DOUBLE_UNITS", "-1"))
        while most >= 0 and len(list(self.out.glob("cases/*/unit.json"))) >= most:
            time.sleep(0.05)
        yield from super().answer(request, workspace)


class DoubleWorker(worker.Worker):
    def load(self):
        return DoubleEngine(self.job.out)


def main(arguments: list[str]) -> None:
    """Run the verb with the double in the worker's place."""
    pipeline.process.__kwdefaults__["worker"] = DoubleWorker
    cli.main(["batch", *arguments])


if __name__ == "__main__":
    from batch_double import main as main_by_name  # so that Ray's processes find the class in a module

    main_by_name(sys.argv[1:])
