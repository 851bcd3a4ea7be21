"""``slicer.modules``: core modules with their logics, and scripted modules loaded from a file."""

from __future__ import annotations

import importlib.util
import os
import sys
import types

import slicer
from PyQt5 import QtCore, QtGui, QtWidgets

from . import errors, names, receivers
from .indexclasses import implements
from .wrapping import wrap


@implements("qSlicerAbstractCoreModule")
class AbstractCoreModule(QtCore.QObject):
    """Name, logic, scene of a module."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.name, self._title, self._core = "", "", None

    @property
    def title(self):
        return self._title or self.name

    @property
    def defaultDocumentationLink(self):
        url = f"https://slicer.readthedocs.io/en/5.12/user_guide/modules/{self.name.lower()}.html"
        return f'<p>For more information see the <a href="{url}">online documentation</a>.</p>'

    def logic(self):
        return self._core.module_logics.get(self.name)

    def mrmlScene(self):
        return self._core.scene


@implements("qSlicerAbstractModule")
class AbstractModule(AbstractCoreModule):
    """Level of inheritance of the index."""

    def widgetRepresentation(self):
        raise errors.missing(self.name, "widgetRepresentation")


@implements("qSlicerLoadableModule")
class LoadableModule(AbstractModule):
    """A C++ module: the host has its logic, not its panel."""


@implements("qSlicerAbstractModuleWidget")
class AbstractModuleWidget(QtWidgets.QWidget):
    """Level of inheritance of the index."""

    isEntered = False


@implements("qSlicerScriptedLoadableModuleWidget")
class ScriptedModuleWidget(AbstractModuleWidget):
    """The panel of a scripted module: owns the Python object of class XWidget."""

    def __init__(self, parent=None):
        super().__init__(parent)
        QtWidgets.QVBoxLayout(self)
        self._python, self._module, self._scene = None, None, None

    def make(self, module):
        """Construct the Python widget class, as setPythonSource does, without setup()."""
        self._module = module
        self._scene = slicer.mrmlScene
        name = module.name + "Widget"
        self.setObjectName(module.name + "ModuleWidget")
        self._python = getattr(sys.modules[module.name], name)(wrap(self))
        setattr(slicer.modules, name, self._python)

    @property
    def moduleName(self):
        return self._module.name

    def self(self):
        return self._python

    def module(self):
        return self._module

    def reload(self):
        self.make(self._module)
        self._python.setup()

    def setMRMLScene(self, scene):
        self._scene = scene
        receivers.emit(self, "mrmlSceneChanged(vtkMRMLScene*)", scene)

    def enter(self):
        self.isEntered = True
        self._call("enter")

    def exit(self):
        self.isEntered = False
        self._call("exit")

    def _call(self, name):
        method = getattr(self._python, name, None)
        if method is not None:
            try:
                method()
            except Exception as error:
                errors.record(error)


@implements("qSlicerScriptedLoadableModule")
class ScriptedModule(LoadableModule):
    """A module made of one Python file."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.path, self._panel, self.python = "", None, None
        self.categories, self.dependencies, self.contributors, self.associatedNodeTypes = [], [], [], []
        self.helpText = self.acknowledgementText = ""
        self.icon, self.hidden, self.index, self._title = QtGui.QIcon(), False, -1, ""

    @property
    def title(self):
        return self._title

    @title.setter
    def title(self, text):
        self._title = text

    def logic(self):
        return None

    def widgetRepresentation(self):
        if self._panel is None:
            self._panel = ScriptedModuleWidget()
            self._panel.make(self)
            self._panel.self().setup()
        return self._panel

    def createNewWidgetRepresentation(self):
        panel = ScriptedModuleWidget()
        panel.make(self)
        panel.self().setup()
        return panel

    @property
    def panel(self):
        return self._panel


class Modules(types.ModuleType):
    """``slicer.modules``: lower-cased names of modules that exist, nothing else."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        known = names.module_names().get(name)
        if known is not None:
            raise errors.missing("slicer.modules", name)
        raise errors.NotInSlicer(f"slicer.modules has no {name!r} (a module's attribute is its lower-cased name)")


def core_modules(core, manager) -> dict[str, LoadableModule]:
    """The C++ modules of which the host has the logic."""
    made = {}
    for name in core.module_logics:
        module = LoadableModule()
        module.name, module._core = name, core
        made[name.lower()] = module
        manager.loaded[name] = module
    return made


def load_scripted(path, core, manager) -> ScriptedModule:
    """Load X.py as Slicer does: run the file, construct class X with its module object as parent."""
    path = os.path.abspath(path)
    name = os.path.splitext(os.path.basename(path))[0]
    if os.path.dirname(path) not in sys.path:
        sys.path.insert(0, os.path.dirname(path))
    spec = importlib.util.spec_from_file_location(name, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[name] = source
    spec.loader.exec_module(source)
    module = ScriptedModule()
    module.name, module.path, module._core = name, path, core
    module.python = getattr(source, name)(wrap(module))
    setattr(slicer.modules, name.lower(), wrap(module))
    setattr(slicer.modules, name + "Instance", module.python)
    setattr(slicer.moduleNames, name, name)
    manager.add(name, module)
    return module
