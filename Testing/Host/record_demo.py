"""Record an answer of the shipped weights about the demo's CT, for pictures: ``python Testing/Host/record_demo.py FOLDER``.

The folder holds the CT and stays outside the repository; ``make_pictures.py OUT FOLDER`` plays it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "CTReasoner" / "Logic"))

from ctreasoner.demo import demo_ct
from ctreasoner.engine import Engine
from ctreasoner.events import Request, write_events
from ctreasoner.io import read_volume
from ctreasoner.reasoner import model_folder

QUESTION = "Segment and describe the heart, the trachea and the aorta"
NAME = "LIDC-IDRI-0001"


def main(folder: Path, model: str) -> None:
    """Ask once, and write the stream, its masks and the CT as a recording."""
    folder.mkdir(parents=True, exist_ok=True)
    volume, engine = read_volume(demo_ct()), Engine.from_pretrained(model_folder(model))
    request = Request(volume=engine.register(volume), text=QUESTION)
    write_events(list(engine.answer(request, workspace=folder)), folder / "events.jsonl")
    np.savez(folder / "ct.npz", voxels=volume.voxels, affine=volume.affine)
    facts = {"name": NAME, "question": QUESTION, "identity": volume.identity, "about": "An answer of the shipped weights."}
    (folder / "recording.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "compact")
