"""Each part of an evaluation on tiny weights and made-up scans: users, looks, words, sides, existence, gallery and page."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny_model
import torch
from ctreasoner import evaluation
from ctreasoner.dataset import known
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.engine import Engine
from ctreasoner.errors import InputError, ModelError
from ctreasoner.evaluation import (
    clicks,
    existence,
    faithful,
    gallery,
    looks,
    page,
    parts,
    plain,
    plots,
    proofs,
    proofs_scans,
    sides,
    words,
)
from ctreasoner.evaluation.asking import ask, not_present
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import Placed
from ctreasoner.geometry import Volume
from ctreasoner.training import baseline, common
from test_training import write_case


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    return Engine.from_pretrained(tiny_model.save(tmp_path_factory.mktemp("tiny")), threads=1)


def a_scan(volume: Volume | None = None, **boxes) -> Scan:
    """The phantom with objects in boxes (low, high) of its voxels."""
    volume = volume or tiny_model.scan()
    labels = np.zeros(volume.shape, np.uint8)
    for key, (low, high) in boxes.items():
        labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = OBJECTS.index(key) + 1
    return Scan("segthor_x", "segthor", "x", volume, labels, tuple(boxes), "fine")


HEART = {"heart": ((20, 20, 10), (40, 40, 30))}
LUNGS = {"lung_right": ((52, 15, 10), (70, 45, 40)), "lung_left": ((10, 15, 10), (28, 45, 40))}


# users who click --------------------------------------------------------------------------------------------

def test_the_next_click_falls_into_the_middle_of_the_largest_error() -> None:
    truth, mask = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    truth[2:9, 2:9, 2:9] = True
    mask[12:15, 12:15, 12:15] = True
    assert clicks.next_click(truth, mask, (1, 1, 1)) == ((5, 5, 5), True)
    assert clicks.next_click(truth, truth | mask, (1, 1, 1)) == ((13, 13, 13), False)
    assert clicks.next_click(truth, truth, (1, 1, 1)) is None


def test_a_user_of_a_perfect_answer_stops_and_one_of_a_stubborn_answer_goes_on() -> None:
    truth = np.zeros((12, 12, 12), bool)
    truth[3:9, 3:9, 3:9] = True
    asked = []

    def stubborn(so_far):
        asked.append(len(so_far))
        return np.zeros_like(truth)

    assert clicks.session(lambda _: truth, truth, (1, 1, 1), np.random.default_rng(0)) == [1.0] * 5
    assert clicks.session(stubborn, truth, (1, 1, 1), np.random.default_rng(0)) == [0.0] * 5 and asked == [1, 2, 3, 4, 5]


def test_trivial_rows_find_a_bright_ball_in_the_dark() -> None:
    grid = np.stack(np.meshgrid(*(np.arange(40.0),) * 3, indexing="ij"))
    truth = ((grid - 20) ** 2).sum(0) <= 4.2 ** 2
    volume = Volume(np.where(truth, 40, -850).astype(np.int16), np.eye(4))
    middle = [((20, 20, 20), True)]
    assert (clicks.growing(volume, "lung_nodule")(middle) == truth).all()
    near = clicks.ball(volume, "lung_nodule")(middle)
    assert 0.8 < 2 * (near & truth).sum() / (near.sum() + truth.sum()) < 1
    assert not clicks.ball(volume, "lung_nodule")([*middle, ((20, 20, 20), False)])[20, 20, 20]


def test_the_engine_answers_clicks_and_corrects(engine) -> None:
    scan = a_scan(**HEART)
    rows = clicks.measure(engine, [(scan, "heart")], "organs")
    assert [r["row"] for r in rows] == ["model", "ball", "growing threshold"] and all(len(r["dice"]) == 5 for r in rows)
    answer = clicks.of_engine(engine, scan.volume, "thing")
    assert answer([((30, 30, 20), True)]).any() and answer([((30, 30, 20), True), ((25, 30, 20), False)]).any()
    lines = clicks.summarise(rows)
    assert lines[0]["n"] == 1 and list(lines[0]["dice"]) == ["1", "2", "3", "5"] and list(lines[0]["improved"]) == list("2345")


def test_a_nodule_crop_is_widened_unevenly_and_stays_where_it_was() -> None:
    hu, labels = np.full((20, 18, 6), -800, np.int16), np.zeros((20, 18, 6), np.uint8)
    hu[8:12, 7:11, 2:4], labels[8:12, 7:11, 2:4] = 30, 1
    affine = np.diag([0.7, 0.7, 2.5, 1.0])
    affine[:3, 3] = (10, 20, -30)
    case = known.Case("lidc_x", "lidc", "x", "fold4", hu, affine, labels, {"lung_nodule": 1}, ("lung_nodule",), ())
    wide = clicks.widened(case)
    room = (np.array(wide.volume.shape) - hu.shape) * case.spacing
    assert (room >= clicks.WIDER_MM - 1e-6).all() and (wide.labels > 0).sum() == labels.sum()
    before, after = (Volume(v, a).index_to_world([np.argwhere(m)[0]])[0] for v, a, m in (
        (hu, affine, labels > 0), (wide.volume.voxels, wide.volume.affine, wide.labels > 0)))
    assert after == pytest.approx(before) and (wide.volume.voxels[wide.labels > 0] == 30).all()
    middle = wide.truth("lung_nodule").centroid() - (np.array(wide.volume.shape) - 1) / 2
    assert np.abs(middle * case.spacing).max() > 0.5


# looks ------------------------------------------------------------------------------------------------------

def test_every_arm_of_the_looks_is_drawn_and_compared(engine) -> None:
    rows = looks.measure(engine, [a_scan(**HEART)])
    assert len(rows) == 1 and all(0 <= rows[0][arm] <= 1 for arm in looks.ARMS)
    made = looks.summarise(rows)
    assert made["lines"][0]["object"] == "heart" and {p["arms"] for p in made["pairs"]} == {f"{a} - {b}" for a, b in looks.PAIRED}
    assert all(p["group"] == "large" for p in made["pairs"])


def test_the_true_box_fits_the_oracle_s_view_and_a_random_view_has_the_same_shape(engine) -> None:
    looker = looks.Looker(engine, a_scan(**HEART), "heart")
    view = looks.around_truth(looker)
    corners = looker.scan.volume.index_to_world(looker.scan.truth("heart").box().T)
    assert (corners.min(0) >= view.lo).all() and (corners.max(0) <= view.hi).all()
    other = looks.elsewhere(looker, view)
    assert (other.shape, other.spacing_mm) == (view.shape, view.spacing_mm) and other == looks.elsewhere(looker, view)


# existence --------------------------------------------------------------------------------------------------

def test_an_erased_lung_is_gone_and_the_rest_is_as_it_was() -> None:
    scan = a_scan(**LUNGS)
    hollow = Volume(np.where(scan.labels > 0, -850, 30).astype(np.int16), scan.volume.affine)
    scan = a_scan(hollow, **LUNGS)
    for volume, key, how in existence.erased(scan):
        mine = scan.labels == OBJECTS.index(key) + 1
        assert how == "erased" and volume.voxels[mine].mean() > -200
        far = ~mine
        far[:, :, 5:45] = False
        assert (volume.voxels[far] == hollow.voxels[far]).all()


def test_the_probability_that_it_is_there_is_kept_whatever_is_said(engine) -> None:
    found = ask(engine, tiny_model.scan(), "segment the heart", until=not_present).objects
    for o in (o for o in found if o.probability is not None):
        assert 0 <= o.present <= 1 and (o.state != "present" or o.present == pytest.approx(o.probability, abs=1e-4))


def test_trust_is_summed_up_by_kind() -> None:
    rows = [{"source": "segthor", "present": p} for p in (0.9, 0.8, 0.95)]
    absent = [{"how": "cropped", "present": 0.2}, {"how": "erased", "present": 0.99}]
    found = existence.trusted(rows, absent, [{"present": 0.0}])
    assert found["auroc"] == {"outside": 1.0, "erased": 0.0, "unsupported": 1.0}
    assert found["n"] == {"present": 3, "outside": 1, "erased": 1, "unsupported": 1}
    assert found["erased"]["ece"] > found["outside"]["ece"]


# words, numbers, sides --------------------------------------------------------------------------------------

def test_words_are_compared_with_the_rule_on_the_true_mask(engine) -> None:
    rows = words.organs(engine, [a_scan(**HEART)])
    assert {r["attribute"] for r in rows} <= {"density", "homogeneity", "size", "extent"} and rows
    made = words.summarise(rows)
    assert made["contradictions"]["n"] == sum(bool(r["accepted"]) for r in rows) and made["macro_f1"]["model"] is None


def test_the_patient_before_takes_the_place_of_the_picture(engine) -> None:
    rows = words.organs(engine, [a_scan(**HEART), a_scan(tiny_model.scan(seed=3), **HEART)])
    assert ["blind" in r for r in rows] == [False] * (len(rows) // 2) + [True] * (len(rows) // 2)
    assert not {"categories", "_visual"} & vars(engine.speaker).keys()


def test_proofs_on_whole_answers_say_what_they_found(engine) -> None:
    rows = proofs.run(engine, [a_scan(**LUNGS)], 1, small=True, keys=["lung_left"], only=["4", "8", "9"])
    assert [r["proof"].split()[0] for r in rows] == ["4", "8", "9"] and all(r["n"] for r in rows)
    assert rows[2]["cases"][-1]["stored"] == 1.0            # the same patient stored otherwise: by construction


def test_a_loss_of_dice_a_swapped_side_and_a_mask_out_of_nothing_do_not_pass() -> None:
    assert proofs_scans.coreference_verdict([{"dice": 0.95, "alone": 0}] * 20)[1]
    assert not proofs_scans.coreference_verdict([{"dice": 0.95, "alone": 1}] * 20)[1]
    assert proofs_scans.recovery_verdict([{"loss": 0.01, "noticed": True}])[1]
    assert not proofs_scans.recovery_verdict([{"loss": 0.05, "noticed": True}])[1]
    good, bad = ({"mirrored": 0.95, "swapped": wrong} for wrong in (False, True))
    assert proofs_scans.mirror_verdict([good, {"stored": 0.999}])[1]
    assert not proofs_scans.mirror_verdict([bad, {"stored": 0.999}])[1]


def test_two_proofs_are_read_from_other_parts() -> None:
    rates = {k: {"n": 100, "rate": 1.0} for k in ("wording_same_state", "wording_same_mask", "typing_error_same_state",
                                                  "order_same_mask")}
    words_found = {"organs": {"macro_f1": {"model": 0.7, "blind": 0.4, "majority": 0.38}}}
    result = {"understanding": rates, "existence": {"nouns_unsupported": {"n": 100, "rate": 0.9}}, "words": words_found,
              "word_cases": {"organs": []}}
    assert [(r["proof"], r["passed"]) for r in proofs.from_parts(result)] == [("10 wording", False), ("11 blind", True)]
    assert proofs.from_parts({}) == []


def test_numbers_of_a_true_text_stand_and_every_planted_error_is_caught(engine) -> None:
    scan = a_scan(**HEART)
    rows = faithful.planted_rows(engine, scan, "heart", scan.truth("heart"))
    assert sum(r.get("refuted", 0) for r in rows) == 0 and {r["kind"] for r in rows} >= {"true", "number"}
    assert all(r["caught"] for r in rows if r["kind"] != "true")


def test_sentences_are_counted_before_any_is_left_out(engine, monkeypatch) -> None:
    scan = a_scan(**HEART)
    words = "The <obj:1> has a volume of <slot:volume>. The <obj:1> sings. Please click on the nodule that you mean."
    monkeypatch.setattr(engine.speaker, "say", lambda *_: words)
    with faithful.probe.certain(engine):
        row = faithful.sentence_rows(engine, scan)[0]
    assert (row["sentences"], row["checkable"], row["refuted"]) == (2, 1, 0) and "sings" in row["text"]
    summary = faithful.summarise([], [], [row])
    assert summary["sentences_checkable"]["rate"] == 0.5


def test_a_number_of_another_mask_is_not_the_same(engine) -> None:
    scan = a_scan(**HEART)
    rows, mask = faithful.number_rows(engine, scan, "heart")
    assert mask.voxels > 0
    assert all(r["same"] is not False for r in rows)
    talk = "other mask"
    with faithful.probe.told(engine, "heart"):
        outcome = ask(engine, scan.volume, "describe the heart", words=True, conversation=talk)
    wrong = faithful.numbers(engine, scan, "heart", outcome, scan.truth("heart"), "answer")
    assert all(r["same"] is False for r in wrong if r["name"] == "volume")


def test_five_questions_are_asked_for_each_side() -> None:
    scan = a_scan(**LUNGS)
    asked = list(sides.questions(scan))
    assert [q.kind for q in asked] == list(sides.KINDS) * 2
    for q in asked:
        assert q.own.shape == q.volume.shape and q.other.any() and q.own.any() == (q.kind != "other side alone")
    plain_one, mirrored = asked[0], asked[2]
    assert (mirrored.own == plain_one.other[::-1]).all() and (mirrored.volume.voxels == plain_one.volume.voxels[::-1]).all()
    half = asked[4]
    assert half.other.sum() == asked[0].other.sum()
    moved = half.volume.index_to_world([np.argwhere(half.other)[0]])[0]
    assert moved == pytest.approx(scan.volume.index_to_world([np.argwhere(plain_one.other)[0]])[0])


def test_a_mask_on_the_other_side_is_confused_and_none_is_not() -> None:
    scan = a_scan(**LUNGS)
    own, other = (scan.labels == OBJECTS.index(k) + 1 for k in ("lung_left", "lung_right"))
    assert sides.is_confused(scan.truth("lung_right"), own, other) and not sides.is_confused(scan.truth("lung_left"), own, other)
    assert not sides.is_confused(Placed(np.zeros((0, 0, 0), bool), (0, 0, 0)), own, other)


# the comparison ---------------------------------------------------------------------------------------------

def test_the_plain_net_is_as_large_as_it_says_and_learns_one_view() -> None:
    torch.manual_seed(0)
    net = baseline.UNet()
    assert 2.2e6 < sum(p.numel() for p in net.parameters()) < 2.5e6
    hu = torch.full((1, 32, 32, 32), -100.0)
    hu[:, 8:24, 8:24, 8:24] = 60
    masks, covered = torch.zeros(len(baseline.CLASSES), 32, 32, 32), torch.zeros(len(baseline.CLASSES))
    masks[baseline.CLASSES.index("heart")] = (hu[0] > 0).float()
    covered[baseline.CLASSES.index("heart")] = 1.0
    optimiser, values = torch.optim.AdamW(net.parameters(), 2e-3), []
    for _ in range(8):
        loss = baseline.step_loss(net, [(hu, masks, covered)])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        values.append(float(loss.detach()))
    assert values[-1] < 0.8 * values[0]
    unknown = baseline.step_loss(net, [(hu, masks, torch.zeros_like(covered))])
    assert float(unknown.detach()) == 0.0                        # what is not covered teaches nothing


class Steps(common.Clock):
    """A clock whose second is one step, so that nothing depends on how fast the machine is."""

    def tick(self) -> float:
        self.used += 1
        return self.used / self.seconds


@pytest.mark.filterwarnings("ignore:.*non-tuple sequence for multidimensional indexing.*:UserWarning")    # MONAI's own indexing
def test_the_plain_net_is_trained_goes_on_and_is_measured(engine, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(common, "Clock", Steps)
    (tmp_path / "data").mkdir()
    write_case(tmp_path / "data", "segthor_90")
    settings = baseline.Baseline(data=str(tmp_path / "data"), out=str(tmp_path / "out"), seconds=2, batch=1, threads=1)
    path = baseline.run(settings)
    assert baseline.load(path)[1]["step"] == 1 and not (tmp_path / "out" / "train.pid").exists()
    settings.seconds = 4
    baseline.run(settings)
    assert baseline.load(path)[1]["step"] == 2
    scan = a_scan(Volume(tiny_model.scan((48, 40, 40)).voxels, np.diag([4.0, 4, 4, 1])), heart=((10, 10, 10), (30, 30, 30)))
    found = plain.measure(engine, path, [scan])
    assert found["rows"][0]["object"] == "heart" and found["about"]["views"] == found["about"]["step"]
    lines = plain.against(found["rows"], [{"scan": scan.id, "object": "heart", "dice": 1.0}])
    assert lines[0]["gain"]["mean"] == pytest.approx(1 - found["rows"][0]["dice"])


def test_a_file_without_weights_of_the_comparison_is_named(tmp_path) -> None:
    (tmp_path / "baseline.pt").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"baseline\.pt holds no weights"):
        baseline.load(tmp_path / "baseline.pt")


# gallery, page, parts ---------------------------------------------------------------------------------------

def test_a_gallery_has_a_picture_and_words_for_each_answer(engine, tmp_path) -> None:
    scan = a_scan(**HEART)
    text = gallery.write(engine, [(scan, "heart")], tmp_path).read_text()
    assert "01-segthor_x-heart.png" in text and "Dice" in text and (tmp_path / "01-segthor_x-heart.png").stat().st_size > 1000
    drawn = [(s.id, k) for s, k in gallery.drawn([scan, a_scan(**LUNGS)], 1)]
    assert drawn == [(s.id, k) for s, k in gallery.drawn([scan, a_scan(**LUNGS)], 1)] and len(drawn) == 1


def test_parts_run_one_after_the_other_are_kept_and_published(engine, tmp_path, monkeypatch) -> None:
    folder = engine.folder
    scan = a_scan(**HEART)
    monkeypatch.setattr(parts.Run, "patients", lambda self, demo=False: iter([scan]))
    for part in ("given-plans", "looks"):
        assert evaluation.main(["--model", str(folder), "--out", str(tmp_path), "--threads", "1", "--part", part]) == 0
    result = json.loads((tmp_path / "evaluation.json").read_text())
    assert "looks" in result and "segmentation" not in result        # given plans are another, limited amount
    assert evaluation.main(["--model", str(folder), "--out", str(tmp_path), "--threads", "1", "--part", "looks"]) == 0
    assert set(json.loads((tmp_path / "evaluation.json").read_text())["cpu_hours"]) == {"looks"}
    assert evaluation.main(["--out", str(tmp_path), "--publish", str(tmp_path / "docs")]) == 0
    text = next((tmp_path / "docs").glob("*.md")).read_text()
    assert str(tmp_path) not in text and str(folder) not in text
    assert "CPU hours" in text and "looks.png" in text and (tmp_path / "docs" / "looks.png").stat().st_size < 150_000
    with pytest.raises(InputError):
        evaluation.main(["--out", str(tmp_path / "nothing"), "--publish", str(tmp_path / "docs")])


def test_a_page_of_everything_has_every_table(tmp_path) -> None:
    trusted = existence.trusted([{"source": "segthor", "present": 0.9}], [{"how": "cropped", "present": 0.2}],
                                [{"present": 0.0}])
    lines = clicks.summarise([{"kind": "nodules", "row": "model", "patient": "a", "dice": [0.5, 0.6, 0.7, 0.7, 0.8]}])
    row = {"object": "heart", "attribute": "density", "accepted": ["soft"], "truth": "soft", "model": "soft", "on_mask": "soft"}
    rows = [row] * 25
    result = {"about": {"model": {"name": "x", "hash": "0"}, "ctreasoner": "0", "date": "", "commands": ["c"], "limited": ""},
              "trust": trusted, "clicks": {"lines": lines}, "words": {"organs": words.summarise(rows)},
              "faithful": faithful.summarise([], [], []) | sides.summarise([])}
    drawn = plots.write(result, tmp_path)
    text = page.markdown(result, drawn)
    assert set(drawn) == {"reliability.png", "risk-coverage.png", "clicks.png"}
    assert all((tmp_path / name).stat().st_size < 150_000 for name in drawn)
    for title in ("Dice against clicks", "How far", "Category words of organs", "Words, numbers and sides"):
        assert f"## {title}" in text
