"""AMOS 2022 as published: imagesTr, imagesVa, labelsTr, labelsVa, dataset.json. Numbers above 500 are MR and stay out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import Found, images, numbered, read_json, source_of
from .decathlon import parts

LOOKS_LIKE = "imagesTr/amos_NNNN.nii.gz with dataset.json"
LAST_CT = 500


def fits(folder: Path) -> bool:
    return (folder / "dataset.json").is_file() and any(p.name.startswith("amos_") for p in images(folder / "imagesTr"))


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    content = read_json(folder / "dataset.json")
    source = source_of({**({"licence": content["licence"]} if content.get("licence") else {}), **about}, name="amos",
                       labels_by="models first, corrected by five radiologists", protocol="AMOS, 15 abdominal organs",
                       citation="Ji et al., AMOS, NeurIPS 2022, arXiv 2206.08023")
    yield from parts(folder, source, numbered(content.get("labels", {}), "dataset.json"), _is_mr)


def _is_mr(name: str) -> bool:
    number = re.fullmatch(r"amos_(\d+)", name)
    return number is not None and int(number[1]) > LAST_CT
