"""Rasterises clicks, scribbles, an earlier mask and a box into the prompt channels of a view (stride 2)."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctreasoner.model.vision import PROMPT_CHANNELS

CHANNEL = {name: i for i, name in enumerate(PROMPT_CHANNELS)}


def empty(shape: tuple[int, int, int]) -> Tensor:
    """No prompt: zeros [6, x/2, y/2, z/2] for a view of [x, y, z] voxels."""
    return torch.zeros(len(PROMPT_CHANNELS), *(n // 2 for n in shape))


def add_point(prompt: Tensor, name: str, voxel: tuple[float, float, float]) -> None:
    """A ball of 1.5 stride-2 voxels (sd) at a position in view voxels, in place."""
    grids = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in prompt.shape[1:]), indexing="ij")
    d2 = sum((g - (v / 2 - 0.25)) ** 2 for g, v in zip(grids, voxel, strict=True))
    channel = prompt[CHANNEL[name]]
    torch.maximum(channel, torch.exp(-d2 / (2 * 1.5 ** 2)), out=channel)


def set_mask(prompt: Tensor, mask: Tensor) -> None:
    """An earlier mask [x, y, z] (0..1), in place."""
    prompt[CHANNEL["mask"]] = F.avg_pool3d(mask[None, None].float(), 2)[0, 0]


def add_box(prompt: Tensor, lower: tuple[float, float, float], upper: tuple[float, float, float]) -> None:
    """A box between two corners in view voxels, in place."""
    spans = [slice(max(0, round(a / 2)), max(0, round(b / 2)) or 1) for a, b in zip(lower, upper, strict=True)]
    prompt[CHANNEL["box"]][tuple(spans)] = 1.0
