"""The final view of each finding as one picture that stands alone: outline, lengths, place, and what it must not be used for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw

from ..geometry import Volume
from ..vocabulary import Vocabulary
from .panes import Pane
from .pictures import INK, Drawing, Line, Outline, draw, fitting_window, font
from .story import CLOSE_UP, DRAWN, SMALLEST_MM, ends_of, lies_in, place_of

if TYPE_CHECKING:
    from ..dicom import KeyImage
    from ..dicom.grid import GridMap
    from ..dicom.segment import SegObject

SIZE_PX = 512
BAND_PX = 34
NOT_FOR_CARE = "RESEARCH USE ONLY - not for diagnosis"


def key_image(item: SegObject, volume: Volume, grid: GridMap, vocabulary: Vocabulary) -> KeyImage:
    """Return the axial picture through the fullest slice of a finding (or the slice of its long axis), its mask outlined.

    ``grid`` : where the volume lies in the source series (:func:`ctreasoner.dicom.grid.grid_map`); the picture names its slice.
    """
    from ..dicom import KeyImage
    from ..dicom.segment import coding_of

    mask = np.asarray(item.mask) != 0
    lines = _lines(item.measurements)
    lo, hi, target = place_of(mask, item.first_voxel, volume, lines[0] if lines else None)
    extent = max(CLOSE_UP * float(np.max((hi - lo)[:2])), SMALLEST_MM)
    pane = Pane.of("axial", [*((lo + hi) / 2)[:2], target[2]], extent, SIZE_PX)
    outline = Outline(mask, item.first_voxel, coding_of(item, vocabulary).colour)
    drawing = Drawing(fitting_window(volume, mask, item.first_voxel), [outline],
                      lines=[line for line in lines if lies_in(pane, line, volume)], title=item.display)
    index = np.clip(np.rint(volume.world_to_index(target)).astype(int), 0, np.array(volume.shape) - 1).ravel()
    _, first = grid.place(np.ones((1, 1, 1), bool), tuple(index))
    size = next((f", {m['value']:.3g} {m['unit']}" for m in item.measurements if m["name"] == "volume" and m["value"]), "")
    caption = f"{item.display}{size}. {NOT_FOR_CARE}."
    return KeyImage(_stamped(draw(volume, pane, drawing)), caption, pane.mm_per_px, ("L", "P"), first[2])


def _lines(measurements: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Return the lengths that can be drawn, the long axis first."""
    found = []
    for name in DRAWN:
        measured = next((m for m in measurements if m["name"] == name and m.get("value") is not None), None)
        ends = ends_of(measured.get("geometry")) if measured else None
        if ends is not None and not any(np.allclose(ends, line.ends_ras, atol=0.05) for line in found):
            found.append(Line(ends, f"{measured['value']:.1f} {measured['unit']}"))
    return found


def _stamped(picture: Image.Image) -> np.ndarray:
    """Return the picture (rows, columns, 3) uint8 over a band with the warning, so that the words hide nothing."""
    whole = Image.new("RGB", (picture.width, picture.height + BAND_PX), (90, 20, 20))
    whole.paste(picture, (0, 0))
    at = (whole.width / 2, picture.height + BAND_PX / 2)
    ImageDraw.Draw(whole).text(at, NOT_FOR_CARE, font=font(17), fill=INK, anchor="mm")
    return np.asarray(whole)
