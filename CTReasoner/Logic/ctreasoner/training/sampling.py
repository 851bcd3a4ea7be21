"""Draws training views: a source, a patient, a view, then the queries that share its encoding."""
from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.model import prompting
from ctreasoner.model.vision import STATES
from ctreasoner.training import augment
from ctreasoner.training.views import Pose, Prepared, cut, faces_of

SIDE = 64                                              # voxels of a training view
TALL = (48, 48, 112)                                   # as many voxels for what is long and thin: a whole oesophagus at 2.2 mm
QUERIES = 4
THING = "thing"
CODES = (*OBJECTS, THING)                              # rows of the code table
ABOVE_THORAX = ("mandible", "brainstem", "parotid_right", "parotid_left")   # never inside a thorax case
BELOW_NECK = ("heart", "aorta", "lung_left", "lung_right")
ERASABLE = ("parotid_right", "parotid_left", "lung_left", "lung_right")
PAIRS = {"parotid_right": "parotid_left", "parotid_left": "parotid_right",
         "lung_right": "lung_left", "lung_left": "lung_right"}
PRESENT, ABSENT, OUTSIDE, UNSUPPORTED = range(len(STATES))


@dataclass
class Sample:
    """One view and its queries. Lists run over the k queries; `key` None means a false code."""
    hu: Tensor                       # [x, y, z]
    prompt: Tensor                   # [6, x/2, y/2, z/2]
    keys: list[str | None]
    masks: Tensor                    # [k, x, y, z]
    known: Tensor                    # [x, y, z] bool: where labels hold
    mask_weight: Tensor              # [k]
    state: Tensor                    # [k] long
    state_weight: Tensor             # [k]
    faces: Tensor                    # [k, 3, 2] voxels
    overflow: Tensor                 # [k, 3, 2] bool
    box_weight: Tensor               # [k]
    corrected: bool = False          # the model's own mask is corrected by clicks before the loss is taken


@dataclass
class Picture:
    """An augmented view with everything that its case covers: masks and the visible share of each object by key."""
    pose: Pose
    hu: Tensor
    masks: dict[str, Tensor]
    share: dict[str, float]
    inside: Tensor
    erased: str | None


class Sampler:
    """Draws samples from the training cases; `mixture` are the shares of thorax, neck and nodule views."""

    def __init__(self, cases: list[Prepared], seed: int, mixture: tuple[float, float, float] = (0.64, 0.23, 0.13),
                 overview: float = 0.35):
        self.rng = np.random.default_rng(seed)
        self.thorax = [c for c in cases if c.source == "segthor"]
        self.neck = [c for c in cases if c.source == "openkbp"]
        self.nodules = [c for c in cases if c.source == "lidc"]
        self.mixture, self.overview_share = mixture, overview

    def batch(self, size: int) -> list[Sample]:
        """Samples of one shape: three batches of ten are tall looks."""
        if self.rng.random() < 0.3:
            pools = (self.thorax, self.thorax, self.thorax, self.neck)
            drawn = [pools[self.rng.integers(len(pools))] for _ in range(size)]
            return [self.look(pool[self.rng.integers(len(pool))], TALL) for pool in drawn]
        return [self.draw() for _ in range(size)]

    def draw(self) -> Sample:
        kind = self.rng.choice(3, p=self.mixture)
        if kind == 2:
            return self.nodule(self.nodules[self.rng.integers(len(self.nodules))])
        pool = self.thorax if kind == 0 else self.neck
        case = pool[self.rng.integers(len(pool))]
        if self.rng.random() < self.overview_share:
            return self.overview(case)
        return self.look(case)

    # views -------------------------------------------------------------------------------------------------

    def overview(self, case: Prepared) -> Sample:
        pose, z_range = self.overview_pose(case)
        return self._sample(case, pose, z_range, whole=True)

    def look(self, case: Prepared, shape: tuple[int, int, int] = (SIDE,) * 3) -> Sample:
        return self._sample(case, self.look_pose(case, shape=shape))

    def overview_pose(self, case: Prepared) -> tuple[Pose, tuple[int, int] | None]:
        """The whole scan, a part of it cut along z, or a part that an object lies beyond; at 4.5 to 8 mm."""
        rng, n = self.rng, case.hu.shape
        z_range, kind = None, rng.random()
        if kind < 0.3:
            length = int(n[2] * rng.uniform(0.3, 0.9))
            start = int(rng.integers(0, n[2] - length + 1))
            z_range = (start, start + length)
        elif kind < 0.7:
            z_range = self._beyond(case)
        z0, z1 = z_range or (0, n[2])
        extent = np.array([n[0], n[1], z1 - z0]) * case.spacing
        spacing = float(np.clip(extent.max() / SIDE * rng.uniform(1.0, 1.2), 4.5, 8.0))
        centre = np.array([n[0] / 2, n[1] / 2, (z0 + z1) / 2]) * case.spacing + rng.normal(0, 10, 3)
        matrix = augment.random_matrix(rng, scale=(0.9, 1.12))
        return Pose(centre, spacing, (SIDE,) * 3, matrix), z_range

    def _beyond(self, case: Prepared) -> tuple[int, int] | None:
        """A part of the scan that ends 0 to 40 mm before some object begins; None where nothing would be left of it."""
        rng, (n, mm) = self.rng, (case.hu.shape[2], case.spacing[2])
        lower, upper = case.boxes[case.present[rng.integers(len(case.present))]]
        gap = rng.uniform(0, 40)
        parts = [(0, int((lower[2] - gap) / mm)), (math.ceil((upper[2] + gap) / mm), n)]
        if "mandible" in case.boxes and rng.random() < 0.5:                      # the head alone: no chest
            parts = [(math.ceil((case.boxes["mandible"][0][2] + gap) / mm), n)]
        parts = [(a, b) for a, b in parts if (b - a) * mm >= 45]
        return parts[rng.integers(len(parts))] if parts else None

    def look_pose(self, case: Prepared, key: str | None = None, shape: tuple[int, int, int] = (SIDE,) * 3) -> Pose:
        """A close view round the spacing at which the engine looks: shared by several objects, centred on none in particular."""
        rng = self.rng
        if key is None:
            thin = "esophagus" in case.present and rng.random() < 0.35          # the hardest to learn
            key = "esophagus" if thin else case.present[rng.integers(len(case.present))]
        lower, upper = case.boxes[key]
        low, high = (1.9, 3.4) if case.source == "segthor" else (2.2, 3.5)
        spacing = math.exp(rng.uniform(math.log(low), math.log(high)))
        centre = lower + (upper - lower) * rng.uniform(0.0, 1.0, 3)
        middle, reach = (lower + upper) / 2, 0.25 * spacing * np.array(shape)
        if rng.random() < 0.5:
            centre = middle + rng.uniform(-reach, reach, 3)
        return Pose(centre, spacing, shape, augment.random_matrix(rng))

    def nodule(self, case: Prepared) -> Sample:
        """A nodule crop, off centre, found by a click; outside the crop nothing is known."""
        rng = self.rng
        lower, upper = case.boxes["lung_nodule"]
        spacing = math.exp(rng.uniform(math.log(0.6), math.log(1.1)))
        centre = (lower + upper) / 2 + rng.uniform(-10, 10, 3)
        matrix = augment.random_matrix(rng, (15, 15, 180), (0.8, 1.25))
        pose = Pose(centre, spacing, (SIDE,) * 3, matrix)
        hu, masks, inside = cut(case, pose, ["lung_nodule"], fill="edge")
        prompt = self._click_prompt(masks[0]) if masks[0].max() > 0.5 else prompting.empty(hu.shape)
        hu = augment.scanner(hu, rng, soft_source=False)
        keys = ["lung_nodule", THING if rng.random() < 0.6 else None]
        corrected = bool(masks[0].max() > 0.5) and rng.random() < 0.4
        return self.finish(hu, prompt, keys, masks.repeat(2, 1, 1, 1), inside, [1.0, 1.0], corrected=corrected)

    # queries and targets ------------------------------------------------------------------------------------

    def picture(self, case: Prepared, pose: Pose, z_range: tuple[int, int] | None = None, flip: bool | None = None) -> Picture:
        """Cuts and augments one view; a flip exchanges the names of the sides."""
        rng = self.rng
        if flip is None:
            flip = rng.random() < (0.5 if case.source == "openkbp" else 0.15)
        if flip:
            pose.matrix = np.diag([-1.0, 1.0, 1.0]) @ pose.matrix
        name = (lambda key: PAIRS.get(key, key)) if flip else (lambda key: key)
        stored = list(case.covered)
        move = augment.displacement(rng, pose.shape, float(rng.uniform(0, 4))) if rng.random() < 0.25 else None
        hu, masks, inside = cut(case, pose, stored, z_range, move)
        named = {name(key): masks[i] for i, key in enumerate(stored)}
        voxel = pose.spacing ** 3 * abs(np.linalg.det(pose.matrix))
        full = {name(key): case.voxels[key] * float(np.prod(case.spacing)) for key in stored}
        share = {key: float(named[key].sum()) * voxel / full[key] if full[key] else 0.0 for key in named}
        if case.source == "segthor" and rng.random() < 0.5:
            hu = augment.recontrast(hu, named["aorta"], named["heart"], rng)
        erased = None
        candidates = [key for key in ERASABLE if share.get(key, 0) > 0.5]
        if candidates and rng.random() < (0.3 if case.source == "openkbp" else 0.1):     # that a parotid is gone is hard to see
            erased = candidates[rng.integers(len(candidates))]
            hu = augment.erase(hu, named[erased], rng)
        if z_range is None and rng.random() < 0.25 and (seen := [key for key in named if share[key] > 0.05 and key != erased]):
            # The border is where the picture shows it, not where it lies in most patients.
            radius = rng.uniform(4.0, 9.0) / pose.spacing
            hu = augment.bulge(hu, named, seen[rng.integers(len(seen))], radius, rng) if radius > 1.2 else hu
        hu = augment.scanner(hu, rng, soft_source=case.source == "segthor")
        hu = torch.where(inside, hu, torch.full_like(hu, -1024.0))
        return Picture(pose, hu, named, share, inside, erased)

    def _sample(self, case: Prepared, pose: Pose, z_range=None, whole: bool = False) -> Sample:
        rng = self.rng
        picture = self.picture(case, pose, z_range)
        named, share = picture.masks, picture.share
        if not whole and rng.random() < 0.22:
            seen = [key for key in named if share[key] > 0.05 and key != picture.erased and named[key].max() > 0.9]
            if seen:
                key = seen[rng.integers(len(seen))]
                return self._clicked(picture.hu, named[key], key, share[key])
        keys, targets, shares = self._queries(case, named, share, picture.erased, whole, z_range)
        known = torch.ones_like(picture.inside)
        return self.finish(picture.hu, prompting.empty(picture.hu.shape), keys, torch.stack(targets), known, shares, picture.erased)

    def _queries(self, case, named, share, erased, whole, z_range):
        """QUERIES of what is known here; one in ten is a false code. Absent labels that are not sure get share nan."""
        rng, empty = self.rng, None
        order = list(named)
        rng.shuffle(order)
        # Looks ask mostly for what can be seen; lungs are learned in no time and leave their place to thin organs.
        order.sort(key=lambda key: -(rng.random() < (0.3 if key.startswith("lung") else 0.9)) * (share[key] > 0.03))
        if whole and rng.random() < 0.8:                                 # what lies beyond, two of the four queries at most
            beyond = [key for key in order if share[key] < 0.03][:2]
            order = beyond + [key for key in order if key not in beyond]
        if erased:
            order = [erased] + [key for key in order if key != erased]
        elsewhere = ABOVE_THORAX if case.source == "segthor" else ()
        if case.source == "openkbp" and z_range and z_range[0] * case.spacing[2] >= case.boxes.get("mandible", [[0, 0, 1e9]])[0][2]:
            elsewhere = BELOW_NECK
        if whole and elsewhere and rng.random() < (0.6 if elsewhere is ABOVE_THORAX else 0.9):
            order.insert(int(rng.integers(0, 3)), elsewhere[rng.integers(len(elsewhere))])
        keys = order[:QUERIES]
        if rng.random() < 0.4 or len(keys) < QUERIES:
            keys = [*keys[:QUERIES - 1], *[None] * max(1, QUERIES - len(keys))][:QUERIES]
        shape = next(iter(named.values())).shape
        empty = torch.zeros(shape)
        targets = [empty if key is None or key == erased or key not in named else named[key] for key in keys]
        shares = [0.0 if key is None or key not in named else share[key] for key in keys]
        return keys, targets, shares

    def _clicked(self, hu: Tensor, mask: Tensor, key: str, share: float) -> Sample:
        """One object asked by a click, as itself and as a thing; mostly it corrects an earlier mask, made up or the model's."""
        kind = self.rng.random()
        prompt = self._correction(mask) if kind < 0.25 else self._click_prompt(mask)
        return self.finish(hu, prompt, [key, THING], mask.repeat(2, 1, 1, 1), torch.ones_like(hu, dtype=torch.bool),
                            [max(share, 0.2)] * 2, corrected=kind > 0.5)

    def _click_prompt(self, mask: Tensor) -> Tensor:
        prompt = prompting.empty(mask.shape)
        for _ in range(1 if self.rng.random() < 0.7 else 2):
            self._point(prompt, "click_positive", mask > 0.7)
        return prompt

    def _correction(self, mask: Tensor) -> Tensor:
        """An earlier mask with a part missing and a part too much, and clicks in both."""
        rng, prompt = self.rng, prompting.empty(mask.shape)
        field = augment.smooth_field(rng, mask.shape, int(rng.integers(5, 9)))[0]
        near = augment.blur(mask, 9) > 0.001
        missing, extra = (mask > 0.5) & (field > rng.uniform(0.3, 1.2)), near & (mask < 0.5) & (field < -rng.uniform(0.5, 1.4))
        prompting.set_mask(prompt, (((mask > 0.5) & ~missing) | extra).float())
        if missing.any() and rng.random() < 0.9:
            self._point(prompt, "click_positive", missing)
        if extra.any() and rng.random() < 0.7:
            self._point(prompt, "click_negative", extra)
        return prompt

    def _point(self, prompt: Tensor, channel: str, where: Tensor) -> None:
        places = where.nonzero()
        if len(places):
            prompting.add_point(prompt, channel, places[self.rng.integers(len(places))].tolist())

    def finish(self, hu, prompt, keys, masks, known, shares, erased=None, corrected=False) -> Sample:
        while len(keys) < QUERIES:                     # padded with false codes: every view has the same k
            keys, shares = [*keys, None], [*shares, 0.0]
            masks = torch.cat([masks, torch.zeros_like(masks[:1])])
        k, clicked = len(keys), bool(prompt.any())
        faces, overflow, box_weight = torch.zeros(k, 3, 2), torch.zeros(k, 3, 2, dtype=torch.bool), torch.zeros(k)
        state, state_weight, mask_weight = torch.zeros(k, dtype=torch.long), torch.ones(k), torch.ones(k)
        for i, key in enumerate(keys):
            if key is None:
                # With a click in the view "unsupported" would be taught against "something is there": masks only without.
                state[i], mask_weight[i] = UNSUPPORTED, 0.0 if clicked else 0.5
                state_weight[i] = 0.0 if clicked else 0.5
                continue
            if key == erased:
                state[i] = ABSENT
                continue
            visible = shares[i]
            state[i] = PRESENT if visible > 0.15 else OUTSIDE
            if visible < 0.03:
                mask_weight[i] = 0.5
            elif visible < 0.15:
                state_weight[i] = 0.0
            found = faces_of(masks[i])
            if found is not None:
                faces[i], overflow[i] = torch.from_numpy(found[0]), torch.from_numpy(found[1])
                box_weight[i] = float(visible > 0.05)
        return Sample(hu, prompt, list(keys), masks, known, mask_weight, state, state_weight, faces, overflow, box_weight,
                      corrected)
