"""The comparison: a plain 3D U-Net that learns the same views without language, codes, looks or boxes.

Its trunk is that of the vision model without the last stage (2.4 M parameters), with one channel per object instead of kernels
made from a code. Views come from the same sampler with the same augmentation, at the spacings of closer looks; a scan is then
segmented by a sliding window at one spacing. `ctreasoner evaluate --baseline runs/baseline/baseline.pt` measures it.
"""
from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.errors import ModelError
from ctreasoner.geometry import CELL, View, Volume, body_extent, sample
from ctreasoner.model.vision import WINDOWS, Fuse, Residual, windows
from ctreasoner.training import common, losses
from ctreasoner.training.sampling import SIDE, Sampler
from ctreasoner.training.views import training_cases

CLASSES = tuple(key for key in OBJECTS if key != "lung_nodule")
WIDTHS, BLOCKS, DECODER = (24, 64, 128), (1, 2, 2), (24, 32)
SPACING_MM = 3.0                # of the sliding window: the middle of what it was trained at
OVERLAP = 0.5


@dataclass
class Baseline:
    """Settings of the comparison; seconds are wall-clock time."""
    data: str = "runs/data"
    out: str = "runs/baseline"
    seconds: float = 3000.0
    rate: float = 1.2e-3
    warm_up: int = 120
    decay: float = 0.03
    batch: int = 2
    seed: int = 1
    threads: int = 2


class UNet(nn.Module):
    """HU [b, 1, x, y, z] (sides multiples of 8) -> logits [b, classes, x, y, z]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv3d(len(WINDOWS), WIDTHS[0], 4, stride=2, padding=1)
        self.stages = nn.ModuleList(nn.Sequential(*(Residual(w) for _ in range(n))) for w, n in zip(WIDTHS, BLOCKS, strict=True))
        self.downs = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in itertools.pairwise(WIDTHS))
        d2, d4 = DECODER
        self.neck = nn.Conv3d(WIDTHS[2], d4, 1)
        self.fuse4, self.fuse2 = Fuse(WIDTHS[1], d4, d4), Fuse(WIDTHS[0], d4, d2)
        self.head = nn.Conv3d(d2, 8 * len(CLASSES), 1)      # 2 x 2 x 2 sub-voxels of stride 2
        nn.init.constant_(self.head.bias, -2.0)

    def forward(self, hu: Tensor) -> Tensor:
        f2 = self.stages[0](self.stem(windows(hu)))
        f4 = self.stages[1](self.downs[0](f2))
        f8 = self.stages[2](self.downs[1](f4))
        out = self.head(self.fuse2(f2, self.fuse4(f4, self.neck(f8), None), None))
        b, _, x, y, z = out.shape
        out = out.view(b, len(CLASSES), 2, 2, 2, x, y, z).permute(0, 1, 5, 2, 6, 3, 7, 4)
        return out.reshape(b, len(CLASSES), 2 * x, 2 * y, 2 * z)


def draw(sampler: Sampler, thorax: float) -> tuple[Tensor, Tensor, Tensor]:
    """(hu [1, x, y, z], soft masks [classes, x, y, z], covered [classes]) of one close view; what is not covered is unknown."""
    pool = sampler.thorax if sampler.rng.random() < thorax or not sampler.neck else sampler.neck
    case = pool[sampler.rng.integers(len(pool))]
    picture = sampler.picture(case, sampler.look_pose(case))
    masks, covered = torch.zeros(len(CLASSES), *picture.hu.shape), torch.zeros(len(CLASSES))
    for key, mask in picture.masks.items():
        masks[CLASSES.index(key)] = 0.0 if key == picture.erased else mask
        covered[CLASSES.index(key)] = 1.0
    return picture.hu[None], masks, covered


def step_loss(net: UNet, views: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Dice + BCE over the covered classes of a batch of views."""
    hu, masks, covered = (torch.stack(part) for part in zip(*views, strict=True))
    return losses.mask_loss(net(hu).flatten(0, 1), masks.flatten(0, 1), covered.flatten())


def run(settings: Baseline) -> Path:
    """Trains until the time is over; resumes from its own checkpoint. Returns the path of the averaged weights."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    net = UNet().to(memory_format=torch.channels_last_3d)
    training = common.Training("baseline", net, settings, every=50)
    sampler = Sampler([c for c in training_cases(settings.data) if c.source != "lidc"], settings.seed + training.step)
    thorax = sampler.mixture[0] / (sampler.mixture[0] + sampler.mixture[1])
    for _ in training.steps():
        loss = step_loss(net, [draw(sampler, thorax) for _ in range(settings.batch)])
        training.learn(loss, {"mask": float(loss.detach())})
    return training.path


# a scan -----------------------------------------------------------------------------------------------------

def load(path: Path | str) -> tuple[UNet, dict]:
    """The averaged weights of a training, and what is known of it: steps, views, seconds, seed."""
    net = UNet()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        net.load_state_dict(state["average"])
    except Exception as error:
        raise ModelError(f"{Path(path).name} holds no weights of the comparison.", code="CTR-MODEL-006",
                         hint="`ctreasoner train baseline` makes them.") from error
    return net.eval().to(memory_format=torch.channels_last_3d), {k: state[k] for k in ("step", "views", "seconds", "seed")}


@torch.inference_mode()
def segment(net: UNet, volume: Volume, spacing_mm: float = SPACING_MM) -> tuple[np.ndarray, View]:
    """Logits [classes, x, y, z] over the body of a whole scan by a sliding window with half overlap, and their view."""
    from monai.inferers import sliding_window_inference

    low, high = body_extent(volume)
    shape = np.ceil((high - low) / spacing_mm / CELL).astype(int).clip(SIDE // CELL) * CELL
    view = View(centre_ras=tuple((low + high) / 2), shape=tuple(shape), spacing_mm=(spacing_mm,) * 3)
    hu = torch.from_numpy(sample(volume, view))[None, None]
    logits = sliding_window_inference(hu, (SIDE,) * 3, 2, net, overlap=OVERLAP, mode="gaussian")
    return logits[0].numpy(), view
