"""From the model's words and slots to the text that people read: every number is a slot that a measurement fills.

The words come from the model. This module knows no sentence; it knows how a value is rounded, which unit it has and what stands
where a value could not be measured.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ctreasoner.events import Span

from .attributes import reference_name, references

SLOTS: dict[str, str] = {
    # of the object named last
    "volume": "volume", "mean_hu": "mean_hu", "sd_hu": "sd_hu", "p5_hu": "p5_hu", "p50_hu": "p50_hu", "p95_hu": "p95_hu",
    "long_axis": "long_axis", "short_axis": "short_axis", "equivalent_diameter": "equivalent_diameter", "surface": "surface",
    "diameter_max": "diameter_max", "diameter_median": "diameter_median", "diameter_ascending": "diameter_max_ascending",
    "diameter_arch": "diameter_max_arch", "diameter_descending": "diameter_max_descending",
    "calcified_volume": "calcified_volume", "gas_volume": "gas_volume", "side": "side", "box_size": "",
    # its size against the vocabulary's reference: the segment that comes nearest to its limit, or passes it the most
    "segment": "", "segment_diameter": "", "reference_upper": "", "reference_source": "", "versus_reference": "",
    "reference_volume": "", "volume_source": "", "versus_volume": "",
    # of the first two objects of an answer
    "larger": "", "difference": "", "denser": "", "difference_hu": "",
    # of the scan
    "askable": "",
}
"""Slot name -> the measurement that fills it, empty where it is derived from several facts."""

SEGMENT_WORDS = {
    "diameter_max_ascending": "ascending aorta", "diameter_max_arch": "aortic arch", "diameter_max_descending": "descending aorta",
    "diameter_max_abdominal": "abdominal aorta",
}
_LABELS = {"larger": "Comparison", "difference": "Comparison", "denser": "Comparison", "difference_hu": "Comparison",
           "segment": "Largest diameter", "segment_diameter": "Largest diameter"}
UNITS = {"ml": "ml", "mm": "mm", "mm2": "mm²", "HU": "HU", "%": "%", "1": ""}
_TOKEN = re.compile(r"<(slot|obj):([a-z0-9_]+)>")
_LONGEST_SOURCE = 60


@dataclass(frozen=True, kw_only=True)
class Slot:
    """A filled place in a text. ``ref`` is the id of what it shows; ``measured`` is False when it says why it shows none."""

    name: str
    text: str
    kind: str = "measurement"
    ref: str = ""
    measured: bool = True


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the slots of one object may show. ``measured`` maps measurement names to ``Measured``, ``ids`` to measurement ids."""

    object: str = ""
    display: str = "structure"
    obj: object = None
    measured: Mapping = field(default_factory=dict)
    ids: Mapping[str, str] = field(default_factory=dict)
    box_size_mm: Sequence[float] | None = None


def slot_tokens() -> list[str]:
    """Every slot token, for the tokenizer, in a fixed order."""
    return [f"<slot:{name}>" for name in SLOTS]


def render(pieces: Sequence[str | Slot]) -> tuple[str, list[Span]]:
    """Join words and filled slots; give the text and the spans of its objects and measurements."""
    text, spans = "", []
    for piece in pieces:
        words = piece if isinstance(piece, str) else piece.text
        if isinstance(piece, Slot) and piece.ref:
            spans.append(Span(start=len(text), end=len(text) + len(words), kind=piece.kind, ref=piece.ref))
        text += words
    return text, spans


def fill(fragments: Sequence[str], objects: Sequence[Facts], askable: Sequence[str] = ()) -> list[str | Slot]:
    """Replace the tokens in a model's text by filled slots.

    ``<obj:n>`` is the n-th of ``objects`` (from 1); a slot belongs to the object named last, to the first before any is named.
    ``askable`` are names of what this scan can be asked for. A token that nothing can fill says so; it never disappears.
    """
    pieces: list[str | Slot] = []
    current = objects[0] if objects else Facts()
    for part in split("".join(fragments)):
        token = _TOKEN.fullmatch(part)
        if not token:
            pieces.append(part)
        elif token[1] == "slot":
            pieces.append(fill_slot(token[2], current, objects, askable))
        else:
            number = int(token[2]) if token[2].isdigit() else 0
            current = objects[number - 1] if 0 < number <= len(objects) else Facts()
            pieces.append(Slot(name="obj", text=spoken(current.display), kind="object", ref=current.object))
    return _without_empty_sentences(pieces)


def _without_empty_sentences(pieces: list[str | Slot]) -> list[str | Slot]:
    """Where two and more slots of a sentence could not be measured, the first reason stands for the sentence."""
    sentences: list[list[str | Slot]] = [[]]
    for piece in pieces:
        if isinstance(piece, Slot):
            sentences[-1].append(piece)
            continue
        first, *others = re.split(r"(?<=[.!?])(?= )", piece)
        sentences[-1].append(first)
        sentences += [[other] for other in others]
    out: list[str | Slot] = []
    for sentence in sentences:
        missing = [p for p in sentence if isinstance(p, Slot) and not p.measured]
        if len(missing) > 1:
            space = " " if out else ""
            label = _LABELS.get(missing[0].name, "Size")
            out += [f"{space}{label}: ", missing[0], "."]
        else:
            out += sentence
    return out


def split(text: str) -> list[str]:
    """Words and tokens of a text, in order; joined again they are the text."""
    parts, at = [], 0
    for token in _TOKEN.finditer(text):
        parts += [text[at:token.start()], token[0]]
        at = token.end()
    return [p for p in (*parts, text[at:]) if p]


def fill_slot(name: str, facts: Facts, objects: Sequence[Facts] = (), askable: Sequence[str] = ()) -> Slot:
    """Fill one slot for one object."""
    if name == "askable":
        return Slot(name=name, text=enumerate_words(askable) if askable else "nothing in this scan", measured=bool(askable))
    if name == "box_size":
        if facts.box_size_mm is None:
            return _missing(name, "no box")
        return Slot(name=name, text=" x ".join(f"{v:.0f}" for v in facts.box_size_mm) + " mm", kind="object", ref=facts.object)
    if name == "side":
        found = facts.measured.get("side")
        if found is None or found.value is None:
            return _missing(name, getattr(found, "reason", "") or "no mask")
        return _measured(name, facts, "side", side_words(found.value))
    if SLOTS.get(name):
        return _value(name, facts, SLOTS[name])
    if name in _DERIVED:
        return _DERIVED[name](name, facts, objects)
    return _missing(name, "unknown")


def fillable(facts: Facts, objects: Sequence[Facts] = ()) -> set[str]:
    """Slots that say something of an object: a value, or why just this one could not be measured here.

    Whether a slot makes sense follows from which measurements an object has, never from their values.
    """
    return {name for name in SLOTS if name != "askable" and _says_something(name, facts, objects)}


def _says_something(name: str, facts: Facts, objects: Sequence[Facts]) -> bool:
    if fill_slot(name, facts, objects).measured or SLOTS[name] in facts.measured:
        return True
    held = _DERIVED.get(name) is _against_reference and facts.obj is not None
    return held and any(reference_name(r) in facts.measured for r in references(facts.obj))


def rounded(value: float, unit: str) -> str:
    """Write a value as people read it: three figures for volumes, whole HU and per cent, millimetres to 0.1 below 20."""
    if unit == "ml":
        figures = 2 if abs(value) < 1 else 1 if abs(value) < 100 else 0
    elif unit == "mm":
        figures = 1 if abs(value) < 20 else 0
    else:
        figures = 2 if unit == "1" else 0
    number = f"{value:.{figures}f}"
    if float(number) == 0:
        number = number.lstrip("-")
    return f"{number} {UNITS.get(unit, unit)}".strip()


def side_words(offset_mm: float) -> str:
    """Say on which side of the body's midline something lies; RAS, so the patient's right is positive."""
    if abs(offset_mm) < 10.0:
        return "in the midline"
    return "right of the midline" if offset_mm > 0 else "left of the midline"


def spoken(display: str) -> str:
    """A display name inside a sentence: ``Parotid gland, right`` -> ``right parotid gland``; articles of asked words go."""
    name, _, side = display.strip().partition(", ")
    words = f"{side} {lowered(name)}" if side in ("left", "right") else display.strip()
    words = re.sub(r"^(?:the|a|an|my|his|her|their|both)\s+", "", words, flags=re.IGNORECASE) or "structure"
    return lowered(words)


def lowered(words: str) -> str:
    """Without a capital at the start, unless the word is an abbreviation."""
    return words if words[1:2].isupper() else words[:1].lower() + words[1:]


def short_source(source: str) -> str:
    """The first words of a source, short enough for a sentence and without brackets."""
    first = re.split(r" \(|; |: ", source)[0]
    parts = [p for p in first.split(", ") if not re.match(r"\d+th|widened", p)]
    while len(", ".join(parts)) > _LONGEST_SOURCE and len(parts) > 1:
        parts.pop()
    return ", ".join(parts) + (", widened" if "widened" in source else "")


def enumerate_words(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + f" and {words[-1]}"


def nearest_reference(obj, measured: Mapping) -> tuple[str, dict] | None:
    """The measurement that fills most of its limit, and that reference; None where nothing can be held against a reference."""
    known = [(reference_name(r), r) for r in references(obj)] if obj is not None else []
    known = [(name, r) for name, r in known if name in measured and measured[name].value is not None]
    return max(known, key=lambda pair: measured[pair[0]].value / pair[1]["upper_mm"], default=None)


def _value(slot: str, facts: Facts, name: str) -> Slot:
    found = facts.measured.get(name)
    if found is None or found.value is None:
        return _missing(slot, getattr(found, "reason", "") or "no mask")
    return _measured(slot, facts, name, rounded(found.value, found.unit))


def _measured(slot: str, facts: Facts, name: str, text: str) -> Slot:
    return Slot(name=slot, text=text, ref=facts.ids.get(name, ""))


def _missing(slot: str, reason: str) -> Slot:
    return Slot(name=slot, text=f"not measurable ({reason})", measured=False)


def _against_reference(slot: str, facts: Facts, objects: Sequence[Facts]) -> Slot:
    found = nearest_reference(facts.obj, facts.measured)
    if found is None:
        reasons = [m.reason for n, m in facts.measured.items() if "diameter_" in n and m.value is None and m.reason]
        return _missing(slot, reasons[0] if reasons else "no reference")
    name, reference = found
    value = facts.measured[name]
    text = {
        "segment": SEGMENT_WORDS.get(name, spoken(facts.display)),
        "segment_diameter": _beside(value.value, reference["upper_mm"], value.unit),
        "reference_upper": rounded(reference["upper_mm"], "mm"),
        "reference_source": short_source(reference["source"]),
        "versus_reference": "above" if value.value > reference["upper_mm"] else "below",
    }[slot]
    return _measured(slot, facts, name, text)


def _beside(value: float, limit: float, unit: str) -> str:
    """A value next to its limit: with one more digit where rounding would make them the same."""
    text = rounded(value, unit)
    return f"{value:.1f} {UNITS[unit]}" if text == rounded(limit, unit) and value != limit else text


def _against_range(slot: str, facts: Facts, objects: Sequence[Facts]) -> Slot:
    found, limits = facts.measured.get("volume"), getattr(facts.obj, "volume_ml_range", None)
    if found is None or found.value is None or not limits:
        return _missing(slot, "no reference" if not limits else "no mask")
    low, high = limits
    text = {
        "reference_volume": f"{low:g} to {high:g} ml",
        "volume_source": short_source(facts.obj.volume_source),
        "versus_volume": "below" if found.value < low else "above" if found.value > high else "within",
    }[slot]
    return _measured(slot, facts, "volume", text)


def _between(slot: str, facts: Facts, objects: Sequence[Facts]) -> Slot:
    name, unit = ("volume", "ml") if slot in ("larger", "difference") else ("mean_hu", "HU")
    pair = [o for o in objects[:2] if name in o.measured and o.measured[name].value is not None]
    if len(pair) < 2:
        return _missing(slot, "two objects are needed")
    first, second = (float(rounded(o.measured[name].value, unit).split()[0]) for o in pair)
    if slot.startswith("difference"):
        return Slot(name=slot, text=rounded(abs(first - second), unit), ref=pair[0].ids.get(name, ""))
    most = pair[0] if first >= second else pair[1]
    return Slot(name=slot, text=spoken(most.display), kind="object", ref=most.object)


_DERIVED = {
    **dict.fromkeys(("segment", "segment_diameter", "reference_upper", "reference_source", "versus_reference"), _against_reference),
    **dict.fromkeys(("reference_volume", "volume_source", "versus_volume"), _against_range),
    **dict.fromkeys(("larger", "difference", "denser", "difference_hu"), _between),
}
