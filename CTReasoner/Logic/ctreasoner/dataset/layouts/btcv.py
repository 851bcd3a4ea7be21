"""BTCV (Synapse syn3193805): Training/img/img0001.nii.gz with Training/label/label0001.nii.gz; dataset_*.json may name a split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..schema import safe_name
from . import Found, images, pair, read_json, source_of, stem

LOOKS_LIKE = "img/imgNNNN.nii.gz with label/labelNNNN.nii.gz"
NAMES = dict(enumerate((
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta", "inferior vena cava",
    "portal vein and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland"), start=1))


def fits(folder: Path) -> bool:
    return any(_parts(folder))


def _parts(folder: Path) -> list[Path]:
    """Folders that hold img/, the labelled ones first."""
    known = (folder, folder / "Training", folder / "RawData" / "Training", folder / "Testing", folder / "RawData" / "Testing")
    return [p for p in known if any(stem(f).startswith("img") for f in images(p / "img"))]


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name="btcv", labels_by="two trained raters, verified by a radiologist",
                       protocol="BTCV abdomen, 13 organs",
                       citation="Landman et al., MICCAI 2015 Multi-Atlas Labeling Beyond the Cranial Vault")
    splits = _splits(folder)
    for part in _parts(folder):
        for ct in images(part / "img"):
            number = stem(ct)[3:]
            labels = next((p for p in images(part / "label") if stem(p) == f"label{number}"), None)
            published = splits.get(stem(ct))
            yield Found(safe_name(f"btcv_{number}"), f"btcv_{number}", source, ct.name, pair(ct, labels, NAMES),
                        (published or None) if labels else "unlabelled", published)


def _splits(folder: Path) -> dict[str, str]:
    """Name of a CT -> train or val, from the lists "training" and "validation" of a dataset*.json."""
    found = {}
    for path in sorted(folder.glob("dataset*.json")):
        content = read_json(path)
        for split, key in (("train", "training"), ("val", "validation")):
            for entry in content.get(key, []):
                found[stem(Path(entry["image"] if isinstance(entry, dict) else entry))] = split
        break
    return found
