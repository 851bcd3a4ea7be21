"""Published benchmarks: recipes of 20 steps and the adapters, on miniature data sets in the published layouts."""

from __future__ import annotations

import json
from pathlib import Path

import dataset_phantoms as phantoms
import pytest
import tiny_model
import torch
from ctreasoner.engine import Engine
from ctreasoner.errors import InputError, ModelError, UsageError
from ctreasoner.evaluation import benchmark
from ctreasoner.evaluation import main as evaluate
from ctreasoner.training import recipe
from ctreasoner.training.train import main as train

STEPS = 20


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    return tiny_model.save(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def small(monkeypatch) -> None:
    """Views of 32^3 and slices of 64 pixels: the same way through every line."""
    monkeypatch.setattr(recipe, "SIDE", 32)
    monkeypatch.setattr(recipe, "PIXELS", 64)
    monkeypatch.setattr(recipe, "WINDOW_MM", 5.0)


def trained(name: str, data: Path, out: Path, tiny: Path, *more: str) -> list[dict]:
    words = ["--recipe", name, "--data", str(data), "--out", str(out), "--start", str(tiny), "--steps", str(STEPS), "--batch", "1",
             "--threads", "1", "--rate", "3e-3", "--warm-up", "2", *more]
    assert train(words) == 0
    return [json.loads(line) for line in (out / "curve-recipe.jsonl").read_text().splitlines()]


def test_btcv_is_trained_20_steps_and_measured_on_the_published_split(tmp_path, tiny, capsys) -> None:
    data, out = phantoms.btcv(tmp_path / "btcv"), tmp_path / "run"
    curve = trained("btcv", data, out, tiny)
    assert [c["step"] for c in curve] == [10, 20] and curve[1]["mask"] < curve[0]["mask"]
    assert evaluate(["--benchmark", "btcv", "--data", str(data), "--recipe", str(out), "--out", str(tmp_path / "page")]) == 0
    page = capsys.readouterr().out
    assert "13 organs" in page and "20 steps" in page and "1 of 1 cases" in page and "up to +1.0" in page
    rows = json.loads((tmp_path / "page" / "benchmark-btcv.json").read_text())["rows"]
    assert {(r["case"], r["object"]) for r in rows} == {("btcv_0035", "esophagus"), ("btcv_0035", "aorta")}


@pytest.mark.parametrize("text", recipe.TEXTS)
def test_mosmed_is_trained_with_and_without_its_sentences(tmp_path, tiny, capsys, text) -> None:
    data, out = phantoms.mosmed(tmp_path / "mosmed"), tmp_path / "run"
    curve = trained("mosmed", data, out, tiny, "--text", text)
    assert curve[1]["mask"] < curve[0]["mask"]
    assert evaluate(["--benchmark", "mosmed", "--data", str(data), "--recipe", str(out), "--out", str(tmp_path / "page")]) == 0
    page = capsys.readouterr().out
    assert f"text {text}" in page and "by slice" in page and "IoU" in page
    sentence = recipe.slice_of(next(benchmark.cases(benchmark.PROTOCOLS["mosmed"], "mosmed", data)), text).texts[0]
    assert ("lower left lung" in sentence) is (text == "published")


@pytest.mark.parametrize(("name", "writer", "case"), [
    ("btcv", "btcv", "btcv_0035"), ("amos", "amos", "amos_0008"), ("flare22", "flare", "FLARE22_Tr_0001"),
    ("segthor", "segthor", "segthor_Patient_01")])
def test_the_engine_answers_published_layouts(tmp_path, tiny, name, writer, case) -> None:
    data = phantoms.WRITERS[writer](tmp_path / name)
    result = benchmark.run(Engine.from_pretrained(tiny, threads=1), name, data, tmp_path / "out")
    assert {r["case"] for r in result["rows"]} == {case} and all(r["known"] for r in result["rows"])
    page = (tmp_path / "out" / f"benchmark-{name}.md").read_text()
    assert benchmark.PROTOCOLS[name].words in page and "mean, all" in page
    assert ("trained the shipped weights" in page.replace("\n", " ")) is (name == "segthor")


def test_what_is_not_known_counts_as_nothing_in_the_mean_over_all() -> None:
    rows = [{"patient": "a", "object": "aorta", "known": True, "dice": 0.8, "nsd": 0.9, "hd95_mm": 4.0},
            {"patient": "a", "object": "pancreas", "known": False, "dice": 0.0, "nsd": 0.0, "hd95_mm": None}]
    means = {row[0]: row[2] for row in benchmark.table(rows)}
    assert means["mean, objects it knows"] == "80.00" and means["mean, all"] == "40.00"


def test_a_view_of_training_shows_the_scan_where_it_lies(tmp_path) -> None:
    import numpy as np

    data = phantoms.btcv(tmp_path / "btcv")
    found = recipe.cases(recipe.Recipe(recipe="btcv", data=str(data)), "train")
    scan = recipe.read(found[0])
    example = recipe.view_of(scan, np.random.default_rng(3))
    aorta = example.masks[example.texts.index("segment the aorta")] > 0
    rest = example.known & ~(example.masks > 0).any(0)
    assert len(example.texts) == recipe.QUERIES and aorta.any()
    assert float(example.hu[aorta].median()) > 120 > float(example.hu[rest].median())      # 180 HU against fat and lung


@pytest.mark.parametrize(("licence", "code"), [("", "CTR-DATA-011"), ("CC BY-NC-ND 4.0", "CTR-DATA-012")])
def test_no_recipe_without_a_licence_that_allows_it(tmp_path, tiny, licence, code) -> None:
    data = phantoms.mosmed(tmp_path / "mosmed")
    (data / "source.json").write_text(json.dumps({"licence": licence}))
    with pytest.raises(InputError) as refused:
        trained("mosmed", data, tmp_path / "run", tiny)
    assert refused.value.code == code and not (tmp_path / "run").exists()


def test_wrong_wishes_are_one_sentence(tmp_path, tiny) -> None:
    btcv, mosmed = phantoms.btcv(tmp_path / "btcv"), phantoms.mosmed(tmp_path / "mosmed")
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match="A recipe is one of"):
        recipe.cases(recipe.Recipe(recipe="lits", data=str(btcv)), "train")
    with pytest.raises(InputError, match="does not lie as btcv is published"):
        recipe.cases(recipe.Recipe(recipe="btcv", data=str(mosmed)), "train")
    (btcv / "dataset_0.json").unlink()
    with pytest.raises(InputError, match="names no train cases"):
        recipe.cases(recipe.Recipe(recipe="btcv", data=str(btcv)), "train")
    with pytest.raises(InputError, match="names no val cases"):
        list(benchmark.cases(benchmark.PROTOCOLS["btcv"], "btcv", btcv))
    with pytest.raises(UsageError, match="refuses pictures of 8 bits"):
        benchmark.run(None, "mosmed", mosmed, tmp_path / "out")
    with pytest.raises(SystemExit):
        evaluate(["--recipe", str(tmp_path)])
    with pytest.raises(ModelError, match="holds no recipe"):
        recipe.load(tmp_path / "run")
    (mosmed / "Test_Folder" / "Test_text.xlsx").unlink()
    case = next(benchmark.cases(benchmark.PROTOCOLS["mosmed"], "mosmed", mosmed))
    with pytest.raises(InputError, match="has no sentence"):
        recipe.slice_of(case, "published")
    assert recipe.slice_of(case, "plain").texts == [recipe.PLAIN]


def test_a_recipe_answers_its_own_benchmark_alone(tmp_path, tiny) -> None:
    reader = recipe.Reader(str(tiny))
    torch.save({"average": reader.state_dict(), "step": 1, "seconds": 1.0}, tmp_path / "recipe.pt")
    (tmp_path / "recipe.json").write_text(json.dumps({"recipe": "btcv", "start": str(tiny), "text": "published", "seed": 1}))
    with pytest.raises(UsageError, match="trained by the recipe btcv, not mosmed"):
        benchmark.run(None, "mosmed", phantoms.mosmed(tmp_path / "mosmed"), tmp_path / "out", tmp_path)
