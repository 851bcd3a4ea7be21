"""``ctreasoner evaluate``: what the weights can do, on patients that they never saw, in one page.

Writes evaluation.json (every row), evaluation.md (one page with plots) and quality.json (for ``ctreasoner objects``) and prints the
page as tables. Parts may be run one by one; those of an earlier run with the same weights and the same number of patients are kept,
and every part is written as soon as it is done.
"""
from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ctreasoner.evaluation.parts import FULL, PARTS, QUICK, SHARED, SHORT, WHOLE, Run, timed

if TYPE_CHECKING:
    from ctreasoner.engine import Engine


def main(argv: list[str]) -> int:
    """Run an evaluation with command-line arguments; returns the exit code."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.recipe is not None and not options.benchmark:
        parser.error("--recipe belongs to --benchmark")
    from ctreasoner.evaluation import page

    if options.publish is not None:
        _say(f"{page.publish(_read(options.out), options.publish)}")
        return 0
    from ctreasoner.engine import Engine
    from ctreasoner.reasoner import model_folder

    if options.benchmark:
        return _benchmark(options)
    engine = Engine.from_pretrained(model_folder(options.model), threads=options.threads)
    amount = QUICK if options.quick else FULL
    run = Run(engine, options.data, options.out, amount, options.limit if options.limit is not None else amount.patients,
              options.quick, _say, options.baseline)
    if options.gallery:
        return _gallery(run)
    names = _chosen(options)
    result = begun(engine, argv, options.out, limited(run, "given-plans" in names))
    for name in names:
        _say(f"# {name}")
        found, seconds = timed(name, run)
        result |= found
        result["cpu_hours"] = {**result.get("cpu_hours", {}), name: round(seconds / 3600, 3)}
        write(result, options.out)
    page.show(result)
    _say(f"{options.out / 'evaluation.md'}")
    return 0


def write(result: dict, out: Path) -> None:
    """evaluation.json, evaluation.md with its plots and, where masks were measured, quality.json."""
    from ctreasoner.answer import write_json
    from ctreasoner.evaluation import page, plots, segmentation

    out.mkdir(parents=True, exist_ok=True)
    write_json(result, out / "evaluation.json")
    (out / "evaluation.md").write_text(page.markdown(result, plots.write(result, out)), encoding="utf-8")
    if result.get("segmentation") and "given" not in result["about"]["limited"]:
        write_json(segmentation.quality(result["segmentation"]["lines"], result["about"]["model"]["hash"]), out / "quality.json")


def begun(engine: Engine, argv: list[str], out: Path, limited: str) -> dict:
    """What an earlier evaluation of the same weights and amount left, with the new date and command."""
    from ctreasoner import __version__

    engine.speaker  # noqa: B018 (a broken language half is said before anything runs)
    earlier = _read(out)
    about = earlier.get("about", {})
    same = about.get("model") == engine.model and about.get("limited") == limited
    words = [Path(word).name if Path(word).is_absolute() else word for word in argv]  # pages tell no folders of a machine
    commands = [*(about.get("commands", []) if same else []), shlex.join(["ctreasoner", "evaluate", *words])]
    return {**(earlier if same else {}), "about": {
        "model": engine.model, "ctreasoner": __version__, "date": time.strftime("%Y-%m-%d"), "limited": limited,
        "commands": [*dict.fromkeys(commands)]}}


def limited(run: Run, given: bool) -> str:
    """In what the run is smaller than the full form; empty for the full one."""
    parts = [f"at most {run.limit} patients a source"] if run.limit is not None else []
    parts += ["few wordings and small proofs"] if run.small else []
    return ", ".join(parts + (["plans given, everything present"] if given else []))


def _read(out: Path) -> dict:
    try:
        return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def _chosen(options: argparse.Namespace) -> list[str]:
    if options.part:
        return list(options.part)
    for flag in ("proofs", "given_plans", "calibrate"):
        if getattr(options, flag):
            return [flag.replace("_", "-")]
    return [*(SHORT if options.quick else WHOLE), *(["plain"] if options.baseline else [])]


def _benchmark(options: argparse.Namespace) -> int:
    from ctreasoner.engine import Engine
    from ctreasoner.evaluation import benchmark
    from ctreasoner.reasoner import model_folder

    engine = None if options.recipe else Engine.from_pretrained(model_folder(options.model), threads=options.threads)
    benchmark.run(engine, options.benchmark, options.data, options.out, options.recipe, options.limit, _say)
    page = options.out / f"benchmark-{options.benchmark}.md"
    sys.stdout.write(page.read_text(encoding="utf-8"))
    _say(f"{page}")
    return 0


def _gallery(run: Run) -> int:
    from ctreasoner.evaluation import gallery, scans

    if run.known is None:
        demo = scans.demo(run.say)
        cases = [(demo, key) for key in demo.present]
    else:
        cases = gallery.drawn(run.patients(demo=True))
    _say(f"{gallery.write(run.engine, cases, run.out / 'gallery', run.say)}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ctreasoner evaluate", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=SHARED, help="labelled scans in the compact layout (index.jsonl)")
    parser.add_argument("--out", type=Path, default=Path("evaluation"), help="where the page and its rows go")
    parser.add_argument("--model", default="compact", help="a model that ships, or the folder of another")
    parser.add_argument("--quick", action="store_true", help="a short form in minutes: masks, existence, understanding, proofs")
    parser.add_argument("--limit", type=int, help="at most so many patients of each source")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's own choice)")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="baseline.pt of `ctreasoner train baseline`, for its rows")
    parser.add_argument("--recipe", type=Path, metavar="DIR", help="of --benchmark: the net of `ctreasoner train --recipe` answers")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--part", action="append", choices=list(PARTS), help="this part alone (may be given several times)")
    what.add_argument("--proofs", action="store_true", help="the proofs alone")
    what.add_argument("--given-plans", action="store_true", help="masks and boxes alone, as if every question were understood")
    what.add_argument("--calibrate", action="store_true", help="fit existence on patients set aside; writes calibration.json")
    what.add_argument("--gallery", action="store_true", help="ten answers drawn at random, as pictures and text, to look at")
    what.add_argument("--benchmark", choices=["btcv", "mosmed", "amos", "flare22", "segthor"],
                      help="a published data set, in --data as it is published, by a protocol that the page names")
    what.add_argument("--publish", type=Path, metavar="DIR", help="write the page of an earlier run (--out) with its plots there")
    return parser


def _say(sentence: str) -> None:
    sys.stderr.write(sentence + "\n")
    sys.stderr.flush()
