"""The worker process and its client: warm, watched, stopped politely, started again, and never left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from client_bench import (
    LONGEST_S,
    answered,
    begun,
    engine_of,
    events_of,
    exported,
    hand_over,
    inside,
    is_gone,
    question,
    reached,
    vanishes,
    wait,
)
from ctreasoner.client import local, telling
from ctreasoner.client.environment import LOGIC, child_environment
from ctreasoner.client.local import LocalEngine
from ctreasoner.client.masks import write_crop
from ctreasoner.client.protocol import PROTOCOL, decode, encode
from ctreasoner.client.volumes import VolumeStore
from ctreasoner.errors import GeometryError, InputError, ResourceError
from ctreasoner.events import Cancelled, Done, Existence, Failed, Mask, Measurement, load_mask
from ctreasoner.geometry import Volume
from ctreasoner.io import check_ct
from ctreasoner.version import __version__
from fake_engine import FIRST, SHAPE, phantom_volume

POSIX = pytest.mark.skipif(os.name != "posix", reason="stops and ends processes by signals")


@pytest.fixture(scope="module")
def warm():
    """One engine for the tests that leave it as they found it."""
    engine = engine_of()
    engine.handed = hand_over(engine)
    yield engine
    engine.close()


@pytest.fixture
def engine():
    engine = engine_of()
    engine.handed = hand_over(engine)
    yield engine
    engine.close()


# ---------------------------------------------------------------- the volume

def test_a_volume_is_written_once_and_named_by_its_content(tmp_path):
    store, volume = VolumeStore(tmp_path), phantom_volume()
    first = store.put(volume.voxels, volume.affine).result(LONGEST_S)
    stamp = first.path.stat().st_mtime_ns
    again = store.put(np.asfortranarray(volume.voxels), volume.affine).result(LONGEST_S)
    other = store.put(volume.voxels + np.int16(1), volume.affine).result(LONGEST_S)
    store.close()
    assert first.identity == again.identity == volume.identity != other.identity and first.path.stat().st_mtime_ns == stamp
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"{first.identity}.npy", f"{other.identity}.npy"])
    assert np.array_equal(np.load(first.path, mmap_mode="r"), volume.voxels)


def test_a_full_disk_or_a_senseless_affine_is_said_by_the_future_and_leaves_no_file(tmp_path, monkeypatch):
    store, volume = VolumeStore(tmp_path / "in"), phantom_volume()
    with pytest.raises(GeometryError):
        store.put(volume.voxels, np.zeros((4, 4))).result(LONGEST_S)

    def full(file, array):
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(ResourceError, match="No space left") as caught:
        store.put(volume.voxels, volume.affine).result(LONGEST_S)
    store.close()
    assert caught.value.code == "CTR-RES-001" and caught.value.hint and list((tmp_path / "in").iterdir()) == []


# ---------------------------------------------------------------- answers

def test_two_questions_find_a_warm_engine_and_masks_can_be_read(warm):
    events = answered(warm, warm.ask(question(warm.handed), warm.handed))
    assert [e.seq for e in events] == list(range(len(events))) and isinstance(events[-1], Done)
    mask = [e for e in events if isinstance(e, Mask)][-1]
    assert load_mask(mask, warm.workspace(question(warm.handed))).sum() == mask.voxels
    pid = warm._process.pid
    assert isinstance(answered(warm, warm.ask(question(warm.handed, "where is the liver?"), warm.handed))[-1], Done)
    assert warm._process.pid == pid and warm.state == "ready" and not warm.is_busy and warm.model["name"] == "double"


def test_which_objects_a_ct_shows_is_told_and_does_not_make_the_engine_busy(warm):
    answered(warm, warm.ask(question(warm.handed), warm.handed))
    number = warm.inside(warm.handed)
    assert not warm.is_busy and warm.state == "ready"
    assert inside(warm, number) == {"states": {"heart": ["present", 0.9], "mandible": ["outside", 0.8]}, "is_whole": True}


def test_a_question_interrupts_the_search_for_what_a_ct_shows():
    engine = engine_of("Curious")
    try:
        handed = hand_over(engine)
        answered(engine, engine.ask(question(handed), handed))
        number = engine.inside(handed)
        ask = engine.ask(question(handed), handed)
        messages = wait(engine, lambda m: any(isinstance(e, Done) for e in events_of(m, ask)))
        assert inside(engine, number, messages)["is_whole"] is False
        engine.inside(handed)       # nor does it hold up the end
    finally:
        engine.close()


def test_the_search_for_what_a_ct_shows_fails_in_a_sentence(engine):
    answered(engine, engine.ask(question(engine.handed), engine.handed))
    strange = engine.volumes.put(np.zeros((4, 4, 4), np.int16), np.diag([2.0, 2, 2, 1])).result(LONGEST_S)
    assert inside(engine, engine.inside(strange))["code"].startswith("CTR-IO-")
    number = engine.inside(engine.handed)
    engine.restart()
    assert inside(engine, number)["code"] == "CTR-WRK-006"


def test_questions_are_answered_one_after_the_other(warm):
    asks = [warm.ask(question(warm.handed, text), warm.handed) for text in ("segment the heart", "the liver", "the mandible")]
    messages = wait(warm, lambda m: all(isinstance((events_of(m, a) or [None])[-1], Done) for a in asks))
    order = [m.ask for m in messages if m.kind == "event"]
    assert order == sorted(order) and warm.state == "ready"


def test_poll_returns_as_little_as_is_asked_for_and_keeps_the_rest(warm):
    ask, events = warm.ask(question(warm.handed), warm.handed), []
    while not (events and isinstance(events[-1], Done)):
        some = warm.poll(limit=1)
        assert len(some) <= 3            # a message can bring its state along
        events += events_of(some, ask)
    assert [e.seq for e in events] == list(range(len(events)))


@pytest.mark.parametrize(("text", "code"), [("stumble", "CTR-WRK-012"), ("full disk", "CTR-RES-001"), ("memory", "CTR-RES-002")])
def test_an_error_of_the_engine_ends_the_answer_in_a_sentence_and_the_process_stays(warm, text, code):
    events = answered(warm, warm.ask(question(warm.handed, text), warm.handed))
    assert isinstance(events[-1], Failed) and (events[-1].code, bool(events[-1].hint)) == (code, True)
    assert [e.seq for e in events] == list(range(len(events))) and len({e.answer for e in events}) == 1
    pid = warm._process.pid
    assert isinstance(answered(warm, warm.ask(question(warm.handed), warm.handed))[-1], Done) and warm._process.pid == pid


def test_stray_prints_do_not_break_the_protocol():
    engine = engine_of("Chatty")
    handed = hand_over(engine)
    assert isinstance(answered(engine, engine.ask(question(handed), handed))[-1], Done)
    wait(engine, lambda _: "hello from a library" in engine.log and "and from C" in engine.log)
    engine.close()


# ---------------------------------------------------------------- stop

def test_stop_ends_the_answer_keeps_the_engine_warm_and_the_next_question_runs(warm):
    ask = warm.ask(question(warm.handed, "tick"), warm.handed)
    begun(warm, ask)
    pid = warm._process.pid
    warm.cancel(ask)
    warm.cancel(ask)
    events = answered(warm, ask)
    assert isinstance(events[-1], Cancelled) and not warm.is_busy and warm.state == "ready"
    assert isinstance(answered(warm, warm.ask(question(warm.handed), warm.handed))[-1], Done) and warm._process.pid == pid


def test_the_panel_is_idle_while_the_engine_is_still_inside_a_step(warm):
    ask = warm.ask(question(warm.handed, "stick"), warm.handed)
    begun(warm, ask)
    warm.cancel(ask)
    assert isinstance(answered(warm, ask)[-1], Cancelled) and not warm.is_busy
    second = warm.ask(question(warm.handed), warm.handed)
    (warm.workspace(question(warm.handed)) / "gate").touch()         # only now the step comes to its end
    assert isinstance(answered(warm, second)[-1], Done)
    (warm.workspace(question(warm.handed)) / "gate").unlink()


def test_a_question_that_waits_can_be_stopped_before_it_begins(warm):
    first = warm.ask(question(warm.handed, "tick"), warm.handed)
    begun(warm, first)
    second = warm.ask(question(warm.handed), warm.handed)
    warm.cancel(second)
    events = answered(warm, second)
    assert [type(e) for e in events] == [Cancelled] and events[0].seq == 0 and warm.state == "busy"
    warm.cancel(first)
    assert isinstance(answered(warm, first)[-1], Cancelled)


@POSIX
def test_a_worker_that_does_not_acknowledge_is_ended_and_the_waiting_question_goes_to_the_next(engine, monkeypatch):
    ask = engine.ask(question(engine.handed, "freeze"), engine.handed)
    begun(engine, ask)
    waiting = engine.ask(question(engine.handed), engine.handed)
    pid = engine._process.pid
    monkeypatch.setattr(local, "ACKNOWLEDGE_S", 0.0)
    engine.cancel(ask)
    messages = wait(engine, lambda m: isinstance((events_of(m, waiting) or [None])[-1], Done))
    assert isinstance(events_of(messages, ask)[-1], Cancelled) and is_gone(pid)
    assert any(m.facts.get("code") == "CTR-WRK-004" for m in messages)
    assert engine._process.pid != pid and engine.state == "ready"


def test_an_answer_that_goes_on_after_its_stop_does_not_hold_up_the_next_question(engine, monkeypatch):
    ask = engine.ask(question(engine.handed, "stick"), engine.handed)
    begun(engine, ask)
    pid = engine._process.pid
    engine.cancel(ask)
    assert isinstance(answered(engine, ask)[-1], Cancelled)
    monkeypatch.setattr(local, "STOP_S", 0.0)
    events = answered(engine, engine.ask(question(engine.handed), engine.handed))
    assert isinstance(events[-1], Done) and engine._process.pid != pid and is_gone(pid)


# ---------------------------------------------------------------- trouble

@pytest.mark.parametrize(("text", "words"), [
    ("crash", "ended by itself (code 3)"), pytest.param("killed", "out of memory or was ended", marks=POSIX)])
def test_after_a_crash_the_answer_fails_and_the_next_one_has_ct_numbers_and_masks(engine, tmp_path, text, words):
    mask = [e for e in answered(engine, engine.ask(question(engine.handed), engine.handed)) if isinstance(e, Mask)][-1]
    failed = answered(engine, engine.ask(question(engine.handed, text), engine.handed))
    assert isinstance(failed[-1], Failed) and failed[-1].code == "CTR-WRK-003" and words in failed[-1].sentence
    assert "Ask again" in failed[-1].hint and [e.seq for e in failed] == [0, 1, 2] and engine.state == "failed"
    edit = write_crop(tmp_path / "edit", np.ones((2, 2, 2)), (3, 3, 3))
    events = answered(engine, engine.ask(question(engine.handed, "", edited={mask.object: str(edit)}), engine.handed))
    assert isinstance(events[-1], Done) and events[0].answer == "a3" and engine.state == "ready"
    if text == "crash":         # an export takes seconds of imports: once is enough
        facts = exported(engine, engine.export(engine.handed, tmp_path / "out"))
        assert "files" in facts and (tmp_path / "out" / "masks" / f"{mask.object}.nii.gz").is_file()


def test_a_worker_that_says_nothing_is_mentioned_again_and_again_and_can_be_restarted(engine, monkeypatch):
    ask = engine.ask(question(engine.handed, "stick"), engine.handed)
    begun(engine, ask)
    monkeypatch.setattr(telling, "SILENT_S", 0.01)
    silent = [m.facts for m in wait(engine, lambda m: sum("silent_s" in x.facts for x in m) >= 2) if "silent_s" in m.facts]
    assert silent[0]["state"] == "busy" and "nothing for" in silent[0]["sentence"] and silent[0]["hint"]
    monkeypatch.setattr(telling, "SILENT_S", 1e9)
    pid = engine._process.pid
    engine.restart()
    failed = answered(engine, ask)[-1]
    assert isinstance(failed, Failed) and failed.code == "CTR-WRK-006" and is_gone(pid)
    assert isinstance(answered(engine, engine.ask(question(engine.handed), engine.handed))[-1], Done)


def test_a_python_that_is_not_there_is_said_in_a_sentence_and_fails_the_question(engine):
    nowhere = LocalEngine("/no/such/python")
    failed = answered(nowhere, nowhere.ask(question(engine.handed), engine.handed))[-1]
    assert isinstance(failed, Failed) and failed.code == nowhere.problem["code"] == "CTR-WRK-001" and failed.hint
    number = nowhere.export(engine.handed, "/nowhere")
    assert exported(nowhere, number)["code"] == "CTR-WRK-001" and not nowhere.is_busy
    nowhere.close()


def test_a_program_that_is_no_engine_is_said_in_a_sentence(tmp_path):
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\necho 'SyntaxError: old snake' >&2\nexit 2\n")
    other.chmod(0o755)
    engine = LocalEngine(other)
    engine.start()
    reached(engine, "failed")
    assert engine.problem["code"] == "CTR-WRK-005" and "old snake" in engine.problem["sentence"]
    assert "3.11" in engine.problem["hint"]
    engine.close()


@pytest.mark.parametrize("line", ['{"reply": "event", "ask": 1}', '{"reply": "event", "ask": 1, "event": "no JSON"}',
                                  '{"reply": "exported", "ask": 1}'])
def test_words_that_are_no_protocol_go_to_the_log_and_a_broken_protocol_is_said(tmp_path, engine, line):
    hello = f'{{"reply": "hello", "protocol": {PROTOCOL}, "version": "{__version__}"}}'
    other = tmp_path / "python"
    other.write_text(f"#!/bin/sh\necho 'Launcher 1.0'\necho '[1]'\necho '{hello}'\necho '{line}'\nexec cat >/dev/null\n")
    other.chmod(0o755)
    strange = LocalEngine(other)
    ask = strange.ask(question(engine.handed), engine.handed)
    failed = answered(strange, ask)[-1]
    assert failed.code == strange.problem["code"] == "CTR-WRK-010" and "Ask again" in failed.hint and strange.state == "failed"
    assert "Launcher 1.0" in strange.log and "[1]" in strange.log
    strange.close()


def test_a_line_that_is_no_object_is_refused():
    for line in ("", "[]", "{", '{"a": NaN', "x" * 10):
        with pytest.raises(InputError):
            decode(line)
    assert decode(encode(op="é", n=1)) == {"op": "é", "n": 1}


def test_a_missing_package_is_named(engine):
    bare = engine_of("lacking")
    bare.start()
    reached(bare, "failed")
    assert bare.problem["code"] == "CTR-WRK-018" and "torch" in bare.problem["sentence"] and "Install" in bare.problem["hint"]
    bare.close()


def test_a_missing_model_is_said_and_the_worker_lives_on():
    engine = LocalEngine(sys.executable, arguments=["--model", "/no/such/model"])
    engine.start()
    reached(engine, "failed")
    assert engine.problem["code"] == "CTR-MOD-001" and engine._process.is_running
    handed = hand_over(engine)
    failed = answered(engine, engine.ask(question(handed), handed))[-1]
    assert isinstance(failed, Failed) and failed.code == "CTR-MOD-001" and engine._process.is_running
    engine.close()


def test_another_version_is_refused(engine, monkeypatch):
    monkeypatch.setattr(local, "__version__", "9.9.9")
    ask = engine.ask(question(engine.handed), engine.handed)
    failed = answered(engine, ask)[-1]
    assert failed.code == engine.problem["code"] == "CTR-WRK-002" and "9.9.9" in failed.sentence and engine.state == "failed"


def test_a_ct_whose_file_changed_or_went_is_said_by_the_answer_and_sent_again(engine):
    content = engine.handed.path.read_bytes()
    engine.handed.path.write_bytes(content[:-2] + b"zz")
    failed = answered(engine, engine.ask(question(engine.handed), engine.handed))[-1]
    assert isinstance(failed, Failed) and failed.code == "CTR-WRK-014"
    engine.handed.path.write_bytes(b"")
    failed = answered(engine, engine.ask(question(engine.handed), engine.handed))[-1]
    assert failed.code == "CTR-WRK-013"
    engine.handed.path.write_bytes(content)
    assert isinstance(answered(engine, engine.ask(question(engine.handed), engine.handed))[-1], Done)


@pytest.mark.parametrize(("voxels", "code"), [
    (np.arange(64 * 64 * 4, dtype=np.int16).reshape(64, 64, 4) % 900, "CTR-IO-115"),          # an MR: nothing below 0
    (np.arange(64 * 64 * 4, dtype=np.uint8).reshape(64, 64, 4) % 200, "CTR-IO-112"),
    (np.full((8, 8, 8), 7, np.int16), "CTR-IO-215")])
def test_what_is_no_ct_is_refused_with_the_sentence_that_a_file_gets(warm, voxels, code):
    handed = warm.volumes.put(voxels, np.diag([2.0, 2.0, 2.0, 1.0]), name="other").result(LONGEST_S)
    with pytest.raises(InputError) as refused:
        check_ct(Volume(voxels, np.diag([2.0, 2.0, 2.0, 1.0]), name="other"), eight_bit=voxels.dtype.itemsize == 1)
    events = answered(warm, warm.ask(question(handed), handed))
    assert [(type(e), e.code, e.sentence) for e in events] == [(Failed, code, str(refused.value))] and refused.value.code == code


def test_what_only_slicer_s_own_python_needs_never_reaches_the_engine():
    ours = child_environment({"PYTHONHOME": "/slicer", "PYTHONPATH": "/slicer/lib", "HTTPS_PROXY": "p", "Path": "/bin"}, X="1")
    assert "PYTHONHOME" not in ours and "PYTHONPATH" not in ours
    assert (ours["HTTPS_PROXY"], ours["Path"], ours["X"], ours["PYTHONUTF8"]) == ("p", "/bin", "1", "1")


# ---------------------------------------------------------------- edits, export, forget

def test_a_changed_mask_is_measured_and_exported_as_the_person_left_it(warm, tmp_path):
    import nibabel

    talk = {"conversation": "edits"}
    mask = [e for e in answered(warm, warm.ask(question(warm.handed, **talk), warm.handed)) if isinstance(e, Mask)][-1]
    edit = write_crop(tmp_path / "edit", np.ones((2, 3, 4)), (8, 8, 5))
    events = answered(warm, warm.ask(question(warm.handed, "", edited={mask.object: str(edit)}, **talk), warm.handed))
    assert next(e for e in events if isinstance(e, Measurement)).value == pytest.approx(24 * phantom_volume().voxel_ml)
    edit.unlink()
    facts = exported(warm, warm.export(warm.handed, tmp_path / "out", **talk))
    written = nibabel.load(tmp_path / "out" / facts["files"]["masks"] / f"{mask.object}.nii.gz")
    assert np.asarray(written.dataobj).sum() == 24 and np.asarray(written.dataobj)[8:10, 8:11, 5:9].all()
    assert (tmp_path / "out" / facts["files"]["DICOM-SEG"]).is_file() and (tmp_path / "out" / facts["files"]["report"]).is_file()


def test_a_question_that_comes_with_a_changed_mask_is_answered_too(warm, tmp_path):
    talk = {"conversation": "both"}
    mask = [e for e in answered(warm, warm.ask(question(warm.handed, **talk), warm.handed)) if isinstance(e, Mask)][-1]
    edit = write_crop(tmp_path / "edit", np.ones((1, 2, 3)), (8, 8, 5))
    both = question(warm.handed, "where is the liver?", edited={mask.object: str(edit)}, **talk)
    events = answered(warm, warm.ask(both, warm.handed))
    assert [e.seq for e in events] == list(range(len(events))) and len({e.answer for e in events}) == 1
    assert isinstance(events[1], Measurement) and events[1].object == mask.object
    assert events[1].value == pytest.approx(6 * phantom_volume().voxel_ml)
    assert any(isinstance(e, Existence) and e.name == "liver" for e in events) and isinstance(events[-1], Done)


def test_a_mask_on_the_whole_grid_is_kept_for_the_export_when_its_file_goes(warm, tmp_path):
    import nibabel

    talk = {"conversation": "whole"}
    mask = [e for e in answered(warm, warm.ask(question(warm.handed, **talk), warm.handed)) if isinstance(e, Mask)][-1]
    whole = np.zeros(phantom_volume().shape, np.uint8)
    whole[4:6, 5, 6] = 1
    path = tmp_path / "whole.npy"
    np.save(path, np.asfortranarray(whole))
    events = answered(warm, warm.ask(question(warm.handed, "", edited={mask.object: str(path)}, **talk), warm.handed))
    assert isinstance(events[-1], Done)
    path.unlink()
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "no.dcm").write_bytes(b"\0" * 128 + b"DICM")
    facts = exported(warm, warm.export(warm.handed, tmp_path / "out", source=str(tmp_path / "series"), **talk))
    written = nibabel.load(tmp_path / "out" / "masks" / f"{mask.object}.nii.gz")
    assert np.array_equal(np.asarray(written.dataobj), whole)
    assert (tmp_path / "out" / facts["files"]["DICOM-SEG"]).is_file() and "new CT series" in facts["notes"][0]


def test_the_dicom_segmentation_refers_to_the_files_that_the_ct_was_read_from(warm, tmp_path):
    import dicom_series
    import pydicom
    from ctreasoner.io import read_volume

    voxels = phantom_volume().voxels
    folder = dicom_series.save(dicom_series.series(voxels, number=3), tmp_path / "a")
    files, volume = sorted(str(p) for p in folder.iterdir()), read_volume(folder)
    dicom_series.save(dicom_series.series(voxels, number=4), folder, prefix="other")
    handed = warm.volumes.put(volume.voxels, volume.affine, source=str(folder)).result(LONGEST_S)
    answered(warm, warm.ask(question(handed), handed))
    facts = exported(warm, warm.export(handed, tmp_path / "out", source=files))
    seg = pydicom.dcmread(tmp_path / "out" / facts["files"]["DICOM-SEG"])
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.826.0.1.3" and seg.PatientID == "P1" and facts["notes"] == []
    for path in files[:1]:
        Path(path).unlink()
    facts = exported(warm, warm.export(handed, tmp_path / "moved", source=files))
    assert "no longer" in facts["notes"][0] and (tmp_path / "moved" / "dicom" / "ct").is_dir()


def test_a_report_and_key_images_are_exported_when_they_are_wished(warm, tmp_path):
    import pydicom

    list(answered(warm, warm.ask(question(warm.handed, conversation="wish"), warm.handed)))
    number = warm.export(warm.handed, tmp_path, conversation="wish", dicom=("seg", "sr", "keys"), accepted_by="Doe^Jane")
    files = exported(warm, number)["files"]
    assert {files["DICOM-SEG"], files["DICOM-SR"]} == {"dicom/segmentation.dcm", "dicom/measurements.dcm"}
    assert pydicom.dcmread(tmp_path / files["DICOM-SR"]).VerificationFlag == "UNVERIFIED"
    assert (tmp_path / files["key images"] / "key_00001.dcm").is_file()


def test_a_rejected_object_and_an_emptied_one_are_not_exported(warm, tmp_path):
    talk = {"conversation": "rejects"}
    mask = [e for e in answered(warm, warm.ask(question(warm.handed, **talk), warm.handed)) if isinstance(e, Mask)][-1]
    facts = exported(warm, warm.export(warm.handed, tmp_path / "a", rejected=[mask.object], **talk))
    assert "DICOM-SEG" not in facts["files"] and "report" in facts["files"]
    empty = write_crop(tmp_path / "empty", np.zeros((0, 0, 0)), (0, 0, 0))
    facts = exported(warm, warm.export(warm.handed, tmp_path / "b", edited={mask.object: empty}, **talk))
    assert "DICOM-SEG" not in facts["files"] and "report" in facts["files"]


def test_an_export_without_an_answer_or_into_a_file_says_why(warm, tmp_path):
    assert exported(warm, warm.export(warm.handed, tmp_path / "out", conversation="none"))["code"] == "CTR-WRK-017"
    answered(warm, warm.ask(question(warm.handed), warm.handed))
    (tmp_path / "file").touch()
    facts = exported(warm, warm.export(warm.handed, tmp_path / "file"))
    assert facts["code"] == "CTR-IO-080" and facts["sentence"] and warm.state == "ready"


def test_a_damaged_mask_is_refused_in_a_sentence(warm, tmp_path):
    mask = [e for e in answered(warm, warm.ask(question(warm.handed), warm.handed)) if isinstance(e, Mask)][-1]
    outside = write_crop(tmp_path / "outside", np.ones(SHAPE), np.add(FIRST, 500))
    broken = tmp_path / "broken.npz"
    broken.write_bytes(outside.read_bytes()[:40])
    for path in (outside, broken, tmp_path / "none.npz"):
        events = answered(warm, warm.ask(question(warm.handed, "", edited={mask.object: str(path)}), warm.handed))
        assert isinstance(events[-1], Failed) and events[-1].code == "CTR-WRK-020"


def test_a_forgotten_ct_leaves_no_file_and_can_be_asked_about_again(engine):
    answered(engine, engine.ask(question(engine.handed), engine.handed))
    answers = engine.workspace(question(engine.handed)).parent
    assert answers.is_dir()
    engine.forget(engine.handed.identity)
    wait(engine, lambda _: not engine.handed.path.exists())
    assert not answers.exists()
    engine.forget("never seen")
    handed = hand_over(engine)
    events = answered(engine, engine.ask(question(handed), handed))
    assert isinstance(events[-1], Done)


def test_a_conversation_of_a_loaded_scene_goes_on_counting(warm):
    request = question(warm.handed, conversation="loaded")
    assert answered(warm, warm.ask(request, warm.handed, answered=7))[0].answer == "a8"
    assert answered(warm, warm.ask(request, warm.handed, answered=7))[0].answer == "a9"


# ---------------------------------------------------------------- nothing is left behind

PANEL = """
import sys, time; sys.path[:0] = sys.argv[2:]
from client_bench import engine_of, hand_over, question, begun
engine = engine_of(); handed = hand_over(engine)
begun(engine, engine.ask(question(handed, "stick"), handed))
print(engine._process.pid, engine.session, flush=True)
if sys.argv[1] == "close":
    engine.close()
elif sys.argv[1] == "exit":
    sys.exit()
sys.stdin.read()
"""


@pytest.mark.parametrize("how", ["close", "exit", pytest.param("die", marks=POSIX)])
def test_no_process_and_no_file_outlives_the_panel(how):
    paths = [str(LOGIC), str(Path(__file__).parent)]
    with subprocess.Popen([sys.executable, "-c", PANEL, how, *paths], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          env=os.environ) as panel:
        pid, session = panel.stdout.readline().split()
        if how == "die":
            panel.kill()
        panel.stdin.close()
        assert is_gone(int(pid)) and vanishes(Path(session))


def test_what_a_killed_pair_left_behind_is_taken_away_by_the_next_one(tmp_path, monkeypatch):
    from ctreasoner.client import folder

    monkeypatch.setattr(folder.tempfile, "tempdir", str(tmp_path))
    left = tmp_path / f"{folder.PREFIX}left"
    left.mkdir()
    (left / folder.OWNER).touch()
    (tmp_path / f"{folder.PREFIX}unknown").mkdir()
    first = folder.SessionFolder()
    second = folder.SessionFolder()
    assert not left.exists() and first.path.exists() and second.path.exists()
    first.remove()
    first.remove()
    second.remove()
    assert [p.name for p in tmp_path.iterdir()] == [f"{folder.PREFIX}unknown"]


def test_a_place_for_temporary_files_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    from ctreasoner.client import folder

    monkeypatch.setattr(folder.tempfile, "tempdir", str(tmp_path / "none"))
    with pytest.raises(ResourceError, match="could not be made"):
        folder.SessionFolder()
