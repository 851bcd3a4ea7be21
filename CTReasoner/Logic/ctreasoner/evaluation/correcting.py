"""Dice of a given mask before and after clicks: what an imported, faulty outline gains by a correction.

    python -m ctreasoner.evaluation.correcting --data DIR [--body DIR] [--model NAME] [--limit N]

A fault is made from the truth: the quarter beyond a plane of random direction is cut off, and a ball of a quarter of the volume
is added on its border. The user clicks into the middle of the largest error. Named: validation organs under their own keys;
unnamed: the same as "thing"; never trained: organs of the body part that no training label names. Two rows each: what the engine
takes of the model's mask, the change under the click, and all of it.
"""
from __future__ import annotations

import argparse
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np

from ctreasoner import refining
from ctreasoner.conversation import Known
from ctreasoner.engine import Engine
from ctreasoner.evaluation import scans
from ctreasoner.evaluation.asking import ask, final_mask
from ctreasoner.evaluation.clicks import never_trained, next_click, truth_of
from ctreasoner.evaluation.scores import array_dice
from ctreasoner.events import Click, Request
from ctreasoner.model import closer
from ctreasoner.reasoner import model_folder

MOST = 3
_TALKS = itertools.count(1)


def faulty(truth: np.ndarray, spacing: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask with a quarter cut off and a ball of a quarter of the volume added at its border."""
    from scipy import ndimage

    places = np.argwhere(truth)
    along = (places * spacing) @ rng.normal(size=3)
    mask = truth.copy()
    mask[tuple(places[along > np.quantile(along, 0.75)].T)] = False
    border = np.argwhere(mask & truth & ~ndimage.binary_erosion(truth))
    radius = max(6.0, (len(places) * float(np.prod(spacing)) / 4 * 3 / 4 / np.pi) ** (1 / 3))
    axes = np.ogrid[tuple(slice(0, n) for n in truth.shape)]
    middle = border[rng.integers(len(border))]
    return mask | (sum(((a - m) * s) ** 2 for a, m, s in zip(axes, middle, spacing, strict=True)) <= radius ** 2)


def session(engine: Engine, scan: scans.Scan, key: str, truth: np.ndarray, mask: np.ndarray) -> list[float]:
    """Dice before, and after each click; a click is made where the largest error is."""
    talk, volume = f"correcting {next(_TALKS)}", scan.volume
    crop, first = closer.trimmed(mask, np.zeros(3, int))
    request = Request(volume=engine.register(volume), text="-", conversation=talk)
    engine.conversation(request).earlier["a1.o1"] = Known("a1.o1", 0, key, key, mask=crop, first_voxel=first, given=True)
    dices = [array_dice(mask, truth)]
    for _ in range(MOST):
        voxel, positive = _error(truth, mask, volume.spacing)
        click = Click(point_ras=tuple(map(float, volume.index_to_world([voxel])[0])), positive=positive, target="a1.o1")
        outcome = ask(engine, volume, until=final_mask, conversation=talk, clicks=(click,))
        found = outcome.objects[0].mask
        mask = np.zeros(volume.shape, bool)
        mask[tuple(slice(a, a + n) for a, n in zip(found.first, found.crop.shape, strict=True))] = found.crop
        dices.append(array_dice(mask, truth))
    return dices


def _error(truth: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> tuple[tuple[int, int, int], bool]:
    """`next_click`, in the time that the object takes and not the scan."""
    places = np.argwhere(truth | mask)
    low = np.maximum(places.min(0) - 1, 0)
    where = tuple(slice(a, b + 2) for a, b in zip(low, places.max(0), strict=True))
    voxel, positive = next_click(truth[where], mask[where], spacing)
    return tuple(int(a + b) for a, b in zip(voxel, low, strict=True)), positive


def cases(data: Path, body: Path | None, limit: int | None) -> Iterator[tuple[str, scans.Scan, str, str]]:
    """(kind, scan, organ, key by which the engine knows it)."""
    for source in ("segthor", "openkbp"):
        for scan in scans.validation(data, source, limit):
            for organ in scan.present:
                if organ not in scan.rule_made and scan.slices(organ) is None:
                    yield "named", scan, organ, organ
                    yield "unnamed", scan, organ, "thing"
    for scan, organ in never_trained(body) if body else ():
        yield "never trained", scan, organ, "thing"


def _all_of_it(known, values, start, clicks, volume):
    return values > 0, start, ()


def main() -> None:
    parser = argparse.ArgumentParser(prog="ctreasoner.evaluation.correcting", description="Dice of faulty masks after clicks.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--body", type=Path)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--limit", type=int, help="patients of each source")
    wish = parser.parse_args()
    engine, rows, last = Engine.from_pretrained(model_folder(wish.model)), {}, None
    for kind, scan, organ, key in cases(wish.data, wish.body, wish.limit):
        if last is not None and last is not scan:
            engine.forget(last.volume.identity)
        last, truth = scan, truth_of(scan, organ)
        mask = faulty(truth, scan.volume.spacing, np.random.default_rng(zlib.crc32(f"{scan.id} {organ}".encode())))
        for name, taken in (("change under the click", refining._changed), ("all of it", _all_of_it)):
            with patch.object(refining, "_changed", taken):
                dices = session(engine, scan, key, truth, mask)
            rows.setdefault((kind, name), []).append(dices)
            print(f"{scan.id} {organ} {kind}, {name}: " + " ".join(f"{d:.3f}" for d in dices), flush=True)  # noqa: T201
    for (kind, name), dices in rows.items():
        print(f"{kind}, {name}, {len(dices)} cases: " + " ".join(f"{d:.3f}" for d in np.mean(dices, 0)))  # noqa: T201


if __name__ == "__main__":
    main()
