"""A tilted gantry: slices that are shifted against one another are brought onto a rectangular grid."""

from __future__ import annotations

import numpy as np

from ..errors import InputError
from .stack import Stack

AIR_HU = -1024.0
STEEPEST_DEGREES = 45.0


def straighten(frames: np.ndarray, stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Shift each slice within its own plane so that the stack becomes rectangular.

    Planes and their distances stay as they are; only positions within a plane change, by linear interpolation, and the
    grid grows so that nothing is lost.

    Parameters
    ----------
    frames : (n, rows, columns) HU.

    Returns
    -------
    frames (n, rows + a, columns + b) of the same type, affine 4x4 [column, row, slice] -> LPS mm.
    """
    if stack.tilt_degrees > STEEPEST_DEGREES:
        raise InputError(
            f"The slices are shifted against one another by {stack.tilt_degrees:.0f} degrees; up to "
            f"{STEEPEST_DEGREES:.0f} is read as a tilted gantry.",
            code="CTR-IO-038",
        )
    spacing = stack.planes[0].spacing  # rows, columns
    per_slice = stack.drift[::-1] / spacing  # pixels along (row index, column index) per slice
    shifts = np.arange(len(frames))[:, None] * per_slice  # (n, 2): where a slice's first pixel stands
    low = np.floor(shifts.min(0)).astype(int)
    grow = np.ceil(shifts.max(0)).astype(int) - low
    count, rows, columns = frames.shape
    result = np.full((count, rows + grow[0], columns + grow[1]), AIR_HU, frames.dtype)
    for k in range(count):
        moved = _shift(_shift(frames[k].astype(np.float32), shifts[k, 0] - low[0], grow[0], 0), shifts[k, 1] - low[1], grow[1], 1)
        result[k] = np.rint(moved) if frames.dtype == np.int16 else moved
    affine = stack.affine_lps
    affine[:3, 3] += affine[:3, 0] * low[1] + affine[:3, 1] * low[0]
    return result, affine


def _shift(picture: np.ndarray, by: float, grow: int, axis: int) -> np.ndarray:
    """Return ``picture`` moved by ``by`` pixels (0 to ``grow``) along ``axis``, in a frame that is ``grow`` larger."""
    whole = int(np.floor(by))
    part = np.float32(by - whole)
    widths = [(0, 0), (0, 0)]

    def placed(at: int) -> np.ndarray:
        widths[axis] = (at, grow - at)
        return np.pad(picture, widths, constant_values=AIR_HU)

    if part < 1e-6 or whole + 1 > grow:
        return placed(min(whole, grow))
    return placed(whole) * (1 - part) + placed(whole + 1) * part
