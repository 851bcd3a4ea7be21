"""Ask a CT a question; get looks, boxes, masks, words, and the evidence for each.

>>> import ctreasoner                                               # costs no torch
>>> volume = ctreasoner.load_volume("ct.nii.gz")                    # doctest: +SKIP
>>> reasoner = ctreasoner.Reasoner.from_pretrained("compact")       # doctest: +SKIP
>>> answer = reasoner.ask(volume, "Is the aorta dilated?")          # doctest: +SKIP
>>> print(answer.text)                                              # doctest: +SKIP

The names below are the public ones; they are imported when they are first used, so that ``import ctreasoner`` stays quick.
"""

from __future__ import annotations

from importlib import import_module

from .version import __version__

_HOME = {
    "load_volume": "reasoner",
    "Reasoner": "reasoner",
    "Client": "remote",
    "Answer": "answer",
    "Request": "events",
    "Click": "events",
    "PromptBox": "events",
    "Scribble": "events",
    "Options": "events",
    "CTReasonerError": "errors",
}

__all__ = [*_HOME, "__version__"]


def __getattr__(name: str):
    """Import a public name from the module that holds it, once."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted(__all__)
