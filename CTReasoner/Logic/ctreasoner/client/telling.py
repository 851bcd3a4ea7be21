"""What an engine tells the panel of itself, the same for one beside it and for one on a server."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from ..events import Event

SILENT_S = 20.0         # an engine that is awaited and says nothing is mentioned each time that so much more has passed


@dataclass(frozen=True)
class Message:
    """What `poll` returns.

    kind : "state" (facts: state, model, and where there is something to say: code, sentence, hint, silent_s), "event" (ask,
    event), "exported" (ask; facts: folder, files and notes), "inside" (ask; facts: states and is_whole), "pushing" (ask; facts:
    words) or "pushed" (ask; facts: stored and already); "exported", "inside" and "pushed" bring code, sentence and hint
    instead where they failed.
    """

    kind: str
    ask: int | None = None
    event: Event | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Telling:
    """States and silence of an engine. It needs `is_busy` and `silent_s`, and `_keep`, which keeps a message for `poll`."""

    state = "stopped"
    model: dict[str, Any] = {}                          # noqa: RUF012 (replaced as a whole, never changed)
    _times_silent = 0

    def _keep(self, message: Message) -> None:
        raise NotImplementedError

    def _set(self, state: str, **facts: Any) -> None:
        self.state = state
        self._keep(Message("state", facts={"state": state, "model": self.model, **facts}))

    def _rest(self) -> None:
        if self.state == "busy" and not self.is_busy:
            self._set("ready")

    def _check_silence(self) -> None:
        silent = self.silent_s
        if silent < SILENT_S:
            self._times_silent = 0
        elif silent >= (self._times_silent + 1) * SILENT_S:
            self._times_silent += 1
            self._keep(Message("state", facts={
                "state": self.state, "model": self.model, "silent_s": round(silent, 1), "code": "CTR-WRK-007",
                "sentence": f"The engine has said nothing for {silent:.0f} seconds.",
                "hint": "Wait, stop the answer, or restart the engine."}))


def digest(text: str) -> str:
    """A short name for a text: 16 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]
