"""The index of names: which members Slicer's Python-visible Qt classes have in the release."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from pathlib import Path

INDEX = Path(__file__).with_name("slicer_names.json")
_SIGNATURE = re.compile(r"^([^(]+)\((.*)\)(?:->(.*))?$")


@functools.cache
def index() -> dict:
    """The trimmed index, see ``trim_names.py``."""
    return json.loads(INDEX.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Overload:
    """One form of a method or signal: C++ types of its arguments and of its result (``""``: none)."""

    name: str
    types: tuple[str, ...]
    result: str


@functools.cache
def parse(text: str) -> Overload:
    """``name(type,type)->result`` taken apart; commas inside ``<>`` belong to a type."""
    match = _SIGNATURE.match(text)
    if not match:
        raise ValueError(f"{text!r} is no signature: name(types)")
    name, inside, result = match.groups()
    types, depth, start = [], 0, 0
    for place, letter in enumerate(inside + ","):
        depth += (letter == "<") - (letter == ">")
        if letter == "," and depth == 0:
            if inside:
                types.append(inside[start:place])
            start = place + 1
    return Overload(name, tuple(types), result or "")


@dataclass(frozen=True)
class ClassNames:
    """What Python may use of one class, bases not included."""

    name: str
    module: str  # slicer or ctk
    bases: tuple[str, ...]
    constructors: tuple[Overload, ...]  # empty: Python cannot construct it
    properties: dict[str, tuple[str, bool]]  # name -> C++ type, writable
    signals: tuple[str, ...]
    methods: dict[str, tuple[Overload, ...]]
    statics: dict[str, tuple[Overload, ...]]
    enums: dict[str, dict[str, int | None]]
    newer: frozenset[str]  # names of a Slicer newer than the release
    hidden_slots: tuple[str, ...]  # usable as text in a .ui file, not from Python
    in_ui: bool


def _grouped(texts) -> dict[str, tuple[Overload, ...]]:
    groups: dict[str, list[Overload]] = {}
    for text in texts:
        form = parse(text)
        groups.setdefault(form.name, []).append(form)
    return {name: tuple(forms) for name, forms in groups.items()}


@functools.cache
def class_names(name: str) -> ClassNames | None:
    """The entry of a class, or None when the index does not know it."""
    entry = index()["classes"].get(name)
    if entry is None:
        return None
    return ClassNames(
        name=name,
        module=entry["py"],
        bases=tuple(entry["bases"]),
        constructors=tuple(parse(name + form) for form in entry.get("new", ())),
        properties={key: (kind, "w" in access) for key, (kind, access) in entry.get("properties", {}).items()},
        signals=tuple(entry.get("signals", ())),
        methods=_grouped([*entry.get("slots", ()), *entry.get("invokables", ()), *entry.get("decorated", ())]),
        statics=_grouped(entry.get("static", ())),
        enums=entry.get("enums", {}),
        newer=frozenset(entry.get("newer", ())),
        hidden_slots=tuple(entry.get("nonpublic_slots", ())),
        in_ui=bool(entry.get("ui")),
    )


def lineage(name: str) -> list[ClassNames]:
    """A class and its bases that the index knows, nearest first."""
    found, waiting, seen = [], [name], set()
    while waiting:
        entry = class_names(waiting.pop(0))
        if entry is not None and entry.name not in seen:
            seen.add(entry.name)
            found.append(entry)
            waiting.extend(entry.bases)
    return found


def qt_base(name: str) -> str:
    """The first class of Qt's own among the bases, ``""`` when there is none (no QObject)."""
    for entry in lineage(name):
        for base in entry.bases:
            if class_names(base) is None and base.startswith("Q"):
                return base
    return ""


@functools.cache
def module_names() -> dict[str, str]:
    """Lower-cased name -> name, of every module of the release."""
    listed = index()["module_names"]
    names = [name for key in ("loadable", "scripted", "cli", "core", "scripted_helpers") for name in listed[key]]
    names += [name for group in listed["remote"].values() for name in group]
    return {name.lower(): name for name in names}


def newer_mrml() -> dict[str, list[str]]:
    """Class -> names that the slicer-core wheel has and the release has not."""
    return index()["mrml_in_wheel_newer_than_release"]["names"]


def newer_python() -> dict[str, list[str]]:
    """Python module -> names that the wheel's copy has and the release has not."""
    return index()["mrml_in_wheel_newer_than_release"]["python"]
