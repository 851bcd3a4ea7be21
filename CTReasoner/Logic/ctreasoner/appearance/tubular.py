"""Diameters of tubes perpendicular to their centre line; of the aorta for its three parts separately."""

from __future__ import annotations

import numpy as np

from .centreline import Tube, tubes

SEGMENTS = ("ascending", "arch", "descending")
STEEP = 0.70              # |cosine| with the body's axis from which a part of the aorta is a limb, not the arch (45 degrees)
LIMB_MM = 15.0            # a limb is at least this long
ROOT_MM = 10.0            # the root (sinuses of Valsalva) is no part of the tubular ascending aorta


def diameters(crop, out, body_centre_ras=None) -> None:
    """Add ``diameter_max``, ``diameter_median`` and, for the aorta, those of its segments."""
    aorta = crop.key == "aorta"
    shape = np.array(crop.volume.shape)
    found = tubes(crop.mask, crop.volume.spacing, crop.first <= 0, crop.first + crop.mask.shape >= shape, 2 if aorta else 1)
    usable = [t.usable & t.fine if _resolved(t) else np.zeros_like(t.fine) for t in found]
    if aorta:
        parts = segments(found, crop, body_centre_ras)
        for n, tube in enumerate(found):
            usable[n] &= ~_root(tube, parts[n])
    reason = _reason(found)
    _add(out, "diameter_max", *_widest(found, usable), crop, reason)
    every = np.concatenate([t.longest[u] for t, u in zip(found, usable, strict=True)]) if found else np.empty(0)
    out.add("diameter_median", float(np.median(every)) if every.size else None, reason="" if every.size else reason)
    if aorta:
        for segment in SEGMENTS:
            here = [u & (p == segment) for u, p in zip(usable, parts, strict=True)]
            covered = any((p == segment).any() for p in parts)
            _add(out, f"diameter_max_{segment}", *_widest(found, here), crop, reason if covered else "not in the mask")


def _resolved(tube: Tube) -> bool:
    """Half of the sections are five voxels across; else only bulges would be measured."""
    return bool(tube.usable.any()) and float(tube.fine[tube.usable].mean()) >= 0.5


def _reason(found: list[Tube]) -> str:
    if not found:
        return "too small"
    if not any(t.usable.any() for t in found):
        return "too near its ends"
    return "part too short" if any(_resolved(t) for t in found) else "fewer than 5 voxels across"


def _widest(found: list[Tube], usable: list[np.ndarray]) -> tuple[Tube, int] | tuple[None, int]:
    """The section with the largest running median of three; the median keeps one ragged section from deciding."""
    best, value = (None, -1), 0.0
    for tube, mask in zip(found, usable, strict=True):
        index = np.flatnonzero(mask)
        for a in range(len(index)):
            near = index[max(0, a - 1):a + 2]
            middle = np.sort(tube.longest[near])[(len(near) - 1) // 2]
            if middle > value:
                at = near[np.argmin(np.abs(tube.longest[near] - middle))]
                best, value = (tube, int(at)), float(middle)
    return best


def _add(out, name: str, tube: Tube | None, at: int, crop, reason: str) -> None:
    if tube is None:
        out.add(name, None, reason=reason)
        return
    ends = crop.ras(tube.ends[at])
    origin = crop.ras(tube.centre[at][None])[0]
    normal = crop.volume.affine[:3, :3] / crop.volume.spacing @ tube.tangent[at]
    plane = {"origin": origin.tolist(), "normal": normal.tolist()}
    out.add(name, float(tube.longest[at]), {"ends_ras": ends.tolist(), "plane": plane})


def segments(found: list[Tube], crop, body_centre_ras=None) -> list[np.ndarray]:
    """Name the part of the aorta that each section belongs to (array of strings for each tube).

    The arch lies between two limbs, where the line runs less than 45 degrees to the body's axis on the way over the top.
    The limb in front is the ascending aorta. A tube with a single limb is told by the other tube, or by the middle of the body.
    """
    lines = [crop.ras(t.centre) for t in found]
    out = []
    for line in lines:
        way = np.gradient(line, axis=0)
        steep = np.abs(way[:, 2]) / np.maximum(np.linalg.norm(way, axis=1), 1e-9) >= STEEP
        out.append(_name(line, steep, lines, body_centre_ras))
    return out


def _name(line: np.ndarray, steep: np.ndarray, lines: list[np.ndarray], body_centre_ras) -> np.ndarray:
    names = np.full(len(line), "", dtype="<U10")
    top = int(line[:, 2].argmax())
    before = top
    while before > 0 and not steep[max(0, before - 3):before].all():
        before -= 1
    after = top
    while after < len(line) - 1 and not steep[after + 1:after + 4].all():
        after += 1
    limbs = [(0, before), (after + 1, len(line))]
    long_enough = [b - a >= 2 and abs(np.ptp(line[a:b, 2])) >= LIMB_MM for a, b in limbs]
    if all(long_enough):
        front = [line[max(b - 20, a):b, 1].mean() if n == 0 else line[a:a + 20, 1].mean() for n, (a, b) in enumerate(limbs)]
        order = ("ascending", "descending") if front[0] > front[1] else ("descending", "ascending")
        names[:before], names[before:after + 1], names[after + 1:] = order[0], "arch", order[1]
        return names
    own = line[:, 1].mean()
    others = [o[:, 1].mean() for o in lines if o is not line]
    if others:
        ascending = own > max(others)
    else:
        ascending = body_centre_ras is not None and own > float(body_centre_ras[1]) + 10 and np.ptp(line[:, 2]) < 120
    names[:] = "ascending" if ascending else "descending"
    for (a, b), enough in zip(limbs, long_enough, strict=True):
        if not enough and any(long_enough) and b - a < len(line) / 3:
            names[a:b] = "arch"
    if any(long_enough):
        names[before:after + 1] = "arch" if after - before > 5 else names[before:after + 1]
    return names


def _root(tube: Tube, part: np.ndarray) -> np.ndarray:
    """Sections of the aortic root: the first centimetre of usable ascending aorta at the tube's own end."""
    root = np.zeros(len(part), dtype=bool)
    for end, step in ((0, 1), (len(part) - 1, -1)):
        if part[end] != "ascending":
            continue
        at, gone = end, 0.0
        while 0 <= at < len(part) and part[at] == "ascending" and gone <= ROOT_MM:
            if tube.usable[at]:
                gone += float(np.linalg.norm(tube.centre[at] - tube.centre[at - step])) if at != end else 0.0
                root[at] = True
            at += step
    return root
