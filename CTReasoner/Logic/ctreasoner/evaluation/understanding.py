"""Is the question understood? Routes, objects and pointed words of held-out wordings, wording consistency, and questions
that name nothing which can be looked for: those get no mask."""
from __future__ import annotations

import random
from dataclasses import replace

from ctreasoner.appearance.wording import spoken
from ctreasoner.engine import Engine
from ctreasoner.evaluation.asking import ask, looks_kept, not_present
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import dice, share
from ctreasoner.geometry import Volume
from ctreasoner.model import grammar
from ctreasoner.model.processor import CTReasonerProcessor
from ctreasoner.training import phrases, prompts
from ctreasoner.training.dialogues import Composer, Dialogue

ROUTES = {"where": "detect", "segment": "segment", "describe": "describe", "mixed": "mixed", "follow-up": "followup"}
UNANSWERABLE, NEEDING_A_CLICK = 48, 12


# routes, objects, pointed words -----------------------------------------------------------------------------

def routing(engine: Engine, volume: Volume, each: int = 40, seed: int = 5) -> dict:
    """Plans of `each` held-out wordings for each kind of question."""
    engine.register(volume)
    speaker, whole = engine.speaker, engine.eyes.whole(volume)
    composer, by_route, wrong = Composer(speaker.processor, seed, "heldout"), {}, []
    objects, pointed, unknown = [], [], []
    for name, intent in ROUTES.items():
        right = []
        for _ in range(each):
            dialogue = undropped(composer.draw(intent=intent), speaker.processor)
            known = known_before(dialogue, speaker.processor)
            thought = speaker.think(dialogue.question, whole, [], known, 12)
            right.append(thought.plan.routes == dialogue.routes)
            same = [(o.number, o.key, o.reference) for o in thought.plan.objects] == dialogue.objects
            objects.append(same)
            if not (right[-1] and same):
                wrong.append({"kind": name, "text": words_of(dialogue, speaker.processor),
                              "wanted": [dialogue.routes, dialogue.objects],
                              "planned": [thought.plan.routes, [(o.number, o.key, o.reference) for o in thought.plan.objects]]})
            for (number, key, reference), span in zip(dialogue.objects, dialogue.mentions, strict=False):
                if same and span is not None and not reference:
                    (pointed if key else unknown).append(thought.asked.get(number) == span)
        by_route[name] = share(sum(right), len(right))
    return {"routes": by_route, "all_routes": share(sum(r["hits"] for r in by_route.values()), each * len(ROUTES)),
            "objects": share(sum(objects), len(objects)), "pointed_known": share(sum(pointed), len(pointed)),
            "pointed_unknown": share(sum(unknown), len(unknown)), "wrong": wrong}


def words_of(dialogue: Dialogue, processor: CTReasonerProcessor) -> str:
    return processor.decode(dialogue.question.ids[slice(*dialogue.question.words)])


def undropped(dialogue: Dialogue, processor: CTReasonerProcessor) -> Dialogue:
    """The same dialogue with its question in the pieces that a user's would have (training drops merges at random)."""
    question = dialogue.question
    text, (first, last) = words_of(dialogue, processor), question.words
    plain = processor.question(text)
    pieces = plain.ids[slice(*plain.words)]
    ids = [*question.ids[:first], *pieces, *question.ids[last:]]
    moved = len(pieces) - (last - first)
    mentions = [None if span is None else _covering(plain.offsets, question.offsets[span[0]][0], question.offsets[span[1]][1])
                for span in dialogue.mentions]
    return replace(dialogue, mentions=mentions, question=replace(question, ids=ids, words=(first, first + len(pieces)),
                                                                offsets=plain.offsets, points=[p + moved for p in question.points]))


def _covering(offsets: list[tuple[int, int]], start: int, end: int) -> tuple[int, int] | None:
    hit = [n for n, (a, b) in enumerate(offsets) if a < end and b > start]
    return (hit[0], hit[-1]) if hit else None


def known_before(dialogue: Dialogue, processor: CTReasonerProcessor) -> dict[int, str | None]:
    """Number -> key of the objects that the earlier turns of a dialogue answered, read from its plans."""
    names = {tuple(ids): key for key, ids in processor.name_ids.items()}
    found, number, spelled = {}, None, []
    for token in dialogue.question.ids:
        piece = processor.pieces[token]
        if piece in grammar.OBJECT_TOKENS:
            number, spelled = grammar.OBJECT_TOKENS.index(piece) + 1, []
        elif piece == "<DET>" and number is not None:
            found[number], number = names.get(tuple(spelled)), None
        elif number is not None:
            spelled.append(token)
    return found


# questions without an answer --------------------------------------------------------------------------------

def unanswerable_questions(seed: int = 3) -> list[tuple[str, str]]:
    """60 held-out questions that nothing in a scan can answer, with the warning that each should get."""
    rng, out = random.Random(seed), {}
    for intent, count, code in (("question_unsupported", UNANSWERABLE, "question_unsupported"),
                                ("needs_click", NEEDING_A_CLICK, "click_needed")):
        drawn: dict[str, str] = {}
        while len(drawn) < count:
            drawn[prompts.draw(rng, "heldout", intent, noise=0.0).text] = code
        out |= drawn
    return list(out.items())


def unanswerable_rows(engine: Engine, volume: Volume, limit: int | None = None) -> list[dict]:
    """What becomes of them; the count of masks should be 0."""
    rows = []
    for text, code in unanswerable_questions()[:: 1 if limit is None else max(1, 60 // limit)]:
        outcome = ask(engine, volume, text, until=not_present)
        rows.append({"text": text, "wanted": code, "warnings": outcome.warnings, "routes": outcome.routes, "masks": outcome.masks,
                     "failed": outcome.failed})
    return rows


# one meaning, many wordings ---------------------------------------------------------------------------------

def wording_rows(engine: Engine, scan: Scan, keys: list[str], count: int = 25, seed: int = 4) -> list[dict]:
    """Held-out wordings of "segment the ..." against the plain one: existence and mask; every fifth with a typing error."""
    rng, rows = random.Random(seed), []
    with looks_kept(engine):
        for key in (k for k in keys if k in scan.present):
            plain = ask(engine, scan.volume, f"segment the {spoken(engine.vocabulary.display(key))}", until=not_present).of(key)
            for n in range(count):
                text = prompts.draw(rng, "heldout", "segment", objects=[key], noise=0.0).text
                mistyped = n % 5 == 4
                if mistyped:
                    text = phrases.edit(rng, text)[0]
                found = ask(engine, scan.volume, text, until=not_present).of(key)
                rows.append({"scan": scan.id, "object": key, "text": text, "mistyped": mistyped,
                             "same_state": (found and found.state) == (plain and plain.state) and plain is not None,
                             "dice": dice(found.mask, plain.mask) if found and plain and plain.mask.voxels else None})
    return rows


def order_rows(engine: Engine, scan: Scan, pairs: list[tuple[str, str]]) -> list[dict]:
    """ "the heart and the aorta" against the reverse."""
    rows = []
    for a, b in pairs:
        if a not in scan.present or b not in scan.present:
            continue
        names = {k: spoken(engine.vocabulary.display(k)) for k in (a, b)}
        with looks_kept(engine):
            runs = [ask(engine, scan.volume, f"segment the {names[x]} and the {names[y]}") for x, y in ((a, b), (b, a))]
        for key in (a, b):
            one, two = (run.of(key) for run in runs)
            rows.append({"scan": scan.id, "object": key, "dice": dice(one.mask, two.mask) if one and two else 0.0})
    return rows


def summarise(routes: dict, unanswerable: list[dict], wordings: list[dict], orders: list[dict]) -> dict:
    right, typed = [r for r in wordings if not r["mistyped"]], [r for r in wordings if r["mistyped"]]
    masks = [r["dice"] for r in right if r["dice"] is not None]
    warned = [r["wanted"] in r["warnings"] for r in unanswerable]
    return {"routing": {k: v for k, v in routes.items() if k != "wrong"},
            "unanswerable_masks": share(sum(r["masks"] > 0 for r in unanswerable), len(unanswerable)),
            "unanswerable_warned": share(sum(warned), len(warned)),
            "wording_same_state": share(sum(r["same_state"] for r in right), len(right)),
            "wording_same_mask": share(sum(d >= 0.95 for d in masks), len(masks)),
            "typing_error_same_state": share(sum(r["same_state"] for r in typed), len(typed)),
            "order_same_mask": share(sum(r["dice"] >= 0.95 for r in orders), len(orders))}
