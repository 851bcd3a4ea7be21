"""``ctreasoner dataset show``: picture sheets of what a data set holds, drawn by the code of the report.

One sheet for each case: the scan with every mask, then a row for each label with its box and its simulated clicks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ctreasoner.geometry import Volume, body_extent
from ctreasoner.io import atomic
from ctreasoner.report.panes import PLANES, Pane, snapped
from ctreasoner.report.pictures import Colour, Drawing, Frame, Outline, draw, fitting_window, png
from ctreasoner.report.sheet import contact_sheet
from ctreasoner.report.story import Picture, Row

from .naming import display_of, vocabulary
from .schema import Case, Label
from .store import DataSet

PANE_PX = 300
CLOSE_UP, SMALLEST_MM = 1.7, 30.0
SOFT, GREY_8_BIT = (40.0, 400.0), (127.5, 255.0)        # level, width
MOST_ROWS = 12
MOST_WORDS = 78


def show(data: DataSet, out: Path, cases: Sequence[str] = ()) -> list[Path]:
    """Write a sheet (PNG) for each case, or for those that are named; returns their paths."""
    out.mkdir(parents=True, exist_ok=True)
    chosen = [data.case(name) for name in cases] or data.cases()
    return [write_picture(case_sheet(data, case), out / f"{case.id}.png") for case in chosen]


def write_picture(picture: Image.Image, path: Path) -> Path:
    with atomic(path) as file:
        file.write(png(picture))
    return path


def case_sheet(data: DataSet, case: Case) -> Image.Image:
    """Everything of one case; more than twelve labels share the first row only."""
    volume = data.volume(case)
    labels = [label for label in data.labels(case.id, proposals=True) if label.state == "present" and label.decision != "rejected"]
    rows = [overview(data, case, volume, labels)]
    largest = sorted(labels, key=lambda label: -label.voxels)[:MOST_ROWS]
    rows += [label_row(data, case, volume, label) for label in labels if label in largest]
    return contact_sheet(rows, most_columns=3)


def label_row(data: DataSet, case: Case, volume: Volume, label: Label) -> Row:
    """Three planes through one label: mask, box, simulated clicks, and the first wording."""
    crop = np.asarray(data.mask(label))
    window = GREY_8_BIT if case.hu == "none" else fitting_window(volume, crop, label.first_voxel)
    half = np.array(label.box.size_mm) / 2
    lo, hi = np.array(label.box.centre_ras) - half, np.array(label.box.centre_ras) + half
    target = _middle(crop, label.first_voxel, volume)
    colour = colour_of(label.key)
    frame = Frame(lo, hi, colour, dashed=True)
    clicks = [c.point_ras for c in label.prompts.clicks if c.positive] if label.prompts else []
    extent = max(CLOSE_UP * float(max(label.box.size_mm)), SMALLEST_MM)
    pictures = []
    for plane in _planes(case):
        pane = Pane.of(plane, target, extent, PANE_PX)
        outline = Outline(crop, label.first_voxel, colour, fill=0.2)
        image = draw(volume, pane, Drawing(window, [outline], frames=[frame], points_ras=clicks))
        pictures.append(Picture(image, f"{label.display}, {plane}", plane))
    return Row("final", label.display, _caption(label), tuple(pictures))


def _caption(label: Label) -> str:
    voxels = f"{label.voxels:,} voxels".replace(",", " ")
    who = f"proposed by {label.proposed_by.name}" if label.proposed_by else f"by {label.drawn_by.kind}"
    said = (label.words or label.wordings or ("",))[0]
    text = ", ".join(part for part in (voxels, label.ends, who, said) if part)
    return text if len(text) <= MOST_WORDS else text[:MOST_WORDS - 3].rsplit(" ", 1)[0] + " ..."


def overview(data: DataSet, case: Case, volume: Volume, labels: Sequence[Label]) -> Row:
    """Three planes through the whole scan, with masks."""
    lo, hi = volume.extent_ras()
    if case.hu != "none":
        inner = body_extent(volume)
        lo, hi = np.maximum(lo, inner[0]), np.minimum(hi, inner[1])
    outlines = [Outline(np.asarray(data.mask(label)), label.first_voxel, colour_of(label.key), fill=0.3) for label in labels]
    target = snapped(volume, (lo + hi) / 2)
    window = GREY_8_BIT if case.hu == "none" else SOFT
    pictures = [Picture(draw(volume, Pane.of(plane, target, 1.05 * float(np.max(hi - lo)), PANE_PX), Drawing(window, outlines)),
                        f"{case.id}, {plane}", plane) for plane in _planes(case)]
    covered = f"{len(labels)} labels, {len(case.covered)} classes covered" if case.covered else "nothing is known of this scan"
    return Row("look", case.id, f"{case.source}, {case.split}, {covered}", tuple(pictures))


def _planes(case: Case) -> tuple[str, ...]:
    return ("axial",) if case.shape[2] == 1 else tuple(PLANES)


def _middle(crop: np.ndarray, first: Sequence[int], volume: Volume) -> np.ndarray:
    """The voxel of a mask that is nearest to its centre of mass, RAS mm."""
    places = np.argwhere(crop)
    nearest = places[np.linalg.norm((places - places.mean(axis=0)) * volume.spacing, axis=1).argmin()]
    return volume.index_to_world([nearest + np.asarray(first)])[0]


def colour_of(key: str) -> Colour:
    """The vocabulary's colour, or one that the name decides."""
    item = vocabulary().get(key)
    if item is not None:
        return item.colour
    digest = hashlib.sha256(display_of(key).encode()).digest()
    return tuple(90 + byte % 150 for byte in digest[:3])
