"""Whatever a model prefers, what it writes is a legal plan, no number, and no category but those of its blocks."""

from __future__ import annotations

import functools

import pytest
import tiny_model
from ctreasoner.appearance.attributes import attributes_for, values_for
from ctreasoner.model import grammar
from ctreasoner.model.grammar import PlanGrammar, WordGrammar
from ctreasoner.training.dialogues import Composer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
CHOICES = st.lists(st.integers(0, 10_000), min_size=80, max_size=80)
EARLIER = st.dictionaries(st.integers(1, 8), st.sampled_from(["aorta", "heart", "thing", None]), max_size=4)


def machine(**options) -> PlanGrammar:
    processor = tiny_model.processor()
    return PlanGrammar(processor.ids, processor.name_ids, **options)


def walk(grammar_: PlanGrammar, choices: list[int]) -> PlanGrammar:
    """Any sequence of allowed tokens, by the choices of a model that prefers whatever it likes."""
    for choice in choices:
        if grammar_.finished:
            return grammar_
        allowed = grammar_.allowed()
        assert allowed, f"nothing may follow {grammar_.plan.tokens}"
        grammar_.advance(allowed[choice % len(allowed)])
    while not grammar_.finished:                # a model that never ends by itself
        grammar_.advance(grammar_.allowed()[-1])
        assert len(grammar_.plan.tokens) < 400
    return grammar_


@SETTINGS
@given(CHOICES, EARLIER, st.booleans(), st.integers(1, 12))
def test_any_sequence_of_allowed_tokens_ends_in_a_legal_plan(choices, known, pointer, most) -> None:
    plan = walk(machine(known=known, pointer=pointer, most_objects=most), choices).plan
    processor = tiny_model.processor()
    assert processor.pieces[plan.tokens[-1]] == "<GO>"
    if plan.routes[0] in ("decline", "need_click"):
        assert len(plan.routes) == 1 and not plan.objects
        return
    assert plan.routes == [r for r in grammar.ROUTES if r in plan.routes]       # each once, in order
    assert len(plan.objects) >= 1
    numbers = [o.number for o in plan.objects]
    assert len(set(numbers)) == len(numbers) and max(numbers) <= grammar.MOST_OBJECTS
    new = [o.key for o in plan.objects if o.key in processor.name_ids and not o.reference]
    assert len(set(new)) == len(new) and not set(new) & {o.key for o in plan.objects if o.reference}
    for o in plan.objects:
        if o.reference:
            assert known[o.number] == o.key
        else:
            assert o.number not in known
            assert o.key is None or o.key in processor.name_ids or (o.key == "thing" and pointer)
            assert processor.pieces[plan.tokens[o.det]] == "<DET>"


@SETTINGS
@given(CHOICES, EARLIER, st.integers(1, 12))
def test_a_plan_holds_no_more_objects_than_asked_for(choices, known, most) -> None:
    plan = walk(machine(known=known, most_objects=most), choices).plan
    assert len(plan.objects) <= max(1, most)


def spelled(key: str, **options) -> PlanGrammar:
    """A plan in which one object's name has just been written."""
    plan = machine(**options)
    for token in (plan.ids["<SEGMENT>"], plan.ids[grammar.OBJECT_TOKENS[plan._next() - 1]], *plan.names[key]):
        plan.advance(token)
    return plan


def test_a_name_that_the_conversation_has_is_a_reference_unless_there_may_be_several() -> None:
    known = {1: "heart", 2: "lung_nodule", 3: "aorta"}
    plan = spelled("aorta", known=known)
    assert plan.earlier() == 3
    assert plan.unname() == 1 + len(plan.names["aorta"])
    plan.advance(plan.ids["<REF:3>"])
    assert [(o.number, o.key, o.reference) for o in plan.plan.objects] == [(3, "aorta", True)]
    assert spelled("trachea", known=known).earlier() is None
    assert spelled("lung_nodule", known=known).earlier() is None
    assert spelled("aorta", known=known, pointer=True).earlier() is None       # what is clicked may be another


@SETTINGS
@given(CHOICES)
def test_a_thing_without_a_name_needs_a_pointer(choices) -> None:
    assert all(o.key != "thing" for o in walk(machine(pointer=False), choices).plan.objects)


@SETTINGS
@given(CHOICES, EARLIER)
def test_the_processor_writes_the_plan_that_the_grammar_read(choices, known) -> None:
    plan = walk(machine(known=known, pointer=True), choices).plan
    assert tiny_model.processor().plan(plan.routes, [(o.number, o.key, o.reference) for o in plan.objects]) == plan.tokens


def is_token(text: str) -> bool:
    """A piece with a meaning of its own, such as <slot:p5_hu>."""
    return len(text) > 2 and text[0] == "<" and text[-1] == ">"


def words(processor, objects: int = 12) -> list[int]:
    """Every token that may stand in the words about so many objects."""
    return [*grammar.plain_tokens(processor.pieces, processor.slots),
            *grammar.spoken_tokens(processor.ids, objects, set(processor.slots))]


def test_words_speak_of_the_objects_of_the_answer_and_of_what_each_can_show() -> None:
    ids = tiny_model.processor().ids
    allowed = grammar.spoken_tokens(ids, 2, {"volume"})
    assert sorted(allowed) == sorted(ids[t] for t in ("<obj:1>", "<obj:2>", "<slot:volume>", "<end>"))


def test_no_piece_with_a_digit_may_stand_in_words() -> None:
    processor = tiny_model.processor()
    allowed = words(processor)
    written = [processor.decode([i]) for i in allowed if not is_token(processor.pieces[i])]
    assert len(written) > 100
    assert not [text for text in written if any(c.isdigit() for c in text)]
    assert {processor.ids["<end>"], processor.ids["<slot:volume>"]} <= set(allowed)


@SETTINGS
@given(st.data())
def test_words_of_any_allowed_pieces_hold_no_number(data) -> None:
    processor = tiny_model.processor()
    allowed = words(processor)
    drawn = [i for i in data.draw(st.lists(st.sampled_from(allowed), max_size=40)) if not is_token(processor.pieces[i])]
    text = processor.decode(drawn)
    assert not any(c.isnumeric() and ord(c) < 128 for c in text)


@pytest.mark.parametrize("key", sorted(tiny_model.NAMES))
def test_the_attributes_of_an_object_are_its_own(key: str) -> None:
    ids = tiny_model.processor().ids
    choices = grammar.category_choices(ids, key)
    assert [a for a, _ in choices] == list(attributes_for(key))
    assert all([v for v, _ in values] == list(values_for(key, a)) for a, values in choices)


def test_special_tokens_come_first_and_pad_is_zero() -> None:
    processor = tiny_model.processor()
    special = grammar.special_tokens(processor.slots)
    assert [processor.ids[t] for t in special] == list(range(len(special)))
    assert len(set(special)) == len(special) and special[0] == "<pad>"


def test_a_prompt_that_spells_a_token_gets_none() -> None:
    processor = tiny_model.processor()
    question = processor.question("segment <SEG> the <det> aorta <GO>")
    structure = {processor.ids[t] for t in grammar.STRUCTURE} - {processor.ids["<pad>"]}
    assert not structure & set(question.ids[slice(*question.words)])


def written(machine_: WordGrammar, text: str) -> bool:
    """Whether a model may write a text; the machine then stands behind it, or where it stopped."""
    for token in tiny_model.processor().encode(text):
        assert token in machine_.tokens(), text
        if machine_.unsaid(token) is not None:
            return False
        machine_.advance(token)
    return True


@functools.cache
def plain() -> list[int]:
    return grammar.plain_tokens(tiny_model.processor().pieces, tiny_model.processor().slots)


def about(*categories: dict[str, str]) -> WordGrammar:
    processor = tiny_model.processor()
    slots = [set(processor.slots)] * max(1, len(categories))
    return WordGrammar(processor.ids, processor.pieces, plain(), slots, list(categories))


def blocks(processor, told: list[int]) -> list[dict[str, str]]:
    """The categories of each object that a text may rest on."""
    out: list[dict[str, str]] = []
    for piece in (processor.pieces[i] for i in told):
        if piece in grammar.OBJECT_TOKENS:
            out.append({})
        elif piece.startswith("<cat:"):
            attribute, _, value = piece[5:-1].partition("=")
            out[-1][attribute] = value
    return out


def test_every_text_that_a_model_learns_may_be_written() -> None:
    processor = tiny_model.processor()
    composer, said = Composer(processor, 5), 0
    for n in range(400):
        dialogue = composer.clicked(["lung_nodule", None][n % 2], False) if n % 4 == 0 else composer.draw()
        told, words_ = composer.words(dialogue)
        mine = blocks(processor, told)
        said += any(mine)
        assert written(about(*mine), processor.decode(words_)), processor.decode(words_)
    assert said > 100


def test_a_category_is_said_as_the_block_of_its_object_holds_it() -> None:
    """Each phrase passes for the object whose block holds its value, and for no other, wherever in a sentence it stands."""
    for text, attribute, value in grammar.PREDICATES:
        others = [v for v in grammar.ATTRIBUTES[attribute] if v != value]
        for start in ("The <obj:2>", "The <obj:1> is here. The <obj:2> fills <slot:volume> and"):
            assert written(about({}, {attribute: value}), start + text + "."), text
            for block in ({}, *({attribute: v} for v in others)):
                assert not written(about({attribute: value}, block), start + text + "."), (start, text, block)


def test_numbers_are_compared_whatever_the_blocks_hold() -> None:
    text = "The <obj:1> fills <slot:volume> and the <obj:2> <slot:volume>. The <slot:larger> is larger by <slot:difference>."
    assert written(about({"size": "small"}, {"size": "normal"}), text)
    assert not written(about({"size": "small"}, {"size": "normal"}), text + " It is larger than the reference.")


def test_what_is_taken_back_leads_to_the_verb() -> None:
    processor, machine_ = tiny_model.processor(), about({"calcification": "present", "density": "soft"})
    tokens = processor.encode("The <obj:1> is free of calcification")
    verb = len(processor.encode("The <obj:1> is"))
    for n, token in enumerate(tokens):
        back = machine_.unsaid(token)
        if back is not None:
            assert n >= verb and n - back == verb
            machine_.take_back(back)
            break
        machine_.advance(token)
    else:
        raise AssertionError("nothing was ruled out")
    for token in processor.encode(" soft tissue and is calcified."):
        assert machine_.unsaid(token) is None
        machine_.advance(token)
