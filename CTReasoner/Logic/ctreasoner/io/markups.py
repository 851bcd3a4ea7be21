"""Boxes and diameters as 3D Slicer's markups (.mrk.json, schema 1.0.3). Slicer's files are LPS; so are these."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .files import atomic

SCHEMA = ("https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
          "markups-schema-v1.0.3.json#")
RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True, kw_only=True)
class BoxMarkup:
    """A box: centre, full edge lengths (mm) and the directions of its axes (rows), RAS."""

    name: str
    centre_ras: Sequence[float]
    size_mm: Sequence[float]
    axes: Sequence[Sequence[float]] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    colour: Sequence[int] = (255, 200, 0)
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class LineMarkup:
    """A diameter: its two end points, RAS."""

    name: str
    ends_ras: Sequence[Sequence[float]]
    colour: Sequence[int] = (255, 200, 0)
    description: str = ""


def write_markups(items: Sequence[BoxMarkup | LineMarkup], path: str | os.PathLike) -> None:
    """Write boxes and lines into one file; Slicer makes one node of each."""
    content = {"@schema": SCHEMA, "markups": [_box(m) if isinstance(m, BoxMarkup) else _line(m) for m in items]}
    with atomic(path) as file:
        file.write((json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode("utf-8"))


def _box(markup: BoxMarkup) -> dict[str, Any]:
    axes = np.asarray(markup.axes, float) * RAS_TO_LPS  # rows: each axis of the box in LPS
    return _common(markup, "ROI", [markup.centre_ras]) | {
        "roiType": "Box", "center": _lps(markup.centre_ras), "size": [float(s) for s in markup.size_mm],
        "orientation": [float(v) + 0.0 for v in axes.T.ravel()],  # columns: the axes
        "insideOut": False,
    }


def _line(markup: LineMarkup) -> dict[str, Any]:
    length = float(np.linalg.norm(np.subtract(*np.asarray(markup.ends_ras, float))))
    measured = {"name": "length", "enabled": True, "value": length, "units": "mm", "printFormat": "%-#4.4g%s"}
    return _common(markup, "Line", markup.ends_ras) | {"measurements": [measured]}


def _common(markup: BoxMarkup | LineMarkup, kind: str, points: Sequence[Sequence[float]]) -> dict[str, Any]:
    colour = [round(c / 255, 6) for c in markup.colour]
    return {
        "type": kind, "name": markup.name, "coordinateSystem": "LPS", "coordinateUnits": "mm", "locked": True,
        "fixedNumberOfControlPoints": True, "labelFormat": "%N", "lastUsedControlPointNumber": len(points),
        "controlPoints": [
            {"id": str(n), "label": markup.name, "description": markup.description, "associatedNodeID": "",
             "position": _lps(point), "orientation": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0], "selected": True,
             "locked": True, "visibility": True, "positionStatus": "defined"}
            for n, point in enumerate(points, start=1)],
        "measurements": [],
        "display": {"visibility": True, "opacity": 1.0, "color": colour, "selectedColor": colour,
                    "fillVisibility": False, "fillOpacity": 0.0, "outlineVisibility": True, "handlesInteractive": False,
                    "pointLabelsVisibility": False, "propertiesLabelVisibility": True},
    }


def _lps(point: Sequence[float]) -> list[float]:
    return [float(v) + 0.0 for v in np.asarray(point, float) * RAS_TO_LPS]
