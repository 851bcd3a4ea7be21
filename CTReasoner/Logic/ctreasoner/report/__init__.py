"""A finished answer as one self-contained page: what was looked at, what was found, what was measured and checked."""

from __future__ import annotations

from importlib import import_module

_HOME = {"write_report": "page", "object_pictures": "story", "contact_sheet": "sheet", "key_image": "keys"}

__all__ = [*_HOME]


def __getattr__(name: str):
    """Import a public name from the module that holds it, once (pictures need scipy and Pillow)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
