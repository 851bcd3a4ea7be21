"""`ctreasoner train STAGE [--name value ...]`: one resumable command per stage; settings are the fields of its dataclass.

`ctreasoner train --recipe btcv|mosmed` is the stage "recipe".
"""
from __future__ import annotations

import argparse
import dataclasses
import sys


def _stages() -> dict:
    from ctreasoner.training import baseline, export, joint_stage, language_stage, recipe, vision_stage
    return {"vision": (vision_stage.VisionStage, vision_stage.run),
            "language": (language_stage.LanguageStage, language_stage.run),
            "joint": (joint_stage.JointStage, joint_stage.run),
            "baseline": (baseline.Baseline, baseline.run),
            "recipe": (recipe.Recipe, recipe.run),
            "export": (export.Export, export.run)}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ctreasoner train", description=__doc__)
    stages = parser.add_subparsers(dest="stage", required=True)
    table = _stages()
    for name, (settings, _) in table.items():
        sub = stages.add_parser(name, help=settings.__doc__)
        for field in dataclasses.fields(settings):
            sub.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    words = sys.argv[1:] if argv is None else argv
    values = vars(parser.parse_args(["recipe", *words] if words and words[0].startswith("--recipe") else words))
    settings, run = table[values.pop("stage")]
    print(run(settings(**values)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
