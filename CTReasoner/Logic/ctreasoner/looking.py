"""One object from its routing tokens to its mask: existence, box, looks, lost and found, segmentation, categories."""
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from ctreasoner.conversation import Known
from ctreasoner.events import Box, Category, Event, Existence, Look, Mask, Stream, ViewBox
from ctreasoner.geometry import View, Volume, box_of
from ctreasoner.model import closer, prompting
from ctreasoner.model.eyes import Eyes, Faces, Sight, faces, states

POINT_SPACING_MM = {"lung_nodule": 1.0, "thing": 2.0}      # first look at something clicked
POINT_SIDE = 64
FOUND = 0.35                                                # below this probability a look says that the object is not there
THING_FLOOR_MM = 1.0


class Seeker:
    """Carries one object of one answer through its looks; the engine owns the stream and the conversation."""

    def __init__(self, eyes: Eyes, speaker, volume: Volume, stream: Stream, by, workspace: Path, calibration: dict, vocabulary):
        self.eyes, self.speaker, self.volume, self.stream, self.by = eyes, speaker, volume, stream, by
        self.workspace, self.calibration, self.vocabulary = workspace, calibration, vocabulary

    def floor(self, key: str | None) -> float:
        item = self.vocabulary.get(key) if key else None
        return item.spacing_floor_mm if item else THING_FLOOR_MM

    # events -------------------------------------------------------------------------------------------------

    def look_event(self, sight: Sight, object_id: str | None, step: int, why: str, key: str | None = None, by=None) -> Event:
        view = sight.view
        box = ViewBox(centre_ras=view.centre_ras, size_mm=tuple(view.size_mm), spacing_mm=view.spacing_mm, shape=view.shape)
        return self.stream.emit(Look, object=object_id, step=step, view=box, why=why, window=window_for(key),
                                digest=sight.digest, by=by or self.by)

    def existence_event(self, known: Known, probability: float | None) -> Event:
        return self.stream.emit(Existence, object=known.id, name=known.key or "unknown", display=known.display, state=known.state,
                                probability=None if probability is None else round(probability, 4),
                                by=known.by or self.by)

    def box_event(self, known: Known, score: float) -> Event:
        box = known.box
        return self.stream.emit(Box, object=known.id, centre_ras=tuple((box.lower + box.upper) / 2), size_mm=tuple(box.size),
                                score=round(float(score), 4), look=known.looks, by=known.by or self.by)

    # the loop -----------------------------------------------------------------------------------------------

    def exists(self, known: Known, whole: Sight, code: torch.Tensor) -> float:
        """Sets the state from view 0; the probability of that state."""
        known.state, probability = state_of(self.eyes, whole, code, self.calibration)
        return probability

    def find(self, known: Known, thought, whole: Sight, max_looks: int) -> Iterator[Event]:
        """Box on view 0, then looks until nothing new would be seen. Ends with `known.state` present, absent or outside."""
        code = self.speaker.begin(thought, known.number, known.key)
        context, _ = self.eyes.context(whole, code[None])
        known.box, known.sight, known.code = faces(context, whole.view), whole, code
        yield self.box_event(known, states(context)["present"])
        lost_once, view = False, None
        for step in range(1, max_looks + 1):
            view = view or closer.next_view(known.box, known.sight.view, self.volume, self.floor(known.key))
            why = "region" if view.spacing_mm[0] > 1.25 * self.floor(known.key) and step < max_looks else "object"
            sight = self.eyes.see(self.volume, view)
            yield self.look_event(sight, known.id, step, "boundary" if step > 1 and not lost_once else why, known.key)
            code = self.speaker.look(thought, sight, whole)
            context, _ = self.eyes.context(sight, code[None])
            p = states(context)
            if p["present"] < FOUND:                      # <LOST>: one view up, once
                if lost_once or step == max_looks:
                    known.state = max(("absent", "outside"), key=p.__getitem__)
                    yield self.existence_event(known, p[known.state])
                    return
                lost_once, view = True, closer.wider(view, self.volume, self.floor(known.key))
                continue
            before, known.box = known.box, faces(context, view)
            known.sight, known.code, known.looks = sight, code, step
            yield self.box_event(known, p["present"])
            if not closer.another(known.box, before, view):
                return
            view = None

    def find_at(self, known: Known, thought, whole: Sight, point, max_looks: int, drawn_mm: float | None = None) -> Iterator[Event]:
        """The first look is round the clicked point; the prompt enters beside the encoder from here on.

        `drawn_mm` is the largest side of a box that was drawn: the first look is then twice as wide.
        """
        self.speaker.begin(thought, known.number, known.key)
        wanted = POINT_SPACING_MM.get(known.key, 2.0) if drawn_mm is None else float(np.clip(2 * drawn_mm / POINT_SIDE, 0.8, 5.0))
        spacing = max(wanted, float(self.volume.spacing.min()))
        view = View(centre_ras=tuple(np.round(np.array(point) / 4.0) * 4.0), shape=(POINT_SIDE,) * 3, spacing_mm=(spacing,) * 3)
        for step in range(1, min(2, max_looks) + 1):
            sight = self.eyes.see(self.volume, view)
            yield self.look_event(sight, known.id, step, "object", known.key)
            code = self.speaker.look(thought, sight, whole)
            context, _ = self.eyes.context(sight, code[None], self.prompt(known, view))
            known.box, known.sight, known.code, known.looks = faces(context, view), sight, code, step
            yield self.box_event(known, states(context)["present"])
            share = (known.box.size / np.array(view.size_mm)).max()
            scale = 1.8 if share > 0.75 and spacing < 3.0 else 0.5 if share < 0.18 and spacing > 1.0 else None
            if scale is None or (known.key == "lung_nodule" and scale < 1):
                return
            spacing = max(spacing * scale, 0.8)
            view = View(centre_ras=view.centre_ras, shape=view.shape, spacing_mm=(spacing,) * 3)

    def segment(self, known: Known, thought, stage: str = "final") -> Iterator[Event]:
        """Coarse mask, then the final one, then the model's words for what it saw, before anything is measured."""
        known.code = self.speaker.segment(thought)
        prompt = self.prompt(known, known.sight.view) if known.clicks else None
        context, pixels = self.eyes.context(known.sight, known.code[None], prompt)
        with torch.inference_mode():
            coarse = torch.nn.functional.interpolate(context.coarse[:, :1], scale_factor=4, mode="trilinear")[0, 0]
        yield self.mask_event(known, coarse.numpy(), "coarse")
        logits, pixels = self.eyes.masks(known.sight, context, pixels, known.code[None], prompt)
        known.logits = logits[0].numpy()
        yield self.mask_event(known, known.logits, stage)
        if known.mask is None or not known.mask.size:
            return
        from ctreasoner.model.language import region_features
        with torch.inference_mode():
            region = region_features(known.sight.features, pixels, torch.sigmoid(logits)[None])[0, 0]
        for attribute, value, probability in self.speaker.categories(thought, known.key or "thing", region):
            known.categories[attribute] = value
            yield self.stream.emit(Category, object=known.id, attribute=attribute, value=value,
                                   probability=round(probability, 4), by=self.by)

    def refine(self, known: Known) -> Iterator[Event]:
        """A corrected mask from all clicks so far and the mask before; the decoder alone runs again."""
        prompt = self.prompt(known, known.sight.view, earlier=True)
        context, pixels = self.eyes.context(known.sight, known.code[None], prompt)
        logits, _ = self.eyes.masks(known.sight, context, pixels, known.code[None], prompt)
        known.logits = logits[0].numpy()
        yield self.mask_event(known, known.logits, "refined")

    # masks and prompts --------------------------------------------------------------------------------------

    def mask_event(self, known: Known, logits: np.ndarray, stage: str) -> Event:
        values, first = closer.on_grid(logits, known.sight.view, self.volume)
        mask = values > 0
        item = self.vocabulary.get(known.key) if known.key else None
        inside = [p for p, positive in known.clicks if positive]
        seeds = [tuple(round(float(v)) for v in self.volume.world_to_index([p])[0] - first) for p in inside]
        mask = closer.tidy(mask, item.components if item else "largest", item.max_components if item else 1, seeds)
        return self.placed(known, mask, first, stage)

    def placed(self, known: Known, mask: np.ndarray, first: np.ndarray, stage: str) -> Event:
        """A mask [i, j, k] from voxel `first` on, written to its file; what is not coarse becomes the object's."""
        crop, first = closer.trimmed(mask, first)
        cut = bool(crop.size) and closer.touches_border(crop.shape, first, self.volume)
        path = self.workspace / f"{known.id}.{stage}.npy"
        np.save(path, crop, allow_pickle=False)
        if stage != "coarse":
            known.mask, known.first_voxel, known.path = crop, first, path
            known.cut = cut
            if crop.size:
                centre, size = box_of(crop > 0, first, self.volume)
                position = np.stack([np.array(centre) - np.array(size) / 2, np.array(centre) + np.array(size) / 2], 1)
                known.box = Faces(position, np.zeros((3, 2)), np.zeros((3, 2)))
        return self.stream.emit(Mask, object=known.id, stage=stage, first_voxel=tuple(int(v) for v in first), shape=crop.shape,
                                path=path.name, voxels=int(crop.sum()), cut_by_scan=cut, by=self.by)

    def prompt(self, known: Known, view: View, earlier: bool = False) -> torch.Tensor:
        """The prompt channels of a view: the object's clicks, and with `earlier` the mask before."""
        channels = prompting.empty(view.shape)
        for point, positive in known.clicks:
            voxel = (np.array(point) - view.lo) / np.array(view.spacing_mm) - 0.5
            prompting.add_point(channels, "click_positive" if positive else "click_negative", tuple(voxel))
        if earlier and known.logits is not None and known.logits.shape == view.shape:
            prompting.set_mask(channels, torch.from_numpy(known.logits) > 0)
        return channels


def state_of(eyes: Eyes, whole: Sight, code: torch.Tensor, calibration: dict) -> tuple[str, float]:
    """Present, absent or outside: what view 0 says of an object with a code [128], and the probability of that state."""
    context, _ = eyes.context(whole, code[None])
    p = calibrated(states(context), calibration)
    state = "present" if p["present"] >= calibration.get("threshold", 0.5) else max(("absent", "outside"), key=p.__getitem__)
    return state, p[state]


def calibrated(p: dict[str, float], calibration: dict) -> dict[str, float]:
    """Probabilities after temperature scaling (fitted on patients that were set aside)."""
    scale = float(calibration.get("temperature", 1.0))
    powers = {k: max(v, 1e-9) ** (1.0 / scale) for k, v in p.items()}
    total = sum(powers.values())
    return {k: v / total for k, v in powers.items()}


def window_for(key: str | None) -> tuple[float, float]:
    """(level, width) in HU that fits an object: lung, bone or soft tissue."""
    if key in ("lung_left", "lung_right", "lung_nodule", "trachea"):
        return (-500.0, 1500.0)
    return (350.0, 2000.0) if key == "mandible" else (50.0, 400.0)
