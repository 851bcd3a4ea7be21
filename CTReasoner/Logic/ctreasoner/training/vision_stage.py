"""Stage 1: the vision model learns with a table of codes in place of a language model's hidden states."""
from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ctreasoner.model import prompting
from ctreasoner.model.vision import Features, VisionModel
from ctreasoner.training import augment, common, losses
from ctreasoner.training.sampling import CODES, QUERIES, Sample, Sampler
from ctreasoner.training.views import training_cases

IDENTITY = 64                         # first half of a code: which object; second half: which instance
INSTANCE_NOISE = 0.3


@dataclass
class VisionStage:
    """Settings of stage 1; seconds are wall-clock time."""
    data: str = "runs/data"
    out: str = "runs/vision"
    seconds: float = 3000.0
    rate: float = 1.2e-3
    warm_up: int = 120
    decay: float = 0.03
    batch: int = 2
    seed: int = 1
    threads: int = 2
    start: str = ""                   # an earlier vision.pt, or a model folder, to warm-start from


class CodeTable(nn.Module):
    """One identity vector of norm 8 per object; the instance half is noise in this stage."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(len(CODES), IDENTITY))

    def identities(self) -> Tensor:
        return nn.functional.normalize(self.table, dim=1) * IDENTITY ** 0.5

    def forward(self, samples: list[Sample], generator: torch.Generator) -> Tensor:
        """[b, k, 128] codes; a query without key gets a false code."""
        table = self.identities()
        rows = [[table[CODES.index(key)] if key else self._false(table, generator) for key in s.keys] for s in samples]
        identity = torch.stack([torch.stack(r) for r in rows])
        return torch.cat([identity, INSTANCE_NOISE * torch.randn(identity.shape, generator=generator)], -1)

    @staticmethod
    def _false(table: Tensor, generator: torch.Generator) -> Tensor:
        """Gaussian noise, a permuted or rotated real code, or the mean of two: nothing of this is an object."""
        kind = int(torch.randint(4, (), generator=generator))
        table = table.detach()
        a, b = (table[int(torch.randint(len(table), (), generator=generator))] for _ in range(2))
        if kind == 0:
            return torch.randn(IDENTITY, generator=generator)
        if kind == 1:
            return a[torch.randperm(IDENTITY, generator=generator)]
        if kind == 2 and not torch.equal(a, b):
            return nn.functional.normalize(a + b, dim=0) * IDENTITY ** 0.5
        return torch.roll(a, int(torch.randint(1, IDENTITY, (), generator=generator)))


def batch(samples: list[Sample]) -> dict[str, Tensor]:
    """Stacks samples; per-query tensors are flattened to [b * k, ...]."""
    stacked = {name: torch.stack([getattr(s, name) for s in samples]) for name in (
        "masks", "mask_weight", "state", "state_weight", "faces", "overflow", "box_weight")}
    out = {name: value.flatten(0, 1) for name, value in stacked.items()}
    out["hu"] = torch.stack([s.hu for s in samples])[:, None]
    out["prompt"] = torch.stack([s.prompt for s in samples])
    out["corrected"] = torch.tensor([s.corrected for s in samples])
    out["known"] = torch.stack([s.known for s in samples])[:, None].expand(-1, QUERIES, -1, -1, -1).flatten(0, 1).float()
    return out


def step_loss(vision: VisionModel, data: dict[str, Tensor], codes: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Total loss of one batch of views, and its parts."""
    prompt = data["prompt"] if data["prompt"].any() else None
    features = vision.encode(data["hu"])
    if data["corrected"].any():
        prompt = correction(vision, features, data, codes)
    pixels = vision.decode(features, prompt)
    context = vision.look(pixels, codes)
    logits = vision.masks(pixels, context, codes).flatten(0, 1)
    parts = {"mask": losses.mask_loss(logits, data["masks"], data["mask_weight"], data["known"]),
             "coarse": losses.coarse_loss(context, data["masks"], data["mask_weight"] * (data["known"].amin((1, 2, 3)))),
             "box": losses.box_loss(context, data["faces"], data["overflow"], data["box_weight"]),
             "existence": losses.existence_loss(context, data["state"], data["state_weight"])}
    total = 1.5 * parts["mask"] + 0.4 * parts["coarse"] + 0.3 * parts["box"] + 0.5 * parts["existence"]
    return total, {k: float(v.detach()) for k, v in parts.items()}


@torch.no_grad()
def correction(vision: VisionModel, features: Features, data: dict[str, Tensor], codes: Tensor) -> Tensor:
    """The prompts, where a sample says so, with the model's own mask of one of two queries and a click where it is most wrong.

    A user clicks into the largest error; three times in ten a second click follows where the other kind of error is largest.
    """
    pixels = vision.decode(features, data["prompt"])
    logits = vision.masks(pixels, vision.look(pixels, codes), codes)
    prompts = data["prompt"].clone()
    for row in data["corrected"].nonzero()[:, 0].tolist():
        guess = logits[row, int(torch.randint(2, ()))] > 0
        true = data["masks"].unflatten(0, logits.shape[:2])[row, 0] > 0.5
        errors = {"click_positive": true & ~guess, "click_negative": guess & ~true}
        depth = {name: augment.blur(error.float(), 5) * error for name, error in errors.items()}
        worst = sorted(depth, key=lambda name: float(depth[name].sum()), reverse=True)
        for name in worst[:2 if float(torch.rand(())) < 0.3 else 1]:
            if depth[name].any():
                where = np.unravel_index(int(depth[name].argmax()), guess.shape)
                prompting.add_point(prompts[row], name, tuple(float(i) for i in where))
        prompting.set_mask(prompts[row], guess)
    return prompts


def run(settings: VisionStage) -> Path:
    """Trains until the time is over; resumes from its own checkpoint. Returns the path of the averaged weights."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    vision, table = VisionModel(), CodeTable()
    both = nn.ModuleDict({"vision": vision, "codes": table})
    if settings.start:
        both.load_state_dict(common.start_of(settings.start, ("vision.", "codes.")))
    both.to(memory_format=torch.channels_last_3d)
    training = common.Training("vision", both, settings, every=50)
    sampler = Sampler(training_cases(settings.data), settings.seed + training.step)
    for _ in training.steps():
        samples = sampler.batch(settings.batch)
        training.learn(*step_loss(vision, batch(samples), table(samples, generator)))
    return training.path
