"""Looking at a CT: a view is cut from it, encoded once, and asked about any number of objects."""
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctreasoner.geometry import View, Volume, digest, sample
from ctreasoner.model.vision import STATES, Context, Features, Pixels, VisionModel, face_positions


@dataclass
class Sight:
    """An encoded view of a CT. `digest` is that of the very tensor that was encoded."""
    view: View
    hu: np.ndarray                # float32 [x, y, z]
    digest: str
    features: Features
    pixels: Pixels


@dataclass
class Faces:
    """A box as six face distributions, RAS mm: [3, 2] position, standard deviation, probability that it lies beyond the view."""
    position: np.ndarray
    sd: np.ndarray
    beyond: np.ndarray

    @property
    def lower(self) -> np.ndarray:
        return self.position[:, 0]

    @property
    def upper(self) -> np.ndarray:
        return self.position[:, 1]

    @property
    def size(self) -> np.ndarray:
        return np.maximum(self.upper - self.lower, 1.0)


class Eyes:
    """The vision model with its cache of whole-scan views. `calls` counts pixel decoder runs (for tests and benchmarks)."""

    def __init__(self, vision: VisionModel):
        self.vision = vision.to(memory_format=torch.channels_last_3d)
        self._whole: dict[str, Sight] = {}
        self.calls = 0

    def whole(self, volume: Volume) -> Sight:
        """View 0 of a scan: encoded once per scan (the last four scans are kept)."""
        if volume.identity not in self._whole:
            while len(self._whole) >= 4:
                self._whole.pop(next(iter(self._whole)))
            self._whole[volume.identity] = self.see(volume, View.whole(volume))
        return self._whole[volume.identity]

    def forget(self, identity: str) -> None:
        self._whole.pop(identity, None)

    @torch.inference_mode()
    def see(self, volume: Volume, view: View) -> Sight:
        hu = sample(volume, view)
        tensor = torch.from_numpy(hu)[None, None].contiguous(memory_format=torch.channels_last_3d)
        features = self.vision.encode(tensor)
        return Sight(view, hu, digest(hu), features, self.vision.decode(features, detail=False))

    @torch.inference_mode()
    def context(self, sight: Sight, code: Tensor, prompt: Tensor | None = None) -> tuple[Context, Pixels]:
        """What objects with codes [k, 128] look like in a view; a prompt runs the decoder again for this object alone."""
        pixels = sight.pixels if prompt is None else self.vision.decode(sight.features, prompt[None], detail=False)
        return self.vision.look(pixels, code[None]), pixels

    @torch.inference_mode()
    def masks(self, sight: Sight, context: Context, pixels: Pixels, code: Tensor,
              prompt: Tensor | None = None) -> tuple[Tensor, Pixels]:
        """Mask logits [k, x, y, z] of a view, and the decoder maps they were made from."""
        self.calls += 1
        if pixels.t2 is None:
            pixels = self.vision.detail(sight.features, pixels, None if prompt is None else prompt[None])
            if prompt is None:
                sight.pixels = pixels
        return self.vision.masks(pixels, context, code[None])[0], pixels


def states(context: Context, index: int = 0) -> dict[str, float]:
    """Probability of each state of an object in a view, before calibration."""
    return dict(zip(STATES, context.existence[0, index].softmax(-1).tolist(), strict=True))


def faces(context: Context, view: View, index: int = 0) -> Faces:
    """The box that a context speaks of, in RAS mm."""
    out = [face_positions(axis[0, index]) for axis in context.faces]
    position, sd, beyond = (np.array([o[n].tolist() for o in out]) for n in range(3))
    spacing, lo = np.array(view.spacing_mm)[:, None], np.array(view.lo)[:, None]
    return Faces(lo + position * spacing, sd * spacing, beyond)
