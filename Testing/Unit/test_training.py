"""Training in the small: losses that mean what they say, views of a synthetic patient, and sequences that teach both halves."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import torch
from ctreasoner.dataset.prepare import OBJECTS, lungs
from ctreasoner.model.vision import STATES, Context, VisionConfig, VisionModel
from ctreasoner.training import augment, common, losses
from ctreasoner.training.dialogues import Composer
from ctreasoner.training.joint_stage import Asker, joint_codes
from ctreasoner.training.language_stage import SequenceMaker, code_loss, embeds_of, text_loss
from ctreasoner.training.sampling import CODES, QUERIES, SIDE, Sampler
from ctreasoner.training.scenes import Scene, Seen, read_scenes, write_scenes
from ctreasoner.training.views import NUMBER, Pose, cut, faces_of, read_prepared, training_cases
from ctreasoner.training.vision_stage import IDENTITY, CodeTable, batch, step_loss

SHAPE, SPACING = (80, 60, 70), (4.0, 4.0, 3.0)
BALLS = {"heart": ((40, 30, 25), 10, 60), "aorta": ((30, 25, 40), 6, 200), "trachea": ((45, 25, 58), 4, -950)}


def ball(centre, radius: float, shape=SHAPE) -> np.ndarray:
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    return sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True)) <= radius ** 2


def write_case(folder: Path, name: str, *, source: str = "segthor", split: str = "train", patient: str = "", balls=BALLS) -> None:
    """A prepared case: balls in soft tissue."""
    hu, labels = np.full(SHAPE, -40, np.int16), np.zeros(SHAPE, np.uint8)
    for key, (centre, radius, value) in balls.items():
        where = ball(centre, radius)
        hu[where], labels[where] = value, NUMBER[key]
    np.savez(folder / f"{name}.npz", hu=hu, labels=labels)
    line = {"id": name, "source": source, "split": split, "patient": patient or name, "spacing_mm": SPACING,
            "origin_ras_mm": [0, 0, 0], "ratings": [[3, 6, 3, 3, 3, 3, 3, 3]], "hu_class": "fine",
            "covered": list(balls), "cut": []}
    (folder / f"{name}.json").write_text(json.dumps(line))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("prepared")
    write_case(path, "segthor_90")
    write_case(path, "segthor_91", split="val")
    write_case(path, "segthor_03")
    write_case(path, "openkbp_90", source="openkbp", balls={
        "mandible": ((40, 40, 30), 8, 900), "parotid_left": ((25, 30, 35), 6, 0), "parotid_right": ((55, 30, 35), 6, 0)})
    nodule = {"lung_nodule": ((40, 30, 35), 3, 40)}
    write_case(path, "lidc_90", source="lidc", split="fold1", balls=nodule)
    write_case(path, "lidc_91", source="lidc", split="fold4", balls=nodule)
    write_case(path, "lidc_0001_1", source="lidc", split="fold0", patient="LIDC-IDRI-0001", balls=nodule)
    return path


@pytest.fixture(scope="module")
def cases(folder):
    return training_cases(folder)


@pytest.fixture
def sampler(cases) -> Sampler:
    return Sampler(cases, seed=1)


# who is trained on ------------------------------------------------------------------------------------------

def test_validation_the_last_fold_the_demos_patient_and_who_was_set_aside_are_never_trained_on(cases) -> None:
    assert sorted(c.id for c in cases) == ["lidc_90", "openkbp_90", "segthor_90"]


# views ------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("spacing", [3.0, 8.0])
def test_a_view_shows_the_object_where_it_lies(folder, spacing) -> None:
    case = read_prepared(folder, "segthor", ("train",))[0]
    centre = np.array(BALLS["heart"][0]) * SPACING
    hu, masks, inside = cut(case, Pose(centre, spacing, (32, 32, 32)), ["heart", "aorta"])
    lines = [masks[0].sum([a for a in range(3) if a != axis]) for axis in range(3)]
    found = np.array([float((line * torch.arange(32)).sum() / line.sum()) for line in lines])
    assert np.abs(found - 15.5).max() * spacing < 0.75 * spacing
    ml = float(masks[0].sum()) * spacing ** 3
    assert ml == pytest.approx(case.voxels["heart"] * np.prod(SPACING), rel=0.06)
    assert float(hu[masks[0] > 0.99].mean()) == pytest.approx(60, abs=12) and inside[16, 16, 16]


def test_outside_the_scan_is_air(folder) -> None:
    case = read_prepared(folder, "segthor", ("train",))[0]
    hu, masks, inside = cut(case, Pose(np.array([-400.0, 0, 0]), 4.0, (16, 16, 16)), ["heart"])
    assert not inside.any() and (hu == -1024).all() and not masks.any()


def test_faces_are_voxel_edges_and_say_when_the_view_cuts() -> None:
    mask = torch.zeros(16, 16, 16)
    mask[3:9, 0:5, 10:16] = 1
    faces, beyond = faces_of(mask)
    assert faces.tolist() == [[3, 9], [0, 5], [10, 16]]
    assert beyond.tolist() == [[False, False], [True, False], [False, True]]
    assert faces_of(torch.zeros(4, 4, 4)) is None


def test_lungs_are_split_by_side() -> None:
    hu = np.full((80, 60, 60), 40, np.int16)
    hu[12:35, 15:45, 10:50], hu[45:68, 15:45, 10:50] = -850, -850
    left, right = lungs(hu, np.array([4.0, 4.0, 4.0]), np.zeros(hu.shape, bool))
    assert left.any() and right.any() and not (left & right).any()
    assert np.nonzero(left)[0].max() < np.nonzero(right)[0].min()          # x grows to the patient's right


# samples ----------------------------------------------------------------------------------------------------

def test_samples_are_whole_and_never_contradict_themselves(sampler) -> None:
    seen = set()
    for _ in range(25):
        s = sampler.draw()
        assert s.hu.shape == (SIDE,) * 3 and s.masks.shape == (QUERIES, SIDE, SIDE, SIDE) and len(s.keys) == QUERIES
        assert torch.isfinite(s.hu).all() and float(s.masks.min()) >= 0 and float(s.masks.max()) <= 1 + 1e-5
        for i, key in enumerate(s.keys):
            seen.add((key, STATES[int(s.state[i])]))
            if key is None:
                assert STATES[int(s.state[i])] == "unsupported" and s.box_weight[i] == 0
            if s.box_weight[i]:
                assert s.masks[i].max() > 0.5 and (s.faces[i, :, 1] > s.faces[i, :, 0]).all()
            if STATES[int(s.state[i])] == "outside" and s.state_weight[i]:
                assert float(s.masks[i].sum()) < 0.2 * float(ball((40, 40, 40), 10, (80,) * 3).sum())
    assert {state for _, state in seen} >= {"present", "outside", "unsupported"}


def test_a_bulge_belongs_to_its_object_and_looks_like_it() -> None:
    heart, lung = ball((20, 20, 20), 8, (40,) * 3), ball((33, 20, 20), 4, (40,) * 3)
    masks = {"heart": torch.from_numpy(heart).float(), "lung_left": torch.from_numpy(lung).float()}
    before = {key: mask.clone() for key, mask in masks.items()}
    hu = torch.where(masks["heart"] > 0, 60.0, -800.0)
    out = augment.bulge(hu, masks, "heart", 3.0, np.random.default_rng(1))
    grown = (masks["heart"] > 0.5) & (before["heart"] < 0.5)
    assert 20 < int(grown.sum()) < 120                                      # part of a ball of radius 3
    assert (masks["heart"] >= before["heart"]).all() and float((masks["heart"] + masks["lung_left"]).max()) <= 1.001
    assert float(out[masks["heart"] > 0.99].mean()) == pytest.approx(60, abs=2)
    assert torch.equal(out[masks["heart"] == 0], hu[masks["heart"] == 0])


def test_the_same_seed_draws_the_same_samples(cases) -> None:
    one, two = (Sampler(cases, seed=4).draw() for _ in range(2))
    assert torch.equal(one.hu, two.hu) and one.keys == two.keys and torch.equal(one.masks, two.masks)


def test_a_mirrored_view_exchanges_the_names_of_the_sides(cases) -> None:
    case = next(c for c in cases if c.source == "openkbp")
    sampler, centre = Sampler(cases, seed=2), np.array(SHAPE) * SPACING / 2
    plain, mirrored = (sampler.picture(case, Pose(centre, 5.0, (SIDE,) * 3), None, flip) for flip in (False, True))
    for picture in (plain, mirrored):
        x = {key: float((m.sum((1, 2)) * torch.arange(SIDE)).sum() / m.sum()) for key, m in picture.masks.items()}
        assert x["parotid_left"] < x["mandible"] < x["parotid_right"]


# losses -----------------------------------------------------------------------------------------------------

def test_a_right_mask_costs_less_than_a_wrong_or_an_empty_one() -> None:
    target = torch.from_numpy(ball((8, 8, 8), 4, (16,) * 3)).float()[None]
    weight, right = torch.ones(1), 20 * target - 10
    drawn = (right, -right, torch.full_like(right, -10))
    right_cost, wrong_cost, none = (float(losses.mask_loss(x, target, weight)) for x in drawn)
    assert right_cost < 0.02 < 0.9 < none < wrong_cost


def test_what_is_unknown_costs_nothing() -> None:
    target, logits = torch.zeros(1, 8, 8, 8), torch.full((1, 8, 8, 8), -9.0)
    logits[:, 4:] = 9.0
    known = torch.ones(1, 8, 8, 8)
    known[:, 4:] = 0
    with_it, without = (float(losses.mask_loss(logits, target, torch.ones(1), some)) for some in (known, None))
    assert with_it < 1e-2 < without
    assert float(losses.mask_loss(logits, target, torch.zeros(1))) == 0


def context_of(faces, existence=None) -> Context:
    return Context(torch.zeros(1, 1, 32, 4, 4, 4), torch.zeros(1, 1, 4, 4, 4),
                   torch.zeros(1, 1, 4) if existence is None else existence, tuple(faces))


def test_the_box_loss_is_least_at_the_truth_and_knows_cut_faces() -> None:
    faces, overflow = torch.tensor([[[6.0, 10.0]] * 3]), torch.zeros(1, 3, 2, dtype=torch.bool)

    def logits(low: int, high: int) -> torch.Tensor:
        out = torch.full((1, 1, 2, 6), -8.0)
        out[..., 0, low], out[..., 1, high] = 8.0, 8.0
        return out

    def cost(low: int, high: int, beyond=overflow) -> float:
        return float(losses.box_loss(context_of([logits(low, high)] * 3), faces, beyond, torch.ones(1)))

    assert cost(2, 3) < cost(1, 3) < cost(1, 4)                 # bins 2 and 3 are centred at 6 and 10 voxels
    cut_low = overflow.clone()
    cut_low[:, :, 0] = True
    assert cost(0, 3, cut_low) < cost(2, 3, cut_low)


def test_existence_counts_only_where_something_is_known() -> None:
    sure = torch.tensor([[[9.0, 0, 0, 0]]])
    costs = [float(losses.existence_loss(context_of([], sure), torch.tensor([s]), torch.ones(1))) for s in (0, 2)]
    assert costs[0] < 1 < costs[1]
    assert float(losses.existence_loss(context_of([], sure), torch.tensor([2]), torch.zeros(1))) == 0


def test_codes_are_pulled_to_their_row_and_false_ones_away_from_all() -> None:
    table = torch.nn.functional.normalize(torch.randn(len(CODES), IDENTITY, generator=torch.Generator().manual_seed(0)), dim=1)
    own = torch.cat([table[:2] * 8, torch.zeros(2, 64)], 1)
    assert float(code_loss(own, [0, 1], table)) < 0.1 < float(code_loss(own, [1, 0], table))
    assert float(code_loss(own[:1], [None], table)) > 0.5 > float(code_loss(torch.randn(1, 128) * 0 + 1e-3, [None], table))


def test_one_step_teaches_the_eyes(sampler) -> None:
    torch.manual_seed(0)
    vision, table = VisionModel(VisionConfig(**tiny_model.NARROW)), CodeTable()
    samples = [sampler.draw()]
    small = batch(samples)
    optimiser = torch.optim.AdamW([*vision.parameters(), *table.parameters()], 3e-3)
    totals = []
    for _ in range(6):
        total, parts = step_loss(vision, small, table(samples, torch.Generator().manual_seed(1)))
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
        assert set(parts) == {"mask", "coarse", "box", "existence"} and np.isfinite(list(parts.values())).all()
    assert totals[-1] < totals[0]


# language ---------------------------------------------------------------------------------------------------

def scene(seed: int = 0) -> Scene:
    g = torch.Generator().manual_seed(seed)

    def t(*shape):
        return torch.randn(*shape, generator=g)

    seen = {key: Seen(t(27, 24), t(27, 4), t(3, 72), t(2, 32), t(2, 4), {"calcification": "none"}) for key in OBJECTS}
    return Scene(t(64, 24), t(64, 4), seen, (t(2, 32), t(2, 4)))


def maker(seed: int = 0) -> SequenceMaker:
    processor = tiny_model.processor()
    return SequenceMaker(processor, Composer(processor, seed), random.Random(seed))


def test_every_dialogue_has_a_plan_that_the_grammar_allows() -> None:
    from ctreasoner.evaluation.understanding import known_before
    from ctreasoner.model.grammar import PlanGrammar

    processor = tiny_model.processor()
    composer = Composer(processor, 3)
    for n in range(250):
        dialogue = composer.clicked("aorta" if n % 2 else None, n % 3 == 0) if n % 5 == 0 else composer.draw()
        known = known_before(dialogue, processor)
        machine = PlanGrammar(processor.ids, processor.name_ids, known=known, pointer=dialogue.clicks > 0)
        for token in dialogue.plan:
            assert token in machine.allowed(), (dialogue.routes, dialogue.objects)
            machine.advance(token)
        assert machine.finished and len(dialogue.mentions) == len(dialogue.objects)
        assert [(o.number, o.key, o.reference) for o in machine.plan.objects] == dialogue.objects


def test_targets_are_what_the_model_decides_and_nothing_that_is_forced() -> None:
    make, t = maker(), tiny_model.processor().ids
    for _ in range(40):
        s = make.draw(scene())
        assert len(s.ids) == len(s.targets)
        assert all(target in (-100, token) for token, target in zip(s.ids, s.targets, strict=True))
        assert not {t["<vis>"], t["<roi>"], t["<scan>"], t["<user>"]} & set(s.targets)
        assert all(s.ids[p] in (t["<DET>"], t["<BOX>"], t["<SEG>"]) for p, _ in s.codes)


def test_words_and_codes_are_learned_from_a_few_sequences() -> None:
    model, make, pad = tiny_model.model(), maker(1), tiny_model.processor().ids["<pad>"]
    language = model.language.train()
    sequences = [make.draw(scene()) for _ in range(4)]
    table = CodeTable().identities().detach()
    optimiser = torch.optim.AdamW(language.parameters(), 3e-3)
    first = None
    for _ in range(8):
        loss, parts, (where, codes, _) = text_loss(language, sequences, pad, table)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first = first or parts
    assert parts["token"] < first["token"] and len(where) == len(codes)


def test_padding_changes_nothing() -> None:
    language, make, pad = tiny_model.model().language, maker(2), tiny_model.processor().ids["<pad>"]
    short, long = sorted((make.draw(scene()) for _ in range(6)), key=lambda s: len(s.ids))[::5]
    with torch.no_grad():
        alone, _, _ = language(*embeds_of(language, [short], pad)[:2])
        beside, _, _ = language(*embeds_of(language, [short, long], pad)[:2])
    assert torch.allclose(alone[0], beside[0, :len(short.ids)], atol=1e-4)


def test_in_the_joint_stage_a_mask_teaches_both_halves(sampler) -> None:
    model, table, pad = tiny_model.model(), CodeTable(), tiny_model.processor().ids["<pad>"]
    asker = Asker(maker(3), [scene(n) for n in range(2)], random.Random(0))
    samples = [sampler.look(next(c for c in sampler.thorax))]
    codes, _ = joint_codes(samples, asker, model.language, table, pad, torch.Generator().manual_seed(0), asks=QUERIES)
    assert codes.shape == (1, QUERIES, 128)
    total, _ = step_loss(model.vision, batch(samples), codes)
    model.zero_grad()
    total.backward()
    assert float(model.vision.stem.weight.grad.abs().max()) > 0
    assert float(model.language.model.get_input_embeddings().weight.grad.abs().max()) > 0


def test_scenes_come_back_from_their_file(tmp_path) -> None:
    scenes = [scene(1)]
    write_scenes(scenes, tmp_path / "scenes.pt")
    again = read_scenes(tmp_path / "scenes.pt")
    assert torch.equal(again[0].whole, scenes[0].whole) and again[0].objects["aorta"].categories == {"calcification": "none"}


# what every stage shares ------------------------------------------------------------------------------------

def test_the_rate_rises_then_falls_to_its_last_share() -> None:
    clock = common.Clock(100.0)
    assert clock.rate(0.0, 0, 10) == pytest.approx(0.1)
    assert clock.rate(0.5, 50, 10) == pytest.approx(0.51)
    assert clock.rate(1.0, 99, 10) == pytest.approx(0.02)


def test_the_average_follows_slowly_and_its_state_resumes(tmp_path) -> None:
    layer = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.zeros_(layer.weight)
    average = common.Average(layer)
    torch.nn.init.ones_(layer.weight)
    for _ in range(30):
        average.update(layer)
    assert 0.5 < float(average.state["weight"].mean()) <= 1.0
    common.save_state(tmp_path / "a.pt", average=average.state, step=3)
    assert torch.equal(common.load_state(tmp_path / "a.pt")["average"]["weight"], average.state["weight"])
    assert common.load_state(tmp_path / "none.pt") is None


def test_biases_norms_and_tables_do_not_decay() -> None:
    model = torch.nn.ModuleDict({"vision": VisionModel(VisionConfig(**tiny_model.NARROW)), "codes": CodeTable()})
    decaying, kept = common.parameter_groups(model, 1e-3, 0.03)
    assert decaying["weight_decay"] == 0.03 and kept["weight_decay"] == 0
    assert any(p is model["codes"].table for p in kept["params"]) and all(p.ndim > 1 for p in decaying["params"])


def test_means_are_taken_over_what_was_added_since() -> None:
    means = common.Means()
    for loss in (1.0, 3.0):
        means.add({"mask": loss})
    assert means.take() == {"mask": 2.0}
    means.add({"mask": 5.0})
    assert means.take() == {"mask": 5.0}
