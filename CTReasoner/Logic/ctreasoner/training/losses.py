"""Losses of masks, boxes and existence; every one is masked by what is known about a query."""
from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctreasoner.model.vision import Context, face_positions


def mask_loss(logits: Tensor, target: Tensor, weight: Tensor, known: Tensor | None = None) -> Tensor:
    """Dice + BCE of [n, x, y, z] logits against soft targets; weight [n]; known [n, x, y, z] masks unknown voxels out.

    BCE is divided by the object's size plus 2 % of the view, so that thin objects count; an empty target has BCE only.
    """
    dims = (1, 2, 3)
    bce = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    p = torch.sigmoid(logits)
    if known is not None:
        bce, p, target = bce * known, p * known, target * known
    size = target.sum(dims)
    floor = 0.02 * target[0].numel()
    bce = bce.sum(dims) / (size + floor)
    dice = 1 - 2 * (p * target).sum(dims) / (p.sum(dims) + size + 1.0)
    filled = (size > 4).float()
    per_query = filled * (bce + dice) + (1 - filled) * 0.5 * bce.clamp_max(5)
    return (weight * per_query).sum() / weight.sum().clamp_min(1)


def coarse_loss(context: Context, target: Tensor, weight: Tensor) -> Tensor:
    """The coarse logits (stride 4) against area-averaged targets [n, x, y, z]."""
    pooled = F.avg_pool3d(target[:, None], 4)[:, 0]
    return mask_loss(context.coarse.flatten(0, 1), pooled, weight)


def box_loss(context: Context, faces: Tensor, overflow: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy to the two neighbouring bins, and 1 - GIoU of the expected boxes; faces, overflow [n, 3, 2]."""
    total, means = 0.0, []
    for axis, logits in enumerate(context.faces):
        flat = logits.flatten(0, 1)                                     # [n, 2, bins + 2]
        bins = flat.shape[-1] - 2
        position = (faces[:, axis] / 4 - 0.5).clamp(0, bins - 1)
        low = position.floor().clamp(max=bins - 2)
        part = position - low
        target = torch.zeros_like(flat)
        target.scatter_(-1, (low.long() + 1)[..., None], (1 - part)[..., None])
        target.scatter_(-1, (low.long() + 2)[..., None], part[..., None])
        for face, end in ((0, 0), (1, -1)):
            beyond = overflow[:, axis, face]
            target[beyond, face] = 0
            target[beyond, face, end] = 1
        total = total - (target * flat.log_softmax(-1)).sum(-1).mean(-1)
        means.append(face_positions(flat)[0])
    predicted = torch.stack(means, 1)                                   # [n, 3, 2]
    use = weight * (~overflow.flatten(1).any(1)).float()
    giou = _giou(predicted, faces)
    return (weight * total).sum() / (3 * weight.sum().clamp_min(1)) + (use * (1 - giou)).sum() / use.sum().clamp_min(1)


def _giou(a: Tensor, b: Tensor) -> Tensor:
    inner = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp_min(0).prod(-1)
    va, vb = ((x[..., 1] - x[..., 0]).clamp_min(0.5).prod(-1) for x in (a, b))
    hull = (torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])).clamp_min(0.5).prod(-1)
    union = va + vb - inner
    return inner / union - (hull - union) / hull


def existence_loss(context: Context, state: Tensor, weight: Tensor) -> Tensor:
    """Cross-entropy over present / absent / outside / unsupported with label smoothing 0.05; state [n] long."""
    loss = F.cross_entropy(context.existence.flatten(0, 1), state, reduction="none", label_smoothing=0.05)
    return (weight * loss).sum() / weight.sum().clamp_min(1)
