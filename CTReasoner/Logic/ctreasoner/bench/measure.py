"""The measurements, each run in a process of its own: ``python -m ctreasoner.bench.measure NAME JSON``.

Wall seconds are perf_counter, CPU seconds process time (all threads), memory the peak resident size of the process.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..events import Click, Options, Request
from ..geometry import Volume
from .dicom import dicom_export

QUESTION, OTHER_QUESTION = "Segment the aorta.", "Segment the heart."


def imports(_: dict) -> dict[str, Any]:
    """Time ``import ctreasoner`` in five fresh interpreters; the interpreter's own start is left out."""
    code = ("import time; w, c = time.perf_counter(), time.process_time(); import ctreasoner; import sys; "
            "print(time.perf_counter() - w, time.process_time() - c, 'torch' in sys.modules)")
    command = [sys.executable, "-c", code]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() for _ in range(5)]
    return {"wall_s": statistics.median(float(r[0]) for r in runs), "cpu_s": statistics.median(float(r[1]) for r in runs),
            "torch": any(r[2] == "True" for r in runs)}


def model_load(given: dict) -> dict[str, Any]:
    """Time the import of the engine (torch and transformers included) and the loading of the weights."""
    clock = _Clock()
    engine = _engine(given)
    loaded = clock.read()
    del engine
    clock = _Clock()
    _engine(given)
    return {**loaded, "again": clock.read(), "peak_memory_mb": _peak()}


def write_volume(given: dict) -> dict[str, Any]:
    """Write the volume as an uncompressed NIfTI file, for the cold start."""
    import nibabel

    volume = _volume(given)
    path = Path(given["scratch"]) / "volume.nii"
    nibabel.save(nibabel.Nifti1Image(np.asarray(volume.voxels), volume.affine), path)
    return {"path": str(path), "megabytes": path.stat().st_size / 1e6}


def cold(given: dict) -> dict[str, Any]:
    """Time the command line itself, from the start of its process to each event that it prints."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "ctreasoner", "ask", given["path"], QUESTION, "--json", "--model", given["model"],
               "--threads", str(given["threads"])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    first: dict[str, float] = {}
    for line in process.stdout:
        first.setdefault(json.loads(line)["type"], time.perf_counter() - start)
    process.wait()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {"first_event_s": first, "first_look_s": first.get("Look"), "first_answer_s": first.get("Done"),
            "exit_code": process.returncode, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_memory_mb": usage.ru_maxrss / 1024}


def warm(given: dict) -> dict[str, Any]:
    """Time a first question about a new scan, a second one about another object, and clicks on its answer; model warm.

    Every repeat is about a scan that the engine has not seen (one voxel differs), so that no cache helps but the
    whole-scan view of the same scan.
    """
    engine, volume = _engine(given), _volume(given)
    new_scan, second, clicks = [], [], []
    for number in range(given["repeats"] + 1):          # the first round warms up and is not counted
        identity = engine.register(_variant(volume, number))
        conversation = f"bench{number}"
        new_scan.append(timed(engine, Request(volume=identity, text=OTHER_QUESTION, conversation=conversation)))
        second.append(timed(engine, Request(volume=identity, text=QUESTION, conversation=conversation)))
        clicks.append(_click(engine, identity, conversation, second[-1]))
    lo, hi = volume.extent_ras()
    return {"slices": volume.shape[2], "shape": list(volume.shape), "spacing_mm": volume.spacing.tolist(),
            "extent_mm": (hi - lo).tolist(), "new_scan": _median(new_scan[1:]), "second_question": _median(second[1:]),
            "click": _median([c for c in clicks[1:] if c]), "peak_memory_mb": _peak()}


def all_objects(given: dict) -> dict[str, Any]:
    """Time one question for every object of tier A and B, about a new scan with a warm model."""
    from ..vocabulary import Vocabulary

    vocabulary = Vocabulary.load()
    items = [vocabulary.get(key) for key in vocabulary.keys()]  # noqa: SIM118
    wanted = [item for item in items if item.tier in "AB" and not item.clickable_only]
    engine, volume = _engine(given), _volume(given)
    timed(engine, Request(volume=engine.register(_variant(volume, 1)), text=OTHER_QUESTION))
    request = Request(volume=engine.register(volume), text="Segment " + ", ".join(item.display for item in wanted) + ".",
                      options=Options(max_objects=len(wanted)))
    return {**timed(engine, request), "asked": len(wanted), "peak_memory_mb": _peak()}


def flops(given: dict) -> dict[str, Any]:
    """Count the floating point operations of one warm answer with torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    engine, volume = _engine(given), _volume(given)
    identity = engine.register(volume)
    timed(engine, Request(volume=identity, text=OTHER_QUESTION))
    with FlopCounterMode(display=False) as counter:
        timed(engine, Request(volume=identity, text=QUESTION))
    return {"answer": float(counter.get_total_flops())}


def rival(given: dict) -> dict[str, Any]:
    """Time a plain U-Net on patches of 128^3 and compute its sliding window over the same extent at 1.5 mm."""
    import torch
    from monai.networks.nets import DynUNet
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(given["threads"])
    network = DynUNet(spatial_dims=3, in_channels=1, out_channels=14, kernel_size=[3] * 6, strides=[1, 2, 2, 2, 2, 2],
                      upsample_kernel_size=[2] * 5, filters=[32, 64, 128, 256, 320, 320]).eval()
    patch = torch.randn(1, 1, 128, 128, 128)
    walls, cpus = [], []
    with torch.inference_mode():
        network(patch)                                  # warm
        for _ in range(max(3, given["patches"])):
            clock = _Clock()
            network(patch)
            read = clock.read()
            walls.append(read["wall_s"])
            cpus.append(read["cpu_s"])
        with FlopCounterMode(display=False) as counter:
            network(patch)
    count = patches_of(given["extent_mm"])
    wall, cpu, work = statistics.median(walls), statistics.median(cpus), float(counter.get_total_flops())
    return {"patch": {"wall_s": wall, "cpu_s": cpu, "flops": work, "timed": len(walls)}, "patches": count,
            "wall_s": wall * count, "cpu_s": cpu * count, "flops": work * count, "peak_memory_mb": _peak(),
            "parameters": sum(p.numel() for p in network.parameters())}


def patches_of(extent_mm: list[float], spacing_mm: float = 1.5, patch: int = 128) -> int:
    """Return how many half-overlapping patches cover an extent.

    >>> patches_of([400.0, 400.0, 300.0])
    48
    """
    voxels = [max(patch, -(-mm // spacing_mm)) for mm in extent_mm]
    return int(np.prod([-(-(n - patch) // (patch // 2)) + 1 for n in voxels]))


def timed(engine: Any, request: Request) -> dict[str, Any]:
    """Return wall and CPU seconds of an answer, when its first events came, its stages, and what it found."""
    clock, first, objects = _Clock(), {}, {}
    looks, state, stages, box = 0, "open", {}, None
    with tempfile.TemporaryDirectory() as workspace:
        for event in engine.answer(request, workspace=Path(workspace)):
            first.setdefault(event.type, clock.read()["wall_s"])
            looks += event.type == "Look"
            if event.type == "Existence":
                objects[event.object] = event.state
            elif event.type == "Box":
                box = list(event.centre_ras)
            elif event.type in ("Done", "Failed", "Cancelled"):
                state, stages = event.type, dict(getattr(event, "timings_s", None) or {})
    return {**clock.read(), "first_event_s": first, "stages_s": stages, "looks": looks, "state": state, "objects": objects,
            "centre_ras": box}


class _Clock:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {"wall_s": time.perf_counter() - self._wall, "cpu_s": time.process_time() - self._cpu}


def _click(engine: Any, identity: str, conversation: str, answered: dict) -> dict[str, Any] | None:
    """Time a click near the middle of the object that was found, or None where none was."""
    present = [key for key, state in answered["objects"].items() if state == "present"]
    if not present or answered["centre_ras"] is None:
        return None
    click = Click(point_ras=tuple(answered["centre_ras"]), target=present[0])
    return timed(engine, Request(volume=identity, clicks=(click,), target=present[0], conversation=conversation))


def _median(runs: list[dict]) -> dict[str, Any] | None:
    """Return the run whose wall time is the median one (the lower of two)."""
    return sorted(runs, key=lambda r: r["wall_s"])[(len(runs) - 1) // 2] if runs else None


def _engine(given: dict) -> Any:
    from ..engine import Engine

    return Engine.from_pretrained(given["model"], threads=given["threads"])


def _volume(given: dict) -> Volume:
    """Return the CT with its slices interpolated linearly to the wanted number."""
    from ..reasoner import load_volume

    volume = load_volume(given["ct"])
    count, slices = given["slices"], volume.shape[2]
    at = np.linspace(0, slices - 1, count)
    below = np.minimum(at.astype(int), slices - 2)
    voxels = np.empty((*volume.shape[:2], count), np.int16, order="F")
    for k in range(count):
        share = np.float32(at[k] - below[k])
        voxels[:, :, k] = np.rint(volume.voxels[:, :, below[k]] * (1 - share) + volume.voxels[:, :, below[k] + 1] * share)
    affine = np.array(volume.affine)
    affine[:3, 2] *= (slices - 1) / (count - 1)
    return Volume(voxels, affine, name=f"{count} slices")


def _variant(volume: Volume, number: int) -> Volume:
    """Return the same scan under another identity: the affine moved by a hair, the voxels shared."""
    affine = np.array(volume.affine)
    affine[2, 3] += 0.001 * number
    return Volume(volume.voxels, affine, name=volume.name)


def _peak() -> float:
    """Return the peak resident memory of this process in MB (2^20 bytes)."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


MEASUREMENTS = {f.__name__: f for f in (imports, model_load, write_volume, cold, warm, all_objects, flops, rival, dicom_export)}


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(json.dumps(MEASUREMENTS[sys.argv[1]](json.loads(sys.argv[2]))))
