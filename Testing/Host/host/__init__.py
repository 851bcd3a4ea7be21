"""A host that runs a scripted module of 3D Slicer outside Slicer: PyQt5 under PythonQt's rules, on the real MRML of slicer-core.

``import host`` makes ``qt``, ``ctk`` and ``slicer`` importable as in Slicer 5.12; ``host.Application()`` runs one.
"""

from __future__ import annotations

import os

os.environ.setdefault("QT_API", "pyqt5")

from .application import Application, current, install
from .errors import HandlerFailed, NotInSlicer, WrongUse, check_handlers, take_failures
from .hands import click, drag, key, move, text, wheel
from .heartbeat import Heartbeat
from .pictures import grab

install()

__all__ = [
    "Application",
    "HandlerFailed",
    "Heartbeat",
    "NotInSlicer",
    "WrongUse",
    "check_handlers",
    "click",
    "current",
    "drag",
    "grab",
    "key",
    "move",
    "take_failures",
    "text",
    "wheel",
]
