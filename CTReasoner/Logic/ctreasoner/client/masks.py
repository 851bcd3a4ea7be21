"""A mask that a person changed, on its way to the engine: a crop and where it begins, in one .npz file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, ResourceError


def write_crop(path: str | os.PathLike, crop: np.ndarray, first_voxel: Sequence[int]) -> Path:
    """Write a crop [i, j, k] of a mask on the CT's grid that begins at `first_voxel`; `Request.edited` takes the path.

    The name gets the suffix .npz. An empty crop says that nothing is left of the object.

    Raises
    ------
    ResourceError : where it cannot be written (CTR-RES-001).
    """
    path = Path(path)
    path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as file:
            np.savez(file, mask=np.asarray(crop) > 0, first_voxel=np.asarray(first_voxel, int))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise ResourceError(f"The changed mask could not be handed to the engine: {error.strerror or error}.",
                            code="CTR-RES-001", hint="Free some space in the folder for temporary files.") from error
    return path


def read_crop(path: str | os.PathLike, shape: Sequence[int]) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return (crop, first voxel) of a file that `write_crop` wrote; `shape` is that of the CT.

    Raises
    ------
    InputError : where it is damaged or does not lie in the CT (CTR-WRK-020).
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            mask, first = file["mask"], tuple(int(n) for n in file["first_voxel"])
    except Exception as error:  # zipfile and numpy raise many kinds for a damaged file
        raise _refused(path, "cannot be read") from error
    if mask.ndim != 3 or len(first) != 3 or (mask.size and not _inside(mask.shape, first, shape)):
        raise _refused(path, "does not lie in the CT")
    return mask, first


def crop_of(whole: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return (crop, first voxel) of a mask on the whole grid; an empty one has an empty crop."""
    spans = [np.flatnonzero(whole.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    if not all(len(s) for s in spans):
        return whole[:0, :0, :0], (0, 0, 0)
    where = tuple(slice(int(s[0]), int(s[-1]) + 1) for s in spans)
    return whole[where], tuple(s.start for s in where)


def expand(crop: np.ndarray, first_voxel: Sequence[int], shape: Sequence[int]) -> np.ndarray:
    """Return the mask [i, j, k] bool on the whole grid."""
    whole = np.zeros(tuple(shape), bool)
    whole[tuple(slice(a, a + n) for a, n in zip(first_voxel, crop.shape, strict=True))] = crop
    return whole


def _inside(size: Sequence[int], first: Sequence[int], shape: Sequence[int]) -> bool:
    return all(a >= 0 and a + n <= whole for a, n, whole in zip(first, size, shape, strict=True))


def _refused(path: str | os.PathLike, why: str) -> InputError:
    return InputError(f"The changed mask {Path(path).name} {why}.", code="CTR-WRK-020", hint="Edit it again.")
