"""Drawing on panes: grey values, masks, boxes, fields of view, measurement lines, and what a reader needs to read them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from ..geometry import Volume
from .panes import OUTSIDE_HU, Pane, slice_hu, slice_mask

FINE = 2                                     # lines are drawn this much larger and shrunk: smooth edges
NOTHING = (13, 17, 23)                       # outside the scan
INK, QUIET, SHADE = (236, 240, 245), (170, 180, 192), (0, 0, 0)
LINE = (255, 226, 89)                        # measurements
NEXT = (120, 200, 255)                       # the next field of view
SCALE_BARS_MM = (200, 100, 50, 20, 10, 5, 2, 1)
LUNG_WINDOW, SOFT_LOW = (-500.0, 1500.0), -160.0
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Outline:
    """A mask to draw: crop [i, j, k] of the CT's grid, its first voxel, colour, and how strongly it is filled (0 to 1)."""

    mask: np.ndarray
    first_voxel: tuple[int, int, int]
    colour: Colour
    fill: float = 0.0


@dataclass(frozen=True)
class Frame:
    """A box of the world with axes R, A, S to draw as its cut with the pane."""

    lo: np.ndarray
    hi: np.ndarray
    colour: Colour
    dashed: bool = False


@dataclass(frozen=True)
class Line:
    """A measured distance: two RAS points and what stands beside them."""

    ends_ras: np.ndarray
    label: str
    colour: Colour = LINE


@dataclass(frozen=True)
class Drawing:
    """Everything that is drawn over one pane. ``inside``: (lo, hi) RAS of the field of view; the rest is dimmed."""

    window: tuple[float, float]
    outlines: Sequence[Outline] = ()
    frames: Sequence[Frame] = ()
    lines: Sequence[Line] = ()
    points_ras: Sequence = field(default_factory=tuple)
    inside: tuple[np.ndarray, np.ndarray] | None = None
    title: str = ""


def draw(volume: Volume, pane: Pane, drawing: Drawing) -> Image.Image:
    """Return one picture (size x size, RGB)."""
    picture = _grey(slice_hu(volume, pane), drawing.window)
    if drawing.inside is not None:
        _dim(picture, pane, *drawing.inside)
    image = Image.fromarray(picture)
    for outline in drawing.outlines:
        _paint_mask(image, slice_mask(outline.mask, outline.first_voxel, volume, pane, FINE), outline)
    layer = Image.new("RGBA", (pane.size_px * FINE,) * 2, (0, 0, 0, 0))
    pen = ImageDraw.Draw(layer)
    for frame in drawing.frames:
        _draw_frame(pen, pane, frame)
    for line in drawing.lines:
        _draw_line(pen, pane, line)
    for point in drawing.points_ras:
        _draw_point(pen, pane, point)
    _draw_scale(pen, pane)
    image.paste(*_shrunk(layer, pane.size_px))
    _write_labels(image, pane, drawing)
    return image


def png(image: Image.Image) -> bytes:
    """Return the picture as PNG."""
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=6)   # "optimize" costs ten times the time for 3 %
    return stream.getvalue()


def fitting_window(volume: Volume, mask: np.ndarray, first_voxel: Sequence[int]) -> tuple[float, float]:
    """Return (level, width) HU in which an object and what lies round it can be told apart.

    Air-filled objects, and small ones in the lung, get a lung window; everything else one from fat to above its own
    brightest parts, so that an enhanced vessel (400 HU) is not a white disc.
    """
    where = tuple(slice(f, f + n) for f, n in zip(first_voxel, mask.shape, strict=True))
    values, inside = np.asarray(volume.voxels[where]), np.asarray(mask) > 0
    if not inside.any():
        return 40.0, 400.0
    own = values[inside]
    around = values[~inside]
    small = own.size * volume.voxel_ml < 60
    if np.median(own) < -300 or (small and around.size and np.median(around) < -500):
        return LUNG_WINDOW
    high = max(240.0, math.ceil((float(np.percentile(own, 98)) + 60) / 10) * 10)
    return (SOFT_LOW + high) / 2, high - SOFT_LOW


# --- grey values and areas -------------------------------------------------------------------------------------------
def _grey(hu: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    level, width = window
    grey = np.clip((hu - (level - width / 2)) / max(width, 1.0), 0, 1) * 255
    picture = np.repeat(np.rint(grey).astype(np.uint8)[..., None], 3, axis=2)
    picture[hu == OUTSIDE_HU] = NOTHING
    return picture


def _dim(picture: np.ndarray, pane: Pane, lo: np.ndarray, hi: np.ndarray) -> None:
    """Darken what lies outside a field of view, so that the eye sees how much the model saw."""
    points = pane.points()
    outside = np.zeros(points.shape[1:], bool)
    for w in range(3):
        if abs(pane.normal[w]) < 0.9:
            outside |= (points[w] < lo[w]) | (points[w] > hi[w])
    picture[outside] = (picture[outside] * 0.38).astype(np.uint8)


def _paint_mask(image: Image.Image, mask: np.ndarray, outline: Outline) -> None:
    """Tint the inside of a mask and draw its border, two pixels of the enlarged picture wide."""
    if not mask.any():
        return
    border = mask & ~binary_erosion(mask, iterations=3, border_value=1)
    alpha = np.where(border, 1.0, np.where(mask, outline.fill, 0.0))
    size = image.size[0]
    alpha = alpha.reshape(size, FINE, size, FINE).mean(axis=(1, 3))
    image.paste(outline.colour, (0, 0), Image.fromarray(np.rint(alpha * 255).astype(np.uint8)))


def _shrunk(layer: Image.Image, size: int) -> tuple[Image.Image, tuple[int, int], Image.Image]:
    """Return an overlay at the picture's size, with a soft dark rim so that it is seen on bright tissue too."""
    alpha = layer.getchannel("A").reduce(FINE)
    colour = Image.new("RGB", layer.size, SHADE)
    colour.paste(layer.convert("RGB"), (0, 0), layer.getchannel("A"))
    colour = colour.reduce(FINE)
    rim = Image.new("L", alpha.size, 0)
    for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        rim = ImageChops.lighter(rim, ImageChops.offset(alpha, dx, dy))
    rim = rim.point(lambda value: int(value * 0.55))
    return colour, (0, 0), ImageChops.lighter(alpha, rim)


# --- lines -----------------------------------------------------------------------------------------------------------
def _draw_frame(pen: ImageDraw.ImageDraw, pane: Pane, frame: Frame) -> None:
    """Draw a box's cut; dashed where the box is a plan, or where the pane passes beside it."""
    middle = np.clip(pane.centre_ras, frame.lo, frame.hi)
    beside = bool(pane.distance_mm(middle)[0] > pane.mm_per_px)
    corners = pane.to_px([frame.lo, frame.hi]) * FINE
    x0, y0 = corners.min(axis=0)
    x1, y1 = corners.max(axis=0)
    path = [(x0, y0), (x1, y0), (x1, y1), (x0, y1), (x0, y0)]
    for start, end in itertools.pairwise(path):
        _stroke(pen, start, end, frame.colour, 2 * FINE, dashed=frame.dashed or beside)


def _stroke(pen: ImageDraw.ImageDraw, start: Sequence[float], end: Sequence[float], colour: Colour, width: int,
            dashed: bool = False) -> None:
    if not dashed:
        pen.line([tuple(start), tuple(end)], fill=(*colour, 255), width=width)
        return
    start, end = np.array(start, float), np.array(end, float)
    length = float(np.linalg.norm(end - start))
    if not 0 < length < 50_000:
        return
    step = (end - start) / length
    for at in np.arange(0.0, length, 11.0 * FINE):
        pen.line([tuple(start + step * at), tuple(start + step * min(at + 6.0 * FINE, length))], fill=(*colour, 255), width=width)


def _draw_line(pen: ImageDraw.ImageDraw, pane: Pane, line: Line) -> None:
    a, b = pane.to_px(line.ends_ras) * FINE
    _stroke(pen, a, b, line.colour, 2 * FINE)
    length = float(np.linalg.norm(b - a))
    if length < 1:
        return
    tick = np.array([-(b - a)[1], (b - a)[0]]) / length * 6 * FINE
    for end in (a, b):
        _stroke(pen, end - tick, end + tick, line.colour, 2 * FINE)


def _draw_point(pen: ImageDraw.ImageDraw, pane: Pane, point_ras: Sequence[float]) -> None:
    """Draw a click as a ring, where it lies near this plane."""
    if pane.distance_mm(point_ras)[0] > 5.0:
        return
    x, y = pane.to_px(point_ras)[0] * FINE
    radius = 6 * FINE
    pen.ellipse([x - radius, y - radius, x + radius, y + radius], outline=(*LINE, 255), width=2 * FINE)


def _scale_bar(pane: Pane) -> tuple[float, float]:
    """Return (mm, pixels) of the longest round scale bar that takes at most a quarter of the picture."""
    room = 0.25 * pane.size_px * pane.mm_per_px
    length = next((mm for mm in SCALE_BARS_MM if mm <= room), SCALE_BARS_MM[-1])
    return length, length / pane.mm_per_px


def _draw_scale(pen: ImageDraw.ImageDraw, pane: Pane) -> None:
    _, length = _scale_bar(pane)
    right, y = (pane.size_px - 12) * FINE, (pane.size_px - 14) * FINE
    left = right - length * FINE
    _stroke(pen, (left, y), (right, y), INK, 2 * FINE)
    for x in (left, right):
        _stroke(pen, (x, y - 4 * FINE), (x, y + 4 * FINE), INK, 2 * FINE)


# --- words -----------------------------------------------------------------------------------------------------------
@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Return the font that comes with Pillow."""
    return ImageFont.load_default(size)


def _write_labels(image: Image.Image, pane: Pane, drawing: Drawing) -> None:
    pen, n = ImageDraw.Draw(image), pane.size_px
    small, large = font(max(11, n // 34)), font(max(13, n // 26))

    def write(at: tuple[float, float], text: str, anchor: str, face=small, colour: Colour = INK) -> None:
        pen.text(at, text, font=face, fill=colour, anchor=anchor, stroke_width=2, stroke_fill=SHADE)

    ends = pane.ends()
    write((8, n / 2), ends["left"], "lm", large)
    write((n - 8, n / 2), ends["right"], "rm", large)
    write((n / 2, 6), ends["top"], "mt", large)
    write((n / 2, n - 7), ends["bottom"], "mb", large)
    write((8, 7), drawing.title or pane.plane.capitalize(), "lt")
    if pane.plane != "oblique":
        write((n - 8, 7), pane.place(), "rt", colour=QUIET)
    level, width = drawing.window
    write((8, n - 8), f"W {width:.0f}  L {level:.0f}", "lb", colour=QUIET)
    mm, length = _scale_bar(pane)
    write((n - 12 - length / 2, n - 22), f"{mm / 10:g} cm" if mm >= 10 else f"{mm:g} mm", "mb")
    for line in drawing.lines:
        _write_line_label(pen, pane, line, font(max(12, n // 30)))


def _write_line_label(pen: ImageDraw.ImageDraw, pane: Pane, line: Line, face: ImageFont.FreeTypeFont) -> None:
    """Write a length beside a quarter of its line (lines cross in the middle), on the side with more room, inside the picture."""
    a, b = pane.to_px(line.ends_ras)
    along = b - a
    quarter = a + along / 4
    across = np.array([-along[1], along[0]]) / max(float(np.linalg.norm(along)), 1e-6)
    across = across if across @ (pane.size_px / 2 - quarter) >= 0 else -across
    left, top, right, bottom = pen.textbbox((0, 0), line.label, font=face, anchor="mm", stroke_width=2)
    half = np.array([right - left, bottom - top]) / 2
    at = quarter + across * (14 + abs(across) @ half)
    at = np.clip(at, half + 24, pane.size_px - half - 24)
    pen.text(tuple(at), line.label, font=face, fill=line.colour, anchor="mm", stroke_width=2, stroke_fill=SHADE)
