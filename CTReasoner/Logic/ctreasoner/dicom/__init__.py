"""DICOM in and out: a CT series becomes a :class:`Volume`, masks become a DICOM segmentation.

Foreign bytes are read with limits, and whatever a parser raises arrives as one :class:`InputError`. LPS, DICOM's frame,
exists in this package alone; everything that leaves it is RAS millimetres.
"""

from __future__ import annotations

from importlib import import_module

_HOME = {
    "Series": "series",
    "read_series": "series",
    "read_sources": "series",
    "SeriesEntry": "catalogue",
    "list_series": "catalogue",
    "is_dicom": "archive",
    "safe_unpack": "archive",
    "SegObject": "segment",
    "write_seg": "seg",
    "build_seg": "seg",
    "write_sr": "sr",
    "write_rtstruct": "rtstruct",
    "read_findings": "reimport",
    "read_present": "present",
    "KeyImage": "keys",
    "write_keys": "keys",
    "write_derived": "derived",
}

__all__ = [*_HOME]


def __getattr__(name: str):
    """Import a public name from the module that holds it, once (pydicom and highdicom cost half a second each)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = value
    return value
