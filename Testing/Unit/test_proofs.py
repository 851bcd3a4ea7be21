"""The shipped weights on the demo's CT: masks come from the hidden state at the routing token, and from the last look.

The small form of the proofs (``ctreasoner evaluate --proofs`` is the full one). What must hold by construction is asserted;
what depends on how well the weights were trained is printed as a measurement, passed or not.
"""

from __future__ import annotations

import os
from collections import Counter

import numpy as np
import pytest
import torch
from ctreasoner.evaluation import proofs, scans
from ctreasoner.evaluation.asking import ask, final_mask
from ctreasoner.evaluation.ground import lay, median

pytestmark = [pytest.mark.weights, pytest.mark.demo_ct]


@pytest.fixture(scope="module")
def engine():
    from ctreasoner.engine import Engine
    from ctreasoner.reasoner import model_folder

    # another folder can be tried before its weights are shipped
    return Engine.from_pretrained(model_folder(os.environ.get("CTREASONER_TEST_MODEL", "compact")), threads=1)


@pytest.fixture(scope="module")
def scan():
    return scans.demo()


@pytest.fixture(scope="module")
def rows(engine, scan) -> dict[str, dict]:
    found = proofs.run(engine, [scan], 1, small=True)
    return {row["proof"].split()[0]: row for row in found}


@pytest.fixture
def row(rows, request, capsys):
    """One proof, printed as it was measured."""
    found = rows[request.param]
    with capsys.disabled():
        print(f"\n  proof {found['proof']} ({'passed' if found['passed'] else 'not passed'}, n {found['n']}): {found['figure']}")
    assert found["n"] > 0 and all(np.isfinite(v) for case in found["cases"] for v in case.values() if isinstance(v, float))
    return found


def proof(number: str):
    return pytest.mark.parametrize("row", [number], indirect=True, ids=[f"proof {number}"])


@proof("1")
def test_exchanged_hidden_states_exchange_the_masks(row) -> None:
    usable = [c for c in row["cases"] if c["usable"]]
    assert Counter(c["where"] for c in usable).keys() == {"loop", "whole scan", "shared look"}
    assert min(c["other"] for c in usable) >= 0.9
    assert median([c["own"] for c in usable]) <= 0.15


@proof("2")
def test_random_codes_draw_next_to_nothing(row) -> None:
    assert Counter(c["kind"] for c in row["cases"]) == {"gaussian": 12, "rotated": 12, "permuted": 12}
    assert median([c["ml"] for c in row["cases"]]) < 1.0


@proof("5")
def test_the_mask_follows_the_hidden_state_steadily(row) -> None:
    assert all(c["delta"] > 1e-3 for c in row["cases"])       # a class index behind a text front gives exactly 0
    dices = [median([c["dice"] for c in row["cases"] if c["size"] == size]) for size in (0.1, 0.3, 3.0)]
    assert dices == sorted(dices, reverse=True) and dices[0] >= 0.9


@proof("6")
def test_without_its_name_the_object_is_lost(row) -> None:
    assert all(c["agree"] > 0.999 for c in row["cases"])      # the cache and one pass over the whole sequence say the same
    assert median([c["blocked"] for c in row["cases"]]) < median([c["control"] for c in row["cases"]])


@proof("7")
def test_the_last_look_decides(row) -> None:
    assert all(c["whole"] == 1.0 for c in row["cases"])       # box and code kept: view 0 has no say any more
    assert median([c["noise"] for c in row["cases"]]) <= 0.3
    assert abs(median([c["shift"] for c in row["cases"]]) - 10.0) <= 3.0


@proof("13")
def test_the_route_decides_which_heads_run(row) -> None:
    for case in row["cases"]:
        assert case["detail"] == case["pixel_masks"] == case["masks"] == 0        # detect alone
        assert case["heads_of_follow_up"] == case["masks_of_follow_up"] == 0
        assert case["exchanged"] > 0 and not case["failed"]


def test_an_answer_is_the_same_twice(engine, scan) -> None:
    runs = [ask(engine, scan.volume, "segment the aorta", until=final_mask) for _ in range(2)]
    assert [e.type for e in runs[0].events] == [e.type for e in runs[1].events]
    for one, two in zip(runs[0].objects, runs[1].objects, strict=True):
        assert (one.key, one.state, one.probability) == (two.key, two.state, two.probability)
        assert np.array_equal(one.mask.crop, two.mask.crop) and np.array_equal(one.head_box, two.head_box)


def test_what_a_proof_patches_is_put_back(engine, scan) -> None:
    lay(engine, scan, keys=["trachea"])
    assert not {"code"} & vars(engine.speaker.language).keys()
    assert not {"begin", "segment", "think"} & vars(engine.speaker).keys()
    assert torch.is_inference_mode_enabled() is False
