"""Words and slots: training sentences hold no number, rendered ones hold only measured numbers."""

from __future__ import annotations

import random
import re

import pytest
from ctreasoner.appearance.attributes import ATTRIBUTES, attributes_for, values_for
from ctreasoner.appearance.measure import NAMES, Measured
from ctreasoner.appearance.wording import (
    SLOTS,
    Facts,
    Slot,
    fill,
    fillable,
    render,
    rounded,
    short_source,
    side_words,
    slot_tokens,
    spoken,
)
from ctreasoner.training import wordings
from ctreasoner.vocabulary import Vocabulary

VOCABULARY = Vocabulary.load()


def situations(seed: int, count: int):
    """Random situations of every kind that training draws."""
    rng = random.Random(seed)
    for _ in range(count):
        obj = rng.choice([*VOCABULARY, None])
        key = obj.key if obj else "thing"
        categories = {a: rng.choice(values_for(key, a)) for a in attributes_for(key)}
        yield rng, obj, {
            "key": key, "state": rng.choice(("present",) * 6 + wordings.STATES[1:]), "topic": rng.choice(wordings.TOPICS),
            "routes": rng.choice((("detect",), ("segment",), ("describe",), ("segment", "describe"))), "categories": categories,
            "tubular": bool(obj and obj.tubular), "cut": categories.get("extent") == "cut",
            "clicked": key in ("thing", "lung_nodule"),
            "reference": wordings.reference_kind(obj), "number": 1,
        }


def test_training_sentences_hold_slots_and_no_numbers():
    known = set(slot_tokens()) | set(wordings.object_tokens())
    for rng, _, situation in situations(1, 1500):
        pieces = wordings.compose(rng, situation)
        assert pieces, situation
        for piece in pieces:
            assert piece in known or not re.search(r"[<>{}\d]", piece), piece
        text = "".join(pieces)
        assert len(text.split()) <= 46 and 1 <= len(re.findall(r"[.](?= |$)", text)) <= 3, text


def test_every_category_of_a_description_is_said():
    phrases = wordings._texts()["phrases"]
    for rng, _, situation in situations(2, 600):
        if situation["state"] != "present" or "describe" not in situation["routes"] or situation["topic"] != "general":
            continue
        text = "".join(wordings.compose(rng, situation))
        for attribute, value in situation["categories"].items():
            name = "width" if attribute == "size" and situation["tubular"] else attribute
            assert any(p in text for p in phrases[name][value]), (attribute, value, text)


def test_every_statement_has_several_wordings_and_the_lexicon_is_small():
    texts = wordings._texts()
    for attribute, values in ATTRIBUTES.items():
        for value in values:
            assert len(set(texts["phrases"][attribute][value])) >= 4
    assert all(len(v) >= 4 for k, v in texts.items() if isinstance(v, list) and k != "about")
    assert len(wordings.lexicon()) < 300


def test_many_objects_and_comparisons_point_at_their_objects():
    rng = random.Random(4)
    present = {"key": "heart", "state": "present", "routes": ["segment"], "categories": {}, "tubular": False}
    text = "".join(wordings.compose_many(rng, [present, present | {"key": "aorta"}, {"state": "unsupported"}]))
    assert [int(n) for n in re.findall(r"<obj:(\d)>", text)] == [1, 2, 3]
    assert "<obj:2>" in "".join(wordings.compose_compare(rng)) and "<slot:askable>" in "".join(wordings.compose_refusal(rng))


def measured(**values):
    return {n: Measured(n, v, NAMES[n].unit, "", None, "" if v is not None else "too thin") for n, v in values.items()}


def test_slots_belong_to_the_object_named_last_and_spans_point_at_what_is_shown():
    objects = [Facts(object="a1.o1", display="Heart", measured=measured(volume=698.3), ids={"volume": "a1.o1.m1"}),
               Facts(object="a1.o2", display="Parotid gland, right", measured=measured(volume=25.04), ids={"volume": "a1.o2.m1"})]
    text, spans = render(fill(["The <obj:1> fills <slot:volume> and the <obj:2> <slot:volume>."], objects))
    assert text == "The heart fills 698 ml and the right parotid gland 25.0 ml."
    assert [(text[s.start:s.end], s.kind, s.ref) for s in spans] == [
        ("heart", "object", "a1.o1"), ("698 ml", "measurement", "a1.o1.m1"),
        ("right parotid gland", "object", "a1.o2"), ("25.0 ml", "measurement", "a1.o2.m1")]


def test_the_aorta_is_held_against_the_reference_of_the_part_nearest_to_its_limit():
    facts = Facts(object="o", display="Aorta", obj=VOCABULARY["aorta"],
                  measured=measured(diameter_max=36.0, diameter_max_ascending=36.0, diameter_max_descending=33.0))
    text, _ = render(fill(["The <slot:segment> measures <slot:segment_diameter>, <slot:versus_reference> the limit of "
                           "<slot:reference_upper> (<slot:reference_source>)."], [facts]))
    assert text.startswith("The descending aorta measures 33 mm, above the limit of 30 mm (") and text.count("(") == 1


def test_a_value_that_rounds_to_its_limit_shows_one_more_digit():
    facts = Facts(object="o", display="Aorta", obj=VOCABULARY["aorta"], measured=measured(diameter_max_descending=29.6))
    text, _ = render(fill(["It measures <slot:segment_diameter>, <slot:versus_reference> the limit of <slot:reference_upper>."],
                          [facts]))
    assert text == "It measures 29.6 mm, below the limit of 30 mm."


def test_only_slots_that_say_something_of_an_object_may_be_filled():
    heart = Facts(object="h", display="Heart", obj=VOCABULARY["heart"], measured=measured(volume=600.0, mean_hu=40.0))
    cord = Facts(object="c", display="Spinal cord", obj=VOCABULARY["spinal_cord"], measured=measured(volume=30, diameter_max=None))
    aorta = Facts(object="a", display="Aorta", obj=VOCABULARY["aorta"], measured=measured(diameter_max_descending=None))
    boxed = Facts(object="b", display="Heart", obj=VOCABULARY["heart"], box_size_mm=(90, 80, 70))
    assert {"volume", "mean_hu", "reference_volume"} <= fillable(heart)
    assert not {"diameter_max", "segment", "box_size", "larger", "askable"} & fillable(heart)
    assert "diameter_max" in fillable(cord)                          # it says that the cord is too thin
    assert "segment_diameter" in fillable(aorta)
    assert fillable(boxed) == {"box_size"}
    assert "larger" in fillable(heart, [heart, cord])


def test_what_could_not_be_measured_says_why():
    facts = Facts(object="o", display="Spinal cord", obj=VOCABULARY["spinal_cord"], measured=measured(diameter_max=None))
    text, _ = render(fill(["The <obj:1> is <slot:diameter_max> wide at most."], [facts]))
    assert "not measurable (too thin)" in text
    text, _ = render(fill(["The <obj:1> is here. The <slot:segment> has <slot:segment_diameter>. It is soft."], [facts]))
    assert text.count("not measurable") == 1 and text.endswith(" It is soft.")
    text, _ = render(fill(["It lies <slot:side>."], [Facts(object="o", measured=measured(side=None))]))
    assert "not measurable" in text
    assert render(fill(["It has <slot:nonsense> and <obj:9>."], [facts]))[0].count("not measurable") == 1


def test_comparisons_agree_with_the_rounded_values():
    objects = [Facts(object="a", display="Lung, left", measured=measured(volume=1740.0)),
               Facts(object="b", display="Lung, right", measured=measured(volume=2110.4))]
    text, _ = render(fill(["The <slot:larger> is larger by <slot:difference>."], objects))
    assert text == "The right lung is larger by 370 ml."


@pytest.mark.parametrize(("value", "unit", "text"), [
    (0.034, "ml", "0.03 ml"), (25.04, "ml", "25.0 ml"), (698.3, "ml", "698 ml"), (7.26, "mm", "7.3 mm"),
    (38.4, "mm", "38 mm"), (-0.2, "HU", "0 HU"),
    (-873.4, "HU", "-873 HU"), (0.513, "1", "0.51"), (1520.2, "mm2", "1520 mm²"),
])
def test_values_are_rounded_as_people_read_them(value, unit, text):
    assert rounded(value, unit) == text


def test_names_sides_and_sources_are_short():
    assert spoken("Parotid gland, right") == "right parotid gland" and spoken("the spleen") == "spleen" and spoken("LAD") == "LAD"
    assert (side_words(30), side_words(-30), side_words(3)) == ("right of the midline", "left of the midline", "in the midline")
    for obj in VOCABULARY:
        for source in (obj.volume_source, *(r["source"] for r in obj.size_reference)):
            assert 0 < len(short_source(source)) <= 80 and not set("()") & set(short_source(source))


def test_every_slot_renders_for_every_object():
    for obj in [*VOCABULARY, None]:
        facts = Facts(object="o", display=obj.display if obj else "thing", obj=obj, measured=measured(**dict.fromkeys(NAMES, 12.0)),
                      box_size_mm=(10, 20, 30))
        for piece in fill([" ".join(slot_tokens())], [facts, facts], ["heart", "aorta"]):
            assert isinstance(piece, str) or (isinstance(piece, Slot) and piece.text)
    assert set(SLOTS.values()) - {""} <= set(NAMES)
