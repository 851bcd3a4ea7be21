"""Dice and box overlap of answers to typed questions ("segment the aorta"), through the engine's own loop.

One row for each object that a patient has. A row whose question was not understood, or whose object was not found, counts
as an overlap of 0. Cord and neck oesophagus are drawn over the treated range only: both masks are compared, and boxes
cut, between its first and last slice.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext

from ctreasoner.engine import Engine
from ctreasoner.evaluation import probe
from ctreasoner.evaluation.asking import Found, ask, final_mask, in_voxels
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import box_iou, dice, summary

SOURCES = {"segthor": "thorax", "openkbp": "head and neck", "demo": "the demo's CT"}
ALL = "all drawn objects"
# Dice that the first weights must reach on the thorax patients, and what is measured beside it on the demo's CT
FLOOR = {("segthor", "heart"): 0.88, ("segthor", "aorta"): 0.82, ("segthor", "trachea"): 0.82, ("segthor", "esophagus"): 0.58,
         ("demo", "aorta"): 0.75, ("demo", "heart"): 0.72, ("demo", "trachea"): 0.68, ("demo", "esophagus"): 0.50}


def measure(engine: Engine, scans: Iterable[Scan], say: Callable[[str], None] = lambda _: None,
            after: Callable[[Scan], None] | None = None, given: bool = False) -> list[dict]:
    """Rows of all objects of all scans. `after` may ask more of a scan before it is forgotten. With `given` plans are given and
    everything is present: what eyes and codes can do, apart from understanding and existence."""
    rows = []
    for scan in scans:
        for key in scan.present:
            with probe.told(engine, key) if given else nullcontext():
                rows.append(one(engine, scan, key))
        mine = [r for r in rows if r["patient"] == scan.patient]
        say(f"{scan.id}: " + ", ".join(f"{r['object']} {r['dice']:.2f}" for r in mine))
        if after is not None:
            after(scan)
        engine.forget(scan.volume.identity)
    return rows


def question(engine: Engine, key: str) -> str:
    return f"segment the {engine.vocabulary.display(key).lower()}"


def one(engine: Engine, scan: Scan, key: str) -> dict:
    """One question about one scan, as a row."""
    outcome = ask(engine, scan.volume, question(engine, key), until=final_mask)
    found = outcome.of(key) or Found("", key)
    overlap, head, mask = overlaps(scan, key, found)
    return {"source": scan.source, "patient": scan.patient, "scan": scan.id, "hu_class": scan.hu_class, "object": key,
            "rule_made": key in scan.rule_made, "understood": outcome.of(key) is not None and len(outcome.objects) == 1,
            "state": found.state or "not asked", "probability": found.probability, "dice": overlap, "box_iou_head": head,
            "box_iou_mask": mask, "looks": found.looks, "seconds": round(outcome.seconds, 2), "failed": outcome.failed}


def overlaps(scan: Scan, key: str, found: Found) -> tuple[float, float, float]:
    """(Dice, box overlap of the heads' last box, box overlap of the mask's box) with the truth."""
    truth, mask = scan.truth(key), found.mask
    head, limits = in_voxels(found.head_box, scan.volume), scan.slices(key)
    if limits is not None:
        mask = mask.between(2, *limits)
        if head is not None:
            head[2] = head[2].clip(limits[0] - 0.5, limits[1] - 0.5)
    return dice(truth, mask), box_iou(head, truth.box()), box_iou(mask.box(), truth.box())


def summarise(rows: list[dict]) -> list[dict]:
    """One line for each source and object, the mean over objects last; thorax also by the fineness of its grey steps."""
    lines = []
    for source in SOURCES:
        mine = [r for r in rows if r["source"] == source]
        for key in dict.fromkeys(r["object"] for r in mine):
            lines.append(_line(source, key, [r for r in mine if r["object"] == key]))
        drawn = [r for r in mine if not r["rule_made"]]
        if len({r["object"] for r in drawn}) > 1:
            lines.append(_line(source, ALL, drawn))
    return lines


def by_hu_class(rows: list[dict]) -> list[dict]:
    """Mean Dice of the thorax patients by the size of one grey level of their source (fine, medium, coarse)."""
    lines = []
    for name in ("fine", "medium", "coarse"):
        mine = [r for r in rows if r["source"] == "segthor" and r["hu_class"] == name]
        if mine:
            values = {k: [r["dice"] for r in mine if r["object"] == k] for k in dict.fromkeys(r["object"] for r in mine)}
            lines.append({"hu_class": name, "patients": len({r["patient"] for r in mine}),
                          **{k: sum(v) / len(v) for k, v in values.items()}})
    return lines


def quality(lines: list[dict], model: str) -> dict:
    """What `ctreasoner objects` shows beside each object: the mean Dice of the source that validates it."""
    out = {}
    for line in lines:
        new = line["source"] != "demo" and line["object"] not in (*out, ALL)
        if new and line["dice"]["mean"] is not None:
            out[line["object"]] = {"dice": round(line["dice"]["mean"], 3), "low": round(line["dice"]["low"], 3),
                                   "high": round(line["dice"]["high"], 3), "cases": line["dice"]["n"],
                                   "source": f"{SOURCES[line['source']]}, validation patients"
                                             + (" (truth is a rule)" if line["rule_made"] else "")}
    return {"model": model, "objects": out}


def _line(source: str, key: str, rows: list[dict]) -> dict:
    heads, masks = summary(rows, "box_iou_head"), summary(rows, "box_iou_mask")
    return {"source": source, "object": key, "rule_made": any(r["rule_made"] for r in rows), "dice": summary(rows, "dice"),
            "box_iou_head": heads["mean"], "box_iou_mask": masks["mean"], "floor": FLOOR.get((source, key)),
            "understood": sum(r["understood"] for r in rows), "found": sum(r["state"] == "present" for r in rows),
            "looks": sum(r["looks"] for r in rows) / len(rows)}
