"""A part of a CT as an expert's package wants it: an array along named directions, and the way back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..geometry import Volume

MARGIN_MM = 40.0        # round a box: what lies beside an organ tells where it ends


@dataclass(frozen=True)
class Crop:
    """A box of voxels of a volume, [i, j, k], from `first` on; its axes are turned by `order` and flipped where `flips` says so.

    orientation : three letters, where x, y, z of the array go: "LPS" is what SimpleITK reads of a usual CT, "RAS" nibabel's.
    """

    volume: Volume
    first: tuple[int, int, int]
    shape: tuple[int, int, int]
    orientation: str

    @classmethod
    def of(cls, volume: Volume, box=None, orientation: str = "LPS", margin_mm: float = MARGIN_MM) -> Crop:
        """The voxels of a box (lowest, highest RAS mm) and a margin, or of the whole volume."""
        if box is None:
            return cls(volume, (0, 0, 0), volume.shape, orientation)
        lo, hi = (np.asarray(p, float) for p in box)
        corners = np.array([[(lo, hi)[n >> a & 1][a] for a in range(3)] for n in range(8)])
        index = volume.world_to_index(corners)
        margin = margin_mm / volume.spacing
        first = np.clip(np.floor(index.min(0) - margin), 0, np.array(volume.shape) - 1).astype(int)
        last = np.clip(np.ceil(index.max(0) + margin) + 1, first + 1, volume.shape).astype(int)
        return cls(volume, tuple(map(int, first)), tuple(map(int, last - first)), orientation)

    def _turn(self) -> tuple[list[int], list[int]]:
        """(voxel axis for each axis of the array, axes of the turned array to flip)."""
        directions = self.volume.affine[:3, :3] / self.volume.spacing
        rest, order, flips = [0, 1, 2], [], []
        for place, letter in enumerate(self.orientation):
            world = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}[letter]
            axis = max(rest, key=lambda a: abs(directions[world, a]))
            rest.remove(axis)
            order.append(axis)
            if (directions[world, axis] > 0) != (letter in "RAS"):
                flips.append(place)
        return order, flips

    @property
    def spacing_mm(self) -> list[float]:
        return [float(self.volume.spacing[a]) for a in self._turn()[0]]

    @property
    def array_shape(self) -> list[int]:
        return [self.shape[a] for a in self._turn()[0]]

    def array(self) -> np.ndarray:
        """HU, int16 or float32, along `orientation`."""
        order, flips = self._turn()
        part = self.volume.voxels[tuple(slice(f, f + n) for f, n in zip(self.first, self.shape, strict=True))]
        return np.ascontiguousarray(np.flip(part.transpose(order), flips))

    def back(self, labels: np.ndarray) -> np.ndarray:
        """Labels along `orientation` as they lie in the volume, [i, j, k] of the crop."""
        order, flips = self._turn()
        return np.flip(labels, flips).transpose(np.argsort(order))


def tight(mask: np.ndarray, first: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """A mask's own bounding box: (crop uint8, first voxel); an empty mask has an empty crop."""
    spans = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    if not len(spans[0]):
        return np.zeros((0, 0, 0), np.uint8), first
    crop = mask[tuple(slice(s[0], s[-1] + 1) for s in spans)]
    return np.ascontiguousarray(crop, np.uint8), tuple(int(f + s[0]) for f, s in zip(first, spans, strict=True))
