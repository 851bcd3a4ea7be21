"""Does the closer look help, and why? The same weights and the same plan with other last looks, all of as many voxels.

Arms, for each object of each scan (its plan is given and it counts as present, so that every case counts):

    none       the mask is drawn on the whole scan, seen again in a view of as many voxels as the closer look has
    overview   the mask is drawn on view 0 as it is
    one, two   after one look, or one more round its box, whatever the engine's rule of stopping says
    oracle     the look is round the true box: what is lost to a wrong box
    random     a crop of the same shape and spacing round a random point of the body
    empty      the first look's view, but resampled from view 0's voxels: magnification without new detail

Everything between is the engine's: views from `closer`, tokens of a look to the language model, the code at <SEG>, its mask.
The benefit of detail is *one* minus *empty*; what a better box could still bring is *oracle* minus *one*.
"""
from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import numpy as np

from ctreasoner.appearance.wording import spoken
from ctreasoner.conversation import Known
from ctreasoner.engine import Engine
from ctreasoner.evaluation import probe
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import Placed, dice, summary
from ctreasoner.geometry import View, Volume, body_extent
from ctreasoner.model import closer
from ctreasoner.model.eyes import Faces, Sight, faces

ARMS = ("none", "overview", "one", "two", "oracle", "random", "empty")
LARGE = ("heart", "aorta", "lung_left", "lung_right")
GROUPS = {"thin and small": lambda key: key not in LARGE, "large": lambda key: key in LARGE}
PAIRED = (("one", "none"), ("one", "empty"), ("two", "one"), ("oracle", "one"), ("random", "one"))


class Looker:
    """One object of one scan: its thought, and the masks that different looks give."""

    def __init__(self, engine: Engine, scan: Scan, key: str):
        self.engine, self.scan, self.key = engine, scan, key
        engine.register(scan.volume)
        self.item, self.whole = engine.vocabulary[key], engine.eyes.whole(scan.volume)
        self.known = Known("look", 1, key, self.item.display)
        question = engine.speaker.processor.question(f"segment the {spoken(self.item.display)}")
        with probe.given_plan(["segment"], [key]):
            self.thought = engine.speaker.think(question, self.whole, [], {}, 1)

    def mask(self, *sights: Sight, over: Sight | None = None) -> tuple[Placed, Faces]:
        """The mask drawn on the last of these looks, or without a look on view 0 or another overview; and the box seen there."""
        speaker, eyes = self.engine.speaker, self.engine.eyes
        code, last = speaker.begin(self.thought, 1, self.key), over or self.whole
        for last in sights:
            code = speaker.look(self.thought, last, self.whole)
        context, _ = eyes.context(last, code[None])
        box = faces(context, last.view)
        if sights:                  # <SEG> without a look is never seen in training: view 0 is drawn with the code at <BOX>
            code = speaker.segment(self.thought)
        context, pixels = eyes.context(last, code[None])
        logits, _ = eyes.masks(last, context, pixels, code[None])
        values, first = closer.on_grid(logits[0].numpy(), last.view, self.scan.volume)
        crop = closer.tidy(values > 0, self.item.components, self.item.max_components)
        return Placed(crop, tuple(int(v) for v in first)), box

    def next(self, box: Faces, seen: View) -> View:
        return closer.next_view(box, seen, self.scan.volume, self.item.spacing_floor_mm)

    def score(self, mask: Placed) -> float:
        limits = self.scan.slices(self.key)
        return dice(self.scan.truth(self.key), mask if limits is None else mask.between(2, *limits))


def row(engine: Engine, scan: Scan, key: str) -> dict:
    """Dice of every arm for one object, and how many voxels the first look has."""
    looker, volume, see = Looker(engine, scan, key), scan.volume, engine.eyes.see
    overview, box = looker.mask()
    view = looker.next(box, looker.whole.view)
    budget = int(np.prod(view.shape))
    first = see(volume, view)
    one, box_one = looker.mask(first)
    second = see(volume, looker.next(box_one, view))
    masks = {"overview": overview, "one": one, "two": looker.mask(first, second)[0],
             "none": looker.mask(over=see(volume, View.whole(volume, budget, float(volume.spacing.min()))))[0],
             "oracle": looker.mask(see(volume, around_truth(looker)))[0],
             "random": looker.mask(see(volume, elsewhere(looker, view)))[0],
             "empty": looker.mask(see(Volume(looker.whole.hu, looker.whole.view.affine), view))[0]}
    return {"source": scan.source, "patient": scan.patient, "object": key, "rule_made": key in scan.rule_made, "voxels": budget,
            "spacing_mm": round(view.spacing_mm[0], 2), **{arm: looker.score(masks[arm]) for arm in ARMS}}


def around_truth(looker: Looker) -> View:
    """The view that the true box would give, with the same margin and floor."""
    box = looker.scan.truth(looker.key).box()
    corners = looker.scan.volume.index_to_world(box.T)
    sure = Faces(np.sort(corners.T, axis=1), np.zeros((3, 2)), np.zeros((3, 2)))
    return looker.next(sure, looker.whole.view)


def elsewhere(looker: Looker, view: View) -> View:
    """A view of the same shape and spacing round a random point of the body, seeded by scan and object."""
    rng = np.random.default_rng(zlib.crc32(f"{looker.scan.id} {looker.key}".encode()))
    low, high = body_extent(looker.scan.volume)
    return View(centre_ras=tuple(rng.uniform(low, high)), shape=view.shape, spacing_mm=view.spacing_mm)


def measure(engine: Engine, scans: Iterable[Scan], say: Callable[[str], None] = lambda _: None) -> list[dict]:
    """Rows of all objects of all scans."""
    rows = []
    for scan in scans:
        mine = [row(engine, scan, key) for key in scan.present]
        rows += mine
        say(f"{scan.id}: looks " + ", ".join(f"{r['object']} {r['overview']:.2f} > {r['one']:.2f}" for r in mine))
        engine.forget(scan.volume.identity)
    return rows


def summarise(rows: list[dict]) -> dict:
    """Mean Dice of every arm per source and object, and paired differences with intervals per group of objects."""
    rows = [r for r in rows if not r["rule_made"]]
    lines = [{"source": source, "object": key, "n": len(mine), **{arm: sum(r[arm] for r in mine) / len(mine) for arm in ARMS}}
             for source, key in dict.fromkeys((r["source"], r["object"]) for r in rows)
             if (mine := [r for r in rows if (r["source"], r["object"]) == (source, key)])]
    pairs = []
    for group, belongs in GROUPS.items():
        mine = [r for r in rows if belongs(r["object"]) and r["source"] != "demo"]
        for a, b in PAIRED:
            gains = [{"patient": f"{r['source']} {r['patient']}", "gain": r[a] - r[b]} for r in mine]
            if gains:
                pairs.append({"group": group, "arms": f"{a} - {b}", **summary(gains, "gain")})
    return {"lines": lines, "pairs": pairs, "rows": rows}
