"""Configuration of a CTReasoner model: the eyes, the language model, and how they meet."""
from __future__ import annotations

from transformers import AutoConfig, LlamaConfig, PretrainedConfig

from ctreasoner.model.vision import VisionConfig


class CTReasonerConfig(PretrainedConfig):
    """vision: widths (see VisionConfig); text_config: any causal language model of transformers.

    The compact profile is a Llama of 4 layers and hidden size 256; the large profile is the same class with a wider vision
    part and another text_config.
    """

    model_type = "ctreasoner"

    def __init__(self, vision: dict | None = None, text_config: dict | PretrainedConfig | None = None,
                 objects: list[str] | None = None, whole_tokens: int = 4, look_tokens: int = 3,
                 calibration: dict | None = None, **kwargs):
        self.vision = vars(VisionConfig()) if vision is None else dict(vision)
        if text_config is None:
            text_config = compact_text_config()
        elif isinstance(text_config, dict):
            text_config = AutoConfig.for_model(**text_config)
        self.text_config = text_config
        self.objects = list(objects or [])
        self.whole_tokens, self.look_tokens = whole_tokens, look_tokens    # per axis: 4 -> 64 tokens, 3 -> 27
        self.calibration = dict(calibration or {})
        kwargs.setdefault("tie_word_embeddings", bool(getattr(text_config, "tie_word_embeddings", False)))
        super().__init__(**kwargs)

    def vision_config(self) -> VisionConfig:
        return VisionConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in self.vision.items()})


def compact_text_config(vocab_size: int = 1536) -> LlamaConfig:
    return LlamaConfig(vocab_size=vocab_size, hidden_size=256, intermediate_size=640, num_hidden_layers=4,
                       num_attention_heads=8, num_key_value_heads=4, max_position_embeddings=1024, tie_word_embeddings=True,
                       pad_token_id=0, bos_token_id=None, eos_token_id=None)


AutoConfig.register(CTReasonerConfig.model_type, CTReasonerConfig)
