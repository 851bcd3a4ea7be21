"""Dice against the number of clicks, with a simulated user: the first click falls anywhere inside the object, each further one
into the middle of the largest error, as including or excluding.

Cases: nodules of the fold that no shipped weights were trained on, and organs of the validation scans clicked as *things* without
a name. Nodule crops end 7 mm beyond the nodule; they are widened by repeating their border voxels, unevenly, so that the nodule
is in the middle of neither crop nor view. Trivial rows answer the same user: a ball of a fixed size, and a growing threshold.
"""
from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from ctreasoner.dataset import known
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.engine import Engine
from ctreasoner.errors import CTReasonerError
from ctreasoner.evaluation import probe
from ctreasoner.evaluation.asking import ask, final_mask
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import array_dice, summary
from ctreasoner.events import Click
from ctreasoner.geometry import Volume

COUNTS = (1, 2, 3, 5)
FOLD = "fold4"
WIDER_MM = 20.0                 # a crop is widened by up to this on each side, at least by half of it
# radius of the trivial ball, and how far from a click the threshold may grow; those of nodules are the best of a few that were
# tried on the training folds (Dice after one click 0.36 and 0.47), those of organs are guesses
BALL_MM, REACH_MM = {"lung_nodule": 4.0, "thing": 20.0}, {"lung_nodule": 8.0, "thing": 60.0}
AROUND_MM = 20.0                # what lies within this of a click are its surroundings
NEVER_TRAINED = ("liver", "spleen", "kidney_right", "kidney_left", "stomach", "pancreas")
Clicks = list[tuple[tuple[int, int, int], bool]]
Predict = Callable[[Clicks], np.ndarray]


# users ------------------------------------------------------------------------------------------------------

def first_click(truth: np.ndarray, rng: np.random.Generator) -> tuple[int, int, int]:
    """Any voxel of the object."""
    places = np.argwhere(truth)
    return tuple(int(v) for v in places[rng.integers(len(places))])


def next_click(truth: np.ndarray, mask: np.ndarray, spacing) -> tuple[tuple[int, int, int], bool] | None:
    """The deepest voxel of the largest connected error, and whether it belongs to the object; None without an error."""
    from scipy import ndimage

    best, size = None, 0
    for wrong, positive in ((truth & ~mask, True), (mask & ~truth, False)):
        parts, count = ndimage.label(wrong)
        if count:
            sizes = np.bincount(parts.ravel())[1:]
            if sizes.max() > size:
                best, size = (parts == 1 + int(sizes.argmax()), positive), int(sizes.max())
    if best is None:
        return None
    depth = ndimage.distance_transform_edt(np.pad(best[0], 1), sampling=spacing)[1:-1, 1:-1, 1:-1]
    return tuple(int(v) for v in np.unravel_index(int(depth.argmax()), depth.shape)), best[1]


def session(predict: Predict, truth: np.ndarray, spacing, rng: np.random.Generator, most: int = max(COUNTS)) -> list[float]:
    """Dice after each click; when nothing is wrong any more the user stops and the last Dice stays."""
    clicks: Clicks = [(first_click(truth, rng), True)]
    dices: list[float] = []
    while len(dices) < most:
        mask = predict(clicks)
        dices.append(array_dice(mask, truth))
        more = next_click(truth, mask, spacing) if len(dices) < most else None
        if more is None:
            break
        clicks = [*clicks, more]
    return dices + [dices[-1]] * (most - len(dices))


# what answers -----------------------------------------------------------------------------------------------

def of_engine(engine: Engine, volume: Volume, key: str) -> Predict:
    """The engine's own loop: the first click asks, the others correct; the plan is given."""
    talk, target = f"clicks {next(_TALKS)}", []

    def predict(clicks: Clicks) -> np.ndarray:
        voxel, positive = clicks[-1]
        point = tuple(float(v) for v in volume.index_to_world([voxel])[0])
        click = Click(point_ras=point, positive=positive, target=target[0] if target else None)
        with probe.given_plan(["segment"], [key]):
            outcome = ask(engine, volume, "" if target else "segment this", until=final_mask, conversation=talk, clicks=(click,))
        if outcome.failed:
            raise CTReasonerError(f"{volume.name}: {outcome.failed}")
        whole = np.zeros(volume.shape, bool)
        for found in outcome.objects[:1]:
            target[:] = [found.id]
            where = tuple(slice(a, a + n) for a, n in zip(found.mask.first, found.mask.crop.shape, strict=True))
            whole[where] = found.mask.crop
        return whole

    return predict


_TALKS = itertools.count(1)


def ball(volume: Volume, asked: str) -> Predict:
    """Balls round the including clicks, without half as large balls round the excluding ones."""
    def predict(clicks: Clicks) -> np.ndarray:
        inside = np.zeros(volume.shape, bool)
        for voxel, positive in clicks:
            if positive:
                inside |= _distance(volume, voxel) <= BALL_MM[asked]
        return _without(volume, inside, clicks, BALL_MM[asked] / 2)
    return predict


def growing(volume: Volume, asked: str) -> Predict:
    """What is connected with an including click above (below, in darker objects) the middle between its HU and that of its
    surroundings, near by; balls round the excluding clicks are left out."""
    from scipy import ndimage

    def grown(voxel) -> np.ndarray:
        distance, own = _distance(volume, voxel), float(volume.voxels[voxel])
        low, high = np.percentile(volume.voxels[distance <= AROUND_MM], [10, 90])
        bright = own - low >= high - own
        middle = (own + (low if bright else high)) / 2
        near = distance <= REACH_MM[asked]
        parts, _ = ndimage.label(near & ((volume.voxels >= middle) if bright else (volume.voxels <= middle)))
        return (parts == parts[voxel]) & (parts > 0)

    def predict(clicks: Clicks) -> np.ndarray:
        inside = np.zeros(volume.shape, bool)
        for voxel, positive in clicks:
            if positive:
                inside |= grown(voxel)
        return _without(volume, inside, clicks, BALL_MM["lung_nodule"] / 2)
    return predict


def _without(volume: Volume, inside: np.ndarray, clicks: Clicks, radius_mm: float) -> np.ndarray:
    for voxel, positive in clicks:
        if not positive:
            inside &= _distance(volume, voxel) > radius_mm
    return inside


def _distance(volume: Volume, voxel) -> np.ndarray:
    axes = [((np.arange(n) - v) * s) ** 2 for n, v, s in zip(volume.shape, voxel, volume.spacing, strict=True)]
    return np.sqrt(axes[0][:, None, None] + axes[1][:, None] + axes[2])


# cases ------------------------------------------------------------------------------------------------------

def nodules(data: Path, limit: int | None = None) -> Iterator[tuple[Scan, str]]:
    """Widened crops of the fold, evenly chosen over its patients when limited."""
    lines = list(known.lines(data, "lidc", FOLD))
    for line in lines if limit is None else lines[:: max(1, len(lines) // max(1, limit))][:limit]:
        yield widened(known.load(data, line)), "lung_nodule"


def widened(case: known.Case) -> Scan:
    """A nodule crop with repeated borders, 10 to 20 mm on each side by a seed of its own."""
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    pad = np.ceil(rng.uniform(WIDER_MM / 2, WIDER_MM, (3, 2)) / case.spacing[:, None]).astype(int)
    affine = np.array(case.affine)
    affine[:3, 3] -= pad[:, 0] * case.spacing
    labels = np.where(np.pad(case.labels, pad) == case.values["lung_nodule"], OBJECTS.index("lung_nodule") + 1, 0).astype(np.uint8)
    return Scan(case.id, "lidc", case.patient, Volume(np.pad(case.hu, pad, mode="edge"), affine, name=case.id), labels,
                ("lung_nodule",))


def things(scans: Iterable[Scan]) -> Iterator[tuple[Scan, str]]:
    """Every object that a person drew in these scans, to be clicked without its name."""
    for scan in scans:
        for key in scan.present:
            if key not in scan.rule_made and scan.slices(key) is None:
                yield scan, key


def never_trained(body: Path) -> Iterator[tuple[Scan, str]]:
    """Organs of the body part's validation patient that no training label names (drawn by a machine, kept where whole)."""
    for line in known.lines(body, split="val"):
        case = known.load(body, line)
        keys = [k for k in NEVER_TRAINED if k in case.covered and (case.labels == case.values[k]).any()]
        labels = np.zeros(case.labels.shape, np.uint8)
        for n, key in enumerate(keys, 1):
            labels[case.labels == case.values[key]] = n
        scan = Scan(case.id, "body", case.patient, Volume(case.hu, case.affine, name=case.id), labels, tuple(keys))
        yield from ((scan, key) for key in keys)


# rows -------------------------------------------------------------------------------------------------------

def measure(engine: Engine, cases: Iterable[tuple[Scan, str]], kind: str, say: Callable[[str], None] = lambda _: None,
            trivial: bool = True) -> list[dict]:
    """One row for each case and each row of the table (the model, and with `trivial` ball and growing threshold)."""
    rows, last = [], None
    for scan, key in cases:
        if last is not None and last is not scan:
            engine.forget(last.volume.identity)
        last, truth = scan, truth_of(scan, key)
        spacing, seed = scan.volume.spacing, zlib.crc32(f"{scan.id} {key}".encode())
        asked = "lung_nodule" if key == "lung_nodule" else "thing"
        answers = {"model": of_engine(engine, scan.volume, asked)}
        if trivial:
            answers |= {"ball": ball(scan.volume, asked), "growing threshold": growing(scan.volume, asked)}
        for name, predict in answers.items():
            dices = session(predict, truth, spacing, np.random.default_rng(seed))
            rows.append({"kind": kind, "row": name, "patient": scan.patient, "case": scan.id, "object": key,
                         "ml": round(float(truth.sum()) * scan.volume.voxel_ml, 3), "dice": [round(d, 4) for d in dices]})
        say(f"{scan.id} {key}: clicks " + " ".join(f"{d:.2f}" for d in rows[-len(answers)]["dice"]))
    if last is not None:
        engine.forget(last.volume.identity)
    return rows


def truth_of(scan: Scan, key: str) -> np.ndarray:
    """The voxels of an object in a scan."""
    names = scan.present if scan.source == "body" else OBJECTS
    return scan.labels == names.index(key) + 1


def summarise(rows: list[dict]) -> list[dict]:
    """One line per kind and row: Dice with intervals at each number of clicks, and the share of cases that each click improves."""
    lines = []
    for kind, name in dict.fromkeys((r["kind"], r["row"]) for r in rows):
        mine = [r for r in rows if (r["kind"], r["row"]) == (kind, name)]
        at = {n: summary([{"patient": r["patient"], "dice": r["dice"][n - 1]} for r in mine], "dice") for n in COUNTS}
        steps = {n: sum(r["dice"][n - 1] > r["dice"][n - 2] for r in mine) / len(mine) for n in range(2, max(COUNTS) + 1)}
        lines.append({"kind": kind, "row": name, "n": len(mine), "dice": {str(n): d for n, d in at.items()},
                      "improved": {str(n): s for n, s in steps.items()}})
    return lines
