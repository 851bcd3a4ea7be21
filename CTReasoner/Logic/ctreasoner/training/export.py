"""Puts the averaged halves together and writes a model folder: safetensors in fp16 (two files), tokenizer, training state."""
from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from ctreasoner.dataset.prepare import OBJECTS
from ctreasoner.model.config import CTReasonerConfig
from ctreasoner.model.language import CTReasonerForConditionalGeneration
from ctreasoner.model.processor import CTReasonerProcessor
from ctreasoner.training import common

SHARD = "12MB"


@dataclass
class Export:
    """Settings of the export; a joint.pt holds both halves and wins over the single stages."""
    vision: str = "runs/vision/vision.pt"
    language: str = "runs/language/language.pt"
    processor: str = "runs/language/processor"
    joint: str = ""
    out: str = "CTReasoner/Resources/Models/compact"
    name: str = "compact"
    calibration: str = ""


def _stage(name: str, path: str) -> dict:
    state = torch.load(path, weights_only=True)
    return {"stage": name, "steps": state["step"], "seconds": round(state["seconds"]), "views": state["views"],
            "seed": state["seed"]}


def run(settings: Export) -> Path:
    """Writes the folder; an earlier one of the same name is replaced only when the new one is complete."""
    processor = CTReasonerProcessor.from_pretrained(settings.processor)
    calibration = json.loads(Path(settings.calibration).read_text()) if settings.calibration else {}
    config = CTReasonerConfig(objects=list(OBJECTS), name=settings.name, calibration=calibration)
    config.text_config.vocab_size = len(processor.tokenizer)
    model = CTReasonerForConditionalGeneration(config)
    names = {"joint": settings.joint} if settings.joint else {"vision": settings.vision, "language": settings.language}
    paths = [settings.joint] * 2 if settings.joint else [settings.vision, settings.language]
    seen = common.start_of(paths[0], ("vision.", "codes."))
    codes = seen.pop("codes.table")
    spoken = common.start_of(paths[1], ("language.",))
    weights = seen | {f"language.{k}": v for k, v in spoken.items()}
    stages = [_stage(name, path) for name, path in names.items()]
    model.load_state_dict(weights)
    out, temporary = Path(settings.out), Path(settings.out + ".new")
    shutil.rmtree(temporary, ignore_errors=True)
    model.half().save_pretrained(temporary, max_shard_size=SHARD)
    processor.save_pretrained(temporary)
    (temporary / "training_state.json").write_text(json.dumps(
        {"stages": stages, "codes": [[round(v, 4) for v in row] for row in codes.tolist()]}) + "\n")
    for kept in ("README.md",):
        if (out / kept).exists():
            shutil.copy(out / kept, temporary / kept)
    shutil.rmtree(out, ignore_errors=True)
    temporary.rename(out)
    return out
