"""`make bench-batch`: a batch against the same CTs one after another, killed and begun anew, and how Ray scales.

    python Testing/Batch/bench_batch.py speed       24 CTs: `ctreasoner batch` against one process that does them in turn
    python Testing/Batch/bench_batch.py kill        the same batch, killed five times with SIGKILL
    python Testing/Batch/bench_batch.py scale       2,000 units on a Ray cluster of four nodes, the engine replaced by a sleep

The CTs are 24 crops of the demo's.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "bench-batch"
QUESTION = "Segment the heart, the trachea, the oesophagus and the aorta"
CTS = 24
CROP = (424, 384)       # voxels in the plane of the demo's 512 x 512; each crop begins elsewhere


def the_cts(count: int) -> Path:
    """Crops of the demo's CT, packed; made once."""
    import nibabel
    import numpy as np
    from ctreasoner.demo import demo_ct

    folder = BUILD / f"cts-{count}"
    if folder.is_dir():
        return folder
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    whole = nibabel.load(demo_ct())
    voxels = np.asarray(whole.dataobj).astype(np.int16)
    for n in range(count):
        first = (40 + 2 * (n % 8), 90 + 3 * (n // 8), 0)
        crop = voxels[first[0]:first[0] + CROP[0], first[1]:first[1] + CROP[1]]
        affine = whole.affine.copy()
        affine[:3, 3] = (whole.affine @ [*first, 1])[:3]
        nibabel.save(nibabel.Nifti1Image(crop, affine), part / f"ct{n:02d}.nii.gz")
    part.rename(folder)
    return folder


def command(cts: Path, out: Path, workers: int) -> list[str]:
    return [sys.executable, "-m", "ctreasoner", "batch", str(cts), "--ask", QUESTION, "--out", str(out), "--workers", str(workers)]


def measured(arguments: list[str], **environment: str) -> float:
    began = time.perf_counter()
    subprocess.run(arguments, check=True, env=os.environ | environment)
    return time.perf_counter() - began


# --- speed -----------------------------------------------------------------------------------------------------------
def speed(count: int, workers: int) -> None:
    cts = the_cts(count)
    took = {}
    for name, arguments in {
        "one after another": [sys.executable, __file__, "in-turn", "--cts", str(count)],
        "batch": command(cts, fresh("batch"), workers),
    }.items():
        print(f"load before '{name}': {os.getloadavg()[0]:.2f}", flush=True)
        took[name] = measured(arguments)
        print(f"{name}: {took[name]:.1f} s for {count} CTs", flush=True)
    ratio = took["one after another"] / took["batch"]
    print(f"batch is {ratio:.2f} times faster than the same {count} CTs one after another in one process (start of both included)")
    compare(BUILD / "in-turn", BUILD / "batch")


def in_turn(count: int) -> None:
    """One process, torch's own number of threads, the very steps of a worker."""
    from ctreasoner.batch.cli import make_job
    from ctreasoner.batch.overview import write_overview
    from ctreasoner.batch.sources import find
    from ctreasoner.batch.table import write_table
    from ctreasoner.batch.worker import Worker
    from ctreasoner.engine import Engine

    class InTurn(Worker):
        def load(self):
            return Engine.from_pretrained(self.job.model)

    job = make_job(fresh("in-turn"), [QUESTION])
    sources = find(str(the_cts(count)))
    worker, outcomes = InTurn(job), {}
    for source in sources:
        outcomes[source.key] = worker.outcome(source)
    failed = {key: o for key, o in outcomes.items() if o["state"] == "failed"}
    write_table(job, sources, {key: o["unit"] for key, o in outcomes.items() if key not in failed}, failed)
    write_overview(job)
    report_stages(job.out)


def report_stages(out: Path) -> None:
    import json

    rows = [json.loads(path.read_text())["seconds"] for path in out.glob("cases/*/unit.json")]
    for stage in rows[0] if rows else ():
        print(f"  {stage}: median {statistics.median(row[stage] for row in rows):.2f} s of a CT", flush=True)


def fresh(name: str) -> Path:
    shutil.rmtree(BUILD / name, ignore_errors=True)
    return BUILD / name


def compare(one: Path, other: Path) -> None:
    """Both tables must say the same of every object, but for when and how long.

    Numbers to 1 in 100,000: threads add in another order.
    """
    import pyarrow.parquet as pq

    tables = [pq.read_table(folder / "objects.parquet").drop_columns(["created", "seconds", "checks"]).to_pylist()
              for folder in (one, other)]
    wrong = [{k: (a[k], b[k]) for k in a if not alike(a[k], b[k])} for a, b in zip(*tables, strict=False)]
    wrong = [row for row in wrong if row]
    same = len(tables[0]) == len(tables[1]) and not wrong
    said = "the same" if same else "DIFFERENT"
    print(f"{one.name} and {other.name}: {len(tables[0])} and {len(tables[1])} rows, {said}", *wrong[:1])


def alike(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-5 * max(1.0, abs(one))
    return one == other


# --- kill ------------------------------------------------------------------------------------------------------------
def kill(count: int, workers: int, times: int, seed: int) -> None:
    """SIGKILL at a random moment, by turns to the program alone and to all its processes; then the rest, then compare."""
    cts, out, whole = the_cts(count), fresh("killed"), BUILD / "in-turn"
    if not (whole / "objects.parquet").is_file():
        subprocess.run([sys.executable, __file__, "in-turn", "--cts", str(count)], check=True)
    chance, kept, redone = random.Random(seed), {}, 0
    for n in range(times):
        process = subprocess.Popen(command(cts, out, workers), start_new_session=True)
        before = len(kept)
        until_one_more(out, before, process)
        time.sleep(chance.uniform(0, 12))
        strike(process, everything=bool(n % 2))
        redone += changed(out, kept)
        print(f"killed {n + 1}: {len(kept)} of {count} units are whole", flush=True)
    subprocess.run(command(cts, out, workers), check=True)
    redone += changed(out, kept)
    again = subprocess.run([*command(cts, out, workers), "--json"], check=True, capture_output=True, text=True)
    print(f"{times} kills (seed {seed}): {len(kept)} units at the end for {count} CTs, {redone} made twice")
    print(f"a further run: {again.stdout.strip().splitlines()[-1]}")
    compare(whole, out)


def until_one_more(out: Path, before: int, process: subprocess.Popen) -> None:
    """Wait until a unit more is whole, so that kills spread over the batch and not over its start."""
    while process.poll() is None and len(list(out.glob("cases/*/unit.json"))) <= before:
        time.sleep(0.2)


def strike(process: subprocess.Popen, *, everything: bool) -> None:
    """SIGKILL, and wait until nothing of it is left that could answer (two agents of Ray's notice it after a minute)."""
    try:
        family = psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        family = []
    answering = []
    for child in family:
        with contextlib.suppress(psutil.Error):         # it may have ended meanwhile
            answering += [child] if "Agent" not in " ".join(child.cmdline()) else []
    process.send_signal(signal.SIGKILL)
    for child in family if everything else []:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            pass
    process.wait()
    _, alive = psutil.wait_procs(answering, timeout=60)
    print(f"  {'all processes' if everything else 'the program alone'} killed; left after a minute: {len(alive)}", flush=True)


def changed(out: Path, kept: dict[str, tuple]) -> int:
    """Count units that are other files than before (or gone), and take down the new ones."""
    now = {path.parent.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.glob("cases/*/unit.json")}
    wrong = sum(now.get(name) != facts for name, facts in kept.items())
    kept.update(now)
    return wrong


# --- scale -----------------------------------------------------------------------------------------------------------
def scale(units: int, seconds: float, sizes: list[int]) -> None:
    """Time of all units, from the first that ended to the last, against what a sleep alone would take."""
    from ctreasoner.batch.pipeline import process
    from ctreasoner.batch.sources import Source
    from scale_double import Sleeper, cluster, job_of

    sources = [Source(name=f"unit {n}", path=f"/nowhere/{n}") for n in range(units)]
    print(f"{units} units, each a sleep of {seconds} s; four Ray nodes on this machine; load {os.getloadavg()[0]:.2f}")
    os.environ |= {"RAY_AUTH_TOKEN": secrets.token_hex(32), "CTREASONER_SLEEP_S": str(seconds)}
    for size in sizes:
        memory, ends = [], []

        def show(outcome, progress, ends=ends, memory=memory) -> None:
            ends.append(time.monotonic())
            if progress.done in (units // 4, units):
                memory.append(scheduler_mb())

        began = time.monotonic()
        with cluster(size) as address:
            process(job_of(fresh("scale")), sources, address=address, workers=size, worker=Sleeper, show=show)
        ramp = size                 # the first wave ends with the start of the workers
        took, ideal = ends[-1] - ends[ramp - 1], (units - ramp) * seconds / size
        print(f"{size} workers: {took:.1f} s for {units - ramp} units after the first {ramp}, a sleep alone {ideal:.1f} s: "
              f"{100 * ideal / took:.1f} % of linear; start {ends[0] - began:.0f} s; memory of the program and Ray's own "
              f"processes {memory[0]} MB after a quarter, {memory[-1]} MB at the end", flush=True)


def scheduler_mb() -> int:
    """Resident memory of this program, of Ray's control service and of its node managers: whatever plans and hands out."""
    me = psutil.Process()
    planners = [p for p in me.children(recursive=True) if p.name() in ("gcs_server", "raylet")]
    return sum(p.memory_info().rss for p in (me, *planners)) >> 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=["all", "speed", "kill", "scale", "in-turn"], default="all")
    parser.add_argument("--cts", type=int, default=CTS)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--units", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=1.0, help="The engine's measured time (`speed` prints it).")
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 4, 8, 16])
    options = parser.parse_args()
    if options.what == "in-turn":
        in_turn(options.cts)
        return
    if options.what in ("all", "speed"):
        speed(options.cts, options.workers)
    if options.what in ("all", "kill"):
        kill(options.cts, options.workers, options.kills, options.seed)
    if options.what in ("all", "scale"):
        scale(options.units, options.seconds, options.sizes)


if __name__ == "__main__":
    main()
