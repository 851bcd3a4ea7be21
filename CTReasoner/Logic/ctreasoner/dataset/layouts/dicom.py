"""DICOM: every folder with one CT series and its segmentation (SEG) or contours (RTSTRUCT). What they name is what they cover."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ctreasoner.errors import InputError
from ctreasoner.geometry import Volume

from ..schema import safe_name
from . import Drawn, Found, Scan, source_of

LOOKS_LIKE = "a folder of DICOM files for each case, CT with SEG or RTSTRUCT"
SEG, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def fits(folder: Path) -> bool:
    return any(True for place in _places(folder) if any(_has_mark(p) for p in _files(place)[:3]))


def _places(folder: Path) -> list[Path]:
    inside = sorted(p for p in folder.iterdir() if p.is_dir())
    return [folder] if any(_has_mark(p) for p in folder.iterdir() if p.is_file()) else inside


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def _has_mark(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def cases(folder: Path, about: dict[str, Any]) -> Iterator[Found]:
    source = source_of(about, name=folder.name)
    for place in _places(folder):
        yield Found(safe_name(place.name), f"{source.name}_{place.name}", source, place.name, lambda place=place: _read(place))


def _read(place: Path) -> Scan:
    from ctreasoner.dicom import read_series

    series = read_series(place)
    found: list[Drawn] = []
    for path in _files(place):
        kind = _kind(path)
        if kind == SEG:
            found += _segments(path, series.volume)
        elif kind == RTSTRUCT:
            found += _contours(path, series.volume)
    if not found:
        raise InputError(f"{place.name} holds a CT, but no SEG and no RTSTRUCT that belongs to it.", code="CTR-DATA-024")
    return Scan(series.volume, iter(found), tuple(d.name for d in found), notes=series.notes)


def _kind(path: Path) -> str:
    import pydicom

    if not _has_mark(path):
        return ""
    try:
        return str(pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"]).get("SOPClassUID", ""))
    except Exception:  # what is broken here, read_series has refused by name already
        return ""


def _segments(path: Path, volume: Volume) -> list[Drawn]:
    """Segments on the grid of the CT; the SEG may lack slices without a mask, and may run the other way."""
    import warnings

    import highdicom

    from ctreasoner.dicom.stack import lps_to_ras

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seg = highdicom.seg.segread(path)
            names = {int(n): str(seg.get_segment_description(n).SegmentLabel) for n in seg.segment_numbers}
            stack = seg.get_volume(combine_segments=False)
    except Exception as error:  # highdicom raises many kinds for a damaged or irregular object
        raise InputError(f"{path.name} is no DICOM segmentation that can be read.", code="CTR-DATA-022") from error
    affine = lps_to_ras(np.asarray(stack.affine))
    values = np.asarray(stack.array)
    return [Drawn(name, _placed(values[..., n] > 0.5, affine, volume, path.name), volume.affine, path.name)
            for n, name in enumerate(names.values())]


def _placed(mask: np.ndarray, affine: np.ndarray, volume: Volume, file: str) -> np.ndarray:
    """A stack with gaps at both ends on the whole grid of the CT; its voxels must be voxels of the CT."""
    out = np.zeros(volume.shape, bool)
    where = np.argwhere(mask)
    at = volume.world_to_index(where @ affine[:3, :3].T + affine[:3, 3])
    whole = np.rint(at).astype(int)
    if len(at) and (np.abs(at - whole).max() > 0.1 or np.any(whole < 0) or np.any(whole >= volume.shape)):
        raise InputError(f"{file} does not lie on the grid of the CT beside it.", code="CTR-DATA-021")
    out[tuple(whole.T)] = True
    if out.sum() != len(where):
        raise InputError(f"{file} has smaller voxels than the CT beside it.", code="CTR-DATA-021")
    return out


def _contours(path: Path, volume: Volume) -> list[Drawn]:
    """Closed planar contours (PS3.3 C.8.8.6) filled slice by slice: a voxel belongs to it when its centre lies inside.

    Contours of one structure in one slice are combined by even-odd: a contour inside another one is a hole.
    """
    import pydicom

    try:
        content = pydicom.dcmread(path)
        names = {int(r.ROINumber): str(r.ROIName) for r in content.StructureSetROISequence}
        found = {}
        for structure in content.ROIContourSequence:
            number = int(structure.ReferencedROINumber)
            rings = [np.array(c.ContourData, float).reshape(-1, 3) for c in structure.get("ContourSequence", ())
                     if c.ContourGeometricType == "CLOSED_PLANAR"]
            if rings:
                found[names[number]] = _filled(rings, volume, path.name)
    except (AttributeError, KeyError, ValueError, TypeError, EOFError, OSError, pydicom.errors.InvalidDicomError) as error:
        raise InputError(f"{path.name} is no set of contours that can be read.", code="CTR-DATA-022") from error
    return [Drawn(name, mask, volume.affine, path.name) for name, mask in found.items()]


def _filled(rings: list[np.ndarray], volume: Volume, file: str) -> np.ndarray:
    from matplotlib.path import Path as Outline

    out = np.zeros(volume.shape, bool)
    for ring in rings:
        at = volume.world_to_index(ring * [-1, -1, 1])                   # LPS -> RAS
        k = round(float(at[:, 2].mean()))
        if np.abs(at[:, 2] - k).max() > 0.25 or not 0 <= k < volume.shape[2]:
            raise InputError(f"A contour of {file} lies between the slices of the CT beside it, or outside.", code="CTR-DATA-021")
        lo = np.clip(np.floor(at[:, :2].min(axis=0)).astype(int), 0, volume.shape[:2])
        hi = np.clip(np.ceil(at[:, :2].max(axis=0)).astype(int) + 1, lo, volume.shape[:2])
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(lo, hi, strict=True)), indexing="ij"), axis=-1)
        inside = Outline(at[:, :2]).contains_points(grid.reshape(-1, 2)).reshape(grid.shape[:2])
        out[lo[0]:hi[0], lo[1]:hi[1], k] ^= inside
    return out
