"""The compact CT layout (``dataset.known``): animated AVIF with index.jsonl and SOURCES.json, splits and traps included."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctreasoner.dataset import known
from ctreasoner.dataset.prepare import lungs
from ctreasoner.errors import InputError
from ctreasoner.geometry import Volume

from ..schema import By, Source, safe_name
from . import Drawn, Found, Scan, read_json, with_licence

LOOKS_LIKE = "index.jsonl beside SOURCES.json"
LUNGS_LEAST_ML = 400.0          # less is a split that failed
MACHINE = ("machine", "TotalSegmentator")


def fits(folder: Path) -> bool:
    return (folder / "index.jsonl").is_file() and (folder / "SOURCES.json").is_file()


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    facts = read_json(folder / "SOURCES.json").get("sources", {})
    sources = {name: with_licence(_source(name, entry), about) for name, entry in facts.items()}
    for line in known.lines(folder):
        if line["source"] not in sources:
            raise InputError(f"SOURCES.json says nothing of the source {line['source']}.", code="CTR-DATA-010",
                             hint="Its licence and protocol have to stand there.")
        split = known.split_of(line)
        yield Found(safe_name(line["id"]), line["patient"], sources[line["source"]], line["file"],
                    lambda line=line: _read(folder, line), split, line["split"])


def _source(name: str, entry: dict[str, Any]) -> Source:
    licence = entry.get("data_licence") or ""
    if licence in ("as above", "") or licence.startswith("no separate statement"):
        licence = entry.get("repository_licence", "")
    by = entry.get("labels_by") or ""
    return Source(name=name, licence=licence, citation=entry.get("citation", ""), protocol=entry.get("protocol", ""), labels_by=by,
                  labels_kind="expert" if any(word in by for word in MACHINE) else "person")


def _read(folder: Path, line: dict[str, Any]) -> Scan:
    case = known.load(folder, line)
    trusted = line.get("hu_class") in (None, "fine")
    covered, notes = list(case.covered), [line["notes"]] if line.get("notes") else []
    rule = _lungs(case) if case.source == "segthor" else []
    covered += [drawn.name for drawn in rule]
    return Scan(Volume(case.hu, case.affine, name=case.id), _masks(case, rule), tuple(covered),
                "crop" if line["kind"] == "crop" else "scan", "trusted" if trusted else "approximate", notes=tuple(notes))


def _masks(case: known.Case, rule: list[Drawn]) -> Iterator[Drawn]:
    for name, value in case.values.items():
        mask = case.labels == value
        if mask.any():
            yield Drawn(name, mask, case.affine, case.id, range_only=(case.source, name) in known.RANGE_ONLY,
                        cut_by_crop=name in (case.line.get("cut_by_crop") or ()), ratings=case.line.get("ratings") or (),
                        by=_by_hand(case, name))
    yield from rule


def _by_hand(case: known.Case, name: str) -> By | None:
    """Who drew one class where that differs from the rest of its source."""
    if case.source == "chaos" and name != "liver":
        return By(kind="rule", name="region growing, checked on pictures")
    return None


def _lungs(case: known.Case) -> list[Drawn]:
    left, right = lungs(case.hu, case.spacing, case.labels == case.values["trachea"])
    if min(m.sum() for m in (left, right)) * float(np.prod(case.spacing)) / 1000 < LUNGS_LEAST_ML:
        return []
    by = By(kind="rule", name="dataset.prepare.lungs")
    return [Drawn(name, mask, case.affine, case.id, by=by) for name, mask in (("lung_left", left), ("lung_right", right))]
