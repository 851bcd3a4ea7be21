"""A stream of events becomes a finished answer, whole or cut off anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ctreasoner.answer import Assembler, answer_file, assemble, read_answer_file, write_json
from ctreasoner.errors import InputError, ResourceError
from ctreasoner.events import Click, Event, Progress, Request, Text, from_json, to_json
from fake_engine import FakeEngine, phantom_volume


def stream_for(tmp_path: Path, text: str = "segment the heart and the mandible", **prompts) -> tuple[Request, list[Event]]:
    engine, volume = FakeEngine(), phantom_volume()
    request = Request(volume=engine.register(volume), text=text, **prompts)
    return request, list(engine.answer(request, workspace=tmp_path))


def test_an_answer_holds_what_its_events_said(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path)
    answer = assemble(events, request, folder=tmp_path)
    assert (answer.id, answer.state, answer.routes) == ("a1", "done", ("segment", "describe"))
    heart, mandible = answer.objects
    assert (heart.id, heart.name, heart.existence) == ("a1.o1", "heart", "present")
    assert heart.box["score"] == 0.9, "the box of the last look counts"
    assert heart.mask.stage == "final"
    assert [m["name"] for m in heart.measurements] == ["volume", "long_axis"]
    assert heart.categories[0]["value"] == "round"
    assert (mandible.existence, mandible.mask, mandible.measured("volume")) == ("outside", None, None)
    assert answer.timings_s["total"] == 0.2


def test_spans_point_into_the_joined_text(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path)
    answer = assemble(events, request)
    said = {span["ref"]: answer.text[span["start"]:span["end"]] for span in answer.spans}
    assert said["a1.o2"] == "mandible"
    assert said["a1.o1.m1"].endswith(" ml")


def test_a_mask_is_placed_on_the_grid_of_the_whole_ct(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path)
    answer = assemble(events, request, folder=tmp_path)
    mask = answer.mask("heart")
    assert mask.shape == phantom_volume().shape
    assert mask.sum() == answer.objects[0].mask.voxels
    assert mask[10, 11, 7]
    assert answer.mask("mandible") is None


def test_a_stream_may_stop_after_any_event(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path)
    for count in range(len(events)):
        answer = assemble(events[:count], request)
        assert answer.state == "open"
        assert len(answer.events) == count
        json.dumps(answer_file([answer], lambda _: None))


def test_a_recorded_stream_gives_the_same_answer(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path)
    replayed = [from_json(to_json(event)) for event in events]
    assert answer_file([assemble(replayed, request)], lambda _: None) == answer_file([assemble(events, request)], lambda _: None)


def test_a_follow_up_speaks_of_an_object_of_an_earlier_answer(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path)
    first = assemble(events, request)
    fold = Assembler(Request(volume="x", text="how large is it?"), earlier={o.id: o for o in first.objects})
    measured = next(e for e in events if e.type == "Measurement")
    fold.add(measured)
    followed = fold.answer.objects[0]
    assert (followed.id, followed.display, followed.origin) == ("a1.o1", "Heart", "earlier")
    assert len(followed.measurements) == 1, "an earlier answer's measurements are not repeated"
    assert len(first.objects[0].measurements) == 2


def test_a_click_without_words_is_the_origin_of_its_object(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path, text="", clicks=(Click(point_ras=(0, 0, 0)),))
    assert assemble(events, request).objects[0].origin == "click"


def test_warnings_are_kept(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path, text="anything abnormal?")
    answer = assemble(events, request)
    assert answer.objects == []
    assert answer.warnings[0]["code"] == "question_unsupported"


def test_an_answer_file_of_another_version_is_refused(tmp_path: Path) -> None:
    request, events = stream_for(tmp_path)
    path = tmp_path / "answer.json"
    content = answer_file([assemble(events, request)], lambda o: f"masks/{o.id}.nii.gz")
    write_json(content, path)
    assert read_answer_file(path)["turns"][0]["objects"][0]["mask"] == "masks/a1.o1.nii.gz"
    write_json({**content, "v": 2}, path)
    with pytest.raises(InputError, match="version 1"):
        read_answer_file(path)
    path.write_text("{")
    with pytest.raises(InputError):
        read_answer_file(path)


def test_a_file_that_cannot_be_written_is_a_resource_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"answer\.json could not be written"):
        write_json({}, tmp_path / "gone" / "answer.json")
    assert list(tmp_path.iterdir()) == []


def test_an_event_without_a_meaning_for_the_answer_changes_nothing() -> None:
    fold = Assembler()
    fold.add(Text(answer="a1", seq=0, t=0.0, text="Hello. "))
    fold.add(Progress(answer="a1", seq=1, t=0.0, stage="look", step=1, of=2))
    assert fold.answer.text == "Hello. "
    assert fold.answer.objects == []
