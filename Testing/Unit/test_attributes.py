"""The words a model may choose, and the rules that judge them."""

from __future__ import annotations

import pytest
from ctreasoner.appearance.attributes import (
    ATTRIBUTES,
    THING,
    accepted,
    attributes_for,
    nodule_labels,
    nodule_soft_labels,
    reference_name,
    references,
    rule,
    tokens,
    values_for,
)
from ctreasoner.appearance.measure import NAMES
from ctreasoner.vocabulary import Vocabulary

VOCABULARY = Vocabulary.load()


def test_the_sets_are_small_and_closed():
    assert len(tokens()) == len(set(tokens())) <= 40
    for key in (*VOCABULARY.keys(), "thing"):
        for attribute in attributes_for(key):
            assert set(values_for(key, attribute)) <= set(ATTRIBUTES[attribute])
            assert values_for(key, attribute)
    assert values_for("heart", "texture") == ()


@pytest.mark.parametrize(("key", "hu", "word"), [
    ("aorta", 38, "soft"), ("aorta", 400, "enhanced"), ("trachea", -930, "air"), ("lung_left", -850, "air"),
    ("mandible", 640, "bone"),
    ("parotid_left", -45, "fat"), ("thing", 300, "dense"), ("thing", -80, "fat"), ("heart", -900, None),
])
def test_density_is_told_by_the_median(key, hu, word):
    assert rule("density", VOCABULARY.get(key) or THING, {"p50_hu": hu}) == word


def test_near_a_border_both_words_are_right():
    heart = VOCABULARY["heart"]
    assert set(accepted("density", heart, {"p50_hu": 82})) == {"soft", "enhanced"}
    assert accepted("density", heart, {"p50_hu": 40}) == ("soft",)
    assert accepted("density", heart, {}) == ()


def test_the_width_of_the_aorta_is_held_against_the_limit_of_its_part():
    aorta = VOCABULARY["aorta"]
    limits = {reference_name(r): r["upper_mm"] for r in references(aorta)}
    assert {"diameter_max_ascending", "diameter_max_descending"} <= set(limits)
    ascending, descending = limits["diameter_max_ascending"], limits["diameter_max_descending"]
    normal = {"diameter_max_ascending": ascending - 5, "diameter_max_descending": descending - 5}
    assert rule("size", aorta, normal) == "normal"
    assert rule("size", aorta, normal | {"diameter_max_descending": descending + 6}) == "large"
    assert rule("size", aorta, {"volume": 5000.0}) is None     # a tube's size is its width, never its volume


def test_a_cut_object_has_no_size_word_from_its_volume():
    heart = VOCABULARY["heart"]
    low, high = heart.volume_ml_range
    assert rule("size", heart, {"volume": (low + high) / 2}) == "normal"
    assert rule("size", heart, {"volume": high * 1.5}) == "large"
    assert rule("size", heart, {"volume": low * 0.5}) == "small"
    assert rule("size", heart, {"volume": low * 0.5}, cut=True) is None
    assert rule("extent", heart, {}, cut=True) == "cut"


@pytest.mark.parametrize(("measured", "attribute", "word"), [
    ({"solid_share": 95}, "texture", "solid"), ({"solid_share": 5}, "texture", "ground-glass"),
    ({"solid_share": 30}, "texture", "part-solid"),
    ({"rim_gradient": 400}, "margin", "sharp"), ({"rim_gradient": 100}, "margin", "ill-defined"),
    ({"sphericity": 0.6}, "spiculation", "present"), ({"sphericity": 0.9}, "spiculation", "none"),
    ({"p95_hu": 400}, "calcification", "present"), ({"p95_hu": 60}, "calcification", "none"),
])
def test_nodules_have_rules_of_their_own(measured, attribute, word):
    assert rule(attribute, VOCABULARY["lung_nodule"], measured) == word


def test_labels_are_the_readers_median():
    case = {"ratings": [[5, 1, 6, 3, 4, 2, 2, 5, 4], [5, 1, 6, 3, 4, 1, 1, 4, 3],
                        [5, 1, 6, 5, 5, 1, 4, 5, 5], [3, 1, 3, 5, 2, 1, 4, 1, 2]]}
    assert nodule_labels(case) == {"texture": "solid", "margin": "sharp", "spiculation": "present", "calcification": "none"}
    soft = nodule_soft_labels(case)
    assert soft["texture"] == {"solid": 0.75, "part-solid": 0.0, "ground-glass": 0.25}
    assert all(sum(v.values()) == pytest.approx(1) for v in soft.values())


def test_rules_ask_for_measurements_that_exist():
    everything = dict.fromkeys(NAMES, 1.0)
    for key in (obj.key for obj in VOCABULARY):
        for attribute in attributes_for(key):
            rule(attribute, VOCABULARY[key], everything)
            assert rule(attribute, VOCABULARY[key], {}) is None or attribute == "extent"
