"""Is it there? Present objects are found, objects outside the scan and words that name nothing known get no mask.

*Outside* comes from geometry: mandible, brainstem and parotids asked of a thorax, and scans cropped at least 15 mm beyond an
object. *Erased* objects (lungs, parotids) were filled in from their neighbourhood: nobody's organ was removed, so what is said of
them is a hint and no proof of how truly absent organs are answered. *Unsupported* are nouns that no training text holds.
"""
from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np
import torch

from ctreasoner.appearance.wording import spoken
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.engine import Engine
from ctreasoner.evaluation import trust
from ctreasoner.evaluation.asking import Found, ask, not_present
from ctreasoner.evaluation.scans import ABOVE_THORAX, LEAST_MM, RANGE_ONLY, Scan, part
from ctreasoner.evaluation.scores import share
from ctreasoner.geometry import Volume
from ctreasoner.training import augment, phrases
from ctreasoner.training.sampling import ERASABLE

FRAMES = ("segment the {x}", "where is the {x}?", "outline the {x}", "describe the {x}")


def beyond(scan: Scan) -> Iterator[tuple[Volume, str, str]]:
    """(scan, object, how) of what surely lies outside."""
    if scan.source == "segthor":
        for key in ABOVE_THORAX:
            yield scan.volume, key, "other region"
    for key in scan.present:
        if (scan.source, key) not in RANGE_ONLY and (cropped := scan.without(key)) is not None:
            yield cropped, key, "cropped"
    if scan.source == "openkbp" and "mandible" in scan.present:
        low = scan.truth("mandible").first[2]
        if (scan.volume.shape[2] - low) * scan.volume.spacing[2] >= LEAST_MM:
            head = part(scan.volume, low, scan.volume.shape[2])
            for key in ("heart", "aorta"):
                yield head, key, "other region"


def erased(scan: Scan) -> Iterator[tuple[Volume, str, str]]:
    """(scan, object, how): each lung or parotid of a scan filled in as training does it, with a seed of its own."""
    for key in (k for k in ERASABLE if k in scan.present):
        rng = np.random.default_rng(zlib.crc32(f"{scan.id} {key}".encode()))
        mask = torch.from_numpy((scan.labels == OBJECTS.index(key) + 1).astype(np.float32))
        filled = augment.erase(torch.from_numpy(scan.volume.voxels.astype(np.float32)), mask, rng)
        yield Volume(filled.round().short().numpy(), scan.volume.affine, name=scan.volume.name), key, "erased"


def absent_rows(engine: Engine, scan: Scan) -> list[dict]:
    """One row for each object that lies outside a scan or a crop of it, or that was erased."""
    rows = []
    for volume, key, how in (*beyond(scan), *erased(scan)):
        outcome = ask(engine, volume, f"segment the {spoken(engine.vocabulary.display(key))}", until=not_present)
        found = outcome.of(key) or Found("", key)
        rows.append({"source": scan.source, "patient": scan.patient, "object": key, "how": how, "state": found.state or "not asked",
                     "probability": found.probability, "present": found.present, "box": found.head_box is not None,
                     "mask_voxels": found.mask.voxels})
        if volume is not scan.volume:
            engine.forget(volume.identity)
    return rows


def unsupported_rows(engine: Engine, volume: Volume, limit: int | None = None) -> list[dict]:
    """Nouns that training never saw: what the model takes them for. Those taken for a known object are asked to the end."""
    engine.register(volume)
    speaker, whole, rows = engine.speaker, engine.eyes.whole(volume), []
    nouns = [(group, word) for (group, split), words in phrases.nouns().items() if split == "heldout" for word in words]
    nouns = nouns[::max(1, len(nouns) // limit)][:limit] if limit else nouns
    for n, (group, word) in enumerate(nouns):
        text = FRAMES[n % len(FRAMES)].format(x=word)
        thought = speaker.think(speaker.processor.question(text), whole, [], {}, 12)
        taken = [o.key for o in thought.plan.objects if o.key is not None]
        asked = _asked(speaker, text, thought)
        answered = ask(engine, volume, text, until=not_present) if taken else None
        masks = answered.masks if answered else 0
        present = max((o.present or 0.0 for o in answered.objects), default=0.0) if answered else 0.0
        rows.append({"group": group, "text": text, "taken_for": taken, "declined": not thought.plan.objects,
                     "masks": masks, "present": present,
                     "pointed_right": asked == word if asked is not None else None})
    return rows


def _asked(speaker, text: str, thought) -> str | None:
    """The words that an unsupported object points at, or None where none was pointed at."""
    offsets = speaker.processor.question(text).offsets
    for o in thought.plan.objects:
        if o.key is None and o.number in thought.asked:
            first, last = thought.asked[o.number]
            return text[offsets[first][0]:offsets[last][1]].strip(" .,;:?!\"'")
    return None


def summarise(segmented: list[dict], absent: list[dict], nouns: list[dict]) -> dict:
    """The rates of the page; `segmented` are the rows of the segmentation, whose objects are all present."""
    present = [r for r in segmented if r["source"] != "demo"]
    outside, filled = [r for r in absent if r["how"] != "erased"], [r for r in absent if r["how"] == "erased"]
    out = {"present_found": share(sum(r["state"] == "present" for r in present), len(present)),
           "outside_said": share(sum(r["state"] == "outside" for r in outside), len(outside)),
           "outside_not_present": share(sum(r["state"] != "present" for r in outside), len(outside)),
           "erased_said": share(sum(r["state"] == "absent" for r in filled), len(filled)),
           "erased_not_present": share(sum(r["state"] != "present" for r in filled), len(filled)),
           "nouns_unsupported": share(sum(not r["taken_for"] for r in nouns), len(nouns)),
           "nouns_pointed_right": share(sum(bool(r["pointed_right"]) for r in nouns if r["pointed_right"] is not None),
                                        sum(r["pointed_right"] is not None for r in nouns)),
           "false_masks": share(sum(r["mask_voxels"] > 0 for r in outside) + sum(r["masks"] > 0 for r in nouns),
                                len(outside) + len(nouns))}
    for how in ("other region", "cropped"):
        mine = [r for r in outside if r["how"] == how]
        out[f"outside_said, {how}"] = share(sum(r["state"] == "outside" for r in mine), len(mine))
    return out


def trusted(segmented: list[dict], absent: list[dict], nouns: list[dict]) -> dict:
    """AUROC of "it is there" against each kind of not being there; calibration and risk-coverage over present, outside, erased.

    A noun that was declined counts as p = 0 for the AUROC and is left out of the calibration: no probability was given for it.
    """
    yes = [r["present"] for r in segmented if r["source"] != "demo" and r["present"] is not None]
    kinds = {"outside": [r["present"] for r in absent if r["how"] != "erased" and r["present"] is not None],
             "erased": [r["present"] for r in absent if r["how"] == "erased" and r["present"] is not None],
             "unsupported": [r["present"] for r in nouns]}
    out = {"auroc": {name: trust.auroc(np.array(yes + no), np.arange(len(yes) + len(no)) < len(yes)) for name, no in kinds.items()},
           "n": {"present": len(yes), **{name: len(no) for name, no in kinds.items()}}}
    for name, no in (("all", kinds["outside"] + kinds["erased"]), ("outside", kinds["outside"]), ("erased", kinds["erased"])):
        p, truth = np.array(yes + no, float), np.arange(len(yes) + len(no)) < len(yes)
        bins = trust.reliability(p, truth)
        curve = trust.risk_coverage(np.maximum(p, 1 - p), (p >= 0.5) != truth)
        out[name] = {"ece": trust.expected_error(bins), "bins": bins, "risk_coverage": curve, "aurc": trust.area(curve)}
    return out
