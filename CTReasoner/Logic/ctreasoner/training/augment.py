"""Augmentation of training views: geometry, contrast medium, detector, and sources made to look alike.

The thorax source is 8 bit, soft and mostly unenhanced; what users bring is sharp and enhanced. Hence contrast medium in
blood (0 to +450 HU), sharpening of the soft source and banding of the sharp ones.
"""
from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def random_matrix(rng: np.random.Generator, degrees: tuple[float, float, float] = (8, 8, 15),
                  scale: tuple[float, float] = (0.88, 1.14)) -> np.ndarray:
    """Rotation about x, y, z (sd of a third of the limits would be too tame: uniform) times a scale per axis."""
    a, b, c = (math.radians(rng.uniform(-d, d)) for d in degrees)
    rx = np.array([[1, 0, 0], [0, math.cos(a), -math.sin(a)], [0, math.sin(a), math.cos(a)]])
    ry = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rz = np.array([[math.cos(c), -math.sin(c), 0], [math.sin(c), math.cos(c), 0], [0, 0, 1]])
    common = math.exp(rng.uniform(math.log(scale[0]), math.log(scale[1])))
    return rx @ ry @ rz @ np.diag(common * np.exp(rng.uniform(-0.06, 0.06, 3)))


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], knots: int, channels: int = 1) -> Tensor:
    """Standard normal noise on knots^3 control points, interpolated: [channels, x, y, z]."""
    noise = torch.from_numpy(rng.standard_normal((1, channels, knots, knots, knots)).astype(np.float32))
    return F.interpolate(noise, size=shape, mode="trilinear", align_corners=True)[0]


def displacement(rng: np.random.Generator, shape: tuple[int, ...], sd_mm: float) -> Tensor:
    """Smooth displacement [x, y, z, 3] in mm from 6^3 control points."""
    return smooth_field(rng, shape, 6, 3).permute(1, 2, 3, 0) * sd_mm


def blur(x: Tensor, width: int = 3) -> Tensor:
    """Box filter of an odd width, one axis after the other, borders repeated."""
    x = x[None, None]
    for axis in range(3):
        kernel, pad = [1, 1, 1], [0] * 6
        kernel[axis], pad[2 * (2 - axis)], pad[2 * (2 - axis) + 1] = width, width // 2, width // 2
        x = F.avg_pool3d(F.pad(x, pad, mode="replicate"), kernel, 1)
    return x[0, 0]


def recontrast(hu: Tensor, aorta: Tensor, heart: Tensor, rng: np.random.Generator) -> Tensor:
    """Contrast medium: the whole aorta, chambers inside the heart, and some other soft tissue (veins, pulmonary trunk)."""
    dose = rng.uniform(0, 450)
    blood = torch.sigmoid((hu + 20) / 8)
    hu = hu + dose * aorta.clamp(0, 1) * blood
    chambers = torch.sigmoid((smooth_field(rng, hu.shape, int(rng.integers(4, 9)))[0] + rng.uniform(-0.3, 0.9)) * 12)
    core = ((blur(heart, 3) - 0.6) / 0.35).clamp(0, 1)
    hu = hu + dose * rng.uniform(0.1, 1.2) * core * chambers * blood + rng.uniform(0, 0.25) * dose * heart * blood
    if rng.random() < 0.4:
        other = torch.sigmoid((smooth_field(rng, hu.shape, int(rng.integers(5, 10)))[0] - rng.uniform(0.9, 1.6)) * 15)
        tissue = torch.sigmoid((hu - 0) / 8) * torch.sigmoid((130 - hu) / 8)
        hu = hu + rng.uniform(0, 450) * other * tissue * (1 - aorta).clamp(0, 1) * (1 - heart).clamp(0, 1)
    return hu


def erase(hu: Tensor, mask: Tensor, rng: np.random.Generator) -> Tensor:
    """The object is filled in from its neighbourhood, as if it had been removed."""
    grown = blur(mask, 5) > 0.005
    keep = (~grown).float()
    values, weight = hu.clamp(-150, 150) * keep, keep
    for width in (5, 9, 17):
        weight_b, values_b = blur(weight, width), blur(values, width)
        values = torch.where(weight > 0, values, torch.where(weight_b > 0.02, values_b / weight_b.clamp_min(0.02), values))
        weight = torch.where(weight > 0, weight, (weight_b > 0.02).float())
    noise = torch.from_numpy(rng.standard_normal(hu.shape).astype(np.float32)) * rng.uniform(5, 20)
    return torch.where(grown, values + noise + rng.uniform(-20, 20), hu)


def bulge(hu: Tensor, masks: dict[str, Tensor], key: str, radius: float, rng: np.random.Generator) -> Tensor:
    """A ball of `radius` voxels on the border of an object gets its density there; `masks` change in place."""
    mask = masks[key]
    inside = F.max_pool3d(-mask[None, None], 3, 1, 1)[0, 0].neg() > 0.5               # not the outermost voxels
    border = ((mask > 0.5) & ~inside).nonzero()
    if not len(border) or not inside.any():
        return hu
    centre = border[rng.integers(len(border))]
    axes = [torch.arange(n, dtype=torch.float32) - float(c) for n, c in zip(mask.shape, centre, strict=True)]
    distance = (axes[0][:, None, None] ** 2 + axes[1][:, None] ** 2 + axes[2] ** 2).sqrt()
    near = hu[inside & (distance < 3 * radius)]
    if len(near) < 8:
        return hu
    ball = (radius + 0.5 - distance).clamp(0, 1)
    added = (ball - mask).clamp(0, 1)
    texture = torch.from_numpy(rng.standard_normal(hu.shape).astype(np.float32)) * min(float(near.std()), 25.0)
    for name in masks:
        masks[name] = torch.maximum(mask, ball) if name == key else masks[name] * (1 - added)
    return torch.lerp(hu, near.median() + texture, added)


def scanner(hu: Tensor, rng: np.random.Generator, soft_source: bool) -> Tensor:
    """Sharpness, noise, gain, offset and banding."""
    kind = rng.random()
    if soft_source and kind < 0.5:
        hu = hu + rng.uniform(0.2, 1.0) * (hu - blur(hu))
    elif not soft_source and kind < 0.35:
        hu = torch.lerp(hu, blur(hu), float(rng.uniform(0.2, 1.0)))
    if rng.random() < 0.35:
        noise = torch.from_numpy(rng.standard_normal(hu.shape).astype(np.float32))
        if rng.random() < 0.5:
            noise = blur(noise) * 3
        hu = hu + noise * rng.uniform(0, 25)
    hu = (hu + 1000) * rng.uniform(0.98, 1.02) - 1000 + rng.uniform(-10, 10)
    if not soft_source and rng.random() < 0.3:
        step = rng.uniform(11, 60)
        hu = torch.round(hu / step) * step
    return hu.clamp(-1024, 3071)
