"""Which widgets ``connectGui`` takes for which type: exact types only, as Slicer's guiConnectors compare them."""

from __future__ import annotations

import enum

from .parameters import (
    PATHS,
    Choice,
    Decimals,
    Maximum,
    Minimum,
    SingleStep,
    WithinRange,
    findFirstAnnotation,
    getNodeTypes,
    isNodeOrUnionOfNodes,
    splitAnnotations,
)


class Connector:
    """One widget bound to one member."""

    def __init__(self, widget, signal, read, write):
        self.widget, self.signal, self.read, self.write, self._callback = widget, signal, read, write, None

    def connect(self, callback):
        self._callback = callback
        if self.signal:
            getattr(self.widget, self.signal).connect(callback)

    def disconnect(self):
        if self.signal and self._callback is not None:
            getattr(self.widget, self.signal).disconnect(self._callback)
        self._callback = None


def _value(widget, name, signal):
    return Connector(widget, signal, lambda: getattr(widget, name), lambda value: setattr(widget, name, value))


def _bounds(annotations):
    within = findFirstAnnotation(annotations, WithinRange)
    low, high = findFirstAnnotation(annotations, Minimum), findFirstAnnotation(annotations, Maximum)
    if within is not None:
        return within.minimum, within.maximum
    return (low.minimum if low else None), (high.maximum if high else None)


def _number(widget, kind, annotations, sliders, whole):
    low, high = _bounds(annotations)
    if type(widget) in sliders and None in (low, high):
        raise RuntimeError(f"Cannot have a connection to {type(widget).__name__} where the type is unbounded.")
    step = findFirstAnnotation(annotations, SingleStep)
    if step is not None:
        widget.singleStep = step.value
    decimals = findFirstAnnotation(annotations, Decimals)
    if not whole and type(widget).__name__ != "ctkDoubleSlider":
        if kind is int:
            widget.decimals = 0
        elif decimals is not None:
            widget.decimals = decimals.value
    ends = (-(2**31), 2**31 - 1) if whole else (float("-inf"), float("inf"))
    widget.minimum = ends[0] if low is None else low
    widget.maximum = ends[1] if high is None else high
    return Connector(widget, "valueChanged", lambda: kind(widget.value), lambda value: setattr(widget, "value", kind(value)))


def _choices(widget, kind, annotations):
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        label = getattr(kind, "label", lambda member: member.name)
        pairs = [(label(member), member) for member in kind]
        # Slicer reads the old selection first, so a box that is still empty fails here as it does there: list index -1 is the last
    else:
        choice = findFirstAnnotation(annotations, Choice)
        if choice is None:
            raise RuntimeError("ComboBoxToStringableConnector requires the Choice annotation to be used.")
        pairs = [(str(c), c) for c in choice.choices]
    widget.clear()
    for text, _ in pairs:
        widget.addItem(text)

    def write(value):
        places = [i for i, (_, c) in enumerate(pairs) if c == value]
        if not places:
            raise ValueError(f"Unable to find value {value} in choices {[c for _, c in pairs]}")
        widget.currentIndex = places[0]

    return Connector(widget, "currentIndexChanged", lambda: pairs[widget.currentIndex][1], write)


def connector_for(widget, datatype) -> Connector:
    """The connector, or the RuntimeError that Slicer raises."""
    import ctk
    import qt
    import slicer

    kind, annotations = splitAnnotations(datatype)
    exact = type(widget)
    if kind is bool and exact in (qt.QCheckBox, ctk.ctkCheckBox):
        return _value(widget, "checked", "stateChanged")
    if kind is bool and exact in (qt.QPushButton, ctk.ctkCheckablePushButton):
        widget.checkable = True
        return _value(widget, "checked", "toggled")
    if kind is int and exact in (qt.QSlider, qt.QSpinBox):
        return _number(widget, kind, annotations, (qt.QSlider,), True)
    if kind in (int, float) and exact in (
        qt.QDoubleSpinBox,
        ctk.ctkSliderWidget,
        slicer.qMRMLSliderWidget,
        ctk.ctkDoubleSlider,
        ctk.ctkDoubleSpinBox,
        slicer.qMRMLSpinBox,
    ):
        return _number(widget, kind, annotations, (ctk.ctkSliderWidget, slicer.qMRMLSliderWidget), False)
    if exact in (qt.QComboBox, ctk.ctkComboBox) and (
        kind in (int, float, str, bool) or (isinstance(kind, type) and issubclass(kind, enum.Enum))
    ):
        return _choices(widget, kind, annotations)
    if kind is str and exact is qt.QLineEdit:

        def write(value):
            if value != widget.text:
                widget.text = value

        return Connector(widget, "textChanged", lambda: widget.text, write)
    if kind is str and exact is qt.QLabel:
        return _value(widget, "text", None)
    if kind is str and exact is qt.QTextEdit:
        return Connector(widget, "textChanged", widget.toPlainText, widget.setPlainText)
    for name, attribute, signal in (
        ("ctkPathLineEdit", "currentPath", "currentPathChanged"),
        ("ctkDirectoryButton", "directory", "directoryChanged"),
    ):
        if kind in PATHS and exact is getattr(ctk, name):
            return Connector(
                widget,
                signal,
                lambda a=attribute: kind(getattr(widget, a)),
                lambda value, a=attribute: setattr(widget, a, str(value)),
            )
    if exact is slicer.qMRMLNodeComboBox and isNodeOrUnionOfNodes(datatype):
        widget.nodeTypes = getNodeTypes(datatype)
        return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"Unable to create GUI connector from datatype '{datatype}' to widget type '{type(widget)}'.")
