"""Medical Segmentation Decathlon and nnU-Net: imagesTr/, labelsTr/ (Va, Ts) and the table of labels in dataset.json."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..schema import safe_name
from . import Found, images, numbered, pair, read_json, source_of, stem

LOOKS_LIKE = "imagesTr/ and labelsTr/ with dataset.json"
PARTS = {"Tr": "train", "Va": "val", "Ts": "test"}


def fits(folder: Path) -> bool:
    return (folder / "imagesTr").is_dir() and (folder / "dataset.json").is_file()


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    content = read_json(folder / "dataset.json")
    source = source_of({**({"licence": content["licence"]} if content.get("licence") else {}), **about},
                       name=str(content.get("name") or folder.name), citation=str(content.get("reference") or ""))
    names = numbered(content.get("labels", {}), "dataset.json")
    yield from parts(folder, source, names)


def parts(folder: Path, source, names: dict[int, str], skip=lambda name: False) -> Iterator[Found]:
    """The cases of every part; a part without a publisher's validation folder leaves the split to the builder."""
    several = (folder / "imagesVa").is_dir()
    for part, split in PARTS.items():
        labelled = {stem(p): p for p in images(folder / f"labels{part}")}
        for ct in images(folder / f"images{part}"):
            name = stem(ct).removesuffix("_0000")
            if skip(name):
                continue
            labels = labelled.get(name)
            published = f"images{part}"
            chosen = "unlabelled" if labels is None else split if several or part == "Ts" else None
            yield Found(safe_name(name), f"{source.name}_{name}", source, f"images{part}/{ct.name}", pair(ct, labels, names),
                        chosen, published)
