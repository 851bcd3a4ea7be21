"""Wrapper classes of Slicer's and CTK's classes, with the names of the index; behaviour comes from registered implementations."""

from __future__ import annotations

import functools
import types

from PyQt5 import QtCore, QtGui, QtNetwork, QtWidgets

from . import errors, kinds, names
from .qtclasses import STANDARD, PlainFunction, QtWrapper, _object_method, qt_class
from .receivers import SignalName
from .wrapping import BoundMethod, PropertyName, Wrapper, WrapperType, find_member, truth, unwrap, wrap

_implementations: dict[str, type] = {}


def implements(name: str):
    """Class decorator: this PyQt5 class is what the host has for an index class."""

    def mark(cls):
        if names.class_names(name) is None:
            raise AssertionError(f"the index has no class {name}")
        cls.HOST_CLASS = name
        _implementations[name] = cls
        return cls

    return mark


def implementation(name: str) -> type:
    """The host's class for an index class, or NotImplementedError."""
    if name not in _implementations:
        raise NotImplementedError(f"{name} exists in Slicer; the host does not implement it")
    return _implementations[name]


def _own(thing, name):
    """Whether the implementation (not Qt below it) defines the member."""
    return name in vars(thing) or any(name in vars(c) for c in type(thing).__mro__ if c.__module__.startswith("host"))


class IndexProperty(PropertyName):
    """A property of an index class, a Python property of the implementation."""

    def read(self, wrapper):
        thing = wrapper._host_object
        if not _own(thing, self.name):
            raise errors.missing(type(wrapper)._host_generated.__name__, self.name)
        return getattr(thing, self.name)

    def write(self, wrapper, value):
        self.check_writable(wrapper)
        thing, value = wrapper._host_object, truth(unwrap(value), self.kind)
        owner = type(wrapper)._host_generated.__name__
        if not kinds.fits(value, self.kind):
            raise errors.WrongUse(f"{owner}.{self.name} is a {self.kind}, not {type(value).__name__}")
        if not _own(thing, self.name):
            raise errors.missing(owner, self.name)
        setattr(thing, self.name, value)


class IndexMethod:
    """A slot, invokable or decorated method: argument count and kinds must fit a listed overload."""

    def __init__(self, name, forms):
        self.name, self.forms = name, forms

    def __get__(self, wrapper, owner=None):
        if wrapper is None:
            return functools.partial(self._unbound, owner)
        return BoundMethod(wrapper, self.name, functools.partial(self.call, wrapper))

    def _unbound(self, owner, wrapper, *arguments):
        return wrap(self.call(wrapper, *[unwrap(a) for a in arguments]))

    def call(self, wrapper, *arguments):
        owner, thing = type(wrapper)._host_generated.__name__, wrapper._host_object
        kinds.pick(self.forms, arguments, owner, self.name)
        if not _own(thing, self.name):
            raise errors.missing(owner, self.name)
        return getattr(thing, self.name)(*arguments)


class StaticMethod(IndexMethod):
    """A static decorator: called on the class."""

    def __get__(self, wrapper, owner=None):
        return functools.partial(self._static, owner)

    def _static(self, owner, *arguments, **keywords):
        if keywords:
            raise errors.WrongUse(f"{self.name}: PythonQt takes no keyword arguments")
        arguments = [unwrap(a) for a in arguments]
        name = owner._host_generated.__name__
        kinds.pick(self.forms, arguments, name, self.name)
        cls = implementation(name)
        if not any(self.name in vars(c) for c in cls.__mro__ if c.__module__.startswith("host")):
            raise errors.missing(name, self.name)
        return wrap(getattr(cls, self.name)(*arguments))


class EnumScope:
    """``Class.Enum.Key``."""

    def __init__(self, owner, values):
        self._owner = owner
        self.__dict__.update(values)

    def __getattr__(self, name):
        raise errors.NotInSlicer(f"{self._owner} has no value {name!r}")


class IndexWrapper:
    """What wrappers of index classes have in common (mixed into their metaclass-made classes)."""

    @classmethod
    def _host_why_not(cls, name):
        for entry in names.lineage(cls._host_generated.__name__):
            if name in entry.newer:
                return f": newer than {names.index()['release']}"
            if name in {h.split("(")[0] for h in entry.hidden_slots}:
                return ": a protected slot, Python does not reach it"
        return ": C++ may have it, PythonQt shows only properties, signals, slots and invokables"

    @classmethod
    def _host_check_subclass(cls, subclass):
        for name, value in vars(subclass).items():
            if isinstance(value, types.FunctionType) and not name.startswith("__") and find_member(cls, name) is not None:
                raise errors.WrongUse(
                    f"{subclass.__name__}.{name} overrides {cls.__name__}.{name}: PythonQt never calls it; "
                    "use a signal or an event filter"
                )

    @classmethod
    def _host_construct(cls, wrapper, arguments):
        generated = cls._host_generated
        name = generated.__name__
        entry = names.class_names(name)
        if not entry.constructors:
            raise errors.WrongUse(f"{name} cannot be constructed from Python")
        kinds.pick(entry.constructors, arguments, name, name)
        return implementation(name)(*arguments)


@functools.cache
def index_class(name: str) -> WrapperType:
    """The wrapper class of an index class."""
    entry = names.class_names(name)
    base = _base_class(entry)
    space = {
        "_host_kind": "index",
        "__doc__": f"{name} of Slicer {names.index()['release']}",
        "_host_why_not": IndexWrapper.__dict__["_host_why_not"],
        "_host_check_subclass": IndexWrapper.__dict__["_host_check_subclass"],
        "_host_construct": IndexWrapper.__dict__["_host_construct"],
    }
    inherited = {n for c in base.__mro__ for n, v in vars(c).items() if isinstance(v, PropertyName)}
    for source in (entry, *[e for b in entry.bases[1:] for e in names.lineage(b)]):
        _fill(space, source, inherited, name)
    if base is QtWrapper:
        space.update({n: PlainFunction(_object_method(n)) for n in STANDARD if n not in space})
    return WrapperType(name, (base,), space, generated=True)


def _base_class(entry) -> WrapperType:
    if not entry.bases:
        return QtWrapper
    first = entry.bases[0]
    if names.class_names(first) is not None:
        return index_class(first)
    for module in (QtCore, QtGui, QtWidgets, QtNetwork):
        if isinstance(getattr(module, first, None), type):
            return qt_class(getattr(module, first))
    return qt_class(QtCore.QObject)


def _fill(space, entry, inherited, owner):
    def add(key, member):
        if key not in inherited:
            space.setdefault(key, member)

    for key, (kind, writable) in entry.properties.items():
        space.setdefault(key, IndexProperty(key, kind, writable))
    for key, forms in entry.statics.items():
        add(key, StaticMethod(key, forms))
    for key, forms in entry.methods.items():
        add(key, IndexMethod(key, forms))
    for text in entry.signals:
        add(text.split("(")[0], SignalName(text.split("(")[0]))
    for enum_name, values in entry.enums.items():
        numbers = {k: v for k, v in values.items() if v is not None}
        add(enum_name, EnumScope(f"{owner}.{enum_name}", numbers))
        for key, value in numbers.items():
            add(key, value)


class IndexModule(types.ModuleType):
    """``import ctk``, and the Qt half of ``import slicer``."""

    def __getattr__(self, name):
        entry = names.class_names(name)
        if entry is not None and entry.module == self.__name__:
            made = index_class(name)
            setattr(self, name, made)
            return made
        raise errors.NotInSlicer(f"module {self.__name__!r} has no {name!r}")


__all__ = ["IndexModule", "Wrapper", "implementation", "implements", "index_class"]
