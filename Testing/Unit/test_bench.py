"""The bench: what it pauses, when it refuses, what it computes. Times themselves are never tested."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ctreasoner.bench import machine, measure
from ctreasoner.bench.table import Row, print_table, rows_of
from ctreasoner.errors import ResourceError
from ctreasoner.events import Request
from fake_engine import FakeEngine, phantom_volume


@pytest.fixture
def a_training(tmp_path: Path):
    """Start a process that looks like a training of ours, with its pid file."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "ctreasoner.training"])
    (tmp_path / "runs" / "vision").mkdir(parents=True)
    (tmp_path / "runs" / "vision" / "train.pid").write_text(f"{process.pid}\n")
    yield process
    process.kill()
    process.wait()


def state_of(pid: int) -> str:
    """Return the letter that the system shows for a process: S sleeping, T stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_training_is_paused_and_goes_on(a_training, tmp_path: Path) -> None:
    said: list[str] = []
    time.sleep(0.1)
    with machine.paused(said.append, tmp_path) as stopped:
        assert stopped == [a_training.pid]
        assert state_of(a_training.pid) == "T"
    time.sleep(0.1)
    assert state_of(a_training.pid) != "T"
    assert "paused" in said[0]


def test_a_training_goes_on_when_the_bench_fails(a_training, tmp_path: Path) -> None:
    time.sleep(0.1)
    with pytest.raises(ValueError, match="odd"), machine.paused(lambda _: None, tmp_path):
        raise ValueError("odd")
    time.sleep(0.1)
    assert state_of(a_training.pid) != "T"


def test_a_process_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "other.pid").write_text("1")
    (tmp_path / "stale.pid").write_text("999999999")
    (tmp_path / "broken.pid").write_text("?")
    assert machine.trainings(tmp_path) == []


def test_children_are_found() -> None:
    child = subprocess.Popen(["sleep", "30"])
    try:
        assert child.pid in machine.descendants(os.getpid())
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()


def test_a_busy_machine_is_refused() -> None:
    machine.require_idle(0.1)
    with pytest.raises(ResourceError, match=r"other programs use 1\.9 cores"):
        machine.require_idle(1.9)


@pytest.mark.parametrize(("extent", "count"), [((400, 400, 300), 48), ((100, 100, 100), 1), ((192, 192, 193), 2)])
def test_the_sliding_window_has_as_many_patches_as_half_overlap_needs(extent, count: int) -> None:
    assert measure.patches_of(list(extent)) == count


def test_an_answer_is_timed_by_its_events() -> None:
    engine, volume = FakeEngine(), phantom_volume()
    run = measure.timed(engine, Request(volume=engine.register(volume), text="the heart"))
    assert run["state"] == "Done"
    assert run["looks"] == 2
    assert 0 < run["first_event_s"]["Look"] <= run["first_event_s"]["Mask"] <= run["wall_s"]
    assert measure._click(engine, volume.identity, "c", run)["state"] == "Done"


def test_a_variant_is_another_scan_with_the_same_voxels() -> None:
    volume = phantom_volume()
    other = measure._variant(volume, 1)
    assert other.identity != volume.identity
    assert other.voxels.base is volume.voxels or (other.voxels == volume.voxels).all()


@pytest.mark.parametrize(("row", "verdict"), [
    (Row("x", 2.0, "s", 3.0), "reached"),
    (Row("x", 4.0, "s", 3.0), "missed"),
    (Row("x", 160.0, "x", 150.0, at_least=True), "reached"),
    (Row("x", None, "s", 3.0), "missed"),
    (Row("x", 2.0, "s"), ""),
])
def test_a_row_says_whether_its_demand_is_met(row: Row, verdict: str) -> None:
    assert row.verdict == verdict


def test_the_table_shows_every_row(capsys: pytest.CaptureFixture) -> None:
    run = {"wall_s": 2.0, "cpu_s": 3.0, "looks": 2, "stages_s": {"look": 1.0}, "objects": {"a1.o1": "present"}}
    result = {
        "machine": {"processor": "test", "threads": 1, "busy_cores_before": 0.0},
        "import": {"wall_s": 0.1, "cpu_s": 0.1},
        "model_load": {"wall_s": 3.0, "cpu_s": 3.0, "again": {"wall_s": 0.2}},
        "cold": {"first_look_s": 5.0, "first_answer_s": 8.0, "cpu_s": 9.0},
        "warm": [{"slices": n, "second_question": run, "new_scan": run, "click": None, "peak_memory_mb": 900.0}
                 for n in (300, 1200)],
        "all_objects": {**run, "asked": 12, "peak_memory_mb": 1000.0},
        "flops": {"answer": 5e10},
        "rival": {"wall_s": 500.0, "cpu_s": 1000.0, "flops": 5e13, "patches": 48,
                  "patch": {"wall_s": 10.0, "cpu_s": 20.0, "timed": 3}},
    }
    result["rows"] = rows_of(result)
    by_name = {row["what"].strip(): row for row in result["rows"]}
    assert by_name["it takes, in CPU seconds"]["value"] == pytest.approx(333.3, abs=0.1)
    assert by_name["time at 1200 slices over 300"]["verdict"] == "reached"
    print_table(result)
    assert "no object was found to click on" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")
@pytest.mark.parametrize("overlap", [False, True])
def test_the_export_of_a_large_study_is_measured_on_segments_that_overlap_as_wished(overlap: bool) -> None:
    from ctreasoner.bench.dicom import dicom_export

    found = dicom_export({"size": 64, "slices": 20, "segments": 4, "overlap": overlap})
    assert found["overlap"] == ("YES" if overlap else "NO")
    assert found["frames"] >= 4 * 7 and found["megabytes"]["sr"] > 0
    assert found["wall_s"] >= found["seg_s"] > 0 and found["peak_memory_mb"] > 10
