"""The interface for programs, with a double in the engine's place."""

from __future__ import annotations

from pathlib import Path

import pytest
from ctreasoner.errors import CTReasonerError, GeometryError, ModelError, ResourceError, UsageError
from ctreasoner.events import Click, Failed, PromptBox, Request, Scribble
from ctreasoner.reasoner import Reasoner, error_of, make_request, model_folder
from fake_engine import FakeEngine, phantom_volume


def test_a_question_brings_a_finished_answer() -> None:
    reasoner = Reasoner(FakeEngine())
    answer = reasoner.ask(phantom_volume(), "How large is the heart?")
    assert answer.state == "done"
    assert answer.find("heart").measured("volume") > 0
    assert answer.mask("heart").any()


def test_the_same_volume_is_registered_once() -> None:
    reasoner, volume = Reasoner(FakeEngine()), phantom_volume()
    assert reasoner.register(volume) == reasoner.register(volume)
    assert len(reasoner.engine.volumes) == 1


def test_events_come_one_by_one_and_closing_cancels() -> None:
    reasoner = Reasoner(FakeEngine())
    identity = reasoner.register(phantom_volume())
    events = reasoner.answer(Request(volume=identity, text="the heart"))
    assert next(events).type == "Started"
    events.close()
    assert reasoner.engine.closed


def test_prompts_may_be_plain_numbers() -> None:
    request = make_request("id", clicks=[(1, 2, 3)], boxes=[(0, 0, 0, 10, 20, 30)], scribbles=[[(0, 0, 0), (1, 1, 1)]])
    assert request.clicks == (Click(point_ras=(1.0, 2.0, 3.0)),)
    assert request.boxes == (PromptBox(centre_ras=(0, 0, 0), size_mm=(10, 20, 30)),)
    assert request.scribbles == (Scribble(points_ras=((0, 0, 0), (1, 1, 1))),)


@pytest.mark.parametrize("clicks", [[(1, 2)], [(1, 2, float("nan"))], ["abc"], [(1, 2, float("inf"))]])
def test_a_click_that_is_no_point_is_refused(clicks) -> None:
    with pytest.raises(UsageError, match="A click is 3 finite numbers"):
        make_request("id", clicks=clicks)


def test_a_box_of_negative_size_is_refused() -> None:
    with pytest.raises(GeometryError, match="three positive sizes"):
        make_request("id", boxes=[(0, 0, 0, 10, -1, 10)])


def test_nothing_asked_is_a_usage_error() -> None:
    with pytest.raises(UsageError):
        make_request("id", "  ")


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ModelError, match="There is no model 'colossal'") as caught:
        model_folder("colossal")
    assert caught.value.code == "CTR-MOD-001"


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json"):
        model_folder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert model_folder(tmp_path) == tmp_path


def test_a_failed_answer_raises_what_its_code_says() -> None:
    class Failing(FakeEngine):
        def answer(self, request, workspace=None):
            yield Failed(answer="a1", seq=0, t=0.0, code="CTR-RES-001", sentence="The disk is full.", hint="Free some.")

    with pytest.raises(ResourceError, match="The disk is full") as caught:
        Reasoner(Failing()).ask(phantom_volume(), "the heart")
    assert caught.value.hint == "Free some."


def test_an_unknown_code_is_still_an_error() -> None:
    assert type(error_of({"code": "?", "sentence": "Odd."})) is CTReasonerError


def test_the_workspace_goes_with_the_reasoner() -> None:
    reasoner = Reasoner(FakeEngine())
    folder = reasoner.workspace
    assert folder.is_dir()
    del reasoner
    assert not folder.exists()


def test_two_scans_keep_their_masks_apart() -> None:
    class Renumbering(FakeEngine):
        def answer(self, request, workspace=None):
            self.answers = 0                # ids start anew for every scan
            return super().answer(request, workspace)

    reasoner = Reasoner(Renumbering())
    first = reasoner.ask(phantom_volume(), "the heart")
    before = first.mask("heart").sum()
    other = phantom_volume()
    other = type(other)(other.voxels * 0, other.affine)
    second = reasoner.ask(other, "the heart")
    assert first.objects[0].id == second.objects[0].id
    assert first.mask("heart").sum() == before
    assert second.mask("heart").sum() == 0
