"""The worker process and its client: warm, watched, stopped politely, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.client.local import LOGIC, LocalEngine
from ctreasoner.client.volumes import VolumeStore
from ctreasoner.events import Cancelled, Done, Failed, Mask, Request, load_mask
from fake_engine import phantom_volume

HERE = str(Path(__file__).parent)
ENVIRONMENT = {**os.environ, "PYTHONPATH": HERE}


def engine_of(factory: str = "worker_doubles:quick") -> LocalEngine:
    return LocalEngine(sys.executable, environment=ENVIRONMENT, arguments=["--factory", factory])


@pytest.fixture
def engine():
    engine = engine_of()
    yield engine
    engine.close()


@pytest.fixture
def handed(engine):
    store, volume = VolumeStore(engine.session / "volumes"), phantom_volume()
    yield store.put(volume.voxels, volume.affine, name="phantom").result(5)
    store.close()


def wait(engine, until, seconds=8.0):
    """Poll until `until(messages)` is true; returns the messages."""
    messages, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        messages += engine.poll()
        if until(messages):
            return messages
        time.sleep(0.005)
    raise AssertionError([m for m in messages if m.kind != "event"] + [engine.log])


def last_of(ask):
    return lambda messages: any(m.ask == ask and isinstance(m.event, (Done, Cancelled, Failed)) for m in messages)


def events_of(messages, ask):
    return [m.event for m in messages if m.kind == "event" and m.ask == ask]


def state(name):
    return lambda messages: any(m.kind == "state" and m.facts["state"] == name for m in messages)


def question(handed, text="segment the heart"):
    return Request(volume=handed.identity, text=text)


def gone(pid, seconds=5.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if "Z" in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]:
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


def test_a_volume_is_written_once_and_named_by_its_content(tmp_path):
    store, volume = VolumeStore(tmp_path), phantom_volume()
    first = store.put(volume.voxels, volume.affine).result(5)
    again = store.put(np.asfortranarray(volume.voxels), volume.affine).result(5)
    other = store.put(volume.voxels + np.int16(1), volume.affine).result(5)
    store.close()
    assert first.identity == again.identity == volume.identity != other.identity
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"{first.identity}.npy", f"{other.identity}.npy"])
    assert np.array_equal(np.load(first.path, mmap_mode="r"), volume.voxels)


def test_two_questions_find_a_warm_engine_and_masks_can_be_read(engine, handed):
    ask = engine.ask(question(handed), handed)
    messages = wait(engine, last_of(ask))
    events = events_of(messages, ask)
    assert [e.seq for e in events] == list(range(len(events))) and isinstance(events[-1], Done)
    mask = [e for e in events if isinstance(e, Mask)][-1]
    assert load_mask(mask, engine.workspace(question(handed))).sum() == mask.voxels
    pid = engine._process.pid
    second = engine.ask(question(handed, "where is the liver?"), handed)
    assert isinstance(events_of(wait(engine, last_of(second)), second)[-1], Done)
    assert engine._process.pid == pid and engine.state == "ready" and engine.model["name"] == "double"


def test_stray_prints_do_not_break_the_protocol():
    engine = engine_of("worker_doubles:chatty")
    store, volume = VolumeStore(engine.session / "volumes"), phantom_volume()
    handed = store.put(volume.voxels, volume.affine).result(5)
    ask = engine.ask(question(handed), handed)
    assert isinstance(events_of(wait(engine, last_of(ask)), ask)[-1], Done)
    wait(engine, lambda _: "hello from a library" in engine.log)
    engine.close()


@pytest.fixture
def slow():
    engine = engine_of("worker_doubles:slow")
    store, volume = VolumeStore(engine.session / "volumes"), phantom_volume()
    engine.handed = store.put(volume.voxels, volume.affine).result(5)
    yield engine
    engine.close()
    store.close()


def test_stop_is_acknowledged_within_a_second_and_the_engine_stays_warm(slow):
    ask = slow.ask(question(slow.handed), slow.handed)
    wait(slow, lambda m: len(events_of(m, ask)) >= 2)
    pid, began = slow._process.pid, time.monotonic()
    slow.cancel(ask)
    events = events_of(wait(slow, last_of(ask)), ask)
    assert isinstance(events[-1], Cancelled) and time.monotonic() - began < 1.0 and not slow.is_busy
    second = slow.ask(question(slow.handed, "where is the liver?"), slow.handed)
    events = events_of(wait(slow, lambda m: events_of(m, second)), second)
    assert events[0].seq == 0 and time.monotonic() - began < 2.0 and slow._process.pid == pid
    assert isinstance(events_of(wait(slow, last_of(second)), second)[-1], Done)


@pytest.mark.skipif(os.name != "posix", reason="stops a process by a signal")
def test_a_worker_that_does_not_acknowledge_is_ended_and_started_again(slow):
    ask = slow.ask(question(slow.handed), slow.handed)
    wait(slow, lambda m: len(events_of(m, ask)) >= 2)
    pid = slow._process.pid
    os.kill(pid, signal.SIGSTOP)
    slow.cancel(ask)
    assert isinstance(events_of(wait(slow, last_of(ask)), ask)[-1], Cancelled)
    assert gone(pid)
    second = slow.ask(question(slow.handed, "where is the liver?"), slow.handed)
    assert isinstance(events_of(wait(slow, last_of(second)), second)[-1], Done)


@pytest.mark.skipif(os.name != "posix", reason="ends a process by a signal")
def test_after_a_crash_the_answer_fails_and_the_next_question_has_the_ct_again(slow):
    ask = slow.ask(question(slow.handed), slow.handed)
    wait(slow, lambda m: len(events_of(m, ask)) >= 2)
    os.kill(slow._process.pid, signal.SIGKILL)
    failed = events_of(wait(slow, last_of(ask)), ask)[-1]
    assert isinstance(failed, Failed) and failed.code == "CTR-WRK-003" and slow.state == "failed"
    second = slow.ask(question(slow.handed, "where is the liver?"), slow.handed)
    assert isinstance(events_of(wait(slow, last_of(second)), second)[-1], Done)


def test_an_error_of_the_engine_is_a_failed_answer_and_the_process_stays(engine, handed):
    ask = engine.ask(question(handed, "stumble"), handed)
    failed = events_of(wait(engine, last_of(ask)), ask)[-1]
    assert isinstance(failed, Failed) and failed.code == "CTR-WRK-012" and "ZeroDivisionError" in failed.sentence
    second = engine.ask(question(handed), handed)
    assert isinstance(events_of(wait(engine, last_of(second)), second)[-1], Done)


def test_a_missing_python_and_a_missing_model_are_said_in_a_sentence():
    engine = LocalEngine("/no/such/python")
    engine.start()
    assert engine.state == "failed" and engine.problem["code"] == "CTR-WRK-001"
    engine.close()
    engine = LocalEngine(sys.executable, arguments=["--model", "/no/such/model"])
    engine.start()
    wait(engine, state("failed"))
    assert engine.problem["code"] == "CTR-MOD-001"
    engine.close()


def test_another_version_is_refused(engine, monkeypatch):
    monkeypatch.setattr("ctreasoner.client.local.__version__", "9.9.9")
    engine.start()
    wait(engine, state("failed"))
    assert engine.problem["code"] == "CTR-WRK-002" and "9.9.9" in engine.problem["sentence"]


def test_nothing_is_left_when_the_panel_closes_or_dies(tmp_path):
    code = f"""
import sys, time; sys.path[:0] = [{str(LOGIC)!r}, {HERE!r}]
from test_client import engine_of, wait, state
engine = engine_of("worker_doubles:slow"); engine.start(); wait(engine, state("ready"))
print(engine._process.pid, engine.session, flush=True)
if sys.argv[1] == "close":
    engine.close()
else:
    time.sleep(60)
"""
    for how in ("close", "die"):
        panel = subprocess.Popen([sys.executable, "-c", code, how], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
        pid, session = panel.stdout.readline().split()
        if how == "die":
            panel.kill()
        panel.wait(10)
        panel.stdout.close()
        assert gone(int(pid)), how
        end = time.monotonic() + 3
        while Path(session).exists() and time.monotonic() < end:
            time.sleep(0.05)
        assert not Path(session).exists(), how


def test_export_writes_the_conversation_with_the_edited_mask(engine, handed, tmp_path, monkeypatch):
    ask = engine.ask(question(handed), handed)
    events = events_of(wait(engine, last_of(ask)), ask)
    mask = [e for e in events if isinstance(e, Mask)][-1]
    edited = np.ones((2, 3, 4), np.uint8)
    np.save(tmp_path / "edit.npy", edited)
    export = engine.export(handed, tmp_path / "out", edited={mask.object: {
        "path": str(tmp_path / "edit.npy"), "first_voxel": [8, 8, 5], "shape": [2, 3, 4], "voxels": 24}})
    facts = wait(engine, lambda m: any(x.kind == "exported" and x.ask == export for x in m), 30)[-1].facts
    assert "files" in facts, facts
    import nibabel

    written = nibabel.load(tmp_path / "out" / facts["files"]["masks"] / f"{mask.object}.nii.gz")
    assert np.asarray(written.dataobj).sum() == 24
    assert (tmp_path / "out" / facts["files"]["DICOM-SEG"]).is_file()
