"""The CT, saving, closing and loading in the middle of an answer, the transcript, replay."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import slicer
from ctreasoner import events as ev
from ctreasoner.errors import InputError
from ctreasoner.scene import (
    Follower,
    Replay,
    Transcript,
    hardened_copy,
    voxels_of,
    world_matrix,
)
from ctreasoner.scene.transcript import restore
from scene_fixtures import GRIDS, Scene, Story, ball, heart, placed, rotation, tell, whole, writer_of

SHAPE = (60, 50, 40)
HEART = placed(SHAPE, ball((21, 15, 11)), (7, 20, 3))


@pytest.fixture
def scene() -> Scene:
    return Scene()


# ---------------------------------------------------------------- the CT

@pytest.mark.parametrize("grid", GRIDS)
def test_the_voxels_of_a_ct_come_with_their_world(scene: Scene, grid: str) -> None:
    ct = scene.add_ct(grid)
    turn = rotation(5, 6, 7)
    scene.add_transform(ct, turn)
    voxels, affine = voxels_of(ct)
    i, j, k = np.ogrid[:60, :50, :40]
    assert voxels.shape == SHAPE and np.array_equal(voxels, i - 2 * j + 3 * k - 50)
    assert voxels.flags.f_contiguous and np.shares_memory(voxels, voxels_of(ct)[0])
    assert np.allclose(affine, turn @ GRIDS[grid])


def test_what_is_no_ct_is_refused_with_a_sentence(scene: Scene) -> None:
    with pytest.raises(InputError, match="No CT"):
        voxels_of(None)
    empty = slicer.vtkMRMLScalarVolumeNode()
    empty.SetName("Empty")
    scene.mrml.AddNode(empty)
    with pytest.raises(InputError, match="no image"):
        voxels_of(empty)
    labels = slicer.vtkMRMLLabelMapVolumeNode()
    labels.SetName("Labels")
    with pytest.raises(InputError, match="Labels is not a CT"):
        voxels_of(labels)
    colour = scene.add_ct()
    from vtkmodules.vtkCommonDataModel import vtkImageData
    image = vtkImageData()
    image.SetDimensions(4, 4, 4)
    image.AllocateScalars(3, 3)
    colour.SetAndObserveImageData(image)
    with pytest.raises(InputError, match="3 numbers"):
        voxels_of(colour)


def test_a_bent_ct_is_refused_and_its_straightened_copy_is_taken(scene: Scene) -> None:
    ct = scene.add_ct()
    scene.add_bend(ct)
    with pytest.raises(InputError, match="bends"):
        voxels_of(ct)
    copy = hardened_copy(scene.mrml, ct)
    voxels, _ = voxels_of(copy)
    assert voxels.shape[0] > 1 and copy.GetParentTransformNode() is None
    assert ct.GetParentTransformNode() is not None and copy.GetID() != ct.GetID()
    writer_of(scene, copy)


def test_a_copy_of_a_ct_under_a_linear_transform_keeps_its_voxels_and_its_place(scene: Scene) -> None:
    ct = scene.add_ct()
    scene.add_transform(ct, rotation(0, 0, 30))
    copy = hardened_copy(scene.mrml, ct)
    assert np.allclose(world_matrix(copy), world_matrix(ct))
    assert np.array_equal(voxels_of(copy)[0], voxels_of(ct)[0])


# ---------------------------------------------------------------- scene and nodes that go

@pytest.mark.parametrize("gone", ["segmentation", "ct", "scene", "box", "display"])
def test_what_is_removed_in_the_middle_of_an_answer_is_no_error(scene: Scene, tmp_path: Path, gone: str) -> None:
    ct = scene.add_ct()
    writer, told = writer_of(scene, ct), []
    transcript = Transcript(scene.mrml, ct)
    tell(writer, heart(tmp_path, ct))
    writer.on_change = told.append
    story = heart(tmp_path, ct, "a2", (20, 10, 20))
    for half in range(3, len(story.events), 4):
        writer.begin("a2", "q")
        transcript.begin("a2", "q")
        for n, event in enumerate(story.events):
            if n == half:
                if gone == "scene":
                    scene.mrml.Clear(0)
                else:
                    node = {"segmentation": writer.segmentation, "ct": ct,
                            "box": scene.mrml.GetFirstNodeByClass("vtkMRMLMarkupsROINode"),
                            "display": writer.segmentation and writer.segmentation.GetDisplayNode()}[gone]
                    if node is not None:
                        scene.mrml.RemoveNode(node)
            writer.apply(event, tmp_path)
            transcript.apply(event)
            writer.findings(), writer.undo_answer, writer.check_edits()
        writer.end()
        if gone in ("ct", "scene"):
            break
    if gone in ("ct", "scene"):
        assert writer.is_quiet and "closed" in told
        with pytest.raises(InputError, match="no longer"):
            writer.begin("a3", "q")
        writer.undo(), writer.redo(), writer.accept("a1.o1"), writer.build_3d_step(), writer.clear_evidence()
        writer.set_visible("a2.o1", False), writer.show_box("a2.o1"), writer.evidence("a2.o1.m3"), writer.edited_masks(tmp_path)
        writer.close()
    else:
        tell(writer, heart(tmp_path, ct, "a9"))
        assert np.array_equal(whole(writer.segmentation, writer.findings()[0].segment_id, ct), HEART)
        assert writer.build_3d_step() is True and writer.build_3d_step() is False


def saved_and_loaded(scene: Scene, folder: Path) -> Scene:
    """The scene written to a folder and read into a new one."""
    folder.mkdir(exist_ok=True)
    scene.mrml.SetRootDirectory(str(folder))
    scene.mrml.InvokeEvent(slicer.vtkMRMLScene.StartSaveEvent)
    for n in range(scene.mrml.GetNumberOfNodesByClass("vtkMRMLStorableNode")):
        node = scene.mrml.GetNthNodeByClass(n, "vtkMRMLStorableNode")
        if not node.GetSaveWithScene() or node.IsA("vtkMRMLTextNode"):
            continue
        if node.GetStorageNode() is None:
            node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        if storage is not None:
            extension = {"vtkMRMLSegmentationNode": ".seg.nrrd", "vtkMRMLScalarVolumeNode": ".nrrd",
                         "vtkMRMLLinearTransformNode": ".h5"}.get(node.GetClassName(), ".mrk.json")
            storage.SetFileName(str(folder / f"{node.GetID()}{extension}"))
            assert storage.WriteData(node), node.GetName()
    scene.mrml.SetURL(str(folder / "scene.mrml"))
    assert scene.mrml.Commit()
    other = Scene()
    other.mrml.SetURL(str(folder / "scene.mrml"))
    assert other.mrml.Connect()
    return other


@pytest.mark.parametrize("grid", ["plain", "oblique", "permuted"])
def test_a_scene_saved_in_the_middle_of_an_answer_comes_back_with_everything(scene: Scene, tmp_path: Path, grid: str) -> None:
    ct = scene.add_ct(grid)
    scene.add_transform(ct, rotation(0, 20, 0))
    writer, transcript = writer_of(scene, ct), Transcript(scene.mrml, ct)
    story = heart(tmp_path, ct)
    transcript.begin("a1", "Wo ist das Herz? αβγ |~^:é\n<b>")
    writer.begin("a1", "q")
    for event in story.events:
        writer.apply(event, tmp_path)
        transcript.apply(event)
    writer.accept("a1.o1")
    writer.evidence("a1.o1.m3")
    before = writer.finding("a1.o1")
    second = heart(tmp_path, ct, "a2", (20, 10, 20))
    writer.begin("a2", "again")
    transcript.begin("a2", "again")
    for event in second.events[:9]:
        writer.apply(event, tmp_path)
        transcript.apply(event)
    loaded = saved_and_loaded(scene, tmp_path / "saved")
    for event in second.events[9:]:
        writer.apply(event, tmp_path)  # the answer goes on in the old scene
    assert len(writer.findings()) == 2

    ct2 = loaded.mrml.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
    # Slicer's reader makes a left-handed CT right-handed: its slices come in the other order then
    kept = HEART if np.allclose(world_matrix(ct2), world_matrix(ct)) else HEART[:, :, ::-1]
    nodes = loaded.count()
    again, talk = writer_of(loaded, ct2), Transcript(loaded.mrml, ct2)
    found = again.finding("a1.o1")
    assert (found.display, found.key, found.origin, found.verified, found.outdated) == ("Heart", "heart", "accepted", True, False)
    assert (found.volume_ml, found.mean_hu, found.confidence) == (before.volume_ml, before.mean_hu, before.confidence)
    assert np.allclose(found.box[0], before.box[0], atol=1e-3) and np.allclose(found.box[1], before.box[1], atol=1e-3)
    assert np.array_equal(whole(again.segmentation, found.segment_id, ct2), kept)
    assert again.check_edits() == []
    assert again.evidence("a1.o1.m3") is not None
    assert [(t.answer, t.state) for t in talk.turns] == [("a1", "done"), ("a2", "cancelled")]
    assert talk.turns[0].question == "Wo ist das Herz? αβγ |~^:é\n<b>"
    assert talk.turns[0].text == "It is here." and len(talk.turns[0].looks) == 3
    # ids begin anew in a new conversation: the old finding keeps its segment under another id
    tell(again, heart(tmp_path, ct2, "a1", (30, 20, 15)))
    assert {f.id: f.origin for f in again.findings()} == {"a1.o1~1": "accepted", "a1.o1": "model"}
    assert np.array_equal(whole(again.segmentation, again.finding("a1.o1~1").segment_id, ct2), kept)
    assert loaded.count() <= nodes + 4  # boxes, line and segmentation are used again


# ---------------------------------------------------------------- transcript and replay

def test_a_turn_holds_words_description_and_looks(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    transcript, story = Transcript(scene.mrml, ct), heart(tmp_path, ct)
    transcript.begin("a1", "where?")
    for event in story.events:
        transcript.apply(event)
    (turn,) = restore(transcript.node.GetText())
    assert (turn.state, turn.text, len(turn.statements)) == ("done", "It is here.", 1)
    assert turn.spans == [{"start": 0, "end": 2, "kind": "object", "ref": "a1.o1"}]
    (thing,) = turn.objects
    assert (thing["key"], thing["display"], thing["state"]) == ("heart", "Heart", "present")
    assert {m["name"] for m in thing["measurements"]} == {"volume", "mean_hu", "long_axis"}
    assert [look["why"] for look in turn.looks] == ["whole scan", "region", "boundary"]
    assert len(transcript.node.GetText()) < 4000
    transcript.mark("a1", "undone")
    assert restore(transcript.node.GetText())[0].state == "undone"


def test_spans_of_a_text_in_pieces_count_in_the_whole(scene: Scene) -> None:
    transcript = Transcript(scene.mrml, scene.add_ct())
    transcript.begin("a1", "q")
    stream = ev.Stream("a1")
    for piece in ("The heart ", "is large."):
        transcript.apply(stream.emit(ev.Text, text=piece, spans=(ev.Span(start=0, end=2, kind="object", ref="a1.o1"),)))
    transcript.apply(stream.emit(ev.Failed, code="X", sentence="It broke.", hint="Try again."))
    (turn,) = transcript.turns
    assert turn.text == "The heart is large." and [s["start"] for s in turn.spans] == [0, 10]
    assert (turn.state, turn.problem) == ("failed", "It broke. Try again.")


def test_damaged_lines_and_newer_versions_are_left_out() -> None:
    good = json.dumps({"v": 1, "answer": "a1", "question": "q\u2028?"}, ensure_ascii=False)
    text = "\n".join([good, "{broken", json.dumps({"v": 99, "answer": "b", "question": "q"}), "[]", json.dumps({"v": 1}), ""])
    assert [t.answer for t in restore(text)] == ["a1"]


def test_a_transcript_belongs_to_its_ct_and_one_node_serves_all_turns(scene: Scene) -> None:
    one, two = scene.add_ct(), scene.add_ct(name="Other")
    first, second = Transcript(scene.mrml, one), Transcript(scene.mrml, two)
    for n in range(5):
        first.begin(f"a{n}", "q")
    second.begin("a0", "other")
    assert scene.mrml.GetNumberOfNodesByClass("vtkMRMLTextNode") == 2
    assert [t.question for t in Transcript(scene.mrml, two).turns] == ["other"]
    scene.mrml.RemoveNode(first.node)
    first.begin("a9", "after")
    assert [t.answer for t in Transcript(scene.mrml, one).turns][-1] == "a9"


def test_a_past_answer_is_replayed_look_by_look(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    (red, _, _), _ = scene.add_views()
    writer, transcript, follower = writer_of(scene, ct), Transcript(scene.mrml, ct), Follower(scene.mrml, ct)
    story = heart(tmp_path, ct)
    transcript.begin("a1", "q")
    for event in story.events:
        transcript.apply(event)
    tell(writer, story)
    looks = [e for e in story.events if isinstance(e, ev.Look)]
    replay = Replay(restore(transcript.node.GetText())[0], follower, writer)
    assert len(replay) == 3 and replay.label(2) == "3 of 3: Heart, boundary"
    nodes = None
    for index in (0, 1, 2, 1, 0, 2):
        replay.show(index)
        follower.finish()
        middle = [red.GetSliceToRAS().GetElement(r, 3) for r in range(3)]
        assert np.allclose(middle, looks[index].view.centre_ras, atol=0.01)
        shown = [scene.mrml.GetNthNodeByClass(n, "vtkMRMLMarkupsROINode") for n in
                 range(scene.mrml.GetNumberOfNodesByClass("vtkMRMLMarkupsROINode"))]
        assert any(n.GetDisplayNode().GetVisibility() and n.GetName() == replay.label(index) for n in shown)
        nodes = nodes or scene.count() + 2
        assert scene.count() <= nodes
    assert np.array_equal(whole(writer.segmentation, "heart", ct), HEART)
    replay.close()
    assert follower.restore_view()


# ---------------------------------------------------------------- small things

def test_a_highlight_fills_a_segment_and_gives_the_fill_of_the_user_back(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    display = writer.segmentation.GetDisplayNode()
    display.SetSegmentOpacity2DFill("heart", 0.3)
    writer.highlight("a1.o1", False)
    for _ in range(3):
        writer.highlight("a1.o1", True)
        writer.highlight("a1.o1", True)
        assert display.GetSegmentOpacity2DFill("heart") * display.GetOpacity2DFill() == pytest.approx(1.0)
        writer.highlight("a1.o1", False)
        assert display.GetSegmentOpacity2DFill("heart") == pytest.approx(0.3)
    writer.highlight("nobody", True)


def test_a_lung_of_several_parts_is_replaced_like_any_organ(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    for n in (1, 2):
        story = Story(tmp_path, f"a{n}")
        story.find(1, "lung_left", "Left lung", ball((9, 9, 9)), (5 * n, 5, 5), GRIDS["plain"])
        story.done()
        tell(writer, story)
    assert [f.id for f in writer.findings()] == ["a2.o1"]


def test_a_ct_that_is_bent_in_the_middle_of_an_answer_is_no_error(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer, story = writer_of(scene, ct), heart(tmp_path, ct)
    writer.begin("a1", "q")
    for n, event in enumerate(story.events):
        if n == 6:
            scene.add_bend(ct)
        writer.apply(event, tmp_path)
    assert np.array_equal(whole(writer.segmentation, "heart", ct), HEART)
    assert writer.finding("a1.o1").box is not None
    with pytest.raises(InputError, match="bends"):
        writer.begin("a2", "q")
    ct.SetAndObserveTransformNodeID(None)
    writer.begin("a2", "q")


def test_results_that_slicer_put_elsewhere_come_under_the_study(scene: Scene, tmp_path: Path) -> None:
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    study = tree.CreateStudyItem(tree.GetSceneItemID(), "S")
    ct = scene.add_ct()
    tree.CreateItem(study, ct)

    def as_slicer_does(_scene, _event) -> None:  # its plugins make an item for each node that comes, below the scene
        node = scene.mrml.GetNthNode(scene.count() - 1)
        if node.IsA("vtkMRMLSegmentationNode") or node.IsA("vtkMRMLTextNode"):
            tree.CreateItem(tree.GetSceneItemID(), node)

    observer = scene.mrml.AddObserver(scene.mrml.NodeAddedEvent, as_slicer_does)
    writer, transcript = writer_of(scene, ct), Transcript(scene.mrml, ct)
    tell(writer, heart(tmp_path, ct))
    transcript.begin("a1", "q")
    scene.mrml.RemoveObserver(observer)
    for node in (writer.segmentation, transcript.node):
        assert tree.GetItemParent(tree.GetItemByDataNode(node)) == study


def test_tags_of_another_program_give_an_entry_with_its_id_alone(scene: Scene, tmp_path: Path) -> None:
    ct = scene.add_ct()
    writer = writer_of(scene, ct)
    tell(writer, heart(tmp_path, ct))
    segment = writer.segmentation.GetSegmentation().GetSegment("heart")
    for text in ("{broken", "[]", json.dumps({"nonsense": 1, "verdicts": []})):
        writer.close()
        segment.SetTag("CTReasoner.Finding", text)
        writer = writer_of(scene, ct)
        assert [(f.id, f.segment_id, f.volume_ml) for f in writer.findings()] == [("a1.o1", "heart", None)]


def test_a_transcript_keeps_warnings_categories_and_oblique_boxes_and_can_be_cleared(scene: Scene) -> None:
    transcript = Transcript(scene.mrml, scene.add_ct())
    transcript.begin("a1", "q")
    stream, by = ev.Stream("a1"), ev.By(kind="model", name="m")
    axes = tuple(tuple(map(float, row)) for row in rotation(10, 20, 30)[:3, :3])
    place, obj = {"centre_ras": (1.0, 2.0, 3.0), "size_mm": (9.0, 9.0, 9.0), "axes": axes}, {"object": "a1.o1", "by": by}
    view = ev.ViewBox(spacing_mm=(1.0, 1.0, 1.0), shape=(64, 64, 64), **place)
    transcript.apply(stream.emit(ev.Warning_, code="click_needed", sentence="Click on it."))
    transcript.apply(stream.emit(ev.Look, step=1, view=view, why="object", window=(0.0, 1.0), digest="0" * 16, **obj))
    transcript.apply(stream.emit(ev.Box, score=0.5, look=1, **place, **obj))
    transcript.apply(stream.emit(ev.Category, attribute="texture", value="solid", probability=0.9, **obj))
    transcript.apply(stream.emit(ev.Cancelled))
    (turn,) = restore(transcript.node.GetText())
    assert turn.state == "cancelled" and turn.warnings[0]["sentence"] == "Click on it."
    assert np.allclose(turn.looks[0]["axes"], axes, atol=1e-5)
    assert np.allclose(turn.looks[0]["boxes"]["a1.o1"]["axes"], axes, atol=1e-5)
    assert turn.objects[0]["categories"] == [{"attribute": "texture", "value": "solid", "probability": 0.9}]
    transcript.clear()
    assert transcript.node.GetText() == ""
    transcript.close()
    transcript.begin("a2", "q")  # quiet
    assert transcript.node.GetText() == ""


def test_an_observer_does_not_keep_its_owner_alive(scene: Scene) -> None:
    import gc
    import weakref

    ct = scene.add_ct()
    ends = [weakref.ref(writer_of(scene, ct)), weakref.ref(Follower(scene.mrml, ct)), weakref.ref(Transcript(scene.mrml, ct))]
    gc.collect()
    assert [end() for end in ends] == [None, None, None]
    scene.mrml.RemoveNode(ct)  # and what is left of the observers is quiet
