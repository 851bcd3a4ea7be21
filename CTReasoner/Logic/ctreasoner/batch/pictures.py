"""Small pictures of a unit, for the overview: the whole scan with every mask on it, and each object close by."""

from __future__ import annotations

import numpy as np

from ..geometry import Volume
from ..output import OutputFolder
from ..report.panes import Pane, snapped
from ..report.pictures import Drawing, Outline, draw, fitting_window
from ..report.story import CLOSE_UP, SMALLEST_MM, THING_COLOUR, place_of
from ..vocabulary import Vocabulary

FOLDER, SCAN = "pictures", "scan"
SIZE_PX, QUALITY = 240, 80
WHOLE = (40.0, 400.0)       # level and width HU of the whole scan


def write_pictures(output: OutputFolder) -> dict[str, str]:
    """Write JPEGs into a unit; return {"scan" or object id: path relative to it}."""
    vocabulary, volume = Vocabulary.load(), output.volume
    outlines, images = {}, {}
    for found, crop in output.segments():
        known = vocabulary.get(found.name)
        mask = np.asarray(crop) > 0
        outlines[found.id] = Outline(mask, found.mask.first_voxel, tuple(known.colour) if known else THING_COLOUR, fill=0.22)
        images[found.id] = _close(volume, outlines[found.id])
    images[SCAN] = _whole(volume, list(outlines.values()))
    folder = output.folder / FOLDER
    folder.mkdir(exist_ok=True)
    for name, image in images.items():
        image.save(folder / f"{name}.jpg", quality=QUALITY)
    return {name: f"{FOLDER}/{name}.jpg" for name in images}


def _close(volume: Volume, outline: Outline):
    """Return the axial picture round one object."""
    lo, hi, target = place_of(outline.mask, outline.first_voxel, volume, None)
    centre = np.array([*((lo + hi) / 2)[:2], target[2]])
    pane = Pane.of("axial", centre, max(CLOSE_UP * float((hi - lo)[:2].max()), SMALLEST_MM), SIZE_PX)
    return draw(volume, pane, Drawing(fitting_window(volume, outline.mask, outline.first_voxel), [outline]))


def _whole(volume: Volume, outlines: list[Outline]):
    """Return the coronal picture of the whole scan, cut through the middle of what was found."""
    lo, hi = volume.extent_ras()
    targets = [place_of(outline.mask, outline.first_voxel, volume, None)[2] for outline in outlines]
    centre = (lo + hi) / 2
    depth = np.mean(targets, axis=0)[1] if targets else centre[1]
    at = snapped(volume, np.array([centre[0], depth, centre[2]]))
    pane = Pane.of("coronal", [centre[0], at[1], centre[2]], 1.02 * float(max(hi[0] - lo[0], hi[2] - lo[2])), SIZE_PX)
    return draw(volume, pane, Drawing(WHOLE, outlines))
