"""Wrapper classes of Qt's own classes, with the names of PyQt5's meta-objects, and the ``qt`` module."""

from __future__ import annotations

import functools
import types

from PyQt5 import QtCore, QtGui, QtNetwork, QtWidgets, sip

from . import errors, receivers
from .receivers import SignalName
from .wrapping import BoundMethod, PropertyName, Wrapper, WrapperType, attach, find_member, truth, unwrap, wrap

MODULES = (QtCore, QtGui, QtWidgets, QtNetwork)
# PyQt5's own additions, and classes that PythonQt's generator leaves out
ABSENT = {"QVariant", "QT_TR_NOOP", "QAbstractNativeEventFilter", "QMetaObject", "QGenericArgument", "QGenericReturnArgument"}
OUT_PARAMETERS = {"QFileDialog": ("getOpenFileName", "getSaveFileName", "getOpenFileNames")}


class QtProperty(PropertyName):
    """A property of a Qt class, read and written by its C++ functions."""

    def read(self, wrapper):
        thing = wrapper._host_object
        for getter in (self.name, f"is{self.name[0].upper()}{self.name[1:]}", f"has{self.name[0].upper()}{self.name[1:]}"):
            method = getattr(QtCore.QObject if self.name == "objectName" else type(thing), getter, None)
            if callable(method):
                return method(thing)
        return thing.property(self.name)

    def write(self, wrapper, value):
        self.check_writable(wrapper)
        thing, value = wrapper._host_object, truth(unwrap(value), self.kind)
        if self.kind == "QString" and not isinstance(value, str):
            raise errors.WrongUse(f"{type(wrapper).__name__}.{self.name} is a text, not {type(value).__name__}")
        setter = getattr(thing, f"set{self.name[0].upper()}{self.name[1:]}", None)
        if setter is not None:
            setter(value)
        elif not thing.setProperty(self.name, value):
            raise errors.WrongUse(f"{type(wrapper).__name__}.{self.name} does not take {value!r}")


class ObjectName(PropertyName):
    """``name``, PythonQt's other word for objectName."""

    def __init__(self):
        super().__init__("name", "QString", True)

    def read(self, wrapper):
        return wrapper._host_object.objectName()

    def write(self, wrapper, value):
        wrapper._host_object.setObjectName(value)


class QtMethod:
    """A method of a Qt class: PyQt5's overload resolution, PythonQt's rules for what may be passed."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name  # owner: the PyQt5 class

    def __get__(self, wrapper, cls=None):
        if wrapper is None:
            return UnboundMethod(self)
        return BoundMethod(wrapper, self.name, functools.partial(self._call, wrapper))

    def _call(self, wrapper, *arguments):
        self._check(arguments)
        derived = type(wrapper) is not type(wrapper)._host_generated
        target = (
            functools.partial(getattr(self.owner, self.name), wrapper._host_object)
            if derived
            else getattr(wrapper._host_object, self.name)
        )
        return self._result(target(*arguments))

    def call_static(self, arguments):
        """Called on the class: a static method, or an instance method with the instance first."""
        self._check(arguments)
        return self._result(getattr(self.owner, self.name)(*arguments))

    def _check(self, arguments):
        for argument in arguments:
            if isinstance(argument, (types.FunctionType, types.MethodType, types.BuiltinFunctionType, BoundMethod)):
                raise errors.WrongUse(f"{self.owner.__name__}.{self.name}: PythonQt takes no callable here; use connect")
        if None in arguments and self.owner.__name__ != "QSettings":
            place = [a is None for a in arguments].index(True)
            if place in _text_places(self.owner, self.name):
                raise errors.WrongUse(f"{self.owner.__name__}.{self.name}: None is no text")

    def _result(self, value):
        if isinstance(value, tuple):
            if self.name in OUT_PARAMETERS.get(self.owner.__name__, ()):
                return value[0]
            raise NotImplementedError(
                f"{self.owner.__name__}.{self.name} has output arguments: PythonQt returns them in another way"
            )
        return value


@functools.cache
def _text_places(owner, name) -> frozenset[int]:
    """Places of a method's arguments that are a text in every form that PyQt5's signatures list."""
    forms = [line for line in (getattr(owner, name).__doc__ or "").splitlines() if line.startswith(f"{name}(")]
    places = []
    for form in forms:
        arguments = [a for a in form[len(name) + 1 : form.rindex(")")].split(", ") if a and a != "self"]
        places.append({i for i, a in enumerate(arguments) if a.split(":")[-1].split("=")[0].strip() in ("str", "Optional[str]")})
    return frozenset(set.intersection(*places)) if places else frozenset()


class UnboundMethod:
    """``qt.QMessageBox.question(...)`` or ``qt.QWidget.event(self, event)``."""

    def __init__(self, member):
        self._member = member
        self.__name__ = member.name

    def __call__(self, *arguments, **keywords):
        if keywords:
            raise errors.WrongUse(f"{self.__name__}: PythonQt takes no keyword arguments ({', '.join(keywords)})")
        return wrap(self._member.call_static([unwrap(a) for a in arguments]))


class SingleShot:
    """``QTimer.singleShot(msec, callable)``; the property of that name is hidden."""

    def __get__(self, wrapper, owner=None):
        return self.call

    @staticmethod
    def call(*arguments, **keywords):
        if keywords or len(arguments) != 2 or not callable(arguments[1]):
            raise errors.WrongUse("QTimer.singleShot(msec, callable)")
        QtCore.QTimer.singleShot(arguments[0], functools.partial(receivers.call_handler, arguments[1], []))


def _object_method(name):
    """Methods that PythonQt adds to every QObject."""

    def connect(self, *arguments):
        if len(arguments) == 2:
            return receivers.connect(self, *arguments)
        if len(arguments) == 3 and isinstance(arguments[0], str) and isinstance(arguments[2], str):
            return receivers.connect(self, arguments[0], slot_by_text(arguments[1], arguments[2]))
        raise errors.WrongUse("connect(signal, callable) or connect(signal, receiver, slot)")

    def disconnect(self, *arguments):
        if len(arguments) == 3:
            return receivers.disconnect(self, arguments[0], slot_by_text(arguments[1], arguments[2]))
        return receivers.disconnect(self, *arguments)

    def property(self, name):
        member = find_member(type(self)._host_generated, name)
        return wrap(member.read(self)) if isinstance(member, PropertyName) else wrap(self._host_object.property(name))

    def setProperty(self, name, value):
        member = find_member(type(self)._host_generated, name)
        if isinstance(member, PropertyName):
            member.write(self, value)
            return True
        return self._host_object.setProperty(name, unwrap(value))

    def className(self):
        return type(self)._host_generated.__name__

    def inherits(self, name):
        from . import names

        own = type(self)._host_generated.__name__
        return any(e.name == name for e in names.lineage(own)) or self._host_object.inherits(name)

    def delete(self):
        thing = self._host_object
        sip.delete(thing)

    def _kind(kind):
        if not isinstance(kind, WrapperType):
            raise errors.WrongUse("findChild(type, name): the type is a class")
        return kind

    def findChildren(self, kind, name=""):
        _kind(kind)
        root = self._host_object
        pattern = unwrap(name)
        things = root.findChildren(QtCore.QObject, pattern) if pattern else root.findChildren(QtCore.QObject)
        return tuple(w for w in map(wrap, things) if wrapper_is(w, kind))

    def findChild(self, kind, name=""):
        found = findChildren(self, kind, name)
        return found[0] if found else None

    return locals()[name]


def wrapper_is(wrapper, kind) -> bool:
    """C++ inheritance, which Python's isinstance does not always show in Slicer."""
    return kind in type(wrapper).__mro__


def slot_by_text(receiver, text):
    """The slot ``name(types)`` of a receiver, as a callable; one that does not exist raises."""
    from . import names

    form = names.parse(text)
    name = type(receiver)._host_generated.__name__
    listed = [s for entry in names.lineage(name) for forms in entry.methods.values() for s in forms]
    listed_text = [f"{s.name}({','.join(s.types)})" for s in listed]
    meta = receiver._host_object.metaObject()
    own = [bytes(meta.method(i).methodSignature()).decode() for i in range(meta.methodCount())]
    if text not in listed_text + own:
        raise errors.NotInSlicer(f"{name} has no slot {text!r}")
    count = len(form.types)
    method = getattr(receiver, form.name) if find_member(type(receiver)._host_generated, form.name) else None
    if method is None:
        raise errors.NotInSlicer(f"{name} has no slot {text!r} that Python can reach")
    return SlotCall(method, count, text)


class SlotCall:
    """A C++ slot as the target of a connection."""

    def __init__(self, method, count, text):
        self.method, self.count, self.text = method, count, text

    def __call__(self, *arguments):
        return self.method(*arguments[: self.count])

    def __eq__(self, other):
        return isinstance(other, SlotCall) and (self.method, self.text) == (other.method, other.text)

    def __hash__(self):
        return hash((self.method, self.text))


STANDARD = ("connect", "disconnect", "property", "setProperty", "className", "inherits", "delete", "findChild", "findChildren")


class PlainFunction:
    """A method written in Python on the wrapper."""

    def __init__(self, function):
        self.function = function

    def __get__(self, wrapper, owner=None):
        return self.function if wrapper is None else _Standard(wrapper, self.function)


class _Standard:
    def __init__(self, wrapper, function):
        self._wrapper, self._function = wrapper, function
        self.__name__ = function.__name__

    def __call__(self, *arguments, **keywords):
        if keywords:
            raise errors.WrongUse(f"{self.__name__}: PythonQt takes no keyword arguments")
        return self._function(self._wrapper, *arguments)


class QtWrapper(Wrapper):
    """Base of the wrappers of Qt's own classes."""

    __slots__ = ()
    _host_kind = "qt"

    @classmethod
    def _host_why_not(cls, name):
        return ": that is PyQt5's, not PythonQt's" if name.startswith("pyqt") else ""

    @classmethod
    def _host_construct(cls, wrapper, arguments):
        derived = type(wrapper) is not cls
        made = shell_class(cls._host_qt, type(wrapper)) if derived else cls._host_qt
        return made(*arguments)


def _names_of(pyqt_class):
    """Methods, signals and enum values of one PyQt5 class itself."""
    dir(pyqt_class), hasattr(pyqt_class, "x")  # sip fills its classes when they are first asked
    space = dict(vars(pyqt_class))
    for base in pyqt_class.__bases__[1:]:
        if base.__name__.startswith("Q"):
            for name, value in _names_of(base).items():
                space.setdefault(name, value)
    return space


@functools.cache
def qt_class(pyqt_class) -> WrapperType:
    """The wrapper class of a PyQt5 class."""
    parent = pyqt_class.__bases__[0]
    base = qt_class(parent) if parent.__name__.startswith("Q") and parent.__module__.startswith("PyQt5.") else QtWrapper
    space = {"_host_qt": pyqt_class, "__doc__": pyqt_class.__doc__}
    properties = _properties(pyqt_class)
    inherited = {n for c in base.__mro__ for n, v in vars(c).items() if isinstance(v, PropertyName)}
    for name, value in _names_of(pyqt_class).items():
        if name.startswith(("_", "pyqt")) or name in properties or name in inherited:
            continue
        if isinstance(value, QtCore.pyqtSignal):
            space[name] = SignalName(name)
        elif type(value).__name__ in ("methoddescriptor", "builtin_function_or_method", "function"):
            space[name] = QtMethod(pyqt_class, name)
        elif isinstance(value, type) and value.__name__ == name and name.startswith("Q"):
            space[name] = _nested(value)
        else:
            space[name] = value
    space.update(properties)
    if pyqt_class is QtCore.QObject:
        space["name"] = ObjectName()
        space.update({name: PlainFunction(_object_method(name)) for name in STANDARD})
    if pyqt_class is QtCore.QTimer:
        space["singleShot"] = SingleShot()
    return WrapperType(pyqt_class.__name__, (base,), space, generated=True)


def _nested(value):
    return qt_class(value)


def _properties(pyqt_class):
    if not issubclass(pyqt_class, QtCore.QObject) or pyqt_class.staticMetaObject.className() != pyqt_class.__name__:
        return {}
    meta, found = pyqt_class.staticMetaObject, {}
    for place in range(meta.propertyOffset(), meta.propertyCount()):
        entry = meta.property(place)
        found[entry.name()] = QtProperty(entry.name(), entry.typeName(), entry.isWritable())
    return found


_shells: dict[tuple, type] = {}


def shell_class(pyqt_class, wrapper_class) -> type:
    """A PyQt5 subclass whose virtual methods call those that the Python subclass of the wrapper defines."""
    key = (pyqt_class, wrapper_class)
    if key not in _shells:
        defined = {
            n
            for c in wrapper_class.__mro__
            if c.__dict__.get("_host_generated") is not c and c is not Wrapper
            for n, v in vars(c).items()
            if isinstance(v, types.FunctionType) and not n.startswith("_") and not issubclass(Wrapper, c)
        }
        virtual = {n for n in defined if callable(getattr(pyqt_class, n, None))}
        _shells[key] = type(pyqt_class)(wrapper_class.__name__, (pyqt_class,), {n: _forward(pyqt_class, n) for n in virtual})
    return _shells[key]


def _forward(pyqt_class, name):
    def forward(self, *arguments):
        wrapper = self.__dict__.get("_host_wrapper")
        if wrapper is not None and not callable(wrapper):
            try:
                return unwrap(getattr(wrapper, name)(*[wrap(a) for a in arguments]))
            except Exception as error:
                errors.record(error)
        return getattr(pyqt_class, name)(self, *arguments)

    return forward


class QtModule(types.ModuleType):
    """``import qt``: every class of QtCore, QtGui, QtWidgets and QtNetwork by name, and ``Qt``."""

    def __getattr__(self, name):
        if name == "Qt":
            return QtCore.Qt
        if name.startswith("Q") and name not in ABSENT:
            for module in MODULES:
                found = getattr(module, name, None)
                if isinstance(found, type) and issubclass(found, (sip.simplewrapper,)):
                    made = qt_class(found)
                    setattr(self, name, made)
                    return made
        raise errors.NotInSlicer(
            f"the qt module has no {name!r}" + (": that is PyQt5's" if name.startswith(("pyqt", "sip")) else "")
        )


__all__ = ["QtModule", "QtWrapper", "attach", "qt_class", "shell_class", "slot_by_text", "wrapper_is"]
