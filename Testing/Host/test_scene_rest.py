"""What seldom happens to the scene: events about nothing, boxes without segments, calls that come too late."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ctreasoner import events as ev
from ctreasoner.scene import Transcript
from ctreasoner.scene.evidence import EvidenceLine
from scene_fixtures import GRIDS, Scene, Story, ball, heart, tell, writer_of


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_an_empty_mask_and_numbers_about_nothing_leave_nothing(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), Story(tmp_path)
    story.start(("heart",))
    story.exists(1, "heart", "Heart")
    story.mask(1, np.zeros((0, 0, 0), np.uint8), (0, 0, 0))
    story.measured(1, "volume", 3.0, "ml")
    story.done()
    tell(writer, story)
    assert writer.findings() == [] and writer.segmentation.GetSegmentation().GetNumberOfSegments() == 0


def test_a_box_without_a_segment_is_hidden_and_shown_and_leads_to_its_middle(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), Story(tmp_path)
    story.start(("heart",))
    story.exists(1, "heart", "Heart")
    story.box(1, (10.0, 12.0, 14.0), (20.0, 20.0, 20.0))
    story.done()
    tell(writer, story)
    (finding,) = writer.findings()
    assert finding.segment_id == "" and finding.visible
    writer.set_visible(finding.id, False)
    assert not writer.finding(finding.id).visible
    writer.set_visible(finding.id, True)
    assert writer.finding(finding.id).visible and writer.centre_of(finding.id) == pytest.approx((10.0, 12.0, 14.0))
    assert writer.centre_of("a9.o9") is None
    tell(writer, heart(tmp_path, ct, "a2"))
    assert writer.undo() and [f.id for f in writer.findings()] == [finding.id]       # no segment remembers it


def test_a_look_of_a_past_answer_is_not_shown_into_an_open_one(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    writer.begin("a1", "where?")
    writer.show_look(((0, 0, 0), (50, 50, 50), np.eye(3)), 0, "look 1", [])
    assert not writer._boxes.is_shown("look now")
    writer.end()
    writer.show_look(((0, 0, 0), (50, 50, 50), np.eye(3)), 0, "look 1", [])
    assert writer._boxes.is_shown("look now")


def test_an_object_of_an_earlier_answer_that_is_lost_now_stays(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    later = Story(tmp_path, "a2")
    later.start(("heart",))
    later.emit(ev.Existence, object="a1.o1", name="heart", display="Heart", state="absent", probability=0.6,
               by=ev.By(kind="model", name="test"))
    later.done()
    tell(writer, later)
    assert [f.id for f in writer.findings()] == ["a1.o1"]


def test_a_line_whose_node_a_person_removed_is_made_anew(scene: Scene) -> None:
    ct = scene.add_ct()
    line = EvidenceLine(scene.mrml, ct)
    ends = np.array([[0.0, 0.0, 0.0], [10.0, 0.0, 0.0]])
    line.show("Long axis 10.0 mm", ends, np.eye(4))
    node = line.node
    line.lose(node)
    scene.mrml.RemoveNode(node)
    line.show("Long axis 10.0 mm", ends, np.eye(4))
    assert line.node is not node and scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsLineNode") == 1


def test_the_id_of_a_finding_that_was_replaced_leads_to_the_newer_one(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    tell(writer, heart(tmp_path, ct, "a2", crop=ball((9, 9, 9)), first=(30, 20, 10)))
    assert [f.id for f in writer.findings()] == ["a2.o1"] and writer.finding("a1.o1").id == "a2.o1"


def test_an_event_that_comes_after_the_end_is_left_out_of_the_transcript(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    transcript, story = Transcript(scene.mrml, ct), heart(tmp_path, ct)
    transcript.apply(story.events[0])
    assert transcript.turns == []
    transcript.begin("a1", "where?")
    for event in story.events:
        transcript.apply(event)
    before = [len(t.looks) for t in transcript.turns]
    transcript.apply(next(e for e in story.events if isinstance(e, ev.Look)))
    assert [len(t.looks) for t in transcript.turns] == before
    transcript.close()


def test_regions_and_foreign_segments_of_nothing_are_none(scene: Scene) -> None:
    from test_scene_layers import layers_of

    layers = layers_of(scene, next(iter(GRIDS)))
    layers.segmentation.AddEmptySegment("empty")
    assert layers.region("empty", (0, 0, 0), (4, 4, 4)) is None
    writer = writer_of(scene, scene.add_ct(name="other"))
    assert writer._store.foreign() == []
