"""A double of the engine: a legal stream about a phantom, in milliseconds, without weights.

It knows the heart (present), the mandible (outside) and the liver (unsupported); any click is "thing".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from ctreasoner.errors import InputError
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
    Request,
    Span,
    Started,
    Statement,
    Stream,
    Text,
    ViewBox,
    Warning_,
)
from ctreasoner.geometry import Volume

BY = By(kind="model", name="double", version="0")
RULE = By(kind="rule", name="double")
KNOWN = {"heart": "present", "mandible": "outside", "liver": "unsupported"}
FIRST, SHAPE = (6, 7, 4), (10, 9, 8)


def phantom_volume(shape: tuple[int, int, int] = (32, 30, 20)) -> Volume:
    """Return a body of water in air with a denser ellipsoid where the double says the heart is."""
    i, j, k = np.indices(shape)
    voxels = np.full(shape, -1000, np.int16)
    voxels[3:-3, 3:-3, :] = 0
    voxels[((i - 10.5) / 5) ** 2 + ((j - 11) / 4.5) ** 2 + ((k - 7.5) / 4) ** 2 <= 1] = 60
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    affine[:3, 3] = (-30, -28, -40)
    return Volume(voxels, affine, name="phantom")


class FakeEngine:
    """Answers from a script; ``cut_after`` raises KeyboardInterrupt after so many events, as Ctrl-C does."""

    def __init__(self, cut_after: int | None = None) -> None:
        self.volumes: dict[str, Volume] = {}
        self.answers = 0
        self.cut_after = cut_after
        self.closed = False

    @classmethod
    def from_pretrained(cls, folder: Path, threads: int | None = None) -> FakeEngine:
        return cls()

    def register(self, volume: Volume) -> str:
        self.volumes[volume.identity] = volume
        return volume.identity

    def answer(self, request: Request, workspace: Path | None = None) -> Iterator[Event]:
        self.answers += 1
        if request.volume not in self.volumes:
            raise InputError("This CT is not known.", code="CTR-IO-090")
        script = _script(f"a{self.answers}", request, self.volumes[request.volume], Path(workspace))
        try:
            for count, event in enumerate(script):
                if self.cut_after is not None and count >= self.cut_after:
                    raise KeyboardInterrupt
                yield event
        finally:
            self.closed = True


def _script(answer: str, request: Request, volume: Volume, workspace: Path) -> Iterator[Event]:
    stream = Stream(answer)
    lo, hi = volume.extent_ras()
    whole = ViewBox(centre_ras=tuple((lo + hi) / 2), size_mm=tuple(hi - lo), spacing_mm=(4, 4, 4), shape=(16, 16, 16))
    yield stream.emit(Started, engine="double", model={"name": "double", "hash": "0"},
                      volume={"identity": volume.identity, "shape": list(volume.shape), "spacing": list(volume.spacing)})
    yield stream.emit(Look, object=None, step=0, view=whole, why="whole scan", window=(40, 400), digest="d0", by=BY)
    words = request.text.lower()
    names = [n for n in KNOWN if n in words] or (["thing"] if request.clicks else [])
    asked = tuple({"id": f"{answer}.o{n}", "name": name, "asked": name} for n, name in enumerate(names, start=1))
    yield stream.emit(Intent, routes=("segment", "describe"), objects=asked, by=BY)
    if not names:
        yield stream.emit(Warning_, code="question_unsupported", sentence="This question names no object.")
    for item in asked:
        yield from _object(stream, item["id"], item["name"], volume, workspace, whole)
    yield stream.emit(Done, timings_s={"look": 0.1, "total": 0.2}, peak_memory_mb=100.0)


def _object(stream: Stream, key: str, name: str, volume: Volume, workspace: Path, whole: ViewBox) -> Iterator[Event]:
    state = KNOWN.get(name, "present")
    yield stream.emit(Existence, object=key, name=name, display=name.capitalize(), state=state, probability=0.9, by=BY)
    if state != "present":
        yield stream.emit(Text, text=f"The {name} is {state}. ", spans=(Span(start=4, end=4 + len(name), kind="object", ref=key),))
        return
    centre = volume.index_to_world([np.array(FIRST) + (np.array(SHAPE) - 1) / 2])[0]
    size = np.array(SHAPE) * volume.spacing
    yield stream.emit(Box, object=key, centre_ras=tuple(centre), size_mm=tuple(size * 1.1), score=0.8, look=0, by=BY)
    near = ViewBox(centre_ras=tuple(centre), size_mm=tuple(size * 1.5), spacing_mm=(2, 2, 2), shape=(16, 16, 16))
    yield stream.emit(Look, object=key, step=1, view=near, why="object", window=(40, 400), digest="d1", by=BY)
    yield stream.emit(Box, object=key, centre_ras=tuple(centre), size_mm=tuple(size), score=0.9, look=1, by=BY)
    where = tuple(slice(a, a + n) for a, n in zip(FIRST, SHAPE, strict=True))
    mask = (np.asarray(volume.voxels[where]) > 40).astype(np.uint8)
    for stage in ("coarse", "final"):
        path = f"{key}.{stage}.npy"
        np.save(workspace / path, mask)
        yield stream.emit(Mask, object=key, stage=stage, first_voxel=FIRST, shape=SHAPE, path=path, voxels=int(mask.sum()),
                          cut_by_scan=False, by=BY)
    yield stream.emit(Category, object=key, attribute="shape", value="round", probability=0.7, by=BY)
    millilitres = float(mask.sum() * volume.voxel_ml)
    yield stream.emit(Measurement, id=f"{key}.m1", object=key, name="volume", value=millilitres, unit="ml",
                      method="voxel count x voxel volume")
    ends = volume.index_to_world([[6, 11, 8], [15, 11, 8]]).tolist()
    yield stream.emit(Measurement, id=f"{key}.m2", object=key, name="long_axis", value=20.0, unit="mm",
                      method="axial slice of largest area", geometry={"ends_ras": ends, "plane": "axial"})
    said = f"{millilitres:.0f} ml"
    text = f"The {name} measures {said}. "
    start = text.index(said)
    yield stream.emit(Text, text=text, spans=(Span(start=start, end=start + len(said), kind="measurement", ref=f"{key}.m1"),))
    yield stream.emit(Statement, id=f"{key}.s1", start=0, end=len(text), claim="volume", verdict="verified", rule="volume",
                      said=said, found=millilitres, evidence=key, by=RULE)
