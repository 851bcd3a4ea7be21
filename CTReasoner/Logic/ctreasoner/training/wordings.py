"""Sentences for the language model to learn: several wordings of each statement, numbers only as slots.

Nothing of this is used for an answer; it is training data. A text is a list of fragments whose concatenation is the target: plain
words, ``<obj:n>`` (the n-th object of the answer, from 1; later slots belong to it) and ``<slot:name>`` (the names are
those of ``appearance.wording.SLOTS``).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from ctreasoner.appearance.phrases import PHRASES

TOPICS = ("general", "size", "density", "calcification", "shape", "side", "presence", "identify")
STATES = ("present", "absent", "outside", "unsupported", "lost")
MOST_OBJECTS = 12

_TOKEN = re.compile(r"(<(?:slot|obj):[a-z0-9_]+>)")
_TOPIC_OF = {   # which categories a topic speaks of; general speaks of all
    "size": ("size", "extent"), "density": ("density", "homogeneity", "texture"), "calcification": ("calcification",),
    "shape": ("shape", "margin", "spiculation"), "side": (), "presence": (), "identify": ("density", "texture", "shape"),
}


@cache
def _texts() -> dict:
    texts = json.loads((Path(__file__).parent / "texts" / "wordings.json").read_text(encoding="utf-8"))
    return {**texts, "phrases": PHRASES}


def fragments(text: str) -> list[str]:
    """Split a text into words and tokens; joined again they are the text."""
    return [piece for piece in _TOKEN.split(text) if piece]


def object_token(number: int) -> str:
    """``<obj:1>`` for the first object of an answer."""
    return f"<obj:{number}>"


def object_tokens() -> list[str]:
    """Every object token, for the tokenizer."""
    return [object_token(n) for n in range(1, MOST_OBJECTS + 1)]


def reference_kind(obj) -> str | None:
    """What the vocabulary holds the size of an object against: ``segment`` (a width), ``volume`` or None."""
    if obj is None or obj.clickable_only:
        return None
    if obj.size_reference:
        return "segment"
    return "volume" if obj.volume_ml_range and not obj.tubular else None


def compose(rng: random.Random, situation: Mapping) -> list[str]:
    """Say one object in one to three sentences.

    ``situation``: ``key``, ``state`` (:data:`STATES`), ``routes`` (of detect, segment, describe), ``topic`` (:data:`TOPICS`),
    ``categories`` (attribute -> value; those of the topic are all mentioned), ``tubular``, ``cut``, ``clicked``,
    ``reference`` (segment, volume or None, see :func:`reference_kind`), ``number`` (of the object, from 1).
    """
    return fragments(_one(rng, dict(situation), int(situation.get("number", 1))))


def compose_many(rng: random.Random, situations: Sequence[Mapping], topic: str = "general") -> list[str]:
    """Say several objects of one answer, one short sentence each; objects that are only shown share a sentence."""
    sentences: list[str] = []
    shown = [n for n, s in enumerate(situations, 1) if s["state"] == "present" and set(s["routes"]) == {"detect"}]
    if len(shown) > 1:
        words = _pick(rng, "many_detect_one")
        sentences.append(words.replace("{list}", _enumerate([object_token(n) for n in shown])))
    for n, situation in enumerate(situations, 1):
        if len(shown) > 1 and n in shown:
            continue
        sentences.append(_short(rng, dict(situation), n, topic))
    return fragments(" ".join(sentences))


def compose_compare(rng: random.Random, topic: str = "size") -> list[str]:
    """Compare the first two objects of an answer (or of its references) in volume, or in density."""
    first, second = ("compare_density", "compare_denser") if topic == "density" else ("compare_size", "compare_larger")
    text = _pick(rng, first).replace("{a}", object_token(1)).replace("{b}", object_token(2)) + " " + _pick(rng, second)
    return fragments(text)


def compose_refusal(rng: random.Random, kind: str = "question_unsupported") -> list[str]:
    """Say what can be asked instead: ``question_unsupported``, or ``need_click`` for a nodule without a click."""
    if kind == "need_click":
        return fragments(_pick(rng, "need_click"))
    return fragments(_pick(rng, "question_unsupported") + " " + _pick(rng, "ask_instead"))


def phrases(attribute: str, value: str) -> tuple[str, ...]:
    """Every way in which a sentence says a category."""
    return PHRASES[attribute][value]


def lexicon() -> set[str]:
    """Every word that the wordings use, in lower case."""
    found: set[str] = set()

    def walk(node) -> None:
        if isinstance(node, str):
            found.update(re.findall(r"[a-z-]+", re.sub(r"<[^>]*>|\{[^}]*\}", " ", node.lower())))
        elif isinstance(node, dict):
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk({k: v for k, v in _texts().items() if k != "about"})
    return found


# One object

def _one(rng: random.Random, s: dict, n: int) -> str:
    token, state = object_token(n), s["state"]
    if state != "present":
        return _pick(rng, state).replace("{o}", token)
    routes = set(s["routes"])
    if "describe" not in routes:
        return _shown(rng, s, token, routes)
    return _described(rng, s, token)


def _shown(rng: random.Random, s: dict, token: str, routes: set[str]) -> str:
    if s.get("clicked") and s.get("topic") == "identify":
        return _pick(rng, "identify_thing" if s["key"] == "thing" else "identify").replace("{o}", token)
    if "segment" in routes:
        return _pick(rng, "segment").replace("{o}", token)
    if s.get("topic") == "presence":
        return _pick(rng, "present").replace("{o}", token)
    return _pick(rng, "detect_thing" if s["key"] == "thing" else "detect").replace("{o}", token)


def _described(rng: random.Random, s: dict, token: str) -> str:
    topic = s.get("topic") or "general"
    lead = ""
    if topic == "identify" or (s.get("clicked") and topic == "general" and rng.random() < 0.5):
        lead = _pick(rng, "identify_thing" if s["key"] == "thing" else "identify").replace("{o}", token)
    elif topic == "presence":
        lead = _pick(rng, "present").replace("{o}", token)
    facts, closing = _facts(rng, s, topic), _closing(rng, s, topic)
    if not (lead or facts or closing):   # the object has nothing of the kind, say what it has
        facts, closing = _facts(rng, s, "general"), _closing(rng, s, "general")
    said = _sentences(rng, facts, token, bool(lead), 1 if lead or closing else 2)
    return " ".join(part for part in (lead, said, closing) if part)


def _facts(rng: random.Random, s: dict, topic: str) -> list[str]:
    """Predicates in the order they are said: what the topic asks for first."""
    cats = {a: v for a, v in s.get("categories", {}).items() if topic == "general" or a in _TOPIC_OF[topic]}
    if cats.get("extent") == "complete" and topic != "general":
        del cats["extent"]
    said = {a: _phrase(rng, "width" if a == "size" and s.get("tubular") else a, v) for a, v in cats.items()}
    reference, tubular = s.get("reference"), s.get("tubular")
    facts = [said.pop(a) for a in ("texture", "size") if a in said]
    if topic in ("general", "size", "shape") and not reference:
        facts.append(_pick(rng, "measured", _size_measure(s)))
    if topic == "size" and not tubular and not reference and s["key"] == "lung_nodule":
        facts.append(_pick(rng, "measured", "volume"))
    if "density" in said:
        facts.append(said.pop("density"))
    if topic == "density" or (topic == "general" and "density" in cats):
        facts.append(_pick(rng, "measured", "hu"))
    if topic == "density" and rng.random() < 0.3:
        facts.append(_pick(rng, "measured", "spread"))
    if topic == "calcification" and cats.get("calcification") == "present":
        said["calcification"] = _pick(rng, "measured", "calcified")
    if topic == "side":
        facts.append(_pick(rng, "measured", "side"))
    return facts + list(said.values())


def _size_measure(s: dict) -> str:
    if s.get("tubular"):
        return "diameter"
    return "axes" if s["key"] in ("lung_nodule", "thing") else "volume"


def _closing(rng: random.Random, s: dict, topic: str) -> str:
    """The sentence that holds a size against its reference."""
    if topic not in ("general", "size") or not s.get("reference"):
        return ""
    if s.get("cut") and s["reference"] == "volume":
        return ""
    return _pick(rng, "references", s["reference"])


def _sentences(rng: random.Random, facts: list[str], token: str, named: bool, most: int) -> str:
    """Join predicates into at most ``most`` sentences; the first names the object unless a sentence before did."""
    if not facts:
        return ""
    cut = len(facts) if most == 1 or len(facts) < 3 else rng.choice((len(facts) // 2, (len(facts) + 1) // 2))
    if most == 1 and len(facts) > 3:
        cut = (len(facts) + 1) // 2
    groups = [g for g in (facts[:cut], facts[cut:]) if g]
    subject = "It" if named else f"The {token}"
    out = []
    for group in groups:
        out.append(f"{subject} {_enumerate(group)}.")
        subject = "It"
    return " ".join(out)


def _short(rng: random.Random, s: dict, n: int, topic: str) -> str:
    token = object_token(n)
    if s["state"] != "present":
        return _pick(rng, s["state"]).replace("{o}", token)
    if "describe" not in s["routes"] and "segment" not in s["routes"]:
        return _pick(rng, "detect_plain").replace("{o}", token)
    if "describe" not in s["routes"]:
        return _pick(rng, "many_volume").replace("{o}", token)
    if topic == "side":
        return f"The {token} {_pick(rng, 'measured', 'side')}."
    wanted = ("size", "texture", "density") if topic == "general" else _TOPIC_OF[topic]
    chosen = [a for a in wanted if a in s.get("categories", {}) and not (a == "extent" and s["categories"][a] == "complete")][:2]
    facts = [_phrase(rng, "width" if a == "size" and s.get("tubular") else a, s["categories"][a]) for a in chosen]
    measure = {"density": "hu", "calcification": None}.get(topic, "diameter" if s.get("tubular") else "volume")
    if measure:
        facts.insert(1 if facts else 0, _pick(rng, "measured", measure))
    if not facts:
        facts = [_pick(rng, "measured", "volume")]
    return f"The {token} {_enumerate(facts)}."


def _phrase(rng: random.Random, attribute: str, value: str) -> str:
    return rng.choice(PHRASES[attribute][value])


def _pick(rng: random.Random, *path: str) -> str:
    node = _texts()
    for step in path:
        node = node[step]
    return rng.choice(node)


def _enumerate(parts: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``; a part with an 'and' of its own is set off by a comma."""
    if len(parts) == 1:
        return parts[0]
    head = ", ".join(parts[:-1])
    joint = ", and " if any(" and " in p for p in parts) else " and "
    if joint == " and " and len(parts) == 2 and parts[0].startswith("<obj"):
        return f"{parts[0]} and the {parts[1]}"
    if parts[0].startswith("<obj"):
        return ", the ".join(parts[:-1]) + f" and the {parts[-1]}"
    return head + joint + parts[-1]
