"""What to do, in the words of the panel: the engine's hints for the command line are no help to somebody in Slicer."""

from __future__ import annotations

ELSEWHERE = ("`", "--", "README", "save_pretrained")        # what a hint speaks of that is not in the panel
COPY = "Copy the model folder again, then press Restart in the section Engine."
HINTS = {
    "object_unsupported": "Choose one of the objects below the conversation, or press Click an organ and click on it.",
    "CTR-MOD-001": "Put a model folder where the extension looks (CTReasoner/Resources/Models/compact), then press Restart in the "
                   "section Engine. Until then, choose the recorded answer there.",
    "CTR-MODEL-001": COPY, "CTR-MODEL-002": COPY, "CTR-MODEL-003": COPY, "CTR-MODEL-004": COPY,
}


def hint_for(code: str, hint: str) -> str:
    """Return a hint as the panel shows it; one that speaks of something outside the panel is replaced, or left out."""
    return HINTS.get(code, "") if any(word in hint for word in ELSEWHERE) else hint
