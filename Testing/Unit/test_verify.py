"""The check of a text finds planted errors, raises no false alarm and lets nothing through that it did not understand."""

from __future__ import annotations

import dataclasses
import functools
import random
import re

import numpy as np
import pytest
from analytic_shapes import arch, ball, ct, cylinder, ellipsoid, painted
from ctreasoner.appearance.attributes import accepted, attributes_for, rule
from ctreasoner.appearance.lexicon import FUNCTION_WORDS, WORDS
from ctreasoner.appearance.measure import measure, values
from ctreasoner.appearance.verify import Exported, checked_text, sentences, share_checkable, verify
from ctreasoner.appearance.wording import Facts, fill, render
from ctreasoner.events import Span
from ctreasoner.geometry import box_of
from ctreasoner.training import wordings
from ctreasoner.vocabulary import Vocabulary

VOCABULARY = Vocabulary.load()


@functools.cache
def body():
    """A CT with a heart, an aorta, a trachea and two parotids, and what is exported and measured of each."""
    volume = ct((72, 64, 88), (2.5, 2.5, 2.5), hu=-1000)
    masks = {
        "heart": ellipsoid(volume, (50, 38, 42), (-15, 20, -40)),
        "aorta": arch(volume, bend=30, ascending=18, descending=11, top=55, down=45),
        "trachea": cylinder(volume, 9, (0, 0.1, 1), 40, (30, -10, 50)),
        "parotid_right": ellipsoid(volume, (14, 20, 18), (65, 10, 70)),
        "parotid_left": ellipsoid(volume, (14, 20, 15), (-65, 10, 70)),
    }
    masks["heart"] &= ~masks["aorta"]
    plaque = ball(volume, 5, (0, -34, 20)) & masks["aorta"]
    volume = painted(volume, (ellipsoid(volume, (88, 78, 500)), 20), (masks["heart"], 40), (masks["aorta"], 42), (plaque, 700),
                     (masks["trachea"], -950), (masks["parotid_right"], -50), (masks["parotid_left"], 35))
    volume = type(volume)(volume.voxels + np.random.default_rng(0).normal(0, 6, volume.shape).astype(np.int16), volume.affine)
    out = []
    for n, (key, mask) in enumerate(masks.items(), 1):
        obj = VOCABULARY[key]
        measured = measure(mask, (0, 0, 0), volume, obj, False, (0, 0, 0))
        facts = Facts(object=f"a1.o{n}", display=obj.display, obj=obj, measured={m.name: m for m in measured},
                      ids={m.name: f"a1.o{n}.m{i}" for i, m in enumerate(measured, 1)},
                      box_size_mm=box_of(mask, (0, 0, 0), volume)[1])
        categories = {a: w for a in attributes_for(key) if (w := rule(a, obj, values(measured)))}
        clear = {a: len(accepted(a, obj, values(measured))) == 1 for a in categories}
        exported = Exported(object=f"a1.o{n}", display=obj.display, key=key, mask=mask, obj=obj)
        out.append((facts, exported, categories, clear))
    return volume, out


def told(rng: random.Random):
    """A true text about one or several objects, and what was exported."""
    _, everything = body()
    chosen = rng.sample(everything, rng.choice((1, 1, 1, 2, 3)))
    made = [{"key": e.key, "state": "present", "categories": c, "tubular": e.obj.tubular, "cut": False, "clicked": False,
             "reference": wordings.reference_kind(e.obj), "topic": rng.choice(wordings.TOPICS),
             "routes": rng.choice((("describe",), ("segment",), ("describe",), ("detect",)))} for _, e, c, _ in chosen]
    if len(made) == 1:
        pieces = wordings.compose(rng, made[0])
    elif len(made) == 2 and rng.random() < 0.4:
        pieces = wordings.compose_compare(rng, rng.choice(("size", "density")))
    else:
        pieces = wordings.compose_many(rng, made, rng.choice(("general", "size", "density", "side")))
    text, _ = render(fill(pieces, [f for f, _, _, _ in chosen]))
    return text, chosen


def planted(rng: random.Random, text: str, chosen) -> str | None:
    """The same text with one false number, side, comparison or word; None where there is nothing to falsify."""
    options = []
    for hit in re.finditer(r"(?<![\d.x] )(?<![\w.])(-?\d+(?:\.\d+)?) (ml|mm|HU)(?!\w)", text):
        wrong = float(hit[1]) + rng.choice((60, -60)) if hit[2] == "HU" else float(hit[1]) * rng.choice((0.6, 1.5))
        if not text[:hit.start()].endswith(" x "):
            options.append(text[:hit.start(1)] + f"{wrong:.{len(hit[1].partition('.')[2])}f}" + text[hit.end(1):])
    for a, b in (("right of the midline", "left of the midline"), ("above the", "below the"),
                 ("within the range", "above the range"), ("right parotid", "left parotid")):
        for one, other in ((a, b), (b, a)):
            if text.count(one) == 1 and other not in text:
                options.append(text.replace(one, other))
    if len(chosen) == 1:
        _, exported, categories, clear = chosen[0]
        for attribute, value in categories.items():
            name = "width" if attribute == "size" and exported.obj.tubular else attribute
            phrases = wordings._texts()["phrases"][name]
            for phrase in phrases[value]:
                others = [p for v, ps in phrases.items() if v != value for p in ps]
                if phrase in text and clear[attribute]:
                    options.append(text.replace(phrase, rng.choice(others)))
    return rng.choice(options) if options else None


def test_true_texts_raise_no_alarm_and_planted_errors_are_found():
    volume, _ = body()
    rng, counted = random.Random(7), {}
    claims = alarms = tried = caught = stated = could = 0
    missed = []
    for _ in range(300):
        text, chosen = told(rng)
        objects = [e for _, e, _, _ in chosen]
        checked = verify(text, objects, volume, (0, 0, 0), counted)
        claims += len(checked)
        alarms += sum(c.verdict == "refuted" for c in checked)
        a, b = share_checkable(text, checked)
        could, stated = could + a, stated + b
        wrong = planted(rng, text, chosen)
        if wrong is not None:
            tried += 1
            found = any(c.verdict != "verified" for c in verify(wrong, objects, volume, (0, 0, 0), counted))
            caught += found
            missed += [] if found else [(text, wrong)]
    assert claims > 400 and alarms <= 0.01 * claims
    assert tried > 150 and caught >= 0.99 * tried, missed[:3]
    assert could >= 0.9 * stated


def test_every_phrase_of_the_training_texts_is_read_as_what_it_says():
    for name, values_ in wordings._texts()["phrases"].items():
        for value, phrases in values_.items():
            for phrase in phrases:
                rest, read = f"It {phrase}.", []
                for attribute, word, pattern in WORDS:
                    read += [(attribute, word)] * len(pattern.findall(rest))
                    rest = pattern.sub(" ", rest)
                assert read == [("size" if name == "width" else name, value)], phrase
                assert set(re.findall("[a-z-]+", rest.lower())) <= FUNCTION_WORDS, phrase


@pytest.mark.parametrize("text", [
    "The heart shows a tumour.", "The heart is not soft tissue.", "The heart is here with 3 metastases.", "Die Aorta ist weit.",
    "The heart has a volume of 12 apples.", "It fills 300 ml of lies.", "The patient will die.",
])
def test_what_is_not_understood_is_never_verified(text):
    volume, everything = body()
    checked = verify(text, [everything[0][1]], volume, (0, 0, 0))
    assert any(c.verdict != "verified" for c in checked)


def test_sentences_that_cannot_be_checked_are_left_out_and_spans_follow():
    volume, everything = body()
    heart = everything[0][1]
    text = "The heart shows a tumour. The heart is here. It has a mean of 999 HU."
    spans = [Span(start=4, end=9, kind="object", ref="a1.o1"), Span(start=30, end=35, kind="object", ref="a1.o1")]
    kept, moved, claims = checked_text(text, spans, {"a1.o1": ("Heart", "heart", heart.mask, (0, 0, 0), "present")}, volume,
                                       VOCABULARY, (0, 0, 0))
    assert kept == "The heart is here. It has a mean of 999 HU."
    assert [kept[s.start:s.end] for s in moved] == ["heart"]
    assert [c.verdict for c in claims] == ["verified", "refuted"] and claims[1].said == 999
    assert kept[claims[1].start:claims[1].end] == "999 HU"


@pytest.mark.parametrize(("text", "state", "verdict"), [
    ("The heart lies outside this scan.", "outside", "verified"), ("The heart lies outside this scan.", "absent", "refuted"),
    ("The scan covers the place of the heart, but it is not there.", "absent", "verified"),
    ("I do not know the heart.", "unsupported", "verified"), ("The heart is here.", "outside", "refuted"),
    ("The closer look did not confirm the heart.", "absent", "verified"),
])
def test_the_three_noes_are_held_against_what_was_exported(text, state, verdict):
    volume, everything = body()
    exported = Exported(object="a1.o1", display="Heart", key="heart", obj=VOCABULARY["heart"], state=state)
    assert [c.verdict for c in verify(text, [exported], volume)] == [verdict]
    there = Exported(object="a1.o1", display="Heart", key="heart", obj=VOCABULARY["heart"], mask=everything[0][1].mask)
    assert all(c.verdict == ("verified" if "is here" in text else "refuted") for c in verify(text, [there], volume))


def test_a_size_word_that_the_diameter_beside_it_contradicts_is_refuted():
    volume = ct((64, 64, 72), (2.5, 2.5, 2.5), hu=0)
    mask = arch(volume, bend=32, ascending=16, descending=14.2, top=45, down=40)
    aorta = Exported(object="a1.o1", display="Aorta", key="aorta", mask=mask, obj=VOCABULARY["aorta"])
    facts = Facts(object="a1.o1", display="Aorta", obj=aorta.obj,
                  measured={m.name: m for m in measure(mask, (0, 0, 0), volume, aorta.obj, False, (0, 0, 0))})
    word = "The aorta is dilated."
    shown, _ = render(fill([word + " The <slot:segment> has a diameter of <slot:segment_diameter> at most, <slot:versus_reference> "
                            "the limit of <slot:reference_upper>."], [facts]))
    assert "below the limit" in shown
    assert [c.verdict for c in verify(word, [aorta], volume)] == ["verified"]           # near the limit either word passes
    verdicts = {c.claim["kind"]: c.verdict for c in verify(shown, [aorta], volume)}
    assert verdicts.pop("size") == "refuted" and set(verdicts.values()) == {"verified"}


def limited(radius: float, said: float, side: str, limit: float):
    """Verdict of a descending aorta of this radius, said to lie on one side of a limit; and the text that is left to be shown."""
    volume = ct((32, 32, 90), (2, 2, 2), hu=0)
    mask = cylinder(volume, radius, (0, 0.05, 1), 75)
    entry = dataclasses.replace(VOCABULARY["aorta"], size_reference=({"measurement": "diameter_max", "segment": "descending",
                                                                      "upper_mm": limit, "source": "a paper"},))
    text = f"The descending aorta measures {said:g} mm at most, {side} the limit of {limit:g} mm (a paper)."
    known = {"a1.o1": ("Aorta", "aorta", mask, (0, 0, 0), "present")}
    shown, _, claims = checked_text(text, [], known, volume, {"aorta": entry})
    return next(c.verdict for c in claims if "limit" in c.claim["kind"]), shown == text


@pytest.mark.parametrize(("radius", "said", "side", "verdict"), [
    (13.0, 26, "below", "verified"), (17.5, 35, "above", "verified"),
    (13.9, 31, "above", "not checkable"), (16.0, 29, "below", "not checkable"),        # the recount lies on the other side
    (11.0, 31, "above", "refuted"), (19.5, 29, "below", "refuted"),
    (13.0, 26, "above", "refuted"), (17.5, 35, "below", "refuted"),                    # against the number beside it
])
def test_a_limit_is_passed_only_where_both_ways_to_measure_say_so(radius, said, side, verdict):
    found, shown = limited(radius, said, side, 30)
    assert (found, shown) == (verdict, True)


@pytest.mark.parametrize("text", [
    "The heart has a diameter of 300 ml.", "The heart has a volume of 40 HU.", "The heart averages 300 ml.",
])
def test_a_number_in_the_wrong_unit_is_not_understood(text):
    volume, everything = body()
    assert [c.verdict for c in verify(text, [everything[0][1]], volume)] == ["not checkable"]


def test_masks_are_read_back_from_disk(tmp_path):
    volume, everything = body()
    mask = everything[0][1].mask
    np.save(tmp_path / "m.npy", mask[5:].astype(np.uint8))
    exported = Exported(object="o", display="Heart", key="heart", mask=tmp_path / "m.npy", first_voxel=(5, 0, 0),
                        obj=VOCABULARY["heart"])
    ml = mask.sum() * volume.voxel_ml
    text = f"The heart fills {ml:.0f} ml. It fills {ml * 1.1:.0f} ml."
    assert [c.verdict for c in verify(text, [exported], volume)] == ["verified", "refuted"]


def test_every_wording_of_a_refusal_claims_nothing():
    rng = random.Random(1)
    for kind in ("question_unsupported", "need_click"):
        for _ in range(40):
            text, _ = render(fill(wordings.compose_refusal(rng, kind), [], ["heart", "aorta"]))
            assert verify(text, [], body()[0]) == []


def test_sentences_end_at_full_stops_alone():
    text = "It measures 3.5 mm (Smith et al., J. Med. 2008;1:200). It is here."
    assert [text[a:b] for a, b in sentences(text)] == ["It measures 3.5 mm (Smith et al., J. Med. 2008;1:200).", "It is here."]
