"""Connections: ``connect("name(types)", callable)``, argument dropping as PythonQt does it, failures recorded."""

from __future__ import annotations

import inspect
import types
import weakref

from PyQt5 import QtCore, sip

from . import errors, names
from .wrapping import BoundMethod, Wrapper, unwrap, wrap

_alive: dict[int, object] = {}  # objects that C++ owns and that have connections: PyQt5's handle must not go


def argument_limit(handler) -> int | None:
    """How many signal arguments PythonQt passes on; None: all of them (partials, callable objects, ``*args``)."""
    method = inspect.ismethod(handler)
    function = handler.__func__ if method else handler
    if not isinstance(function, types.FunctionType) or function.__code__.co_flags & inspect.CO_VARARGS:
        return None
    return function.__code__.co_argcount - (1 if method else 0)  # defaults count: they are overwritten


def call_handler(handler, arguments):
    """Call a slot as PythonQt would; an exception is recorded and does not reach Qt."""
    limit = argument_limit(handler)
    if limit is not None:
        arguments = arguments[:limit]
    try:
        if isinstance(handler, BoundMethod):
            _fitting(handler, arguments)
        else:
            handler(*arguments)
    except Exception as error:
        errors.record(error)


def _fitting(handler, arguments):
    """A C++ slot takes as many of the signal's arguments as it has."""
    for count in range(len(arguments), -1, -1):
        try:
            return handler(*arguments[:count])
        except TypeError:
            if count == 0:
                raise
    return None


def qt_signals(thing: QtCore.QObject) -> dict[str, str]:
    """Signature -> name of the signals in an object's Qt meta-object."""
    meta = thing.metaObject()
    found = {}
    for place in range(meta.methodCount()):
        method = meta.method(place)
        if method.methodType() == QtCore.QMetaMethod.Signal:
            found[bytes(method.methodSignature()).decode()] = bytes(method.name()).decode()
    return found


def signatures(wrapper: Wrapper) -> list[str]:
    """Every signal of the wrapper's class that may stand in a connect string."""
    listed = [s for entry in names.lineage(type(wrapper)._host_generated.__name__) for s in entry.signals]
    thing = wrapper._host_object
    return listed + [s for s in qt_signals(thing) if s not in listed and not s.startswith("host_")]


def _index_signal(wrapper, signature) -> bool:
    return any(signature in entry.signals for entry in names.lineage(type(wrapper)._host_generated.__name__))


def _pyqt_signal(thing, signature):
    """PyQt5's bound signal for a signature, and how many arguments the signature has."""
    form = names.parse(signature)
    signal = getattr(thing, form.name)
    for types_ in (form.types, *_longer(thing, form)):
        try:
            key = types_[0] if len(types_) == 1 else tuple(types_)
            return (signal[key] if types_ else signal), len(form.types)
        except (KeyError, TypeError):
            continue
    return signal, len(form.types)


def _longer(thing, form):
    for text in qt_signals(thing):
        other = names.parse(text)
        if other.name == form.name and len(other.types) > len(form.types) and other.types[: len(form.types)] == form.types:
            yield other.types


def _records(thing):
    if not sip.ispyowned(thing) and id(thing) not in _alive:
        key = id(thing)
        _alive[key] = thing
        thing.destroyed.connect(lambda *_: _alive.pop(key, None))
    return thing.__dict__.setdefault("_host_connections", [])


def connect(wrapper, signature, handler) -> bool:
    """Connect a callable; a signature that does not match exactly raises (Slicer prints and returns False)."""
    if not isinstance(signature, str):
        raise errors.WrongUse("connect: the signal is a string such as 'clicked(bool)'")
    if not callable(handler):
        raise errors.WrongUse(f"connect({signature!r}): {handler!r} is not callable")
    if signature not in signatures(wrapper):
        same = [s for s in signatures(wrapper) if s.split("(")[0] == signature.split("(")[0]]
        raise errors.NotInSlicer(
            f"{type(wrapper).__name__} has no signal {signature!r}" + (f"; it has {', '.join(same)}" if same else "")
        )
    thing = wrapper._host_object
    entry = {"signature": signature, "handler": handler, "slot": None, "signal": None}
    if not _index_signal(wrapper, signature):
        signal, count = _pyqt_signal(thing, signature)
        entry["slot"] = lambda *arguments: call_handler(handler, [wrap(a) for a in arguments[:count]])
        entry["signal"] = signal
        signal.connect(entry["slot"])
    _records(thing).append(entry)
    return True


def disconnect(wrapper, signature=None, handler=None) -> bool:
    """Undo :func:`connect`; False when there was no such connection."""
    thing, found = wrapper._host_object, False
    if signature is not None and signature not in signatures(wrapper):
        raise errors.NotInSlicer(f"{type(wrapper).__name__} has no signal {signature!r}")
    records = _records(thing)
    for entry in list(records):
        if (signature is None or entry["signature"] == signature) and (handler is None or entry["handler"] == handler):
            if entry["signal"] is not None:
                entry["signal"].disconnect(entry["slot"])
            records.remove(entry)
            found = True
    return found


def emit(thing: QtCore.QObject, signature: str, *arguments) -> None:
    """Emit a signal of an index class from the host's implementation of it."""
    owner = type(thing).HOST_CLASS
    if not any(signature in entry.signals for entry in names.lineage(owner)):
        raise AssertionError(f"the host emits {signature!r}, which {owner} does not have")
    if thing.signalsBlocked():
        return
    count = len(names.parse(signature).types)
    for entry in list(thing.__dict__.get("_host_connections", ())):
        if entry["signature"] == signature:
            call_handler(entry["handler"], [wrap(a) for a in arguments[:count]])


class SignalName:
    """Descriptor of a signal: ``button.clicked.connect(f)``, ``button.clicked()`` emits."""

    def __init__(self, name):
        self.name = name

    def __get__(self, wrapper, owner=None):
        return self if wrapper is None else BoundSignal(wrapper, self.name)


class BoundSignal:
    """One signal of one object."""

    def __init__(self, wrapper, name):
        self._wrapper, self._name = wrapper, name

    def _signature(self, count=None):
        """The longest form; forms of the same length with other types need the connect string."""
        forms = [names.parse(s) for s in signatures(self._wrapper) if s.split("(")[0] == self._name]
        if count is not None:
            forms = [f for f in forms if len(f.types) == count]
        longest = max((len(f.types) for f in forms), default=0)
        forms = [f for f in forms if len(f.types) == longest]
        if not forms:
            raise errors.WrongUse(f"{self._name} takes no {count} arguments")
        return f"{self._name}({','.join(forms[0].types)})"

    def connect(self, handler):
        if argument_limit(handler) != 0 and self._is_ambiguous():
            raise errors.WrongUse(f"{self._name} has several forms: name one, connect('{self._signature()}', ...)")
        return connect(self._wrapper, self._signature(), handler)

    def _is_ambiguous(self):
        forms = [names.parse(s) for s in signatures(self._wrapper) if s.split("(")[0] == self._name]
        longest = max(len(f.types) for f in forms)
        return sum(len(f.types) == longest for f in forms) > 1

    def disconnect(self, handler=None):
        return disconnect(self._wrapper, self._signature(), handler)

    def __call__(self, *arguments, **keywords):
        if keywords:
            raise errors.WrongUse(f"{self._name}: PythonQt takes no keyword arguments")
        signature = self._signature(len(arguments))
        if _index_signal(self._wrapper, signature):
            emit(self._wrapper._host_object, signature, *[unwrap(a) for a in arguments])
        else:
            _pyqt_signal(self._wrapper._host_object, signature)[0].emit(*[unwrap(a) for a in arguments])

    def __getattr__(self, name):
        raise errors.NotInSlicer(f"a PythonQt signal has connect, disconnect and the call, no {name!r}")


def observe(widget, thing, event, method) -> int:
    """Call a method of a widget at an event of a VTK object, until the widget is gone."""
    holder = weakref.ref(widget)

    def call(*_):
        owner = holder()
        if owner is None or sip.isdeleted(owner):
            thing.RemoveObserver(tag)
        else:
            getattr(owner, method)()

    tag = thing.AddObserver(event, call)
    return tag
