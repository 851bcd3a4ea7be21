"""Findings for tests of what is written: overlapping, with measurements, attributes and words."""

from __future__ import annotations

import numpy as np
from ctreasoner.dicom import SegObject

SHAPE = (20, 18, 9)
ATTRIBUTES = ({"density": "air", "extent": "complete"}, {"density": "enhanced", "size": "normal"},
              {"texture": "part-solid", "margin": "ill-defined", "spiculation": "present", "calcification": "none"}, {})


def findings() -> list[SegObject]:
    """Return four findings on a grid of ``SHAPE``; the third lies in the first, the last has no name and nothing measured."""
    rng = np.random.default_rng(5)
    places = [((9, 9, 5), (2, 3, 1)), ((4, 5, 4), (12, 2, 4)), ((4, 4, 3), (4, 5, 2)), ((3, 3, 2), (14, 10, 0))]
    names = [("lung_left", "Left lung"), ("aorta", "Aorta"), ("lung_nodule", "Lung nodule"), ("thing", "Clicked thing")]
    made = []
    for n, ((shape, first), (key, display)) in enumerate(zip(places, names, strict=True), start=1):
        made.append(SegObject(
            key=key, display=display, mask=rng.random(shape) > 0.2, first_voxel=first,
            algorithm=("AUTOMATIC", "AUTOMATIC", "SEMIAUTOMATIC", "MANUAL")[n - 1], tracking_id=f"a1.o{n}",
            tracking_uid=f"1.2.826.0.1.77.{n}", measurements=measured(n) if n < 4 else (), attributes=ATTRIBUTES[n - 1],
            text=f"The {display.lower()} measures {10.5 * n:.0f} ml." if n < 4 else ""))
    return made


def measured(n: int) -> list[dict]:
    """Return measurements as they stand in ``answer.json``."""
    rows = [("volume", 10.5 * n, "ml"), ("sphericity", 0.7, "1"), ("mean_hu", -100.25 + n, "HU"), ("sd_hu", 33.125, "HU")]
    rows += [("diameter_max", 31.5, "mm"), ("diameter_max_arch", 27.25, "mm")] if n == 2 else [
        ("long_axis", 20.0 + n, "mm"), ("short_axis", 11.0 + n, "mm")]
    return [{"id": f"a1.o{n}.m{m}", "name": name, "value": value, "unit": unit, "method": ""}
            for m, (name, value, unit) in enumerate(rows, start=1)]
