"""``ctreasoner dataset build | check | show | propose | review``."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ctreasoner.errors import InputError, UsageError

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
    build.add_argument("--proposed-by", default="", metavar="PROGRAM", help="the masks are its proposals and wait for review")
    build.set_defaults(run=_build)

    check = verbs.add_parser("check", help="what is wrong with a data set, one sentence each")
    check.add_argument("data", type=Path, metavar="DIR")
    check.add_argument("--for", dest="purpose", choices=("training", "evaluation"), default="training",
                       help="a licence that forbids derivatives is refused for training, allowed for evaluation")
    check.set_defaults(run=_check)

    show = verbs.add_parser("show", help="picture sheets, one for each case")
    show.add_argument("data", type=Path, metavar="DIR")
    show.add_argument("--case", action="append", default=[], metavar="ID", help="may be repeated; default: every case")
    show.add_argument("--out", type=Path, metavar="FOLDER", help="default: DIR/sheets")
    show.set_defaults(run=_show)

    propose = verbs.add_parser("propose", help="the model proposes masks and descriptions for unlabelled CTs")
    propose.add_argument("files", nargs="+", type=Path, metavar="CT", help="NIfTI, NRRD, MetaImage, or a DICOM folder")
    propose.add_argument("--out", type=Path, required=True, metavar="DIR")
    propose.add_argument("--licence", required=True, help="under which these CTs may be used")
    propose.add_argument("--source", default="unlabelled", help="a name for where they come from")
    propose.add_argument("--object", action="append", default=[], metavar="NAME", help="may be repeated; default: all")
    propose.add_argument("--model", default="compact", metavar="NAME|FOLDER")
    propose.add_argument("--seed", type=int, default=0)
    propose.set_defaults(run=_propose)

    review = verbs.add_parser("review", help="a named person accepts, corrects or rejects proposals, in the terminal")
    review.add_argument("data", type=Path, metavar="DIR")
    review.add_argument("--name", required=True, help="first and last name of the person who looks")
    review.set_defaults(run=_review)

    for verb in (build, check, show, propose, review):
        verb.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _build(options: argparse.Namespace) -> int:
    from .build import Settings, build

    settings = Settings(options.layout, options.licence, options.seed, options.proposed_by)
    done = build(options.sources, options.out, settings, say=_say)
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


def _show(options: argparse.Namespace) -> int:
    from .show import show
    from .store import DataSet

    out = options.out or options.data / "sheets"
    written = show(DataSet.open(options.data), out, options.case)
    _result(options, {"sheets": [str(p) for p in written]}, f"{len(written)} sheets in {out}")
    return 0


def _propose(options: argparse.Namespace) -> int:
    from ctreasoner.reasoner import Reasoner

    from .propose import EngineProposer, propose

    proposer = EngineProposer(Reasoner.from_pretrained(options.model), options.object)
    done = propose(options.files, options.out, proposer, licence=options.licence, name=options.source, seed=options.seed, say=_say)
    _result(options, {"written": done.written, "there": done.there, "refused": done.refused},
            f"{done.written} CTs with proposals written, {done.there} were there already, {len(done.refused)} refused. "
            "Proposals count as labels after a review.")
    return InputError.exit_code if done.refused else 0


def _review(options: argparse.Namespace) -> int:
    from .review import HELP, review
    from .store import DataSet

    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("A review needs a person at a terminal; this is none.", code="CTR-USE-021",
                         hint="Run it in a terminal, without a pipe. Nobody can be signed for by a script.")
    data = DataSet.open(options.data)
    _say(HELP)
    done = review(data, options.name, _line, _say, seed=int(data.made.get("seed", 0)))
    _result(options, vars(done), f"{done.accepted} accepted, {done.corrected} corrected, {done.rejected} rejected, "
            f"{done.skipped} skipped, {done.left} wait.")
    return 0


def _line(prompt: str) -> str:
    print(prompt, end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _result(options: argparse.Namespace, content: dict[str, Any], sentence: str) -> None:
    print(json.dumps(content, ensure_ascii=False) if options.json else sentence)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
