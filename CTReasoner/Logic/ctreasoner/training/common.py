"""What every training stage shares: a wall-clock schedule, an averaged copy of the weights, curves, resumable checkpoints."""
from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

SAVE_S = 240.0               # a checkpoint is written each time that so much more has passed


class Clock:
    """Cosine over the fraction of the wall-clock time that a stage may take, so that every piece ends at a low rate."""

    def __init__(self, seconds: float, used: float = 0.0):
        self.seconds, self.used, self.last = seconds, used, time.monotonic()

    def tick(self) -> float:
        """Fraction of the time that is over. Pauses of more than a minute (a stopped process) do not count."""
        now = time.monotonic()
        self.used += min(now - self.last, 60.0)
        self.last = now
        return self.used / self.seconds

    def rate(self, fraction: float, step: int, warm_up: int, last: float = 0.02) -> float:
        cosine = last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, fraction)))
        return cosine * min(1.0, (step + 1) / warm_up)


class Average:
    """Exponential moving average of a module's floating point state; decay min(limit, (1 + t) / (10 + t))."""

    def __init__(self, module: nn.Module, limit: float = 0.998):
        self.limit, self.steps = limit, 0
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        decay = min(self.limit, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for key, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def parameter_groups(module: nn.Module, rate: float, decay: float) -> list[dict]:
    """Weight decay on matrices and kernels only: none on norms, biases, embeddings."""
    groups: dict[bool, list] = {True: [], False: []}
    for name, p in module.named_parameters():
        if p.requires_grad:
            groups[p.ndim > 1 and "embed" not in name and "table" not in name].append(p)
    return [{"params": groups[True], "weight_decay": decay, "peak": rate, "lr": rate},
            {"params": groups[False], "weight_decay": 0.0, "peak": rate, "lr": rate}]


def set_rate(optimiser: torch.optim.Optimizer, factor: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def save_state(path: Path, **state) -> None:
    """Atomic torch.save of a training state (read back only by `load_state`, weights_only)."""
    temporary = path.with_suffix(".tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)


def load_state(path: Path) -> dict | None:
    return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None


def start_of(path: str, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Averaged weights to start from, of a checkpoint or a model folder: those whose names begin with one of the prefixes.

    The stage "language" stores its names without the prefix, and gets them so. A folder's code table lies in its
    training_state.json (the engine has no use for it).
    """
    folder = Path(path)
    if not folder.is_dir():
        state = torch.load(path, map_location="cpu", weights_only=True)["average"]
    else:
        state = {k: v.float() for part in sorted(folder.glob("*.safetensors")) for k, v in load_file(part).items()}
        state["language.model.lm_head.weight"] = state["language.model.model.embed_tokens.weight"]      # tied, stored once
        state["codes.table"] = torch.tensor(json.loads((folder / "training_state.json").read_text())["codes"])
    if prefixes == ("language.",):
        return {k.removeprefix("language."): v for k, v in state.items() if not k.startswith(("vision.", "codes."))}
    return {k: v for k, v in state.items() if k.startswith(prefixes)}


class Means:
    """Means of the losses that were added since they were last taken."""

    def __init__(self) -> None:
        self.sums, self.count = {}, 0

    def add(self, parts: dict[str, float]) -> None:
        self.count += 1
        for key, value in parts.items():
            self.sums[key] = self.sums.get(key, 0.0) + value

    def take(self) -> dict[str, float]:
        means = {key: value / self.count for key, value in self.sums.items()}
        self.sums, self.count = {}, 0
        return means


class Curve:
    """Appends one JSON line per report to curve-<stage>.jsonl and prints it."""

    def __init__(self, folder: Path, stage: str):
        self.path = folder / f"curve-{stage}.jsonl"

    def add(self, **values) -> None:
        line = json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in values.items()})
        with open(self.path, "a", encoding="utf-8") as f:
            f.write(line + "\n")
        print(line, flush=True)


def write_pid(folder: Path) -> Path:
    """The pid file by which benchmarks and people pause a training (SIGSTOP, SIGCONT)."""
    path = folder / "train.pid"
    path.write_text(str(os.getpid()))
    return path


class Training:
    """One resumable training of a module: rates, average, curve, checkpoints and the pid file; a stage gives the losses.

    `settings` hold out, seconds, rate, warm_up, decay, batch and seed; the checkpoint is out/<name>.pt.
    """

    def __init__(self, name: str, module: nn.Module, settings, every: int):
        self.module, self.settings, self.every = module, settings, every
        self.out = Path(settings.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.path, self.pid = self.out / f"{name}.pt", write_pid(self.out)
        self.optimiser = torch.optim.AdamW(parameter_groups(module, settings.rate, settings.decay), betas=(0.9, 0.98))
        self.average, self.clock, self.step = Average(module), Clock(settings.seconds), 0
        if (state := load_state(self.path)) is not None:
            module.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.average.state, self.average.steps = state["average"], state["step"]
            self.clock.used, self.step = state["seconds"], state["step"]
        self.curve, self.means, self.saved = Curve(self.out, name), Means(), self.clock.used

    def steps(self, most: int = 0) -> Iterator[int]:
        """The number of each step until the time is over, or, where given, until `most` steps are done; then the last checkpoint
        is written and the pid file goes."""
        while (fraction := self._over(most)) < 1.0:
            set_rate(self.optimiser, self.clock.rate(fraction, self.step, self.settings.warm_up))
            yield self.step
        self._save()
        self.pid.unlink(missing_ok=True)

    def _over(self, most: int) -> float:
        time = self.clock.tick()
        return self.step / most if most else time

    def learn(self, loss: Tensor, parts: dict[str, float]) -> None:
        """One step down; gradients that are not finite are left out."""
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        if torch.isfinite(nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)):
            self.optimiser.step()
        self.average.update(self.module)
        self.step += 1
        self.means.add(parts)
        if self.step % self.every == 0:
            self.curve.add(step=self.step, seconds=round(self.clock.used), **self.means.take())
        if self.clock.used - self.saved > SAVE_S:
            self.saved = self.clock.used
            self._save()

    def _save(self) -> None:
        save_state(self.path, model=self.module.state_dict(), optimiser=self.optimiser.state_dict(), average=self.average.state,
                   seconds=self.clock.used, step=self.step, views=self.step * self.settings.batch, seed=self.settings.seed)
