"""PythonQt's wrappers, over PyQt5: properties are values, unknown names raise, signals connect by signature.

A wrapper holds one PyQt5 object; everything that crosses the border is wrapped on the way out and unwrapped on the way in, so that
module code never sees PyQt5. Classes of wrappers are made by ``qtclasses`` (Qt's own) and ``indexclasses`` (Slicer's and CTK's).
"""

from __future__ import annotations

import enum
import weakref

from PyQt5 import QtCore, QtWidgets, sip

from . import errors

_PLAIN = (str, bytes, bool, int, float, type(None), enum.Enum)


class WrapperType(type):
    """Metaclass of all wrappers: closed classes, checked subclasses, enums and static methods by name."""

    def __new__(meta, name, bases, space, generated=False):
        cls = super().__new__(meta, name, bases, {**space, "__slots__": ()} if generated else space)
        if generated:
            cls._host_generated = cls
        elif bases and getattr(bases[0], "_host_generated", None) is not None:
            cls._host_generated._host_check_subclass(cls)
        return cls

    def __init__(cls, name, bases, space, generated=False):
        super().__init__(name, bases, space)

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        if name.endswith("_") and not name.endswith("__"):
            return getattr(cls, name[:-1])
        raise errors.NotInSlicer(f"Slicer has no {cls.__name__}.{name}{cls._host_why_not(name)}")

    def __setattr__(cls, name, value):
        if cls.__dict__.get("_host_generated") is cls and not name.startswith("_host"):
            raise errors.WrongUse(f"{cls.__name__}.{name} cannot be set: the class belongs to C++")
        super().__setattr__(name, value)

    def __instancecheck__(cls, thing):
        if cls._host_kind == "qt" and getattr(type(thing), "_host_kind", "") == "index" and cls._host_generated is cls:
            raise errors.WrongUse(
                f"isinstance({type(thing).__name__}, qt.{cls.__name__}) is not reliable in Slicer: ask isWidgetType() or inherits()"
            )
        return super().__instancecheck__(thing)


class Wrapper(metaclass=WrapperType):
    """A Python-side handle of one C++ object."""

    __slots__ = ("__weakref__", "_host_object")
    _host_kind = "none"
    _host_generated = None

    @classmethod
    def _host_check_subclass(cls, subclass):
        """Called when Python code derives from the class."""

    @classmethod
    def _host_why_not(cls, name):
        return ""

    @classmethod
    def _host_construct(cls, wrapper, arguments):
        raise NotImplementedError

    def __init__(self, *arguments, **keywords):
        if keywords:
            raise errors.WrongUse(f"{type(self).__name__}: PythonQt takes no keyword arguments ({', '.join(keywords)})")
        made = type(self)._host_generated._host_construct(self, [unwrap(a) for a in arguments])
        attach(self, made)

    def __getattr__(self, name):
        if name == "_host_object":
            raise RuntimeError(f"{type(self).__name__}.__init__ was not called: there is no C++ object behind it")
        if name.startswith("__"):
            raise AttributeError(name)
        thing = self._host_object
        if isinstance(thing, QtCore.QObject):
            if name.encode() in [bytes(n) for n in thing.dynamicPropertyNames()]:
                return wrap(thing.property(name))
            child = thing.findChild(QtCore.QObject, name, QtCore.Qt.FindDirectChildrenOnly)
            if child is not None:
                return wrap(child)
        if name.endswith("_") and len(name) > 1:
            return getattr(self, name[:-1])
        generated = type(self)._host_generated
        raise errors.NotInSlicer(f"Slicer's {generated.__name__} has no {name!r} for Python{generated._host_why_not(name)}")

    def __setattr__(self, name, value):
        if name.startswith("_host_"):
            object.__setattr__(self, name, value)
            return
        member = find_member(type(self)._host_generated, name)
        if isinstance(member, PropertyName):
            member.write(self, value)
        elif member is not None:
            raise errors.WrongUse(f"{type(self).__name__}.{name} is a method or signal and cannot be overwritten")
        elif isinstance(self._host_object, QtCore.QObject) and name.encode() in [
            bytes(n) for n in self._host_object.dynamicPropertyNames()
        ]:
            self._host_object.setProperty(name, unwrap(value))
        elif type(self) is type(self)._host_generated:
            raise errors.NotInSlicer(f"{type(self).__name__} has no {name!r} to write{type(self)._host_why_not(name)}")
        else:
            object.__setattr__(self, name, value)

    def __eq__(self, other):
        return isinstance(other, Wrapper) and bool(self._host_object == other._host_object)

    def __hash__(self):
        thing = self._host_object
        return hash(sip.unwrapinstance(thing)) if isinstance(thing, QtCore.QObject) else hash(thing)

    def __repr__(self):
        return f"{type(self).__name__} ({type(self)._host_generated.__name__} at {hex(id(self))})"

    def __bool__(self):
        return True


def _operator(name):
    def operate(self, *others):
        method = getattr(type(self._host_object), name, None)
        if method is None:
            return NotImplemented
        return wrap(method(self._host_object, *[unwrap(o) for o in others]))

    operate.__name__ = name
    return operate


for _name in (
    "__add__",
    "__sub__",
    "__mul__",
    "__truediv__",
    "__neg__",
    "__or__",
    "__and__",
    "__lt__",
    "__le__",
    "__gt__",
    "__ge__",
):
    setattr(Wrapper, _name, _operator(_name))  # Wrapper itself is not marked as generated, so it may be completed


class PropertyName:
    """A Qt property: a value. Data descriptor."""

    def __init__(self, name, kind, writable):
        self.name, self.kind, self.writable = name, kind, writable

    def __get__(self, wrapper, owner=None):
        return self if wrapper is None else wrap(self.read(wrapper))

    def __set__(self, wrapper, value):
        self.write(wrapper, value)

    def read(self, wrapper):
        raise NotImplementedError

    def write(self, wrapper, value):
        raise NotImplementedError

    def check_writable(self, wrapper):
        if not self.writable:
            raise errors.WrongUse(f"{type(wrapper).__name__}.{self.name} is read-only")


class BoundMethod:
    """A method of a wrapper, ready to call. Equal to another one of the same object and name."""

    def __init__(self, owner, name, call):
        self._owner, self.__name__, self._call = owner, name, call

    def __call__(self, *arguments, **keywords):
        if keywords:
            raise errors.WrongUse(f"{self.__name__}: PythonQt takes no keyword arguments ({', '.join(keywords)})")
        return wrap(self._call(*[unwrap(a) for a in arguments]))

    def __eq__(self, other):
        return isinstance(other, BoundMethod) and (self._owner, self.__name__) == (other._owner, other.__name__)

    def __hash__(self):
        return hash((self._owner, self.__name__))

    def __getattr__(self, name):
        raise errors.WrongUse(f"{self.__name__} is a method: {name!r} of it does not exist")


def find_member(cls, name):
    """The descriptor or value that the class or its bases hold under the name."""
    for base in cls.__mro__:
        if name in base.__dict__ and base not in (Wrapper, object):
            return base.__dict__[name]
    return None


def truth(value, kind: str):
    """What a bool property makes of a value: a node or None will do (``button.enabled = selector.currentNode()``)."""
    return bool(value) if kind == "bool" and not isinstance(value, (str, bytes)) else value


def unwrap(value):
    """What PyQt5 takes in place of a wrapper; containers are copied."""
    if isinstance(value, _PLAIN):
        return value
    if issubclass(type(value), Wrapper):
        return value._host_object
    if type(value) in (list, tuple):
        return type(value)(unwrap(v) for v in value)
    if type(value) is dict:
        return {k: unwrap(v) for k, v in value.items()}
    if isinstance(value, sip.simplewrapper) and type(value).__name__.startswith("Q"):
        raise errors.WrongUse(f"{type(value).__name__} of PyQt5 reached module code: use the qt module")
    return value


def wrap(value):
    """What Slicer's Python sees in place of a PyQt5 value; lists of C++ arrive as tuples."""
    if isinstance(value, _PLAIN):
        return value
    if type(value) in (list, tuple):
        return tuple(wrap(v) for v in value)
    if type(value) is dict:
        return {k: wrap(v) for k, v in value.items()}
    if isinstance(value, sip.simplewrapper):
        held = value.__dict__.get("_host_wrapper") if isinstance(value, sip.wrapper) else None
        held = held() if isinstance(held, weakref.ref) else held
        if held is not None:
            return held
        cls = class_of(value)
        if cls is None:
            return value  # flags and other numbers
        made = cls.__new__(cls)
        attach(made, value)
        return made
    return value


def attach(wrapper, thing):
    """Tie a wrapper to its object; a Python subclass lives as long as the object does."""
    object.__setattr__(wrapper, "_host_object", thing)
    if isinstance(thing, sip.wrapper):
        derived = type(wrapper) is not type(wrapper)._host_generated
        thing._host_wrapper = wrapper if derived else weakref.ref(wrapper)


def class_of(thing):
    """The wrapper class for a PyQt5 object."""
    from . import indexclasses, qtclasses

    for cls in type(thing).__mro__:
        if "HOST_CLASS" in cls.__dict__:
            return indexclasses.index_class(cls.HOST_CLASS)
        if cls.__module__.startswith("PyQt5.") and cls.__name__.startswith("Q"):
            return qtclasses.qt_class(cls)
    return None


def qapplication() -> QtWidgets.QApplication:
    """The running application; widgets need one."""
    return QtWidgets.QApplication.instance()
