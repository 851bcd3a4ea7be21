"""What a person does to the findings: strokes, names, copies, acceptance; and the way back by undo and redo."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import slicer
from ctreasoner import events as ev
from ctreasoner.errors import ResourceError
from scene_fixtures import GRIDS, Scene, Story, ball, heart, paint, placed, tell, whole, writer_of

SHAPE = (60, 50, 40)
HEART = placed(SHAPE, ball((21, 15, 11)), (7, 20, 3))


@pytest.fixture
def scene() -> Scene:
    return Scene()


# ---------------------------------------------------------------- edits

def test_a_stroke_makes_its_finding_outdated_and_the_mask_goes_to_the_engine(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct("oblique")
    writer, told = writer_of(scene, ct), []
    tell(writer, heart(tmp_path, ct))
    writer.on_change = told.append
    assert writer.check_edits() == []
    paint(writer.segmentation, "heart", (40, 40, 30))
    assert "edited" in told
    assert writer.check_edits() == ["a1.o1"] and writer.check_edits() == []
    assert writer.finding("a1.o1").outdated
    masks = writer.edited_masks(tmp_path / "edited")
    mask = np.load(masks["a1.o1"], allow_pickle=False)
    assert mask.dtype == np.uint8 and mask.flags.f_contiguous
    assert np.array_equal(mask > 0, HEART | placed(SHAPE, np.ones((3, 3, 3)), (40, 40, 30)))

    story = Story(tmp_path, "a2")  # what the engine answers to Request.edited
    story.measured("a1.o1", "volume", 12.5, "ml")
    story.said("a1.o1")
    story.done()
    tell(writer, story)
    found = writer.finding("a1.o1")
    assert (found.outdated, found.origin, found.volume_ml, found.verified) == (False, "corrected", 12.5, True)


def test_a_stroke_after_the_mask_was_sent_stays_outdated(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    paint(writer.segmentation, "heart", (40, 40, 30))
    writer.edited_masks(tmp_path)
    paint(writer.segmentation, "heart", (50, 40, 30))
    story = Story(tmp_path, "a2")
    story.measured("a1.o1", "volume", 12.5, "ml")
    story.done()
    tell(writer, story)
    assert writer.finding("a1.o1").outdated


def test_strokes_on_a_segment_of_a_person_are_none_of_ours(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    writer._store.layers.add("mine", "Mine", (1, 1, 0), ball((5, 5, 5)), (40, 30, 20))
    paint(writer.segmentation, "mine", (50, 40, 30))
    assert writer.check_edits() == [] and writer.edited_masks(tmp_path) == {}
    assert len(writer.findings()) == 1


def test_a_full_disk_is_a_sentence(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    paint(writer.segmentation, "heart", (40, 40, 30))
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResourceError):
        writer.edited_masks(tmp_path / "file")


def test_a_renamed_and_recoloured_segment_keeps_its_finding(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, told = writer_of(scene, ct), []
    tell(writer, heart(tmp_path, ct))
    writer.on_change = told.append
    segment = writer.segmentation.GetSegmentation().GetSegment("heart")
    segment.SetName("Herz")
    segment.SetColor(0.1, 0.2, 0.3)
    assert told and set(told) == {"findings"}
    found = writer.finding("a1.o1")
    assert found.display == "Herz" and np.allclose(found.colour, (0.1, 0.2, 0.3)) and not found.outdated


def test_a_copy_that_a_person_makes_of_a_segment_is_theirs(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    segmentation = writer.segmentation.GetSegmentation()
    copy = slicer.vtkSegment()
    copy.DeepCopy(segmentation.GetSegment("heart"))
    assert segmentation.AddSegment(copy, "mine")
    writer = writer_of(scene, ct)
    assert [f.segment_id for f in writer.findings()] == ["heart"]
    tell(writer, heart(tmp_path, ct, "a2", (20, 10, 20)))
    assert np.array_equal(whole(writer.segmentation, "mine", ct), HEART)


def test_a_segment_that_a_person_removes_takes_its_finding_along(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, told = writer_of(scene, ct), []
    tell(writer, heart(tmp_path, ct))
    writer.on_change = told.append
    writer.segmentation.GetSegmentation().RemoveSegment("heart")
    assert writer.findings() == [] and "removed" in told
    tell(writer, heart(tmp_path, ct, "a2"))
    assert np.array_equal(whole(writer.segmentation, writer.findings()[0].segment_id, ct), HEART)


# ---------------------------------------------------------------- undo

def test_undo_takes_an_answer_back_and_redo_brings_it_again(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    assert not writer.undo() and not writer.can_undo()
    tell(writer, heart(tmp_path, ct))
    writer.set_visible("a1.o1", False)
    tell(writer, heart(tmp_path, ct, "a2", (20, 10, 20)))
    later = placed(SHAPE, ball((21, 15, 11)), (20, 10, 20))
    assert writer.undo_answer == "a2" and not writer.needs_asking_before_undo()
    assert writer.undo()
    (found,) = writer.findings()
    assert (found.id, found.visible, found.volume_ml) == ("a1.o1", False, pytest.approx(HEART.sum() * 5.625 / 1000))
    assert np.array_equal(whole(writer.segmentation, found.segment_id, ct), HEART)
    assert (writer.undo_answer, writer.redo_answer) == ("a1", "a2")
    assert writer.undo() and writer.findings() == [] and not writer.can_undo()
    assert writer.redo() and writer.redo()
    assert not writer.can_redo() and not writer.redo()
    (found,) = writer.findings()
    assert found.id == "a2.o1"
    assert np.array_equal(whole(writer.segmentation, found.segment_id, ct), later)


def test_undo_asks_before_it_takes_manual_strokes_and_redo_brings_them_back(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    paint(writer.segmentation, "heart", (40, 40, 30))
    drawn = HEART | placed(SHAPE, np.ones((3, 3, 3)), (40, 40, 30))
    assert writer.needs_asking_before_undo()
    assert writer.undo() and writer.findings() == []
    assert writer.redo()
    assert np.array_equal(whole(writer.segmentation, "heart", ct), drawn)
    assert writer.finding("a1.o1").outdated


def test_an_answer_that_touched_other_segments_is_undone_without_asking(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    story = Story(tmp_path, "a2")
    story.find(1, "aorta", "Aorta", ball((9, 9, 9)), (40, 30, 20), GRIDS["plain"])
    story.done()
    tell(writer, story)
    paint(writer.segmentation, "heart", (40, 40, 30))
    assert not writer.needs_asking_before_undo()
    assert writer.undo()
    assert [f.id for f in writer.findings()] == ["a1.o1"] and writer.needs_asking_before_undo()
    assert whole(writer.segmentation, "heart", ct).sum() == HEART.sum() + 27


def test_undo_in_shared_images_leaves_the_neighbours(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), Story(tmp_path)
    for n in range(1, 11):
        story.exists(n, "nodule", "Nodule")
        story.mask(n, ball((8, 8, 8), n), (9 * (n % 5), 12 * (n // 5), 3 * n))
    story.done()
    tell(writer, story)
    assert writer.segmentation.GetSegmentation().GetNumberOfLayers() == 1
    story = Story(tmp_path, "a2")
    story.mask("a1.o3", ball((12, 6, 6)), (40, 40, 30), "refined")
    story.done()
    tell(writer, story)
    assert writer.undo()
    for n, found in enumerate(writer.findings(), 1):
        assert np.array_equal(whole(writer.segmentation, found.segment_id, ct),
                              placed(SHAPE, ball((8, 8, 8), n), (9 * (n % 5), 12 * (n // 5), 3 * n)))


def test_an_open_answer_is_undone_as_far_as_it_came(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), heart(tmp_path, ct)
    writer.begin("a1", "q")
    for event in story.events[:-3]:
        writer.apply(event, tmp_path)
    assert writer.undo() and writer.findings() == []
    for event in story.events[-3:]:
        writer.apply(event, tmp_path)  # what still comes of it is left out
    assert writer.findings() == []


def test_a_stroke_in_the_middle_of_an_answer_is_asked_for_and_kept_until_then(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), heart(tmp_path, ct)
    writer.begin("a1", "q")
    for event in story.events:
        if isinstance(event, ev.Measurement) and event.name == "volume":
            paint(writer.segmentation, "heart", (40, 40, 30))
            assert writer.check_edits() == ["a1.o1"]
        writer.apply(event, tmp_path)
    assert writer.finding("a1.o1").outdated and writer.needs_asking_before_undo()
    assert whole(writer.segmentation, "heart", ct).sum() == HEART.sum() + 27


def test_more_than_twenty_answers_are_not_kept_for_undo(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    for n in range(1, 24):
        tell(writer, heart(tmp_path, ct, f"a{n}", (n, 20, 3)))
    count = 0
    while writer.undo():
        count += 1
    assert count == 20
    assert np.array_equal(whole(writer.segmentation, "heart", ct), placed(SHAPE, ball((21, 15, 11)), (3, 20, 3)))


def test_a_failed_answer_that_changed_nothing_is_no_step(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), Story(tmp_path)
    story.start(("heart",))
    story.emit(ev.Failed, code="X", sentence="It broke.")
    tell(writer, story)
    assert not writer.can_undo()


def test_a_rejected_finding_goes_and_comes_back(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    writer.accept("a1.o1")
    assert writer.reject("a1.o1") and not writer.reject("a1.o1")
    assert writer.findings() == [] and writer.undo_answer == ""
    assert writer.undo()
    assert writer.finding("a1.o1").origin == "accepted"
    assert np.array_equal(whole(writer.segmentation, "heart", ct), HEART)
