"""Questions for training: spans that fit, splits that do not leak, wordings in plenty."""

from __future__ import annotations

import random
import re

import pytest
from ctreasoner.training import phrases
from ctreasoner.training.prompts import INTENTS, REFERENCES, ROUTES, TOPICS, draw, frames, synonyms_for
from ctreasoner.vocabulary import Vocabulary

MAIN = ("segment", "detect", "describe", "mixed", "click", "click_named", "followup")
KEYS = Vocabulary.load().keys()


def samples(count: int, seed: int = 0, **options):
    rng = random.Random(seed)
    return [draw(rng, **options) for _ in range(count)]


def bare(text: str) -> str:
    """A frame without case, punctuation, politeness, tail and article: what noise alone may change."""

    def words(part: str) -> str:
        return re.sub(r"\s+", " ", re.sub(r"[^\w\s{}]", "", part.lower())).strip()

    polite = "|".join({words(part) for part in phrases.style()["polite"]})
    tails = "|".join({words(part) for part in phrases.style()["tails"]})
    text = re.sub(rf"^(?:(?:{polite}) )+", "", words(text))
    return re.sub(rf"(?: (?:{tails}))+$", "", text).replace("the {", "{")


@pytest.mark.parametrize("intent", MAIN)
def test_main_intents_have_frames_in_plenty(intent):
    assert len(frames(intent)) >= 80 and len(frames(intent, "heldout")) >= 25


def test_unanswerable_questions_come_in_plenty():
    assert len(frames("question_unsupported")) >= 200 and len(frames("question_unsupported", "heldout")) >= 60


@pytest.mark.parametrize("intent", INTENTS)
def test_held_out_frames_are_not_trained(intent):
    trained = {bare(frame) for frame in frames(intent)}
    leaked = [frame for frame in frames(intent, "heldout") if bare(frame) in trained]
    assert not [frame for frame in leaked if re.search(r"\w", frame)]  # "" and "?" have no words to hold out


def test_held_out_frames_use_trained_words_nearly_always():
    def words(split):
        return {word for intent in INTENTS for frame in frames(intent, split) for word in re.findall(r"[a-z']+", frame)}

    new = words("heldout") - words("train")
    assert len(new) <= 0.06 * len(words("heldout")), sorted(new)


@pytest.mark.parametrize("group", ["anatomical", "other"])
def test_nouns_come_in_plenty_and_are_split(group):
    train, held_out = phrases.nouns()[group, "train"], phrases.nouns()[group, "heldout"]
    assert len(train) >= 250 and len(held_out) >= 100 and len(set(train) | set(held_out)) >= 450
    assert not set(train) & set(held_out)


def test_no_unknown_noun_is_a_name_of_the_vocabulary():
    names = {name.lower() for key in KEYS for name in synonyms_for(key)}
    names |= {name for item in Vocabulary.load() for name in (*item.base, *item.base_plurals, *item.parts)}
    assert not names & {noun for nouns in phrases.nouns().values() for noun in nouns}


def test_every_mention_lies_on_its_words():
    for sample in samples(4000, noise=0.0):
        for mention in sample.mentions:
            words = sample.text[mention.start : mention.end]
            assert words and words == words.strip()
            assert (mention.kind == "unsupported") == (mention.key is None)
            assert mention.key is None or words in NAMES[mention.key], (sample.text, mention)


def _all_names() -> dict[str, set[str]]:
    """Names of each object, its parts, and every wording of both sides."""
    found = {key: set(synonyms_for(key)) for key in KEYS}
    for item in Vocabulary.load():
        found[item.key] |= set(item.parts) | {f"{item.laterality} {name}" for name in item.base}
        for pattern in (*phrases.style()["both"], "{p}"):
            for plural in item.base_plurals:
                found[item.key] |= {pattern.format(p=plural, b=base) for base in item.base}
    return found


NAMES = _all_names()


def test_noise_keeps_every_mention_near_its_words():
    vocabulary = {key: "".join(NAMES[key]).lower() for key in KEYS}
    for sample in samples(4000, seed=1):
        for mention in sample.mentions:
            words = sample.text[mention.start : mention.end]
            assert 0 <= mention.start < mention.end <= len(sample.text)
            assert mention.start == 0 or not (sample.text[mention.start - 1].isalpha() and words[0].isalpha()), sample
            if mention.kind == "known":
                letters = [letter for letter in words.lower() if letter.isalpha()]
                assert sum(letter not in vocabulary[mention.key] for letter in letters) <= 1, sample


def test_mentions_stand_in_the_order_of_the_words():
    for sample in samples(3000, seed=2, intent="segment"):
        starts = [mention.start for mention in sample.mentions]
        assert starts == sorted(starts) and sample.mentions
        keys = [mention.key for mention in sample.mentions if mention.key]
        assert len(keys) == len(set(keys))


def test_left_and_right_are_never_exchanged():
    for sample in samples(6000, seed=3, noise=0.0):
        for mention in sample.mentions:
            side = mention.key.rsplit("_", 1)[-1] if mention.key else None
            words = set(re.findall(r"\w+", sample.text[mention.start : mention.end]))
            if side == "left" and not {"right"} <= words:
                assert not words & {"r", "rt", "dextra", "dexter"}
            if side in ("left", "right") and words & {"left", "right"}:
                assert side in words


def test_a_part_that_is_not_wanted_is_not_mentioned():
    found = 0
    for sample in samples(3000, seed=4, intent="segment", noise=0.0):
        match = re.search(r"(?:but not|without|leave out) the (.+)$", sample.text)
        if match:
            found += 1
            assert all(mention.end <= match.start(1) for mention in sample.mentions)
    assert found > 20


@pytest.mark.parametrize("intent", INTENTS)
@pytest.mark.parametrize("split", phrases.SPLITS)
def test_every_intent_is_drawn_with_legal_fields(intent, split):
    for sample in samples(300, split=split, intent=intent):
        assert sample.intent == intent
        assert tuple(route for route in ROUTES if route in sample.routes) == sample.routes
        assert sample.reference is None or sample.reference in REFERENCES
        assert sample.topic in TOPICS
        assert (sample.clicks > 0) == (sample.pointer == "click") and 0 <= sample.clicks <= 3
        assert (sample.pointer is None) == (intent not in ("click", "click_named"))
        assert bool(sample.routes) or sample.repeats or intent == "question_unsupported"


def test_questions_without_an_answer_mention_nothing_and_route_nowhere():
    for sample in samples(500, seed=5, intent="question_unsupported"):
        assert not sample.mentions and not sample.routes and not sample.clicks


def test_a_nodule_is_named_only_with_a_click_or_when_one_is_needed():
    for sample in samples(4000, seed=6):
        if any(mention.key == "lung_nodule" for mention in sample.mentions):
            assert sample.intent in ("click_named", "needs_click")


@pytest.mark.parametrize(
    ("intent", "routes"),
    [("segment", {("segment",)}), ("detect", {("detect",)}), ("describe", {("describe",)})],
)
def test_plain_intents_have_one_route(intent, routes):
    assert {sample.routes for sample in samples(300, intent=intent)} == routes


def test_mixed_questions_have_every_pair_of_routes():
    routes = {sample.routes for sample in samples(600, intent="mixed")}
    assert routes == {
        ("segment", "describe"),
        ("detect", "segment"),
        ("detect", "describe"),
        ("detect", "segment", "describe"),
    }


def test_follow_ups_reach_every_reference():
    assert {sample.reference for sample in samples(3000, intent="followup")} == set(REFERENCES)


@pytest.mark.parametrize(
    "objects",
    [
        ("aorta",),
        ("heart", "aorta", None),
        ("parotid_left", "parotid_right"),
        (None,),
        ("lung_right", "lung_left", "trachea", "larynx"),
    ],
)
@pytest.mark.parametrize("intent", ["segment", "detect", "describe", "mixed"])
def test_asked_objects_are_exactly_those_mentioned(intent, objects):
    for sample in samples(200, intent=intent, objects=objects):
        assert tuple(mention.key for mention in sample.mentions) == objects, sample


def test_keys_limit_what_is_named():
    for sample in samples(1500, seed=7, keys=("heart", "lung_left")):
        keys = {mention.key for mention in sample.mentions} - {None}
        assert keys <= {"heart", "lung_left"} or sample.intent == "needs_click"


def test_topic_and_reference_can_be_chosen():
    assert {s.topic for s in samples(100, intent="describe", topic="calcification")} == {"calcification"}
    assert {s.reference for s in samples(100, intent="followup", reference="other_side")} == {"other_side"}


def test_the_same_seed_asks_the_same():
    assert samples(200, seed=8) == samples(200, seed=8) != samples(200, seed=9)


def test_draws_seldom_repeat():
    assert len({sample.text for sample in samples(3000, seed=10, intent="segment")}) > 2500


def test_every_name_is_drawn_in_training():
    seen = {key: set() for key in KEYS}
    for sample in samples(30000, seed=11, noise=0.0, unsupported=0.0):
        for mention in sample.mentions:
            if mention.key:
                seen[mention.key].add(sample.text[mention.start : mention.end])
    missing = {key: [name for name in Vocabulary.load()[key].names if name not in seen[key]] for key in KEYS}
    assert not any(missing.values()), missing


def test_invented_words_name_nothing():
    rng = random.Random(12)
    words = {phrases.pseudo_word(rng) for _ in range(2000)}
    assert len(words) > 1900 and not words & {
        word for key in KEYS for name in synonyms_for(key) for word in name.split()
    }


@pytest.mark.parametrize("text", ["", "?", "a", "aorta", "心脏在哪里", "how large is it?"])
def test_one_spelling_error_is_one_edit(text):
    rng = random.Random(13)
    for _ in range(50):
        changed, _, change = phrases.edit(rng, text)
        assert len(changed) == len(text) + change and abs(change) <= 1
        assert phrases.recase(rng, "groß ﬁ " + text).__len__() == len("groß ﬁ " + text)


def test_two_objects_can_be_compared():
    for sample in samples(200, seed=15, intent="describe", topic="compare"):
        assert len(sample.mentions) >= 2
    for sample in samples(200, seed=16, intent="describe", topic="compare", objects=("heart", "aorta")):
        assert tuple(mention.key for mention in sample.mentions) == ("heart", "aorta")


def test_a_named_earlier_object_is_a_known_one():
    for sample in samples(300, seed=17, intent="followup", reference="named"):
        assert [mention.kind for mention in sample.mentions] == ["known"]
