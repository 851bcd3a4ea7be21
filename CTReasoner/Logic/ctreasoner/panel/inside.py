"""Which objects a CT shows, asked for while the engine has nothing else to do, so that the chips of the others turn grey."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any

from ..errors import CTReasonerError
from .case import Case
from .log import Log


@dataclass
class Estimate:
    """What the model thinks before it has looked closer.

    stamp : of the CT that it is about (`Case.stamp`). states : vocabulary key -> (state, probability).
    is_final : whether there is no more to ask: it is whole, or could not be had.
    """

    stamp: tuple
    states: dict[str, tuple[str, float]] = field(default_factory=dict)
    is_final: bool = False


class Inside:
    """Asks an engine that is warm and idle about the chosen CT; a question that comes meanwhile interrupts that by itself.

    Parameters
    ----------
    on_known : called with a case of which more, or nothing any more, is known.
    log : gets codes of what went wrong; nobody is told, for nobody asked.
    """

    def __init__(self, on_known: Callable[[Case], None], log: Log) -> None:
        self._on_known, self._log = on_known, log
        self._asked: tuple[int, Case, tuple] | None = None
        self._seen: tuple = ()

    def forget(self) -> None:
        """The engine is gone: what it was asked is not answered any more."""
        self._asked = None

    def again(self, case: Case) -> None:
        """Ask anew, after an answer, where nothing could be had before: by now a server has the CT."""
        if case.estimate is not None and case.estimate.is_final and not case.estimate.states:
            case.estimate = None

    def step(self, engine: Any, case: Case | None, *, idle: bool) -> None:
        """Ask where it is time to; call it about once a second, since a CT that is being moved is left alone until it rests."""
        if case is None:
            return
        try:
            stamp = case.stamp()
        except CTReasonerError:         # bent meanwhile: it cannot be asked about
            return
        if case.estimate is not None and case.estimate.stamp != stamp:
            case.estimate = None
            self._on_known(case)
        rests, self._seen = stamp == self._seen, stamp
        is_known = case.estimate is not None and case.estimate.is_final
        if rests and idle and not is_known and self._asked is None and engine is not None and engine.state == "ready" \
                and not engine.is_busy:
            self._ask(engine, case, stamp)

    def _ask(self, engine: Any, case: Case, stamp: tuple) -> None:
        try:
            file = case.file(engine.volumes)
            if file.done():
                self._asked = (engine.inside(file.result()), case, stamp)
        except (CTReasonerError, CancelledError, OSError, ValueError, MemoryError) as error:
            case.estimate = Estimate(stamp, is_final=True)
            self._log.add_problem("inside", getattr(error, "code", "") or type(error).__name__)

    def done(self, number: int | None, facts: dict[str, Any]) -> None:
        """Take a message of kind "inside"."""
        if self._asked is None or self._asked[0] != number:
            return
        (_, case, stamp), self._asked = self._asked, None
        if "states" in facts:
            states = {str(key): (str(state), float(p)) for key, (state, p) in facts["states"].items()}
            case.estimate = Estimate(stamp, states, is_final=bool(facts["is_whole"]))
        else:
            case.estimate = Estimate(stamp, is_final=True)
            self._log.add_problem("inside", str(facts.get("code", "")))
        self._on_known(case)
