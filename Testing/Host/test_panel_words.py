"""The transcript as data and as HTML: links, marks, notes; the prompt's history; a recorded answer as an engine."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.errors import InputError
from ctreasoner.events import (
    By,
    Cancelled,
    Done,
    Existence,
    Failed,
    Look,
    Measurement,
    Request,
    Span,
    Statement,
    Stream,
    Text,
    ViewBox,
    Warning_,
)
from ctreasoner.panel import pages
from ctreasoner.panel.recorded import RecordedEngine, Recording
from ctreasoner.panel.turns import Conversation, History, look_of, split_link
from ctreasoner.vocabulary import Vocabulary

RECORDINGS = Path(__file__).resolve().parents[2] / "CTReasoner" / "Resources" / "Recordings"
MODEL = By(kind="model", name="double")


def view() -> ViewBox:
    return ViewBox(centre_ras=(0, 0, 0), size_mm=(90, 90, 90), spacing_mm=(1, 1, 1), shape=(90, 90, 90))


@pytest.fixture
def answered() -> Conversation:
    """A heart of 512 ml; the second sentence says 400 HU where the mask has 140."""
    stream, talk = Stream("a1"), Conversation()
    turn = talk.ask("How large is the heart?")
    first, second = "The heart has 512 ml. ", "Its mean is 400 HU."
    for event in (
        stream.emit(Look, object=None, step=0, view=view(), why="whole scan", window=(40, 400), digest="d", by=MODEL),
        stream.emit(Existence, object="a1.o1", name="heart", display="Heart", state="present", probability=0.97, by=MODEL),
        stream.emit(Look, object="a1.o1", step=1, view=view(), why="object", window=(40, 400), digest="e", by=MODEL),
        stream.emit(Existence, object="a1.o2", name="mandible", display="Mandible", state="outside", probability=0.9,
                    by=MODEL),
        stream.emit(Measurement, id="m1", object="a1.o1", name="volume", value=512.3, unit="ml", method="voxels x volume"),
        stream.emit(Text, text=first, spans=(Span(start=4, end=9, kind="object", ref="a1.o1"),
                                             Span(start=14, end=20, kind="measurement", ref="m1"))),
        stream.emit(Text, text=second, spans=(Span(start=12, end=18, kind="measurement", ref="m2"),
                                              Span(start=0, end=3, kind="look", ref="1"))),
        stream.emit(Statement, id="s1", start=0, end=20, claim={"kind": "volume", "object": "a1.o1"}, verdict="verified",
                    rule="volume", said=512, found=512.3, by=MODEL),
        stream.emit(Statement, id="s2", start=22, end=40, claim={"kind": "mean_hu", "object": "a1.o1"}, verdict="refuted",
                    rule="mean_hu", said=400, found=140.25, by=MODEL),
        stream.emit(Done, timings_s={"total": 2.0}),
    ):
        turn.apply(event)
    return talk


def test_every_span_is_a_link_and_a_look_names_its_answer(answered: Conversation) -> None:
    html = pages.transcript(answered, pages.LIGHT)
    assert 'href="object:a1.o1"' in html
    assert 'href="measurement:m1"' in html
    assert 'href="look:a1/1"' in html
    assert look_of(answered, "a1/1").object == "a1.o1"
    assert look_of(answered, "a1/7") is None


def test_a_wrong_number_is_struck_out_and_both_values_stand_there(answered: Conversation) -> None:
    html = pages.answer_text(answered.turns[0], pages.LIGHT)
    assert "said 400, measured 140.2" in html
    assert re.search(r'line-through">[^<]*400', html)
    assert not re.search(r'line-through">[^<]*512', html)


def test_a_verified_statement_is_marked_where_it_ends(answered: Conversation) -> None:
    plain = re.sub(r"<[^>]+>", "", pages.answer_text(answered.turns[0], pages.LIGHT)).replace("&nbsp;", " ")
    assert plain.startswith("The heart has 512 ml ✓. Its mean is 400 HU ✗")


def test_words_of_the_model_are_never_html() -> None:
    talk = Conversation()
    turn = talk.ask("<script>alert(1)</script>")
    turn.apply(Stream("a1").emit(Text, text="<b>A spoon</b> & more"))
    turn.apply(Stream("a1").emit(Warning_, code="x", sentence="<i>no</i>", hint="<u>"))
    html = pages.transcript(talk, pages.DARK)
    assert "<script>" not in html and "<b>A spoon" not in html and "<i>no" not in html
    assert "&lt;b&gt;A spoon" in html


def test_a_failure_is_a_sentence_and_a_hint() -> None:
    talk = Conversation()
    turn = talk.ask("What is here?")
    turn.apply(Failed(answer="a1", seq=0, t=0.1, code="CTR-RES-002", sentence="There is not enough memory.",
                      hint="Close programs."))
    html = pages.transcript(talk, pages.LIGHT)
    assert "There is not enough memory." in html and "Close programs." in html and "Not answered." in html


def test_a_stopped_answer_keeps_what_was_said() -> None:
    talk = Conversation()
    turn = talk.ask("x")
    turn.apply(Stream("a1").emit(Text, text="The heart is "))
    turn.apply(Cancelled(answer="a1", seq=9, t=1.0))
    assert "The heart is" in pages.transcript(talk, pages.LIGHT) and turn.state == "stopped"


def test_an_edit_outdates_what_was_said_about_that_object_alone(answered: Conversation) -> None:
    answered.outdate("a1.o1")
    html = pages.transcript(answered, pages.LIGHT)
    assert "Outdated: Heart was changed by hand" in html and "Mandible was" not in html


def test_suggestions_come_by_tier_and_what_the_ct_does_not_show_is_grey(answered: Conversation) -> None:
    vocabulary = Vocabulary.load()
    estimated = {"brainstem": ("outside", 0.91), "larynx": ("absent", 0.6), "aorta": ("present", 0.9), "heart": ("outside", 0.7)}
    html = pages.suggestions(vocabulary, answered.told(), estimated, pages.LIGHT)
    assert html.index("Validated") < html.index("Experimental") < html.index("Interactive")
    chips = {chip.split('"')[1]: chip.split("</a>")[0] for chip in html.split("<a ")[1:]}
    assert {f"ask:{item.key}" for item in vocabulary} == set(chips)
    grey = {key.partition(":")[2] for key, chip in chips.items() if f"color:{pages.LIGHT.faint}" in chip}
    assert grey == {"mandible", "brainstem", "larynx"}      # not the heart: an answer found it
    assert "<s>mandible</s>" in chips["ask:mandible"]


@pytest.mark.parametrize(("told", "estimate", "words"), [
    (None, ("outside", 0.912), "Probably outside this scan (0.91). This is the model's own estimate; click to ask all the same."),
    (None, ("absent", 0.6), "Probably not in this scan (0.60)."), (None, ("present", 0.9), "Click an object to ask for it."),
    ("outside", ("present", 0.9), "An answer found it to lie outside this scan."), ("present", ("outside", 0.9), "Click an object"),
    (None, None, "Click an object to ask for it.")])
def test_a_chip_says_whose_word_it_is(told, estimate, words: str) -> None:
    assert pages.chip_tip(told, estimate).startswith(words)


def test_what_is_asked_for_reads_as_in_a_sentence() -> None:
    vocabulary = Vocabulary.load()
    assert pages.prompt_for(vocabulary, "heart") == "Segment the heart and describe it"
    assert pages.prompt_for(vocabulary, "lung_nodule") == ""
    assert pages.spoken("Lung, right") == "right lung"


@pytest.mark.parametrize(("href", "parts"), [("object:a1.o1", ("object", "a1.o1")), ("look:a1/2", ("look", "a1/2")),
                                             ("http://example.org", ("", "")), ("object:", ("", "")), ("javascript:x", ("", ""))])
def test_only_our_own_links_are_followed(href: str, parts: tuple[str, str]) -> None:
    assert split_link(href) == parts


def test_the_history_gives_the_draft_back() -> None:
    history = History()
    for line in ("one", "two", "two", "three"):
        history.add(line)
    assert [history.older("draft"), history.older(""), history.older(""), history.older("")] == ["three", "two", "one", "one"]
    assert [history.newer(""), history.newer(""), history.newer("")] == ["two", "three", "draft"]


def test_light_and_dark_are_readable() -> None:
    def luminance(colour: str) -> float:
        parts = [int(colour[n:n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for colours, ground in ((pages.LIGHT, 1.0), (pages.DARK, luminance("#323232"))):
        for name in ("text", "faint", "link", "good", "bad", "warn"):
            own = luminance(getattr(colours, name))
            contrast = (max(own, ground) + 0.05) / (min(own, ground) + 0.05)
            assert contrast >= 4.5, f"{name}: {contrast:.1f}"        # WCAG AA for text


# ---------------------------------------------------------------- recordings

@pytest.fixture
def engine() -> RecordedEngine:
    made = RecordedEngine(Recording.read(RECORDINGS / "chest"), speed=1e6)
    yield made
    made.close()


def heard(engine: RecordedEngine, ask: int) -> list:
    events, until = [], time.monotonic() + 5
    while time.monotonic() < until and not (events and events[-1].type in ("Done", "Failed", "Cancelled")):
        events += [m.event for m in engine.poll(4) if m.kind == "event" and m.ask == ask]
    return events


def test_the_recording_that_ships_is_about_its_ct(engine: RecordedEngine) -> None:
    voxels, affine = engine.recording.volume()
    file = engine.volumes.put(voxels, affine).result()
    assert file.identity == engine.recording.identity
    events = heard(engine, engine.ask(Request(volume=file.identity, text="x"), file, answered=3))
    assert events[-1].type == "Done" and {e.answer for e in events} == {"a4"}
    masks = [e for e in events if e.type == "Mask"]
    assert masks and all((engine.recording.folder / m.path).is_file() and m.object.startswith("a4.") for m in masks)
    assert all(s.verdict == "verified" for s in events if s.type == "Statement")


def test_a_recording_refuses_another_ct(engine: RecordedEngine) -> None:
    file = engine.volumes.put(np.zeros((4, 4, 4), np.int16), np.eye(4)).result()
    events = heard(engine, engine.ask(Request(volume=file.identity, text="x"), file))
    assert [e.type for e in events] == ["Failed"] and "own CT" in events[0].sentence


def test_a_broken_recording_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Recording.read(tmp_path)
