"""``ctreasoner dataset build | check | show | propose | review``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ctreasoner.errors import InputError

from .layouts import NAMES


def main(argv: list[str]) -> int:
    """Run one verb; returns the exit code: 0, or 3 where a case was refused or a check failed."""
    options = _parser().parse_args(argv)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ctreasoner dataset", description="Make, check, look at and review a data set of CTs.")
    verbs = parser.add_subparsers(required=True, metavar="build | check | show | propose | review")

    build = verbs.add_parser("build", help="image and mask pairs become a data set")
    build.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="folder in a known layout: " + ", ".join(NAMES))
    build.add_argument("--out", type=Path, required=True, metavar="DIR")
    build.add_argument("--layout", choices=NAMES, default="", help="default: found out from the folder")
    build.add_argument("--licence", default="", help="of sources whose source.json does not name it")
    build.add_argument("--seed", type=int, default=0, help="of simulated prompts and of wordings")
    build.set_defaults(run=_build)

    check = verbs.add_parser("check", help="what is wrong with a data set, one sentence each")
    check.add_argument("data", type=Path, metavar="DIR")
    check.add_argument("--for", dest="purpose", choices=("training", "evaluation"), default="training",
                       help="a licence that forbids derivatives is refused for training, allowed for evaluation")
    check.set_defaults(run=_check)

    for verb in (build, check):
        verb.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _build(options: argparse.Namespace) -> int:
    from .build import build

    done = build(options.sources, options.out, layout_name=options.layout, licence=options.licence, seed=options.seed, say=_say)
    _result(options, {"written": done.written, "there": done.there, "refused": done.refused},
            f"{done.written} cases written, {done.there} were there already, {len(done.refused)} refused.")
    return InputError.exit_code if done.refused else 0


def _check(options: argparse.Namespace) -> int:
    from .check import check
    from .store import DataSet

    data = DataSet.open(options.data)
    problems = list(check(data, options.purpose))
    wrong = sum(p.level == "error" for p in problems)
    if not options.json:
        for problem in problems:
            print(problem)
    _result(options, {"errors": wrong, "problems": [vars(p) for p in problems]},
            f"{len(data.cases())} cases checked for {options.purpose}: {wrong} errors, {len(problems) - wrong} notes.")
    return InputError.exit_code if wrong else 0


def _result(options: argparse.Namespace, content: dict[str, Any], sentence: str) -> None:
    print(json.dumps(content, ensure_ascii=False) if options.json else sentence)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
