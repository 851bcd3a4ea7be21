"""Measurements against shapes whose size is known, within what voxels can tell."""

from __future__ import annotations

import time

import numpy as np
import pytest
from analytic_shapes import arch, ball, ct, cylinder, ellipsoid, painted, points, turned
from ctreasoner.appearance.measure import NAMES, measure, values
from ctreasoner.vocabulary import Vocabulary

VOCABULARY = Vocabulary.load()


def found(mask, volume, key="heart", **more):
    return values(measure(mask, (0, 0, 0), volume, VOCABULARY.get(key), body_centre_ras=(0, 0, 0), **more))


@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (1.0, 1.0, 2.5)])
@pytest.mark.parametrize("rotation", [None, turned()])
def test_a_ball_has_the_size_of_a_ball(spacing, rotation):
    volume = ct((50, 50, 50), spacing, rotation=rotation)
    v = found(ball(volume, 22.0), volume)
    assert v["volume"] == pytest.approx(4 / 3 * np.pi * 22**3 / 1000, rel=0.01)
    assert v["equivalent_diameter"] == pytest.approx(44, rel=0.01)
    assert v["surface"] == pytest.approx(4 * np.pi * 22**2, rel=0.04)
    assert v["sphericity"] == pytest.approx(1, abs=0.04)
    assert v["elongation"] == pytest.approx(1, abs=0.02)
    assert v["long_axis"] == pytest.approx(44, abs=max(spacing))
    assert v["short_axis"] == pytest.approx(44, abs=max(spacing))


def test_an_ellipsoid_has_its_axes_and_their_ends():
    volume = ct((70, 60, 50), (1.0, 1.0, 2.0))
    mask = ellipsoid(volume, (30, 18, 20), (2, -3, 1))
    measured = {m.name: m for m in measure(mask, (0, 0, 0), volume, VOCABULARY.get("heart"), body_centre_ras=(0, 0, 0))}
    assert measured["long_axis"].value == pytest.approx(60, abs=1)
    assert measured["short_axis"].value == pytest.approx(36, abs=1)
    ends = np.array(measured["long_axis"].geometry["ends_ras"])
    assert np.linalg.norm(ends[0] - ends[1]) == pytest.approx(measured["long_axis"].value)
    assert sorted(ends[:, 0]) == pytest.approx([-28, 32], abs=1)
    assert [measured[f"centre_{a}"].value for a in "ras"] == pytest.approx([2, -3, 1], abs=0.3)
    assert [measured[f"extent_{a}"].value for a in "ras"] == pytest.approx([60, 36, 40], abs=2.1)
    assert measured["elongation"].value == pytest.approx(20 / 30, abs=0.02)


def test_attenuation_is_that_of_the_mask_alone():
    volume = ct((40, 40, 40), (2, 2, 2), hu=-1000)
    mask, core = ball(volume, 24), ball(volume, 18)
    v = found(mask, painted(volume, (mask, 0), (core, 100)))
    assert v["mean_hu"] == pytest.approx(100 * core.sum() / mask.sum())
    assert v["p5_hu"] == 0 and v["p95_hu"] == 100
    assert v["mean_hu_core"] > v["mean_hu"]
    assert v["share_below_-50"] == 0


def test_a_crop_and_its_first_voxel_measure_like_the_whole_mask():
    volume = painted(ct((50, 50, 50)), (ball(ct((50, 50, 50)), 25), 60))
    mask = ball(volume, 20, (4, 5, 6))
    whole = found(mask, volume)
    part = values(measure(mask[10:48, 12:50, 8:], (10, 12, 8), volume, VOCABULARY.get("heart"), body_centre_ras=(0, 0, 0)))
    assert part == pytest.approx(whole)


def test_sides_are_the_patients():
    volume = ct((80, 40, 40))
    assert found(ball(volume, 10, (40, 0, 0)), volume)["side"] == pytest.approx(40, abs=0.5)     # RAS: to the right
    assert found(ball(volume, 10, (-40, 0, 0)), volume)["side"] == pytest.approx(-40, abs=0.5)


@pytest.mark.parametrize("way", [(0, 0, 1), (0.3, 0.5, 1), (1, 1, 1), (1, 0.2, 0.1)])
def test_an_oblique_tube_is_measured_across_not_along(way):
    volume = ct((64, 64, 40), (1.2, 1.2, 2.0))
    v = found(cylinder(volume, 10.0, way, 36), volume, "esophagus")
    assert v["diameter_max"] == pytest.approx(20, abs=1.4)
    assert v["diameter_median"] == pytest.approx(20, abs=0.8)
    assert "long_axis" not in v


def test_a_sliver_of_mask_beside_a_tube_does_not_widen_it_and_an_oval_stays_an_oval():
    volume = ct((60, 60, 70), (1.2, 1.2, 1.5))
    tube = cylinder(volume, 12, (0, 0, 1), 45)
    p = points(volume)
    fin = (np.abs(p[..., 1]) < 2.0) & (p[..., 0] > 0) & (p[..., 0] < 18) & (np.abs(p[..., 2]) < 15)      # 4 mm thick, 6 mm beyond
    assert found(tube | fin, volume, "aorta")["diameter_max"] == pytest.approx(24, abs=1.6)
    oval = ((p[..., 0] / 15) ** 2 + (p[..., 1] / 11) ** 2 <= 1) & (np.abs(p[..., 2]) < 45)
    assert found(oval, volume, "aorta")["diameter_max"] == pytest.approx(30, abs=1.0)


@pytest.mark.parametrize("rotation", [None, turned((6, 5, 8))])
def test_an_arch_is_followed_round_and_its_parts_are_told_apart(rotation):
    volume = ct((28, 60, 80), (2, 2, 2), rotation=rotation)
    mask = arch(volume, bend=32, ascending=19, descending=12, top=20, down=50)
    measured = {m.name: m for m in measure(mask, (0, 0, 0), volume, VOCABULARY.get("aorta"), True, (0, 0, 0))}
    assert measured["diameter_max_ascending"].value == pytest.approx(38, abs=2)
    assert 23 <= measured["diameter_max_descending"].value <= 29     # 24 below, 27.5 where the arch turns down
    assert 31 <= measured["diameter_max_arch"].value <= 37
    assert measured["diameter_max"].value < 41      # cut lengthwise it would be 80 and more
    ends = np.array(measured["diameter_max_descending"].geometry["ends_ras"])
    assert np.all(ends[:, 1] < 0) and np.linalg.norm(ends[0] - ends[1]) == pytest.approx(measured["diameter_max_descending"].value)
    normal = measured["diameter_max_descending"].geometry["plane"]["normal"]
    assert abs(normal[2]) > 0.69      # the arch ends at 45 degrees


def test_a_mirrored_scan_gives_the_same_diameters():
    volume = ct((28, 60, 80), (2, 2, 2))
    mask = arch(volume, bend=32, ascending=17, descending=12, top=20, down=50)
    flipped = type(volume)(volume.voxels[:, ::-1, ::-1].copy(), volume.affine @ np.array(
        [[1, 0, 0, 0], [0, -1, 0, 59], [0, 0, -1, 79], [0, 0, 0, 1]]))
    one, other = found(mask, volume, "aorta"), found(mask[:, ::-1, ::-1].copy(), flipped, "aorta")
    for name in ("diameter_max_ascending", "diameter_max_arch", "diameter_max_descending"):
        assert one[name] == pytest.approx(other[name], abs=0.8)


def test_what_is_too_thin_or_too_near_a_cut_is_not_measured():
    volume = ct((40, 40, 40), (4, 4, 3))
    thin = {m.name: m for m in measure(cylinder(volume, 7, (0, 0, 1), 45), (0, 0, 0), volume, VOCABULARY.get("spinal_cord"))}
    assert thin["diameter_max"].value is None and thin["diameter_max"].reason == "fewer than 5 voxels across"
    short = ct((60, 60, 14), (1, 1, 2))
    stump = {m.name: m for m in measure(cylinder(short, 12, (0, 0, 1), 45), (0, 0, 0), short, VOCABULARY.get("esophagus"), True)}
    assert stump["diameter_max"].value is None and stump["diameter_max"].reason


def test_calcium_is_counted_and_bone_beside_is_not():
    volume = ct((60, 60, 40), (1, 1, 2))
    tube = cylinder(volume, 12, (0, 0, 1), 30)
    plaque = ball(volume, 3, (0, 9, 0)) & tube
    bone = cylinder(volume, 12, (0, 0, 1), 30, (0, -22, 0))
    v = found(tube, painted(volume, (tube, 40), (plaque, 600), (bone, 500)), "aorta")
    assert v["calcified_volume"] == pytest.approx(plaque.sum() * volume.voxel_ml)
    assert found(tube, painted(volume, (tube, 40), (bone, 500)), "aorta")["calcified_volume"] == 0


@pytest.mark.parametrize("mask", ["empty", "voxel", "line", "slice"])
def test_the_smallest_masks_are_no_errors(mask):
    volume = ct((20, 20, 20))
    array = np.zeros(volume.shape, dtype=np.uint8)
    array[{"empty": slice(0), "voxel": (5, 5, 5), "line": (slice(2, 9), 5, 5), "slice": (slice(2, 9), slice(2, 9), 5)}[mask]] = 1
    for key in ("heart", "aorta", "lung_nodule", "esophagus"):
        measured = measure(array, (0, 0, 0), volume, VOCABULARY.get(key))
        assert (mask == "empty") == (not measured)
        assert all(m.value is None or np.isfinite(m.value) for m in measured)
        assert all(m.value is not None or m.reason for m in measured)
    assert all(m.name in NAMES for m in measure(array, (0, 0, 0), volume, None))


def test_the_ct_is_read_once_a_thousand_voxels_not_voxel_by_voxel():
    """A 2 mm aorta takes well under a second even on a busy machine (0.1 s on an idle one); Python loops over voxels take many."""
    volume = ct((40, 64, 90), (2, 2, 2))
    mask = arch(volume, bend=32, ascending=17, descending=12, top=40, down=60)
    start = time.process_time()
    found(mask, volume, "aorta")
    assert time.process_time() - start < 2.0
