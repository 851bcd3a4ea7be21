"""Reads ``CMakeLists.txt`` of scripted modules: what a package holds is what is listed, nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"|#[^\n]*|([()])|([^\s()"#]+)')
OPTIONS = ("SCRIPTS", "RESOURCES", "SUBDIRS", "NAME", "WITH_GENERIC_TESTS", "WITH_SUBDIR", "VERBOSE")


def calls(text: str, folder: Path = Path()) -> list[tuple[str, list[str]]]:
    """Every command of a CMake file with its words; variables of ``set`` and ``file(GLOB...)`` are put in."""
    words = [
        quoted if quoted is not None else (bracket or word)
        for quoted, bracket, word in ((m.group(1), m.group(2), m.group(3)) for m in _TOKEN.finditer(text))
        if quoted or bracket or word
    ]
    found, variables, place = [], {}, 0
    while place < len(words) - 1:
        if words[place + 1] != "(":
            place += 1
            continue
        name, depth, inside, place = words[place].lower(), 1, [], place + 2
        while depth:
            depth += (words[place] == "(") - (words[place] == ")")
            if depth:
                inside.append(words[place])
            place += 1
        inside = [part for word in inside for part in _filled(word, variables)]
        if name == "set" and inside:
            variables[inside[0]] = inside[1:]
        if name == "file" and inside[0] in ("GLOB", "GLOB_RECURSE"):
            variables[inside[1]] = _globbed(folder, inside)
        found.append((name, inside))
    return found


def _globbed(folder, words):
    """Files that ``file(GLOB_RECURSE VARIABLE [CONFIGURE_DEPENDS] RELATIVE source pattern ...)`` finds."""
    patterns = [w for w in words[2:] if w not in ("CONFIGURE_DEPENDS", "RELATIVE") and "CMAKE_CURRENT_SOURCE_DIR" not in w]
    found = []
    for pattern in patterns:
        place = folder / pattern
        hits = place.parent.rglob(place.name) if words[0] == "GLOB_RECURSE" else place.parent.glob(place.name)
        found += [hit.relative_to(folder).as_posix() for hit in hits if hit.is_file()]
    return sorted(set(found))


def _filled(word, variables):
    """A word with its variables; one that is a variable alone becomes its list."""
    alone = re.fullmatch(r"\$\{(\w+)\}", word)
    if alone and alone.group(1) in variables:
        return variables[alone.group(1)]
    return [re.sub(r"\$\{(\w+)\}", lambda m: ";".join(variables.get(m.group(1), [m.group(0)])), word)]


def _options(words):
    groups, key = {}, ""
    for word in words:
        if word in OPTIONS:
            key = word
            groups.setdefault(key, [])
        else:
            groups.setdefault(key, []).append(word)
    return groups


def scripted_module(folder: str | Path) -> dict[str, list[str]]:
    """NAME, SCRIPTS and RESOURCES of ``slicerMacroBuildScriptedModule`` in a folder's CMakeLists.txt.

    Raises FileNotFoundError for a listed file that does not exist, as CMake does, and ValueError without such a call.
    """
    folder = Path(folder)
    for name, words in calls((folder / "CMakeLists.txt").read_text(encoding="utf-8"), folder):
        if name == "slicermacrobuildscriptedmodule":
            options = _options(words)
            scripts = [s if s.endswith(".py") else s + ".py" for s in options.get("SCRIPTS", [])]
            for file in (*scripts, *options.get("RESOURCES", [])):
                if not (folder / file).is_file():
                    raise FileNotFoundError(f"{folder / 'CMakeLists.txt'} lists {file}, which does not exist")
            return {"NAME": options.get("NAME", []), "SCRIPTS": scripts, "RESOURCES": options.get("RESOURCES", [])}
    raise ValueError(f"{folder / 'CMakeLists.txt'} has no slicerMacroBuildScriptedModule")


def installed_copy(folder: str | Path, target: str | Path) -> Path:
    """Copy exactly what CMakeLists.txt lists; returns the module's file in the copy."""
    listed = scripted_module(folder)
    for file in (*listed["SCRIPTS"], *listed["RESOURCES"]):
        place = Path(target) / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(folder) / file, place)
    name = listed["NAME"][0].strip('"') if listed["NAME"] else Path(listed["SCRIPTS"][0]).stem
    return Path(target) / f"{name}.py"
