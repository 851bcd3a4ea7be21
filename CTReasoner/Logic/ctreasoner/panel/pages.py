"""The transcript and the suggestions as HTML that a QTextBrowser and a QLabel understand. Plain Python, no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from ..errors import CTReasonerError
from ..events import Statement
from ..vocabulary import TIERS, Vocabulary
from .turns import DONE, FAILED, RUNNING, STOPPED, WAITING, Conversation, Turn

MARKS = {"verified": "✓", "refuted": "✗", "not checkable": "?"}
STATES = {"present": "present", "absent": "not present", "outside": "outside this scan", "unsupported": "not known to the model"}
ESTIMATES = {"outside": "Probably outside this scan", "absent": "Probably not in this scan"}


@dataclass(frozen=True)
class Colours:
    """Colours (#rrggbb) that are readable on the ground they stand on."""

    text: str
    faint: str
    link: str
    good: str
    bad: str
    warn: str
    question: str       # ground of a question
    chip: str           # ground of a suggestion


LIGHT = Colours(text="#1b1f24", faint="#6a737d", link="#0b57a4", good="#1a7f37", bad="#c0262d", warn="#8a5a00",
                question="#e8eef6", chip="#dce7f3")
DARK = Colours(text="#e6e6e6", faint="#9aa4ae", link="#7db7ff", good="#5fd068", bad="#ff7b72", warn="#e3b341",
               question="#2f3b4a", chip="#33445a")

WELCOME = ("Choose a CT, then ask about it in words, click an organ, or draw a box. Every number in an answer is measured "
           "on the mask and checked: <b>✓</b> verified, <b>✗</b> refuted, <b>?</b> not checkable.")
PRIVACY = "This conversation is saved in the scene and may hold patient data."


def transcript(conversation: Conversation, colours: Colours, *, welcome: str = WELCOME,
               notice: tuple[str, str] = ("", "")) -> str:
    """Return the whole conversation. notice : a sentence and a hint of the panel below it."""
    style = f"<style>a {{ color: {colours.link}; text-decoration: none; }}</style>"
    if not conversation.turns:
        return f'{style}<p style="color:{colours.faint}">{welcome}</p>' + _notice(notice, colours) + _privacy(colours)
    return style + "".join(_turn(turn, colours) for turn in conversation.turns) + _notice(notice, colours) + _privacy(colours)


def answer_text(turn: Turn, colours: Colours) -> str:
    """Return the words of an answer with their links and marks; statement positions count the whole answer."""
    cuts = {0, len(turn.text)}
    for start, end, *_ in turn.spans:
        cuts |= {start, end}
    for s in turn.statements:
        cuts |= {s.start, s.end}
    edges = sorted(c for c in cuts if 0 <= c <= len(turn.text))
    out = []
    for start, end in pairwise(edges):
        out.append(_piece(turn, start, end, colours))
        out += [_mark(s, turn, colours) for s in turn.statements if s.end == end]
    return "".join(out)


def suggestions(vocabulary: Vocabulary, told: Mapping[str, str], estimated: Mapping[str, tuple[str, float]],
                colours: Colours) -> str:
    """Return the objects that can be asked for, by tier, as links "ask:key"; those that the CT does not show are grey.

    told : states by key that answers came to; what lies outside is struck out. estimated : states and probabilities before
    any answer.
    """
    rows = []
    for tier, meaning in TIERS.items():
        chips = [_chip(item, told.get(item.key), estimated.get(item.key), colours) for item in vocabulary if item.tier == tier]
        if chips:
            rows.append(f'<p style="margin-top:0px; margin-bottom:3px; line-height:135%"><span style="color:{colours.faint}">'
                        f'{escape(meaning.capitalize()).replace(" ", "&nbsp;")}:</span> {" ".join(chips)}</p>')
    return f'<style>a {{ color: {colours.text}; text-decoration: none; }}</style>{"".join(rows)}'


def cannot_ask(error: CTReasonerError) -> str:
    """Return why a CT cannot be asked about; one that is bent can be straightened by a link."""
    link = '<br><a href="straighten:ct">Straighten a copy and work on that</a>' if error.code == "CTR-SCN-004" else ""
    return f"{escape(str(error))} {escape(error.hint)}{link}"


def prompt_for(vocabulary: Vocabulary, key: str) -> str:
    """Return the question behind a suggestion; an object that only a click finds has none."""
    item = vocabulary.get(key)
    return "" if item is None or item.clickable_only else f"Segment the {spoken(item.display)} and describe it"


def spoken(display: str) -> str:
    """Return a display name as it stands in a sentence: "Lung, right" -> "right lung"."""
    name, comma, side = display.partition(", ")
    return f"{side} {name}".lower() if comma else display.lower()


def chip_tip(told: str | None, estimate: tuple[str, float] | None) -> str:
    """Return what a chip says when the mouse rests on it."""
    if told == "outside":
        return "An answer found it to lie outside this scan. Click to ask again."
    if told is None and estimate is not None and estimate[0] in ESTIMATES:
        return f"{ESTIMATES[estimate[0]]} ({estimate[1]:.2f}). This is the model's own estimate; click to ask all the same."
    return "Click an object to ask for it."


def _chip(item, told: str | None, estimate: tuple[str, float] | None, colours: Colours) -> str:
    label = escape(spoken(item.display)).replace(" ", "&nbsp;") + ("&nbsp;(click)" if item.clickable_only else "")
    if told == "outside" or (told is None and estimate is not None and estimate[0] in ESTIMATES):
        label = f"<s>{label}</s>" if told else label
        return f'<a href="ask:{escape(item.key)}"><span style="color:{colours.faint}">&nbsp;{label}&nbsp;</span></a>&nbsp;'
    return f'<a href="ask:{escape(item.key)}"><span style="background-color:{colours.chip}">&nbsp;{label}&nbsp;</span></a>&nbsp;'


def _notice(notice: tuple[str, str], colours: Colours) -> str:
    sentence, hint = notice
    if not sentence:
        return ""
    return f'<p style="color:{colours.warn}">{escape(sentence)} <span style="color:{colours.faint}">{escape(hint)}</span></p>'


def _privacy(colours: Colours) -> str:
    return f'<p style="color:{colours.faint}; font-size:small">{PRIVACY}</p>'


def _turn(turn: Turn, colours: Colours) -> str:
    drawn = f' <span style="color:{colours.faint}">[{escape(turn.prompts)}]</span>' if turn.prompts else ""
    badge = f' <b style="color:{colours.warn}">recording</b>' if turn.origin == "recording" else ""
    head = (f'<table width="100%" cellpadding="4" cellspacing="0" style="margin-top:8px"><tr><td bgcolor="{colours.question}">'
            f'{escape(turn.question) or "<i>no words</i>"}{drawn}{badge}</td></tr></table>')
    words = answer_text(turn, colours)
    body = f'<p style="margin-top:4px; margin-bottom:2px">{words}</p>' if words else ""
    if turn.undone:
        body = f'<p style="color:{colours.faint}"><s>{escape(turn.text)}</s> <i>undone</i></p>'
    return head + _looks(turn, colours) + _objects(turn, colours) + body + _outdated(turn, colours) + _notes(turn, colours) \
        + _state(turn, colours)


def _looks(turn: Turn, colours: Colours) -> str:
    if not turn.looks:
        return ""
    links = []
    for number, look in enumerate(turn.looks):
        name = turn.names.get(look.object or "", "")
        label = look.why if not name else f"{name.lower()}: {look.why}"
        links.append(f'<a href="look:{escape(turn.answer)}/{number}">{escape(label)}</a>')
    return f'<p style="margin:2px; color:{colours.faint}; font-size:small">Looked at {" › ".join(links)}</p>'


def _objects(turn: Turn, colours: Colours) -> str:
    found = []
    for key, event in turn.states.items():
        name = escape(turn.names[key])
        sure = "" if event.probability is None else f" {event.probability:.2f}"
        label = f'<a href="object:{escape(key)}">{name}</a>' if event.state == "present" else name
        found.append(f'{label} <span style="color:{colours.faint}">{STATES[event.state]}{sure}</span>')
    return f'<p style="margin:2px">{" · ".join(found)}</p>' if found else ""


def _piece(turn: Turn, start: int, end: int, colours: Colours) -> str:
    words = escape(turn.text[start:end]).replace("\n", "<br>")
    refuted = any(s.verdict == "refuted" and s.start <= start and end <= s.end for s in turn.statements)
    if refuted:
        words = f'<span style="color:{colours.bad}; text-decoration:line-through">{words}</span>'
    for first, last, kind, ref in turn.spans:
        if first <= start and end <= last:
            target = f"{turn.answer}/{ref}" if kind == "look" else ref
            return f'<a href="{kind}:{escape(target)}">{words}</a>'
    return words


def _mark(statement: Statement, turn: Turn, colours: Colours) -> str:
    colour = {"verified": colours.good, "refuted": colours.bad}.get(statement.verdict, colours.faint)
    told = ""
    if statement.verdict == "refuted":
        told = f' <span style="color:{colour}">(said {_value(statement.said)}, measured {_value(statement.found)})</span>'
    link = f'<a href="statement:{escape(statement.id)}" title="{escape(tip(statement))}">'
    return f'{link}<span style="color:{colour}">&nbsp;{MARKS[statement.verdict]}</span></a>{told}'


def tip(statement: Statement) -> str:
    """Return a statement's verdict in words."""
    if statement.verdict == "not checkable":
        return f"Not checkable ({statement.rule})."
    values = f"said {_plain(statement.said)}, measured {_plain(statement.found)}"
    return f"{statement.verdict.capitalize()} ({statement.rule}): {values}."


def _value(value) -> str:
    return escape(_plain(value))


def _plain(value) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " ".join(_plain(v) for v in value)
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return "nothing" if value is None else str(value)


def _outdated(turn: Turn, colours: Colours) -> str:
    names = [turn.names[k] for k in turn.names if k in turn.outdated]
    if not names:
        return ""
    return (f'<p style="margin:2px; color:{colours.warn}">Outdated: {escape(", ".join(names))} '
            f'{"was" if len(names) == 1 else "were"} changed by hand after this was said.</p>')


def _notes(turn: Turn, colours: Colours) -> str:
    shown = {"error": colours.bad, "warning": colours.warn, "info": colours.faint}
    return "".join(f'<p style="margin:2px; color:{shown[n.level]}">{escape(n.sentence)}'
                   + (f' <span style="color:{colours.faint}">{escape(n.hint)}</span>' if n.hint else "") + "</p>"
                   for n in turn.notes)


def _state(turn: Turn, colours: Colours) -> str:
    words = {WAITING: "Waiting.", RUNNING: "Looking …" if not turn.text else "…",
             DONE: f"{turn.seconds:.1f} s", STOPPED: "Stopped. What was found so far stays.", FAILED: "Not answered."}[turn.state]
    return f'<p style="margin:2px; color:{colours.faint}; font-size:small">{words}</p>'
