"""Is it a CT? What can be told from the numbers alone."""

from __future__ import annotations

import numpy as np

from ..errors import InputError, NotACTError
from ..geometry import Volume

FAT_OR_AIR_MM = 120.0   # a scan this wide in two directions holds fat (below 0 HU) or air
SMALLEST_RANGE = 10.0   # noise alone spreads a CT further; 0 to 1 and z-scores do not reach it
LOWEST, HIGHEST = -33_000.0, 70_000.0  # of what scanners and converters write, padding and extended metal scale included
DENSEST = 3071.0        # nothing a patient is made of is denser throughout


def check_ct(volume: Volume, *, eight_bit: bool = False) -> None:
    """Refuse a volume whose voxels cannot be Hounsfield units, with the sentence that says why.

    eight_bit : the file stored one byte per voxel without a scale to HU.
    """
    voxels, name = volume.voxels, volume.name or "this scan"
    if min(volume.shape) < 3:
        shown = " x ".join(map(str, volume.shape))
        raise InputError(f"{name} is {shown} voxels; at least three slices are needed in every direction.",
                         code="CTR-IO-210", hint="Load the whole series instead of a slice.")
    low, high = float(voxels.min()), float(voxels.max())
    if not np.isfinite(low + high):
        bad = int(np.count_nonzero(~np.isfinite(voxels)))
        raise InputError(f"{name} holds {bad:,} voxels that are no numbers (NaN or infinite).", code="CTR-IO-214",
                         hint="Replace them by -1024 (air) if they are padding.")
    if low == high:
        raise InputError(f"all voxels of {name} have the same value ({low:g}): nothing can be seen.", code="CTR-IO-215")
    shown = f"values from {low:g} to {high:g}"
    if eight_bit or (low == 0 and high == 255):
        raise NotACTError(f"{name} is an 8-bit picture ({shown}): its Hounsfield scale is lost.", code="CTR-IO-112",
                          hint="Export the scan again in HU, 16 bit.")
    if high - low < SMALLEST_RANGE:
        raise NotACTError(f"{name} has {shown}: they were rescaled and are not Hounsfield units.", code="CTR-IO-113",
                          hint="Undo the normalisation, or export the scan again in HU.")
    if low < LOWEST or high > HIGHEST or low > DENSEST:
        raise NotACTError(f"{name} has {shown}, which no CT has.", code="CTR-IO-114")
    wide = np.sort(volume.spacing * volume.shape)[1] >= FAT_OR_AIR_MM
    if low >= 0 and wide:
        raise NotACTError(f"{name} has {shown} and neither air nor fat below 0: it is no CT in Hounsfield units.",
                          code="CTR-IO-115",
                          hint="MR, PET and ultrasound are not read. A CT stored with an offset of 1024 must be rescaled.")
