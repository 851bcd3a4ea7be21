"""Left and right: paired organs asked for by side in whole, cropped, mirrored and halved scans.

A question is confused when the mask lies more on the other side's organ than on the asked one, or when the asked side is not in the
scan and the mask shares a voxel with the organ of the other side. A mirrored scan keeps its affine: what was the left organ is the
right one of another person. No mask is no confusion; how often that happens stands beside it.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from ctreasoner.appearance.wording import spoken
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.engine import Engine
from ctreasoner.evaluation.asking import ask, final_mask
from ctreasoner.evaluation.scans import Scan, part
from ctreasoner.evaluation.scores import Placed, share
from ctreasoner.geometry import Volume

PAIRS = (("parotid_left", "parotid_right"), ("lung_left", "lung_right"))
GAP_MM = 12.0           # a halved scan ends this far from the organ of the removed side
KINDS = ("whole", "cropped", "mirrored", "mirrored and cropped", "other side alone")


@dataclass
class Asked:
    """A question by side: `own` and `other` are masks [i, j, k] bool of the asked and the other organ on this volume."""
    kind: str
    key: str
    volume: Volume
    own: np.ndarray
    other: np.ndarray


def questions(scan: Scan) -> Iterator[Asked]:
    """Five questions for each side of each pair that a scan has."""
    for pair in PAIRS:
        if not set(pair) <= set(scan.present):
            continue
        for key, across in (pair, pair[::-1]):
            own, other = (scan.labels == OBJECTS.index(k) + 1 for k in (key, across))
            yield Asked("whole", key, scan.volume, own, other)
            low, high = _middle(own | other)
            yield _cropped("cropped", key, scan.volume, own, other, low, high)
            mirrored = Volume(np.ascontiguousarray(scan.volume.voxels[::-1]), scan.volume.affine, name=scan.volume.name)
            yield Asked("mirrored", key, mirrored, other[::-1], own[::-1])
            yield _cropped("mirrored and cropped", key, mirrored, other[::-1], own[::-1], low, high)
            half = _half(key, scan.volume, own, other)
            if half is not None:
                yield half


def _middle(both: np.ndarray) -> tuple[int, int]:
    """Slices of the pair without the outer fifth on each end."""
    slices = np.flatnonzero(both.any((0, 1)))
    margin = max(1, len(slices) // 5)
    return int(slices[0]) + margin, int(slices[-1]) + 1 - margin


def _cropped(kind, key, volume: Volume, own, other, low: int, high: int) -> Asked:
    return Asked(kind, key, part(volume, low, high), own[:, :, low:high], other[:, :, low:high])


def _half(key: str, volume: Volume, own: np.ndarray, other: np.ndarray) -> Asked | None:
    """The scan with the other side's organ alone; None where the two overlap along the axis."""
    gap = int(np.ceil(GAP_MM / volume.spacing[0]))
    mine, across = (np.flatnonzero(m.any((1, 2))) for m in (own, other))
    low, high = (0, int(mine[0]) - gap) if across.mean() < mine.mean() else (int(mine[-1]) + 1 + gap, volume.shape[0])
    if low > across[0] or high <= across[-1]:
        return None
    affine = np.array(volume.affine)
    affine[:3, 3] = volume.index_to_world([[low, 0, 0]])[0]
    half = Volume(np.ascontiguousarray(volume.voxels[low:high]), affine, name=volume.name)
    return Asked("other side alone", key, half, own[low:high], other[low:high])


def is_confused(mask: Placed, own: np.ndarray, other: np.ndarray) -> bool:
    """The mask shares more voxels with the other organ than with the asked one."""
    where = tuple(slice(a, a + n) for a, n in zip(mask.first, mask.crop.shape, strict=True))
    return int((mask.crop & other[where]).sum()) > int((mask.crop & own[where]).sum())


def measure(engine: Engine, scans: Iterable[Scan], say: Callable[[str], None] = lambda _: None) -> list[dict]:
    """One row for each question by side."""
    rows = []
    for scan in scans:
        for q in questions(scan):
            outcome = ask(engine, q.volume, f"segment the {spoken(engine.vocabulary.display(q.key))}", until=final_mask)
            found = outcome.of(q.key)
            mask = found.mask if found is not None else Placed(np.zeros((0, 0, 0), bool), (0, 0, 0))
            rows.append({"scan": scan.id, "patient": scan.patient, "object": q.key, "kind": q.kind, "answered": mask.voxels > 0,
                         "understood": found is not None, "confused": is_confused(mask, q.own, q.other)})
            if q.volume is not scan.volume:
                engine.forget(q.volume.identity)
        say(f"{scan.id}: {sum(r['confused'] for r in rows if r['scan'] == scan.id)} sides confused")
        engine.forget(scan.volume.identity)
    return rows


def summarise(rows: list[dict]) -> dict:
    out = {"sides_confused": share(sum(r["confused"] for r in rows), len(rows)),
           "sides_answered": share(*(sum(f(r) for r in rows if r["kind"] != "other side alone")
                                     for f in (lambda r: r["answered"], lambda r: True)))}
    return out | {f"sides_confused, {kind}": share(sum(r["confused"] for r in mine), len(mine))
                  for kind in KINDS if (mine := [r for r in rows if r["kind"] == kind])}
