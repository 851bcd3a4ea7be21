"""An evaluation becomes part of a model's card, and of no other model's."""

from __future__ import annotations

import json

import pytest
import tiny_model
from ctreasoner.evaluation import card
from ctreasoner.model.stored import weights_hash

LINE = {"source": "segthor", "object": "lung_left", "rule_made": True, "floor": None, "box_iou_head": 0.69, "found": 10,
        "dice": {"mean": 0.945, "low": 0.93, "high": 0.962, "worst": 0.89, "patients": 10, "n": 10}}
ONE = {**LINE, "source": "demo", "object": "aorta", "rule_made": False, "floor": 0.75,
       "dice": {"mean": 0.7649, "low": 0.7, "high": 0.8, "worst": 0.76, "patients": 1, "n": 1}, "found": 1}
NECK = {**LINE, "source": "openkbp", "object": "mandible", "rule_made": False}


@pytest.fixture
def folders(tmp_path):
    model = tiny_model.save(tmp_path / "model")
    run = tmp_path / "run"
    run.mkdir()
    lines = [LINE, NECK, {**LINE, "object": "all drawn"}, ONE]
    (run / "evaluation.json").write_text(json.dumps({"about": {"model": {"hash": weights_hash(model)}},
                                                     "segmentation": {"lines": lines}}))
    (run / "evaluation.md").write_text("# page")
    (run / "quality.json").write_text("{}")
    for page in (model / "README.md", tmp_path / "README.md"):
        page.write_text(f"before\n{card.FIRST}\nold\n{card.LAST}\nafter\n")
    return run, model, tmp_path / "README.md"


def test_the_table_stands_between_its_marks(folders) -> None:
    run, model, readme = folders
    assert card.main([str(run), str(model), str(readme)]) == 0
    text = (model / "README.md").read_text()
    assert text.startswith("before\n") and text.endswith(f"{card.LAST}\nafter\n") and "old" not in text
    assert "| thorax | left lung (rule) | 10 | 0.945 (0.93 to 0.96) | 0.89 |  | 0.69 | 10 of 10 |" in text
    assert "| the demo's CT | aorta | 1 | 0.765 | 0.76 | 0.75 reached | 0.69 | 1 of 1 |" in text
    assert "mandible" in text and "mandible" not in readme.read_text() and "all drawn" not in text
    assert (model / "evaluation.md").read_text() == "# page" and (model / "quality.json").exists()


def test_figures_of_other_weights_and_a_page_without_marks_are_refused(folders, capsys) -> None:
    run, model, readme = folders
    readme.write_text("no marks")
    assert card.main([str(run), str(model), str(readme)]) == 3
    assert "no place for figures" in capsys.readouterr().err
    found = json.loads((run / "evaluation.json").read_text())
    found["about"]["model"]["hash"] = "another"
    (run / "evaluation.json").write_text(json.dumps(found))
    assert card.main([str(run), str(model)]) == 3
    assert "other weights" in capsys.readouterr().err
