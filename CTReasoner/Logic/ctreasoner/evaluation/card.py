"""``python -m ctreasoner.evaluation.card RUN MODEL [README]``: an evaluation becomes part of a model's folder.

Copies evaluation.md with its plots and quality.json beside the weights and writes the table of masks between the marks FIGURES of
the model card, and, without the neck, of a README. An evaluation of other weights is refused.
"""
from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from ctreasoner.appearance.wording import spoken
from ctreasoner.errors import CTReasonerError, InputError
from ctreasoner.model.stored import weights_hash
from ctreasoner.vocabulary import Vocabulary

FIRST, LAST = "<!-- figures -->", "<!-- end of figures -->"
SCANS = {"segthor": "thorax", "openkbp": "head and neck", "demo": "the demo's CT"}
HEAD = ("| scans | object | patients | Dice (95 %) | worst | floor | box IoU | found |", "|---|---|---|---|---|---|---|---|")


def table(lines: list[dict], sources: tuple[str, ...]) -> str:
    """The masks of these sources, an object a row."""
    return "\n".join([*HEAD, *(_row(line) for line in lines if line["source"] in sources and "all" not in line["object"])])


def _row(line: dict) -> str:
    dice, floor = line["dice"], line["floor"]
    spread = f" ({dice['low']:.2f} to {dice['high']:.2f})" if dice["patients"] > 1 else ""
    reached = "" if floor is None else f"{floor:.2f} {'reached' if dice['mean'] >= floor else 'missed'}"
    name = spoken(Vocabulary.load().display(line["object"])).lower() + (" (rule)" if line["rule_made"] else "")
    cells = (SCANS[line["source"]], name, dice["patients"], f"{dice['mean']:.3f}{spread}", f"{dice['worst']:.2f}", reached,
             f"{line['box_iou_head']:.2f}", f"{line['found']} of {dice['n']}")
    return f"| {' | '.join(map(str, cells))} |"


def write(page: Path, text: str) -> None:
    """Puts a table between the marks of a page. Raises InputError where the page has no marks."""
    content = page.read_text(encoding="utf-8")
    if FIRST not in content or LAST not in content:
        raise InputError(f"{page.name} has no place for figures ({FIRST} ... {LAST}).", code="CTR-DATA-041")
    before, after = content.split(FIRST)[0], content.split(LAST)[1]
    page.write_text(f"{before}{FIRST}\n{text}\n{LAST}{after}", encoding="utf-8")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m ctreasoner.evaluation.card", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="folder of an evaluation")
    parser.add_argument("model", type=Path, help="folder of the model that was evaluated")
    parser.add_argument("readme", type=Path, nargs="?", help="a page that shows the thorax and the demo's CT")
    options = parser.parse_args(argv)
    try:
        result = json.loads((options.run / "evaluation.json").read_text(encoding="utf-8"))
        if result["about"]["model"]["hash"] != weights_hash(options.model):
            raise InputError(f"{options.run} was made with other weights than those of {options.model}.", code="CTR-DATA-042")
        lines = result["segmentation"]["lines"]
        write(options.model / "README.md", table(lines, tuple(SCANS)))
        if options.readme:
            write(options.readme, table(lines, ("segthor", "demo")))
        for name in ("evaluation.md", "quality.json", *(plot.name for plot in options.run.glob("*.png"))):
            shutil.copy(options.run / name, options.model / name)
    except CTReasonerError as error:
        sys.stderr.write(f"{error}\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
