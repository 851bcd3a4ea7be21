"""``ctreasoner evaluate``: what the weights can do, on patients that they never saw, in one page.

Writes evaluation.json (every row), evaluation.md (one page) and quality.json (for ``ctreasoner objects``) and prints the page
as tables. ``--proofs`` runs the proofs instead, ``--calibrate`` fits existence; sections of an earlier run with the same
weights are kept.
"""
from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctreasoner.errors import InputError

if TYPE_CHECKING:
    from ctreasoner.engine import Engine
    from ctreasoner.evaluation.scans import Scan

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"


@dataclass(frozen=True)
class Amount:
    """How much of everything is asked: the full form, or the short one of ``--quick``."""
    patients: int | None = None
    wordings: int = 25
    routes: int = 40
    nouns: int | None = None
    unanswerable: int | None = None


FULL, QUICK = Amount(), Amount(patients=2, wordings=5, routes=10, nouns=40, unanswerable=20)


def main(argv: list[str]) -> int:
    """Run an evaluation with command-line arguments; returns the exit code."""
    options = _parser().parse_args(argv)
    from ctreasoner.engine import Engine
    from ctreasoner.evaluation import page
    from ctreasoner.reasoner import model_folder

    engine = Engine.from_pretrained(model_folder(options.model), threads=options.threads)
    amount = QUICK if options.quick else FULL
    limit = options.limit if options.limit is not None else amount.patients
    result = _earlier(options.out, engine.model)
    short = [f"at most {limit} patients a source"] if limit is not None else []
    short += ["plans given, everything present"] if options.given_plans else []
    result["about"] = _about(engine, argv, ", ".join(short))
    if options.calibrate:
        result["calibration"] = _calibrate(engine, options, limit)
    elif options.proofs:
        result["proofs"] = _proofs(engine, options, limit, options.quick)
    elif options.given_plans:
        result["segmentation"] = _segmentation(engine, options, limit)
    else:
        result |= _answers(engine, options, amount, limit)
    write(result, options.out)
    page.show(result)
    _say(f"{options.out / 'evaluation.md'}")
    return 0


def write(result: dict, out: Path) -> None:
    """evaluation.json, evaluation.md and, where masks were measured, quality.json."""
    from ctreasoner.answer import write_json
    from ctreasoner.evaluation import page, segmentation

    out.mkdir(parents=True, exist_ok=True)
    write_json(result, out / "evaluation.json")
    (out / "evaluation.md").write_text(page.markdown(result), encoding="utf-8")
    if result.get("segmentation") and "given" not in result["about"]["limited"]:
        write_json(segmentation.quality(result["segmentation"]["lines"], result["about"]["model"]["hash"]), out / "quality.json")


def _answers(engine: Engine, options: argparse.Namespace, amount: Amount, limit: int | None) -> dict:
    """Masks, boxes, existence and understanding."""
    from ctreasoner.evaluation import existence, scans, segmentation, understanding

    outside, wordings, orders = [], [], []

    def after(scan: Scan) -> None:
        outside.extend(existence.outside_rows(engine, scan))
        if not any(r["scan"].startswith(scan.source) for r in wordings):
            keys = [k for k in scan.present if k in ("heart", "aorta", "trachea", "mandible", "brainstem", "parotid_left")][:4]
            wordings.extend(understanding.wording_rows(engine, scan, keys, amount.wordings))
            orders.extend(understanding.order_rows(engine, scan, [("heart", "aorta"), ("mandible", "brainstem")]))

    rows = segmentation.measure(engine, _patients(options, limit), _say, after)
    demo = scans.demo(_say)
    rows += segmentation.measure(engine, [demo], _say)
    _say("held-out wordings and nouns")
    nouns = existence.unsupported_rows(engine, demo.volume, amount.nouns)
    routes = understanding.routing(engine, demo.volume, amount.routes)
    unanswerable = understanding.unanswerable_rows(engine, demo.volume, amount.unanswerable)
    return {"segmentation": {"lines": segmentation.summarise(rows), "by_hu_class": segmentation.by_hu_class(rows), "rows": rows},
            "existence": existence.summarise(rows, outside, nouns),
            "understanding": understanding.summarise(routes, unanswerable, wordings, orders),
            "cases": {"outside": outside, "nouns": nouns, "unanswerable": unanswerable, "wordings": wordings, "orders": orders,
                      "wrong_plans": routes["wrong"]}}


def _segmentation(engine: Engine, options: argparse.Namespace, limit: int | None) -> dict:
    """Masks and boxes alone, with the plans given."""
    from ctreasoner.evaluation import scans, segmentation

    rows = segmentation.measure(engine, _patients(options, limit), _say, given=True)
    rows += segmentation.measure(engine, [scans.demo(_say)], _say, given=True)
    return {"lines": segmentation.summarise(rows), "by_hu_class": segmentation.by_hu_class(rows), "rows": rows}


def _patients(options: argparse.Namespace, limit: int | None) -> Iterator[Scan]:
    from ctreasoner.evaluation import scans

    try:
        folder = scans.folder(options.data)
    except InputError:
        if options.data != SHARED:
            raise
        _say("No labelled patients lie beside this checkout: the demo's CT alone is measured.")
        return
    for source in ("segthor", "openkbp"):
        yield from scans.validation(folder, source, limit)


def _proofs(engine: Engine, options: argparse.Namespace, limit: int | None, small: bool) -> list[dict]:
    from ctreasoner.evaluation import proofs, scans, understanding
    from ctreasoner.model.config import CTReasonerConfig
    from ctreasoner.model.language import CTReasonerForConditionalGeneration

    limit = 10 if limit is None else limit
    engine.speaker  # noqa: B018 (waits for the language half)
    rows = proofs.run(engine, _patients(options, limit), 2 * limit, _say, small=small)
    name = engine.speaker.processor.name_ids["aorta"]
    rows.append(proofs.gradient_row(CTReasonerForConditionalGeneration(CTReasonerConfig()), name))
    demo = scans.demo(_say)
    rows.append(proofs.planning_row(understanding.routing(engine, demo.volume, (QUICK if small else FULL).routes)["routes"]))
    return sorted(rows, key=lambda row: int(row["proof"].split()[0]))


def _calibrate(engine: Engine, options: argparse.Namespace, limit: int | None) -> dict:
    from ctreasoner.evaluation import calibrate, scans

    return calibrate.run(engine, scans.folder(options.data), options.out / "calibration.json", _say, limit)


def _earlier(out: Path, model: dict) -> dict:
    """The sections of an earlier evaluation of the same weights."""
    try:
        earlier = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return earlier if earlier.get("about", {}).get("model") == model else {}


def _about(engine: Engine, argv: list[str], limited: str) -> dict:
    from ctreasoner import __version__

    engine.speaker  # noqa: B018 (a broken language half is said before anything runs)
    return {"model": engine.model, "ctreasoner": __version__, "date": time.strftime("%Y-%m-%d"), "limited": limited,
            "command": shlex.join(["ctreasoner", "evaluate", *argv])}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ctreasoner evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED, help="labelled scans in the compact layout (index.jsonl)")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="where the page and its rows go")
    parser.add_argument("--model", default="compact", help="a model that ships, or the folder of another")
    parser.add_argument("--quick", action="store_true", help="a short form: few patients and wordings")
    parser.add_argument("--limit", type=int, help="at most so many patients of each source")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--proofs", action="store_true", help="the proofs instead of the answers")
    what.add_argument("--given-plans", action="store_true", help="masks and boxes alone, as if every question were understood")
    what.add_argument("--calibrate", action="store_true", help="fit existence on patients set aside; writes calibration.json")
    return parser


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
