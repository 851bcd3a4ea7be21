"""The model's parts: shapes, what depends on what, saving and loading, and the same classes round other language models."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import tiny_model
import torch
from ctreasoner.engine import Engine
from ctreasoner.errors import ModelError, UsageError
from ctreasoner.evaluation import probe, proofs
from ctreasoner.evaluation.asking import ask
from ctreasoner.events import Click, Failed, Look, Mask, Measurement, PromptBox
from ctreasoner.geometry import View, Volume, to_grid
from ctreasoner.model import closer, prompting, weights
from ctreasoner.model.language import CTReasonerForConditionalGeneration, pooled_tokens, region_features
from ctreasoner.model.processor import CTReasonerProcessor
from ctreasoner.model.vision import VisionConfig, VisionModel, face_positions
from transformers import GPTNeoXConfig, LlamaConfig, Qwen2Config

SHAPE = (32, 48, 16)


@pytest.fixture(scope="module")
def vision() -> VisionModel:
    torch.manual_seed(0)
    return VisionModel(VisionConfig(**tiny_model.NARROW)).eval()


@pytest.fixture(scope="module")
def engine(tmp_path_factory) -> Engine:
    return Engine.from_pretrained(tiny_model.save(tmp_path_factory.mktemp("tiny")), threads=1)


# vision -----------------------------------------------------------------------------------------------------

@torch.no_grad()
def test_maps_and_heads_have_the_shapes_that_the_text_says(vision) -> None:
    hu, code = torch.randn(2, 1, *SHAPE) * 300, torch.randn(2, 3, 128)
    features = vision.encode(hu)
    assert [tuple(f.shape[2:]) for f in (features.f2, features.f4, features.f8, features.f16)] == [
        tuple(n // s for n in SHAPE) for s in (2, 4, 8, 16)]
    pixels = vision.decode(features)
    context = vision.look(pixels, code)
    assert context.existence.shape == (2, 3, 4)
    assert context.coarse.shape == (2, 3, 8, 12, 4)
    assert [f.shape for f in context.faces] == [(2, 3, 2, n // 4 + 2) for n in SHAPE]
    assert vision.masks(pixels, context, code).shape == (2, 3, *SHAPE)
    assert region_features(features, pixels, torch.rand(2, 3, *SHAPE)).shape == (2, 3, 3, 24 + 32 + 16)
    assert pooled_tokens(features, 3).shape == (2, 27, 24)


@torch.no_grad()
def test_objects_in_one_pass_are_the_objects_one_by_one(vision) -> None:
    pixels, code = vision.decode(vision.encode(torch.randn(1, 1, *SHAPE) * 300)), torch.randn(1, 3, 128)
    together = vision.masks(pixels, vision.look(pixels, code), code)
    for n in range(3):
        one = code[:, n:n + 1]
        assert torch.allclose(vision.masks(pixels, vision.look(pixels, one), one)[:, 0], together[:, n], atol=1e-4)


@torch.no_grad()
def test_an_empty_prompt_is_no_prompt_and_a_click_changes_what_is_decoded(vision) -> None:
    vision = VisionModel(VisionConfig(**tiny_model.NARROW)).eval()
    for layer in vision.prompts.out:
        torch.nn.init.normal_(layer.weight, std=0.1)
    features, prompt = vision.encode(torch.randn(1, 1, *SHAPE) * 300), prompting.empty(SHAPE)
    without = vision.decode(features)
    assert torch.equal(vision.decode(features, prompt[None]).t2, without.t2)
    prompting.add_point(prompt, "click_positive", (16.0, 24.0, 8.0))
    assert not torch.equal(vision.decode(features, prompt[None]).t2, without.t2)


@torch.no_grad()
def test_an_untrained_prompt_branch_adds_nothing(vision) -> None:
    features, prompt = vision.encode(torch.randn(1, 1, *SHAPE) * 300), prompting.empty(SHAPE)
    prompting.add_point(prompt, "click_negative", (3.0, 4.0, 5.0))
    assert torch.equal(vision.decode(features, prompt[None]).t2, vision.decode(features).t2)


def test_a_click_is_drawn_where_it_was_made() -> None:
    prompt = prompting.empty((32, 32, 32))
    prompting.add_point(prompt, "click_positive", (20.5, 9.5, 4.5))
    peak = np.unravel_index(int(prompt[0].argmax()), prompt[0].shape)
    assert tuple(np.array(peak) * 2 + 0.5) == pytest.approx((20.5, 9.5, 4.5), abs=1.0)
    assert prompt[0].max() > 0.9 and prompt[1:].abs().max() == 0


def test_a_sure_face_lies_at_the_middle_of_its_bin() -> None:
    logits = torch.full((2, 10), -20.0)
    logits[0, 3], logits[1, 9] = 20.0, 20.0                     # lower face in bin 3, upper face beyond the view
    position, sd, beyond = face_positions(logits)
    assert float(position[0]) == pytest.approx(4 * 2.5) and float(sd[0]) < 0.1
    assert beyond.tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


def test_the_encoder_takes_the_ct_alone(vision) -> None:
    assert list(inspect.signature(vision.encode).parameters) == ["hu"]
    assert vision.stem.in_channels == 3                          # three HU windows; no box, click or earlier mask


# the code is the only way -----------------------------------------------------------------------------------

def test_the_words_reach_the_mask_through_the_code_alone() -> None:
    row = proofs.gradient_row(tiny_model.model(), tiny_model.processor().name_ids["aorta"])
    assert row["passed"], row["figure"]


def test_detecting_runs_no_pixel_decoder_and_a_follow_up_no_head(engine) -> None:
    volume = tiny_model.scan()
    with probe.certain(engine):
        with probe.given_plan(["detect"], ["aorta"]), probe.counted(engine) as calls:
            where = ask(engine, volume, "segment the aorta", conversation="one")
        assert (calls["detail"], calls["masks"]) == (0, 0) and calls["look"] >= 2
        assert not any(isinstance(e, Mask) for e in where.events) and where.of("aorta").head_box is not None
        with probe.given_plan(["segment"], ["heart"]):
            exchanged = ask(engine, volume, "where is the heart?", conversation="two")
        assert exchanged.masks == 1
        with probe.given_plan(["describe"], [1]), probe.counted(engine) as calls:
            follow = ask(engine, volume, "how large is it?", conversation="two")
        assert sum(calls.values()) == 0 and not any(isinstance(e, Mask) for e in follow.events)
        assert any(isinstance(e, Measurement) for e in follow.events)


def test_exchanged_hidden_states_exchange_the_answers(engine) -> None:
    volume = tiny_model.scan()
    first = probe.carry(engine, volume, "segment the heart and the aorta", ["heart", "aorta"])
    states = {(n, *label): state for n, c in enumerate(first, 1) for label, state in c.states.items()}
    second = probe.carry(engine, volume, "segment the heart and the aorta", ["heart", "aorta"],
                         replace=lambda label, state: states[(3 - label[0], *label[1:])])
    for n in (0, 1):
        assert np.allclose(second[n].known.logits, first[1 - n].known.logits, atol=1e-4)
        assert second[n].sight.view == first[1 - n].sight.view
        assert not np.allclose(second[n].known.logits, first[n].known.logits, atol=1e-4)


def test_the_cache_says_what_one_pass_over_the_whole_sequence_says(engine) -> None:
    volume = tiny_model.scan()
    carried = probe.carry(engine, volume, "please segment the aorta in this scan", ["aorta"])[0]
    whole = engine.eyes.whole(volume)
    assert torch.allclose(probe.uncached(engine, carried, whole), probe.looked(engine, carried, carried.sight, whole), atol=1e-4)


def test_the_same_question_gives_the_same_answer(engine) -> None:
    volume = tiny_model.scan()
    with probe.certain(engine), probe.given_plan(["segment"], ["trachea"]):
        runs = [ask(engine, volume, "segment the trachea") for _ in range(2)]
    assert runs[0].failed == runs[1].failed == ""
    assert np.array_equal(runs[0].objects[0].mask.crop, runs[1].objects[0].mask.crop)
    assert [e.type for e in runs[0].events] == [e.type for e in runs[1].events]


# the processor ----------------------------------------------------------------------------------------------

def test_a_question_keeps_where_its_words_stand() -> None:
    text = "Segment the AORTA, please"
    question = tiny_model.processor().question(text, ["<click+>"])
    assert "".join(text[a:b] for a, b in question.offsets) == text
    assert question.words[1] - question.words[0] == len(question.offsets)
    assert tiny_model.processor().pieces[question.ids[question.points[0]]] == "<click+>"


def test_a_question_of_ten_thousand_characters_is_refused_in_a_sentence() -> None:
    with pytest.raises(UsageError, match="10000 characters"):
        tiny_model.processor().question("a" * 10_000)


# saving, loading, other language models ---------------------------------------------------------------------

def test_what_is_saved_is_loaded(tmp_path) -> None:
    before = tiny_model.model(seed=3, calibration={"threshold": 0.4})
    before.save_pretrained(tmp_path)
    tiny_model.processor().save_pretrained(tmp_path)
    after = CTReasonerForConditionalGeneration.from_pretrained(tmp_path).eval()
    states = before.state_dict(), after.state_dict()
    assert states[0].keys() == states[1].keys() and all(torch.equal(v, states[1][k]) for k, v in states[0].items())
    assert after.config.calibration == {"threshold": 0.4}
    assert [p.suffix for p in weights.files(tmp_path)] == [".safetensors"]
    processor = CTReasonerProcessor.from_pretrained(tmp_path)
    assert processor.name_ids == tiny_model.processor().name_ids and processor.slots == tiny_model.processor().slots


def test_both_halves_load_by_themselves(tmp_path) -> None:
    folder, whole = tiny_model.save(tmp_path), tiny_model.model()
    hu = torch.randn(1, 1, 32, 32, 32) * 300
    with torch.no_grad():
        assert torch.allclose(weights.load_vision(folder).encode(hu).f16, whole.vision.encode(hu).f16, atol=1e-5)
        language, _, _ = weights.load_language(folder)
        ids = torch.tensor([[1, 5, 9, 12]])
        assert torch.allclose(language(language.embed(ids))[0], whole.language(whole.language.embed(ids))[0], atol=1e-5)


@pytest.mark.parametrize("damage", ["truncated", "other kind", "no config", "no weights"])
def test_a_damaged_model_is_one_sentence(tmp_path, damage) -> None:
    folder = tiny_model.save(tmp_path)
    if damage == "truncated":
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[:1000])
    elif damage == "other kind":
        (folder / "config.json").write_text('{"model_type": "llama"}')
    else:
        (folder / ("config.json" if damage == "no config" else "model.safetensors")).unlink()
    with pytest.raises(ModelError) as error:
        Engine.from_pretrained(folder)
    assert error.value.code.startswith("CTR-MODEL-00") and "\n" not in str(error.value)


def other_language(kind: str, vocabulary: int):
    sizes = {"vocab_size": vocabulary, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "max_position_embeddings": 1024, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
    if kind == "qwen2":
        return Qwen2Config(**sizes, num_key_value_heads=2, tie_word_embeddings=True)
    if kind == "gpt_neox":
        return GPTNeoXConfig(**sizes, tie_word_embeddings=False)
    return LlamaConfig(**{**sizes, "hidden_size": 320}, num_key_value_heads=4, tie_word_embeddings=False)


def test_a_language_half_that_misses_a_tensor_is_refused(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    path = tiny_model.save(tmp_path, other_language("wide llama", len(tiny_model.processor().tokenizer))) / "model.safetensors"
    tensors = load_file(path)
    save_file({k: v for k, v in tensors.items() if "lm_head" not in k}, path)
    with pytest.raises(ModelError):
        weights.load_language(tmp_path)


@pytest.mark.parametrize("kind", ["qwen2", "gpt_neox", "wide llama"])
def test_any_causal_language_model_of_transformers_does(tmp_path, kind) -> None:
    config = other_language(kind, len(tiny_model.processor().tokenizer))
    engine = Engine.from_pretrained(tiny_model.save(tmp_path, config, name=f"large {kind}"), threads=1)
    assert type(engine.speaker.language.model.config) is type(config)
    with probe.certain(engine), probe.given_plan(["segment"], ["aorta"]):
        outcome = ask(engine, tiny_model.scan(), "segment the aorta")
    assert outcome.failed == "" and any(isinstance(e, Mask) for e in outcome.events)
    row = proofs.gradient_row(tiny_model.model(config), tiny_model.processor().name_ids["aorta"])
    assert row["passed"], row["figure"]


# peft reads a property that transformers is about to rename
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_a_large_profile_trains_with_lora() -> None:
    peft = pytest.importorskip("peft")
    model = tiny_model.model(other_language("qwen2", len(tiny_model.processor().tokenizer)))
    settings = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model.language.model = peft.get_peft_model(model.language.model, settings)
    ids = torch.tensor([[1, *[2] * 64, 5, 6, 7, 8]])
    model.train()
    out = model(torch.randn(1, 1, 32, 32, 32) * 300, ids, torch.zeros(1, 64, 4), torch.tensor([[68]]), labels=ids)
    (out["loss"] + out["masks"].square().mean()).backward()
    trained = {n for n, p in model.language.model.named_parameters() if p.grad is not None}
    assert trained and all("lora_" in n for n in trained)
    assert model.vision.stem.weight.grad is not None and out["masks"].shape == (1, 1, 32, 32, 32)


# prompts of the answer ----------------------------------------------------------------------------------------

def test_a_drawn_box_sets_the_width_of_the_first_look(engine) -> None:
    volume = tiny_model.scan()
    lo, hi = volume.extent_ras()
    widths = []
    for side in (24.0, 150.0):
        box = PromptBox(centre_ras=tuple((lo + hi) / 2), size_mm=(side, 10.0, 10.0))
        with probe.given_plan(["segment"], ["lung_nodule"]):
            seen = ask(engine, volume, "segment this", boxes=(box,))
        look = next(e for e in seen.events if isinstance(e, Look) and e.object)
        widths.append(look.view.size_mm[0])
    assert widths == [pytest.approx(64 * volume.spacing.min()), pytest.approx(2 * 150.0)]


def test_only_points_that_exclude_are_refused_in_a_sentence(engine) -> None:
    volume = tiny_model.scan()
    lo, hi = volume.extent_ras()
    with probe.given_plan(["segment"], ["lung_nodule"]):
        seen = ask(engine, volume, "segment this", clicks=(Click(point_ras=tuple((lo + hi) / 2), positive=False),))
    assert isinstance(seen.events[-1], Failed) and seen.events[-1].code == "CTR-ASK-004"


def test_a_click_on_a_finding_corrects_it_whatever_the_words_say(engine) -> None:
    volume = tiny_model.scan()
    with probe.certain(engine), probe.given_plan(["segment"], ["heart"]):
        first = ask(engine, volume, "segment the heart", conversation="corrected")
    target = first.of("heart").id
    lo, hi = volume.extent_ras()
    click = Click(point_ras=tuple((lo + hi) / 2), target=target)
    seen = ask(engine, volume, "add this part", conversation="corrected", clicks=(click,))
    masks = [e for e in seen.events if isinstance(e, Mask)]
    assert [m.stage for m in masks] == ["refined"] and masks[0].object == target


@pytest.mark.parametrize("turn", [0.0, 0.2])
def test_only_what_can_be_positive_is_resampled_and_nothing_is_lost(turn) -> None:
    affine = np.diag([0.8, -0.9, 1.5, 1.0])
    affine[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]] @ affine[:2, :2]
    volume = Volume(np.zeros((60, 55, 40), np.int16), affine)
    lo, hi = volume.extent_ras()
    view = View(centre_ras=tuple((lo + hi) / 2), shape=(32, 32, 32), spacing_mm=(2.0,) * 3)
    logits = np.full(view.shape, -3.0, np.float32)
    logits[12:19, 10:16, 14:20] = np.random.default_rng(0).normal(0, 4, (7, 6, 6))
    whole, part = np.zeros(volume.shape, bool), np.zeros(volume.shape, bool)
    for target, (values, first) in ((whole, to_grid(logits, view, volume)), (part, closer.on_grid(logits, view, volume))):
        target[tuple(slice(f, f + n) for f, n in zip(first, values.shape, strict=True))] = values > 0
        size = values.size
    assert whole.any() and np.array_equal(whole, part)
    assert size < 0.2 * volume.voxels.size
    assert closer.on_grid(np.full(view.shape, -1.0), view, volume)[0].size == 0


def test_a_second_look_is_read_as_if_it_were_the_first(engine) -> None:
    volume = tiny_model.scan()
    engine.register(volume)
    speaker, whole = engine.speaker, engine.eyes.whole(volume)
    near, nearer = (engine.eyes.see(volume, View(centre_ras=(0, 0, 0), shape=(64,) * 3, spacing_mm=(mm,) * 3)) for mm in (4.0, 3.0))
    with probe.given_plan(["segment"], ["heart"]):
        thought = speaker.think(speaker.processor.question("segment the heart"), whole, [], {}, 1)
    speaker.begin(thought, 1, "heart")
    alone = speaker.look(thought, nearer, whole), speaker.segment(thought)
    speaker.begin(thought, 1, "heart")
    first = speaker.look(thought, near, whole)
    second = speaker.look(thought, nearer, whole), speaker.segment(thought)
    assert not torch.allclose(first, alone[0], atol=1e-4)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(alone, second, strict=True))


def test_a_new_object_wins_over_a_reference_whatever_number_the_model_expected(engine) -> None:
    t, speaker = engine.speaker.t, engine.speaker
    logits = torch.full((len(speaker.processor.tokenizer),), -9.0)
    logits[t["<obj:3>"]], logits[t["<REF:1>"]], logits[t["<obj:7>"]] = 5.0, 2.0, -3.0
    allowed = [t["<REF:1>"], t["<REF:2>"], t["<obj:7>"]]
    assert speaker._choice(logits, allowed) == t["<obj:7>"]              # it counts to 3, the grammar to 7
    logits[t["<obj:3>"]] = 1.0
    assert speaker._choice(logits, allowed) == t["<REF:1>"]


def test_a_name_that_was_answered_before_is_thought_of_as_a_reference(engine) -> None:
    volume = tiny_model.scan()
    engine.register(volume)
    speaker, whole = engine.speaker, engine.eyes.whole(volume)
    question = speaker.processor.question("segment the heart and the aorta")
    with probe.given_plan(["segment"], ["heart", "aorta"]):
        spelled = speaker.think(question, whole, [], {3: "aorta"}, 4)
    with probe.given_plan(["segment"], ["heart", 3]):
        referred = speaker.think(question, whole, [], {3: "aorta"}, 4)
    assert [(o.number, o.key, o.reference) for o in spelled.plan.objects] == [(4, "heart", False), (3, "aorta", True)]
    assert (spelled.plan.tokens, spelled.length) == (referred.plan.tokens, referred.length)      # nothing of the name is left
    one, other = (speaker.begin(thought, 4, "heart") for thought in (spelled, referred))
    assert torch.allclose(one, other, atol=1e-5)
