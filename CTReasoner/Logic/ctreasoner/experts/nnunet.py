"""What an nnU-Net v2 model folder says of itself: labels, spacing, patch, weights. Reads JSON alone and opens no weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .protocol import ExpertError

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
HINT = "Name the folder that nnU-Net v2 wrote for a trainer, plans and configuration (…__nnUNetPlans__3d_fullres)."


@dataclass(frozen=True)
class ModelFolder:
    """labels : name -> number. spacing_mm, patch_mm : along x, y, z. orientation : how the package read its training images."""

    folder: Path
    labels: dict[str, int]
    spacing_mm: tuple[float, float, float]
    patch_mm: tuple[float, float, float]
    checkpoint: Path
    orientation: str
    licence: str

    @classmethod
    def read(cls, folder: Path) -> ModelFolder:
        dataset, plans = _json(folder / "dataset.json"), _json(folder / "plans.json")
        configuration = folder.name.rpartition("__")[2]
        try:
            channels = list(dataset["channel_names"].values())
            labels = {str(n): v for n, v in dataset["labels"].items() if n not in ("background", "ignore")}
            settings = _inherited(plans["configurations"], configuration)
            spacing = tuple(float(s) for s in settings["spacing"][::-1])
            patch = tuple(float(n) for n in settings["patch_size"][::-1])
            reader = str(plans.get("image_reader_writer") or dataset.get("overwrite_image_reader_writer") or "")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ExpertError(f"dataset.json and plans.json of {folder.name} do not fit together: {error} is missing or wrong.",
                              code="CTR-EXP-011", hint=HINT) from error
        if len(channels) != 1 or str(channels[0]).upper() != "CT":
            raise ExpertError(f"{folder.name} wants {', '.join(map(str, channels))} as its image, not one CT.", code="CTR-EXP-012")
        if len(spacing) != 3 or len(patch) != 3:
            raise ExpertError(f"{folder.name} is no three-dimensional model.", code="CTR-EXP-012")
        if "previous_stage" in settings:
            raise ExpertError(f"{folder.name} is the second stage of a cascade, which cannot stand alone.", code="CTR-EXP-012",
                              hint="Name the folder of its 3d_fullres or 3d_lowres configuration.")
        numbers = list(labels.values())
        if not labels or not all(isinstance(n, int) for n in numbers) or len(set(numbers)) != len(numbers):
            raise ExpertError(f"The labels of {folder.name} are not one whole number for each name.", code="CTR-EXP-013",
                              hint="Models that were trained on regions (several labels for one name) cannot be used yet.")
        return cls(folder, labels, spacing, tuple(s * p for s, p in zip(spacing, patch, strict=True)), _checkpoint(folder),
                   "RAS" if "Reorient" in reader else "LPS", str(dataset.get("licence") or dataset.get("license") or ""))


def _checkpoint(folder: Path) -> Path:
    for fold in sorted(folder.glob("fold_*")):
        for name in CHECKPOINTS:
            if (fold / name).is_file():
                return fold / name
    raise ExpertError(f"{folder.name} holds no weights: there is no fold with {' or '.join(CHECKPOINTS)}.", code="CTR-EXP-010",
                      hint=HINT)


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    settings, seen = dict(configurations[name]), {name}
    while (parent := settings.pop("inherits_from", None)) is not None:
        if parent in seen:
            raise ValueError(parent)
        seen.add(parent)
        settings = {**configurations[parent], **settings}
    return settings


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExpertError(f"{path.parent.name} is no nnU-Net v2 model: it has no {path.name}.", code="CTR-EXP-010",
                          hint=HINT) from error
    except ValueError as error:
        raise ExpertError(f"{path.name} of {path.parent.name} is not JSON.", code="CTR-EXP-011", hint=HINT) from error
    if not isinstance(content, dict):
        raise ExpertError(f"{path.name} of {path.parent.name} is not JSON of an object.", code="CTR-EXP-011", hint=HINT)
    return content
