"""Loads a model folder: safetensors only, halves one after the other, each problem as one sentence.

The vision half needs torch alone, so the first look can leave while transformers is still being imported for the other.
"""
from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ctreasoner.errors import ModelError
from ctreasoner.model.vision import VisionConfig, VisionModel

if TYPE_CHECKING:
    from ctreasoner.model.config import CTReasonerConfig
    from ctreasoner.model.language import Language
    from ctreasoner.model.processor import CTReasonerProcessor

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


def half(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names start with `prefix`, without it, as float32."""
    from safetensors import SafetensorError, safe_open

    out = {}
    for path in files(folder):
        try:
            with safe_open(path, framework="pt") as stored:
                out.update({k[len(prefix):]: stored.get_tensor(k).float() for k in stored.keys() if k.startswith(prefix)})  # noqa: SIM118
        except FileNotFoundError as error:
            raise ModelError(f"{path.name} of the model is missing.", code="CTR-MODEL-001") from error
        except (SafetensorError, OSError) as error:
            raise ModelError(f"{path.name} of the model is damaged.", code="CTR-MODEL-002", hint="Fetch it again.") from error
    return out


def load_vision(folder: Path) -> VisionModel:
    """The eyes, in evaluation mode, float32."""
    config = {k: tuple(v) if isinstance(v, list) else v for k, v in read_config(folder)["vision"].items()}
    try:
        vision = VisionModel(VisionConfig(**config))
        vision.load_state_dict(half(folder, "vision."))
    except (TypeError, RuntimeError) as error:
        raise ModelError("The model's weights do not fit its configuration: it is of another version.",
                         code="CTR-MODEL-003") from error
    return vision.eval().requires_grad_(False)


def load_language(folder: Path) -> tuple[Language, CTReasonerProcessor, CTReasonerConfig]:
    """The language half, its processor and its configuration; imports transformers."""
    from ctreasoner.model.config import CTReasonerConfig
    from ctreasoner.model.language import Language
    from ctreasoner.model.processor import CTReasonerProcessor

    read_config(folder)
    try:
        config = CTReasonerConfig.from_pretrained(folder, local_files_only=True)
        processor = CTReasonerProcessor.from_pretrained(folder, local_files_only=True)
        language = Language(config)
        missing, unexpected = language.load_state_dict(half(folder, "language."), strict=False)
        language.model.tie_weights()
        if unexpected or set(missing) - ({"model.lm_head.weight"} if config.tie_word_embeddings else set()):
            language = _renamed(folder)
    except ModelError:
        raise
    except Exception as error:  # transformers and tokenizers raise many kinds for a damaged file
        raise ModelError("The language half of the model cannot be loaded: it is damaged or of another version.",
                         code="CTR-MODEL-003") from error
    return language.eval().requires_grad_(False), processor, config


def _renamed(folder: Path) -> Language:
    """The language half of an architecture whose stored names differ from its own (transformers knows how)."""
    from ctreasoner.model.language import CTReasonerForConditionalGeneration

    model, found = CTReasonerForConditionalGeneration.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    if any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")):
        raise RuntimeError("weights do not fit")
    return model.language.float()
