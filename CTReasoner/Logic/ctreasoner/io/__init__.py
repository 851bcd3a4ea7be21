"""CT in, masks and markups out. Every file is hostile until its size, its checksum and its values are what they must be."""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "read_volume": "reading",
    "read_mask": "reading",
    "check_ct": "checks",
    "write_mask_nifti": "writing",
    "write_seg_nrrd": "writing",
    "terminology_entry": "writing",
    "Segment": "writing",
    "write_markups": "markups",
    "BoxMarkup": "markups",
    "LineMarkup": "markups",
    "atomic": "files",
}

__all__ = [*_HOME]


def __getattr__(name: str):
    """Import a public name from the module that holds it, once (nibabel costs 0.7 s)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
