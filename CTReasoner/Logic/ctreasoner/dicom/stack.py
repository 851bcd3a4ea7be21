"""Planes in space become a stack: one orientation, one spacing, no plane twice, none missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import GeometryError, InputError

if TYPE_CHECKING:
    from .header import Header

FEWEST_SLICES = 3
SAME_PLACE_MM = 0.01  # two slices nearer than this stand on one another
GAP_TOLERANCE = 0.10  # of the spacing, or 0.06 mm: headers round positions to 0.1 mm at worst
ROUNDING_MM = 0.06
SAME_DIRECTION = 1e-3  # difference of direction cosines
TILT_LIMIT = 1e-3  # in-plane drift per mm along the normal; below, the stack counts as rectangular
DRIFT_MM = 0.5  # how far a slice may stray in plane from where the stack's axis says


@dataclass(frozen=True)
class Plane:
    """One slice in space, DICOM's frame (LPS mm): position of the first pixel, directions of row and column."""

    header: Header
    frame: int | None
    position: np.ndarray  # (3,)
    orientation: np.ndarray  # (2, 3): along a row (column index grows), along a column (row index grows)
    spacing: np.ndarray  # (2,): between rows, between columns
    shape: tuple[int, int]  # rows, columns
    slope: float
    intercept: float
    number: int | None  # InstanceNumber, for messages only

    def check(self, name: str) -> None:
        """Refuse values that are no place in space."""
        numbers = np.concatenate([self.position, self.orientation.ravel(), self.spacing, [self.slope, self.intercept]])
        row, column = self.orientation
        unit = abs(np.linalg.norm(row) - 1) < 0.01 and abs(np.linalg.norm(column) - 1) < 0.01 and abs(row @ column) < 0.01
        if not np.isfinite(numbers).all() or not unit or (self.spacing <= 0).any() or self.slope == 0:
            raise GeometryError(f"{name!r} has a position, orientation, spacing or rescale that makes no sense.", code="CTR-IO-034")


@dataclass(frozen=True)
class Stack:
    """Planes in order along their normal, with the step from one to the next (LPS mm)."""

    planes: tuple[Plane, ...]
    row: np.ndarray  # unit vectors, LPS
    column: np.ndarray
    normal: np.ndarray
    step: np.ndarray  # (3,) mean step between neighbours; along the normal unless the gantry was tilted
    is_multiframe: bool

    @property
    def spacing_mm(self) -> float:
        """Return the distance between neighbouring planes, along their normal."""
        return float(self.step @ self.normal)

    @property
    def drift(self) -> np.ndarray:
        """Return the part of the step that lies in the plane, mm along row and column."""
        return np.array([self.step @ self.row, self.step @ self.column])

    @property
    def is_tilted(self) -> bool:
        """Whether the planes are shifted against one another by more than rounding."""
        return bool(np.linalg.norm(self.drift) > TILT_LIMIT * self.spacing_mm)

    @property
    def tilt_degrees(self) -> float:
        """Return the angle between the stack's axis and the planes' normal."""
        return float(np.degrees(np.arctan2(np.linalg.norm(self.drift), self.spacing_mm)))

    @property
    def affine_lps(self) -> np.ndarray:
        """Return 4x4 [column, row, slice] -> LPS mm of the rectangular stack (the step along the normal)."""
        first = self.planes[0]
        affine = np.eye(4)
        affine[:3, 0] = self.row * first.spacing[1]
        affine[:3, 1] = self.column * first.spacing[0]
        affine[:3, 2] = self.normal * self.spacing_mm
        affine[:3, 3] = first.position
        return affine


def lps_to_ras(affine: np.ndarray) -> np.ndarray:
    """Return a 4x4 affine with its world turned from LPS to RAS; the same call turns it back."""
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def stack_planes(planes: Sequence[Plane]) -> Stack:
    """Order planes along their normal.

    Raises
    ------
    InputError : fewer than three, different shapes or directions, planes twice, missing or at unequal distances.
    """
    if len(planes) < FEWEST_SLICES:
        raise InputError(
            f"There {'is' if len(planes) == 1 else 'are'} {len(planes)} CT slice{'s' * (len(planes) != 1)} "
            f"here; a volume needs at least {FEWEST_SLICES}.",
            code="CTR-IO-035",
            hint="Give the folder of the whole series, not one file of it.",
        )
    _check_alike(planes)
    row, column = _orthonormal(planes[0].orientation)
    normal = np.cross(row, column)
    heights = np.array([plane.position @ normal for plane in planes])
    order = np.argsort(heights, kind="stable")
    planes, heights = [planes[k] for k in order], heights[order]
    _check_heights(planes, heights)
    step = (planes[-1].position - planes[0].position) / (len(planes) - 1)
    stack = Stack(tuple(planes), row, column, normal, step, planes[0].frame is not None)
    _check_drift(stack)
    return stack


def _orthonormal(orientation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    row = orientation[0] / np.linalg.norm(orientation[0])
    column = orientation[1] - (orientation[1] @ row) * row
    return row, column / np.linalg.norm(column)


def _check_alike(planes: Sequence[Plane]) -> None:
    first = planes[0]
    for what, values in (
        ("sizes", Counter(plane.shape[::-1] for plane in planes)),
        ("pixel spacings", Counter(tuple(np.round(plane.spacing, 4)) for plane in planes)),
    ):
        if len(values) > 1:
            shown = ", ".join(f"{count} of {' x '.join(f'{v:g}' for v in value)}" for value, count in values.most_common(3))
            raise InputError(
                f"The slices of this series have different {what}: {shown}.",
                code="CTR-IO-036",
                hint="Put the slices of one reconstruction into a folder of their own.",
            )
    frames = {str(plane.header.FrameOfReferenceUID or "") for plane in planes}
    if len(frames) > 1:
        raise InputError(
            f"The slices of this series lie in {len(frames)} frames of reference: their positions cannot be compared.",
            code="CTR-IO-036",
            hint="Ask the sender for the original series; a copy for research may have lost what belongs together.",
        )
    turned = sum(np.abs(plane.orientation - first.orientation).max() > SAME_DIRECTION for plane in planes)
    if turned:
        raise InputError(
            f"{turned} of the {len(planes)} slices of this series lie in another direction than the first.",
            code="CTR-IO-036",
            hint="A rotating or mixed series is not a volume.",
        )


def _check_heights(planes: Sequence[Plane], heights: np.ndarray) -> None:
    gaps = np.diff(heights)
    twice = np.flatnonzero(gaps < SAME_PLACE_MM)
    if len(twice):
        raise _duplicates(planes, heights, twice)
    spacing = float(np.median(gaps))
    tolerance = max(GAP_TOLERANCE * spacing, ROUNDING_MM)
    wrong = np.flatnonzero(np.abs(gaps - spacing) > tolerance)
    if not len(wrong):
        return
    at = int(wrong[0])
    count = gaps[at] / spacing
    where = f"between {_name(planes, at)} ({heights[at]:.1f} mm) and {_name(planes, at + 1)} ({heights[at + 1]:.1f} mm)"
    if count > 1.5 and abs(count - round(count)) * spacing <= max(2 * tolerance, 0.15 * spacing) and len(wrong) <= len(gaps) / 4:
        lost = sum(round(gaps[k] / spacing) - 1 for k in wrong if gaps[k] > spacing)
        total = f" ({lost} in all)" if lost > round(count) - 1 else ""
        raise InputError(
            f"{'A slice is' if round(count) == 2 else f'{round(count) - 1} slices are'} missing {where}: the gap "
            f"is {gaps[at]:.2f} mm, the others are {spacing:.2f} mm{total}.",
            code="CTR-IO-037",
            hint="Copy the complete series.",
        )
    raise InputError(
        f"The slices are at unequal distances: {spacing:.2f} mm for most, but {gaps[at]:.2f} mm {where}.",
        code="CTR-IO-038",
        hint="Give a series with one spacing, or resample it first.",
    )


def _duplicates(planes: Sequence[Plane], heights: np.ndarray, twice: np.ndarray) -> InputError:
    at = int(twice[0])
    places = len(heights) - len(twice)
    if len(heights) % places == 0 and len(heights) // places > 1 and places > 1:
        return InputError(
            f"Every position holds {len(heights) // places} slices ({len(heights)} slices at {places} "
            "positions): several phases or copies in one series.",
            code="CTR-IO-039",
            hint="Put the slices of one phase into a folder of their own.",
        )
    return InputError(
        f"{len(twice)} of {len(heights)} slices stand where another one stands; the first are "
        f"{_name(planes, at)} and {_name(planes, at + 1)} at {heights[at]:.1f} mm.",
        code="CTR-IO-039",
        hint="Remove the copies and try again.",
    )


def _name(planes: Sequence[Plane], k: int) -> str:
    number = planes[k].number
    return f"slice {k + 1} of {len(planes)}" + (f" (image {number})" if number is not None else "")


def _check_drift(stack: Stack) -> None:
    """Refuse planes that do not stand on one straight axis (tilted is straight)."""
    start = stack.planes[0].position
    for k, plane in enumerate(stack.planes):
        off = plane.position - start - k * stack.step
        off = off - (off @ stack.normal) * stack.normal
        if np.linalg.norm(off) > max(DRIFT_MM, 0.0):
            raise InputError(
                f"{_name(stack.planes, k).capitalize()} is shifted sideways by {np.linalg.norm(off):.1f} mm against the others.",
                code="CTR-IO-038",
                hint="A series that changes its centre is not a volume.",
            )
