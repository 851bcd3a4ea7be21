"""FLARE 2022 as published: images/FLARE22_Tr_0001_0000.nii.gz with labels/FLARE22_Tr_0001.nii.gz; unlabelled CTs elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..schema import safe_name
from . import Found, images, pair, source_of, stem

LOOKS_LIKE = "images/FLARE22_Tr_NNNN_0000.nii.gz with labels/"
NAMES = dict(enumerate((
    "liver", "right kidney", "spleen", "pancreas", "aorta", "inferior vena cava", "right adrenal gland", "left adrenal gland",
    "gallbladder", "esophagus", "stomach", "duodenum", "left kidney"), start=1))


def fits(folder: Path) -> bool:
    return any(folder.glob("**/images/FLARE22_*_0000.nii.gz"))


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name="flare22", labels_by="the challenge's annotators, models in the loop",
                       protocol="FLARE 2022, 13 organs",
                       citation="Ma et al., FLARE 2022, Lancet Digital Health 2024, arXiv 2308.05862")
    for ct in sorted(p for p in folder.glob("**/*_0000.nii.gz")):
        name = stem(ct).removesuffix("_0000")
        labels = next((p for p in images(ct.parent.parent / "labels") if stem(p) == name), None)
        yield Found(safe_name(name), f"flare22_{name}", source, f"{ct.parent.name}/{ct.name}", pair(ct, labels, NAMES),
                    None if labels else "unlabelled")
