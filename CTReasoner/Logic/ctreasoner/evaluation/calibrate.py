"""Temperature of the existence head and threshold of *present*, fitted on patients set aside for it (`known.SET_ASIDE`).

They are of the training split, and no training sees them. Validation patients are never used.
"""
from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ctreasoner.appearance.wording import spoken
from ctreasoner.dataset import known
from ctreasoner.engine import Engine
from ctreasoner.evaluation import probe, scans
from ctreasoner.evaluation.existence import beyond
from ctreasoner.model.vision import STATES


def collect(engine: Engine, data: Path, say: Callable[[str], None] = lambda _: None, limit: int | None = None) -> list[dict]:
    """Existence logits at view 0 of what is present and of what surely lies outside."""
    rows = []
    for source in ("segthor", "openkbp"):
        for scan in scans.training(data, source, tuple(i for i in known.SET_ASIDE if i.startswith(source))[:limit]):
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
        question = speaker.processor.question(f"segment the {spoken(engine.vocabulary.display(key))}")
        thought = speaker.think(question, whole, [], {}, 1)
    logits = engine.eyes.context(whole, thought.codes[1][None])[0].existence[0, 0]
    return {"patient": patient, "object": key, "state": state, "logits": [round(v, 5) for v in logits.tolist()]}


def fit(rows: list[dict]) -> dict:
    """{temperature, threshold, ...} from logits [n, 4] and true states. The threshold makes recall of the present plus share of
    the outside that is not called present as large as it can be; where several do, it is midway between the outermost."""
    logits = torch.tensor([r["logits"] for r in rows], dtype=torch.float64)
    truth = torch.tensor([STATES.index(r["state"]) for r in rows])
    scales = np.geomspace(0.25, 8.0, 141)
    losses = [float(torch.nn.functional.cross_entropy(logits / s, truth)) for s in scales]
    scale = float(scales[int(np.argmin(losses))])
    p = (logits / scale).softmax(-1)[:, 0].numpy()
    present = truth.numpy() == 0
    threshold = best_threshold(p[present], p[~present]) if present.any() and not present.all() else 0.5
    raw = logits.softmax(-1)[:, 0].numpy()
    return {"temperature": round(scale, 4), "threshold": round(threshold, 4),
            "n_present": int(present.sum()), "n_outside": int((~present).sum()),
            "recall": float((p[present] >= threshold).mean()) if present.any() else None,
            "false_present": float((p[~present] >= threshold).mean()) if (~present).any() else None,
            "ece_before": expected_error(raw, present), "ece_after": expected_error(p, present)}


def best_threshold(yes: np.ndarray, no: np.ndarray) -> float:
    steps = np.unique(np.concatenate([[0.0, 1.0], yes, no]))
    middles = (steps[1:] + steps[:-1]) / 2
    gain = np.array([(yes >= t).mean() + (no < t).mean() for t in middles])
    best = middles[gain >= gain.max() - 1e-9]
    return float((best[0] + best[-1]) / 2)


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
    result = {**fit(rows), "patients": sorted({r["patient"] for r in rows}), "model": engine.model}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result
