"""Loads a model folder: safetensors only, halves one after the other, each problem as one sentence.

The vision half needs torch alone, so the first look can leave while transformers is still being imported for the other.
"""
from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ctreasoner.errors import ModelError
from ctreasoner.model.stored import files, read_config
from ctreasoner.model.vision import VisionConfig, VisionModel

if TYPE_CHECKING:
    from ctreasoner.model.config import CTReasonerConfig
    from ctreasoner.model.language import Language
    from ctreasoner.model.processor import CTReasonerProcessor


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
