"""The eyes of the compact model: encoder, shared pixel decoder and the heads that read a routing token's code.

Only torch is imported here, so that the first look can leave before transformers has been imported.

Data flow (b views, k objects, strides 2 to 16 of a view of [x, y, z] voxels):

    hu [b, 1, x, y, z]  --encode-->  Features   f2, f4, f8, f16                (depends on the CT alone)
    Features (+ prompt) --decode-->  Pixels     t2, t4, t8                     (knows nothing of the object)
    Pixels, code [b, k, 128] --look-->  Context  c4, coarse logit, existence, faces
    Pixels, Context, code    --masks--> logits [b, k, x, y, z] at stride 1
"""
from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOWS = ((-1000.0, 400.0), (-160.0, 240.0), (-200.0, 1300.0))  # HU: lung, soft tissue, bone
STRIDE = 16                      # sides of a view are multiples of this
PROMPT_CHANNELS = ("click_positive", "click_negative", "scribble_positive", "scribble_negative", "mask", "box")
STATES = ("present", "absent", "outside", "unsupported")
CONTEXT = 32                     # channels of the object's context map at stride 4
DETAIL, SEEN, HIDDEN = 24, 8, 12  # dynamic kernel: detail + context channels -> hidden -> 2x2x2 sub-voxels


@dataclass
class VisionConfig:
    """Widths of encoder and decoder, residual blocks per stage, and the size of a routing token's code."""
    widths: tuple[int, ...] = (24, 64, 128, 224)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    decoder: tuple[int, ...] = (24, 32, 64, 96)
    code: int = 128


@dataclass
class Features:
    """Encoder maps at strides 2, 4, 8 and 16: [b, c, x / s, y / s, z / s]."""
    f2: Tensor
    f4: Tensor
    f8: Tensor
    f16: Tensor


@dataclass
class Pixels:
    """Shared decoder maps at strides 2, 4 and 8; t2 (the costly one) is made when a mask is asked for."""
    t2: Tensor | None
    t4: Tensor
    t8: Tensor


@dataclass
class Context:
    """What one object looks like in one view; leading dimensions [b, k].

    c4 [.., 32, x/4, y/4, z/4]; coarse [.., x/4, y/4, z/4] logits; existence [.., 4] logits over STATES;
    faces: per axis [.., 2, n/4 + 2] logits of the lower and upper face (first and last bin: beyond the view).
    """
    c4: Tensor
    coarse: Tensor
    existence: Tensor
    faces: tuple[Tensor, Tensor, Tensor]


def windows(hu: Tensor) -> Tensor:
    """[b, 1, x, y, z] HU -> [b, 3, x, y, z], each window mapped to -1..1 and clipped."""
    return torch.cat([((hu - lo) * (2.0 / (hi - lo)) - 1.0).clamp(-1.0, 1.0) for lo, hi in WINDOWS], 1)


class Residual(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, channels)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.norm(self.first(x))))


class Fuse(nn.Module):
    """Lateral map plus upsampled coarser map (plus a prompt map), convolved to fewer channels."""

    def __init__(self, lateral: int, inside: int, out: int):
        super().__init__()
        self.lateral = nn.Conv3d(lateral, inside, 1)
        self.conv = nn.Conv3d(inside, out, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(8, out)

    def forward(self, fine: Tensor, coarse: Tensor, prompt: Tensor | None) -> Tensor:
        x = self.lateral(fine) + F.interpolate(coarse, scale_factor=2, mode="nearest")
        if prompt is not None:
            x = x + prompt
        return F.silu(self.norm(self.conv(x)))


class PromptBranch(nn.Module):
    """Clicks, scribbles, an earlier mask and a box (stride 2) -> zero-initialised additions to the decoder."""

    def __init__(self, decoder: tuple[int, ...]):
        super().__init__()
        _, d4, d8, d16 = decoder
        # Without biases an empty prompt adds exactly nothing: "no prompt" and "prompt of zeros" are the same.
        self.c2 = nn.Conv3d(len(PROMPT_CHANNELS), 16, 3, padding=1, bias=False)
        self.c4 = nn.Conv3d(16, 32, 3, stride=2, padding=1, bias=False)
        self.c8 = nn.Conv3d(32, 64, 3, stride=2, padding=1, bias=False)
        self.out = nn.ModuleList([nn.Conv3d(a, b, 1, bias=False) for a, b in ((16, d4), (32, d8), (64, d16))])
        for layer in self.out:
            nn.init.zeros_(layer.weight)

    def forward(self, prompt: Tensor) -> list[Tensor]:
        p2 = F.silu(self.c2(prompt))
        p4 = F.silu(self.c4(p2))
        p8 = F.silu(self.c8(p4))
        return [layer(p) for layer, p in zip(self.out, (p2, p4, p8), strict=True)]


class FaceHead(nn.Module):
    """Distribution of the two faces along one axis, from the object's context map (max and mean over the other axes)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2 * CONTEXT, 32, 5, padding=2)
        self.second = nn.Conv1d(32, 2, 5, padding=2)

    def forward(self, c4: Tensor, axis: int) -> Tensor:
        others = [d for d in (2, 3, 4) if d != axis + 2]
        profile = torch.cat([c4.amax(others), c4.mean(others)], 1)                 # [n, 64, side / 4]
        return self.second(F.silu(self.first(F.pad(profile, (1, 1)))))              # [n, 2, side / 4 + 2]


class VisionModel(nn.Module):
    """Encoder, pixel decoder and object heads; see the module's text for the data flow."""

    def __init__(self, config: VisionConfig | None = None):
        super().__init__()
        self.config = config = config or VisionConfig()
        w2, w4, w8, w16 = config.widths
        d2, d4, d8, d16 = config.decoder
        q = config.code
        self.stem = nn.Conv3d(len(WINDOWS), w2, 4, stride=2, padding=1)
        self.stages = nn.ModuleList(
            nn.Sequential(*(Residual(w) for _ in range(n))) for w, n in zip(config.widths, config.blocks, strict=True))
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in itertools.pairwise(config.widths))
        self.neck = nn.Conv3d(w16, d16, 1)
        self.fuse8, self.fuse4, self.fuse2 = Fuse(w8, d16, d8), Fuse(w4, d8, d4), Fuse(w2, d4, d2)
        self.prompts = PromptBranch(config.decoder)
        self.film8, self.film4 = nn.Linear(q, 2 * d8), nn.Linear(q, 2 * d4)
        self.context8, self.context4 = nn.Conv3d(d8, CONTEXT, 3, padding=1), nn.Conv3d(CONTEXT, CONTEXT, 3, padding=1)
        self.coarse = nn.Conv3d(CONTEXT, 1, 1)
        self.seen = nn.Conv3d(CONTEXT, SEEN, 1)
        self.kernels = nn.Linear(q, (DETAIL + SEEN + 1) * HIDDEN + (HIDDEN + 1) * 8)
        self.faces = nn.ModuleList(FaceHead() for _ in range(3))
        self.exist = nn.Sequential(nn.Linear(2 * CONTEXT + q, 96), nn.SiLU(), nn.Linear(96, len(STATES)))
        nn.init.normal_(self.film8.weight, std=0.03)
        nn.init.normal_(self.film4.weight, std=0.03)
        nn.init.normal_(self.kernels.weight, std=0.03)
        nn.init.constant_(self.coarse.bias, -2.0)

    def encode(self, hu: Tensor) -> Features:
        """HU [b, 1, x, y, z] (sides multiples of 16) -> Features."""
        x = self.stem(windows(hu))
        maps = []
        for i, stage in enumerate(self.stages):
            x = stage(x if i == 0 else self.downs[i - 1](x))
            maps.append(x)
        return Features(*maps)

    def decode(self, features: Features, prompt: Tensor | None = None, detail: bool = True) -> Pixels:
        """Shared decoder; prompt [b, 6, x/2, y/2, z/2] enters beside it (see PromptBranch). Boxes do without `detail`."""
        _, p4, p8 = (None, None, None) if prompt is None else self.prompts(prompt)
        t8 = self.fuse8(features.f8, self.neck(features.f16), p8)
        pixels = Pixels(None, self.fuse4(features.f4, t8, p4), t8)
        return self.detail(features, pixels, prompt) if detail else pixels

    def detail(self, features: Features, pixels: Pixels, prompt: Tensor | None = None) -> Pixels:
        """The pixel decoder's finest map, added to what `decode` made of the same features and prompt."""
        p2 = None if prompt is None else self.prompts(prompt)[0]
        return Pixels(self.fuse2(features.f2, pixels.t4, p2), pixels.t4, pixels.t8)

    def look(self, pixels: Pixels, code: Tensor) -> Context:
        """What the objects with these codes [b, k, 128] look like in the views."""
        b, k, _ = code.shape
        flat = code.reshape(b * k, -1)
        x = F.silu(self.context8(_film(pixels.t8, self.film8(flat), k)))
        x = F.interpolate(x, scale_factor=2, mode="nearest") + _film(pixels.t4, self.film4(flat), k)
        c4 = F.silu(self.context4(x))
        coarse = self.coarse(c4)[:, 0]
        pooled = torch.cat([c4.amax((2, 3, 4)), c4.mean((2, 3, 4)), flat], 1)
        faces = tuple(head(c4, axis).unflatten(0, (b, k)) for axis, head in enumerate(self.faces))
        return Context(c4.unflatten(0, (b, k)), coarse.unflatten(0, (b, k)),
                       self.exist(pooled).unflatten(0, (b, k)), faces)

    def masks(self, pixels: Pixels, context: Context, code: Tensor) -> Tensor:
        """Stride-1 mask logits [b, k, x, y, z]: kernels generated from the code run over the shared maps."""
        b, k, _ = code.shape
        x2, y2, z2 = pixels.t2.shape[2:]
        seen = F.interpolate(self.seen(context.c4.flatten(0, 1)), size=(x2, y2, z2), mode="trilinear")
        w1, b1, w2, b2 = torch.split(self.kernels(code.reshape(b * k, -1)),
                                     [(DETAIL + SEEN) * HIDDEN, HIDDEN, HIDDEN * 8, 8], 1)
        w1 = w1.view(b, k, HIDDEN, DETAIL + SEEN)
        detail = torch.matmul(w1[..., :DETAIL], pixels.t2.flatten(2)[:, None])      # [b, k, hidden, n]
        hidden = detail + torch.matmul(w1[..., DETAIL:], seen.flatten(2).unflatten(0, (b, k)))
        hidden = F.silu(hidden + b1.view(b, k, HIDDEN, 1))
        out = torch.matmul(w2.view(b, k, 8, HIDDEN), hidden) + b2.view(b, k, 8, 1) - 2.0
        out = out.view(b, k, 2, 2, 2, x2, y2, z2).permute(0, 1, 5, 2, 6, 3, 7, 4)   # [b, k, x2, 2, y2, 2, z2, 2]
        return out.reshape(b, k, 2 * x2, 2 * y2, 2 * z2)


def _film(x: Tensor, gain_and_bias: Tensor, k: int) -> Tensor:
    """[b, c, ...] modulated for k objects -> [b * k, c, ...]."""
    gain, bias = gain_and_bias[:, :, None, None, None].chunk(2, 1)
    x = x[:, None].expand(-1, k, *x.shape[1:]).flatten(0, 1)
    return x * (1 + gain) + bias


def face_positions(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Face logits [.., 2, n + 2] -> position in voxels [.., 2], its standard deviation in voxels, probability of overflow.

    Bin j (1..n) lies at 4 (j - 0.5) voxels from the view's edge; the expectation is over the bins inside the view.
    """
    p = logits.softmax(-1)
    n = logits.shape[-1] - 2
    centres = 4.0 * (torch.arange(n, device=logits.device, dtype=logits.dtype) + 0.5)
    inner = p[..., 1:-1]
    weight = inner.sum(-1).clamp_min(1e-6)
    mean = (inner * centres).sum(-1) / weight
    sd = ((inner * (centres - mean[..., None]) ** 2).sum(-1) / weight).clamp_min(0).sqrt()
    overflow = torch.stack([p[..., 0, 0], p[..., 1, -1]], -1)
    return mean, sd, overflow
