"""The yardsticks themselves: overlaps, intervals, scans with truth, calibration, and the page."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_model
import torch
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.engine import Engine
from ctreasoner.evaluation import calibrate, existence, page, probe, segmentation, understanding
from ctreasoner.evaluation.asking import Found, ask, in_voxels
from ctreasoner.evaluation.scans import FAR_MM, Scan
from ctreasoner.evaluation.scores import Placed, box_iou, dice, interval, share, summary
from ctreasoner.geometry import Volume


def block(low, high, shape=(20, 20, 40)) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = True
    return mask


def a_scan(**labelled: np.ndarray) -> Scan:
    labels = np.zeros((20, 20, 40), np.uint8)
    for key, mask in labelled.items():
        labels[mask] = OBJECTS.index(key) + 1
    affine = np.diag([4.0, 4.0, 3.0, 1.0])
    affine[:3, 3] = (-40, -40, 100)
    return Scan("openkbp_x", "openkbp", "x", Volume(np.zeros((20, 20, 40), np.int16), affine), labels, tuple(labelled))


# overlaps ---------------------------------------------------------------------------------------------------

def test_crops_overlap_as_the_whole_masks_do() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = (rng.random((9, 8, 7)) > t for t in rng.uniform(0.6, 0.999, 2))
        wanted = 2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 1.0
        assert dice(Placed.of(a), Placed.of(b)) == pytest.approx(wanted)
        assert Placed.of(a).voxels == a.sum()


def test_two_empty_masks_agree_and_one_empty_mask_does_not() -> None:
    empty, full = Placed.of(block((0, 0, 0), (0, 0, 0))), Placed.of(block((1, 1, 1), (4, 4, 4)))
    assert dice(empty, empty) == 1.0 and dice(empty, full) == 0.0 and empty.box() is None


def test_a_part_between_two_slices_keeps_its_place() -> None:
    mask = block((2, 3, 5), (8, 9, 30))
    part = Placed.of(mask).between(2, 10, 20)
    assert part.box().tolist() == [[1.5, 7.5], [2.5, 8.5], [9.5, 19.5]]
    assert not Placed.of(mask).between(2, 31, 35).voxels and not Placed.of(mask).between(2, 0, 4).voxels


def test_boxes_overlap() -> None:
    one = np.array([[0, 10], [0, 10], [0, 10.0]])
    assert box_iou(one, one) == 1.0
    assert box_iou(one, one + np.array([[5], [0], [0]])) == pytest.approx(1 / 3)
    assert box_iou(one, one + 20) == 0.0 and box_iou(None, one) == 0.0


def test_a_perfect_answer_scores_one_and_its_box_is_read_in_millimetres() -> None:
    scan = a_scan(mandible=block((5, 6, 7), (11, 12, 20)))
    box = scan.truth("mandible").box()
    corners = scan.volume.index_to_world(box.T)
    found = Found("a1.o1", "mandible", head_box=corners.T, mask=scan.truth("mandible"))
    row = segmentation.compared(scan, "mandible", found)
    assert [row[k] for k in ("dice", "nsd", "box_iou_head", "box_iou_mask")] == pytest.approx([1.0] * 4)
    assert [row[k] for k in ("hd95_mm", "wall_mm_head", "wall_mm_mask")] == pytest.approx([0.0] * 3, abs=1e-9)
    assert row["volume_ml"] == row["true_ml"] == pytest.approx(6 * 6 * 13 * 0.048)
    assert in_voxels(found.head_box, scan.volume) == pytest.approx(box)


def test_the_cord_counts_between_its_labelled_slices_alone() -> None:
    scan = a_scan(spinal_cord=block((8, 8, 10), (10, 10, 25)), larynx=block((2, 2, 10), (5, 5, 25)))
    longer = {key: Found("", key, mask=Placed.of(block(low, high))) for key, low, high in (
        ("spinal_cord", (8, 8, 0), (10, 10, 40)), ("larynx", (2, 2, 0), (5, 5, 40)))}
    cord, larynx = (segmentation.compared(scan, key, found) for key, found in longer.items())
    assert (cord["dice"], cord["nsd"], cord["hd95_mm"], cord["wall_mm_mask"]) == (1.0, 1.0, 0.0, 0.0)
    assert larynx["dice"] < 0.6 and larynx["nsd"] < 0.8 and larynx["hd95_mm"] > 20


# intervals --------------------------------------------------------------------------------------------------

def test_intervals_are_seeded_hold_the_mean_and_widen_with_the_spread() -> None:
    narrow = {str(n): [0.8 + 0.001 * n] for n in range(10)}
    wide = {str(n): [0.5 + 0.06 * n] for n in range(10)}
    assert interval(narrow) == interval(narrow)
    (a, b), (c, d) = interval(narrow), interval(wide)
    assert a < 0.8045 < b and b - a < 0.01 < 0.05 < d - c


def test_whole_patients_are_drawn() -> None:
    rows = [{"patient": p, "dice": v} for p, v in (("a", 0.0), ("a", 0.0), ("a", 0.0), ("b", 1.0))]
    found = summary(rows, "dice")
    assert (found["n"], found["patients"], found["mean"], found["worst"]) == (4, 2, 0.25, 0.0)
    assert (found["low"], found["high"]) == (0.0, 1.0)          # either patient may be drawn twice


def test_a_rate_of_all_is_not_certain() -> None:
    assert share(60, 60)["low"] == pytest.approx(0.94, abs=0.01) and share(60, 60)["high"] == pytest.approx(1.0)
    assert share(0, 0)["rate"] is None


# what lies outside ------------------------------------------------------------------------------------------

def test_a_cropped_scan_ends_far_from_the_object_and_stays_where_it_was() -> None:
    scan = a_scan(mandible=block((5, 6, 2), (11, 12, 15)))
    cropped = scan.without("mandible")
    bottom = float(cropped.extent_ras()[0][2])
    top = float(scan.volume.index_to_world(scan.truth("mandible").box().T)[1][2])
    assert bottom - top >= FAR_MM and cropped.extent_ras()[1] == pytest.approx(scan.volume.extent_ras()[1])
    assert a_scan(mandible=block((5, 6, 12), (11, 12, 28))).without("mandible") is None     # 30 mm are no scan


def test_of_a_neck_the_heart_lies_outside_above_the_jaw() -> None:
    scan = a_scan(mandible=block((5, 6, 2), (11, 12, 15)))
    assert {(key, how) for _, key, how in existence.beyond(scan)} == {
        ("mandible", "cropped"), ("heart", "other region"), ("aorta", "other region")}


# understanding ----------------------------------------------------------------------------------------------

def test_sixty_questions_have_no_answer() -> None:
    questions = understanding.unanswerable_questions()
    assert len(questions) == 60 and len({text for text, _ in questions}) == 60
    assert {code for _, code in questions} == {"question_unsupported", "click_needed"}
    assert questions == understanding.unanswerable_questions()


def test_a_dialogue_in_plain_pieces_says_the_same() -> None:
    from ctreasoner.training.dialogues import Composer

    processor = tiny_model.processor()
    composer = Composer(processor, 0, "heldout")
    for _ in range(40):
        dropped = composer.draw()
        plain = understanding.undropped(dropped, processor)
        text = understanding.words_of(plain, processor)
        assert text == understanding.words_of(dropped, processor)
        assert plain.question.ids[slice(*plain.question.words)] == processor.encode(text)
        for before, after in zip(dropped.mentions, plain.mentions, strict=True):
            assert (before is None) == (after is None)


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    return Engine.from_pretrained(tiny_model.save(tmp_path_factory.mktemp("tiny")), threads=1)


def test_random_weights_are_measured_without_a_stumble(engine) -> None:
    volume = tiny_model.scan()
    nouns = existence.unsupported_rows(engine, volume, 4)
    routes = understanding.routing(engine, volume, each=2)
    unanswerable = understanding.unanswerable_rows(engine, volume, 4)
    labels = np.zeros(volume.shape, np.uint8)
    labels[20:40, 20:40, 10:30] = OBJECTS.index("heart") + 1
    scan = Scan("segthor_x", "segthor", "x", volume, labels, ("heart",), "fine")
    rows = segmentation.measure(engine, [scan], given=True)
    assert rows[0]["understood"] and rows[0]["state"] == "present" and 0 <= rows[0]["dice"] < 1
    result = {"about": {"model": engine.model, "ctreasoner": "0", "date": "", "commands": [], "limited": "tiny"},
              "segmentation": {"lines": segmentation.summarise(rows), "by_hu_class": segmentation.by_hu_class(rows)},
              "existence": existence.summarise(rows, existence.absent_rows(engine, scan), nouns),
              "understanding": understanding.summarise(routes, unanswerable, [], [])}
    text = page.markdown(result)
    assert "| thorax | heart | 1 |" in text and "held-out nouns" in text and "**A short form" in text


def test_a_given_plan_is_followed(engine) -> None:
    with probe.told(engine, "larynx"):
        outcome = ask(engine, tiny_model.scan(), "anything at all")
    assert outcome.routes == ("segment",) and [o.key for o in outcome.objects] == ["larynx"]


# calibration ------------------------------------------------------------------------------------------------

def test_the_fit_finds_how_much_too_sure_the_head_is() -> None:
    generator = torch.Generator().manual_seed(0)
    true = torch.randn(4000, 4, generator=generator) * 2
    truth = torch.distributions.Categorical(logits=true[:, [0, 2]]).sample()
    shown = torch.full_like(true, -30.0)
    shown[:, [0, 2]] = true[:, [0, 2]] * 3                       # three times too sure
    states = [("present", "outside")[int(t)] for t in truth]
    rows = [{"logits": row.tolist(), "state": state, "patient": "x"} for row, state in zip(shown, states, strict=True)]
    fitted = calibrate.fit(rows)
    assert fitted["temperature"] == pytest.approx(3.0, rel=0.15)
    assert fitted["threshold"] == pytest.approx(0.5, abs=0.1) and fitted["ece_after"] < 0.03 < fitted["ece_before"]


def test_the_threshold_lies_midway_between_what_is_there_and_what_is_not() -> None:
    assert calibrate.best_threshold(np.array([0.9, 0.8, 0.95]), np.array([0.1, 0.6, 0.2])) == pytest.approx(0.7)
    one_missed = calibrate.best_threshold(np.array([0.3, 0.9, 0.8, 0.85]), np.array([0.1, 0.5, 0.2]))
    assert one_missed == pytest.approx(0.65)

