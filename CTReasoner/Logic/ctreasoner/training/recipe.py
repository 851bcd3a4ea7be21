"""Trainings on published benchmarks: `ctreasoner train --recipe btcv|mosmed --data DIR`, from weights that ship.

Both recipes are one net: the language half reads the words, the hidden state of <SEG> becomes a code, and the vision half draws
what the code says in the view. BTCV: views of 64^3 of the published training cases, "segment the spleen" and so on. MosMed+: whole
slices of 224 x 224 pixels as views of one slice, with the published sentence or, with ``--text plain``, with one question for all
slices (the sentences were written from the masks and say where the infection is). There is no closer look in a recipe.
"""
from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctreasoner.dataset import layouts
from ctreasoner.dataset.grids import on_grid, turned_volume
from ctreasoner.dataset.store import may_train
from ctreasoner.errors import InputError, ModelError, UsageError
from ctreasoner.geometry import CELL, View, Volume, body_extent, sample
from ctreasoner.model import weights
from ctreasoner.training import common, losses

RECIPES, TEXTS = ("btcv", "mosmed"), ("published", "plain")
_PACKAGE = Path(__file__).resolve().parents[1]
SHIPPED = (_PACKAGE.parents[1] / "Resources" / "Models" / "compact", _PACKAGE / "_models" / "compact")     # checkout, wheel
PLAIN = "segment the infected areas of the lung"
SIDE, PIXELS, DEPTH = 64, 224, 16           # voxels of a view; pixels of a slice as published; the eyes need 16 equal slices
SPACING_MM, WINDOW_MM = (1.5, 3.0), 2.0     # of training views; of the sliding window
LUNG_HU = (-1000.0, 400.0)                  # what 8 bits are taken to span: the scale of the pictures is gone
QUERIES = 4                                 # organs asked for in one view


@dataclass
class Recipe:
    """A published benchmark's training split, from weights that ship; seconds are wall-clock time."""
    recipe: str = ""
    data: str = ""
    out: str = "runs/recipe"
    licence: str = ""                 # what you may do with the data, where its source.json does not say
    text: str = "published"           # of MosMed+: the published sentences, or "plain": one question for all
    start: str = ""                   # a model folder; empty: the weights that ship
    seconds: float = 3000.0
    steps: int = 0                    # the end after so many steps instead
    rate: float = 3e-4
    warm_up: int = 50
    decay: float = 0.03
    batch: int = 2
    seed: int = 1
    threads: int = 2


class Reader(nn.Module):
    """Words and a view -> mask logits, through the hidden state of <SEG>."""

    def __init__(self, start: str):
        super().__init__()
        folder = Path(start) if start else next((f for f in SHIPPED if f.is_dir()), SHIPPED[0])
        self.vision = weights.load_vision(folder).requires_grad_(True)
        language, self.processor, _ = weights.load_language(folder)
        self.language = language.requires_grad_(True)

    def codes(self, texts: list[str]) -> Tensor:
        """[n, 128], one code for each text."""
        ids = self.processor.ids
        states = [self.language(self.language.embed(torch.tensor(
            [[ids["<user>"], *self.processor.encode(text.lower()), ids["<answer>"], ids["<SEG>"]]])))[1][0, -1] for text in texts]
        return self.language.code(torch.stack(states))

    def forward(self, hu: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """HU [b, 1, x, y, z], codes [b, k, 128] -> mask logits [b, k, x, y, z] and coarse logits at a quarter of the side."""
        pixels = self.vision.decode(self.vision.encode(hu))
        context = self.vision.look(pixels, codes)
        return self.vision.masks(pixels, context, codes), context.coarse


@dataclass(frozen=True)
class Example:
    """HU [x, y, z], masks [k, x, y, z], what of the view lies in the scan [x, y, z], and the words of each mask."""
    hu: Tensor
    masks: Tensor
    known: Tensor
    texts: list[str]


def cases(settings: Recipe, split: str) -> list[layouts.Found]:
    """The published cases of a split; InputError where the folder is of another layout or says nothing of a licence."""
    folder = Path(settings.data)
    if settings.recipe not in RECIPES or settings.text not in TEXTS:
        raise UsageError(f"A recipe is one of {', '.join(RECIPES)}, its text one of {', '.join(TEXTS)}.", code="CTR-USE-061")
    if not settings.data or not folder.is_dir() or not layouts.layout(settings.recipe).fits(folder):
        raise InputError(f"{folder.name or '--data'} does not lie as {settings.recipe} is published "
                         f"({layouts.layout(settings.recipe).LOOKS_LIKE}).", code="CTR-DATA-020")
    everything = layouts.layout(settings.recipe).cases(folder, layouts.about_of(folder, settings.licence))
    found = [c for c in everything if c.split == split]
    if not found:
        raise InputError(f"{folder.name} names no {split} cases.", code="CTR-DATA-043",
                         hint="The published split is needed: dataset_0.json beside Training (BTCV), Train_Folder (MosMed+).")
    return found


@dataclass(frozen=True)
class Scan:
    """A CT along the patient's axes with numbered labels [i, j, k]: 0 nothing, n the n-th of the covered names."""
    volume: Volume
    labels: np.ndarray
    names: tuple[str, ...]


def read(found: layouts.Found) -> Scan:
    """A published 3D case."""
    scan = found.read()
    volume = turned_volume(scan.volume)
    labels = np.zeros(volume.shape, np.uint8)
    for drawn in scan.masks:
        labels[on_grid(drawn.mask, drawn.affine, volume, drawn.file)] = scan.covered.index(drawn.name) + 1
    return Scan(volume, labels, scan.covered)


def view_of(scan: Scan, rng: np.random.Generator) -> Example:
    """A view round a random voxel of a random organ, at a random spacing; two organs of it at least are asked for."""
    shown = np.unique(scan.labels[scan.labels > 0])
    places = np.argwhere(scan.labels == rng.choice(shown)) if len(shown) else np.argwhere(scan.volume.voxels > -500)
    centre = scan.volume.index_to_world(places[rng.integers(len(places))][None])[0] + rng.uniform(-30, 30, 3)
    view = View(centre_ras=tuple(centre), shape=(SIDE,) * 3, spacing_mm=(float(rng.uniform(*SPACING_MM)),) * 3)
    hu = sample(scan.volume, view) * rng.uniform(0.95, 1.05) + rng.uniform(-20, 20) + rng.normal(0, 10, view.shape)
    points = np.stack(np.meshgrid(*(np.arange(SIDE),) * 3, indexing="ij"), -1).reshape(-1, 3)
    at = np.rint(scan.volume.world_to_index(points @ view.affine[:3, :3].T + view.affine[:3, 3])).astype(int)
    inside = ((at >= 0) & (at < scan.volume.shape)).all(1)
    labels = np.where(inside, scan.labels[tuple(at.clip(0, np.array(scan.volume.shape) - 1).T)], 0).reshape(view.shape)
    here = rng.permutation(np.unique(labels[labels > 0]))[:QUERIES - 1]
    others = rng.permutation([n for n in range(1, len(scan.names) + 1) if n not in here])
    asked = [int(n) for n in (*here, *others)][:QUERIES]
    masks = np.stack([labels == n for n in asked]).astype(np.float32)
    return Example(torch.from_numpy(hu.astype(np.float32)), torch.from_numpy(masks),
                   torch.from_numpy(inside.reshape(view.shape)), [question(scan.names[n - 1]) for n in asked])


def question(name: str) -> str:
    return f"segment the {name}"


def slice_of(found: layouts.Found, text: str) -> Example:
    """A published slice as a view of one slice, repeated to the depth that the eyes need."""
    scan = found.read()
    drawn = next(iter(scan.masks))
    grey, mask = (torch.from_numpy(np.asarray(a, np.float32))[None, None, :, :, 0] for a in (scan.volume.voxels, drawn.mask))
    grey, mask = (F.interpolate(a, size=(PIXELS, PIXELS), mode=how)[0, 0] for a, how in ((grey, "bilinear"), (mask, "nearest")))
    low, high = LUNG_HU
    if text == "published" and not drawn.words:
        raise InputError(f"{found.file}: its table has no sentence about it.", code="CTR-DATA-044",
                         hint="--text plain does without the sentences.")
    hu, masks = (a[..., None].expand(-1, -1, DEPTH) for a in (low + grey / 255 * (high - low), mask))
    return Example(hu, masks[None], torch.ones(hu.shape, dtype=torch.bool), [drawn.words[0] if text == "published" else PLAIN])


def examples(settings: Recipe, step: int) -> Iterator[Example]:
    """Endless examples of the published training split; each CT is read once and kept (about 120 MB a BTCV case)."""
    rng, kept = np.random.default_rng([settings.seed, step]), {}
    found = cases(settings, "train")
    may_train(found[0].source)
    while True:
        case = found[rng.integers(len(found))]
        if case.id not in kept:
            kept[case.id] = read(case) if settings.recipe == "btcv" else slice_of(case, settings.text)
        yield view_of(kept[case.id], rng) if settings.recipe == "btcv" else kept[case.id]


def step_loss(reader: Reader, batch: list[Example]) -> Tensor:
    """Mask loss at full and a quarter of the resolution over a batch."""
    codes = reader.codes([text for e in batch for text in e.texts]).unflatten(0, (len(batch), -1))
    logits, coarse = reader(torch.stack([e.hu for e in batch])[:, None], codes)
    masks = torch.cat([e.masks for e in batch])
    known = torch.stack([e.known for e in batch])[:, None].expand(logits.shape).flatten(0, 1).float()
    weight = torch.ones(len(masks))
    return (losses.mask_loss(logits.flatten(0, 1), masks, weight, known)
            + 0.4 * losses.mask_loss(coarse.flatten(0, 1), F.avg_pool3d(masks[:, None], 4)[:, 0], weight))


def run(settings: Recipe) -> Path:
    """Trains until the time or the steps are over; resumes. Writes recipe.pt, recipe.json and the curve; returns the weights."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    may_train(cases(settings, "train")[0].source)
    reader = Reader(settings.start).train()
    training = common.Training("recipe", reader, settings, every=10)
    about = dataclasses.asdict(settings)
    (training.out / "recipe.json").write_text(json.dumps({k: v for k, v in about.items() if k not in ("data", "out")}, indent=1))
    source = examples(settings, training.step)
    for _ in training.steps(settings.steps):
        loss = step_loss(reader, [next(source) for _ in range(settings.batch)])
        training.learn(loss, {"mask": float(loss.detach())})
    return training.path


def load(folder: Path) -> tuple[Reader, dict]:
    """The averaged weights of a finished recipe, and its settings with steps and seconds."""
    try:
        about = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        reader = Reader(about["start"])
        state = torch.load(folder / "recipe.pt", map_location="cpu", weights_only=True)
        reader.load_state_dict(state["average"])
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{folder.name} holds no recipe that can be read.", code="CTR-MODEL-007",
                         hint="`ctreasoner train --recipe` makes recipe.pt and recipe.json.") from error
    return reader.eval(), {**about, "step": state["step"], "seconds": state["seconds"]}


@torch.inference_mode()
def segment(reader: Reader, scan: Scan) -> tuple[Tensor, View]:
    """Logits [names, x, y, z] over the body of a whole scan by a sliding window with half overlap, and their view."""
    from monai.inferers import sliding_window_inference

    low, high = body_extent(scan.volume)
    shape = np.ceil((high - low) / WINDOW_MM / CELL).astype(int).clip(SIDE // CELL) * CELL
    view = View(centre_ras=tuple((low + high) / 2), shape=tuple(int(s) for s in shape), spacing_mm=(WINDOW_MM,) * 3)
    codes, hu = reader.codes([question(name) for name in scan.names])[None], torch.from_numpy(sample(scan.volume, view))[None, None]
    return sliding_window_inference(hu, (SIDE,) * 3, 1, lambda x: reader(x, codes)[0], overlap=0.5, mode="gaussian")[0], view
