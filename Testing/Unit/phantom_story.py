"""A phantom chest with a story about it: a recorded stream with masks, to draw and to write reports from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ctreasoner.events import (
    Box,
    By,
    Category,
    Done,
    Event,
    Existence,
    Intent,
    Look,
    Mask,
    Measurement,
    Span,
    Started,
    Statement,
    Stream,
    Text,
    ViewBox,
    Warning_,
)
from ctreasoner.geometry import Volume

MODEL = By(kind="model", name="phantom", version="1")
RULE = By(kind="rule", name="appearance", version="1")


def chest(shape=(128, 96, 40), spacing=(2.6, 2.6, 6.0)) -> tuple[Volume, dict[str, np.ndarray]]:
    """Return a CT of an oval body with lungs, spine, heart and an enhanced aorta, LPS-like storage, and masks [i, j, k]."""
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    affine[:3, 3] = [shape[0] * spacing[0] / 2, shape[1] * spacing[1] / 2, -shape[2] * spacing[2] / 2 - 50]
    i, j, k = np.meshgrid(*map(np.arange, shape), indexing="ij", sparse=True)
    r, a, s = (affine[w, w] * x + affine[w, 3] for w, x in enumerate((i, j, k)))
    middle = s.mean()

    def ellipsoid(cr, ca, cs, rr, ra, rs):
        return ((r - cr) / rr) ** 2 + ((a - ca) / ra) ** 2 + ((s - cs) / rs) ** 2 <= 1

    rng = np.random.default_rng(4)
    hu = np.full(shape, -1000.0)
    body = ((r / 150) ** 2 + (a / 105) ** 2 <= 1) & (s < 1e9)
    hu[body] = -90
    hu[body & ((r / 138) ** 2 + (a / 93) ** 2 <= 1)] = 45
    hu[ellipsoid(72, 5, middle, 52, 72, 115) | ellipsoid(-72, 5, middle, 52, 72, 115)] = -840
    masks = {"heart": ellipsoid(-18, 18, middle - 20, 52, 44, 52)}
    bend = 18 * np.sin((s - middle) / 60)
    masks["aorta"] = ((r + 14) ** 2 + (a + 46 + bend) ** 2 <= 14**2) & (s > middle - 110)
    masks["lung_nodule"] = ellipsoid(-70, -20, middle + 42, 11, 10, 12)
    hu[masks["heart"]] = 140
    hu[masks["aorta"]] = 380
    hu[masks["lung_nodule"]] = 30
    hu[((r / 20) ** 2 + ((a + 72) / 18) ** 2 <= 1) & (s < 1e9)] = 420
    masks["aorta"] &= hu == 380
    hu += rng.normal(0, 14, shape)
    return Volume(np.rint(hu).astype(np.int16), affine, name="phantom"), masks


def tight(mask: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return the crop of a mask and its first voxel."""
    where = [np.flatnonzero(mask.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    window = tuple(slice(int(w[0]), int(w[-1]) + 1) for w in where)
    return mask[window].astype(np.uint8), tuple(w.start for w in window)


def record(volume: Volume, masks: dict[str, np.ndarray], folder: Path, names=("heart", "aorta", "lung_nodule")) -> list[Event]:
    """Return the events of an answer about some of the masks, the mandible (outside) and a spoon (unsupported)."""
    folder.mkdir(parents=True, exist_ok=True)
    stream = Stream("a1")
    stream.said = 0
    lo, hi = volume.extent_ras()
    whole = ViewBox(centre_ras=tuple((lo + hi) / 2), size_mm=tuple(hi - lo), spacing_mm=(5, 5, 5), shape=(96, 64, 64))
    everything = {**dict.fromkeys(names, "present"), "mandible": "outside", "spoon": "unsupported"}
    ids = {name: f"a1.o{n}" for n, name in enumerate(everything, start=1)}
    events = [
        stream.emit(Started, engine="phantom", model={"name": "phantom", "hash": "0" * 16},
                    volume={"identity": volume.identity, "shape": list(volume.shape), "spacing": list(volume.spacing)}),
        stream.emit(Look, object=None, step=0, view=whole, why="whole scan", window=(40, 400), digest="d0", by=MODEL),
        stream.emit(Intent, routes=("segment", "describe"), by=MODEL,
                    objects=tuple({"id": ids[name], "name": name, "asked": name} for name in everything)),
    ]
    for name, state in everything.items():
        display = name.replace("_", " ").capitalize()
        events.append(stream.emit(Existence, object=ids[name], name=name, display=display, state=state, by=MODEL,
                                  probability=None if state == "unsupported" else 0.97))
        if state == "present":
            events += _found(stream, volume, masks[name], ids[name], name, folder, hi - lo)
    events += [
        stream.emit(Text, text="The mandible lies outside this scan. <b>A spoon</b> is not something I know. "),
        stream.emit(Warning_, code="unsupported", sentence="'spoon' is not in the vocabulary.", hint="Ask for the heart."),
        stream.emit(Done, timings_s={"look": 0.4, "total": 1.2}, peak_memory_mb=512.0),
    ]
    return events


def _found(stream: Stream, volume: Volume, mask: np.ndarray, key: str, name: str, folder: Path, whole) -> list[Event]:
    crop, first = tight(mask)
    np.save(folder / f"{key}.npy", crop)
    corners = volume.index_to_world([np.array(first) - 0.5, np.array(first) + crop.shape - 0.5])
    lo, hi = corners.min(0), corners.max(0)
    events, size = [], (hi - lo) * 1.3
    for step, grow in enumerate((1.35, 1.08, 1.0)):
        box_size = (hi - lo) * grow
        events.append(stream.emit(Box, object=key, centre_ras=tuple((lo + hi) / 2 + (1.0 - grow) * 8), size_mm=tuple(box_size),
                                  score=0.7 + 0.1 * step, look=step, by=MODEL))
        if step < 2:
            size = np.maximum((hi - lo) * (1.9 - 0.5 * step), 40)
            view = ViewBox(centre_ras=tuple((lo + hi) / 2), size_mm=tuple(np.minimum(size, whole)), shape=(96, 96, 96),
                           spacing_mm=(3.0 - step,) * 3)
            why = "object" if step == 0 else "boundary"
            events.append(stream.emit(Look, object=key, step=step + 1, view=view, why=why, window=(40, 400), digest="d", by=MODEL))
    for stage in ("coarse", "final"):
        events.append(stream.emit(Mask, object=key, stage=stage, first_voxel=first, shape=crop.shape, path=f"{key}.npy",
                                  voxels=int(crop.sum()), cut_by_scan=name == "aorta", by=MODEL))
    events.append(stream.emit(Category, object=key, attribute="shape", value="round", probability=0.81, by=MODEL))
    events.append(stream.emit(Category, object=key, attribute="texture", value="homogeneous", probability=0.66, by=MODEL))
    return events + _measured(stream, volume, crop, first, key, name)


def _measured(stream: Stream, volume: Volume, crop: np.ndarray, first, key: str, name: str) -> list[Event]:
    level = int(crop.sum(axis=(0, 1)).argmax())
    rows = np.argwhere(crop[:, :, level])
    ends = [[rows[:, 0].min(), rows[:, 1].mean(), level], [rows[:, 0].max(), rows[:, 1].mean(), level]]
    ends = volume.index_to_world(np.array(ends) + first)
    length = float(np.linalg.norm(ends[1] - ends[0]))
    axis = "diameter_max_descending" if name == "aorta" else "long_axis"
    normal = [0.0, -0.3, 0.954] if name == "aorta" else [0.0, 0.0, 1.0]
    if name == "aorta":
        ends = ends + [[0, 0, 0], [0, 0, 4.0]]
    geometry = {"ends_ras": ends.tolist(), "plane": {"origin": ends.mean(0).tolist(), "normal": normal}}
    millilitres = float(crop.sum() * volume.voxel_ml)
    values = [("volume", millilitres, "ml", "number of voxels x voxel volume", None),
              ("mean_hu", 123.4, "HU", "mean, native HU of all voxels of the mask", None),
              (axis, length, "mm", "largest distance across the axial slice of largest area", geometry),
              ("sphericity", 0.87, "1", "(36 pi V^2)^(1/3) / surface", None),
              ("share_above_130", 1.5, "%", "share of the mask's voxels above 130 HU", None)]
    events = [stream.emit(Measurement, id=f"{key}.m{n}", object=key, name=label, value=value, unit=unit, method=method,
                          geometry=drawn) for n, (label, value, unit, method, drawn) in enumerate(values, start=1)]
    said, across = f"{millilitres:.0f} ml", f"{length:.0f} mm"
    text = f"The {name.replace('_', ' ')} has a volume of {said} and measures {across} across. It looks round. "
    spans = [Span(start=text.index(said), end=text.index(said) + len(said), kind="measurement", ref=f"{key}.m1"),
             Span(start=text.index(across), end=text.index(across) + len(across), kind="measurement", ref=f"{key}.m3")]
    first_end = text.index(" and")
    at = stream.said                                            # statements count characters of the whole answer
    stream.said += len(text)
    return [
        *events,
        stream.emit(Text, text=text, spans=tuple(spans)),
        stream.emit(Statement, id=f"{key}.s1", start=at, end=at + first_end, claim="volume", verdict="verified", rule="volume",
                    said=said, found=f"{millilitres:.1f} ml", evidence={"measurement": f"{key}.m1"}, by=RULE),
        stream.emit(Statement, id=f"{key}.s2", start=at + first_end, end=at + text.index(" It"), claim="length", verdict="refuted",
                    rule="length", said=across, found=f"{length * 1.1:.0f} mm", evidence={"measurement": f"{key}.m3"}, by=RULE),
        stream.emit(Statement, id=f"{key}.s3", start=at + text.index("It"), end=at + len(text) - 1, claim="shape",
                    verdict="not checkable", rule="shape", said="round", found=None, evidence=key, by=RULE),
    ]
