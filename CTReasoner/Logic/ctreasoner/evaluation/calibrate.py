"""Temperature of the existence head and threshold of *present*, fitted on patients set aside for it.

Set aside: thorax 03, 12, 26, 40 and the first eight whole head-and-neck patients, all of the training split. Validation
patients are never used. **The first weights were trained on every training patient, these included**: on them the head is
surer than it will be on others, so the fit is optimistic (`seen_in_training` in the file says so). A later training that
leaves them out makes the same command honest.
"""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ctreasoner.dataset import known
from ctreasoner.engine import Engine
from ctreasoner.evaluation import probe, scans
from ctreasoner.evaluation.existence import beyond
from ctreasoner.model.vision import STATES

THORAX = ("segthor_03", "segthor_12", "segthor_26", "segthor_40")
NECKS = 8
RECALL = 0.98
HIGHEST = 0.5           # a threshold above it would be fitted to patients that the head may have memorised;
                        # set beforehand: a higher one may only be chosen on patients set aside, not on validation figures


def neck_patients(data: Path) -> tuple[str, ...]:
    """The first eight training patients of the neck whose masks are all whole."""
    whole = [line["id"] for line in known.lines(data, "openkbp", "train") if not line.get("cut_by_crop")]
    return tuple(whole[:NECKS])


def collect(engine: Engine, data: Path, say: Callable[[str], None] = lambda _: None, limit: int | None = None) -> list[dict]:
    """Existence logits at view 0 of what is present and of what surely lies outside."""
    rows = []
    for source, ids in (("segthor", THORAX[:limit]), ("openkbp", neck_patients(data)[:limit])):
        for scan in scans.training(data, source, ids):
            for key in scan.present:
                rows.append(_row(engine, scan.volume, key, "present", scan.patient))
            for volume, key, _ in beyond(scan):
                rows.append(_row(engine, volume, key, "outside", scan.patient))
                if volume is not scan.volume:
                    engine.forget(volume.identity)
            engine.forget(scan.volume.identity)
            say(f"{scan.id}: {sum(r['patient'] == scan.patient for r in rows)} questions")
    return rows


def _row(engine: Engine, volume, key: str, state: str, patient: str) -> dict:
    engine.register(volume)
    speaker, whole = engine.speaker, engine.eyes.whole(volume)
    with probe.given_plan(["segment"], [key]):
        question = speaker.processor.question(f"segment the {engine.vocabulary.display(key).lower()}")
        thought = speaker.think(question, whole, [], {}, 1)
    logits = engine.eyes.context(whole, thought.codes[1][None])[0].existence[0, 0]
    return {"patient": patient, "object": key, "state": state, "logits": [round(v, 5) for v in logits.tolist()]}


def fit(rows: list[dict], recall: float = RECALL) -> dict:
    """{temperature, threshold, ...} from logits [n, 4] and true states."""
    logits = torch.tensor([r["logits"] for r in rows], dtype=torch.float64)
    truth = torch.tensor([STATES.index(r["state"]) for r in rows])
    scales = np.geomspace(0.25, 8.0, 141)
    losses = [float(torch.nn.functional.cross_entropy(logits / s, truth)) for s in scales]
    scale = float(scales[int(np.argmin(losses))])
    p = (logits / scale).softmax(-1)[:, 0].numpy()
    present = truth.numpy() == 0
    lowest = np.sort(p[present])[int(np.floor((1 - recall) * present.sum()))] if present.any() else HIGHEST
    threshold = float(min(HIGHEST, lowest * 0.999))
    raw = logits.softmax(-1)[:, 0].numpy()
    return {"temperature": round(scale, 4), "threshold": round(threshold, 4),
            "n_present": int(present.sum()), "n_outside": int((~present).sum()),
            "recall": float((p[present] >= threshold).mean()) if present.any() else None,
            "false_present": float((p[~present] >= threshold).mean()) if (~present).any() else None,
            "ece_before": expected_error(raw, present), "ece_after": expected_error(p, present)}


def expected_error(p: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Expected calibration error of probabilities against yes and no."""
    total, where = 0.0, np.minimum((p * bins).astype(int), bins - 1)
    for b in range(bins):
        mine = where == b
        if mine.any():
            total += mine.mean() * abs(p[mine].mean() - truth[mine].mean())
    return round(float(total), 4)


def run(engine: Engine, data: Path, out: Path, say: Callable[[str], None] = lambda _: None, limit: int | None = None) -> dict:
    """Writes calibration.json, which `ctreasoner train export --calibration` puts into the model's configuration."""
    rows = collect(engine, data, say, limit)
    result = {**fit(rows), "patients": sorted({r["patient"] for r in rows}), "seen_in_training": True, "model": engine.model}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result
