"""The figures of an evaluation on shapes and lists whose figures are known."""

from __future__ import annotations

import numpy as np
import pytest
from analytic_shapes import ball, ct
from ctreasoner.evaluation import agreement, detection, surfaces, trust
from ctreasoner.evaluation.scores import Placed


def placed(volume, radius: float, centre=(0, 0, 0)) -> Placed:
    return Placed.of(ball(volume, radius, centre))


# surfaces ---------------------------------------------------------------------------------------------------

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5), (2.0, 1.0, 3.0)]


@pytest.mark.parametrize("spacing", SPACINGS)
def test_shells_of_two_balls_are_as_far_apart_as_their_radii(spacing) -> None:
    volume = ct(tuple(int(70 / s) for s in spacing), spacing)
    far = surfaces.distances(placed(volume, 28), placed(volume, 20), spacing)
    assert far.hausdorff() == pytest.approx(8.0, abs=max(spacing))
    assert far.surface_dice(8 + max(spacing)) > 0.97 and far.surface_dice(8 - max(spacing)) < 0.1


@pytest.mark.parametrize("axis", range(3))
def test_a_slab_that_is_thicker_by_known_millimetres(axis) -> None:
    spacing = np.array([2.0, 1.0, 3.0])
    thin, thick = np.zeros((30, 30, 30), bool), np.zeros((30, 30, 30), bool)
    cut = [slice(None)] * 3
    for mask, last in ((thin, 15), (thick, 17)):
        cut[axis] = slice(5, last)
        mask[tuple(cut)] = True
    far = surfaces.distances(Placed.of(thin), Placed.of(thick), spacing)
    assert far.hausdorff(100) == pytest.approx(2 * spacing[axis])
    assert far.surface_dice(2 * spacing[axis]) == 1.0 and far.surface_dice(2 * spacing[axis] - 0.5) < 1.0


def test_the_same_mask_is_at_no_distance_and_nothing_has_no_surface() -> None:
    volume = ct((20, 20, 20), (1.0, 1.0, 2.0))
    one, nothing = placed(volume, 6), Placed.of(np.zeros((20, 20, 20), bool))
    assert surfaces.distances(one, one, volume.spacing).hausdorff() == 0.0
    assert surfaces.distances(one, nothing, volume.spacing) is None


def test_faces_where_both_masks_were_cut_are_no_surface() -> None:
    tall = np.zeros((10, 10, 20), bool)
    tall[3:7, 3:7] = True
    cut = Placed.of(tall).between(2, 5, 15)
    centres, areas = surfaces.faces(cut, (1.0, 1.0, 1.0), (5, 15))
    assert areas.sum() == 4 * 4 * 10 and len(surfaces.faces(cut, (1.0, 1.0, 1.0))[0]) == 4 * 4 * 10 + 2 * 16
    assert centres[:, 2].min() >= 5 and centres[:, 2].max() <= 14


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")     # MONAI calls itself by an old name
@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 2.0)])
def test_monai_finds_the_same_distances(spacing) -> None:
    import torch
    from monai.metrics import compute_hausdorff_distance, compute_surface_dice

    volume = ct(tuple(int(56 / s) for s in spacing), spacing)
    a, b = ball(volume, 20), ball(volume, 18, (4, -3, 2))
    one, two = (torch.from_numpy(m)[None, None].float() for m in (a, b))
    far = surfaces.distances(Placed.of(a), Placed.of(b), spacing)
    theirs = float(compute_hausdorff_distance(one, two, include_background=True, percentile=95, spacing=spacing))
    assert far.hausdorff() == pytest.approx(theirs, abs=max(spacing) / 2)
    nsd = float(compute_surface_dice(one, two, [2.0], include_background=True, spacing=spacing, use_subvoxels=True))
    assert far.surface_dice(2.0) == pytest.approx(nsd, abs=0.08)


# boxes ------------------------------------------------------------------------------------------------------

def test_walls_are_measured_in_millimetres() -> None:
    truth = np.array([[0.0, 10], [0, 10], [0, 10]])
    moved = truth + np.array([[1.0, 1], [0, 2], [0, 0]])
    assert detection.wall_error(moved, truth, (2, 1, 3)) == pytest.approx((2 + 2 + 0 + 2 + 0 + 0) / 6)
    assert detection.wall_error(moved, truth, (2, 1, 3), axes=1) == 2.0 and detection.wall_error(None, truth, (1, 1, 1)) is None


def test_average_precision() -> None:
    assert detection.average_precision([(0.9, True), (0.8, True)], 2) == 1.0
    assert detection.average_precision([(0.9, False), (0.8, True)], 1) == 0.5
    assert detection.average_precision([(0.9, True), (0.8, False), (0.7, True)], 4) == pytest.approx((1 + 2 / 3) / 4)
    assert detection.average_precision([], 3) == 0.0 and detection.average_precision([], 0) is None


def test_a_box_of_what_is_not_there_costs_precision() -> None:
    rows = [{"state": "present", "present": 0.7, "box_iou_head": 0.8}, {"state": "outside", "present": 0.1, "box_iou_head": 0.0}]
    wrong = [{"state": "present", "present": 0.9}]
    assert detection.of_rows(rows, [], "head") == 0.5 and detection.of_rows(rows, wrong, "head") == 0.25


# trust ------------------------------------------------------------------------------------------------------

def test_auroc_counts_pairs() -> None:
    assert trust.auroc([0.9, 0.8, 0.3, 0.1], [1, 1, 0, 0]) == 1.0
    assert trust.auroc([0.5, 0.5], [1, 0]) == 0.5 and trust.auroc([0.9, 0.2, 0.5], [1, 1, 0]) == 0.5
    assert trust.auroc([0.9], [1]) is None


def test_what_is_calibrated_has_next_to_no_error_and_what_is_too_sure_has() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 1, 20_000)
    truth = rng.uniform(0, 1, 20_000) < p
    assert trust.expected_error(trust.reliability(p, truth)) < 0.015
    sure = np.where(p > 0.5, 0.99, 0.01)
    bins = trust.reliability(sure, truth)
    assert len(bins) == 2 and trust.expected_error(bins) == pytest.approx(0.24, abs=0.02)


def test_risk_falls_where_confidence_means_something() -> None:
    confidence, wrong = np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, False, True, True])
    curve = trust.risk_coverage(confidence, wrong)
    assert [(c["coverage"], c["risk"]) for c in curve] == [(0.25, 0), (0.5, 0), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]
    assert trust.risk_coverage(np.ones(4), wrong) == [{"coverage": 1.0, "risk": 0.5}] and trust.area(curve) < 0.25


# words ------------------------------------------------------------------------------------------------------

def test_kappa_is_one_for_the_same_and_nothing_for_chance() -> None:
    assert agreement.kappa("aabb", "aabb") == 1.0 and agreement.kappa("aabb", "abab") == 0.0
    assert agreement.kappa("aaaa", "aaaa") is None


def test_far_words_weigh_more_than_near_ones() -> None:
    near, far = (agreement.kappa("aabbcc", other, "abc") for other in ("abbbcc", "acbbcc"))
    assert 0 < far < near < 1 and agreement.kappa("aabbcc", "aabbcc", "abc") == 1.0


def test_rare_classes_do_not_count_and_the_others_count_alike() -> None:
    pairs = [("size", "small", "small")] * 30 + [("size", "large", "small")] * 20 + [("gas", "none", "present")] * 5
    value, classes = agreement.macro_f1(pairs)
    assert classes == 2 and value == pytest.approx((2 * 30 / (30 + 50) + 0) / 2)
    assert agreement.macro_f1(pairs[-5:]) == (None, 0)
