"""Makes one .npz per case with unified label numbers, from the compact CT layout (rule-made lungs added) or from a built data set.

    python -m ctreasoner.dataset.prepare ../shared/data/known runs/data
    python -m ctreasoner.dataset.prepare my-data-set runs/data

Needs scipy for the lungs; training afterwards reads the result with numpy alone.
"""
from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from ctreasoner.dataset import known
from ctreasoner.errors import InputError

# The objects that the compact model is trained on, in the order of its code table; label number = index + 1.
OBJECTS = ("esophagus", "heart", "trachea", "aorta", "lung_left", "lung_right", "mandible", "brainstem",
           "parotid_right", "parotid_left", "spinal_cord", "larynx", "lung_nodule")

OBLIQUE = 0.995                 # cosine (6 degrees) of the largest tilt that training takes for straight


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
    if (root / "dataset.json").is_file():
        from_data_set(root, out)
        return
    for line in known.lines(root):
        path = out / f"{line['id']}.npz"
        if path.exists():
            continue
        case = known.load(root, line)
        labels, covered = unify(case)
        whole = {k: line.get(k) for k in ("id", "source", "split", "patient", "spacing_mm", "origin_ras_mm", "ratings", "hu_class")}
        _write(path, case.hu, labels, {**whole, "covered": covered, "cut": list(case.cut)})


def from_data_set(root: Path, out: Path) -> None:
    """Every case of a built data set that covers one of OBJECTS; proposals without a review do not count.

    Raises: InputError where a licence forbids training (CTR-DATA-011, -012), or a scan is oblique (CTR-DATA-032).
    """
    from ctreasoner.dataset.store import DataSet

    data = DataSet.open(root)
    data.require("training")
    for case in data.cases():
        path, covered = out / f"{case.id}.npz", [key for key in case.covered if key in OBJECTS]
        if path.exists() or not covered:
            continue
        affine = np.array(case.affine)
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if np.any(np.diag(affine)[:3] < OBLIQUE * spacing):
            raise InputError(f"{case.id} is oblique to the patient's axes; training reads straight scans.", code="CTR-DATA-032",
                             hint="Resample it along the axes first.")
        found = [label for label in data.labels(case.id) if label.state == "present" and label.key in OBJECTS]
        labels = np.zeros(case.shape, np.uint8)
        for label in sorted(found, key=lambda label: -label.voxels):      # what nests in something larger stays visible
            labels[data.whole_mask(label)] = OBJECTS.index(label.key) + 1
        fold = case.published_split if known.FOLDS.get(case.published_split) == case.split else case.split
        line = {"id": case.id, "source": case.source, "split": fold, "patient": case.patient, "spacing_mm": spacing.tolist(),
                "origin_ras_mm": affine[:3, 3].tolist(), "hu_class": None if case.hu == "trusted" else case.hu,
                "ratings": next((label.ratings for label in found if label.ratings), None),
                "covered": covered, "cut": [label.key for label in found if label.ends in ("cut by scan", "cut by crop")]}
        _write(path, data.volume(case).voxels, labels, line)


def _write(path: Path, hu: np.ndarray, labels: np.ndarray, line: dict) -> None:
    """The line first: a case exists when its .npz does."""
    path.with_suffix(".json").write_text(json.dumps(line))
    part = path.with_suffix(".part")
    with open(part, "wb") as file:
        np.savez(file, hu=hu, labels=labels)
    part.replace(path)


if __name__ == "__main__":
    main(sys.argv[1:])
