"""The panel's remote engine: what is promised for `LocalEngine` holds for a server as well."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from client_bench import answered, begun, events_of, exported, inside, question, wait
from ctreasoner.client.local import LocalEngine
from ctreasoner.client.masks import write_crop
from ctreasoner.client.remote import RemoteEngine
from ctreasoner.errors import NetworkError, UsageError
from ctreasoner.events import LAST_EVENTS, Cancelled, Done, Failed, Mask, Measurement, Started, load_mask
from fake_engine import phantom_volume
from serving import wait_for


@pytest.fixture
def engine(server):
    made = RemoteEngine(server.url)
    yield made
    made.close()


@pytest.fixture
def handed(engine):
    volume = phantom_volume()
    return engine.volumes.put(volume.voxels, volume.affine, name="phantom", source="/data/series").result(60)


def test_it_has_every_method_and_attribute_of_the_local_engine(engine):
    local = LocalEngine()
    try:
        public = {name for name in dir(local) if not name.startswith("_")} - {"python", "arguments"}
        assert public <= set(dir(engine))
        for name in public:
            if callable(getattr(local, name)):
                assert str(inspect.signature(getattr(local, name))) == str(inspect.signature(getattr(engine, name))), name
    finally:
        local.close()


def test_it_answers_and_masks_lie_in_the_workspace(engine, handed):
    asked = question(handed, "segment the heart", conversation="remote")
    events = answered(engine, engine.ask(asked, handed))
    assert [e.seq for e in events] == list(range(len(events))) and isinstance(events[-1], Done)
    assert next(e for e in events if isinstance(e, Started)).volume["identity"] == handed.identity
    mask = next(e for e in events if isinstance(e, Mask) and e.stage == "final")
    assert load_mask(mask, engine.workspace(asked)).sum() == mask.voxels
    wait_for(lambda: engine.state == "ready")           # a moment after the last event: another thread says it
    assert engine.model["name"] == "double" and not engine.is_busy


def test_questions_are_answered_one_after_the_other(engine, handed):
    asks = [engine.ask(question(handed, "segment the heart", conversation="many"), handed) for _ in range(3)]
    messages = wait(engine, lambda m: all(any(isinstance(e, LAST_EVENTS) for e in events_of(m, a)) for a in asks))
    assert [events_of(messages, a)[-1].answer for a in asks] == ["a1", "a2", "a3"]


def test_stop_ends_it_here_at_once_and_there_too(server, engine, handed):
    ask = engine.ask(question(handed, "tick the heart", conversation="stopped"), handed)
    begun(engine, ask, 4)
    engine.cancel(ask)
    assert isinstance(answered(engine, ask)[-1], Cancelled) and not engine.is_busy
    talk = next(c for c in server.call("GET", "/v1/conversations")[2] if c["name"] == "stopped")
    wait_for(lambda: server.state(talk["questions"][0]["id"]) == "cancelled")


def test_a_changed_mask_and_an_earlier_engine_s_answers_are_taken_along(engine, handed, tmp_path):
    asked = question(handed, "segment the heart", conversation="changed")
    assert answered(engine, engine.ask(asked, handed, answered=6))[-1].answer == "a7"
    path = write_crop(tmp_path / "edit", np.ones((2, 3, 5)), (1, 1, 1))
    edit = question(handed, "", conversation="changed", edited={"a7.o1": str(path)})
    measured = [e for e in answered(engine, engine.ask(edit, handed)) if isinstance(e, Measurement)]
    assert measured[0].value == pytest.approx(0.36)


def test_an_export_comes_to_the_folder_and_says_that_the_series_stayed_here(engine, handed, tmp_path):
    answered(engine, engine.ask(question(handed, "segment the heart", conversation="export"), handed))
    facts = exported(engine, engine.export(handed, tmp_path / "out", conversation="export", source="/data/series"))
    assert (tmp_path / "out" / facts["files"]["DICOM-SEG"]).is_file() and "not to the original" in facts["notes"][0]


def test_what_the_server_refuses_fails_the_question_in_the_same_words(engine, handed):
    failed = answered(engine, engine.ask(question(handed, "x" * 1999, conversation="y" * 300), handed))[-1]
    assert isinstance(failed, Failed) and failed.code == "CTR-SRV-012"


def test_what_is_forgotten_is_gone_there(server, engine):
    volume = phantom_volume((23, 24, 25))
    handed = engine.volumes.put(volume.voxels, volume.affine).result(60)
    answered(engine, engine.ask(question(handed, "segment the heart"), handed))
    engine.forget(handed.identity)
    wait_for(lambda: server.call("GET", f"/v1/volumes/{handed.identity}")[0] == 404)


def test_a_server_that_is_not_there_is_told_and_fails_the_question():
    engine = RemoteEngine("http://127.0.0.1:9")
    try:
        with pytest.raises(NetworkError, match="No server listens"):
            engine.test()
        volume = phantom_volume()
        handed = engine.volumes.put(volume.voxels, volume.affine).result(60)
        failed = answered(engine, engine.ask(question(handed), handed))[-1]
        assert failed.code == "CTR-NET-011" and engine.state == "failed" and engine.problem["sentence"]
    finally:
        engine.close()
    with pytest.raises(UsageError):
        RemoteEngine("http://hospital.example")


@pytest.mark.parametrize("reply", [
    {}, {"states": [], "is_whole": True}, {"states": {"heart": "present"}, "is_whole": True}, None, b"x"])
def test_what_no_server_would_say_of_a_ct_is_said_to_be_foreign(engine, handed, monkeypatch, reply):
    answered(engine, engine.ask(question(handed, "segment the heart", conversation="strange"), handed))
    monkeypatch.setattr(engine._wire, "call", lambda *_arguments, **_more: reply)
    facts = inside(engine, engine.inside(handed))
    assert facts["code"] == "CTR-NET-014" and "no CTReasoner server" in facts["sentence"]
