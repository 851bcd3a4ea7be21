"""The command line, with a double in the engine's place: what it prints, what it writes, how it leaves."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from ctreasoner import cli, listing, session
from ctreasoner.errors import InputError, NetworkError
from ctreasoner.events import read_events
from ctreasoner.output import OutputFolder
from ctreasoner.reasoner import Reasoner
from fake_engine import FakeEngine, phantom_volume


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    """Put a double behind the command line; exports that need the whole package are tested where they live."""
    double = FakeEngine()
    (tmp_path / "ct.nii.gz").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "model_folder", lambda name: name)
    monkeypatch.setattr(session, "load_volume", lambda path, series: phantom_volume())
    monkeypatch.setattr(session.Reasoner, "from_pretrained", lambda name, threads=None: Reasoner(double))
    monkeypatch.setattr(OutputFolder, "finish", lambda self: {"answer": "answer.json"})
    return double


def run(*arguments: str) -> int:
    """Run the command line and return its exit code."""
    with pytest.raises(SystemExit) as left:
        cli.main(list(arguments))
    return left.value.code or 0


def test_ask_prints_the_answer(engine, capsys) -> None:
    assert run("ask", "ct.nii.gz", "How large is the heart?") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("The heart measures ")
    assert "Heart: present (0.90); volume" in printed.err


@pytest.mark.parametrize("question", ["where is the mandible?", "segment the liver"])
def test_outside_and_unsupported_are_answers(engine, question: str) -> None:
    assert run("ask", "ct.nii.gz", question) == 0


def test_json_prints_the_stream_and_nothing_else(engine, capsys) -> None:
    assert run("ask", "ct.nii.gz", "segment the heart", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["seq"] for line in lines] == list(range(len(lines)))
    assert (lines[0]["type"], lines[-1]["type"]) == ("Started", "Done")


def test_prompts_reach_the_engine(monkeypatch, engine) -> None:
    seen = []
    answer = engine.answer
    monkeypatch.setattr(engine, "answer", lambda request, workspace=None: seen.append(request) or answer(request, workspace))
    assert run("ask", "ct.nii.gz", "what is here?", "--click", "-56,-86,-116", "--negative", "0,0,0", "--box", "1,2,3,10,20,30",
               "--scribble", "0,0,0 1,1,1", "--seed", "7") == 0
    request = seen[0]
    assert [(c.point_ras, c.positive) for c in request.clicks] == [((-56, -86, -116), True), ((0, 0, 0), False)]
    assert request.boxes[0].size_mm == (10, 20, 30)
    assert request.scribbles[0].points_ras == ((0, 0, 0), (1, 1, 1))
    assert request.options.seed == 7


@pytest.mark.parametrize(("arguments", "code", "sentence"), [
    (["ask", "ct.nii.gz", ""], 2, "There is no question"),
    (["ask", "ct.nii.gz", "x", "--click", "1,2"], 2, "not 3 finite numbers"),
    (["ask", "ct.nii.gz", "x", "--click", "1,2,nan"], 2, "not 3 finite numbers"),
    (["ask", "ct.nii.gz", "x", "--box", "0,0,0,1,-1,1"], 3, "three positive sizes"),
    (["ask", "ct.nii.gz", "x", "--scribble", "0,0,0"], 2, "at least two points"),
    (["ask", "ct.nii.gz", "x" * 10_000], 2, "10000 characters"),
    (["ask", "ct.nii.gz", "x", "--colour", "red"], 2, "--colour"),
    (["ask"], 2, "CT"),
    (["ask", "gone.nii.gz", "x"], 3, "There is no file or folder 'gone.nii.gz'"),
    (["sing"], 2, "sing"),
])
def test_a_wrong_call_is_one_sentence(engine, capsys, arguments, code, sentence) -> None:
    assert run(*arguments) == code
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""


def test_an_error_of_the_input_has_its_code(monkeypatch, engine, capsys) -> None:
    def refuse(path, series):
        raise InputError("The file ends too early.", code="CTR-IO-010", hint="Copy it again.")

    monkeypatch.setattr(session, "load_volume", refuse)
    assert run("ask", "ct.nii.gz", "the heart") == 3
    assert capsys.readouterr().err.splitlines()[-2:] == ["The file ends too early. [CTR-IO-010]", "Copy it again."]
    assert run("ask", "ct.nii.gz", "the heart", "--json") == 3
    failed = json.loads(capsys.readouterr().out)
    assert (failed["type"], failed["code"]) == ("Failed", "CTR-IO-010")


def test_a_missing_model_leaves_with_4(capsys) -> None:
    assert run("ask", "ct.nii.gz", "the heart", "--model", "colossal") == 4
    assert "There is no model 'colossal'" in capsys.readouterr().err


def test_no_network_leaves_with_6(monkeypatch, capsys) -> None:
    def fail(*_, **__):
        raise NetworkError("The demo's CT is not in the cache and could not be fetched.")

    monkeypatch.setattr("ctreasoner.demo.demo_ct", fail)
    assert run("demo") == 6


@pytest.mark.parametrize(("error", "code"), [
    (MemoryError(), 5), (OSError(28, "No space left on device"), 5), (ValueError("odd"), 1),
])
def test_whatever_happens_there_is_no_traceback(monkeypatch, engine, capsys, error, code) -> None:
    def fail(path, series):
        raise error

    monkeypatch.setattr(session, "load_volume", fail)
    assert run("ask", "ct.nii.gz", "the heart") == code
    assert "Traceback" not in capsys.readouterr().err


def test_ctrl_c_leaves_a_stream_that_can_be_read(engine, tmp_path: Path, capsys) -> None:
    engine.cut_after = 6
    out = tmp_path / "out"
    assert run("ask", "ct.nii.gz", "segment the heart", "--out", str(out)) == 130
    events = list(read_events(out / "events.jsonl"))
    assert [e.seq for e in events] == list(range(7))
    assert events[-1].type == "Cancelled"
    assert json.loads((out / "answer.json").read_text())["turns"][0]["state"] == "cancelled"
    assert engine.closed


def test_chat_goes_on_after_a_wrong_line(monkeypatch, engine, capsys) -> None:
    lines = "segment the heart\n/click 1,2\n/sing\n/click 0,0,0\n\n/quit\nnever asked\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    assert run("chat", "ct.nii.gz") == 0
    printed = capsys.readouterr()
    assert printed.out.count("measures") == 2
    assert "CTR-USE-002" in printed.err and "/sing is no command" in printed.err
    assert engine.answers == 2


def test_chat_writes_all_turns_into_one_folder(monkeypatch, engine, tmp_path: Path) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("the heart\nwhere is the mandible?\n"))
    assert run("chat", "ct.nii.gz", "--out", str(tmp_path), "--json") == 0
    turns = json.loads((tmp_path / "answer.json").read_text())["turns"]
    assert [turn["answer"] for turn in turns] == ["a1", "a2"]


def test_the_demo_asks_its_four_questions(monkeypatch, engine, tmp_path: Path, capsys) -> None:
    monkeypatch.setattr("ctreasoner.demo.demo_ct", lambda say: tmp_path / "ct.nii.gz")
    assert run("demo", "--out", str(tmp_path / "demo")) == 0
    assert engine.answers == 4
    printed = capsys.readouterr()
    assert "LIDC-IDRI-0001" in printed.err and "CC BY 3.0" in printed.err
    assert str(tmp_path / "demo" / "answer.json") in printed.err


def test_objects_lists_everything_with_tier_and_quality(monkeypatch, capsys, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / listing.QUALITY).write_text(json.dumps({"heart": {"dice": 0.91, "cases": 10}}))
    assert run("objects", "--json", "--model", str(tmp_path)) == 0
    rows = {row["key"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["heart"]["quality"]["dice"] == 0.91
    assert rows["lung_nodule"]["click_only"]
    assert run("objects", "--model", str(tmp_path)) == 0
    table = capsys.readouterr().out
    assert "Dice 0.91, 10 cases" in table
    assert "not measured" in table


def test_version(capsys) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_train_hands_its_arguments_on_and_wraps_its_result(monkeypatch, capsys) -> None:
    seen = []

    def program(arguments):
        seen.append(arguments)
        print("step 1")
        print("runs/vision/vision.pt")
        return 0

    monkeypatch.setattr("ctreasoner.training.train.main", program)
    assert run("train", "vision", "--seconds", "60", "--json") == 0
    assert seen == [["vision", "--seconds", "60"]]
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"exit_code": 0, "result": "runs/vision/vision.pt"}
    assert printed.err == "step 1\nruns/vision/vision.pt\n"
