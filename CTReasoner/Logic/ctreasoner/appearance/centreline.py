"""Centre line of a tube and its diameters perpendicular to that line.

The line is the cheapest path through the mask between its two geodesically farthest ends, cheap where the wall is far; so a U (the
aortic arch) is followed round, not cut across. Each section is a polygon of rays that stop at the first wall: the other
limb of a U, which the same plane may cross, is never part of it.

All positions are millimetres along the scan's own axes (index x spacing), which are orthogonal; callers turn them into RAS.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STEP_MM = 2.0            # between sections
RAYS = 48
FINEST_MM, COARSEST_NODE_MM = 1.4, 3.0
CUT_END_MM = 10.0        # no diameter this near an end that the scan cuts
MIN_VOXELS_ACROSS = 5.0
SMOOTH_CELLS = 0.8       # takes the steps off a voxel surface; moves the wall of a 10 mm tube by less than 0.1 mm
BRANCH = (1.35, 1 / 6)   # a ray of more median radii, in a peak narrower than this share of the round, ran into a branch
SLIVER = (1.1, 1 / 12)   # a ray this much longer than those beside a narrower peak ran into a sliver of mask beside the wall


@dataclass(frozen=True, eq=False)
class Tube:
    """Sections of one connected tube, in order along it.

    centre, tangent : (n, 3) mm and unit vectors. rim : (n, RAYS, 3) mm. longest : (n,) mm, largest distance across each rim.
    ends : (n, 2, 3) mm, where that is. usable : (n,) bool, false near an end and where a section is not closed.
    fine : (n,) bool, at least five voxels across.
    """

    centre: np.ndarray
    tangent: np.ndarray
    rim: np.ndarray
    longest: np.ndarray
    ends: np.ndarray
    usable: np.ndarray
    fine: np.ndarray


def tubes(mask: np.ndarray, spacing: np.ndarray, lower_edge: np.ndarray, upper_edge: np.ndarray, most: int = 1) -> list[Tube]:
    """Sections of the ``most`` largest parts of a mask.

    mask : [i, j, k] bool. spacing : (3,) mm.
    lower_edge, upper_edge : (3,) bool, whether that side of the crop is the scan's border.
    """
    from scipy import ndimage

    spacing = np.asarray(spacing, dtype=float)
    occupied, step = _reduced(mask, spacing)
    inside = occupied >= 0.5
    labels, count = ndimage.label(inside)
    if not count:
        return []
    sizes = np.bincount(labels.ravel())[1:]
    chosen = [n for n in np.argsort(sizes)[::-1][:most] + 1 if sizes[n - 1] >= 0.1 * sizes.max()]
    depth = ndimage.distance_transform_edt(np.pad(inside, 1), sampling=step)[1:-1, 1:-1, 1:-1].astype(np.float32)
    offset = (step - spacing) / 2 - step   # padded cell 0 -> mm of the crop's voxel centres
    occupied = ndimage.gaussian_filter(np.pad(occupied, 1), SMOOTH_CELLS)
    borders = (np.where(lower_edge, 0.0, -np.inf), np.where(upper_edge, (np.array(mask.shape) - 1) * spacing, np.inf))
    found = []
    for label in chosen:
        path = _path(np.where(labels == label, depth, 0), step)
        if path is not None:
            deepest = float(depth[labels == label].max())
            tube = _sections(path * step + offset + step, occupied, step, offset, spacing, borders, deepest)
            if tube is not None:
                found.append(tube)
    return found


def _reduced(mask: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Occupancy 0 to 1 on blocks of about 1.4 mm, and the size of a block."""
    factors = np.maximum(1, np.floor(FINEST_MM / spacing + 0.2)).astype(int)
    return _blocks(mask, factors), spacing * factors


def _blocks(values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Means over blocks; what is missing at the upper border counts as empty."""
    out = values.astype(np.uint8) if values.dtype == bool else values
    for axis, factor in enumerate(factors):
        if factor == 1:
            continue
        short = -out.shape[axis] % factor
        if short:
            out = np.concatenate([out, np.zeros_like(out.take(range(short), axis))], axis) if short <= out.shape[axis] else np.pad(
                out, [(0, short if a == axis else 0) for a in range(3)])
        shape = list(out.shape)
        shape[axis:axis + 1] = [shape[axis] // factor, factor]
        out = out.reshape(shape).sum(axis + 1, dtype=np.uint16 if out.dtype.kind == "u" else np.float32)
    return (out / np.float32(np.prod(factors))).astype(np.float32)


def _path(depth: np.ndarray, step: np.ndarray) -> np.ndarray | None:
    """Cells (float, of ``depth``'s grid) along the middle of a tube from end to end."""
    from scipy.sparse.csgraph import dijkstra

    node_mm = np.clip(depth.max() / 3, step.min(), COARSEST_NODE_MM)
    factors = np.maximum(1, np.round(node_mm / step)).astype(int)
    coarse = _blocks(depth, factors) if factors.max() > 1 else depth
    nodes = np.argwhere(coarse > 0.3 * step.min())
    if len(nodes) < 3:
        return None
    lengths, costs = _graph(coarse, nodes, step * factors)
    start = int(np.argmax(coarse[tuple(nodes.T)]))
    first = _farthest(dijkstra(lengths, directed=False, indices=start))
    last = _farthest(dijkstra(lengths, directed=False, indices=first))
    _, before = dijkstra(costs, directed=False, indices=first, return_predecessors=True)
    chain = [last]
    while chain[-1] != first and before[chain[-1]] >= 0:
        chain.append(int(before[chain[-1]]))
    if len(chain) < 3:
        return None
    return nodes[chain[::-1]] * factors + (factors - 1) / 2


def _farthest(distance: np.ndarray) -> int:
    return int(np.argmax(np.where(np.isfinite(distance), distance, -1)))


def _graph(depth: np.ndarray, nodes: np.ndarray, step: np.ndarray):
    """Sparse 26-neighbour graphs of a tube's cells: one of lengths, one of lengths made dear near the wall."""
    from scipy.sparse import csr_matrix

    number = np.full(np.array(depth.shape) + 2, -1, dtype=np.int32)
    number[tuple((nodes + 1).T)] = np.arange(len(nodes))
    closeness = (depth.max() / np.maximum(depth[tuple(nodes.T)], 0.3 * step.min())) ** 2
    rows, columns, lengths = [], [], []
    for way in np.ndindex(3, 3, 3):
        delta = np.array(way) - 1
        if tuple(delta) <= (0, 0, 0):
            continue
        other = number[tuple((nodes + 1 + delta).T)]
        here = np.flatnonzero(other >= 0)
        rows.append(here)
        columns.append(other[here])
        lengths.append(np.full(len(here), np.linalg.norm(delta * step)))
    row, column, length = (np.concatenate(x) for x in (rows, columns, lengths))
    size = (len(nodes), len(nodes))
    dear = length * (closeness[row] + closeness[column])
    return csr_matrix((length, (row, column)), size), csr_matrix((dear, (row, column)), size)


def _sections(line, occupied, step, offset, spacing, borders, depth_mm) -> Tube | None:
    """Cut a tube perpendicular to its line: once roughly to centre it, once for good."""
    reach = 2.6 * depth_mm + 4
    smooth = max(2.0, min(0.45 * depth_mm, 7.0))
    ends, (line, lost) = line[[0, -1]], _without_corners(line, depth_mm)
    line = _even(line, STEP_MM, smooth)
    if len(line) < 4:
        return None
    rim, closed = _rims(line, _tangents(line), occupied, step, offset, reach, RAYS // 2)
    middle = _even(np.where(closed[:, None], rim.mean(1), line), STEP_MM, smooth)
    tangent = _tangents(middle)
    rim, closed = _rims(middle, tangent, occupied, step, offset, reach, RAYS)
    longest, across_ends = _longest(rim)
    radius = longest / 2
    arc = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(middle, axis=0), axis=1))])
    usable = closed & (arc + lost[0] >= _margin(ends[0], radius[:5], borders, step)) & (
        arc[-1] - arc + lost[1] >= _margin(ends[1], radius[-5:], borders, step))
    across = np.max(spacing * np.sqrt(np.maximum(0, 1 - tangent**2)), axis=1)   # the voxel's size in the section
    return Tube(middle, tangent, rim, longest, across_ends, usable, longest >= MIN_VOXELS_ACROSS * across)


def _margin(end, radius, borders, step) -> float:
    """How far from an end a section counts: 1.5 radii (the line turns into a corner there), 10 mm more where the scan cuts."""
    near = np.median(radius) + step.max()
    cut = np.any(end - borders[0] < near) or np.any(borders[1] - end < near)
    return float(1.5 * np.median(radius) + (CUT_END_MM if cut else 0.0))


def _without_corners(line: np.ndarray, depth_mm: float) -> tuple[np.ndarray, tuple[float, float]]:
    """The line without its first and last deepest radius, where it turns into a corner of the tube; and how much went (mm)."""
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    gone = min(depth_mm, length[-1] / 4)
    keep = (length >= gone) & (length[-1] - length >= gone)
    if keep.sum() < 3:
        return line, (0.0, 0.0)
    first, last = np.flatnonzero(keep)[[0, -1]]
    return line[first:last + 1], (float(length[first]), float(length[-1] - length[last]))


def _even(line: np.ndarray, step_mm: float, smooth_mm: float) -> np.ndarray:
    """The line at even steps, smoothed; its ends stay."""
    from scipy.ndimage import gaussian_filter1d

    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    at = np.arange(0, length[-1] + 1e-6, step_mm / 2)
    fine = np.stack([np.interp(at, length, line[:, a]) for a in range(3)], 1)
    pad = int(3 * smooth_mm / step_mm * 2) + 1
    mirrored = np.pad(fine, [(pad, pad), (0, 0)], mode="reflect", reflect_type="odd") if len(fine) > 2 else fine
    smoothed = gaussian_filter1d(mirrored, smooth_mm / (step_mm / 2), axis=0, mode="nearest")
    return smoothed[pad:-pad][::2] if len(fine) > 2 else fine[::2]


def _tangents(line: np.ndarray) -> np.ndarray:
    span = min(3, len(line) - 1)
    ahead = np.concatenate([line[span:], np.repeat(line[-1:], span, 0)])
    behind = np.concatenate([np.repeat(line[:1], span, 0), line[:-span]])
    way = ahead - behind
    return way / np.maximum(np.linalg.norm(way, axis=1, keepdims=True), 1e-9)


def _rims(line, tangent, occupied, step, offset, reach, rays) -> tuple[np.ndarray, np.ndarray]:
    """Where ``rays`` rays from each point of the line leave the tube; (n, rays, 3) mm and whether each section is closed."""
    from scipy.ndimage import map_coordinates

    first, second = _across(tangent)
    angle = np.arange(rays) * (2 * np.pi / rays)
    way = np.cos(angle)[:, None] * first[:, None] + np.sin(angle)[:, None] * second[:, None]   # (n, rays, 3)
    pace = max(0.8, float(step.min()) * 0.7)
    along = np.arange(0, reach + pace, pace)
    point = line[:, None, None] + way[:, :, None] * along[:, None]                              # (n, rays, m, 3)
    cells = np.moveaxis((point - offset) / step, -1, 0).astype(np.float32)
    value = map_coordinates(occupied, cells, order=1, mode="constant", prefilter=False)
    outside = value < 0.5
    outside[..., -1] = True
    stop = outside.argmax(-1)
    closed = (stop.min(-1) > 0) & (np.mean(stop < len(along) - 1, axis=-1) > 0.7)
    n, r = np.indices(stop.shape)
    after, before = value[n, r, stop], value[n, r, np.maximum(stop - 1, 0)]
    part = np.clip((before - 0.5) / np.maximum(before - after, 1e-6), 0, 1)
    radius = (np.maximum(stop - 1, 0) + part) * pace
    typical = np.median(radius, axis=1, keepdims=True)
    longer, share = BRANCH
    radius = np.minimum(radius, np.maximum(longer * typical, _opened(radius, share)))
    longer, share = SLIVER
    beside = _opened(radius, share)
    radius = np.where(radius > longer * beside, beside, radius)
    return line[:, None] + way * radius[..., None], closed


def _opened(radius: np.ndarray, share: float) -> np.ndarray:
    """Radii without peaks narrower than this share of the round."""
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    size = max(3, round(radius.shape[1] * share))
    return maximum_filter1d(minimum_filter1d(radius, size, axis=1, mode="wrap"), size, axis=1, mode="wrap")


def _across(tangent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors perpendicular to each tangent."""
    helper = np.eye(3)[np.argmin(np.abs(tangent), axis=1)]
    first = np.cross(tangent, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(tangent, first)


def _longest(rim: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Largest distance between two points of each rim, and the two points."""
    square = np.sum((rim[:, :, None] - rim[:, None]) ** 2, axis=-1)
    flat = square.reshape(len(rim), -1)
    where = flat.argmax(1)
    n = np.arange(len(rim))
    a, b = np.divmod(where, rim.shape[1])
    return np.sqrt(flat[n, where]), np.stack([rim[n, a], rim[n, b]], 1)
