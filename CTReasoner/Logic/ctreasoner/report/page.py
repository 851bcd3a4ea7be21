"""report.html: one file that shows everything and loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..events import Cancelled, Done, Event, Failed, Intent, Measurement, Started, Statement, Text, Warning_
from ..experts import anatomy
from ..geometry import Volume
from ..io.files import atomic
from ..version import __version__
from ..vocabulary import Vocabulary
from .pictures import png
from .story import ObjectStory, Row, object_pictures, stories

FILE_NAME = "report.html"
TEMPLATE = Path(__file__).with_name("template.html")
TITLES = {
    "volume": "Volume", "mean_hu": "Mean attenuation", "mean_hu_core": "Mean attenuation, core", "sd_hu": "Standard deviation",
    "p5_hu": "5th percentile", "p50_hu": "Median attenuation", "p95_hu": "95th percentile", "long_axis": "Long axis",
    "short_axis": "Short axis", "diameter_max": "Largest diameter", "diameter_median": "Median diameter",
    "diameter_max_ascending": "Ascending, largest diameter", "diameter_max_arch": "Arch, largest diameter",
    "diameter_max_descending": "Descending, largest diameter", "equivalent_diameter": "Equivalent diameter",
    "calcified_volume": "Calcified volume", "gas_volume": "Gas volume", "sphericity": "Sphericity", "surface": "Surface",
    "share_below_-50": "Share below -50 HU", "share_above_130": "Share above 130 HU", "patchiness_hu": "Patchiness",
    "solid_share": "Solid share", "rim_width": "Width of the rim", "side": "Beside the midline (right positive)",
}  # fmt: skip
FIRST_SHOWN = ("volume", "long_axis", "short_axis", "diameter_max_ascending", "diameter_max_arch", "diameter_max_descending",
               "diameter_max", "diameter_median", "mean_hu", "sd_hu", "calcified_volume")  # fmt: skip
UNITS = {"mm2": "mm²", "1": ""}
DECIMALS = {"mm": 1, "HU": 0, "%": 1, "mm2": 0, "1": 2}
VERDICTS = {"verified": "verified", "refuted": "refuted", "not checkable": "unchecked"}      # verdict -> class of the style
STATES = {"present": "found", "absent": "not in this scan's anatomy", "outside": "outside the scanned region",
          "unsupported": "not something the model knows"}  # fmt: skip


def write_report(events: Iterable[Event], volume: Volume, folder: str | Path, source_note: str = "", *,
                 questions: Mapping[str, str] | None = None, clicks: Mapping[str, Sequence] | None = None,
                 vocabulary: Vocabulary | None = None) -> Path:
    """Write ``report.html`` into ``folder`` from the events of one or several answers; return its path.

    The page is self-contained: pictures are inside it, a content security policy forbids scripts and everything foreign,
    and whatever came from outside (words of the question, names) is escaped.

    Parameters
    ----------
    folder : also where the arrays of the masks lie; a mask whose array is gone is left out.
    source_note : where the CT comes from, with its licence.
    questions, clicks : for each answer's id, the words asked and the RAS points clicked.

    Raises
    ------
    ResourceError : the page cannot be written.
    """
    folder, vocabulary = Path(folder), vocabulary or anatomy.vocabulary()
    turns: dict[str, list[Event]] = {}
    for event in events:
        turns.setdefault(event.answer, []).append(event)
    colours: list[tuple[int, int, int]] = []
    known: dict[str, ObjectStory] = {}
    content = {
        "version": __version__,
        "source_note": source_note,
        "notes": list(volume.notes),
        "scan": _scan(volume),
        "turns": [_turn(answer, found, volume, folder, vocabulary, colours, known, (questions or {}).get(answer, ""),
                        (clicks or {}).get(answer, ())) for answer, found in turns.items()],
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(folder / FILE_NAME) as file:
        file.write(render(content, colours).encode())
    return folder / FILE_NAME


def render(content: Mapping[str, Any], colours: Sequence[tuple[int, int, int]] = (), *, template: Path = TEMPLATE,
           more_style: str = "") -> str:
    """Return the page. Everything in ``content`` is escaped; the style is ours, and its hash stands in the policy."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(loader=FileSystemLoader(template.parent), autoescape=True, undefined=StrictUndefined,
                              trim_blocks=True, lstrip_blocks=True)
    style = TEMPLATE.with_name("style.css").read_text(encoding="utf-8") + more_style
    style += "".join(f"\n.c{n} {{ background: rgb({r}, {g}, {b}); }}" for n, (r, g, b) in enumerate(colours)) + "\n"
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return environment.get_template(template.name).render(style=Markup(style), policy=policy, **content)


# --- what stands in the page -----------------------------------------------------------------------------------------
def _scan(volume: Volume) -> dict[str, str]:
    spacing = " × ".join(f"{v:.3g}" for v in volume.spacing)
    return {"Size": f"{' × '.join(map(str, volume.shape))} voxels", "Voxel": f"{spacing} mm", "Content hash": volume.identity[:16]}


def _expert(story: ObjectStory) -> str:
    """Who drew an object that is not the model's own, and under what licence; else ""."""
    if story.by is None or story.by.kind != "expert":
        return ""
    return f"Drawn by {story.by.name} {story.by.version}; licence of its weights: {story.by.licence}."


def _turn(answer: str, events: Sequence[Event], volume: Volume, folder: Path, vocabulary: Vocabulary,
          colours: list[tuple[int, int, int]], known: dict[str, ObjectStory], question: str,
          clicks: Sequence) -> dict[str, Any]:
    """Return one question and its answer as the template wants it; ``known`` gains the objects of this answer."""
    statements = [event for event in events if isinstance(event, Statement)]
    spans, text = _joined_text(events)
    objects = []
    for story in stories(events, vocabulary, known):
        known[story.id] = story
        colours.append(story.colour)
        rows = object_pictures(story, volume, folder, clicks) if story.state in ("present", "") else []
        objects.append(_object(story, rows, statements, spans, len(colours) - 1))
    started = next((event for event in events if isinstance(event, Started)), None)
    last = next((event for event in reversed(events) if isinstance(event, (Done, Cancelled, Failed))), None)
    return {
        "id": answer,
        "question": question or _asked(events),
        "model": " ".join(str((started.model if started else {}).get(key, ""))[:24] for key in ("name", "hash")).strip(),
        "pieces": _pieces(text, spans, statements),
        "verdicts": {name: sum(s.verdict == name for s in statements) for name in VERDICTS},
        "statements": [_statement(statement, text) for statement in statements],
        "warnings": [(event.sentence, event.hint) for event in events if isinstance(event, Warning_)],
        "failed": (last.sentence, last.hint) if isinstance(last, Failed) else None,
        "unfinished": last is None or isinstance(last, Cancelled),
        "seconds": _seconds(last),
        "objects": objects,
    }


def _asked(events: Iterable[Event]) -> str:
    """Return the words that the model understood, where the question itself is not known."""
    intent = next((event for event in events if isinstance(event, Intent)), None)
    return ", ".join(str(item.get("asked") or item.get("name") or "") for item in intent.objects) if intent else ""


def _seconds(last: Event | None) -> str:
    total = (getattr(last, "timings_s", None) or {}).get("total")
    return f"{total:.1f} s" if total else ""


def _object(story: ObjectStory, rows: Sequence[Row], statements: Sequence[Statement], spans: Sequence[dict[str, Any]],
            colour: int) -> dict[str, Any]:
    table = [_measured(m, _check_of(m, statements, spans)) for m in story.measurements]
    order = {name: n for n, name in enumerate(FIRST_SHOWN)}
    first = sorted((row for row in table if row["name"] in order or row["check"]), key=lambda r: order.get(r["name"], 99))
    return {
        "display": story.display,
        "state": story.state,
        "says": STATES.get(story.state, ""),
        "probability": f"{100 * story.probability:.0f} %" if story.probability is not None else "",
        "colour": f"c{colour}",
        "rows": [_row(row) for row in rows],
        "expert": _expert(story),
        "categories": [(c.attribute.replace("_", " "), c.value.replace("_", " "),
                        "by rule" if c.by.kind == "rule" else f"{100 * c.probability:.0f} %")
                       for c in story.categories],
        "measurements": first or table,
        "more": [row for row in table if row not in first] if first else [],
    }  # fmt: skip


def _row(row: Row) -> dict[str, Any]:
    pictures = [{"alt": p.alt, "data": base64.b64encode(png(p.image)).decode(), "size": p.image.size[0]} for p in row.pictures]
    return {"kind": row.kind, "title": row.title, "caption": row.caption, "pictures": pictures}


def _measured(measured: Measurement, check: Statement | None) -> dict[str, Any]:
    unit = UNITS.get(measured.unit, measured.unit)
    return {
        "name": measured.name,
        "title": TITLES.get(measured.name, measured.name.replace("_", " ").capitalize()),
        "value": f"{number(measured.value, measured.unit)} {unit}".strip(),
        "method": measured.method,
        "check": VERDICTS[check.verdict] if check else "",
        "verdict": check.verdict if check else "",
        "found": _words(check.found) if check else "",
    }


def number(value: float, unit: str) -> str:
    """Return a value with as many decimals as its unit deserves.

    >>> number(123.456, "ml"), number(1.2345, "ml"), number(-12.6, "HU")
    ('123.5', '1.23', '-13')
    """
    decimals = DECIMALS.get(unit, 2 if abs(value) < 10 else 1)
    return f"{value:.{decimals}f}"


def _check_of(measured: Measurement, statements: Sequence[Statement], spans: Sequence[dict[str, Any]]) -> Statement | None:
    """Return the statement that says this measurement: it names it as evidence, or its words hold the filled slot."""
    for statement in statements:
        if measured.id in set(_strings(statement.evidence)):
            return statement
    places = [span for span in spans if span["kind"] == "measurement" and span["ref"] == measured.id]
    for statement in statements:
        if any(statement.start <= place["start"] and place["end"] <= statement.end for place in places):
            return statement
    return None


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)


def _words(value: Any) -> str:
    """Return a JSON value as words for a cell."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_words, value))
    return str(value)


def _statement(statement: Statement, text: str) -> dict[str, str]:
    words = text[statement.start : statement.end].strip() or _words(statement.claim)
    return {"words": words, "class": VERDICTS[statement.verdict], "verdict": statement.verdict,
            "said": _words(statement.said), "found": _words(statement.found)}  # fmt: skip


# --- the text, cut where its meaning changes -------------------------------------------------------------------------
def _joined_text(events: Iterable[Event]) -> tuple[list[dict[str, Any]], str]:
    """Return all spans, counted in the whole text, and the whole text."""
    spans, text = [], ""
    for event in events:
        if isinstance(event, Text):
            spans += [{"start": s.start + len(text), "end": s.end + len(text), "kind": s.kind, "ref": s.ref} for s in event.spans]
            text += event.text
    return spans, text


def _pieces(text: str, spans: Sequence[dict[str, Any]], statements: Sequence[Statement]) -> list[dict[str, str]]:
    """Cut the text where a span or a statement begins or ends; each piece knows its classes and its tooltip."""
    marks = [(s["start"], s["end"], s["kind"], "") for s in spans]
    marks += [(s.start, s.end, VERDICTS[s.verdict], s.verdict) for s in statements]
    marks = [mark for mark in marks if 0 <= mark[0] < mark[1] <= len(text)]
    cuts = sorted({0, len(text), *(mark[0] for mark in marks), *(mark[1] for mark in marks)})
    pieces = []
    for start, end in pairwise(cuts):
        over = [mark for mark in marks if mark[0] <= start and end <= mark[1]]
        pieces.append({"text": text[start:end], "class": " ".join(dict.fromkeys(mark[2] for mark in over)),
                       "title": ", ".join(dict.fromkeys(mark[3] for mark in over if mark[3]))})  # fmt: skip
    return pieces
