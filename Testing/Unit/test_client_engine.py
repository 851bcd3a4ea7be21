"""The worker around the real engine (random weights): what the doubles promise holds for it as well."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import tiny_model
from client_bench import LONGEST_S, answered, begun, exported, inside, question
from ctreasoner.client.local import LocalEngine
from ctreasoner.client.masks import write_crop
from ctreasoner.events import Cancelled, Click, Done, Look, Mask, Measurement, Started, load_mask
from ctreasoner.reasoner import Reasoner


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    folder = tiny_model.save(tmp_path_factory.mktemp("model"))
    engine = LocalEngine(sys.executable, arguments=["--model", str(folder), "--threads", "1"])
    engine.folder = folder
    volume = tiny_model.scan()
    engine.handed = engine.volumes.put(volume.voxels, volume.affine, name="phantom").result(LONGEST_S)
    yield engine
    engine.close()


def masks_of(events):
    return [e for e in events if isinstance(e, Mask)]


@pytest.fixture(scope="module")
def clicked(engine):
    """An answer with a mask: a click on the dense ball."""
    lo, hi = tiny_model.scan().extent_ras()
    point = tuple((lo + hi) / 2 - np.array([0.15, 0, 0]) * (hi - lo))
    for text in ("what is here?", "segment this", ""):
        events = answered(engine, engine.ask(question(engine.handed, text, clicks=(Click(point_ras=point),)), engine.handed))
        if masks_of(events):
            return events
    raise AssertionError(events)


def test_an_answer_begins_with_looking_and_its_masks_can_be_read(engine, clicked):
    assert isinstance(clicked[0], Started) and isinstance(clicked[1], Look) and isinstance(clicked[-1], Done)
    assert clicked[0].volume["identity"] == engine.handed.identity
    for mask in masks_of(clicked):
        assert load_mask(mask, engine.workspace(question(engine.handed))).sum() == mask.voxels


def test_what_the_panel_tells_of_the_model_comes_with_ready(engine, clicked):
    assert set(engine.model) == {"name", "hash", "size_mb", "licence"} and clicked[0].model["hash"] == engine.model["hash"]
    assert engine.model["licence"] == "research use only" and 0 < engine.model["size_mb"] < 100


def test_stop_keeps_it_warm(engine, clicked):
    pid = engine._process.pid
    ask = engine.ask(question(engine.handed, "describe the heart and the aorta"), engine.handed)
    begun(engine, ask, 1)
    engine.cancel(ask)
    last = answered(engine, ask)[-1]
    assert isinstance(last, (Cancelled, Done)) and not engine.is_busy
    assert isinstance(answered(engine, engine.ask(question(engine.handed, "where is the heart?"), engine.handed))[-1], Done)
    assert engine._process.pid == pid


def test_a_changed_mask_is_measured_also_after_a_crash_or_of_a_loaded_scene_and_exported(engine, clicked, tmp_path):
    mask = masks_of(clicked)[-1]
    path = write_crop(tmp_path / "edit", np.ones((5, 4, 3)), (10, 10, 10))
    edit = question(engine.handed, "", edited={mask.object: str(path)})
    millilitres = 60 * tiny_model.scan().voxel_ml
    for _ in ("warm", "after a crash"):
        events = answered(engine, engine.ask(edit, engine.handed))
        volume = next(e for e in events if isinstance(e, Measurement) and e.name == "volume")
        assert isinstance(events[-1], Done) and volume.value == pytest.approx(millilitres) and volume.object == mask.object
        engine.restart()
    loaded = question(engine.handed, "", edited={"a7.o2": str(path)}, conversation="loaded")
    events = answered(engine, engine.ask(loaded, engine.handed, answered=9, known={"a7.o2": "heart"}))
    assert isinstance(events[-1], Done) and events[0].answer == "a10"
    assert any(isinstance(e, Measurement) and e.object == "a7.o2" for e in events)
    facts = exported(engine, engine.export(engine.handed, tmp_path / "out"))
    assert (tmp_path / "out" / facts["files"]["DICOM-SEG"]).is_file()


def test_which_objects_a_ct_shows_is_what_an_answer_would_find_at_first(engine, clicked):
    facts = inside(engine, engine.inside(engine.handed))
    here = Reasoner.from_pretrained(engine.folder, threads=1)
    volume = tiny_model.scan()
    here.register(volume)
    expected = here.inside(volume)
    assert facts["is_whole"] and expected and {k: (s, p) for k, (s, p) in facts["states"].items()} == {
        key: (state, pytest.approx(p, abs=1e-3)) for key, (state, p) in expected.items()}
    for key, (state, probability) in expected.items():
        answer = here.ask(volume, f"segment the {here.engine.speaker.processor.names[key]}")
        first = next(e for e in answer.events if e.type == "Existence" and e.name == key)
        assert (first.state, first.probability) == (state, pytest.approx(probability, abs=1e-3))
