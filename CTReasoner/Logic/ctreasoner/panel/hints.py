"""What to do, in the words of the panel: the engine's hints for the command line are no help to somebody in Slicer."""

from __future__ import annotations

ELSEWHERE = ("`", "--", "README", "save_pretrained", "same command")        # what a hint speaks of that is not in the panel
AGAIN = "Export again later: what the archive has is not sent twice."
COPY = "Copy the model folder again, then press Restart in the section Engine."
HINTS = {
    "object_unsupported": "Choose one of the objects below the conversation, or press Click an organ and click on it.",
    "CTR-MOD-001": "Put a model folder where the extension looks (CTReasoner/Resources/Models/compact), then press Restart in the "
                   "section Engine. Until then, choose the recorded answer there.",
    **dict.fromkeys(("CTR-NET-011", "CTR-NET-012", "CTR-NET-016", "CTR-NET-020"), AGAIN),
    "CTR-NET-010": "Check the address and whether the server runs, then export again: what the archive has is not sent twice.",
    "CTR-NET-014": "Choose the file of the authority that signed it as Certificate.",
    "CTR-USE-022": "Take user and password out of the address; a token has a field of its own.",
    "CTR-USE-024": "Tick that it is sent all the same, and export again, if that is what you want.",
    "CTR-MODEL-001": COPY, "CTR-MODEL-002": COPY, "CTR-MODEL-003": COPY, "CTR-MODEL-004": COPY,
}


def hint_for(code: str, hint: str) -> str:
    """Return a hint as the panel shows it; one that speaks of something outside the panel is replaced, or left out."""
    return HINTS.get(code, "") if any(word in hint for word in ELSEWHERE) else hint
