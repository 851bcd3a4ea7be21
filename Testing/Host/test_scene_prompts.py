"""Clicks, boxes and scribbles become prompts where they were drawn; place mode ends as promised."""

from __future__ import annotations

import numpy as np
import pytest
from ctreasoner.errors import InputError
from ctreasoner.scene import PromptNodes, contains, world_matrix
from scene_fixtures import Scene, matrix, rotation


@pytest.fixture
def scene() -> Scene:
    return Scene()


def prompts_of(scene: Scene, ct) -> PromptNodes:
    return PromptNodes(scene.mrml, ct, scene.logics)


def inside(ct, index=(30, 25, 20)) -> tuple:
    return tuple((world_matrix(ct) @ [*index, 1.0])[:3].tolist())


def interaction(scene: Scene):
    return scene.mrml.GetNodeByID("vtkMRMLInteractionNodeSingleton")


def click(scene: Scene, prompts: PromptNodes, point) -> None:
    """What a view does when a person clicks: it sets down a point in the active list."""
    node = scene.mrml.GetNodeByID(scene.logics["markups"].GetActiveListID())
    node.AddControlPointWorld(list(point))


def test_one_click_is_one_prompt_and_ends_place_mode(scene: Scene) -> None:
    ct = scene.add_ct("oblique")
    prompts, told = prompts_of(scene, ct), []
    prompts.on_placed = told.append
    prompts.place("point")
    mode = interaction(scene)
    assert mode.GetCurrentInteractionMode() == mode.Place and not mode.GetPlaceModePersistence()
    click(scene, prompts, inside(ct))
    assert told == ["point"] and prompts.placing is None
    assert mode.GetCurrentInteractionMode() == mode.ViewTransform
    (found,) = prompts.clicks()
    assert np.allclose(found.point_ras, inside(ct)) and found.positive and found.target is None


def test_clicks_keep_their_sign_and_target(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("point", positive=True, target="a1.o2")
    click(scene, prompts, inside(ct))
    prompts.place("point", positive=False, target="a1.o3")
    click(scene, prompts, inside(ct, (10, 10, 10)))
    prompts.add_click(inside(ct, (12, 10, 10)))
    assert [(c.positive, c.target) for c in prompts.clicks()] == [(True, "a1.o2"), (True, None), (False, "a1.o3")]


def test_escape_leaves_nothing_behind(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts, told = prompts_of(scene, ct), []
    prompts.on_placed = told.append
    for kind in ("point", "box", "scribble"):
        prompts.place(kind)
        assert prompts.placing == kind
        prompts.cancel()
        assert prompts.placing is None
        assert interaction(scene).GetCurrentInteractionMode() == interaction(scene).ViewTransform
    assert told == []
    assert (prompts.clicks(), prompts.boxes(), prompts.scribbles()) == ((), (), ())


@pytest.mark.parametrize("moved", [False, True])
def test_a_point_outside_the_ct_is_refused(scene: Scene, moved: bool) -> None:
    ct = scene.add_ct("flipped")
    if moved:
        scene.add_transform(ct, rotation(0, 0, 30))
    prompts = prompts_of(scene, ct)
    assert contains(ct, inside(ct, (-0.4, 0, 0))) and not contains(ct, inside(ct, (-0.6, 0, 0)))
    prompts.place("point")
    click(scene, prompts, inside(ct, (-3, 0, 0)))
    with pytest.raises(InputError, match="outside the CT") as caught:
        prompts.check()
    assert caught.value.code == "CTR-GEO-020"
    prompts.clear()
    prompts.check()


def test_a_box_comes_with_centre_and_full_edges(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts, told = prompts_of(scene, ct), []
    prompts.on_placed = told.append
    prompts.place("box")
    node = scene.mrml.GetNodeByID(scene.logics["markups"].GetActiveListID())
    node.SetCenterWorld(inside(ct))
    node.SetSizeWorld(20, 30, 40)
    interaction(scene).SwitchToViewTransformMode()
    assert told == ["box"]
    (box,) = prompts.boxes()
    assert np.allclose(box.centre_ras, inside(ct)) and np.allclose(box.size_mm, (20, 30, 40))
    assert np.allclose(box.axes, np.eye(3))


def test_a_rotated_box_keeps_its_axes(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("box")
    node = scene.mrml.GetNodeByID(scene.logics["markups"].GetActiveListID())
    turn = rotation(10, 20, 30)
    turn[:3, 3] = inside(ct)
    node.SetAndObserveObjectToNodeMatrix(matrix(turn))
    node.SetSize(10, 20, 30)
    interaction(scene).SwitchToViewTransformMode()
    (box,) = prompts.boxes()
    assert np.allclose(box.size_mm, (10, 20, 30))
    assert np.allclose(np.array(box.axes), turn[:3, :3].T)
    assert np.allclose(box.centre_ras, inside(ct))


def test_a_box_beside_the_ct_is_refused(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("box")
    node = scene.mrml.GetNodeByID(scene.logics["markups"].GetActiveListID())
    node.SetCenterWorld(inside(ct, (-30, 0, 0)))
    node.SetSizeWorld(5, 5, 5)
    with pytest.raises(InputError, match="The box"):
        prompts.boxes()


def test_a_scribble_goes_through_its_points(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts, told = prompts_of(scene, ct), []
    prompts.on_placed = told.append
    prompts.place("scribble", positive=False, target="a1.o1")
    drawn = [inside(ct, (10 + 3 * n, 20, 15)) for n in range(8)]
    for point in drawn:
        prompts.draw(point)
        prompts.draw(np.add(point, 0.1))        # hardly moved
    prompts.drawn()
    node = scene.mrml.GetFirstNodeByClass("vtkMRMLMarkupsCurveNode")
    assert told == ["scribble"] and node.GetNumberOfControlPoints() == len(drawn)
    prompts.draw(inside(ct))                    # after the end
    prompts.drawn()
    assert told == ["scribble"]
    (line,) = prompts.scribbles()
    assert not line.positive and line.target == "a1.o1"
    assert 2 <= len(line.points_ras) <= 64
    points = np.array(line.points_ras)
    assert np.allclose(points[0], drawn[0], atol=0.1) and np.allclose(points[-1], drawn[-1], atol=0.1)
    assert all(np.linalg.norm(points - d, axis=1).min() < 2 for d in drawn)


def test_nodes_are_used_again_are_not_saved_and_go_at_the_end(scene: Scene) -> None:
    ct = scene.add_ct()
    before = scene.count()
    prompts = prompts_of(scene, ct)
    for _ in range(3):
        for kind in ("point", "box", "scribble"):
            prompts.place(kind)
            prompts.cancel()
        prompts.clear()
    grown = scene.count()
    prompts.place("point")
    prompts.cancel()
    assert scene.count() == grown
    node = scene.mrml.GetNodeByID(scene.logics["markups"].GetActiveListID())
    assert not node.GetSaveWithScene() and node.GetHideFromEditors()
    prompts.close()
    names = {scene.mrml.GetNthNode(n).GetName() for n in range(scene.count())}
    assert not any((name or "").startswith("CTReasoner") for name in names)
    assert before <= scene.count() < grown


def test_a_scene_that_closes_while_placing_is_no_error(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("point")
    scene.mrml.Clear(0)
    assert prompts.placing is None
    prompts.cancel()
    prompts.clear()
    prompts.place("box")
    assert prompts.clicks() == ()
    prompts.close()


def test_a_person_who_deletes_the_prompt_node_can_click_again(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("point")
    scene.mrml.RemoveNode(scene.mrml.GetNodeByID(scene.logics["markups"].GetActiveListID()))
    prompts.place("point")
    click(scene, prompts, inside(ct))
    assert len(prompts.clicks()) == 1


def test_a_scribble_of_one_point_is_one_point(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("scribble")
    prompts.draw(inside(ct))
    prompts.drawn()
    (line,) = prompts.scribbles()
    assert np.allclose(line.points_ras, [inside(ct)]) and line.positive


def test_a_scribble_of_no_point_is_none_and_one_is_given_up_for_another_tool(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts, told = prompts_of(scene, ct), []
    prompts.on_placed = told.append
    prompts.place("scribble")
    prompts.drawn()
    assert told == [] and prompts.placing is None
    prompts.place("scribble")
    prompts.draw(inside(ct))
    interaction(scene).SetCurrentInteractionMode(interaction(scene).Place)
    assert prompts.placing is None and prompts.scribbles() == () and told == []
    assert interaction(scene).GetCurrentInteractionMode() == interaction(scene).Place


def test_a_preview_point_is_no_prompt_and_goes_with_escape(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("point")
    node = scene.mrml.GetNodeByID(scene.logics["markups"].GetActiveListID())
    node.AddControlPointWorld(list(inside(ct)))
    prompts.place("point")
    prompts.placing = None  # what a view adds while the mouse moves is no click
    node.AddControlPointWorld(list(inside(ct, (5, 5, 5))))
    node.SetNthControlPointPosition(1, *inside(ct, (5, 5, 5)), node.PositionPreview)
    prompts.placing = "point"
    assert len(prompts.clicks()) == 1
    prompts.cancel()
    assert node.GetNumberOfControlPoints() == 1


def test_a_ct_that_goes_while_placing_is_no_error(scene: Scene) -> None:
    ct = scene.add_ct()
    prompts = prompts_of(scene, ct)
    prompts.place("box")
    scene.mrml.RemoveNode(ct)
    assert prompts.placing is None
    prompts.place("point")
    assert prompts.placing is None and prompts.clicks() == ()
