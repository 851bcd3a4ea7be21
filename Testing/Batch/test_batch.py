"""The program with real Ray processes: killed, stopped, begun anew, a CT that ends its worker, a cluster of several nodes."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from batch_double import write_cts
from bench_batch import changed, strike
from conftest import QUESTION
from ctreasoner.batch.pipeline import process
from ctreasoner.batch.sources import Source
from scale_double import Sleeper, cluster, job_of

DOUBLE = Path(__file__).with_name("batch_double.py")
COUNT = 6


def command(cts: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, str(DOUBLE), str(cts), "--ask", QUESTION, "--out", str(out), "--workers", "2", *more]


def environment(units: int) -> dict[str, str]:
    return os.environ | {"CTREASONER_DOUBLE_UNITS": str(units), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def start(cts: Path, out: Path, units: int, *more: str) -> subprocess.Popen:
    """Begin; once ``units`` are whole no answer begins (those under way end: one more with two workers). -1: no limit."""
    return subprocess.Popen(command(cts, out, *more), env=environment(units), text=True, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def units(out: Path) -> list[Path]:
    return sorted(out.glob("cases/*/unit.json"))


def wait_for_units(out: Path, count: int, program: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while len(units(out)) < count and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(units(out)) >= count, program.communicate(timeout=30)


def test_killed_stopped_and_begun_anew_it_does_each_ct_once(tmp_path: Path) -> None:
    """SIGKILL to the program, SIGKILL to all, Ctrl-C, then to the end; a CT ends every process that is asked about it."""
    cts, out, kept, chance = write_cts(tmp_path / "cts", COUNT), tmp_path / "out", {}, random.Random(os.getpid())
    write_cts(tmp_path / "more", COUNT + 1)
    (tmp_path / "more" / f"ct{COUNT:02d}.nii.gz").rename(cts / "deadly.nii.gz")
    for everything in (False, True):
        program = start(cts, out, len(kept) + 1)
        wait_for_units(out, len(kept) + 1, program)
        time.sleep(chance.uniform(0, 1))
        strike(program, everything=everything)
        program.communicate()
        assert changed(out, kept) == 0

    before, old = len(units(out)), set(out.glob("work/*"))
    program = start(cts, out, 0)
    while not {path.parent for path in out.glob("work/*/*.tries")} - old:
        time.sleep(0.05)
    program.send_signal(signal.SIGINT)
    _, said = program.communicate(timeout=120)
    assert program.returncode == 130 and "CTR-BAT-008" in said and "Traceback" not in said
    assert len(units(out)) == before and not (out / "work").exists()
    assert changed(out, kept) == 0

    program = start(cts, out, -1, "--json")
    printed, said = program.communicate(timeout=300)
    assert program.returncode == 0, said
    *lines, summary = map(json.loads, printed.splitlines())
    assert changed(out, kept) == 0
    assert len(kept) == COUNT
    assert (summary["cts"], summary["failed"]) == (COUNT + 2, 2)
    assert {line["code"] for line in lines if line["state"] == "failed"} == {"CTR-IO-203", "CTR-BAT-005"}
    assert len(lines) + summary["before"] >= COUNT + 2
    rows = pq.read_table(out / "objects.parquet").to_pylist()
    assert sorted(row["case"] for row in rows if row["state"] == "done") == [f"ct{n:02d}.nii.gz" for n in range(COUNT)]
    assert {row["case"]: row["code"] for row in rows if row["state"] == "failed"} == {
        "broken.nii.gz": "CTR-IO-203", "deadly.nii.gz": "CTR-BAT-005"}  # fmt: skip
    assert (out / "overview.html").is_file()


def test_a_batch_that_is_done_starts_no_ray(tmp_path: Path, cts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from batch_double import DoubleWorker
    from ctreasoner.batch import cli, pipeline
    from ctreasoner.batch.sources import find
    from ctreasoner.batch.units import Index

    monkeypatch.setattr(pipeline, "ray_cluster", lambda *arguments, **options: pytest.fail("Ray was started"))
    (cts / "broken.nii.gz").unlink()
    job = cli.make_job(tmp_path / "out", [QUESTION])
    worker, index = DoubleWorker(job), Index(job.out)
    for source in find(str(cts)):
        index.add(source, worker.outcome(source)["volume"])
    cli.run(job, str(cts))
    assert pq.read_table(job.out / "objects.parquet").num_rows == 4


def test_a_cluster_of_several_nodes_shares_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    monkeypatch.setenv("CTREASONER_SLEEP_S", "0.05")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    sources = [Source(name=f"unit {n}", path=f"/nowhere/{n}") for n in range(30)]
    seen = []
    with cluster(2) as address:
        raylets = [p for p in psutil.Process().children(recursive=True) if p.name() == "raylet"]
        result = process(job_of(tmp_path / "out"), sources, address=address, workers=2, worker=Sleeper,
                         show=lambda outcome, progress: seen.append((outcome["source"], progress.done, progress.of)))
    assert len(raylets) == 2
    assert result.done.keys() == {source.key for source in sources} and not result.failed
    assert sorted(key for key, *_ in seen) == sorted(result.done)
    assert [done for _, done, _ in seen] == list(range(1, 31))


@pytest.mark.parametrize(("arguments", "code"), [
    (["missing", "--ask", "x"], "CTR-IO-001"),
    (["{cts}", "--ask", " "], "CTR-BAT-007"),
    (["{cts}", "--ask", "x", "--dicom", "pdf"], "CTR-USE-020"),
    (["{cts}", "--ask", "x", "--model", "none"], "CTR-MOD-001"),
    (["https://pacs.example.org/dicom-web", "--ask", "x"], "CTR-BAT-003"),
    (["{cts}"], "CTR-USE-000"),
])  # fmt: skip
def test_what_cannot_be_understood_is_said_in_one_sentence(arguments, code, cts, tmp_path, capsys) -> None:
    from ctreasoner.cli import main

    with pytest.raises(SystemExit) as left:
        main(["batch", *(word.format(cts=cts) for word in arguments), "--out", str(tmp_path / "out")])
    assert left.value.code not in (0, 1)
    assert code in capsys.readouterr().err
