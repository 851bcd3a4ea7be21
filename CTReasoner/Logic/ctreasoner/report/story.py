"""The story of each object in a stream of events, and its pictures: look by look, then the mask with its measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..appearance.wording import spoken
from ..errors import InputError
from ..events import Box, By, Category, Event, Existence, Look, Mask, Measurement, load_mask
from ..geometry import Volume
from ..vocabulary import Vocabulary
from .panes import PLANES, Pane, snapped
from .pictures import NEXT, Colour, Drawing, Frame, Line, Outline, draw, fitting_window

PANE_PX = 420
CLOSE_UP = 1.35                     # the final picture shows this much more than the object
SMALLEST_MM = 30.0                  # and at least this
MOST_OBLIQUE = 3                    # extra pictures in the plane of a diameter
THING_COLOUR = (235, 200, 80)
# the lines that are drawn; long and short axis lie in an axial slice, diameters across a centre line get their own plane
DRAWN = ("long_axis", "short_axis", "diameter_max_ascending", "diameter_max_arch", "diameter_max_descending", "diameter_max")


@dataclass
class ObjectStory:
    """What a stream said about one object."""

    id: str
    name: str = ""
    display: str = ""
    state: str = ""
    probability: float | None = None
    boxes: list[Box] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    mask: Mask | None = None
    categories: list[Category] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    colour: Colour = THING_COLOUR
    by: By | None = None


@dataclass(frozen=True)
class Picture:
    """One finished pane with words for those who cannot see it."""

    image: Image.Image
    alt: str
    plane: str


@dataclass(frozen=True)
class Row:
    """Pictures that belong together: one look, or the final mask."""

    kind: str                       # "look" or "final"
    title: str
    caption: str
    pictures: tuple[Picture, ...]


def stories(events: Iterable[Event], vocabulary: Vocabulary | None = None,
            earlier: Mapping[str, ObjectStory] | None = None) -> list[ObjectStory]:
    """Return the objects of one answer's events, in the order in which they came.

    earlier : objects of earlier answers by id; a follow-up speaks of them without naming them again.
    """
    vocabulary = vocabulary or Vocabulary.load()
    found: dict[str, ObjectStory] = {}
    looks: list[Look] = []
    for event in events:
        if isinstance(event, Look):
            looks.append(event)
            continue
        key = getattr(event, "object", None)
        if key is None:
            continue
        story = found.setdefault(key, _known(key, (earlier or {}).get(key)))
        if isinstance(event, Existence):
            story.name, story.display = event.name, event.display or vocabulary.display(event.name)
            story.state, story.probability = event.state, event.probability
            story.by = event.by
        elif isinstance(event, Box):
            story.boxes.append(event)
        elif isinstance(event, Mask):
            story.mask = event
        elif isinstance(event, Category):
            story.categories.append(event)
        elif isinstance(event, Measurement):
            story.measurements.append(event)
    for story in found.values():
        story.looks = _looks_of(story, looks)
        entry = vocabulary.get(story.name)
        story.colour = tuple(entry.colour) if entry else THING_COLOUR
        story.display = story.display or vocabulary.display(story.name or "object")
    return list(found.values())


def _known(key: str, old: ObjectStory | None) -> ObjectStory:
    return ObjectStory(key, old.name, old.display, old.state, old.probability, by=old.by) if old else ObjectStory(key)


def _looks_of(story: ObjectStory, looks: Sequence[Look]) -> list[Look]:
    """Return the path to an object: the whole scan, its own looks, and shared ones that its boxes refer to."""
    if not story.boxes and all(look.object != story.id for look in looks):
        return []                                               # a follow-up, or an object that was never looked for
    own = [look for look in looks if look.object in (None, story.id)]
    steps = {look.step for look in own}
    needed = {box.look for box in story.boxes} - steps
    shared = {look.step: look for look in looks if look.step in needed}
    return sorted([*own, *shared.values()], key=lambda look: look.step)


def object_pictures(story: ObjectStory, volume: Volume, folder: str | Path, clicks: Sequence = (),
                    size_px: int = PANE_PX) -> list[Row]:
    """Return the rows of pictures of one object: every look, then the final mask.

    Parameters
    ----------
    folder : where the mask's array lies. clicks : RAS points to mark in the final row.
    """
    rows = [_look_row(story, volume, number, size_px) for number in range(len(story.looks))]
    if story.mask is not None and story.mask.voxels > 0:
        try:
            mask = load_mask(story.mask, folder)
        except InputError:
            return rows                                         # the stream is whole, its arrays are gone
        rows.append(_final_row(story, volume, np.asarray(mask) > 0, clicks, size_px))
    return rows


# --- one look --------------------------------------------------------------------------------------------------------
def _look_row(story: ObjectStory, volume: Volume, number: int, size_px: int) -> Row:
    look = story.looks[number]
    lo, hi = _bounds(look.view.centre_ras, look.view.size_mm)
    box = next((b for b in reversed(story.boxes) if b.look == look.step), None)
    frames = []
    if number + 1 < len(story.looks):
        coming = story.looks[number + 1].view
        frames.append(Frame(*_bounds(coming.centre_ras, coming.size_mm), NEXT, dashed=True))
    if box is not None:
        frames.append(Frame(*_bounds(box.centre_ras, box.size_mm), story.colour))
    target = np.array(box.centre_ras if box is not None else look.view.centre_ras)
    target = snapped(volume, np.clip(target, lo, hi))
    pictures = []
    for plane in PLANES:
        extent = 1.02 * float(np.max((hi - lo)[_axes_of(plane)]))
        pane = Pane.of(plane, _in_plane(plane, (lo + hi) / 2, target), extent, size_px)
        image = draw(volume, pane, Drawing(look.window, frames=frames, inside=(lo, hi)))
        words = f"{plane} picture of look {look.step}" + (f" with the box of the {spoken(story.display)}" if box else "")
        pictures.append(Picture(image, words, plane))
    size = " × ".join(f"{v:.0f}" for v in look.view.size_mm)
    spacing = _one_number(look.view.spacing_mm)
    score = f" · box score {box.score:.2f}" if box is not None else ""
    return Row("look", f"Look {look.step}: {look.why}", f"{size} mm at {spacing} mm{score}", tuple(pictures))


def _axes_of(plane: str) -> list[int]:
    """Return the two world axes that a plane shows."""
    return [int(np.argmax(np.abs(direction))) for direction in PLANES[plane]]


def _in_plane(plane: str, middle: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the middle of a field of view, moved along the pane's normal to where the object is."""
    normal = np.abs(np.cross(*PLANES[plane]))
    return middle * (1 - normal) + target * normal


def _bounds(centre: Sequence[float], size: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    centre, half = np.array(centre, float), np.array(size, float) / 2
    return centre - half, centre + half


def _one_number(values: Sequence[float]) -> str:
    return f"{values[0]:.2g}" if np.ptp(values) < 0.01 else " × ".join(f"{v:.2g}" for v in values)


# --- the mask --------------------------------------------------------------------------------------------------------
def _final_row(story: ObjectStory, volume: Volume, mask: np.ndarray, clicks: Sequence, size_px: int) -> Row:
    first = story.mask.first_voxel
    window = fitting_window(volume, mask, first)
    lines = _lines(story)
    lo, hi, target = place_of(mask, first, volume, lines.get("long_axis"))
    outline = Outline(mask, first, story.colour, fill=0.22)
    pictures = []
    shown: set[str] = set()
    for plane in PLANES:
        extent = max(CLOSE_UP * float(np.max((hi - lo)[_axes_of(plane)])), 0.4 * float(np.max(hi - lo)), SMALLEST_MM)
        pane = Pane.of(plane, _in_plane(plane, (lo + hi) / 2, target), extent, size_px)
        near = {name: line for name, line in lines.items() if lies_in(pane, line, volume)}
        shown |= set(near)
        image = draw(volume, pane, Drawing(window, [outline], lines=list(near.values()), points_ras=clicks))
        pictures.append(Picture(image, _alt(story, plane, near), plane))
    for name, line in [item for item in lines.items() if item[0] not in shown][:MOST_OBLIQUE]:
        pictures.append(_oblique(story, volume, outline, window, name, line, size_px))
    voxels = f"{story.mask.voxels:,} voxels".replace(",", " ")
    cut = " · cut by the edge of the scan" if story.mask.cut_by_scan else ""
    return Row("final", f"Final mask: {story.display}", f"{voxels}{cut}", tuple(pictures))


def _oblique(story: ObjectStory, volume: Volume, outline: Outline, window: tuple[float, float], name: str, line: Line,
             size_px: int) -> Picture:
    """Return the picture in the plane in which a diameter was measured."""
    measured = next(m for m in story.measurements if m.name == name)
    length = float(np.linalg.norm(np.diff(line.ends_ras, axis=0)))
    pane = Pane.oblique(line.ends_ras.mean(axis=0), _normal(measured, line), max(2.4 * length, SMALLEST_MM), size_px)
    title = f"Across: {name.replace('diameter_max_', '').replace('_', ' ')}"
    image = draw(volume, pane, Drawing(window, [outline], lines=[line], title=title))
    return Picture(image, _alt(story, "oblique", {name: line}), "oblique")


def _normal(measured: Measurement, line: Line) -> np.ndarray:
    """Return the plane's normal that came with a measurement, or one that holds the line and is as axial as can be."""
    plane = (measured.geometry or {}).get("plane")
    if isinstance(plane, dict) and len(plane.get("normal", ())) == 3 and np.linalg.norm(plane["normal"]) > 1e-6:
        return np.array(plane["normal"], float)
    along = line.ends_ras[1] - line.ends_ras[0]
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    normal = np.array([0.0, 0, 1]) - along[2] * along
    return normal if np.linalg.norm(normal) > 1e-3 else np.array([1.0, 0, 0])


def _lines(story: ObjectStory) -> dict[str, Line]:
    """Return the measurements that can be drawn, by name; the same line is drawn once."""
    found: dict[str, Line] = {}
    for name in DRAWN:
        measured = next((m for m in story.measurements if m.name == name), None)
        ends = ends_of(measured.geometry) if measured is not None else None
        if ends is None or any(np.allclose(ends, line.ends_ras, atol=0.05) for line in found.values()):
            continue
        found[name] = Line(ends, f"{measured.value:.1f} {measured.unit}")
    return found


def ends_of(geometry: dict | None) -> np.ndarray | None:
    """Return (2, 3) RAS end points of a measurement, or None where it has none that can be drawn."""
    for key in ("ends_ras", "points_ras"):
        try:
            ends = np.array((geometry or {}).get(key), float)
        except (TypeError, ValueError):
            continue
        if ends.shape == (2, 3) and np.isfinite(ends).all():
            return ends
    return None


def lies_in(pane: Pane, line: Line, volume: Volume) -> bool:
    """Whether a line lies in the slice that the pane shows."""
    slab = 0.6 * float(np.abs(volume.affine[:3, :3].T @ pane.normal).max())
    return bool((pane.distance_mm(line.ends_ras) <= slab).all())


def place_of(mask: np.ndarray, first: Sequence[int], volume: Volume, axis: Line | None):
    """Return (lo, hi, target): the mask's bounds and the point through which the panes go, RAS mm.

    The axial pane shows the slice of the measured axis; the others cut the mask where they show most of it.
    """
    filled = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    corners = np.array(np.meshgrid(*[(f[0] - 0.5, f[-1] + 0.5) for f in filled], indexing="ij")).reshape(3, -1).T
    world = volume.index_to_world(corners + np.asarray(first))
    fullest = [int(np.argmax(mask.sum(axis=tuple(b for b in range(3) if b != a)))) for a in range(3)]
    target = volume.index_to_world(np.array(fullest) + np.asarray(first))
    if axis is not None:
        target[2] = axis.ends_ras[:, 2].mean()
    return world.min(axis=0), world.max(axis=0), snapped(volume, target)


def _alt(story: ObjectStory, plane: str, lines: dict[str, Line]) -> str:
    measured = "".join(f", {name.replace('_', ' ')} {line.label}" for name, line in lines.items())
    return f"{plane} picture with the mask of the {spoken(story.display)}{measured}"
