"""Proofs that masks follow the hidden state: exchanged, random, disturbed, and without the name (1, 2, 5, 6)."""
from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ctreasoner.evaluation import probe
from ctreasoner.evaluation.ground import Ground, Proof, ground_text, median, part_of
from ctreasoner.evaluation.scores import array_dice, dice

PAIRS = (("heart", "aorta"), ("trachea", "esophagus"), ("aorta", "esophagus"), ("heart", "trachea"),
         ("mandible", "brainstem"), ("parotid_right", "parotid_left"), ("mandible", "parotid_left"))


# 1 ----------------------------------------------------------------------------------------------------------

def swap_cases(ground: Ground) -> list[dict]:
    """Two objects in one request: their hidden states exchanged in the loop, at view 0 and in a look that both share."""
    out = []
    for a, b in PAIRS[:ground.some(2, len(PAIRS))]:
        if a in ground.carried and b in ground.carried:
            out += _swap_loop(ground, a, b)
            out += _swap_view(ground, a, b, shared=False) + _swap_view(ground, a, b, shared=True)
    return out


def _swap_loop(ground: Ground, a: str, b: str) -> list[dict]:
    text = f"segment the {ground.word(a)} and the {ground.word(b)}"
    first = probe.carry(ground.engine, ground.volume, text, [a, b])
    states = {(n, *label): state for n, c in enumerate(first, 1) for label, state in c.states.items()}
    second = probe.carry(ground.engine, ground.volume, text, [a, b],
                         replace=lambda label, state: states.get((3 - label[0], *label[1:])))
    before, after = ([c.outcome.objects[n].mask for n, c in enumerate(run)] for run in (first, second))
    return [_swapped(dice(after[n], before[1 - n]), dice(after[n], before[n]), before[0].voxels and before[1].voxels, "loop")
            for n in (0, 1)]


def _swap_view(ground: Ground, a: str, b: str, shared: bool) -> list[dict]:
    engine, pair = ground.engine, [ground.carried[a], ground.carried[b]]
    sight = ground.whole
    codes = [probe.code_of(engine, c.states["DET", 0]) for c in pair]
    if shared:
        sight = engine.eyes.see(ground.volume, probe.shared_view(ground.volume, [c.sight for c in pair]))
        codes = [probe.looked(engine, c, sight, ground.whole) for c in pair]
    own = (probe.draw(engine, sight, torch.stack(codes)) > 0).numpy()
    exchanged = (probe.draw(engine, sight, torch.stack(codes[::-1])) > 0).numpy()
    return [_swapped(array_dice(exchanged[n], own[1 - n]), array_dice(exchanged[n], own[n]), own[0].any() and own[1].any(),
                     "shared look" if shared else "whole scan") for n in (0, 1)]


def _swapped(other: float, own: float, usable, where: str) -> dict:
    return {"other": other, "own": own, "where": where, "usable": bool(usable)}


def swap_verdict(cases: list[dict]) -> tuple[str, bool]:
    cases = [c for c in cases if c["usable"]]
    other, own = [c["other"] for c in cases], [c["own"] for c in cases]
    high, low = part_of(v >= 0.8 for v in other), part_of(v <= 0.15 for v in own)
    return (f"with the other's {median(other):.3f} (>= 0.80 in {high:.0%}), with its own <= 0.15 in {low:.0%}",
            bool(cases) and median(other) >= 0.9 and high >= 0.95 and low >= 0.95)


# 2 ----------------------------------------------------------------------------------------------------------

def random_cases(ground: Ground) -> list[dict]:
    """Codes that belong to nothing, in view 0: Gaussian with the real codes' mean and SD, rotated and permuted real ones."""
    engine, count = ground.engine, ground.some(12, max(4, -(-64 // ground.scans)))
    real = torch.stack([*_named_codes(ground), *(probe.code_of(engine, c.state) for c in ground.carried.values())])
    masks = (probe.draw(engine, ground.whole, torch.stack([probe.code_of(engine, c.states["DET", 0])
                                                           for c in ground.carried.values()])) > 0).numpy()
    out, ml = [], float(np.prod(ground.whole.view.spacing_mm)) / 1000.0
    for kind, codes in _false_codes(real, count, ground.generator).items():
        states = probe.existence(engine, ground.whole, codes)
        drawn = (probe.draw(engine, ground.whole, codes) > 0).numpy()
        for state, mask in zip(states, drawn, strict=True):
            rejected = bool(state[0] < 0.5 or state.argmax() == 3)
            closest = max((array_dice(mask, m) for m in masks if m.any()), default=0.0)
            out.append({"kind": kind, "rejected": rejected, "dice": closest, "ml": float(mask.sum()) * ml})
    return out


def _named_codes(ground: Ground) -> list[Tensor]:
    """The code at <DET> of every object that has a name."""
    speaker, codes = ground.engine.speaker, []
    for key in speaker.processor.name_ids:
        with probe.given_plan(["segment"], [key]):
            thought = speaker.think(speaker.processor.question(ground_text(ground.word(key))), ground.whole, [], {}, 1)
        codes.append(thought.codes[1])
    return codes


def _false_codes(real: Tensor, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    size, half = real.shape[1], real.shape[1] // 2
    mean, sd = real.mean(0), real.std(0)

    def pick() -> Tensor:
        return real[int(torch.randint(len(real), (), generator=generator))]

    def rotated(code: Tensor) -> Tensor:
        turns = [torch.linalg.qr(torch.randn(half, half, generator=generator))[0] for _ in range(2)]
        return torch.cat([turn @ part for turn, part in zip(turns, code.split(half), strict=True)])

    return {"gaussian": mean + sd * torch.randn(count, size, generator=generator),
            "rotated": torch.stack([rotated(pick()) for _ in range(count)]),
            "permuted": torch.stack([pick()[torch.randperm(size, generator=generator)] for _ in range(count)])}


def random_verdict(cases: list[dict]) -> tuple[str, bool]:
    rejected, apart = part_of(c["rejected"] for c in cases), part_of(c["dice"] < 0.1 for c in cases)
    ml = median([c["ml"] for c in cases])
    kinds = ", ".join(f"{k} {part_of(c['rejected'] for c in cases if c['kind'] == k):.0%}"
                      for k in ("gaussian", "rotated", "permuted"))
    return (f"not accepted {rejected:.0%} ({kinds}); Dice < 0.1 with every object in {apart:.0%}; median {ml:.2f} ml",
            bool(cases) and rejected >= 0.9 and apart >= 0.95 and ml < 1.0)


# 5 ----------------------------------------------------------------------------------------------------------

def noise_cases(ground: Ground) -> list[dict]:
    """The hidden state at <SEG> with noise of 0.1, 0.3 and 3 times its length, in the object's last look."""
    out, engine = [], ground.engine
    for key, carried in ground.carried.items():
        state = carried.state
        own = probe.draw(engine, carried.sight, probe.code_of(engine, state)[None])[0]
        if not (own > 0).any():
            continue
        for size in (0.1, 0.3, 3.0):
            noise = torch.randn(ground.some(2, 3), len(state), generator=ground.generator)
            noise *= size * state.norm() / noise.norm(dim=1, keepdim=True)
            drawn = probe.draw(engine, carried.sight, probe.code_of(engine, state + noise))
            out += [{"object": key, "size": size, "delta": float((d - own).abs().max()),
                     "dice": array_dice((d > 0).numpy(), (own > 0).numpy())} for d in drawn]
    return out


def noise_verdict(cases: list[dict]) -> tuple[str, bool]:
    by = {size: [c for c in cases if c["size"] == size] for size in (0.1, 0.3, 3.0)}
    at = {size: median([c["dice"] for c in some]) for size, some in by.items()}
    moved = min((c["delta"] for c in by[0.1]), default=0.0)
    return (f"Dice {at[0.1]:.3f} at 0.1 (logits move by at least {moved:.2g}), {at[0.3]:.3f} at 0.3, {at[3.0]:.3f} at 3",
            bool(cases) and moved > 1e-3 and at[0.1] >= 0.95 and at[0.3] >= 0.8 and at[3.0] <= 0.3)


# 6 ----------------------------------------------------------------------------------------------------------

def blind_cases(ground: Ground) -> list[dict]:
    """Every later token is kept from both spans of the name; as many other words of the question in the control."""
    out, engine = [], ground.engine
    for key, carried in ground.carried.items():
        own = probe.draw(engine, carried.sight, probe.uncached(engine, carried, ground.whole)[None])[0] > 0
        cached = probe.draw(engine, carried.sight, probe.looked(engine, carried, carried.sight, ground.whole)[None])[0] > 0
        if not own.any():
            continue
        spans = _name_spans(engine, carried, ground.word(key))
        words = [p for p in range(*carried.question.words) if p not in spans]
        order = torch.randperm(len(words), generator=ground.generator).tolist()
        control = [words[n] for n in order[:len(spans)]]
        row = {"object": key, "agree": array_dice(own.numpy(), cached.numpy())}
        for name, positions in (("blocked", spans), ("control", control)):
            code = probe.uncached(engine, carried, ground.whole, positions)
            row[name] = array_dice((probe.draw(engine, carried.sight, code[None])[0] > 0).numpy(), own.numpy())
        out.append(row)
    return out


def _name_spans(engine, carried, word: str) -> list[int]:
    """Positions of the asked name in the question, and of the written one in plan and block."""
    text, (start, _) = ground_text(word), carried.question.words
    at = text.index(word)
    asked = [start + n for n, (a, b) in enumerate(carried.question.offsets) if a < at + len(word) and b > at]
    name = engine.speaker.processor.name(carried.known.key)
    tokens = carried.thought.tokens
    plan = next(p for p in range(len(carried.question.ids), len(tokens)) if tokens[p:p + len(name)] == name)
    block = len(tokens) + 1
    return [*asked, *range(plan, plan + len(name)), *range(block, block + len(name))]


def blind_verdict(cases: list[dict]) -> tuple[str, bool]:
    gone, kept = part_of(c["blocked"] <= 0.3 for c in cases), part_of(c["control"] >= 0.95 for c in cases)
    return (f"name hidden: Dice <= 0.3 in {gone:.0%} (median {median([c['blocked'] for c in cases]):.2f}); other words hidden: "
            f">= 0.95 in {kept:.0%} (median {median([c['control'] for c in cases]):.3f})",
            bool(cases) and gone >= 0.8 and kept >= 0.9)


PROOFS = (
    Proof("1 swap", "Dice with the other's mask: median >= 0.90, >= 0.80 in 95 %; with its own <= 0.15 in 95 %",
          swap_cases, swap_verdict),
    Proof("2 random vector", "not accepted in >= 90 %; Dice < 0.1 with every object's mask in >= 95 %; median < 1 ml",
          random_cases, random_verdict),
    Proof("5 continuity", "0.1 |h|: logits move by > 1e-3, median Dice >= 0.95; 0.3 |h|: >= 0.80; 3 |h|: <= 0.3",
          noise_cases, noise_verdict),
    Proof("6 knock-out", "name hidden: Dice <= 0.3 in >= 80 %; as many other words hidden: >= 0.95 in >= 90 %",
          blind_cases, blind_verdict),
)
