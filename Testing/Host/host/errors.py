"""What the host says when a module asks for something that a real Slicer would not give it."""

from __future__ import annotations

import logging
import sys


class NotInSlicer(AttributeError):
    """The name does not exist in the Slicer release that the index describes."""


class WrongUse(TypeError):
    """The name exists, and PythonQt would refuse this use of it, or silently do nothing."""


class HandlerFailed(AssertionError):
    """A slot, observer or virtual method raised: Slicer only prints this, a test must see it."""


_failures: list[BaseException] = []


def missing(owner: str, name: str) -> NotImplementedError:
    """The error for a member that Slicer has and the host does not implement."""
    return NotImplementedError(f"{owner}.{name} exists in Slicer; the host does not implement it")


def record(error: BaseException) -> None:
    """Keep an exception that Qt or VTK would swallow; :func:`take_failures` hands it to the test."""
    _failures.append(error)
    logging.getLogger("host").error("a handler failed", exc_info=error)


def take_failures() -> list[BaseException]:
    """The exceptions of handlers since the last call."""
    taken = list(_failures)
    _failures.clear()
    return taken


def check_handlers() -> None:
    """Raise :class:`HandlerFailed` if a handler raised since the last check."""
    failures = take_failures()
    if failures:
        text = "; ".join(f"{type(f).__name__}: {f}" for f in failures)
        raise HandlerFailed(f"{len(failures)} handler(s) raised: {text}") from failures[0]


def install_hook() -> None:
    """VTK's and PyQt's callbacks end in ``sys.excepthook``: record what arrives there."""
    before = sys.excepthook

    def hook(kind, error, trace):
        if isinstance(error, Exception):
            record(error)
        else:
            before(kind, error, trace)

    sys.excepthook = hook
