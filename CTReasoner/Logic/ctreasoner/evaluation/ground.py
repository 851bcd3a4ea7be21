"""What the proofs stand on: one scan whose objects were asked for, each with its last look and its hidden states."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from ctreasoner.appearance.wording import spoken
from ctreasoner.engine import Engine
from ctreasoner.evaluation import probe
from ctreasoner.evaluation.scans import Scan
from ctreasoner.geometry import Volume
from ctreasoner.model.eyes import Sight

OBJECTS = ("heart", "aorta", "trachea", "esophagus", "mandible", "brainstem", "parotid_right", "parotid_left")


@dataclass
class Ground:
    """A scan and its carried objects; `small` asks the proofs for their small form, `other` is a scan of another patient."""
    engine: Engine
    scan: Scan
    whole: Sight
    carried: dict[str, probe.Carried]
    small: bool = False
    scans: int = 1
    other: Volume | None = None
    generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(11))

    @property
    def volume(self) -> Volume:
        return self.scan.volume

    def word(self, key: str) -> str:
        return word(self.engine, key)

    def some(self, small: int, full: int) -> int:
        return small if self.small else full


@dataclass(frozen=True)
class Proof:
    """One proof: cases of each ground, then a figure and a verdict over all of them."""
    name: str
    condition: str
    cases: Callable[[Ground], list[dict]]
    verdict: Callable[[list[dict]], tuple[str, bool]]


def ground_text(name: str) -> str:
    """The question by which an object is asked for."""
    return f"please segment the {name} in this scan for me"


def word(engine: Engine, key: str) -> str:
    return spoken(engine.vocabulary.display(key))


def lay(engine: Engine, scan: Scan, keys: Iterable[str] = OBJECTS, **others) -> Ground:
    """Asks for each object of a scan by itself."""
    engine.register(scan.volume)
    carried = {}
    for key in keys:
        if key in scan.present:
            carried[key] = probe.carry(engine, scan.volume, ground_text(word(engine, key)), [key])[0]
    return Ground(engine, scan, engine.eyes.whole(scan.volume), carried, **others)


def median(values: list[float]) -> float:
    return float(np.median(values)) if len(values) else float("nan")


def part_of(flags: Iterable[bool]) -> float:
    """Share of true ones; NaN for none at all."""
    flags = list(flags)
    return sum(map(bool, flags)) / len(flags) if flags else float("nan")
