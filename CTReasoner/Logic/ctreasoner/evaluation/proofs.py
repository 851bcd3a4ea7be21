"""The proofs of model-making: masks and boxes come from the hidden state at the routing token, and from the last look.

Each proof is a row {proof, n, condition, figure, passed}. A proof that the weights do not pass is printed like any other.
The numbers are those of the plan of the model; 3 needs training with instances and is not here, 10 and 11 are read from the
figures of other parts (`from_parts`).
Plans are given (the objects' names and routes), so that every case counts; whether the model plans right is 13.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable

import torch

from ctreasoner.engine import Engine
from ctreasoner.evaluation import probe, proofs_codes, proofs_looks, proofs_scans
from ctreasoner.evaluation.asking import ask
from ctreasoner.evaluation.ground import OBJECTS, Ground, Proof, lay, part_of
from ctreasoner.evaluation.scans import Scan
from ctreasoner.events import Mask
from ctreasoner.model.language import CTReasonerForConditionalGeneration


def run(engine: Engine, scans: Iterable[Scan], count: int, say: Callable[[str], None] = lambda _: None, *,
        small: bool = False, keys: Iterable[str] = OBJECTS, only: Iterable[str] | None = None) -> list[dict]:
    """The rows of all proofs that stand on scans (`count` of them), one scan after the other; `only` names some by number."""
    proofs = [p for p in PROOFS if only is None or p.name.split()[0] in only]
    cases: dict[str, list[dict]] = {p.name: [] for p in proofs}
    other = None
    for scan in scans:
        ground = lay(engine, scan, keys, small=small, scans=count, other=other)
        for proof in proofs:
            cases[proof.name] += [{**case, "scan": scan.id} for case in proof.cases(ground)]
            say(f"{scan.id}: proof {proof.name}")
        other = scan.volume
        engine.forget(scan.volume.identity)
    return [row(p, cases[p.name]) for p in proofs]


def row(proof: Proof, cases: list[dict]) -> dict:
    figure, passed = proof.verdict(cases) if cases else ("no case: nothing was segmented", False)
    return {"proof": proof.name, "n": len(cases), "condition": proof.condition, "figure": figure, "passed": bool(passed),
            "cases": cases}


# 12 ---------------------------------------------------------------------------------------------------------

GRADIENT = ("d mask / d (first language layer, name embedding) is not zero, and exactly zero with the code detached; view 0's "
            "features get gradient of the last look's mask through the code alone")


def gradient_row(model: CTReasonerForConditionalGeneration, name_ids: tuple[int, ...], seed: int = 5) -> dict:
    """Proof 12 on a model as it is (random weights do): the only way from the words to the mask is the code."""
    free, cut = _gradients(model, name_ids, seed, detached=False), _gradients(model, name_ids, seed, detached=True)
    names = ("first language layer", "name embedding", "view 0")
    figure = "; ".join(f"{n} {a:.2g}, detached {b:.2g}" for n, a, b in zip(names, free, cut, strict=True))
    return {"proof": "12 gradient", "n": 1, "condition": GRADIENT, "figure": figure, "cases": [],
            "passed": min(free) > 0 and max(cut) == 0}


def _gradients(model, name_ids, seed: int, detached: bool) -> list[float]:
    """Largest |d mask| for the first language layer, the name's embedding and view 0's features."""
    generator = torch.Generator().manual_seed(seed)
    vision, language = model.vision, model.language
    embedding = language.model.get_input_embeddings()
    model.zero_grad(set_to_none=True)
    whole, look = (torch.randn(1, 1, 32, 32, 32, generator=generator) * 300 for _ in range(2))
    with torch.no_grad():
        seen = vision.encode(whole).f16
    seen.requires_grad_(True)
    tokens = language.visual(seen.flatten(2).transpose(1, 2))
    words = language.embed(torch.tensor([[5, 6, 7, *name_ids, 8, 9]]))
    _, states, _ = language(torch.cat([tokens, words], 1))
    code = language.code(states[:, -1])[:, None]
    if detached:
        code = code.detach()
    pixels = vision.decode(vision.encode(look))
    vision.masks(pixels, vision.look(pixels, code), code).square().mean().backward()
    layer = [p.grad for n, p in language.model.named_parameters() if ".layers.0." in n and p.grad is not None]
    named = embedding.weight.grad[list(name_ids)] if embedding.weight.grad is not None else torch.zeros(1)
    view = seen.grad if seen.grad is not None else torch.zeros(1)
    model.zero_grad(set_to_none=True)
    return [max((float(g.abs().max()) for g in layer), default=0.0), float(named.abs().max()), float(view.abs().max())]


# 13 ---------------------------------------------------------------------------------------------------------

def route_cases(ground: Ground) -> list[dict]:
    """Which heads run for which route, and what comes when the route token is exchanged."""
    engine, volume, out = ground.engine, ground.volume, []
    for key in list(ground.carried)[:ground.some(1, 2)]:
        name, talk = ground.word(key), f"routes {ground.scan.id} {key}"
        with probe.certain(engine):
            with probe.given_plan(["detect"], [key]), probe.counted(engine) as calls:
                where = ask(engine, volume, f"segment the {name}")
            detect = {"detail": calls["detail"], "pixel_masks": calls["masks"], "masks": _masks(where)}
            with probe.given_plan(["segment"], [key]):
                exchanged = ask(engine, volume, f"where is the {name}?", conversation=talk)
            with probe.given_plan(["describe"], [1]), probe.counted(engine) as calls:
                follow = ask(engine, volume, "how large is it?", conversation=talk)
        out.append({"object": key, **detect, "exchanged": _masks(exchanged), "heads_of_follow_up": sum(calls.values()),
                    "masks_of_follow_up": _masks(follow), "failed": where.failed or exchanged.failed or follow.failed})
    return out


def _masks(outcome) -> int:
    return sum(isinstance(e, Mask) for e in outcome.events)


def route_verdict(cases: list[dict]) -> tuple[str, bool]:
    quiet = sum(c["detail"] + c["pixel_masks"] + c["masks"] for c in cases)
    heads = sum(c["heads_of_follow_up"] + c["masks_of_follow_up"] for c in cases)
    other = part_of(c["exchanged"] > 0 for c in cases)
    return (f"detect alone: {quiet} runs of the pixel decoder and masks; follow-up: {heads} runs of heads; route exchanged: "
            f"masks in {other:.0%}", quiet == 0 and heads == 0 and other == 1 and not any(c["failed"] for c in cases))


def planning_row(by_route: dict[str, dict]) -> dict:
    """Proof 13, first part, from `understanding.routing`: routes of held-out wordings."""
    hits, n = sum(r["hits"] for r in by_route.values()), sum(r["n"] for r in by_route.values())
    figure = ", ".join(f"{name} {r['hits']} of {r['n']}" for name, r in by_route.items())
    return {"proof": "13 routing, wordings", "n": n, "condition": "routes right in >= 97 % of held-out wordings", "figure": figure,
            "passed": n > 0 and hits / n >= 0.97, "cases": []}


# 10, 11 -----------------------------------------------------------------------------------------------------

WORDING = ("other wordings: same existence >= 98 %, Dice >= 0.95 in >= 95 %; one typing error: same existence >= 90 %; held-out "
           "nouns taken for an object <= 5 %; order of two objects: Dice >= 0.95 always")
BLIND = "words with another patient's picture: macro-F1 within 0.05 of the most frequent word; with their own: >= 0.15 above it"


def from_parts(result: dict) -> list[dict]:
    """Proofs whose cases the other parts have asked already; none for parts that did not run."""
    rows, understood = [], result.get("understanding", {}) | result.get("existence", {})
    wanted = {"wording_same_state": 0.98, "wording_same_mask": 0.95, "typing_error_same_state": 0.90, "nouns_unsupported": 0.95,
              "order_same_mask": 1.0}
    if all(understood.get(k, {}).get("n") for k in wanted):
        figure = ", ".join(f"{k.replace('_', ' ')} {understood[k]['rate']:.1%}" for k in wanted)
        rows.append({"proof": "10 wording", "n": understood["wording_same_state"]["n"], "condition": WORDING, "figure": figure,
                     "passed": all(understood[k]["rate"] >= least for k, least in wanted.items()), "cases": []})
    f1 = result.get("words", {}).get("organs", {}).get("macro_f1", {})
    if all(f1.get(k) is not None for k in ("model", "blind", "majority")):
        rows.append({"proof": "11 blind", "n": len(result["word_cases"]["organs"]), "condition": BLIND, "cases": [],
                     "figure": f"own picture {f1['model']:.2f}, another's {f1['blind']:.2f}, most frequent word "
                               f"{f1['majority']:.2f}",
                     "passed": f1["blind"] <= f1["majority"] + 0.05 and f1["model"] >= f1["majority"] + 0.15})
    return rows


PROOFS = (*proofs_codes.PROOFS, *proofs_looks.PROOFS, *proofs_scans.PROOFS,
          Proof("13 routing, heads", "detect alone: 0 runs of the pixel decoder, 0 masks; follow-up: 0 runs of any head; the route "
                "token exchanged gives the other kind of output", route_cases, route_verdict))
