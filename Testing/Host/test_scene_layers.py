"""Masks in and out of a segmentation: exact voxels, neighbours untouched, changes noticed."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from ctreasoner.scene.layers import Layers, checksum, pack, unpack
from scene_fixtures import GRIDS, Scene, ball, placed, whole


@pytest.fixture
def scene() -> Scene:
    return Scene()


def layers_of(scene: Scene, grid: str = "plain", shape=(60, 50, 40)) -> Layers:
    ct = scene.add_ct(grid, shape)
    node = slicer.vtkMRMLSegmentationNode()
    scene.mrml.AddNode(node)
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    return Layers(node, ct)


@pytest.mark.parametrize("grid", GRIDS)
def test_a_mask_comes_back_voxel_for_voxel_on_every_grid(scene: Scene, grid: str) -> None:
    layers = layers_of(scene, grid)
    crop, first = ball((21, 15, 11)), (7, 20, 3)
    layers.add("a", "A", (1, 0, 0), crop, first)
    expected = placed((60, 50, 40), crop, first)
    assert np.array_equal(whole(layers.node, "a", layers.ct), expected)
    got, at = layers.read("a")
    assert np.array_equal(placed((60, 50, 40), got, at), expected)


def test_joined_segments_keep_their_voxels_and_take_one_image(scene: Scene) -> None:
    layers = layers_of(scene)
    masks = {f"s{n}": (ball((9, 9, 9), n), (10 * (n % 5), 12 * (n // 5), 3 + n)) for n in range(12)}
    for name, (crop, first) in masks.items():
        layers.add(name, name, (0, 1, 0), crop, first)
    assert layers.segmentation.GetNumberOfLayers() == 12
    assert layers.join(masks) == 1
    assert layers.segmentation.GetNumberOfLayers() == 1
    for name, (crop, first) in masks.items():
        assert np.array_equal(whole(layers.node, name, layers.ct), placed((60, 50, 40), crop, first))
    assert layers.changed(masks) == []


def test_segments_that_overlap_are_joined_into_two_images(scene: Scene) -> None:
    layers = layers_of(scene)
    crop = ball((20, 20, 20))
    for n, first in enumerate([(0, 0, 0), (10, 10, 10), (30, 25, 18)]):
        layers.add(f"s{n}", "S", (0, 1, 0), crop, first)
    assert layers.join(["s0", "s1", "s2"]) == 2
    for n, first in enumerate([(0, 0, 0), (10, 10, 10), (30, 25, 18)]):
        assert np.array_equal(whole(layers.node, f"s{n}", layers.ct), placed((60, 50, 40), crop, first))


def test_a_segment_leaves_a_shared_image_without_touching_its_neighbours(scene: Scene) -> None:
    layers = layers_of(scene)
    crop = ball((10, 10, 10))
    for n in range(3):
        layers.add(f"s{n}", "S", (0, 1, 0), crop, (15 * n, 5, 5))
    layers.join(["s0", "s1", "s2"])
    new = ball((20, 8, 8), 3)
    layers.replace("s1", new, (10, 20, 20))
    assert layers.segmentation.GetNumberOfLayers() == 2
    for n, (mask, first) in enumerate([(crop, (0, 5, 5)), (new, (10, 20, 20)), (crop, (30, 5, 5))]):
        assert np.array_equal(whole(layers.node, f"s{n}", layers.ct), placed((60, 50, 40), mask, first))
    assert layers.changed(["s0", "s1", "s2"]) == []
    layers.delete("s0")
    assert np.array_equal(whole(layers.node, "s2", layers.ct), placed((60, 50, 40), crop, (30, 5, 5)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_part_is_added_and_removed_and_nothing_else_changes(scene: Scene, shared: bool, label: int) -> None:
    layers, shape = layers_of(scene), (60, 50, 40)
    masks = {"a": (ball((30, 30, 20)), (2, 2, 2)), "b": (ball((10, 10, 10), 2), (33, 20, 10)),
             "c": (ball((9, 9, 9), 3), (45, 35, 20))}
    for name, (crop, first) in masks.items():
        layers.add(name, name, (1, 0, 0), crop, first)
    if shared:
        assert layers.join(masks) == 1
    mine = "abc"[label]
    expected = {name: placed(shape, crop, first) for name, (crop, first) in masks.items()}
    part = np.random.default_rng(1).integers(0, 2, (30, 20, 16)).astype(np.uint8)  # crosses all three
    layers.remove_voxels(mine, part, (24, 18, 8))
    expected[mine] &= ~placed(shape, part, (24, 18, 8))
    assert all(np.array_equal(whole(layers.node, n, layers.ct), expected[n]) for n in masks)
    layers.add_voxels(mine, part, (20, 5, 12))  # grows into the others
    expected[mine] |= placed(shape, part, (20, 5, 12))
    assert all(np.array_equal(whole(layers.node, n, layers.ct), expected[n]) for n in masks)
    layers.add_voxels(mine, np.ones((3, 3, 3), np.uint8), (0, 40, 36))  # and where nothing is
    expected[mine] |= placed(shape, np.ones((3, 3, 3)), (0, 40, 36))
    assert all(np.array_equal(whole(layers.node, n, layers.ct), expected[n]) for n in masks)
    assert layers.changed(masks) == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_stroke_of_a_person_is_found_in_its_segment_alone(scene: Scene, shared: bool) -> None:
    layers = layers_of(scene)
    for n in range(3):
        layers.add(f"s{n}", "S", (0, 1, 0), ball((10, 10, 10)), (15 * n, 5, 5))
    if shared:
        layers.join(["s0", "s1", "s2"])
    image = layers.image(np.ones((3, 3, 3), np.uint8), (20, 30, 30))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetBinaryLabelmapToSegment(image, layers.node, "s1", logic.MODE_MERGE_MASK, list(image.GetExtent()))
    assert layers.changed(["s0", "s1", "s2"]) == ["s1"]
    assert layers.changed(["s0", "s1", "s2"]) == []
    got, at = layers.read("s1")
    expected = placed((60, 50, 40), ball((10, 10, 10)), (15, 5, 5)) | placed((60, 50, 40), np.ones((3, 3, 3)), (20, 30, 30))
    assert np.array_equal(placed((60, 50, 40), got, at), expected)


def test_a_segment_on_another_lattice_is_read_on_the_ct_grid(scene: Scene) -> None:
    layers = layers_of(scene)
    finer = GRIDS["plain"].copy()
    finer[:3, :3] /= 2
    finer[:3, 3] -= GRIDS["plain"][:3, :3].diagonal() / 4  # two fine voxels in each coarse one
    fine_ct = scene.add_voxels(np.zeros((120, 100, 80), np.int16), finer, "fine")
    fine = Layers(layers.node, fine_ct)
    crop = ball((9, 9, 9))
    fine.add("f", "F", (1, 1, 0), np.repeat(np.repeat(np.repeat(crop, 2, 0), 2, 1), 2, 2), (20, 20, 20))
    got, at = layers.read("f")
    assert np.array_equal(placed((60, 50, 40), got, at), placed((60, 50, 40), crop, (10, 10, 10)))


def test_an_empty_mask_is_an_empty_segment(scene: Scene) -> None:
    layers = layers_of(scene)
    layers.add("e", "E", (1, 0, 0), np.zeros((0, 0, 0), np.uint8), (0, 0, 0))
    assert layers.read("e") is None
    layers.replace("e", ball((5, 5, 5)), (3, 3, 3))
    assert layers.read("e")[0].sum() == ball((5, 5, 5)).sum()
    layers.replace("e", np.zeros((4, 4, 4), np.uint8), (3, 3, 3))
    assert layers.read("e") is None


def test_a_region_is_cut_from_a_segment(scene: Scene) -> None:
    layers = layers_of(scene)
    crop = ball((10, 10, 10))
    layers.add("a", "A", (1, 0, 0), crop, (5, 5, 5))
    assert np.array_equal(layers.region("a", (8, 2, 9), (6, 12, 4)), placed((60, 50, 40), crop, (5, 5, 5))[8:14, 2:14, 9:13])
    assert layers.region("a", (30, 30, 30), (4, 4, 4)) is None


def test_packing_gives_the_mask_back() -> None:
    crop = ball((13, 7, 5))
    assert np.array_equal(unpack(pack(crop), crop.shape), crop)
    assert checksum(crop) != checksum(crop[::-1, :, :][:, ::-1]) or np.array_equal(crop, crop[::-1, ::-1])
