"""An expert whose package runs in a process, and a Python, of its own; it is watched, and ended when it takes too much."""

from __future__ import annotations

import json
import math
import os
import queue
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..client.process import LineProcess
from ..geometry import Volume, body_extent
from ..vocabulary import VocabObject
from . import anatomy
from .grids import Crop, tight
from .nnunet import ModelFolder
from .protocol import Box, ExpertError, Found, Licence, by_of

KINDS = ("nnunet",)
CHILDREN = Path(__file__).with_name("children")
POLL_S = 0.25
LEAST_LIMIT_S, TIMES_EXPECTED = 300.0, 10.0      # an expert that takes ten times as long as it should hangs
MEMORY_SHARE = 0.8                               # of the computer's


class ForeignExpert:
    """An entry of the user's file.

    entry : name, kind, folder, python (of the environment that has the package), licence {name, terms, non_commercial},
        labels {label: key, or {key, names, code} for an object of one's own}, and what `check` measured.
    """

    modality = "CT"

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entry = dict(entry)
        try:
            self.name, self.version = str(entry["name"]), str(entry.get("version", ""))
            self.region, self.device = str(entry.get("region", "")), str(entry.get("device", "cpu"))
            self.licence = Licence(**entry["licence"])
            self.model = ModelFolder.read(Path(entry["folder"]))
            self.labels = {_object(what).key: (_object(what), label) for label, what in entry["labels"].items() if what}
        except (KeyError, TypeError) as error:
            raise ExpertError(f"its entry in the list of experts lacks {error}.", code="CTR-EXP-003",
                              hint="Remove it and add it anew.") from error
        unknown = [label for _, label in self.labels.values() if label not in self.model.labels]
        if unknown:
            raise ExpertError(f"its model folder no longer has the label {unknown[0]}.", code="CTR-EXP-014", hint="Add it anew.")
        self.objects: dict[str, VocabObject] = {key: item for key, (item, _) in self.labels.items()}
        self.spacing_mm = self.model.spacing_mm

    # cost -------------------------------------------------------------------------------------------------------

    def expected_seconds(self, volume: Volume, box: Box | None = None) -> float | None:
        cost = self.entry.get("seconds")
        if not cost:
            return None
        crop = self._crop(volume, box)
        size = np.array(crop.array_shape) * crop.spacing_mm
        return float(cost["start"] + cost["patch"] * windows(size, self.model.patch_mm))

    # work -------------------------------------------------------------------------------------------------------

    def check(self) -> dict[str, Any]:
        """Load the model in its own Python and time one patch: {package, start_s, patch_s, device}."""
        return self._run({"do": "check"}, LEAST_LIMIT_S, lambda: False)

    def segment(self, volume: Volume, objects: Sequence[str], box: Box | None = None,
                cancelled: Callable[[], bool] = lambda: False) -> dict[str, Found]:
        """See `Expert.segment`. A mask that reaches the edge of a crop is looked for again in the whole scan."""
        crop = self._crop(volume, box)
        labels = self._labels(crop, self.expected_seconds(volume, box), cancelled)
        found = {key: self._found(labels, key, crop) for key in objects}
        if box is not None and any(_cut(f, crop) for f in found.values()):
            return self.segment(volume, objects, None, cancelled)
        return found

    def _crop(self, volume: Volume, box: Box | None) -> Crop:
        """The box and what lies beside it; the body, where there is no box."""
        orientation = self.entry.get("orientation") or self.model.orientation
        return Crop.of(volume, box, orientation) if box is not None else Crop.of(volume, body_extent(volume), orientation, 10.0)

    def _labels(self, crop: Crop, expected: float | None, cancelled: Callable[[], bool]) -> np.ndarray:
        """Labels [i, j, k] of a crop."""
        folder = Path(tempfile.mkdtemp(prefix="ctreasoner-expert-"))
        try:
            image = crop.array()
            np.save(folder / "image.npy", image, allow_pickle=False)
            job = {"do": "segment", "image": str(folder / "image.npy"), "result": str(folder / "labels.npy"),
                   "spacing_mm": crop.spacing_mm}
            self._run(job, max(LEAST_LIMIT_S, TIMES_EXPECTED * (expected or 0)), cancelled)
            try:
                labels = np.load(folder / "labels.npy", allow_pickle=False)
            except (OSError, ValueError, EOFError) as error:
                raise ExpertError(f"{self.name} gave back no mask that can be read.", code="CTR-EXP-023") from error
            if labels.shape != image.shape or labels.dtype.kind not in "ui":
                raise ExpertError(f"{self.name} gave back another grid ({labels.shape}) than that of the CT ({image.shape}).",
                                  code="CTR-EXP-023")
            return crop.back(labels)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _found(self, labels: np.ndarray, key: str, crop: Crop) -> Found:
        mask, first = tight(labels == self.model.labels[self.labels[key][1]], crop.first)
        return Found(mask=mask, first_voxel=first, by=by_of(self))

    def _run(self, job: dict[str, Any], limit_s: float, cancelled: Callable[[], bool]) -> dict[str, Any]:
        """Do a job in the expert's process; its last reply."""
        job |= {"folder": str(self.model.folder), "checkpoint": str(self.model.checkpoint), "device": self.device,
                "threads": self.entry.get("threads") or os.cpu_count() or 1}
        replies: queue.Queue[dict[str, Any]] = queue.Queue()
        python = self.entry.get("python") or sys.executable
        try:
            child = LineProcess([python, str(CHILDREN / f"{self.entry['kind']}.py")], env=environment(),
                                on_line=lambda line: replies.put(_reply(line)), on_end=lambda code: replies.put({"reply": "ended"}))
        except OSError as error:
            raise ExpertError(f"The Python of {self.name} cannot be started: {error.strerror}.", code="CTR-EXP-015",
                              hint="Name the Python of its environment: ctreasoner experts add … --python.") from error
        try:
            child.send(json.dumps(job) + "\n")
            return self._watched(child, replies, limit_s, cancelled)
        finally:
            child.kill()

    def _watched(self, child: LineProcess, replies: queue.Queue, limit_s: float, cancelled: Callable[[], bool]) -> dict[str, Any]:
        end, most = time.monotonic() + limit_s, self.entry.get("memory_mb") or MEMORY_SHARE * memory_mb()
        while True:
            if cancelled():
                raise ExpertError(f"{self.name} was stopped.", code="CTR-EXP-024")
            if time.monotonic() > end:
                raise ExpertError(f"{self.name} did not finish within {limit_s:.0f} s and was ended.", code="CTR-EXP-025",
                                  hint="ctreasoner experts check tells how long it takes.")
            if resident_mb(child.pid) > most:
                raise ExpertError(f"{self.name} took more than {most:.0f} MB of memory and was ended.", code="CTR-EXP-026",
                                  hint="Close other programs, or use it on a smaller scan.")
            try:
                reply = replies.get(timeout=POLL_S)
            except queue.Empty:
                continue
            if reply["reply"] in ("checked", "segmented"):
                return reply
            if reply["reply"] == "refused":
                raise ExpertError(f"{self.name} did not do it: {reply.get('sentence')}", code="CTR-EXP-027",
                                  hint="ctreasoner experts check tells whether it works at all.")
            if reply["reply"] == "ended":
                last = next((line for line in reversed(child.log) if line.strip()), "")
                raise ExpertError(f"The process of {self.name} ended before its work was done: {last[:200]}", code="CTR-EXP-028",
                                  hint="ctreasoner experts check tells whether it works at all.")


def windows(size_mm: Sequence[float], patch_mm: Sequence[float], step: float = 0.5) -> int:
    """How many patches cover a box when each goes on by `step` of the patch."""
    return math.prod(max(1, math.ceil((s - p) / (p * step) - 1e-6) + 1) for s, p in zip(size_mm, patch_mm, strict=True))


def environment() -> dict[str, str]:
    """The environment of an expert's process: this one, without what would make another Python look into ours."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PYTHONSTARTUP")}
    return {**kept, "PYTHONUNBUFFERED": "1", "TOTALSEG_DISABLE_STATISTICS": "1", "HF_HUB_OFFLINE": "1"}


def memory_mb() -> float:
    """Memory of this computer; no bound where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (AttributeError, ValueError, OSError):
        return math.inf


def resident_mb(pid: int) -> float:
    """Memory that a process holds (Linux; 0 elsewhere)."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _cut(found: Found, crop: Crop) -> bool:
    """Whether a mask reaches an edge of the crop that is none of the scan."""
    if not found.mask.size:
        return True
    first, last = np.array(found.first_voxel), np.array(found.first_voxel) + found.mask.shape
    low, high = np.array(crop.first), np.array(crop.first) + crop.shape
    return bool(np.any((first <= low) & (low > 0)) or np.any((last >= high) & (high < crop.volume.shape)))


def _reply(line: str) -> dict[str, Any]:
    try:
        content = json.loads(line)
        return content if isinstance(content, dict) and "reply" in content else {"reply": "noise"}
    except ValueError:
        return {"reply": "noise"}


def _object(what: str | Mapping[str, Any]) -> VocabObject:
    """The object of a label: a key that is known, or one of the user's own."""
    if isinstance(what, str):
        item = anatomy.vocabulary().get(what)
        if item is None:
            raise ExpertError(f"there is no object '{what}'.", code="CTR-EXP-016",
                              hint="Give one of your own as {\"key\": \"my_object\", \"names\": [\"my object\"]}.")
        return item
    own = anatomy.entry(what["key"], what["names"], code=what.get("code") or ())
    if own.key in anatomy.vocabulary():
        raise ExpertError(f"the object '{own.key}' exists already.", code="CTR-EXP-016",
                          hint="Map the label to it, or rename yours.")
    return own
