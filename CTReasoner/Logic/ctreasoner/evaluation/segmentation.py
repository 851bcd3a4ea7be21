"""Masks and boxes of answers to typed questions ("segment the aorta"), through the engine's own loop: Dice, surface Dice, HD95,
volume, box overlap and the error of the box's walls.

One row for each object that a patient has. A row whose question was not understood, or whose object was not found, counts
as an overlap of 0. Cord and neck oesophagus are drawn over the treated range only: both masks are compared, and boxes
cut, between its first and last slice.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from statistics import median

from ctreasoner.appearance.wording import spoken
from ctreasoner.engine import Engine
from ctreasoner.evaluation import detection, probe, surfaces
from ctreasoner.evaluation.asking import Found, ask, final_mask, in_voxels
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import Placed, box_iou, dice, summary

SOURCES = {"segthor": "thorax", "openkbp": "head and neck", "demo": "the demo's CT"}
ALL = "all drawn objects"
FAILURE = 0.1           # a Dice below is a failure
# Dice that must be reached without a GPU
FLOOR = {("segthor", "heart"): 0.92, ("segthor", "aorta"): 0.89, ("segthor", "trachea"): 0.88, ("segthor", "esophagus"): 0.71,
         ("demo", "aorta"): 0.80, ("demo", "heart"): 0.75, ("demo", "trachea"): 0.70, ("demo", "esophagus"): 0.55,
         ("openkbp", "mandible"): 0.80, ("openkbp", "brainstem"): 0.75, ("openkbp", "parotid_right"): 0.72,
         ("openkbp", "parotid_left"): 0.72, ("openkbp", "spinal_cord"): 0.65, ("openkbp", "larynx"): 0.58}
# surface Dice: mm that count as the same surface; the neck's voxels are 4 mm wide
TOLERANCE_MM = {"segthor": 2.0, "openkbp": 4.0, "demo": 2.0}


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
    return f"segment the {spoken(engine.vocabulary.display(key))}"


def one(engine: Engine, scan: Scan, key: str) -> dict:
    """One question about one scan, as a row."""
    outcome = ask(engine, scan.volume, question(engine, key), until=final_mask)
    found = outcome.of(key) or Found("", key)
    return {"source": scan.source, "patient": scan.patient, "scan": scan.id, "hu_class": scan.hu_class, "object": key,
            "rule_made": key in scan.rule_made, "understood": outcome.of(key) is not None and len(outcome.objects) == 1,
            "state": found.state or "not asked", "probability": found.probability, "present": found.present, "looks": found.looks,
            "seconds": round(outcome.seconds, 2), "failed": outcome.failed, **compared(scan, key, found)}


def compared(scan: Scan, key: str, found: Found) -> dict:
    """Every figure of one answer's mask and box against the truth."""
    spacing, limits = scan.volume.spacing, scan.slices(key)
    truth, mask, head = scan.truth(key), found.mask, in_voxels(found.head_box, scan.volume)
    if limits is not None:
        mask = mask.between(2, *limits)
        if head is not None:
            head[2] = head[2].clip(limits[0] - 0.5, limits[1] - 0.5)
    walls = 3 if limits is None else 2          # where slices were cut, both boxes end at the cut
    return {"dice": dice(truth, mask), **surface(scan, truth, mask, limits),
            "volume_ml": round(mask.voxels * scan.volume.voxel_ml, 3), "true_ml": round(truth.voxels * scan.volume.voxel_ml, 3),
            **{f"box_iou_{name}": box_iou(box, truth.box()) for name, box in (("head", head), ("mask", mask.box()))},
            **{f"wall_mm_{name}": detection.wall_error(box, truth.box(), spacing, walls)
               for name, box in (("head", head), ("mask", mask.box()))}}


def surface(scan: Scan, truth: Placed, mask: Placed, limits: tuple[int, int] | None = None) -> dict:
    """Surface Dice at the source's tolerance (0 for an empty mask) and HD95 in mm (None for an empty one, which is counted)."""
    far = surfaces.distances(truth, mask, scan.volume.spacing, limits)
    if far is None:
        return {"nsd": 0.0, "hd95_mm": None}
    return {"nsd": far.surface_dice(TOLERANCE_MM[scan.source]), "hd95_mm": far.hausdorff()}


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
    means = {name: summary(rows, name)["mean"] for name in ("box_iou_head", "box_iou_mask", "wall_mm_head", "wall_mm_mask")}
    errors = [(r["volume_ml"] - r["true_ml"]) / r["true_ml"] for r in rows if r["volume_ml"]]
    far = [r["hd95_mm"] for r in rows if r["hd95_mm"] is not None]
    return {"source": source, "object": key, "rule_made": any(r["rule_made"] for r in rows), "dice": summary(rows, "dice"),
            "nsd": summary(rows, "nsd"), "hd95_mm": median(far) if far else None, "empty": len(rows) - len(far),
            "failures": sum(r["dice"] < FAILURE for r in rows), "volume_error": median(map(abs, errors)) if errors else None,
            "volume_bias": median(errors) if errors else None, **means, "floor": FLOOR.get((source, key)),
            "understood": sum(r["understood"] for r in rows), "found": sum(r["state"] == "present" for r in rows),
            "looks": sum(r["looks"] for r in rows) / len(rows)}


def add_precision(lines: list[dict], rows: list[dict], outside: list[dict]) -> None:
    """AP at an overlap of 0.5 for each line, with the boxes of what lies outside as false detections."""
    for line in lines:
        def mine(r: dict, line: dict = line) -> bool:
            return r["source"] == line["source"] and line["object"] in (r["object"], ALL)

        truth = [r for r in rows if mine(r) and (line["object"] != ALL or not r["rule_made"])]
        wrong = [r for r in outside if mine(r)]
        for which in ("head", "mask"):
            line[f"ap_{which}"] = detection.of_rows(truth, wrong, which)
