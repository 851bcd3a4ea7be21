"""The model's own category words, chosen before anything is measured, against what is right for the true mask.

Organs: the rule of each attribute on the true mask of validation scans; grey values of coarse 8-bit scans are not trusted, so
only shape words count there. Nodules: the median word of the radiologists who rated them, from one click. Rows beside the model:
the same rules on the predicted mask; the most frequent word of each attribute and object among these very cases (a blind
guess with the best prior there is); and the model's own words when all that it sees is the patient before.
"""
from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from ctreasoner.appearance.attributes import ATTRIBUTES, accepted, attributes_for, nodule_labels, rule
from ctreasoner.appearance.measure import measure as measured_on
from ctreasoner.appearance.measure import values
from ctreasoner.appearance.wording import spoken
from ctreasoner.dataset import known
from ctreasoner.engine import Engine
from ctreasoner.evaluation import agreement, clicks, probe
from ctreasoner.evaluation.asking import Outcome, ask
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import Placed, share
from ctreasoner.events import Category, Click, Event, Measurement
from ctreasoner.model.closer import touches_border
from ctreasoner.model.eyes import Sight
from ctreasoner.training.categories import ATTENUATION

ORDINAL = ("texture", "margin", "spiculation", "calcification")
ROWS = ("model", "on_mask", "blind", "majority")


def first_measurement(event: Event) -> bool:
    """All categories stand before the first measurement."""
    return isinstance(event, Measurement)


def rules_on(engine: Engine, scan: Scan, key: str, mask: Placed) -> tuple[dict[str, float], bool]:
    """(measurements, whether the scan cuts it) of a mask, as the rules need them."""
    cut = touches_border(mask.crop.shape, mask.first, scan.volume)
    return values(measured_on(mask.crop, mask.first, scan.volume, engine.vocabulary[key], cut)), cut


def rows_of(engine: Engine, scan: Scan, key: str, outcome: Outcome, right: dict[str, str] | None = None) -> list[dict]:
    """One row for each attribute of an answered object; `right` gives the words, else the rules on the true mask do."""
    entry, found = engine.vocabulary[key], outcome.objects[0] if outcome.objects else None
    if found is None or not found.mask.voxels:
        return []
    said = {e.attribute: e.value for e in outcome.events if isinstance(e, Category)}
    on_mask, cut = rules_on(engine, scan, key, found.mask)
    trusted = scan.hu_class in (None, "fine")
    if right is None:
        truth, truth_cut = rules_on(engine, scan, key, scan.truth(key))
        right = {a: rule(a, entry, truth, truth_cut) for a in attributes_for(key) if trusted or a not in ATTENUATION}
    return [{"patient": scan.patient, "object": key, "attribute": a, "truth": word, "model": said.get(a),
             "on_mask": rule(a, entry, on_mask, cut), "accepted": list(accepted(a, entry, on_mask, cut))}
            for a, word in right.items() if word is not None and a in said]


def organs(engine: Engine, scans: Iterable[Scan], say: Callable[[str], None] = lambda _: None) -> list[dict]:
    """Rows of every object of every scan; plans are given. Each is asked again with the picture of the patient before."""
    rows, before = [], None
    for scan in scans:
        regions: dict[str, Tensor] = {}
        for key in scan.present:
            with seen_as(engine, key, regions):
                found = rows_of(engine, scan, key, _described(engine, scan, key))
            if before is not None and key in before.regions:
                with seen_as(engine, key, {}, before):
                    blind = _described(engine, scan, key)
                said = {e.attribute: e.value for e in blind.events if isinstance(e, Category)}
                found = [{**r, "blind": said.get(r["attribute"])} for r in found]
            rows += found
        say(f"{scan.id}: {sum(r['patient'] == scan.patient for r in rows)} words")
        before = Before(engine.eyes.whole(scan.volume), regions)
        engine.forget(scan.volume.identity)
    return rows


def _described(engine: Engine, scan: Scan, key: str) -> Outcome:
    with probe.told(engine, key):
        return ask(engine, scan.volume, f"describe the {spoken(engine.vocabulary.display(key))}", until=first_measurement)


@dataclass(frozen=True)
class Before:
    """What the language model saw of the patient before: view 0, and by key the region [3, 120] that words are chosen from."""
    whole: Sight
    regions: dict[str, Tensor]


@contextmanager
def seen_as(engine: Engine, key: str, regions: dict[str, Tensor], before: Before | None = None) -> Iterator[None]:
    """Keeps the region of an object in `regions`; with `before` all that the language model sees is that patient."""
    speaker = engine.speaker
    visual, choose = speaker._visual, speaker.categories

    def categories(thought, name: str, region: Tensor):
        regions[key] = region
        return choose(thought, name, region if before is None else before.regions[key])

    speaker.categories = categories
    if before is not None:
        speaker._visual = lambda sight, per_axis, whole: visual(before.whole, per_axis, before.whole)
    try:
        yield
    finally:
        speaker.__dict__.pop("_visual", None)
        del speaker.categories


def nodules(engine: Engine, data: Path, limit: int | None, say: Callable[[str], None] = lambda _: None) -> list[dict]:
    """Rows of the nodules that no shipped weights were trained on, from one click in the middle."""
    rows, lines = [], {line["id"]: line for line in known.lines(data, "lidc", clicks.FOLD)}
    for scan, key in clicks.nodules(data, limit):
        truth = scan.labels > 0
        middle, _ = clicks.next_click(truth, np.zeros_like(truth), scan.volume.spacing)
        point = scan.volume.index_to_world([middle])[0]
        with probe.given_plan(["segment"], [key]):
            outcome = ask(engine, scan.volume, "describe this nodule", until=first_measurement,
                          clicks=(Click(point_ras=tuple(float(v) for v in point)),))
        rows += rows_of(engine, scan, key, outcome, nodule_labels(lines[scan.id]))
        engine.forget(scan.volume.identity)
    say(f"{len(rows)} words of nodules")
    return rows


def raters(data: Path) -> dict[str, float | None]:
    """Kappa of one radiologist's word against the median word of the others, over all of the fold's nodules."""
    pairs: dict[str, list[tuple[str, str]]] = {}
    for line in known.lines(data, "lidc", clicks.FOLD):
        for n, mine in enumerate(line["ratings"]):
            others = line["ratings"][:n] + line["ratings"][n + 1:]
            if others:
                alone, median = nodule_labels({"ratings": [mine]}), nodule_labels({"ratings": others})
                for attribute, word in alone.items():
                    pairs.setdefault(attribute, []).append((word, median[attribute]))
    return {a: agreement.kappa(*zip(*mine, strict=True), order=ATTRIBUTES[a]) for a, mine in pairs.items()}


def summarise(rows: list[dict]) -> dict:
    """Macro-F1 of every row, kappa per attribute, and how often a word contradicts the rule on the predicted mask."""
    most = {}
    for r in rows:
        most.setdefault((r["object"], r["attribute"]), Counter())[r["truth"]] += 1
    told = [{"blind": None, **r, "majority": most[r["object"], r["attribute"]].most_common(1)[0][0]} for r in rows]
    lines = []
    for attribute in dict.fromkeys(r["attribute"] for r in told):
        mine = [r for r in told if r["attribute"] == attribute]
        order = ATTRIBUTES[attribute] if attribute in ORDINAL else None
        kappas = {row: agreement.kappa([r["truth"] for r in mine if r[row]], [r[row] for r in mine if r[row]], order)
                  for row in ROWS}
        lines.append({"attribute": attribute, "n": len(mine), "classes": dict(Counter(r["truth"] for r in mine)),
                      "right": sum(r["model"] == r["truth"] for r in mine) / len(mine), "kappa": kappas})
    f1 = {row: agreement.macro_f1([(r["attribute"], r["truth"], r[row]) for r in told if r[row]]) for row in ROWS}
    judged = [r for r in rows if r["accepted"]]
    return {"lines": lines, "macro_f1": {row: v for row, (v, _) in f1.items()}, "classes": f1["model"][1],
            "contradictions": share(sum(r["model"] not in r["accepted"] for r in judged), len(judged))}
