"""Events become segments, boxes and findings: exact voxels and positions on every grid, and no node too many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicer
from ctreasoner import events as ev
from ctreasoner.errors import InputError
from ctreasoner.scene import SceneWriter, world_matrix
from ctreasoner.scene.boxes import SPARE
from ctreasoner.scene.identity import ALGORITHM_NAME, ALGORITHM_TYPE, FINDING_ID, tag
from ctreasoner.scene.layers import SURFACE
from ctreasoner.vocabulary import Vocabulary
from scene_fixtures import GRIDS, Scene, Story, ball, placed, rotation, tell, whole

SHAPE = (60, 50, 40)
VOCABULARY = Vocabulary.load()


@pytest.fixture
def scene() -> Scene:
    return Scene()


def writer_of(scene: Scene, ct, **options) -> SceneWriter:
    return SceneWriter(scene.mrml, ct, VOCABULARY, scene.logics, **options)


def heart_and_aorta(folder: Path, ct, answer: str = "a1", move: int = 0) -> Story:
    story, affine = Story(folder, answer), world_matrix(ct)
    story.start(("heart", "aorta"))
    story.find(1, "heart", "Heart", ball((21, 15, 11)), (7 + move, 20, 3), affine)
    story.find(2, "aorta", "Aorta", ball((9, 9, 25), 2), (35, 8 + move, 10), affine)
    story.said(1)
    story.said(2, "refuted")
    story.done()
    return story


def boxes_shown(scene: Scene) -> list:
    nodes = [scene.mrml.GetNthNodeByClass(n, "vtkMRMLMarkupsROINode")
             for n in range(scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode"))]
    return [n for n in nodes if n.GetDisplayNode().GetVisibility()]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("moved", [False, True])
def test_voxels_and_positions_are_exact_on_every_grid_and_when_moved(scene: Scene, tmp_path: Path, grid: str, moved: bool) -> None:
    ct = scene.add_ct(grid)
    if moved:
        turn = rotation(25, 10, -40)
        turn[:3, 3] = 30, -12, 5
        scene.add_transform(ct, turn)
    writer, story = writer_of(scene, ct), heart_and_aorta(tmp_path, ct)
    tell(writer, story)
    node = writer.segmentation
    heart, aorta = writer.findings()
    assert np.array_equal(whole(node, heart.segment_id, ct), placed(SHAPE, ball((21, 15, 11)), (7, 20, 3)))
    assert np.array_equal(whole(node, aorta.segment_id, ct), placed(SHAPE, ball((9, 9, 25), 2), (35, 8, 10)))
    assert node.GetTransformNodeID() == ct.GetTransformNodeID()
    box = [e for e in story.events if isinstance(e, ev.Box) and e.object == "a1.o1"][-1]
    assert np.allclose(heart.box[0], box.centre_ras, atol=1e-3)
    assert np.allclose(heart.box[1], box.size_mm, atol=1e-3)
    roi = next(n for n in boxes_shown(scene) if n.GetName() == "Heart")
    bounds = [0.0] * 6
    roi.GetRASBounds(bounds)
    expected = [v for c, s in zip(box.centre_ras, box.size_mm, strict=True) for v in (c - s / 2, c + s / 2)]
    assert np.allclose(bounds, expected, atol=1e-3)
    middle = np.argwhere(whole(node, heart.segment_id, ct)).mean(0)
    in_world = (world_matrix(ct) @ [*middle, 1])[:3]
    assert np.linalg.norm(np.array(writer.centre_of(heart.id)) - in_world) < 3.0


def test_a_segment_says_what_it_is(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart_and_aorta(tmp_path, ct))
    heart, aorta = writer.findings()
    segment = writer.segmentation.GetSegmentation().GetSegment(heart.segment_id)
    assert tag(segment, FINDING_ID) == "a1.o1"
    assert tag(segment, ALGORITHM_TYPE) == "AUTOMATIC"
    assert tag(segment, ALGORITHM_NAME) == "CTReasoner compact"
    assert "SCT^80891009^Heart" in segment.GetTerminology()
    assert np.allclose(segment.GetColor(), np.array(VOCABULARY["heart"].colour) / 255)
    assert (heart.display, heart.key, heart.tier, heart.origin, heart.verified, heart.confidence) == (
        "Heart", "heart", "A", "model", True, 0.97)
    assert aorta.verified is False
    assert heart.mean_hu == 41.5
    assert heart.volume_ml == pytest.approx(ball((21, 15, 11)).sum() * 1.5 * 1.5 * 2.5 / 1000)
    assert writer.finding_of_segment(aorta.segment_id).id == "a1.o2"
    assert writer.finding_of_segment("nothing") is None


def test_nodes_do_not_grow_over_fifty_answers(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart_and_aorta(tmp_path, ct))
    nodes, segments = scene.count(), writer.segmentation.GetSegmentation().GetNumberOfSegments()
    for n in range(2, 52):
        tell(writer, heart_and_aorta(tmp_path, ct, f"a{n}", n % 3))
    assert scene.count() == nodes
    assert writer.segmentation.GetSegmentation().GetNumberOfSegments() == segments == 2
    assert [f.id for f in writer.findings()] == ["a51.o1", "a51.o2"]
    assert writer.finding("a7.o2").id == "a51.o2"  # a link in an old sentence still leads somewhere
    assert writer._store.journal.size < 20 * 2000
    assert len(writer._store.journal.done) == 20


def test_boxes_are_locked_labelled_coloured_by_step_and_hidden_afterwards(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), heart_and_aorta(tmp_path, ct)
    writer.begin("a1", "where?")
    colours = []
    for event in story.events:
        writer.apply(event, tmp_path)
        if isinstance(event, ev.Look):
            shown = boxes_shown(scene)
            assert all(n.GetLocked() and not n.GetDisplayNode().GetHandlesInteractive() for n in shown)
            look = next(n for n in shown if ("look" in n.GetName() and f"look {1 + (event.why == 'boundary')}" in n.GetName())
                        or (event.object is None and n.GetName() == "Whole scan"))
            assert np.allclose(look.GetCenterWorld(), event.view.centre_ras, atol=1e-3)
            assert np.allclose(look.GetSize(), event.view.size_mm, atol=1e-3)
            colours.append(look.GetDisplayNode().GetSelectedColor())
    assert len(set(colours[:3])) == 3
    assert [n.GetName() for n in boxes_shown(scene)] == ["Heart", "Aorta"]
    assert scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") <= 5


def test_boxes_that_are_made_ahead_are_used_and_leave_no_trace_before(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    before = scene.count()
    for _ in range(20):
        writer.make_ready()
    spare = [scene.mrml.GetNthNodeByClass(n, "vtkMRMLMarkupsROINode") for n in
             range(scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode"))]
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    assert len(spare) == SPARE and scene.count() == before + 2 * SPARE      # with its display node each
    for node in spare:
        assert not node.GetSaveWithScene() and not node.GetDisplayNode().GetSaveWithScene()
        assert node.GetHideFromEditors() and tree.GetItemByDataNode(node) == 0 and not node.GetDisplayVisibility()
    tell(writer, heart_and_aorta(tmp_path, ct))
    assert scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode") == SPARE
    seen = [node for node in spare if not node.GetHideFromEditors()]
    assert 0 < len(boxes_shown(scene)) <= len(seen) < SPARE
    for node in seen:
        assert node.GetSaveWithScene() and node.GetDisplayNode().GetSaveWithScene() and tree.GetItemByDataNode(node) != 0
    scene.mrml.RemoveNode(ct)
    writer.make_ready()


def test_a_stream_may_stop_after_any_event(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    events = heart_and_aorta(tmp_path, ct).events
    for stop in range(1, len(events)):
        writer.begin("a1", "again")
        for event in events[:stop]:
            writer.apply(event, tmp_path)
        writer.findings()
        writer.end()
        while writer.can_undo():
            assert writer.undo()
        assert writer.findings() == []


def test_no_surface_while_an_answer_streams_and_all_of_them_afterwards(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart_and_aorta(tmp_path, ct))
    segmentation = writer.segmentation.GetSegmentation()
    for _ in range(2):
        assert writer.build_3d_step() is True
        assert not any(segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in segmentation.GetSegmentIDs())
    assert writer.build_3d_step() is False
    surfaces = [segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in segmentation.GetSegmentIDs()]
    assert all(s.GetNumberOfPoints() > 100 for s in surfaces)
    writer.begin("a2", "more")
    assert not any(segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in segmentation.GetSegmentIDs())
    for event in heart_and_aorta(tmp_path, ct, "a2").events[:-1]:
        writer.apply(event, tmp_path)
        assert writer.build_3d_step() is False
        assert not any(segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in segmentation.GetSegmentIDs())


def test_an_object_that_is_lost_on_the_way_leaves_nothing(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), Story(tmp_path)
    story.start(("heart",))
    story.find(1, "heart", "Heart", ball((9, 9, 9)), (5, 5, 5), GRIDS["plain"])
    story.exists(1, "heart", "Heart", state="absent", probability=0.2)
    story.done()
    tell(writer, story)
    assert writer.findings() == []
    assert writer.segmentation.GetSegmentation().GetNumberOfSegments() == 0
    assert boxes_shown(scene) == []


def test_a_detection_alone_is_a_finding_without_a_segment(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), Story(tmp_path)
    story.start(("heart",))
    story.exists(1, "heart", "Heart")
    story.box(1, (5, 6, 7), (30, 20, 10))
    story.done()
    tell(writer, story)
    (found,) = writer.findings()
    assert (found.segment_id, found.display, found.visible) == ("", "Heart", True)
    assert writer.segmentation is None
    writer.set_visible(found.id, False)
    assert not writer.finding(found.id).visible
    assert writer.show_box(found.id)
    assert np.allclose(writer.centre_of(found.id), (5, 6, 7))
    assert writer.undo()
    assert writer.findings() == []


def test_two_clicked_things_are_two_segments_and_a_correction_changes_one(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    for n, first in ((1, (5, 5, 5)), (2, (30, 20, 10))):
        story = Story(tmp_path, f"a{n}")
        story.exists(1, "thing", "Clicked structure", probability=None)
        story.mask(1, ball((9, 9, 9)), first)
        story.done()
        tell(writer, story)
    one, two = writer.findings()
    assert (one.display, two.display) == ("Clicked structure", "Clicked structure 2")
    assert one.colour != two.colour
    story = Story(tmp_path, "a3")
    story.mask("a1.o1", ball((12, 9, 9)), (5, 5, 5), "refined")
    story.done()
    tell(writer, story)
    corrected = writer.finding("a1.o1")
    assert corrected.origin == "corrected"
    segment = writer.segmentation.GetSegmentation().GetSegment(corrected.segment_id)
    assert tag(segment, ALGORITHM_TYPE) == "SEMIAUTOMATIC"
    assert np.array_equal(whole(writer.segmentation, two.segment_id, ct), placed(SHAPE, ball((9, 9, 9)), (30, 20, 10)))


def test_an_accepted_finding_is_not_replaced_by_a_newer_answer(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart_and_aorta(tmp_path, ct))
    assert writer.accept("a1.o1")
    assert tag(writer.segmentation.GetSegmentation().GetSegment("heart"), "Segmentation.Status") == "completed"
    tell(writer, heart_and_aorta(tmp_path, ct, "a2", 2))
    assert [(f.id, f.display, f.origin) for f in writer.findings()] == [
        ("a1.o1", "Heart", "accepted"), ("a2.o1", "Heart 2", "model"), ("a2.o2", "Aorta", "model")]
    assert np.array_equal(whole(writer.segmentation, "heart", ct), placed(SHAPE, ball((21, 15, 11)), (7, 20, 3)))


@pytest.mark.parametrize("others", ["keep", "overwrite", "lock"])
def test_a_segment_of_a_person_is_kept_overwritten_or_locked_as_told(scene: Scene, tmp_path: Path, others: str) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct, others=others)
    tell(writer, heart_and_aorta(tmp_path, ct))
    mine = ball((12, 12, 8), 4)
    writer._store.layers.add("mine", "Mine", (1, 1, 0), mine, (12, 24, 4))
    drawn, heart = placed(SHAPE, mine, (12, 24, 4)), placed(SHAPE, ball((21, 15, 11)), (8, 20, 3))
    assert (drawn & heart).any()
    tell(writer, heart_and_aorta(tmp_path, ct, "a2", 1))
    node = writer.segmentation
    assert np.array_equal(whole(node, "mine", ct), drawn & ~heart if others == "overwrite" else drawn)
    assert np.array_equal(whole(node, "heart", ct), heart & ~drawn if others == "lock" else heart)
    assert writer.undo()
    assert np.array_equal(whole(node, "mine", ct), drawn)


def test_evidence_is_a_line_where_the_diameter_was_taken(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct("oblique")
    scene.add_transform(ct, rotation(0, 0, 30))
    writer, story = writer_of(scene, ct), heart_and_aorta(tmp_path, ct)
    tell(writer, story)
    event = next(e for e in story.events if isinstance(e, ev.Measurement) and e.geometry)
    middle = writer.evidence(event.id)
    assert np.allclose(middle, np.mean(event.geometry["ends_ras"], axis=0), atol=0.01)
    line = scene.mrml.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
    ends = np.zeros((2, 3))
    for n in range(2):
        line.GetNthControlPointPositionWorld(n, ends[n])
    assert np.allclose(ends, event.geometry["ends_ras"], atol=0.01)
    assert line.GetLocked() and line.GetDisplayNode().GetVisibility()
    assert f"{event.value:.1f} mm" in line.GetName()
    origin, normal = writer.plane_of(event.id)
    assert np.allclose(normal, (0, 0, 1), atol=1e-6) and np.allclose(origin, middle)
    nodes = scene.count()
    writer.evidence("a1.o2.m3")
    assert scene.count() == nodes
    writer.clear_evidence()
    assert not line.GetDisplayNode().GetVisibility()
    assert writer.evidence("a1.o1.m1") is None  # a volume cannot be drawn


@pytest.mark.parametrize(("plane", "normal"), [
    ("axial", (0, 0, 1)), ("coronal", (0, 1, 0)), ("sagittal", (1, 0, 0)), ("askew", None)])
def test_a_plane_may_be_a_word(scene: Scene, tmp_path: Path, plane: str, normal: tuple | None) -> None:
    ct = scene.add_ct("oblique")
    writer, story = writer_of(scene, ct), heart_and_aorta(tmp_path, ct)
    story.events = [replace(e, geometry={**e.geometry, "plane": plane}) if isinstance(e, ev.Measurement) and e.geometry else e
                    for e in story.events]
    tell(writer, story)
    found = writer.plane_of(next(e.id for e in story.events if isinstance(e, ev.Measurement) and e.geometry))
    assert found is None if normal is None else np.allclose(found[1], normal, atol=1e-6)


def test_results_follow_when_the_ct_is_moved(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), heart_and_aorta(tmp_path, ct)
    tell(writer, story)
    writer.evidence("a1.o1.m3")
    before = {n.GetName(): np.array(n.GetCenterWorld()) for n in boxes_shown(scene)}
    box = writer.finding("a1.o1").box
    turn = rotation(0, 0, 90)
    turn[:3, 3] = 10, 20, 30
    transform = scene.add_transform(ct, turn)
    assert writer.segmentation.GetTransformNodeID() == transform.GetID()
    for node in boxes_shown(scene):
        assert np.allclose(node.GetCenterWorld(), (turn @ [*before[node.GetName()], 1])[:3], atol=1e-3)
    assert np.allclose(writer.finding("a1.o1").box[0], (turn @ [*box[0], 1])[:3])
    ct.SetAndObserveTransformNodeID(None)
    assert writer.segmentation.GetTransformNodeID() is None
    assert np.allclose(writer.finding("a1.o1").box[0], box[0])


def test_a_ct_that_is_moved_in_the_middle_of_an_answer_keeps_masks_and_boxes_together(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), heart_and_aorta(tmp_path, ct)
    writer.begin("a1", "q")
    for event in story.events[:8]:
        writer.apply(event, tmp_path)
    turn = rotation(0, 90, 0)
    scene.add_transform(ct, turn)
    for event in story.events[8:]:
        writer.apply(event, tmp_path)
    box = [e for e in story.events if isinstance(e, ev.Box) and e.object == "a1.o2"][-1]
    assert np.allclose(writer.finding("a1.o2").box[0], (turn @ [*box.centre_ras, 1])[:3], atol=1e-3)


def test_a_bent_ct_is_refused_with_a_sentence(scene: Scene) -> None:
    ct = scene.add_ct()
    scene.add_bend(ct)
    with pytest.raises(InputError, match="bends it") as caught:
        writer_of(scene, ct)
    assert caught.value.code == "CTR-SCN-004" and "straightened" in caught.value.hint


def test_everything_stands_under_the_study_of_the_ct(scene: Scene, tmp_path: Path) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    patient = tree.CreateSubjectItem(tree.GetSceneItemID(), "P")
    study = tree.CreateStudyItem(patient, "S")
    ct = scene.add_ct()
    tree.CreateItem(study, ct)
    writer = writer_of(scene, ct)
    tell(writer, heart_and_aorta(tmp_path, ct))
    assert tree.GetItemParent(tree.GetItemByDataNode(writer.segmentation)) == study
    for node in boxes_shown(scene):
        folder = tree.GetItemParent(tree.GetItemByDataNode(node))
        assert tree.GetItemParent(folder) == study
    assert writer._boxes.ct is ct


def test_without_a_study_results_stand_beside_the_ct(scene: Scene, tmp_path: Path) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    folder = tree.CreateFolderItem(tree.GetSceneItemID(), "F")
    ct = scene.add_ct()
    tree.CreateItem(folder, ct)
    writer = writer_of(scene, ct)
    tell(writer, heart_and_aorta(tmp_path, ct))
    assert tree.GetItemParent(tree.GetItemByDataNode(writer.segmentation)) == folder


def test_a_bad_mask_file_is_an_input_error_and_the_answer_goes_on(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), heart_and_aorta(tmp_path, ct)
    mask = next(e for e in story.events if isinstance(e, ev.Mask))
    (tmp_path / mask.path).write_bytes(b"no array")
    writer.begin("a1", "q")
    for event in story.events:
        if event is mask:
            with pytest.raises(InputError):
                writer.apply(event, tmp_path)
        else:
            writer.apply(event, tmp_path)
    assert len(writer.findings()) == 2


def test_many_segments_share_one_image_after_the_answer(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), Story(tmp_path)
    for n in range(1, 11):
        story.exists(n, "nodule", "Nodule")
        story.mask(n, ball((8, 8, 8), n), (9 * (n % 5), 12 * (n // 5), 3 * n))
    story.done()
    tell(writer, story)
    segmentation = writer.segmentation.GetSegmentation()
    assert (segmentation.GetNumberOfSegments(), segmentation.GetNumberOfLayers()) == (10, 1)
    for n, found in enumerate(writer.findings(), 1):
        assert np.array_equal(whole(writer.segmentation, found.segment_id, ct),
                              placed(SHAPE, ball((8, 8, 8), n), (9 * (n % 5), 12 * (n // 5), 3 * n)))
    assert writer.check_edits() == []
