"""The outline of a mask on one slice as closed polygons that run between the pixels; holes hang on them by a keyhole.

The corners of a polygon are corners of pixels, so that it encloses exactly the area of the mask, and every pixel's centre lies
clearly inside or outside. Pixels that touch at a corner alone belong to two polygons.
"""

from __future__ import annotations

import numpy as np

Polygon = np.ndarray
"""(n, 2) float: column, row of its corners in pixels (the centre of pixel 0 is 0); the last is joined to the first."""


def outlines(mask: np.ndarray) -> list[Polygon]:
    """Return the polygons of a mask [row, column] (bool), from top to bottom.

    A hole is part of the polygon round it: a channel of no width leads to it and back (PS3.3 C.8.8.6.3, "keyhole").
    """
    padded = np.pad(np.asarray(mask, bool), 1)
    rings = sorted(_rings(padded), key=lambda ring: (ring[0][0], ring[0][1]))
    whole: list[np.ndarray] = []
    for ring in rings:
        row, column = ring[0]
        if padded[row, column]:
            whole.append(_turned(ring, clockwise=True))
        else:
            _hang(_turned(ring, clockwise=False), whole, padded)
    return [ring[:, ::-1] - 1.5 for ring in whole]


def _rings(padded: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return the corners (row, column) of every closed line between mask and background; its topmost, leftmost corner is first.

    Along each line between pixels, corners come in pairs: each pair is one edge. A corner where two pixels touch stands twice.
    """
    nw, ne, sw, se = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    touching = (nw == se) & (ne == sw) & (nw != ne)
    odd = (nw.astype(np.int8) + ne + sw + se) % 2 == 1
    places = np.argwhere(odd | touching) + 1            # corner (r, c) is the upper left one of pixel [r, c]
    twice = touching[places[:, 0] - 1, places[:, 1] - 1]
    falling = nw[places[:, 0] - 1, places[:, 1] - 1]    # of a touching pair: upper left and lower right
    corners = np.repeat(places, np.where(twice, 2, 1), axis=0)
    second = np.zeros(len(corners), int)                # 0: the edge to the left, 1: the one to the right
    second[np.cumsum(np.where(twice, 2, 1))[twice] - 1] = 1
    upper = np.where(np.repeat(twice & ~falling, np.where(twice, 2, 1)), 1 - second, second)     # 0: the edge upwards
    along = _partners(np.lexsort((second, corners[:, 1], corners[:, 0])))
    across = _partners(np.lexsort((upper, corners[:, 0], corners[:, 1])))
    return _followed([tuple(corner) for corner in corners.tolist()], along, across)


def _partners(order: np.ndarray) -> list[int]:
    """Return for every corner the one at the other end of its edge: along a line, first and second belong together, and so on."""
    partner = np.empty(len(order), int)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner.tolist()


def _followed(corners: list[tuple[int, int]], along: list[int], across: list[int]) -> list[list[tuple[int, int]]]:
    seen, rings = [False] * len(corners), []
    for start in range(len(corners)):                   # in order from top left, so that a ring begins there
        if seen[start]:
            continue
        ring, at = [], start
        while not seen[at]:
            other = along[at]
            seen[at] = seen[other] = True
            ring += [corners[at], corners[other]]
            at = across[other]
        rings.append(ring)
    return rings


def _turned(ring: list[tuple[int, int]], *, clockwise: bool) -> np.ndarray:
    """Return a ring that runs clockwise (rows grow downwards), or against it, from the same first corner."""
    turned = np.array(ring)
    rows, columns = turned.T
    doubled = np.dot(columns, np.roll(rows, -1)) - np.dot(rows, np.roll(columns, -1))
    return turned if (doubled > 0) == clockwise else np.concatenate([turned[:1], turned[:0:-1]])


def _hang(hole: np.ndarray, whole: list[np.ndarray], padded: np.ndarray) -> None:
    """Join a hole to what lies straight above its first corner: the polygon round it, or another hole of that polygon."""
    row, column = hole[0]
    inside = padded[:row, column - 1] & padded[:row, column]
    top = int(np.flatnonzero(~inside)[-1]) + 1
    for place, polygon in enumerate(whole):
        here = polygon[:, 0] == top
        edges = np.flatnonzero(here & np.roll(here, -1))
        ends = np.sort([polygon[edges, 1], polygon[(edges + 1) % len(polygon), 1]], axis=0)
        hits = edges[(ends[0] <= column) & (column <= ends[1])]
        if len(hits):
            way = np.array([(top, column)])
            channel = np.concatenate([way, hole, hole[:1], way])
            whole[place] = np.insert(polygon, int(hits[0]) + 1, channel, axis=0)
            return
    raise AssertionError("a hole lies in no polygon")
