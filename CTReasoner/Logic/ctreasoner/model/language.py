"""The language half: a causal language model that reads visual tokens, and whose hidden states drive the heads.

`CTReasonerForConditionalGeneration` is both halves as one transformers model. The engine may load them one after the other
(`vision.` and `language.` in the weights), because importing transformers takes longer than the first look.
"""
from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from ctreasoner.model.config import CTReasonerConfig
from ctreasoner.model.vision import Features, Pixels, VisionModel

PLACE_MM = 200.0          # positions enter in units of 200 mm from the centre of view 0


class Language(nn.Module):
    """Causal language model, projections of visual, point and region tokens, the code and the pointer."""

    def __init__(self, config: CTReasonerConfig):
        super().__init__()
        vision, text = config.vision_config(), config.text_config
        width, (_, w4, w8, w16) = text.hidden_size, vision.widths
        d2, d4, *_ = vision.decoder
        self.model = AutoModelForCausalLM.from_config(text, attn_implementation="eager" if text.hidden_size <= 256 else None)
        self.visual = nn.Linear(w16, width)
        self.point = nn.Linear(w4 + w8, width)
        self.region = nn.Linear(d2 + d4 + w4, width)
        self.place = nn.Sequential(nn.Linear(4, 64), nn.SiLU(), nn.Linear(64, width))
        self.code_mlp = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, vision.code))
        self.pointer_key, self.pointer_query = nn.Linear(width, 64), nn.Linear(width, 128)
        self.code_size = vision.code

    def embed(self, ids: Tensor) -> Tensor:
        return self.model.get_input_embeddings()(ids)

    def visual_tokens(self, pooled: Tensor, places: Tensor) -> Tensor:
        """Pooled stride-16 features [b, n, 224] at places [b, n, 4] -> tokens [b, n, hidden]."""
        return self.visual(pooled) + self.place(places)

    def point_tokens(self, features: Tensor, places: Tensor) -> Tensor:
        """What lies under a click: features [n, 192] (strides 4 and 8 of view 0) at places [n, 4]."""
        return self.point(features) + self.place(places)

    def region_tokens(self, features: Tensor) -> Tensor:
        """Inside, rim and surroundings of a mask: features [.., 3, 120] -> tokens."""
        return self.region(features)

    def forward(self, embeds: Tensor, mask: Tensor | None = None, cache=None, positions: Tensor | None = None):
        """(logits [b, n, vocab], states [b, n, hidden], cache). States are those before the last block: the last block and
        its norm shape what the next token is; an object's identity is read from below them."""
        out = self.model(inputs_embeds=embeds, attention_mask=mask, past_key_values=cache, position_ids=positions,
                         use_cache=cache is not None, output_hidden_states=True)
        return out.logits, out.hidden_states[-2], out.past_key_values

    def code(self, states: Tensor) -> Tensor:
        """A routing token's state [.., hidden] -> its code [.., 128]; identity and instance halves normalised apart."""
        q = self.code_mlp(states)
        half = self.code_size // 2
        return torch.cat([F.layer_norm(q[..., :half], (half,)), F.layer_norm(q[..., half:], (half,)) * 0.3], -1)

    def pointer(self, state: Tensor, words: Tensor) -> Tensor:
        """Logits [.., 2, n] of the first and last prompt token that a <DET> state [.., hidden] refers to; words [.., n, hidden]."""
        query = self.pointer_query(state).unflatten(-1, (2, 64))
        return torch.matmul(query, self.pointer_key(words).transpose(-1, -2)) / 8.0


def pooled_tokens(features: Features, per_axis: int) -> Tensor:
    """Stride-16 features pooled to [b, per_axis^3, 224]."""
    return F.adaptive_avg_pool3d(features.f16, per_axis).flatten(2).transpose(1, 2)


def token_places(lo_mm: Tensor, size_mm: Tensor, spacing_mm: float, per_axis: int, origin_mm: Tensor) -> Tensor:
    """[n, 4]: cell centres relative to the centre of view 0 in units of PLACE_MM, and the log of the spacing."""
    steps = (torch.arange(per_axis) + 0.5) / per_axis
    cells = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    places = (lo_mm + cells * size_mm - origin_mm) / PLACE_MM
    return torch.cat([places, torch.full((len(cells), 1), float(spacing_mm)).log()], 1).float()


def point_features(features: Features, voxels: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Features [n, 192] under points [n, 3] given in voxels of the view (batch of one)."""
    grid = ((2 * voxels + 1) / torch.tensor(shape, dtype=torch.float32) - 1).flip(-1)[None, None, None]
    parts = [F.grid_sample(f, grid.to(f.dtype), align_corners=False, padding_mode="border") for f in (features.f4, features.f8)]
    return torch.cat([p[0, :, 0, 0].T for p in parts], 1)


def region_features(features: Features, pixels: Pixels, mask: Tensor) -> Tensor:
    """Features [b, k, 3, 120] averaged inside masks [b, k, x, y, z] (0..1), in their rim and in a shell outside."""
    soft4 = F.avg_pool3d(mask, 4)
    grown4 = F.max_pool3d(soft4, 3, 1, 1)
    rim4 = (grown4 - soft4.clamp(max=1)).clamp_min(0) * (soft4 > 0.05) + 1e-6
    shell4 = (grown4 - soft4).clamp_min(0) * (soft4 <= 0.05) + 1e-6
    low = torch.cat([pixels.t4, features.f4], 1)
    soft2 = F.avg_pool3d(mask, 2)
    weights4, weights2 = (soft4 + 1e-6, rim4, shell4), [soft2 + 1e-6]
    weights2 += [F.interpolate(w, scale_factor=2, mode="nearest") for w in (rim4, shell4)]
    out = [torch.cat([_average(pixels.t2, w2), _average(low, w4)], -1) for w2, w4 in zip(weights2, weights4, strict=True)]
    return torch.stack(out, 2)


def _average(maps: Tensor, weight: Tensor) -> Tensor:
    """[b, c, ...] averaged under weights [b, k, ...] -> [b, k, c]."""
    weight = weight.flatten(2)
    return torch.matmul(weight, maps.flatten(2).transpose(1, 2)) / weight.sum(-1, keepdim=True)


class CTReasonerForConditionalGeneration(PreTrainedModel):
    """Vision and language as one model for `from_pretrained` and `save_pretrained` (safetensors)."""

    config_class = CTReasonerConfig
    base_model_prefix = "ctreasoner"
    _tied_weights_keys: ClassVar = {"language.model.lm_head.weight": "language.model.model.embed_tokens.weight"}

    def __init__(self, config: CTReasonerConfig):
        super().__init__(config)
        self.vision = VisionModel(config.vision_config())
        self.language = Language(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Every part initialises itself on construction."""

    def forward(self, hu: Tensor, ids: Tensor, places: Tensor, code_positions: Tensor, labels: Tensor | None = None) -> dict:
        """One view, one answer: HU [b, 1, x, y, z], ids [b, n] with 64 <vis> placeholders right after <scan>, places
        [b, 64, 4], code_positions [b, k] of routing tokens -> logits, codes, masks, context, and the loss when labels
        (ids, -100 ignored) are given."""
        features = self.vision.encode(hu)
        embeds = self.language.embed(ids).clone()
        tokens = self.language.visual_tokens(pooled_tokens(features, self.config.whole_tokens), places)
        embeds[:, 1:1 + tokens.shape[1]] = tokens
        logits, states, _ = self.language(embeds)
        codes = self.language.code(states[torch.arange(len(ids))[:, None], code_positions])
        pixels = self.vision.decode(features)
        context = self.vision.look(pixels, codes)
        out = {"logits": logits, "codes": codes, "context": context, "masks": self.vision.masks(pixels, context, codes)}
        if labels is not None:
            out["loss"] = F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
        return out
