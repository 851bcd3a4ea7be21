"""`ctreasoner evaluate --benchmark NAME --data DIR`: published data sets in their layout, by a protocol that the page names.

Without ``--recipe`` the engine is asked for each organ by its name, as a user would; an organ that it does not know counts as 0 in
the mean over all, and stands apart in the mean over what it knows. With ``--recipe DIR`` the net of `ctreasoner train --recipe`
answers: 3D by a sliding window, MosMed+ slice by slice. Slices of 8 bits enter here and in the recipes alone.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ctreasoner.dataset import layouts
from ctreasoner.dataset.naming import key_of
from ctreasoner.engine import Engine
from ctreasoner.errors import InputError, UsageError
from ctreasoner.evaluation import surfaces
from ctreasoner.evaluation.asking import ask, final_mask
from ctreasoner.evaluation.page import Rows
from ctreasoner.evaluation.scores import Placed, array_dice, dice, summary
from ctreasoner.model import closer
from ctreasoner.training import recipe

ORGANS = "3D Dice per patient and organ on the CT's own grid; organs that a patient's truth does not hold are left out; surface "\
         "Dice at 2 mm and HD95 beside it"
TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class Protocol:
    """A data set's layout, the split that is read (None: every labelled case), what the page says, and what the gain is held
    against: (words, Dice in points) of others, and the gain in points that the paper reports."""
    layout: str
    split: str | None
    words: str
    others: tuple[tuple[str, float], ...] = ()
    paper: float | None = None


PROTOCOLS = {
    "btcv": Protocol(
        "btcv", "val", f"BTCV, 13 organs, the validation list of dataset_*.json beside the folders. {ORGANS}. At least four "
        "protocols bear this name; figures of 5 folds or of the server are not comparable to a point",
        (("MedNeXt-L k5, 5 folds of the 30 training cases", 85.04), ("nnU-Net, the same", 83.08)), 1.0),
    "mosmed": Protocol(
        "mosmed", "test", "MosMed+ as LViT published it: Test_Folder, 224 x 224 pixels, Dice and IoU per slice, averaged over "
        "slices. Its split is by slice: patients may lie on both sides. The mean over patients stands beside it",
        (("BiCLIP, with the published sentence", 80.80), ("nnU-Net, picture alone", 72.59)), 1.7),
    "amos": Protocol("amos", "val", f"AMOS 2022, CT only (numbers up to 500), imagesVa with labelsVa, 15 organs. {ORGANS}"),
    "flare22": Protocol("flare", None, f"FLARE 2022, every labelled case of the folder, 13 organs. {ORGANS}"),
    "segthor": Protocol(
        "segthor", None, f"SegTHOR, every case with GT, 4 organs. {ORGANS}. **Thirty of these patients trained the shipped "
        "weights**: for unseen ones run `ctreasoner evaluate` on the split of the model card"),
}


def run(engine: Engine | None, name: str, data: Path, out: Path, folder: Path | None = None, limit: int | None = None,
        say: Callable[[str], None] = lambda _: None) -> dict:
    """Measures, writes benchmark-NAME.json and .md to `out`; returns the result. `folder`: of a recipe, which answers instead."""
    from ctreasoner.answer import write_json

    protocol = PROTOCOLS[name]
    found = list(cases(protocol, name, data))
    reader, about = recipe.load(folder) if folder is not None else (None, {})
    if reader is None and name == "mosmed":
        raise UsageError("The engine refuses pictures of 8 bits: MosMed+ is measured with the net of a recipe.", code="CTR-USE-062",
                         hint="ctreasoner train --recipe mosmed --data DIR, then --recipe runs/recipe here.")
    if reader is not None and about["recipe"] != name:
        raise UsageError(f"{folder.name} was trained by the recipe {about['recipe']}, not {name}.", code="CTR-USE-063")
    rows: list[dict] = []
    for case in found[:limit]:
        if name == "mosmed":
            mine = [slice_row(reader, case, about["text"])]
        else:
            scan = recipe.read(case)
            mine = asked(engine, case, scan) if reader is None else drawn(reader, case, scan)
        rows += mine
        say(f"{case.id}: " + ", ".join(f"{r['object']} {r['dice']:.2f}" for r in mine))
    told = {k: about[k] for k in ("text", "step", "seconds", "seed") if k in about}
    result = {"benchmark": name, "protocol": protocol.words, "cases": len(found[:limit]), "of": len(found), "recipe": told,
              "model": None if engine is None else engine.model, "rows": rows}
    out.mkdir(parents=True, exist_ok=True)
    write_json(result, out / f"benchmark-{name}.json")
    (out / f"benchmark-{name}.md").write_text(markdown(result), encoding="utf-8")
    return result


def cases(protocol: Protocol, name: str, data: Path) -> Iterator[layouts.Found]:
    """The labelled cases of the protocol's split; InputError where the folder lies otherwise or has none."""
    layout = layouts.layout(protocol.layout)
    if not data.is_dir() or not layout.fits(data):
        raise InputError(f"{data.name or '--data'} does not lie as {name} is published ({layout.LOOKS_LIKE}).", code="CTR-DATA-020")
    chosen = [c for c in layout.cases(data, layouts.about_of(data)) if c.split != "unlabelled"
              and protocol.split in (None, c.split)]
    if not chosen:
        raise InputError(f"{data.name} names no {protocol.split or 'labelled'} cases.", code="CTR-DATA-043",
                         hint="The published split is needed: dataset_0.json beside Training (BTCV), Train_Folder (MosMed+).")
    yield from chosen


# what answers -----------------------------------------------------------------------------------------------

def asked(engine: Engine, case: layouts.Found, scan: recipe.Scan) -> list[dict]:
    """The engine's own loop, one typed question for each organ that the truth holds."""
    rows = []
    for n, name in enumerate(scan.names, 1):
        if not (scan.labels == n).any():
            continue
        outcome = ask(engine, scan.volume, recipe.question(name), until=final_mask)
        answer = outcome.of(key_of(name))
        knows = (item := engine.vocabulary.get(key_of(name))) is not None and item.key in engine.speaker.processor.names
        rows.append(_row(case, scan, n, answer.mask if answer is not None else _nothing(), knows))
    engine.forget(scan.volume.identity)
    return rows


def drawn(reader: recipe.Reader, case: layouts.Found, scan: recipe.Scan) -> list[dict]:
    """The recipe's net by a sliding window over the body."""
    logits, view = recipe.segment(reader, scan)
    rows = []
    for n in range(1, len(scan.names) + 1):
        if (scan.labels == n).any():
            values, first = closer.on_grid(logits[n - 1].numpy(), view, scan.volume)
            rows.append(_row(case, scan, n, Placed(values > 0, tuple(int(v) for v in first)), True))
    return rows


@torch.inference_mode()
def slice_row(reader: recipe.Reader, case: layouts.Found, text: str) -> dict:
    """One slice of MosMed+; the equal slices of its view are averaged."""
    example = recipe.slice_of(case, text)
    logits, _ = reader(example.hu[None, None], reader.codes(example.texts)[None])
    mask, truth = (logits[0, 0].mean(-1) > 0).numpy(), (example.masks[0, :, :, 0] > 0.5).numpy()
    either = int((mask | truth).sum())
    return {"case": case.id, "patient": case.patient, "object": "lung infection", "known": True, "dice": array_dice(mask, truth),
            "iou": int((mask & truth).sum()) / either if either else 1.0}


def _row(case: layouts.Found, scan: recipe.Scan, number: int, mask: Placed, known: bool) -> dict:
    truth = Placed.of(scan.labels == number)
    far = surfaces.distances(truth, mask, scan.volume.spacing) if mask.voxels else None
    return {"case": case.id, "patient": case.patient, "object": scan.names[number - 1], "known": known, "dice": dice(truth, mask),
            "nsd": far.surface_dice(TOLERANCE_MM) if far else 0.0, "hd95_mm": far.hausdorff() if far else None}


def _nothing() -> Placed:
    return Placed(np.zeros((0, 0, 0), bool), (0, 0, 0))


# the page ---------------------------------------------------------------------------------------------------

def table(rows: list[dict]) -> Rows:
    """One line per object, then the means over objects; Dice in points with intervals over patients."""
    second = "iou" if rows and "iou" in rows[0] else "nsd"
    out: Rows = [("object", "n", "Dice", "95 %", "IoU" if second == "iou" else "surface Dice 2 mm", "HD95 mm", "known")]
    groups = [(name, [r for r in rows if r["object"] == name]) for name in dict.fromkeys(r["object"] for r in rows)]
    groups += [("mean, objects it knows", [r for r in rows if r["known"]]), ("mean, all", rows)] if len(groups) > 1 else []
    for name, mine in groups:
        if not mine:
            out.append((name, "0", "", "", "", "", ""))
            continue
        d, far = summary(mine, "dice"), [r["hd95_mm"] for r in mine if r.get("hd95_mm") is not None]
        spread = "" if d["patients"] < 2 else f"{100 * d['low']:.1f} to {100 * d['high']:.1f}"
        out.append((name, str(len(mine)), f"{100 * d['mean']:.2f}", spread, f"{100 * np.mean([r[second] for r in mine]):.2f}",
                    f"{np.median(far):.1f}" if far else "", "yes" if all(r["known"] for r in mine) else "no"))
    return out


def patient_mean(rows: list[dict]) -> float:
    """Mean over patients of the mean over their rows, in points."""
    by = {p: [r["dice"] for r in rows if r["patient"] == p] for p in dict.fromkeys(r["patient"] for r in rows)}
    return 100 * float(np.mean([np.mean(v) for v in by.values()]))


def markdown(result: dict) -> str:
    """The page: protocol, table, and the distance in points from published figures beside the paper's."""
    rows, protocol, told = result["rows"], PROTOCOLS[result["benchmark"]], result["recipe"]
    who = (f"The net of `ctreasoner train --recipe {result['benchmark']}` ({told['step']} steps, {told['seconds']:.0f} s, seed "
           f"{told['seed']}" + (f", text {told['text']}" if result["benchmark"] == "mosmed" else "") + "); no closer look."
           if told else f"The engine with {result['model']['name']} ({result['model']['hash']}), typed questions.")
    short = "." if result["cases"] == result["of"] else ": **a short form.**"
    lines = [f"# {result['benchmark']}", "", f"Protocol: {result['protocol']}.", "",
             f"{who} {result['cases']} of {result['of']} cases{short}", ""]
    shown = table(rows)
    lines += ["| " + " | ".join(shown[0]) + " |", "|" + "---|" * len(shown[0])]
    lines += ["| " + " | ".join(row) + " |" for row in shown[1:]] + [""]
    lines += [f"Mean over patients: {patient_mean(rows):.2f}.", ""]
    if protocol.others:
        mine = 100 * float(np.mean([r["dice"] for r in rows]))
        lines += ["| held against (their own protocol) | Dice | ours more, points |", "|---|---|---|"]
        lines += [f"| {words} | {points:.2f} | {mine - points:+.2f} |" for words, points in protocol.others]
        lines += ["", f"The paper reports a gain of up to {protocol.paper:+.1f} over the best that it compares with.", ""]
    return "\n".join(lines)
