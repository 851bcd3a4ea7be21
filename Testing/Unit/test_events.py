"""The contract: what is written is read back, what is wrong is refused with its line, a torn end is tolerated."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from ctreasoner import events as ev
from ctreasoner.errors import GeometryError, InputError, UsageError

BY = ev.By(kind="model", name="compact", version="1", licence="research use only")
VIEW = ev.ViewBox(centre_ras=(0, 4, 8), size_mm=(480, 480, 480), spacing_mm=(5, 5, 5), shape=(96, 96, 96))


def a_stream() -> list[ev.Event]:
    emit = ev.Stream("a1").emit
    return [
        emit(ev.Started, engine="ctreasoner 0.1", model={"name": "compact", "sha256": "ab"},
             volume={"identity": "cd", "shape": [512, 512, 300], "spacing": [0.7, 0.7, 1.0]}),
        emit(ev.Look, object=None, step=0, view=VIEW, why="whole scan", window=(40, 400), digest="0f", by=BY),
        emit(ev.Intent, routes=("segment",), objects=({"id": "a1.o1", "name": "aorta", "asked": "the aorta"},), by=BY),
        emit(ev.Existence, object="a1.o1", name="aorta", display="Aorta", state="present", probability=0.98, by=BY),
        emit(ev.Box, object="a1.o1", centre_ras=(1, 2, 3), size_mm=(40, 50, 60), score=0.9, look=0, by=BY),
        emit(ev.Mask, object="a1.o1", stage="final", first_voxel=(1, 2, 3), shape=(4, 5, 6), path="masks/a1.o1.npy",
             voxels=7, cut_by_scan=True, by=BY),
        emit(ev.Category, object="a1.o1", attribute="calcification", value="none", probability=0.7, by=BY),
        emit(ev.Measurement, id="a1.o1.m1", object="a1.o1", name="volume", value=210.5, unit="ml", method="voxel count",
             geometry={"ends_ras": [[0, 0, 0], [1, 1, 1]]}),
        emit(ev.Text, text="The aorta.", spans=(ev.Span(start=4, end=9, kind="object", ref="a1.o1"),)),
        emit(ev.Statement, id="a1.s1", start=0, end=10, claim={"what": "volume"}, verdict="verified", rule="volume",
             said=210, found=210.5, evidence=["masks/a1.o1.npy"], by=ev.By(kind="rule", name="volume")),
        emit(ev.Progress, stage="look", step=1, of=3),
        emit(ev.Warning_, code="question_unsupported", sentence="No.", hint="Ask for the heart."),
        emit(ev.Done, timings_s={"encode": 0.4}, peak_memory_mb=900),
        emit(ev.Cancelled, timings_s={}),
        emit(ev.Failed, code="CTR-IO-001", sentence="No.", hint=""),
    ]


def test_every_event_survives_a_round_trip():
    stream = a_stream()
    assert {type(e) for e in stream} == set(ev.EVENT_TYPES.values())
    for event in stream:
        assert ev.from_json(ev.to_json(event)) == event


def test_events_are_numbered_without_gaps_and_timed():
    stream = a_stream()
    assert [e.seq for e in stream] == list(range(len(stream)))
    assert all(a.t <= b.t for a, b in pairwise(stream))
    assert {e.v for e in stream} == {1}


def test_a_warning_is_called_warning_on_the_wire():
    warning = next(e for e in a_stream() if isinstance(e, ev.Warning_))
    assert json.loads(ev.to_json(warning))["type"] == "Warning"


def test_numpy_values_become_plain_ones():
    box = ev.Box(answer="a1", seq=0, t=0.0, object="a1.o1", centre_ras=np.array([1, 2, 3]),
                 size_mm=np.ones(3, np.float32), axes=np.eye(3), score=np.float32(0.5), look=np.int64(2), by=BY)
    assert box.centre_ras == (1.0, 2.0, 3.0) and box.axes == ev.IDENTITY and box.score == 0.5 and box.look == 2
    json.loads(ev.to_json(box))


def test_unknown_fields_are_ignored_and_unknown_types_skipped():
    content = json.loads(ev.to_json(a_stream()[4])) | {"new": "n", "by": {"kind": "rule", "name": "x", "new": 1}}
    assert ev.from_json(json.dumps(content)).by.name == "x"
    assert ev.from_json('{"type": "Hologram", "answer": 3}') is None


@pytest.mark.parametrize(("field", "value"), [
    ("score", "high"), ("score", True), ("score", None), ("look", 1.5), ("centre_ras", [1, 2]), ("centre_ras", "abc"),
    ("centre_ras", [1, 2, {}]), ("object", 4), ("by", "model"),
    ("by", {"kind": "oracle", "name": "x"}), ("by", {"kind": "rule"}), ("seq", "0"), ("t", [0])])
def test_wrong_types_are_refused_with_the_line_number(field, value):
    content = json.loads(ev.to_json(a_stream()[4])) | {field: value}
    with pytest.raises(InputError, match=r"line 17: .*(Box|By)") as caught:
        ev.from_json(json.dumps(content), 17)
    assert caught.value.code == "CTR-EVT-003"


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"type": 3}', '{"type": "Done", "t": NaN}', "[" * 100_000])
def test_lines_that_are_no_event_are_refused(line):
    with pytest.raises(InputError, match="line 3"):
        ev.from_json(line, 3)


def test_a_missing_field_and_a_later_version_are_refused():
    content = json.loads(ev.to_json(a_stream()[4]))
    with pytest.raises(InputError, match="has no score"):
        ev.from_json(json.dumps({k: v for k, v in content.items() if k != "score"}))
    with pytest.raises(InputError, match="version 2"):
        ev.from_json(json.dumps(content | {"v": 2}))


def test_not_a_number_never_gets_onto_the_wire():
    with pytest.raises(InputError, match=r"Measurement\.value must be a finite number"):
        ev.Stream("a1").emit(ev.Measurement, id="m", object="o", name="sd", value=float("nan"), unit="HU", method="x")
    with pytest.raises(InputError):
        ev.Stream("a1").emit(ev.Started, engine="e", model={"x": float("inf")}, volume={})


def test_a_request_survives_a_round_trip():
    request = ev.Request(
        volume="ab" * 32, text="segment the aorta",
        clicks=(ev.Click(point_ras=(1, 2, 3), positive=False, target="a1.o1"),),
        boxes=(ev.PromptBox(centre_ras=(0, 0, 0), size_mm=(1, 2, 3)),), edited={"a1.o1": "masks/e.npy"}, target="a1.o1",
        scribbles=(ev.Scribble(points_ras=((0, 0, 0), (1, 1, 1))),), options=ev.Options(max_looks=2, want_text=False))
    assert ev.request_from_json(ev.request_to_json(request)) == request


def test_a_request_asks_something():
    with pytest.raises(UsageError, match="no question") as caught:
        ev.Request(volume="x", text="  ")
    assert caught.value.code == "CTR-USE-001"
    with pytest.raises(UsageError, match="10000 characters"):
        ev.Request(volume="x", text="a" * 10_000)
    with pytest.raises(UsageError, match="no question"):
        ev.request_from_json('{"volume": "x"}', 5)


def test_boxes_and_clicks_that_make_no_sense_are_refused():
    with pytest.raises(GeometryError, match="three positive sizes"):
        ev.PromptBox(centre_ras=(0, 0, 0), size_mm=(10, -5, 10))
    with pytest.raises(InputError, match="finite number"):
        ev.Click(point_ras=(0, float("nan"), 0))


def test_a_recorded_stream_replays(tmp_path):
    ev.write_events(a_stream()[:5], tmp_path / "events.jsonl")
    ev.write_events(a_stream()[5:], tmp_path / "events.jsonl")
    assert [e.type for e in ev.read_events(tmp_path / "events.jsonl")] == [e.type for e in a_stream()]


def test_a_torn_last_line_is_tolerated_and_a_torn_middle_is_not(tmp_path):
    path = tmp_path / "events.jsonl"
    ev.write_events(a_stream(), path)
    whole, count = path.read_bytes(), len(a_stream())
    for cut in range(1, 60):
        path.write_bytes(whole[:-cut])
        assert len(list(ev.read_events(path))) in (count, count - 1)
    lines = whole.split(b"\n")
    lines[2] = lines[2][:-9]
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError, match="line 3"):
        list(ev.read_events(path))


def test_masks_are_memory_mapped_and_checked(tmp_path):
    array = (np.arange(120).reshape(4, 5, 6) % 2).astype(np.uint8)
    (tmp_path / "masks").mkdir()
    np.save(tmp_path / "masks/a1.o1.npy", array)
    mask = a_stream()[5]
    loaded = ev.load_mask(mask, tmp_path)
    assert isinstance(loaded, np.memmap) and np.array_equal(loaded, array)
    fields = ev.plain(mask)
    for change in ({"shape": (4, 5, 7)}, {"path": "../secret.npy"}, {"path": "/etc/passwd"}, {"path": "none.npy"}):
        with pytest.raises(InputError):
            ev.load_mask(ev.Mask(**(fields | change)), tmp_path)


def test_the_contract_needs_the_standard_library_alone():
    code = "import sys, ctreasoner.events; sys.exit('numpy' in sys.modules)"
    path = next(p for p in sys.path if p.endswith("Logic"))
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": path})
