"""``ctreasoner bench``: one table of times and memory, and the same as JSON.

Everything is measured in child processes, one for each purpose, so that peak memory and cold starts are what a user gets.
The volume is the demo's CT, its slices interpolated to 300, 600 and 1200: the same body, twice and four times the voxels.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from ..answer import write_json
from ..demo import demo_ct
from ..errors import CTReasonerError
from ..reasoner import model_folder
from ..version import __version__
from .machine import busy_cores, paused, processor_name, require_idle
from .table import print_table, rows_of

SLICES = (300, 600, 1200)


def main(argv: list[str]) -> int:
    """Run the bench with command-line arguments; returns the exit code."""
    options = _parser().parse_args(argv)
    folder = model_folder(options.model)
    ct = options.ct or demo_ct(_say)
    with paused(_say) as stopped:
        busy = busy_cores()
        if not options.even_if_busy:
            require_idle(busy)
        result = measure_all(ct, folder, options)
    result["machine"] |= {"busy_cores_before": round(busy, 2), "paused": stopped}
    out = options.out or Path("bench") / "bench.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, out)
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        print_table(result)
        _say(f"JSON: {out}")
    return 0


def measure_all(ct: Path, model: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return every measurement, one child process after the other."""
    threads = options.threads
    result: dict[str, Any] = {"v": 1, "ctreasoner": __version__, "machine": {
        "processor": processor_name(), "cores": os.cpu_count(), "threads": threads, "python": platform.python_version()}}
    with tempfile.TemporaryDirectory(prefix="ctreasoner-bench-") as scratch:
        common = {"model": str(model), "ct": str(ct), "threads": threads, "scratch": scratch}
        result["import"] = child("imports", {}, threads)
        result["model_load"] = child("model_load", common, threads)
        _say(f"a volume of {options.slices[0]} slices")
        nifti = child("write_volume", {**common, "slices": options.slices[0]}, threads)["path"]
        result["cold"] = child("cold", {**common, "path": nifti}, threads)
        result["warm"] = []
        for slices in options.slices:
            _say(f"one object, {slices} slices")
            result["warm"].append(child("warm", {**common, "slices": slices, "repeats": options.repeats}, threads))
        _say("all objects of tier A and B")
        result["all_objects"] = child("all_objects", {**common, "slices": options.slices[0]}, threads)
        _say("floating point operations of one answer")
        result["flops"] = child("flops", {**common, "slices": options.slices[0]}, threads)
        if options.rival:
            _say("the sliding window of a plain 3D U-Net")
            result["rival"] = child("rival", {"patches": options.patches, "threads": threads,
                                               "extent_mm": result["warm"][0]["extent_mm"]}, threads)
    result["rows"] = rows_of(result)
    return result


def child(name: str, arguments: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run one measurement in a fresh interpreter and return what it printed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false",
                   **{key: str(threads) for key in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).resolve().parents[2]), *filter(None, [environment.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "ctreasoner.bench.measure", name, json.dumps(arguments)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise CTReasonerError(f"The measurement '{name}' stopped with code {done.returncode}; its own message stands above.",
                              code="CTR-BEN-002")
    return json.loads(done.stdout.splitlines()[-1])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ctreasoner bench", description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="compact", help="a model that ships, or the folder of another")
    parser.add_argument("--ct", type=Path, help="another CT than the demo's")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="CPU threads (default: all cores)")
    parser.add_argument("--slices", type=lambda t: tuple(int(n) for n in t.split(",")), default=SLICES,
                        help="slice counts, the first one for all that is measured once (default 300,600,1200)")
    parser.add_argument("--repeats", type=int, default=3, help="answers per volume; the median counts")
    parser.add_argument("--patches", type=int, default=3, help="patches of the U-Net that are timed; the median counts")
    parser.add_argument("--no-rival", dest="rival", action="store_false", help="leave the U-Net out")
    parser.add_argument("--even-if-busy", action="store_true", help="measure although other programs run")
    parser.add_argument("--out", type=Path, help="where the JSON goes (default bench/bench.json)")
    parser.add_argument("--json", action="store_true", help="print the JSON instead of the table")
    return parser


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
