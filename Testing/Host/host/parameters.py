"""``slicer.parameterNodeWrapper``: typed members kept in the module's parameter node, bound to widgets of exactly listed types.

Covers int, float, bool, str, paths, enums, MRML nodes and unions of them; other types raise NotImplementedError.
"""

from __future__ import annotations

import enum
import logging
import pathlib
import types
import typing

import slicer
import vtk

from . import errors, names

PATHS = (pathlib.Path, pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePath, pathlib.PurePosixPath, pathlib.PureWindowsPath)


class Default:
    """The default of a member: a value, or a function that makes one."""

    def __init__(self, value=None, *, generator=None):
        self._value, self._generator = value, generator

    @property
    def value(self):
        return self._generator() if self._generator else self._value


class Validator:
    """Base of the validators; ``validate(value)`` raises ValueError."""

    def validate(self, value):
        raise NotImplementedError


class NotNone(Validator):
    def validate(self, value):
        if value is None:
            raise ValueError("Value must not be None")


class IsInstance(Validator):
    def __init__(self, classtype):
        self.classtype = classtype

    def validate(self, value):
        if value is not None and not isinstance(value, self.classtype):
            raise TypeError(f"Value must be of type '{self.classtype}', is type '{type(value)}' value '{value}'")


class WithinRange(Validator):
    def __init__(self, minimum, maximum):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"Value must be within range [{self.minimum}, {self.maximum}], is {value}")


class Minimum(Validator):
    def __init__(self, minimum):
        self.minimum = minimum

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"Value must be greater than {self.minimum}, is {value}")


class Maximum(Validator):
    def __init__(self, maximum):
        self.maximum = maximum

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"Value must be greater than {self.maximum}, is {value}")


class Choice(Validator):
    def __init__(self, choices):
        self.choices = choices

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"Value is {value}, but must be in one of the following: {self.choices}")


class Exclude(Validator):
    def __init__(self, excludedValues):
        self.excludedValues = excludedValues

    def validate(self, value):
        if value in self.excludedValues:
            raise ValueError(f"Value is {value}, but must not be an excluded value: excluded values {self.excludedValues}")


class Decimals:
    def __init__(self, value):
        self.value = value


class SingleStep:
    def __init__(self, value):
        self.value = value


def splitAnnotations(kind):
    """A possibly annotated type and its annotations."""
    args = typing.get_args(typing.Annotated[kind, "stub"])
    return args[0], args[1:-1]


def unannotatedType(kind):
    return splitAnnotations(kind)[0]


def findFirstAnnotation(annotations, kind):
    return next((a for a in annotations if isinstance(a, kind)), None)


def _members_of_union(kind):
    return typing.get_args(kind) if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union else ()


def _is_node(kind):
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


def isNodeOrUnionOfNodes(kind):
    kind = unannotatedType(kind)
    members = _members_of_union(kind)
    return _is_node(kind) or (bool(members) and all(m is type(None) or _is_node(unannotatedType(m)) for m in members))


def getNodeTypes(kind):
    kind = unannotatedType(kind)
    if _is_node(kind):
        return (kind().GetClassName(),)
    return tuple(m().GetClassName() for m in map(unannotatedType, _members_of_union(kind)) if _is_node(m))


class _Member:
    """One annotated member: how it is written into a parameter node, checked and read back."""

    def __init__(self, name, annotated, owner):
        self.name, self.datatype = name, annotated
        self.kind, annotations = splitAnnotations(annotated)
        self.validators = [a for a in annotations if isinstance(a, Validator)]
        default = findFirstAnnotation(annotations, Default)
        unused = [a for a in annotations if not isinstance(a, (Validator, Default))]
        self.is_node = isNodeOrUnionOfNodes(annotated)
        scalar = self.kind in (int, float, bool, str, *PATHS) or (isinstance(self.kind, type) and issubclass(self.kind, enum.Enum))
        if not (scalar or self.is_node):
            raise NotImplementedError(f"parameterNodeWrapper member {name}: {annotated} is not among the host's types")
        if hasattr(owner, name):
            self.default = Default(getattr(owner, name))
        else:
            self.default = default or Default(self._first())
        if unused and not any(isinstance(a, (Decimals, SingleStep)) for a in unused):
            logging.warning(f"Unused annotations: {unused}")

    def _first(self):
        if self.is_node:
            return None
        return (
            next(iter(self.kind))
            if issubclass(self.kind, enum.Enum)
            else {int: 0, float: 0, bool: False, str: ""}.get(self.kind)
            if self.kind in (int, float, bool, str)
            else self.kind()
        )

    def validate(self, value):
        if self.is_node:
            allowed = tuple(m for m in (*_members_of_union(self.kind), self.kind) if _is_node(m))
            IsInstance(allowed).validate(value)
        else:
            NotNone().validate(value)
            IsInstance((int, float) if self.kind is float else self.kind).validate(value)
        for validator in self.validators:
            validator.validate(value)

    def write(self, node, name, value):
        self.validate(value)
        if self.is_node:
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    def read(self, node, name):
        if not node.HasParameter(name):
            self.write(node, name, self.default.value)
        if self.is_node:
            return node.GetNodeReference(name)
        text = node.GetParameter(name)
        if self.kind is bool:
            return text == "True"
        return self.kind[text] if isinstance(self.kind, type) and issubclass(self.kind, enum.Enum) else self.kind(text)


class _Wrapper:
    """The methods that a wrapped class gets."""

    def __init__(self, parameterNode, prefix=None):
        self.parameterNode, self._prefix, self._guis, self._observers, self._updating, self._next = (
            parameterNode,
            prefix or "",
            {},
            {},
            False,
            0,
        )
        for name, member in self.allParameters.items():
            if not parameterNode.HasParameter(self._prefix + name):
                member.write(parameterNode, self._prefix + name, member.default.value)

    def _member(self, name):
        if name not in self.allParameters:
            raise ValueError(f"Cannot find a param with the given name: {name}")
        return self.allParameters[name]

    def getValue(self, name):
        return self._member(name).read(self.parameterNode, self._prefix + name)

    def setValue(self, name, value):
        with slicer.util.NodeModify(self.parameterNode):
            self._member(name).write(self.parameterNode, self._prefix + name, value)

    def default(self, name):
        return self._member(name).default

    def isCached(self, name):
        self._member(name)
        return True

    def dataType(self, name):
        return self._member(name).datatype

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, was):
        return self.parameterNode.EndModify(was)

    def Modified(self):
        self.parameterNode.Modified()

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, gui):
        """Bind every widget whose dynamic property SlicerParameterName names a member."""
        import qt

        widgets = gui.findChildren(qt.QWidget) if getattr(gui, "isWidgetType", lambda: False)() else gui.__dict__.values()
        return self.connectParametersToGui(
            {w.property("SlicerParameterName"): w for w in widgets if w.property("SlicerParameterName")}
        )

    def connectParametersToGui(self, mapping):
        from .connectors import connector_for

        for name in mapping:
            self._member(name)
        connectors = {name: connector_for(widget, self.dataType(name)) for name, widget in mapping.items()}
        tag, self._next = self._next, self._next + 1
        self._guis[tag] = connectors
        for name, connector in connectors.items():
            connector.write(self.getValue(name))
            connector.connect(self._from_gui(name, connector))
        self._observers[tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._to_gui())
        return tag

    def _from_gui(self, name, connector):
        def changed():
            with slicer.util.NodeModify(self):
                if not self._updating:
                    self.setValue(name, connector.read())

        return changed

    def _to_gui(self):
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self):
                for connectors in self._guis.values():
                    for name, connector in connectors.items():
                        connector.write(self.getValue(name))
        finally:
            self._updating = False

    def disconnectGui(self, tag):
        for connector in self._guis.pop(tag, {}).values():
            connector.disconnect()
        if tag in self._observers:
            self.RemoveObserver(self._observers.pop(tag))


def parameterNodeWrapper(classtype=None):
    """Class decorator: members become properties that live in the parameter node."""

    def wrap(cls):
        members = {name: _Member(name, kind, cls) for name, kind in typing.get_type_hints(cls, include_extras=True).items()}
        for name in members:
            setattr(cls, name, property(lambda self, n=name: self.getValue(n), lambda self, value, n=name: self.setValue(n, value)))
        for name, value in vars(_Wrapper).items():
            if not name.startswith("__") or name == "__init__":
                if name != "__init__" and name in vars(cls):
                    raise ValueError(f"Cannot use reserved name '{name}' in a parameterNodeWrapper")
                setattr(cls, name, value)
        cls.allParameters = members
        cls._is_parameter_node_wrapper = True
        return cls

    return wrap if classtype is None else wrap(classtype)


def isParameterNodeWrapper(thing):
    return getattr(thing, "_is_parameter_node_wrapper", False)


def parameterPack(classtype=None):
    raise NotImplementedError("parameterPack exists in Slicer; the host does not implement it")


def __getattr__(name):
    """Names of Slicer's own wrapper that are not here say so."""
    listed = names.index()["parameterNodeWrapper"]
    if any(name in section.get(part, ()) for section in listed.values() for part in ("functions", "classes")):
        raise errors.missing("slicer.parameterNodeWrapper", name)
    raise AttributeError(f"module 'slicer.parameterNodeWrapper' has no attribute {name!r}")


SlicerParameterNamePropertyName = "SlicerParameterName"
__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Exclude",
    "IsInstance",
    "Maximum",
    "Minimum",
    "NotNone",
    "SingleStep",
    "SlicerParameterNamePropertyName",
    "Validator",
    "WithinRange",
    "findFirstAnnotation",
    "getNodeTypes",
    "isNodeOrUnionOfNodes",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
    "parameterPack",
    "splitAnnotations",
    "unannotatedType",
]
