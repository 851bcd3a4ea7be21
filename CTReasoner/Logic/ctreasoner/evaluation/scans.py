"""CTs with truth: the validation patients of the compact layout, scans cropped from them, and the demo's CT."""
from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ctreasoner.dataset import known
from ctreasoner.dataset.prepare import OBJECTS, unify
from ctreasoner.errors import InputError
from ctreasoner.evaluation.scores import Placed
from ctreasoner.geometry import Volume

RANGE_ONLY = known.RANGE_ONLY   # scored, and boxes compared, between its first and last slice
ABOVE_THORAX = ("mandible", "brainstem", "parotid_right", "parotid_left")
FAR_MM = 15.0               # a scan that ends this far from an object does not show it
LEAST_MM = 45.0             # a shorter scan is no scan
# classes of the demo's machine-made labels (TotalSegmentator) by our keys
DEMO_LABELS = {"esophagus": 15, "trachea": 16, "heart": 51, "aorta": 52}


@dataclass
class Scan:
    """A CT with what is known about it. `labels` are numbered as OBJECTS (0: background or not covered)."""
    id: str
    source: str
    patient: str
    volume: Volume
    labels: np.ndarray
    present: tuple[str, ...]
    hu_class: str | None = None
    rule_made: tuple[str, ...] = ()           # truth is a rule, no person's outline
    _truth: dict[str, Placed] = field(default_factory=dict, repr=False)

    def truth(self, key: str) -> Placed:
        if key not in self._truth:
            self._truth[key] = Placed.of(self.labels == OBJECTS.index(key) + 1)
        return self._truth[key]

    def slices(self, key: str) -> tuple[int, int] | None:
        """[first, last) labelled slices where an object counts only there, else None."""
        if (self.source, key) not in RANGE_ONLY:
            return None
        box = self.truth(key).box()
        return int(box[2, 0] + 0.5), int(box[2, 1] + 0.5)

    def without(self, key: str) -> Volume | None:
        """The longer part of the scan that ends at least FAR_MM beyond an object, or None where both are too short."""
        first, last = self.truth(key).first[2], self.truth(key).first[2] + self.truth(key).crop.shape[2]
        spacing, n = float(self.volume.spacing[2]), self.volume.shape[2]
        gap = int(np.ceil(FAR_MM / spacing))
        parts = [(0, first - gap), (last + gap, n)]
        low, high = max(parts, key=lambda p: p[1] - p[0])
        return part(self.volume, low, high) if (high - low) * spacing >= LEAST_MM else None


def part(volume: Volume, low: int, high: int) -> Volume:
    """Slices [low, high) of a scan, where they were."""
    affine = np.array(volume.affine)
    affine[:3, 3] = volume.index_to_world([[0, 0, low]])[0]
    return Volume(np.ascontiguousarray(volume.voxels[:, :, low:high]), affine, name=volume.name)


def read(case: known.Case) -> Scan:
    """A case of the compact layout as a scan (lungs of the thorax by rule)."""
    labels, covered = unify(case)
    present = tuple(k for k in covered if (labels == OBJECTS.index(k) + 1).any() and k not in case.cut)
    rule = tuple(k for k in ("lung_left", "lung_right") if k in present and case.source == "segthor")
    return Scan(case.id, case.source, case.patient, Volume(case.hu, case.affine, name=case.id), labels, present,
                case.line.get("hu_class"), rule)


def validation(data: Path, source: str, limit: int | None = None) -> Iterator[Scan]:
    """The validation patients of one source, in file order, one at a time."""
    for n, line in enumerate(known.lines(data, source, "val")):
        if limit is not None and n >= limit:
            return
        yield read(known.load(data, line))


def training(data: Path, source: str, ids: tuple[str, ...]) -> Iterator[Scan]:
    """Named training patients of one source."""
    for line in known.lines(data, source, "train"):
        if line["id"] in ids or line["patient"] in ids:
            yield read(known.load(data, line))


def folder(data: Path | None) -> Path:
    """The folder that holds index.jsonl: `data` or its part `known`."""
    candidates = [Path(data), Path(data) / "known"] if data else [Path("../shared/data/known")]
    for path in candidates:
        if (path / "index.jsonl").is_file():
            return path
    raise InputError(f"There is no index.jsonl in {candidates[0]}: labelled scans in the compact layout are needed.",
                     code="CTR-DATA-001", hint="--data DIR names their folder.")


def demo(say=lambda _: None) -> Scan:
    """The demo's CT with machine-made labels of another protocol (see data sources); never trained on."""
    import nibabel

    from ctreasoner.demo import demo_ct, demo_labels
    from ctreasoner.io import read_volume

    volume = read_volume(demo_ct(say))
    image = nibabel.load(demo_labels(say))
    stored = np.asarray(image.dataobj)
    if stored.shape != volume.shape or not np.allclose(image.affine, volume.affine, atol=1e-2):
        raise InputError("The demo's labels do not lie on the grid of its CT.", code="CTR-IO-221")
    labels = np.zeros(stored.shape, np.uint8)
    for key, value in DEMO_LABELS.items():
        labels[stored == value] = OBJECTS.index(key) + 1
    return Scan("demo", "demo", "LIDC-IDRI-0001", volume, labels, tuple(DEMO_LABELS))
