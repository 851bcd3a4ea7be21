"""The views follow a look smoothly, end where they should, stop for the user, and come back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from ctreasoner import events as ev
from ctreasoner.scene import Follower
from ctreasoner.scene import views as vw
from scene_fixtures import BY, Scene, rotation


@pytest.fixture
def scene() -> Scene:
    return Scene()


def look(centre=(12.0, -8.0, 21.0), size=(80.0, 60.0, 40.0), window=(-500.0, 1400.0), axes=ev.IDENTITY) -> ev.Look:
    view = ev.ViewBox(centre_ras=centre, size_mm=size, spacing_mm=(1.0, 1.0, 1.0), shape=(64, 64, 64), axes=axes)
    return ev.Look(answer="a1", seq=3, t=0.1, object="a1.o1", step=1, view=view, why="object", window=window, by=BY,
                   digest="0" * 16)


def run(follower: Follower, start: float = 10.0, interval: float = 0.035) -> list[float]:
    now, times = start, []
    while follower.moving:
        follower.step(now)
        times.append(now)
        now += interval
    return times


def corners(centre, size, axes=ev.IDENTITY) -> np.ndarray:
    signs = np.array([[(b >> a & 1) - 0.5 for a in range(3)] for b in range(8)])
    return np.array(centre) + (signs * np.array(size)) @ np.array(axes)


def in_pixels(node, points: np.ndarray) -> np.ndarray:
    to_xy = node.GetXYToRAS()
    to_xy.Invert()
    out = np.array([to_xy.MultiplyPoint([*p, 1.0])[:3] for p in points])
    to_xy.Invert()
    return out


def check_end(node, centre, size, axes=ev.IDENTITY) -> None:
    width, height, _ = node.GetDimensions()
    field = node.GetFieldOfView()
    assert field[0] / width == pytest.approx(field[1] / height)  # square pixels
    middle = in_pixels(node, np.array([centre]))[0]
    assert np.abs((middle[:2] - [width / 2, height / 2]) * field[0] / width).max() < 1.0
    assert abs(middle[2] * field[2]) < 1.0  # and in the plane
    xy = in_pixels(node, corners(centre, size, axes))[:, :2]
    assert np.all(xy > 0) and np.all(xy < [width, height])
    spread = np.ptp(xy, axis=0) / [width, height]
    assert spread.max() > 0.6  # near, not lost in a wide view


def test_a_motion_has_at_least_eight_frames_within_300_to_600_ms_and_ends_on_the_box(scene: Scene) -> None:
    ct = scene.add_ct()
    slices, camera = scene.add_views()
    follower = Follower(scene.mrml, ct)
    follower.look(look())
    assert follower.moving
    times = run(follower)
    assert len(times) >= 8 and follower.frames == len(times)
    assert 0.3 <= times[-1] - times[0] <= 0.6
    for node in slices:
        check_end(node, (12, -8, 21), (80, 60, 40))
    assert np.allclose(camera.GetCamera().GetFocalPoint(), (12, -8, 21), atol=1e-6)
    assert (ct.GetDisplayNode().GetLevel(), ct.GetDisplayNode().GetWindow()) == pytest.approx((-500, 1400))


def test_the_motion_is_smooth_and_nears_the_target_at_every_frame(scene: Scene) -> None:
    ct = scene.add_ct()
    (red, _, _), _ = scene.add_views()
    follower = Follower(scene.mrml, ct)
    follower.look(look())
    fields, away, now = [red.GetFieldOfView()[0]], [], 5.0
    while follower.moving:
        follower.step(now)
        now += 0.035
        fields.append(red.GetFieldOfView()[0])
        away.append(np.linalg.norm(vw.look_of(red).centre - [12, -8, 21]) / fields[-1])
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(away))
    ratios = np.array(fields[1:]) / np.array(fields[:-1])
    assert ratios.min() > 0.75 and ratios.max() <= 1.0 + 1e-9


def test_a_slow_renderer_makes_it_longer_and_not_jerky(scene: Scene) -> None:
    ct = scene.add_ct()
    scene.add_views()
    follower = Follower(scene.mrml, ct)
    follower.look(look())
    assert len(run(follower, interval=0.25)) >= 8


@pytest.mark.parametrize("turned", ["view", "look", "ct"])
def test_oblique_views_oblique_boxes_and_moved_cts_are_followed(scene: Scene, turned: str) -> None:
    ct = scene.add_ct("oblique")
    slices, _ = scene.add_views()
    axes = ev.IDENTITY
    if turned == "view":
        for node in slices:
            node.RotateToVolumePlane(ct)
    elif turned == "look":
        axes = tuple(tuple(map(float, row)) for row in rotation(20, 30, 40)[:3, :3].T)
    else:
        scene.add_transform(ct, rotation(0, 0, 45))
    follower = Follower(scene.mrml, ct)
    follower.look(look(axes=axes))
    run(follower)
    for node in slices:
        check_end(node, (12, -8, 21), (80, 60, 40), axes)


def test_a_look_during_a_motion_turns_it_at_once(scene: Scene) -> None:
    ct = scene.add_ct()
    slices, _ = scene.add_views()
    follower = Follower(scene.mrml, ct)
    follower.look(look())
    for n in range(3):
        follower.step(1.0 + n * 0.035)
    before = vw.look_of(slices[0])
    follower.look(look(centre=(-30.0, 20.0, 0.0), size=(20.0, 20.0, 20.0)))
    follower.step(2.0)
    after = vw.look_of(slices[0])
    assert np.linalg.norm(after.centre - before.centre) < 10  # no jump
    run(follower, 2.035)
    for node in slices:
        check_end(node, (-30, 20, 0), (20, 20, 20))


def test_the_user_stops_it_and_resuming_goes_to_the_newest_look(scene: Scene) -> None:
    ct = scene.add_ct()
    (red, _, _), _ = scene.add_views()
    follower = Follower(scene.mrml, ct)
    follower.look(look())
    follower.step(1.0)
    follower.suspend()
    stands = vw.look_of(red)
    assert not follower.moving and not follower.step(1.1)
    follower.look(look(centre=(1.0, 2.0, 3.0)))
    follower.look(look(centre=(4.0, 5.0, 6.0)))
    assert not follower.moving
    assert np.allclose(vw.look_of(red).centre, stands.centre)
    follower.resume()
    assert follower.moving
    run(follower)
    check_end(red, (4, 5, 6), (80, 60, 40))


def test_one_action_brings_back_layout_zoom_pan_layers_cameras_and_window(scene: Scene) -> None:
    ct, other = scene.add_ct(), scene.add_ct(name="other")
    slices, camera = scene.add_views()
    layout = scene.mrml.GetFirstNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(layout.SlicerLayoutFourUpView)
    slices[0].SetXYZOrigin(11.0, -7.0, 0.0)
    slices[1].RotateToVolumePlane(scene.add_ct("oblique", name="third"))
    composite = scene.mrml.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    composite.SetBackgroundVolumeID(ct.GetID())
    ct.GetDisplayNode().SetAutoWindowLevel(0)
    ct.GetDisplayNode().SetWindowLevel(350, 40)

    def state() -> list:
        return [*[np.round(vw.to_numpy(n.GetSliceToRAS()), 6).tolist() for n in slices], *[n.GetFieldOfView() for n in slices],
                *[n.GetXYZOrigin() for n in slices], camera.GetCamera().GetPosition(), camera.GetCamera().GetFocalPoint(),
                layout.GetViewArrangement(), composite.GetBackgroundVolumeID(), ct.GetDisplayNode().GetWindow(),
                ct.GetDisplayNode().GetLevel(), ct.GetDisplayNode().GetAutoWindowLevel()]

    before = state()
    follower = Follower(scene.mrml, ct)
    assert not follower.restore_view()
    for n in range(3):
        follower.look(look(centre=(float(n), 0.0, 0.0)))
        run(follower)
    layout.SetViewArrangement(layout.SlicerLayoutOneUpRedSliceView)
    composite.SetBackgroundVolumeID(other.GetID())
    follower.show_plane((1, 2, 3), (0.2, 0.3, 0.9))
    assert state() != before
    assert follower.has_saved_view and follower.restore_view()
    assert state() == before
    assert not follower.has_saved_view


def test_automatic_window_comes_back_as_automatic(scene: Scene) -> None:
    ct = scene.add_ct()
    scene.add_views()
    display = ct.GetDisplayNode()
    display.SetAutoWindowLevel(1)
    before = (display.GetWindow(), display.GetLevel())
    follower = Follower(scene.mrml, ct)
    follower.look(look())
    follower.finish()
    assert display.GetAutoWindowLevel() == 0
    follower.restore_view()
    assert display.GetAutoWindowLevel() == 1 and (display.GetWindow(), display.GetLevel()) == before


def test_a_resized_view_comes_back_with_square_pixels(scene: Scene) -> None:
    ct = scene.add_ct()
    (red, _, _), _ = scene.add_views()
    follower = Follower(scene.mrml, ct)
    follower.save_view()
    red.SetDimensions(200, 600, 1)
    follower.restore_view()
    assert red.GetFieldOfView()[0] / 200 == pytest.approx(red.GetFieldOfView()[1] / 600)


def test_a_jump_keeps_the_zoom_and_centres_all_views(scene: Scene) -> None:
    ct = scene.add_ct()
    slices, _ = scene.add_views()
    fields = [n.GetFieldOfView() for n in slices]
    Follower(scene.mrml, ct).jump((3, 4, 5))
    assert [n.GetFieldOfView() for n in slices] == fields
    assert all(np.allclose(vw.look_of(n).centre, (3, 4, 5)) for n in slices)


def test_a_plane_is_shown_by_the_view_that_is_nearest_to_it(scene: Scene) -> None:
    ct = scene.add_ct()
    (red, _, green), _ = scene.add_views()
    follower = Follower(scene.mrml, ct)
    normal = np.array([0.1, 0.9, 0.2]) / np.linalg.norm([0.1, 0.9, 0.2])
    assert follower.show_plane((1, 2, 3), normal) == "Green"
    matrix = vw.to_numpy(green.GetSliceToRAS())
    assert np.allclose(np.abs(matrix[:3, 2] @ normal), 1)
    assert np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3))
    assert np.allclose(matrix[:3, 3], (1, 2, 3))
    assert np.linalg.det(matrix[:3, :3]) > 0  # as handed as a coronal view was
    assert np.allclose(vw.to_numpy(red.GetSliceToRAS())[:3, :3], np.diag([-1, 1, 1]))


def test_views_that_no_layout_shows_are_left_alone_and_nothing_to_show_is_no_error(scene: Scene) -> None:
    ct = scene.add_ct()
    follower = Follower(scene.mrml, ct)
    follower.look(look())  # no views at all: as with --no-main-window
    run(follower)
    (red, yellow, _), _ = scene.add_views()
    yellow.SetMappedInLayout(0)
    field = yellow.GetFieldOfView()
    follower.look(look())
    run(follower)
    assert yellow.GetFieldOfView() == field
    check_end(red, (12, -8, 21), (80, 60, 40))


@pytest.mark.parametrize("end", ["scene", "ct", "view"])
def test_a_scene_a_ct_or_a_view_that_goes_in_the_middle_is_no_error(scene: Scene, end: str) -> None:
    ct = scene.add_ct()
    slices, _ = scene.add_views()
    follower = Follower(scene.mrml, ct)
    follower.look(look())
    follower.step(1.0)
    if end == "scene":
        scene.mrml.Clear(0)
    else:
        scene.mrml.RemoveNode(ct if end == "ct" else slices[1])
    follower.step(1.04)
    follower.look(look())
    run(follower)
    follower.jump((0, 0, 0))
    follower.restore_view()


def test_the_box_of_a_finding_is_gone_to_with_the_window_as_it_is(scene: Scene) -> None:
    ct = scene.add_ct()
    slices, _ = scene.add_views()
    display = ct.GetDisplayNode()
    display.SetAutoWindowLevel(0)
    display.SetWindowLevel(350, 40)
    follower = Follower(scene.mrml, ct)
    follower.focus_box(((1.0, 2.0, 3.0), (30.0, 20.0, 10.0), ev.IDENTITY))
    run(follower)
    for node in slices:
        check_end(node, (1, 2, 3), (30, 20, 10))
    assert (display.GetWindow(), display.GetLevel()) == (350, 40)
    follower.forget_view()
    assert not follower.restore_view()


def test_thresholds_come_back_too(scene: Scene) -> None:
    ct = scene.add_ct()
    scene.add_views()
    display = ct.GetDisplayNode()
    display.SetAutoThreshold(0)
    display.SetApplyThreshold(1)
    display.SetThreshold(-100, 60)
    follower = Follower(scene.mrml, ct)
    follower.save_view()
    display.SetThreshold(0, 1)
    display.SetApplyThreshold(0)
    follower.restore_view()
    assert (display.GetApplyThreshold(), display.GetLowerThreshold(), display.GetUpperThreshold()) == (1, -100, 60)
    display.SetAutoThreshold(1)
    follower.save_view()
    display.SetAutoThreshold(0)
    follower.restore_view()
    assert display.GetAutoThreshold() == 1


def test_a_plane_across_the_right_of_a_view_is_shown_too_and_no_view_is_no_error(scene: Scene) -> None:
    ct = scene.add_ct()
    follower = Follower(scene.mrml, ct)
    assert follower.show_plane((0, 0, 0), (0, 0, 1)) == ""
    (red, yellow, green), _ = scene.add_views()
    yellow.SetMappedInLayout(0)
    green.SetMappedInLayout(0)
    assert follower.show_plane((1, 2, 3), (1, 0, 0)) == "Red"
    matrix = vw.to_numpy(red.GetSliceToRAS())
    assert np.allclose(np.abs(matrix[:3, 2]), (1, 0, 0)) and np.allclose(matrix[:3, :3].T @ matrix[:3, :3], np.eye(3))
