"""What lies in a folder, file, zip or DICOMDIR: one line for each series, and whether it can be asked about."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError
from .choosing import choose, is_ct_slice, kind, value_of
from .header import Header, reading
from .series import planes_of, read_headers
from .stack import stack_planes

# How series descriptions name the phase of contrast; there is no attribute for it in a CT image.
PHASES = (
    ("native", r"nativ|non[- ]?contrast|without contrast|unenhanced|ohne km|\bplain\b"),
    ("portal venous", r"portal|porto|\bpv\b"),
    ("arterial", r"arteri|\bart\b|angio|\bcta\b"),
    ("delayed", r"delay|\blate\b|excret|urograph|\bsp[aä]t"),
    ("nephrographic", r"nephro"),
    ("venous", r"venous|ven[oö]s|\bven\b"),
)


@dataclass(frozen=True)
class SeriesEntry:
    """One series as it is listed.

    number : SeriesNumber as text, which ``--series`` takes; "" where there is none.
    images : slices, frames of multi-frame objects counted one by one.
    thickness_mm, spacing_mm : SliceThickness, and the distance of neighbouring slices; None where unknown.
    phase : phase of contrast as the description names it; else "with contrast" where an agent is recorded; else "".
    kernel : ConvolutionKernel.
    problem : why no question can be asked about it, in one sentence; "" for a CT volume.
    """

    uid: str
    number: str
    modality: str
    description: str
    images: int
    thickness_mm: float | None
    spacing_mm: float | None
    phase: str
    kernel: str
    problem: str


def list_series(path: str | os.PathLike) -> list[SeriesEntry]:
    """Return every series under ``path``, in the order of their numbers; only headers are decoded.

    Raises
    ------
    InputError : a file that is damaged or cut off, or no DICOM at all.
    """
    groups: dict[tuple[str, bool], list[Header]] = {}
    for header in read_headers(path)[0]:
        groups.setdefault((str(header.SeriesInstanceUID), is_ct_slice(header)), []).append(header)
    entries = [_entry(group) for group in groups.values()]
    return sorted(entries, key=lambda entry: (int(entry.number) if entry.number.lstrip("-").isdigit() else 1 << 31, entry.uid))


def _entry(group: Sequence[Header]) -> SeriesEntry:
    first = group[0]
    with reading(first.member):
        thickness = value_of(first, "SliceThickness")
        kernel = value_of(first, "ConvolutionKernel") or ""
        spacing, problem = _volume(group)
        return SeriesEntry(
            uid=str(first.SeriesInstanceUID or ""),
            number=str(first.SeriesNumber if first.SeriesNumber is not None else ""),
            modality=str(first.Modality or ""),
            description=str(first.SeriesDescription or ""),
            images=sum(int(header.NumberOfFrames or 1) for header in group),
            thickness_mm=float(thickness) if thickness not in (None, "") else None,
            spacing_mm=spacing,
            phase=phase_of(first),
            kernel=kernel if isinstance(kernel, str) else " ".join(map(str, kernel)),
            problem=problem,
        )


def _volume(group: Sequence[Header]) -> tuple[float | None, str]:
    """Return (distance of slices in mm, problem) of a series."""
    try:
        if not is_ct_slice(group[0]):
            return None, f"Not a CT volume: {kind(group[0])}."
        stack = stack_planes(planes_of(choose(group, None, [])))
    except InputError as error:
        return None, str(error)
    return round(stack.spacing_mm, 3), ""


def phase_of(header: Header) -> str:
    """Return the phase of contrast, as far as the header tells."""
    words = f"{header.SeriesDescription or ''} {header.ProtocolName or ''}".lower()
    named = next((phase for phase, pattern in PHASES if re.search(pattern, words)), "")
    return named or ("with contrast" if str(header.ContrastBolusAgent or "").strip() else "")
