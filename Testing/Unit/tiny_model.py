"""A model with random weights and narrow layers, its processor, and a small scan: for tests of what holds by construction."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch
from ctreasoner.appearance.wording import SLOTS
from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.geometry import Volume
from ctreasoner.model.config import CTReasonerConfig
from ctreasoner.model.language import CTReasonerForConditionalGeneration
from ctreasoner.model.processor import CTReasonerProcessor, train_tokenizer
from ctreasoner.training.dialogues import NAMES
from transformers import LlamaConfig, PretrainedConfig

NARROW = {"widths": (8, 16, 16, 24), "blocks": (1, 1, 1, 1), "decoder": (24, 32, 32, 32), "code": 128}
TEXTS = ["segment the aorta", "where is the heart?", "how large is it?", "describe the left parotid gland and the mandible",
         "please outline the oesophagus in this scan", "the volume is", *(" " + name for name in NAMES.values())] * 20


@cache
def processor() -> CTReasonerProcessor:
    """The real special tokens and names over a vocabulary of few words."""
    return CTReasonerProcessor(train_tokenizer(TEXTS, list(SLOTS), 700), NAMES, list(SLOTS))


def llama(vocabulary: int) -> LlamaConfig:
    return LlamaConfig(vocab_size=vocabulary, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                       num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True, pad_token_id=0,
                       bos_token_id=None, eos_token_id=None)


def model(text_config: PretrainedConfig | None = None, seed: int = 0, **config) -> CTReasonerForConditionalGeneration:
    """Random weights; any causal language model of transformers by its configuration."""
    torch.manual_seed(seed)
    text_config = text_config or llama(len(processor().tokenizer))
    settings = CTReasonerConfig(vision=NARROW, text_config=text_config, objects=list(OBJECTS), **config)
    built = CTReasonerForConditionalGeneration(settings)
    with torch.no_grad():
        built.vision.kernels.bias[-8:] += 2.0       # half of every view becomes mask, so that there is one
    return built.eval()


def save(folder: Path, text_config: PretrainedConfig | None = None, **config) -> Path:
    """A model folder as the export writes it (float32)."""
    model(text_config, **config).save_pretrained(folder)
    processor().save_pretrained(folder)
    return folder


def scan(shape: tuple[int, int, int] = (80, 60, 50), spacing: float = 4.0, seed: int = 0) -> Volume:
    """A body of soft tissue with an airy and a dense ball in it, noise of 20 HU, RAS."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    hu = np.where((grid[0] / 0.9) ** 2 + (grid[1] / 0.9) ** 2 < 1, 40.0, -1000.0)
    hu[((grid - np.array([0.3, 0, 0])[:, None, None, None]) ** 2).sum(0) < 0.05] = -800
    hu[((grid + np.array([0.3, 0, 0])[:, None, None, None]) ** 2).sum(0) < 0.05] = 300
    hu += rng.normal(0, 20, shape)
    affine = np.diag([spacing] * 3 + [1.0])
    affine[:3, 3] = -np.array(shape) * spacing / 2
    return Volume(hu.round().astype(np.int16), affine, name="phantom")
