"""What the model says is its own choice: not a table of names, not a measurement, and not another object's region."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import tiny_model
from ctreasoner.checked import plain
from ctreasoner.engine import Engine
from ctreasoner.evaluation import scans
from ctreasoner.evaluation.asking import ask
from ctreasoner.events import Category, Request, Statement, Text, Warning_
from ctreasoner.training import prompts
from ctreasoner.vocabulary import Vocabulary

NAMES = ("synonyms", "plurals", "adjectives", "latin", "abbreviations", "base", "base_plurals", "parts")
SHOWN = {"display", "sentence", "hint", "t", "timings_s", "peak_memory_mb"}     # strings for people, and clocks


def without_what_is_shown(event) -> tuple:
    """An event without display strings; of words and warnings only that they came."""
    if isinstance(event, Text | Statement):
        return (event.type,)
    if isinstance(event, Warning_):
        return event.type, event.code
    return event.type, str({k: v for k, v in plain(event).items() if k not in SHOWN})


def test_a_hundred_questions_are_understood_without_a_single_name_in_the_vocabulary(tmp_path) -> None:
    rng, volume = random.Random(11), tiny_model.scan((40, 32, 28), 6.0)
    questions = [prompts.draw(rng).text for _ in range(100)]

    def streams(nameless: bool) -> list[list[tuple]]:
        engine = Engine.from_pretrained(tiny_model.save(tmp_path / "model"), threads=1)
        assert engine.speaker                                            # the model is loaded before the names go
        if nameless:
            engine.vocabulary = Vocabulary([replace(o, display=f"object {chr(97 + n)}", **dict.fromkeys(NAMES, ()))
                                            for n, o in enumerate(engine.vocabulary)])
        return [[without_what_is_shown(e) for e in ask(engine, volume, text, conversation=str(n)).events]
                for n, text in enumerate(questions)]

    with_names = streams(nameless=False)
    assert streams(nameless=True) == with_names
    assert len({str(s) for s in with_names}) > 20                        # the questions are not all answered alike


@pytest.fixture(scope="module")
def engine():
    from ctreasoner.reasoner import model_folder

    return Engine.from_pretrained(model_folder("compact"), threads=1)


@pytest.fixture(scope="module")
def volume():
    return scans.demo().volume


@pytest.mark.weights
@pytest.mark.demo_ct
def test_category_words_are_chosen_before_anything_is_measured(engine, volume, monkeypatch) -> None:
    def choices(conversation: str) -> list[tuple]:
        found: list[tuple] = []
        asked = Request(volume=engine.register(volume), text="describe the aorta", conversation=conversation)
        try:
            for event in engine.answer(asked):
                if isinstance(event, Category):
                    found.append((event.attribute, event.value, event.probability))
        except NotMeasured:
            pass
        return found

    measured = choices("measured")
    monkeypatch.setattr("ctreasoner.appearance.measure.measure", raises)
    assert choices("not measured") == measured != []


class NotMeasured(Exception):
    pass


def raises(*_args, **_kwargs):
    raise NotMeasured


@pytest.mark.weights
@pytest.mark.demo_ct
def test_with_the_regions_of_two_objects_exchanged_the_words_change(engine, volume, monkeypatch) -> None:
    speaker, regions = engine.speaker, {}
    own = speaker.categories

    def keep(thought, key, region):
        regions[key] = region
        return own(thought, key, region)

    def exchange(thought, key, region):
        return own(thought, key, regions[{"heart": "trachea", "trachea": "heart"}[key]])

    def said() -> tuple[str, set]:
        events = ask(engine, volume, "describe the heart and the trachea", words=True).events
        return (next(e.text for e in events if isinstance(e, Text)),
                {(e.object, e.attribute, e.value) for e in events if isinstance(e, Category)})

    monkeypatch.setattr(speaker, "categories", keep)
    text, choices = said()
    assert set(regions) == {"heart", "trachea"}
    monkeypatch.setattr(speaker, "categories", exchange)
    other_text, other_choices = said()
    assert choices != other_choices
    assert text.split() != other_text.split()
