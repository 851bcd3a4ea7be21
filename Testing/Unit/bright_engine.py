"""The engine with a narrow model of random weights whose pixel decoder is replaced: it draws what is brighter than 150 HU.

Everything before and behind it is the engine's own: views, plans, codes, prompts, grids, files. `make` is for `worker --factory`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tiny_model
import torch
from ctreasoner.engine import Engine
from ctreasoner.geometry import Volume
from ctreasoner.reasoner import Reasoner

BRIGHT_HU = 150.0
SHAPE, SPACING = (60, 50, 40), 4.0


class BrightEngine(Engine):
    """`seen` keeps (code, prompt) of every mask that was drawn."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        self.eyes.masks = self._masks

    def _masks(self, sight, context, pixels, code, prompt=None):
        self.seen.append((code[0].clone(), prompt))
        return torch.from_numpy(sight.hu - BRIGHT_HU)[None], pixels


def make() -> Reasoner:
    return Reasoner(BrightEngine(tiny_model.save(Path(tempfile.mkdtemp(prefix="ctreasoner-bright-")))))


def scan(axes=(1.0, 1.0, 1.0)) -> tuple[Volume, np.ndarray]:
    """A body of 40 HU with a bright block in it, and the block; `axes` -1 turns an axis round."""
    block = np.zeros(SHAPE, bool)
    block[20:40, 16:34, 12:28] = True
    hu = np.where(block, 300, 40).astype(np.int16)
    hu[:3], hu[-3:] = -1000, -1000
    affine = np.diag([*(SPACING * np.array(axes)), 1.0])
    affine[:3, 3] = -np.array(axes) * (np.array(SHAPE) - 1) / 2 * SPACING
    return Volume(hu, affine, name="block"), block


def faulty(block: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mask, what is missing in it, what is too much): a piece of the block cut off, a piece beside it added."""
    missing, extra = np.zeros_like(block), np.zeros_like(block)
    missing[33:40, 16:34, 12:28] = True
    extra[12:20, 20:30, 16:24] = True
    return (block & ~missing) | extra, missing, extra
