"""Observers of VTK objects that neither keep their owner alive nor outlive it."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import vtk


class Observers:
    """The observers that one object has placed; `clear` takes all of them back, and so does the end of their owner."""

    def __init__(self) -> None:
        self._placed: list[tuple[Any, int]] = []

    def __del__(self) -> None:
        # Python's collector may take owner and scene at one go; a scene that then tells of its end would call into ruins
        self.clear()

    def add(self, subject: Any, event: Any, method: Callable) -> None:
        """Call a bound method ``method(caller, event)`` at an event of a VTK object."""
        self._placed.append((subject, subject.AddObserver(event, _weakly(method))))

    def add_with_node(self, subject: Any, event: Any, method: Callable) -> None:
        """The same for events that carry an object: ``method(caller, event, node)``."""
        call = _weakly(method)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def with_node(caller, name, node):
            call(caller, name, node)

        self._placed.append((subject, subject.AddObserver(event, with_node)))

    def clear(self) -> None:
        """Take back every observer."""
        for subject, tag in self._placed:
            subject.RemoveObserver(tag)
        self._placed.clear()


def _weakly(method: Callable) -> Callable:
    reference = weakref.WeakMethod(method)

    def call(*arguments):
        target = reference()
        if target is not None:
            target(*arguments)

    return call
