"""What a model folder says of itself, without torch: its configuration, its files, their hash."""
from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ctreasoner.errors import ModelError

MODEL_TYPE = "ctreasoner"
INDEX = "model.safetensors.index.json"


def read_config(folder: Path) -> dict:
    """config.json as it stands. Raises ModelError when the folder holds no model, or one of another kind."""
    path = Path(folder) / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"There is no model in {Path(folder).name}: config.json is missing.", code="CTR-MODEL-001") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name} of the model {Path(folder).name} cannot be read.", code="CTR-MODEL-002") from error
    if not isinstance(config, dict) or config.get("model_type") != MODEL_TYPE or "vision" not in config:
        raise ModelError(f"The model in {Path(folder).name} is of another kind or version.", code="CTR-MODEL-003",
                         hint="Use a folder written by CTReasonerForConditionalGeneration.save_pretrained.")
    return config


def files(folder: Path) -> list[Path]:
    """The weight files of a folder, in order."""
    folder = Path(folder)
    if (folder / INDEX).is_file():
        try:
            names = sorted(set(json.loads((folder / INDEX).read_text())["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(f"{INDEX} cannot be read.", code="CTR-MODEL-002") from error
        if any(Path(name).name != name for name in names):
            raise ModelError(f"{INDEX} names a file outside its folder.", code="CTR-MODEL-002")
        return [folder / name for name in names]
    return [folder / "model.safetensors"]


def weights_hash(folder: Path) -> str:
    """First 12 hex digits of the SHA-256 over the weight files."""
    digest = hashlib.sha256()
    for path in files(folder):
        try:
            digest.update(path.read_bytes())
        except OSError as error:
            raise ModelError(f"{path.name} of the model is missing.", code="CTR-MODEL-001") from error
    return digest.hexdigest()[:12]
