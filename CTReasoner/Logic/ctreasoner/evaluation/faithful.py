"""Is every number of a text the one that mask and CT give, and would the checker notice if it were not?

Numbers: real answers are asked for in words; each number is computed anew from the exported mask and the CT, and must be the same
after rounding; the checker's own recount must agree as well. The same again after the mask was edited (one voxel eroded).
Sentences: of all that an answer would say of one object, or of several at once, how many the checker can check, counted before any
sentence is left out.
Planted errors: true texts about the masks of these answers (words by rule, numbers measured) raise no alarm; the same texts with
one wrong number, side or word are caught.
"""
from __future__ import annotations

import random
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np

from ctreasoner.appearance import lexicon
from ctreasoner.appearance import verify as checking
from ctreasoner.appearance.attributes import accepted, attributes_for, rule
from ctreasoner.appearance.measure import measure as measured_on
from ctreasoner.appearance.measure import values
from ctreasoner.appearance.verify import REFUTED, VERIFIED, Exported, share_checkable, verify
from ctreasoner.appearance.wording import Facts, fill, render, rounded, spoken
from ctreasoner.engine import Engine
from ctreasoner.evaluation import probe
from ctreasoner.evaluation.asking import Outcome, ask
from ctreasoner.evaluation.scans import Scan
from ctreasoner.evaluation.scores import Placed, share
from ctreasoner.events import Measurement, Statement, Text
from ctreasoner.geometry import box_of
from ctreasoner.model.closer import touches_border
from ctreasoner.training import wordings

TEXTS = 3           # true texts for each object


# numbers ----------------------------------------------------------------------------------------------------

def number_rows(engine: Engine, scan: Scan, key: str) -> tuple[list[dict], Placed]:
    """Rows of the numbers of an answer and of the same answer after an edit, and the answer's mask."""
    talk = f"numbers {scan.id} {key}"
    with probe.given_plan(["segment", "describe"], [key]), probe.certain(engine):
        outcome = ask(engine, scan.volume, f"segment and describe the {spoken(engine.vocabulary.display(key))}", words=True,
                      conversation=talk)
    if not outcome.objects or not outcome.objects[0].mask.voxels:
        return [], Placed(np.zeros((0, 0, 0), bool), (0, 0, 0))
    found, rows = outcome.objects[0], numbers(engine, scan, key, outcome, outcome.objects[0].mask, "answer")
    edited = eroded(found.mask)
    if edited.voxels:
        with tempfile.TemporaryDirectory(prefix="ctreasoner-eval-") as folder:
            path = Path(folder) / "edited.npy"
            whole = np.zeros(scan.volume.shape, bool)
            whole[tuple(slice(a, a + n) for a, n in zip(edited.first, edited.crop.shape, strict=True))] = edited.crop
            np.save(path, whole)
            again = ask(engine, scan.volume, words=True, conversation=talk, edited={found.id: str(path)})
        rows += numbers(engine, scan, key, again, edited, "edited mask")
    return rows, found.mask


def eroded(mask: Placed) -> Placed:
    """The mask without its outermost voxels."""
    from scipy import ndimage

    return Placed(ndimage.binary_erosion(np.pad(mask.crop != 0, 1))[1:-1, 1:-1, 1:-1], mask.first)


def numbers(engine: Engine, scan: Scan, key: str, outcome: Outcome, mask: Placed, when: str) -> list[dict]:
    """One row for each number of an answer's text: is it what the mask gives, and does the recount agree?"""
    cut = touches_border(mask.crop.shape, mask.first, scan.volume)
    anew = {m.name: m for m in measured_on(mask.crop, mask.first, scan.volume, engine.vocabulary[key], cut) if m.value is not None}
    names = {e.id: e.name for e in outcome.events if isinstance(e, Measurement)}
    claims = [e for e in outcome.events if isinstance(e, Statement)]
    rows = []
    for event in (e for e in outcome.events if isinstance(e, Text)):
        spans = {(s.start, s.end): names.get(s.ref) for s in event.spans if s.kind == "measurement"}
        for hit in lexicon.QUANTITY.finditer(event.text):
            name = spans.get(hit.span())
            about = [c for c in claims if c.start < hit.end() and c.end > hit.start()]
            same = rounded(anew[name].value, anew[name].unit) == hit[0] if name in anew else None
            rows.append({"patient": scan.patient, "object": key, "when": when, "said": hit[0], "name": name, "same": same,
                         "recounted": bool(about) and all(c.verdict == VERIFIED for c in about)})
    return rows


# sentences --------------------------------------------------------------------------------------------------

def sentence_rows(engine: Engine, scan: Scan) -> list[dict]:
    """One row for each question in words: every object alone, up to four together, and the first two compared."""
    names, together = {k: spoken(engine.vocabulary.display(k)) for k in scan.present}, list(scan.present[:4])
    asked = [(f"describe the {names[k]}", ["describe"], [k]) for k in scan.present]
    if len(together) > 1:
        asked += [(f"segment and describe {' and '.join(f'the {names[k]}' for k in together)}", ["segment", "describe"], together),
                  (f"compare the {names[together[0]]} and the {names[together[1]]}", ["describe"], together[:2])]
    rows = []
    for question, routes, keys in asked:
        with probe.given_plan(routes, keys), whole_texts() as read:
            ask(engine, scan.volume, question, words=True)
        could, stating = np.sum([share_checkable(*one) for one in read] or [(0, 0)], axis=0).tolist()
        claims = [c for _, checked in read for c in checked]
        rows.append({"patient": scan.patient, "objects": keys, "text": " ".join(text for text, _ in read), "sentences": stating,
                     "checkable": could, "claims": len(claims), "refuted": sum(c.verdict == REFUTED for c in claims)})
    return rows


@contextmanager
def whole_texts() -> Iterator[list[tuple[str, list]]]:
    """Every (text, claims) that is checked inside the block, before sentences are left out."""
    read: list[tuple[str, list]] = []

    def kept(text: str, *rest, **more):
        read.append((text, verify(text, *rest, **more)))
        return read[-1][1]

    with patch.object(checking, "verify", kept):
        yield read


# planted errors ---------------------------------------------------------------------------------------------

def true_texts(engine: Engine, scan: Scan, key: str, mask: Placed, rng: random.Random) -> Iterator[tuple[str, Exported, dict, set]]:
    """(text, what is exported, categories, attributes whose word is beyond doubt): all of it true of this mask."""
    entry = engine.vocabulary[key]
    cut = touches_border(mask.crop.shape, mask.first, scan.volume)
    measured = measured_on(mask.crop, mask.first, scan.volume, entry, cut)
    facts = Facts(object="a1.o1", display=entry.display, obj=entry, measured={m.name: m for m in measured},
                  ids={m.name: f"a1.o1.m{n}" for n, m in enumerate(measured, 1)},
                  box_size_mm=box_of(mask.crop, mask.first, scan.volume)[1])
    categories = {a: w for a in attributes_for(key) if (w := rule(a, entry, values(measured), cut))}
    sure = {a for a in categories if len(accepted(a, entry, values(measured), cut)) == 1}
    exported = Exported(object="a1.o1", display=entry.display, key=key, mask=mask.crop, first_voxel=mask.first, obj=entry)
    for _ in range(TEXTS):
        situation = {"key": key, "state": "present", "categories": categories, "tubular": entry.tubular, "cut": cut,
                     "clicked": False, "reference": wordings.reference_kind(entry), "topic": rng.choice(wordings.TOPICS),
                     "routes": ("segment", "describe")}
        text, _ = render(fill(wordings.compose(rng, situation), [facts]))
        yield text, exported, categories, sure


def planted(text: str, exported: Exported, categories: dict[str, str], sure: set[str]) -> Iterator[tuple[str, str]]:
    """(kind, text with one thing wrong): every number, side and word of a true text in turn."""
    for hit in lexicon.QUANTITY.finditer(text):
        if hit[2] is None and not re.search(r"(?:reference|limit|range) of $", text[:hit.start()]):
            value, figures = float(hit[1]), len(hit[1].partition(".")[2])
            for wrong in (value - 60, value + 60) if hit[4] == "HU" else (value * 0.6, value * 1.5):
                if f"{wrong:.{figures}f}" != hit[1]:
                    yield "number", text[:hit.start(1)] + f"{wrong:.{figures}f}" + text[hit.end(1):]
    for one, other in (("left", "right"), ("right", "left")):
        for hit in re.finditer(rf"\b{one}\b(?= of the midline| (?:lung|parotid))", text):
            yield "side", text[:hit.start()] + other + text[hit.end():]
    for attribute in sure:
        phrases = wordings._texts()["phrases"]["width" if attribute == "size" and exported.obj.tubular else attribute]
        for phrase in phrases[categories[attribute]]:
            if phrase in text:
                yield from (("word", text.replace(phrase, others[0])) for value, others in phrases.items()
                            if value != categories[attribute])
                break


def planted_rows(engine: Engine, scan: Scan, key: str, mask: Placed) -> list[dict]:
    """Rows of true texts (claims, refuted ones) and of planted errors (caught or not)."""
    rows, counted = [], {}
    rng = random.Random(f"{scan.id} {key}")
    for text, exported, categories, sure in true_texts(engine, scan, key, mask, rng):
        checked = verify(text, [exported], scan.volume, None, counted)
        rows.append({"kind": "true", "object": key, "patient": scan.patient, "text": text, "claims": len(checked),
                     "refuted": sum(c.verdict == REFUTED for c in checked)})
        for kind, wrong in planted(text, exported, categories, sure):
            caught = any(c.verdict != VERIFIED for c in verify(wrong, [exported], scan.volume, None, counted))
            rows.append({"kind": kind, "object": key, "patient": scan.patient, "text": wrong, "caught": caught})
    return rows


def measure(engine: Engine, scans: Iterable[Scan],
            say: Callable[[str], None] = lambda _: None) -> tuple[list[dict], list[dict], list[dict]]:
    """(rows of numbers, rows of planted errors, rows of sentences) of every object of every scan."""
    said, errors, sentences = [], [], []
    for scan in scans:
        sentences += sentence_rows(engine, scan)
        for key in scan.present:
            rows, mask = number_rows(engine, scan, key)
            said += rows
            if mask.voxels:
                errors += planted_rows(engine, scan, key, mask)
        say(f"{scan.id}: {sum(r['patient'] == scan.patient for r in said)} numbers in words")
        engine.forget(scan.volume.identity)
    return said, errors, sentences


def summarise(said: list[dict], errors: list[dict], sentences: list[dict]) -> dict:
    out = {"sentences_checkable": share(sum(r["checkable"] for r in sentences), sum(r["sentences"] for r in sentences)),
           "claims_refuted": share(sum(r["refuted"] for r in sentences), sum(r["claims"] for r in sentences))}
    for when, name in (("answer", "numbers"), ("edited mask", "numbers_edited")):
        mine = [r for r in said if r["when"] == when]
        direct = [r for r in mine if r["same"] is not None]
        out[f"{name}_same"] = share(sum(r["same"] for r in direct), len(direct))
        out[f"{name}_recounted"] = share(sum(r["recounted"] for r in mine), len(mine))
    true, wrong = [r for r in errors if r["kind"] == "true"], [r for r in errors if r["kind"] != "true"]
    out["false_alarms"] = share(sum(r["refuted"] for r in true), sum(r["claims"] for r in true))
    for kind in ("number", "side", "word"):
        mine = [r for r in wrong if r["kind"] == kind]
        out[f"planted_{kind}s_caught"] = share(sum(r["caught"] for r in mine), len(mine))
    return out
