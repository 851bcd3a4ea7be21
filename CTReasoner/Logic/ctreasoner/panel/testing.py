"""What the tests inside Slicer call: a recorded answer written into the scene, without widgets and without waiting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer

from ..scene import SceneWriter
from ..vocabulary import Vocabulary
from .recorded import Recording


def replay_into_scene(node: Any, logics: Mapping[str, Any], recordings: Path) -> list[Any]:
    """Write the first recording into the scene and return the findings."""
    recording = Recording.read(sorted(recordings.glob("*/recording.json"))[0].parent)
    writer = SceneWriter(slicer.mrmlScene, node, Vocabulary.load(), logics)
    writer.begin(recording.events[0].answer, recording.question)
    for event in recording.events:
        writer.apply(event, recording.folder)
    writer.end()
    return writer.findings()
