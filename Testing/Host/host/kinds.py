"""Do Python values fit a C++ signature: count and kind, as PythonQt converts them."""

from __future__ import annotations

import numbers

import slicer
import vtk
from PyQt5 import QtCore, QtGui, QtWidgets

from . import errors, names

_TEXT = {"QString", "qSlicerIO::IOFileType", "const char*", "std::string", "QByteArray", "QUrl"}
_WHOLE = {
    "int",
    "uint",
    "long",
    "ulong",
    "unsigned int",
    "unsigned long",
    "qlonglong",
    "qint64",
    "vtkIdType",
    "size_t",
    "short",
    "ulonglong",
    "quint64",
    "vtkMTimeType",
}
_REAL = {"double", "float", "qreal"}
_ANY = {"QVariant", "void*", "PyObject*"}


def fits(value, kind: str) -> bool:
    """Whether a Python value (unwrapped) converts to a C++ type."""
    if kind in _ANY:
        return True
    if kind in _TEXT:
        return isinstance(value, str)
    if kind == "bool":
        return isinstance(value, (bool, int)) and not isinstance(value, float)
    if kind in _WHOLE:
        return isinstance(value, int)
    if kind in _REAL:
        return isinstance(value, numbers.Real)
    if kind.startswith(("QList<", "QVector<")):
        return isinstance(value, (list, tuple)) and all(fits(v, kind[kind.index("<") + 1 : -1]) for v in value)
    if kind == "QStringList":
        return isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value)
    if kind in ("QVariantMap", "QVariantHash") or kind.startswith(("QHash<", "QMap<")) or kind.endswith("IOProperties"):
        return isinstance(value, dict)
    return _fits_class(value, kind)


def _fits_class(value, kind: str) -> bool:
    name = kind.rstrip("*&").strip()
    if name.startswith("vtk"):
        cls = getattr(slicer, name, None) or getattr(vtk, name, None)
        return value is None or (cls is not None and isinstance(value, cls))
    entry = names.class_names(name)
    if entry is not None:
        return value is None or any(e.name == name for e in names.lineage(getattr(type(value), "HOST_CLASS", "")))
    for module in (QtCore, QtGui, QtWidgets):
        found = getattr(module, name, None)
        if isinstance(found, type):
            return (value is None and kind.endswith("*")) or isinstance(value, found)
    return isinstance(value, int)  # an enum or flags


def pick(forms, arguments, owner: str, name: str):
    """The first listed overload that the arguments fit; raises when none does."""
    for form in forms:
        if len(form.types) == len(arguments) and all(fits(a, k) for a, k in zip(arguments, form.types, strict=True)):
            return form
    listed = " or ".join(f"{name}({', '.join(form.types)})" for form in forms)
    given = ", ".join(type(a).__name__ for a in arguments)
    raise errors.WrongUse(f"{owner}.{name} takes {listed}, not ({given})")
