"""Grids: label files read with their affine, everything turned to the nearest RAS axes, and two grids compared."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ctreasoner.errors import GeometryError, InputError
from ctreasoner.geometry import Volume

TOLERANCE_VOXELS = 0.1        # how far two grids may disagree at their corners and still be one


def turned(array: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same voxels with axes nearest to R, A, S, and their affine; nothing is resampled."""
    from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation

    way = io_orientation(affine)
    return apply_orientation(array, way), np.asarray(affine) @ inv_ornt_aff(way, array.shape)


def turned_volume(volume: Volume) -> Volume:
    voxels, affine = turned(volume.voxels, volume.affine)
    return Volume(voxels, affine, name=volume.name, source=volume.source, notes=volume.notes)


def same_grid(shape: tuple[int, ...], affine: np.ndarray, volume: Volume) -> str:
    """Empty where a grid is that of the CT, else what differs, in words."""
    if tuple(shape) != volume.shape:
        return f"has {' x '.join(map(str, shape))} voxels, the CT {' x '.join(map(str, volume.shape))}"
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1).T
    away = np.abs(volume.world_to_index(corners @ affine[:3, :3].T + affine[:3, 3]) - corners).max()
    if away > TOLERANCE_VOXELS:
        millimetres = float(np.linalg.norm(corners[0] @ affine[:3, :3].T + affine[:3, 3] - volume.index_to_world(corners[:1])[0]))
        return f"lies up to {away:.1f} voxels away from the CT ({millimetres:.1f} mm at its first voxel)"
    return ""


def on_grid(mask: np.ndarray, affine: np.ndarray, volume: Volume, file: str) -> np.ndarray:
    """A mask turned like a turned volume; GeometryError (CTR-DATA-021) names ``file`` where its grid is another."""
    mask, affine = turned(mask, affine)
    wrong = same_grid(mask.shape, affine, volume)
    if wrong:
        raise GeometryError(f"{file} {wrong}.", code="CTR-DATA-021", hint="Save the mask on the grid of the CT.")
    return mask


def read_labels(path: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """(whole numbers [i, j, k], affine) of a NIfTI, NRRD or MetaImage file of labels.

    Raises: InputError, CTR-IO-... for the file, CTR-DATA-022 for values that are no label numbers.
    """
    from ctreasoner.io.raw import head_of, read_raw
    from ctreasoner.io.reading import FORMATS

    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no file {path.name}.", code="CTR-IO-001")
    head = head_of(path, 540)
    header = next((read(path) for is_it, read in FORMATS if is_it(head)), None)
    if header is None:
        raise InputError(f"{path.name} is no file of labels that can be read.", code="CTR-DATA-022",
                         hint="NIfTI, NRRD and MetaImage are.")
    stored = read_raw(path, header)
    values = stored if (header.slope, header.intercept) == (1.0, 0.0) else stored * header.slope + header.intercept
    if values.dtype.kind == "f":
        whole = np.rint(values)
        if not np.isfinite(values).all() or not np.allclose(values, whole, atol=1e-3):
            raise InputError(f"{path.name} holds values that are no label numbers (fractions).", code="CTR-DATA-022",
                             hint="Resample labels by nearest neighbour, never by interpolation.")
        values = whole
    if values.min() < 0 or values.max() > 65535:
        raise InputError(f"{path.name} holds label numbers from {values.min():g} to {values.max():g}.", code="CTR-DATA-022")
    return values.astype(np.uint8 if values.max() < 256 else np.uint16), header.affine


def read_segments(path: str | os.PathLike) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """(name, mask [i, j, k] bool, affine) of every segment of a .seg.nrrd as 3D Slicer and we write it, layers included."""
    import nrrd

    from ctreasoner.io.nrrd import SPACES

    path = Path(path)
    try:
        data, header = nrrd.read(str(path))
        signs = SPACES[header["space"].lower()]
        vectors = np.array(header["space directions"], float)[-3:]
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = vectors.T, header["space origin"]
        affine[:3] *= np.array(signs)[:, None]
        count = sum(1 for name in header if name.startswith("Segment") and name.endswith("_LabelValue"))
        for n in range(count):
            layer = int(header.get(f"Segment{n}_Layer", 0))
            values = data[layer] if data.ndim == 4 else data
            yield header[f"Segment{n}_Name"], values == int(header[f"Segment{n}_LabelValue"]), affine
    except (OSError, ValueError, KeyError, IndexError, nrrd.errors.NRRDError) as error:
        raise InputError(f"{path.name} is no segmentation that can be read.", code="CTR-DATA-022",
                         hint="Save it from 3D Slicer as .seg.nrrd, or as NIfTI.") from error


def tight(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]] | None:
    """(crop, first voxel) of a mask, None for an empty one."""
    lo, hi = [], []
    for axis in range(3):
        line = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(line):
            return None
        lo.append(int(line[0]))
        hi.append(int(line[-1]) + 1)
    return np.ascontiguousarray(mask[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))]), tuple(lo)


def touches_border(crop: np.ndarray, first: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a tight crop reaches the first or last plane of the scan along an axis with more than one plane."""
    return any(n > 1 and (f == 0 or f + c == n) for f, c, n in zip(first, crop.shape, shape, strict=True))
