"""Decodes the compact CT layout once into one .npz per case with unified label numbers and rule-made lungs.

    python -m ctreasoner.dataset.prepare ../shared/data/known runs/data

Needs scipy for the lungs; training afterwards reads the result with numpy alone.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ctreasoner.dataset import known

# The objects that the compact model is trained on, in the order of its code table; label number = index + 1.
OBJECTS = ("esophagus", "heart", "trachea", "aorta", "lung_left", "lung_right", "mandible", "brainstem",
           "parotid_right", "parotid_left", "spinal_cord", "larynx", "lung_nodule")


def lungs(hu: np.ndarray, spacing: np.ndarray, airway: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rule-made lungs of a thorax cropped to the body: (left, right) boolean [x, y, z], airway left out.

    Air below -500 HU that does not touch the front, back or sides; split in two by eroding until two large parts
    remain; holes (vessels) closed by 6 mm. x grows to the patient's right.
    """
    from scipy import ndimage as ndi

    air = (hu < -500) & ~ndi.binary_dilation(airway, iterations=2)
    labelled, _ = ndi.label(air)
    outside = set(np.unique(labelled[[0, -1]])) | set(np.unique(labelled[:, [0, -1]]))
    air &= ~np.isin(labelled, list(outside))
    core, step = air, 0
    while step < 6:
        parts, n = ndi.label(core)
        sizes = np.bincount(parts.ravel(), minlength=n + 1)[1:]
        big = np.flatnonzero(sizes > 0.15 * max(1, sizes.sum())) + 1
        if len(big) >= 2:
            break
        core, step = ndi.binary_erosion(core), step + 1
    else:
        return np.zeros_like(air), np.zeros_like(air)
    big = big[np.argsort(-sizes[big - 1])][:2]
    seeds = np.where(np.isin(parts, big), parts, 0)
    nearest = ndi.distance_transform_edt(seeds == 0, sampling=spacing, return_distances=False, return_indices=True)
    assigned = np.where(air, seeds[tuple(nearest)], 0)
    xs = {label: np.argwhere(seeds == label)[:, 0].mean() for label in big}
    left, right = sorted(big, key=xs.__getitem__)
    iterations = round(6.0 / spacing.min())
    closed = [ndi.binary_closing(np.pad(assigned == label, iterations), iterations=iterations)
              [iterations:-iterations, iterations:-iterations, iterations:-iterations] for label in (left, right)]
    return closed[0] & ~closed[1] & ~airway, closed[1] & ~airway


def unify(case: known.Case) -> tuple[np.ndarray, list[str]]:
    """Labels in the numbering of OBJECTS, and the objects that this case covers (nested rule-made lungs included)."""
    out = np.zeros(case.labels.shape, np.uint8)
    covered = [name for name in case.covered if name in OBJECTS]
    if case.source == "segthor":
        trachea = case.labels == case.values["trachea"]
        left, right = lungs(case.hu, case.spacing, trachea)
        litres = [float(m.sum() * np.prod(case.spacing) / 1e6) for m in (left, right)]
        if min(litres) > 0.4:                                   # litres; less is a failed split
            out[left], out[right] = OBJECTS.index("lung_left") + 1, OBJECTS.index("lung_right") + 1
            covered += ["lung_left", "lung_right"]
    for name, value in case.values.items():
        if name in OBJECTS:
            out[case.labels == value] = OBJECTS.index(name) + 1
    return out, covered


def main(argv: list[str]) -> None:
    root, out = Path(argv[0]), Path(argv[1])
    out.mkdir(parents=True, exist_ok=True)
    for line in known.lines(root):
        path = out / f"{line['id']}.npz"
        if path.exists():
            continue
        case = known.load(root, line)
        labels, covered = unify(case)
        np.savez(path, hu=case.hu, labels=labels)
        whole = {k: line.get(k) for k in ("id", "source", "split", "patient", "spacing_mm", "origin_ras_mm", "ratings", "hu_class")}
        (out / f"{line['id']}.json").write_text(json.dumps({**whole, "covered": covered, "cut": list(case.cut)}))


if __name__ == "__main__":
    main(sys.argv[1:])
