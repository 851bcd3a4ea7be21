"""Proof that the last look decides (7): what is in it is segmented, and nothing else."""
from __future__ import annotations

from dataclasses import replace as changed

import numpy as np
import torch

from ctreasoner.evaluation import probe
from ctreasoner.evaluation.ground import Ground, Proof, median, part_of
from ctreasoner.evaluation.scores import array_dice
from ctreasoner.geometry import View, Volume, digest
from ctreasoner.model.eyes import Sight

SHIFT_MM = 10.0
BUMP_MM = 5.0               # radius of a ball whose centre lies on the border


def look_cases(ground: Ground) -> list[dict]:
    """The last look replaced by noise, by another patient, by the shifted and by the grown CT; or view 0 replaced."""
    out, engine = [], ground.engine
    blind = noise_like(engine, ground.whole, ground.generator)
    for key, carried in ground.carried.items():
        sight = carried.sight
        own = _mask(ground, carried, sight)
        if not own.any():
            continue
        row = {"object": key, "noise": array_dice(_mask(ground, carried, noise_like(engine, sight, ground.generator)), own)}
        if ground.other is not None:
            row["other"] = array_dice(_mask(ground, carried, elsewhere(engine, ground.other, sight.view)), own)
        row["whole"] = array_dice(_of_code(ground, sight, carried.known.code), own)
        row["whole_again"] = array_dice(_without_whole(ground, carried, blind), own)
        row["shift"] = _shifted(ground, carried, own)
        row |= _grown(ground, carried, own)
        out.append(row)
    return out


def look_verdict(cases: list[dict]) -> tuple[str, bool]:
    replaced = [v for c in cases for v in (c["noise"], c.get("other")) if v is not None]
    shifts, bumps = [c["shift"] for c in cases], [c["bump"] for c in cases if c.get("bump") is not None]
    rest = [c["rest"] for c in cases if c.get("rest") is not None]
    gone, kept = part_of(v <= 0.3 for v in replaced), part_of(c["whole"] >= 0.95 for c in cases)
    followed, entered = part_of(abs(s - SHIFT_MM) <= 3 for s in shifts), part_of(b >= 0.5 for b in bumps)
    figure = (f"look replaced: Dice <= 0.3 in {gone:.0%}; view 0 replaced, code kept: >= 0.95 in {kept:.0%} (code read anew: "
              f"median {median([c['whole_again'] for c in cases]):.2f}); CT shifted by 10 mm: mask by {median(shifts):.1f} mm, "
              f"within 3 mm in {followed:.0%}; bump: {median(bumps):.0%} of it enters (median), elsewhere Dice {median(rest):.3f}")
    return figure, (bool(cases) and gone >= 0.95 and kept >= 0.95 and followed >= 0.9 and median(bumps) >= 0.5
                    and entered >= 0.5 and median(rest) >= 0.98)


PROOFS = (Proof("7 last look decides",
                "look replaced by noise or another patient: Dice <= 0.3 in >= 95 %; view 0 replaced, box and code kept: >= 0.95; "
                "CT shifted 10 mm: centroid follows 10 +- 3 mm in >= 90 %; a 5 mm bump: median >= 50 % of it enters, elsewhere "
                "Dice >= 0.98",
                look_cases, look_verdict),)


# parts ------------------------------------------------------------------------------------------------------

def _of_code(ground: Ground, sight: Sight, code: torch.Tensor) -> np.ndarray:
    return (probe.draw(ground.engine, sight, code[None])[0] > 0).numpy()


def _mask(ground: Ground, carried: probe.Carried, sight: Sight) -> np.ndarray:
    """The mask when the object's last look is this one: the language model reads its tokens, the heads its maps."""
    return _of_code(ground, sight, probe.looked(ground.engine, carried, sight, ground.whole))


def _seen(engine, view: View, hu: np.ndarray) -> Sight:
    with torch.inference_mode():
        tensor = torch.from_numpy(hu)[None, None].contiguous(memory_format=torch.channels_last_3d)
        features = engine.eyes.vision.encode(tensor)
        return Sight(view, hu, digest(hu), features, engine.eyes.vision.decode(features, detail=False))


def noise_like(engine, sight: Sight, generator: torch.Generator) -> Sight:
    """The same view full of noise with the same mean and SD."""
    noise = torch.randn(sight.hu.shape, generator=generator).numpy() * sight.hu.std() + sight.hu.mean()
    return _seen(engine, sight.view, noise.astype(np.float32))


def elsewhere(engine, volume: Volume, view: View) -> Sight:
    """A crop of another patient, as large, in the upper back left corner of the body: none of the objects fills it."""
    lo, hi = volume.extent_ras()
    centre = lo + (hi - lo) * np.array([0.15, 0.15, 0.9])
    return engine.eyes.see(volume, View(centre_ras=tuple(centre), shape=view.shape, spacing_mm=view.spacing_mm))


def _without_whole(ground: Ground, carried: probe.Carried, blind: Sight) -> np.ndarray:
    """View 0 replaced for the language model too: the plan is read again before the same last look."""
    engine, known = ground.engine, carried.known
    with probe.given_plan(carried.thought.plan.routes, [known.key]):
        thought = engine.speaker.think(carried.question, blind, [], {}, 12)
    code = probe.looked(engine, changed(carried, thought=thought, known=changed(known, number=1)), carried.sight, blind)
    return _of_code(ground, carried.sight, code)


def _shifted(ground: Ground, carried: probe.Carried, own: np.ndarray) -> float:
    """How far (mm) the mask moves to the right when the CT does by 10 mm inside the same view."""
    volume, view = ground.volume, carried.sight.view
    affine = np.array(volume.affine)
    affine[0, 3] += SHIFT_MM
    moved = _mask(ground, carried, ground.engine.eyes.see(Volume(volume.voxels, affine), view))
    if not moved.any():
        return 0.0
    return float((np.nonzero(moved)[0].mean() - np.nonzero(own)[0].mean()) * view.spacing_mm[0])


def _grown(ground: Ground, carried: probe.Carried, own: np.ndarray) -> dict:
    """A ball of the object's own HU on its border, where it borders on something else: share that enters, and the rest."""
    found = _border(ground, carried, own)
    if found is None:
        return {"bump": None, "rest": None}
    centre, hu = found
    volume, view = ground.volume, carried.sight.view
    grown = _mask(ground, carried, ground.engine.eyes.see(_painted(volume, centre, hu), view))
    axes = np.meshgrid(*(view.axis(w) for w in range(3)), indexing="ij", sparse=True)
    distance = np.sqrt(sum((axis - c) ** 2 for axis, c in zip(axes, centre, strict=True)))
    added, far = (distance <= BUMP_MM) & ~own, distance > BUMP_MM + 4.0
    if not added.any():
        return {"bump": None, "rest": None}
    return {"bump": float(grown[added].mean()), "rest": array_dice(grown & far, own & far)}


def _border(ground: Ground, carried: probe.Carried, own: np.ndarray) -> tuple[np.ndarray, float] | None:
    """(RAS point, HU): of 60 points on the true border where the mask's border lies too, the one with the sharpest contrast to
    what is outside."""
    scan, view = ground.scan, carried.sight.view
    truth = scan.truth(carried.known.key)
    inside = np.pad(truth.crop, 1)
    core = inside.copy()
    for axis in range(3):
        core &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
    surface = np.argwhere(inside & ~core) - 1 + truth.first
    world = scan.volume.index_to_world(surface)
    kept = ((world > view.lo + 12) & (world < view.hi - 12)).all(1)
    world, surface = world[kept], surface[kept]
    if not len(world):
        return None
    chosen = torch.randperm(len(world), generator=ground.generator)[:60].numpy()
    best, contrast = None, -1.0
    for n in chosen:
        voxel = np.round((world[n] - view.lo) / view.spacing_mm - 0.5).astype(int)
        near = own[tuple(slice(max(0, v - 1), v + 2) for v in voxel)]
        if near.all() or not near.any():
            continue
        patch, where = _ball(scan.volume, world[n], BUMP_MM)
        mine = where & (scan.labels[patch] == scan.labels[tuple(surface[n])])
        outside = where & (scan.labels[patch] == 0)
        if mine.sum() < 4 or outside.sum() < 4:
            continue
        hu = scan.volume.voxels[patch]
        value = float(np.median(hu[mine]))
        if abs(value - float(np.median(hu[outside]))) > contrast:
            best, contrast = (world[n], value), abs(value - float(np.median(hu[outside])))
    return best


def _ball(volume: Volume, centre: np.ndarray, radius_mm: float) -> tuple[tuple[slice, ...], np.ndarray]:
    """(patch of the grid, boolean ball in it) round a RAS point."""
    index = volume.world_to_index(centre[None])[0]
    reach = np.ceil(radius_mm / volume.spacing).astype(int) + 1
    low = np.maximum(np.round(index).astype(int) - reach, 0)
    high = np.minimum(np.round(index).astype(int) + reach + 1, volume.shape)
    patch = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grids = np.meshgrid(*(np.arange(p.start, p.stop) for p in patch), indexing="ij")
    world = volume.index_to_world(np.stack([g.ravel() for g in grids], 1))
    return patch, (np.linalg.norm(world - centre, axis=1) <= radius_mm).reshape(grids[0].shape)


def _painted(volume: Volume, centre: np.ndarray, hu: float) -> Volume:
    """The CT with a ball of one HU value."""
    voxels = np.array(volume.voxels)
    patch, where = _ball(volume, centre, BUMP_MM)
    voxels[patch][where] = round(hu)
    return Volume(voxels, volume.affine)
