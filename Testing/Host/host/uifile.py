"""``.ui`` files: checked against the index, then built; connections of the file are made."""

from __future__ import annotations

import copy
import io
import os
import sys
import types
import xml.etree.ElementTree as ET

from PyQt5 import QtCore, QtGui, QtNetwork, QtWidgets, uic
from PyQt5.uic import properties as uic_properties

from . import errors, kinds, names, receivers
from .indexclasses import implementation
from .qtclasses import slot_by_text
from .wrapping import wrap

_MODULES = (QtWidgets, QtGui, QtCore, QtNetwork)


def check(tree: ET.Element, file: str = "") -> list[str]:
    """Everything in a .ui file that a real Slicer would ignore or refuse."""
    problems = []
    declared = {entry.findtext("class"): entry.findtext("extends") for entry in tree.iter("customwidget")}
    objects = {}
    for element in tree.iter("widget"):
        kind, name = element.get("class"), element.get("name")
        if name in objects:
            problems.append(f"two widgets are called {name}")
        objects[name] = kind
        entry = names.class_names(kind)
        if entry is None and not hasattr(QtWidgets, kind):
            problems.append(f"widget {name}: class {kind} does not exist")
            continue
        if entry is not None and not entry.in_ui:
            problems.append(f"widget {name}: {kind} has no Designer plugin, QUiLoader makes a {declared.get(kind)} instead")
        if entry is not None and kind not in declared:
            problems.append(f"widget {name}: {kind} is not declared as a custom widget")
        problems += [f"widget {name}: {text}" for text in _property_problems(element, kind)]
    for kind in declared:
        if names.class_names(kind) is None:
            problems.append(f"custom widget class {kind} does not exist")
    for connection in tree.iter("connection"):
        problems += _connection_problems(connection, objects)
    return problems


def _property_problems(element, kind):
    for entry in element.findall("property"):
        name = entry.get("name")
        if entry.get("stdset") == "0":
            continue  # a dynamic property
        if not _has_property(kind, name):
            yield f"{kind} has no property {name}"


def _has_property(kind, name):
    if any(name in entry.properties for entry in names.lineage(kind)):
        return True
    cls = _qt_class(names.qt_base(kind) if names.class_names(kind) else kind)
    return (cls is not None and cls.staticMetaObject.indexOfProperty(name) >= 0) or (kind, name) in (
        ("QFrame", "orientation"),
        ("Line", "orientation"),
    )


def _qt_class(name):
    return next((getattr(m, name) for m in _MODULES if hasattr(m, name)), None)


def _connection_problems(connection, objects):
    sender, receiver = connection.findtext("sender"), connection.findtext("receiver")
    signal, slot = connection.findtext("signal"), connection.findtext("slot")
    for role, name in (("sender", sender), ("receiver", receiver)):
        if name not in objects:
            yield f"connection: {role} {name} does not exist"
    if sender in objects and signal not in _texts(objects[sender], "signals"):
        yield f"connection: {objects[sender]} has no signal {signal}"
    if receiver in objects and slot not in _texts(objects[receiver], "slots"):
        yield f"connection: {objects[receiver]} has no slot {slot}"


def _texts(kind, what):
    found = set()
    for entry in names.lineage(kind):
        if what == "signals":
            found.update(entry.signals)
        else:
            found.update(f"{f.name}({','.join(f.types)})" for forms in entry.methods.values() for f in forms)
            found.update(entry.hidden_slots)
    cls = _qt_class(names.qt_base(kind) if names.class_names(kind) else kind)
    meta = cls.staticMetaObject if cls is not None else None
    for place in range(meta.methodCount() if meta is not None else 0):
        method = meta.method(place)
        if (method.methodType() == QtCore.QMetaMethod.Signal) == (what == "signals"):
            found.add(bytes(method.methodSignature()).decode())
    return found


class _Custom(types.ModuleType):
    """Stands for the headers that a .ui names: PyQt5's loader imports classes from it."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return implementation(name)


def build(text: str, file: str = "") -> QtWidgets.QWidget:
    """The widget that a .ui file describes; raises WrongUse for what QUiLoader would lose."""
    tree = ET.fromstring(text)
    problems = check(tree, file)
    if problems:
        raise errors.WrongUse(f"{file}: " + "; ".join(problems))
    plain, postponed, connections = copy.deepcopy(tree), [], []
    for element in plain.iter("widget"):
        if names.class_names(element.get("class")) is not None:
            for entry in element.findall("property"):
                if any(entry.get("name") in e.properties for e in names.lineage(element.get("class"))):
                    postponed.append((element.get("name"), entry))
                    element.remove(entry)
    for section in plain.findall("connections"):
        connections = list(section)
        plain.remove(section)
    for section in plain.findall("customwidgets"):
        for custom in section:
            custom.find("header").text = "host.custom_widgets"
            custom.find("header").attrib.pop("location", None)
    sys.modules["host.custom_widgets"] = _Custom("host.custom_widgets")
    here = os.getcwd()
    try:
        if file:
            os.chdir(os.path.dirname(os.path.abspath(file)))  # pictures are named relative to the file
        widget = uic.loadUi(io.StringIO(ET.tostring(plain, encoding="unicode")))
    finally:
        os.chdir(here)
    by_name = {w.objectName(): w for w in [widget, *widget.findChildren(QtCore.QObject)]}
    for name, entry in postponed:
        _set(by_name[name], entry)
    for connection in connections:
        _connect(connection, by_name)
    return widget


def _set(thing, entry):
    name, value = entry.get("name"), entry[0]
    member_kind = next(e.properties[name][0] for e in names.lineage(type(thing).HOST_CLASS) if name in e.properties)
    converted = {
        "string": lambda: value.text or "",
        "bool": lambda: value.text == "true",
        "number": lambda: int(value.text),
        "double": lambda: float(value.text),
        "stringlist": lambda: [s.text or "" for s in value],
    }.get(value.tag)
    if converted is not None:
        result = converted()
    elif value.tag in ("enum", "set"):
        result = _enum(type(thing).HOST_CLASS, value.text)
    else:
        result = uic_properties.Properties(None, QtCore, QtGui, QtWidgets).convert(entry)
    if member_kind in ("double", "float") and isinstance(result, int):
        result = float(result)
    if not kinds.fits(result, member_kind):
        raise errors.WrongUse(f"property {name} of {thing.objectName()} is a {member_kind}, the file gives {value.tag}")
    setattr(wrap(thing), name, wrap(result))


def _enum(owner, text):
    total = 0
    for part in text.split("|"):
        key = part.split("::")[-1]
        for entry in names.lineage(owner):
            hits = [values[key] for values in entry.enums.values() if key in values]
            if hits:
                total |= hits[0]
                break
        else:
            cls = _qt_class(part.split("::")[0]) or QtCore.QDir  # ctkPathLineEdit's filters are those of QDir, and flags only
            total |= int(getattr(cls, key))
    return total


def _connect(connection, by_name):
    sender, receiver = wrap(by_name[connection.findtext("sender")]), wrap(by_name[connection.findtext("receiver")])
    receivers.connect(sender, connection.findtext("signal"), slot_by_text(receiver, connection.findtext("slot")))


class QUiLoader:
    """``qt.QUiLoader().load(file)``."""

    def load(self, file, parent=None):
        return wrap(build(bytes(file._host_object.readAll()).decode(), file._host_object.fileName()))
