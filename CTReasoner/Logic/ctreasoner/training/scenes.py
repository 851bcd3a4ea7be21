"""What the language model sees of a case: visual tokens of an overview and of looks, points under clicks, regions.

A scene is computed once by the frozen vision model (stage 2 trains on a cache of them).
"""
from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ctreasoner.appearance.attributes import attributes_for, nodule_labels, rule
from ctreasoner.model.language import point_features, pooled_tokens, region_features, token_places
from ctreasoner.model.vision import VisionModel
from ctreasoner.training.sampling import SIDE, TALL, Picture, Sampler
from ctreasoner.training.views import Pose, Prepared, cut
from ctreasoner.vocabulary import Vocabulary

LOOKED_AT = 3               # objects of a scene at most: another scene teaches more than a fourth object


@dataclass
class Seen:
    """One object of a scene: tokens of a look at it, features of its region, of points inside it, and its words."""
    look: Tensor                       # [27, 224]
    look_places: Tensor                # [27, 4]
    region: Tensor                     # [3, 120]
    points: Tensor                     # [n, 192]
    point_places: Tensor               # [n, 4]
    categories: dict[str, str] = field(default_factory=dict)


@dataclass
class Scene:
    whole: Tensor                      # [64, 224]
    places: Tensor                     # [64, 4]
    objects: dict[str, Seen]
    things: tuple[Tensor, Tensor]      # features and places of points on nothing that has a name


def write_scenes(scenes: list[Scene], path: Path) -> None:
    torch.save([asdict(scene) for scene in scenes], path)


def read_scenes(path: Path) -> list[Scene]:
    """Scenes that `write_scenes` wrote; tensors, text and numbers only."""
    stored = torch.load(path, weights_only=True)
    return [Scene(s["whole"], s["places"], {k: Seen(**o) for k, o in s["objects"].items()}, tuple(s["things"])) for s in stored]


def places_of(pose: Pose, per_axis: int, origin: np.ndarray) -> Tensor:
    size = torch.tensor([n * pose.spacing for n in pose.shape], dtype=torch.float32)
    lower = torch.tensor(pose.centre, dtype=torch.float32) - size / 2
    return token_places(lower, size, pose.spacing, per_axis, torch.tensor(origin, dtype=torch.float32))


class SceneMaker:
    """Builds scenes; `known` holds the categories of each case and object that need the whole mask (see training.categories)."""

    def __init__(self, vision: VisionModel, sampler: Sampler, known: dict[str, dict[str, dict[str, str]]]):
        self.vision, self.sampler, self.known, self.rng = vision, sampler, known, sampler.rng
        self.vocabulary = Vocabulary.load()

    @torch.no_grad()
    def make(self, case: Prepared) -> Scene:
        rng = self.rng
        pose, z_range = self.sampler.overview_pose(case)
        flip = bool(rng.random() < (0.5 if case.source == "openkbp" else 0.1))
        picture = self.sampler.picture(case, pose, z_range, flip)
        nodule = self._paste_nodule(picture) if "lung_left" in picture.masks and self.sampler.nodules else None
        features = self.vision.encode(picture.hu[None, None])
        things = self._points(features, picture, self._nameless(picture), pose, 3)
        scene = Scene(pooled_tokens(features, 4)[0], places_of(pose, 4, pose.centre), {}, things)
        visible = [(key, share) for key, share in picture.share.items() if share >= 0.2 and key != picture.erased]
        rng.shuffle(visible)
        for key, share in visible[:LOOKED_AT]:
            points = self._points(features, picture, picture.masks[key] > 0.6, pose, 3)
            if len(points[0]):
                scene.objects[key] = self._seen(case, key, flip, pose, points, share)
        if nodule is not None:
            centre, crop = nodule
            voxel = torch.tensor(centre, dtype=torch.float32)[None] + torch.from_numpy(rng.uniform(-0.6, 0.6, (2, 3))).float()
            points = point_features(features, voxel, (SIDE,) * 3), self._place(voxel, pose)
            scene.objects["lung_nodule"] = self._seen_nodule(crop, points, pose)
        return scene

    def _seen(self, case: Prepared, key: str, flip: bool, pose: Pose, points, share: float) -> Seen:
        from ctreasoner.training.sampling import PAIRS
        stored = PAIRS.get(key, key) if flip else key
        close = self.sampler.look_pose(case, stored, TALL if self.rng.random() < 0.4 else (SIDE,) * 3)
        picture = self.sampler.picture(case, close, None, flip)
        features = self.vision.encode(picture.hu[None, None])
        mask = picture.masks[key]
        region = region_features(features, self.vision.decode(features), mask[None, None])[0, 0]
        categories = dict(self.known.get(case.id, {}).get(stored, {}))
        if share < 0.9 and "extent" in attributes_for(key):
            categories = {"extent": "cut", **{a: v for a, v in categories.items() if a not in ("size", "extent", "shape")}}
        inside = picture.hu[mask > 0.6]
        if len(inside) > 20 and "density" in attributes_for(key):
            found = rule("density", self.vocabulary[key], {"p50_hu": float(inside.median())})
            categories.pop("density", None)
            if found:
                categories["density"] = found
        return Seen(pooled_tokens(features, 3)[0], places_of(close, 3, pose.centre), region, *points, categories)

    def _seen_nodule(self, case: Prepared, points, pose: Pose) -> Seen:
        sample = self.sampler.nodule(case)
        features = self.vision.encode(sample.hu[None, None])
        region = region_features(features, self.vision.decode(features, sample.prompt[None]), sample.masks[None, :1])[0, 0]
        near = Pose(pose.centre + points[1][0, :3].numpy() * 200.0, 0.8, (SIDE,) * 3)
        words = nodule_labels({"ratings": case.ratings})
        return Seen(pooled_tokens(features, 3)[0], places_of(near, 3, pose.centre), region, *points, words)

    def _points(self, features, picture: Picture, where: Tensor, pose: Pose, count: int) -> tuple[Tensor, Tensor]:
        places = where.nonzero()
        if not len(places):
            return torch.zeros(0, 192), torch.zeros(0, 4)
        chosen = places[torch.from_numpy(self.rng.integers(0, len(places), count))].float()
        return point_features(features, chosen, (SIDE,) * 3), self._place(chosen, pose)

    def _place(self, voxels: Tensor, pose: Pose) -> Tensor:
        mm = (voxels - (SIDE - 1) / 2) * pose.spacing / 200.0
        return torch.cat([mm, torch.full((len(mm), 1), pose.spacing).log()], 1)

    def _nameless(self, picture: Picture) -> Tensor:
        """Tissue that no label covers (and that is not air)."""
        taken = sum(picture.masks.values()) > 0.05
        return ~taken & (picture.hu > -150) & picture.inside

    def _paste_nodule(self, picture: Picture):
        """Puts a nodule of another patient into a lung of the overview; returns (voxel, case) or None."""
        lung = (picture.masks["lung_left"] + picture.masks["lung_right"]) > 0.9
        places = lung.nonzero()
        if not len(places) or self.rng.random() < 0.3:
            return None
        pool = self.sampler.nodules
        for _ in range(20):
            case = pool[self.rng.integers(len(pool))]
            lower, upper = case.boxes["lung_nodule"]
            if (upper - lower).max() > 9:
                break
        centre = places[self.rng.integers(len(places))].tolist()
        side = 16
        hu, masks, _ = cut(case, Pose((lower + upper) / 2, picture.pose.spacing, (side,) * 3), ["lung_nodule"], fill="edge")
        weight = masks[0].clamp(0, 1)
        spans_from, spans_to = [], []
        for c in centre:
            a, b = max(0, c - side // 2), min(SIDE, c + side // 2)
            spans_to.append(slice(a, b))
            spans_from.append(slice(a - c + side // 2, b - c + side // 2))
        region = picture.hu[tuple(spans_to)]
        w = weight[tuple(spans_from)]
        picture.hu[tuple(spans_to)] = torch.maximum(region, region * (1 - w) + hu[tuple(spans_from)].clamp_max(120) * w)
        return centre, case
