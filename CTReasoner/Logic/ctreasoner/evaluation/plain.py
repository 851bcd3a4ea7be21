"""The plain 3D U-Net of `ctreasoner train baseline` on the same patients, by sliding window, scored as every answer is."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from ctreasoner.engine import Engine
from ctreasoner.evaluation import segmentation
from ctreasoner.evaluation.asking import Found
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import Placed, summary
from ctreasoner.model import closer
from ctreasoner.training import baseline


def measure(engine: Engine, weights: Path, scans: Iterable[Scan], say: Callable[[str], None] = lambda _: None) -> dict:
    """{"about": what is known of the training, "rows": as those of the segmentation}. The engine lends its component rules only."""
    net, about = baseline.load(weights)
    rows = []
    for scan in scans:
        logits, view = baseline.segment(net, scan.volume)
        for key in scan.present:
            entry = engine.vocabulary[key]
            values, first = closer.on_grid(logits[baseline.CLASSES.index(key)], view, scan.volume)
            mask = Placed(closer.tidy(values > 0, entry.components, entry.max_components), tuple(int(v) for v in first))
            rows.append({"source": scan.source, "patient": scan.patient, "scan": scan.id, "object": key,
                         "rule_made": key in scan.rule_made,
                         **segmentation.compared(scan, key, Found("", key, state="present", mask=mask))})
        mine = [r for r in rows if r["scan"] == scan.id]
        say(f"{scan.id}: plain U-Net " + ", ".join(f"{r['object']} {r['dice']:.2f}" for r in mine))
    return {"about": {**about, "spacing_mm": baseline.SPACING_MM}, "rows": rows}


def against(plain: list[dict], rows: list[dict]) -> list[dict]:
    """Paired lines per source and object: Dice of the plain net, and what the model has more, with patient intervals."""
    ours = {(r["scan"], r["object"]): r["dice"] for r in rows}
    lines = []
    for source, key in dict.fromkeys((r["source"], r["object"]) for r in plain):
        mine = [r for r in plain if (r["source"], r["object"]) == (source, key)]
        gains = [{"patient": r["patient"], "gain": ours[r["scan"], key] - r["dice"]} for r in mine if (r["scan"], key) in ours]
        lines.append({"source": source, "object": key, "dice": summary(mine, "dice"), "nsd": summary(mine, "nsd"),
                      "hd95_mm": _median(r["hd95_mm"] for r in mine), "gain": summary(gains, "gain")})
    return lines


def _median(values: Iterable[float | None]) -> float | None:
    found = [v for v in values if v is not None]
    return float(np.median(found)) if found else None
