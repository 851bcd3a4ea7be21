"""Closed surfaces: made one by one, shown all at once, kept while their masks stay the same, true to the masks."""

from __future__ import annotations

from pathlib import Path

import host
import numpy as np
import pytest
import slicer
import vtk
from ctreasoner.scene import surfaces
from ctreasoner.scene.layers import SURFACE, Layers
from ctreasoner.scene.surfaces import MAX_SIDE, Surfaces
from scene_fixtures import GRIDS, Scene, ball, heart, paint, tell, writer_of
from test_scene_layers import layers_of


@pytest.fixture
def scene() -> Scene:
    return Scene()


def shown(layers: Layers) -> dict[str, vtk.vtkPolyData]:
    every = {i: layers.segmentation.GetSegment(i).GetRepresentation(SURFACE) for i in layers.segmentation.GetSegmentIDs()}
    return {i: surface for i, surface in every.items() if surface is not None}


def all_of(made: Surfaces, ours: set[str]) -> int:
    """Do every step; how many surfaces were made."""
    count = 0
    while made.step(ours):
        count += 1
        assert count < 50
    return count


def volume_ml(surface: vtk.vtkPolyData) -> float:
    triangles, mass = vtk.vtkTriangleFilter(), vtk.vtkMassProperties()
    triangles.SetInputData(surface)
    mass.SetInputConnection(triangles.GetOutputPort())
    return mass.GetVolume() / 1000


@pytest.mark.parametrize("grid", GRIDS)
def test_a_surface_lies_round_its_mask_on_every_grid(scene: Scene, grid: str) -> None:
    layers = layers_of(scene, grid, (130, 40, 30))
    crop, first = ball((2 * MAX_SIDE - 70, 25, 21)), (4, 8, 3)
    layers.add("a", "A", (1, 0, 0), crop, first)
    assert all_of(Surfaces(layers), {"a"}) == 1
    surface = shown(layers)["a"]
    matrix = vtk.vtkMatrix4x4()
    layers.ct.GetIJKToRASMatrix(matrix)
    to_ras = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    points = np.array([surface.GetPoint(n) for n in range(surface.GetNumberOfPoints())])
    index = (np.linalg.inv(to_ras) @ np.c_[points, np.ones(len(points))].T)[:3].T
    step = np.ceil(np.array(crop.shape) / MAX_SIDE)
    assert np.all(np.abs(index.min(0) - (np.array(first) - 0.5)) <= step + 1)
    assert np.all(np.abs(index.max(0) - (np.array(first) + crop.shape - 0.5)) <= step + 1)
    assert volume_ml(surface) == pytest.approx(crop.sum() * abs(np.linalg.det(to_ras[:3, :3])) / 1000, rel=0.1)


def test_a_surface_of_ours_may_be_coarse_and_that_of_a_person_s_own_segment_is_slicer_s(scene: Scene) -> None:
    layers = layers_of(scene, shape=(140, 60, 40))
    layers.add("mine", "Mine", (1, 0, 0), ball((120, 30, 30)), (2, 2, 2))
    layers.add("ours", "Ours", (1, 0, 0), ball((120, 30, 30)), (2, 28, 6))
    assert all_of(Surfaces(layers), {"ours"}) == 2
    assert shown(layers)["ours"].GetNumberOfPoints() < 0.7 * shown(layers)["mine"].GetNumberOfPoints()


def test_they_are_shown_when_all_are_made_the_first_segment_last(scene: Scene) -> None:
    layers, order = layers_of(scene), []
    for n in range(3):
        layers.add(f"s{n}", "S", (0, 1, 0), ball((9, 9, 9)), (10 * n, 5, 5))
    layers.segmentation.AddObserver(slicer.vtkSegmentation.SegmentModified, lambda *_: order.append(list(shown(layers))))
    made = Surfaces(layers)
    for _ in range(3):
        assert made.step({"s0", "s1", "s2"}) is True and not shown(layers)
    assert made.step({"s0", "s1", "s2"}) is False and len(shown(layers)) == 3
    assert all("s0" not in names for names in order if len(names) < 3)
    assert made.step({"s0", "s1", "s2"}) is False


def test_views_of_slicer_find_nothing_left_to_convert() -> None:
    """Real 3D views: no segment gets a surface before the last step, none after it."""
    app = host.Application(size=(500, 300)).show()
    try:
        scene = Scene.__new__(Scene)
        scene.mrml = slicer.mrmlScene
        layers = layers_of(scene)
        for n in range(3):
            layers.add(f"s{n}", "S", (0, 1, 0), ball((9, 9, 9)), (10 * n, 5, 5))
        made = Surfaces(layers)
        for _ in range(3):
            assert made.step({"s0", "s1", "s2"}) is True
            app.process(30)
            assert not shown(layers)
        made.step({"s0", "s1", "s2"})
        before = {i: surface.GetMTime() for i, surface in shown(layers).items()}
        app.process(30)
        assert {i: surface.GetMTime() for i, surface in shown(layers).items()} == before and len(before) == 3
        assert layers.node.GetDisplayNode().GetDisplayRepresentationName3D() == SURFACE
    finally:
        app.close()
        host.take_failures()


def test_an_empty_segment_that_stands_first_does_not_hide_the_others(scene: Scene) -> None:
    layers = layers_of(scene)
    layers.segmentation.AddEmptySegment("empty")
    layers.add("a", "A", (1, 0, 0), ball((9, 9, 9)), (5, 5, 5))
    all_of(Surfaces(layers), {"a"})
    assert layers.segmentation.ContainsRepresentation(SURFACE) and shown(layers)["a"].GetNumberOfPoints() > 50


def test_the_surface_of_a_mask_that_stayed_the_same_is_used_again(scene: Scene, tmp_path: Path, monkeypatch) -> None:
    ct, made = scene.add_ct(), []
    writer = writer_of(scene, ct)
    make = Surfaces._make
    monkeypatch.setattr(surfaces.Surfaces, "_make", lambda self, i, most: made.append(i) or make(self, i, most))
    tell(writer, heart(tmp_path, ct))
    while writer.build_3d_step():
        pass
    assert made == ["heart"]
    writer.begin("a2", "again")
    writer.end()
    assert writer.build_3d_step() is False and made == ["heart"]
    node = writer.segmentation
    assert node.GetSegmentation().GetSegment("heart").GetRepresentation(SURFACE).GetNumberOfPoints() > 50
    paint(node, "heart", (40, 40, 30))              # Slicer converts the edited mask at once
    writer.check_edits()
    assert writer.undo() and writer.undo() and writer.redo()
    while writer.build_3d_step():
        pass
    surface = node.GetSegmentation().GetSegment("heart").GetRepresentation(SURFACE)
    fresh = Surfaces(writer._store.layers)._make("heart", MAX_SIDE)
    assert np.allclose(surface.GetBounds(), fresh.GetBounds())
    node.GetSegmentation().SetConversionParameter("Smoothing factor", "0.0")
    writer._store.layers.drop_surfaces()
    assert writer.build_3d_step() is True           # another way to make it


def test_no_surface_stays_when_surfaces_were_removed(scene: Scene) -> None:
    layers = layers_of(scene)
    layers.add("a", "A", (1, 0, 0), ball((10, 10, 10)), (5, 5, 5))
    all_of(Surfaces(layers), {"a"})
    layers.drop_surfaces()
    layers.replace("a", ball((10, 10, 10)), (6, 6, 6))
    assert not shown(layers)
