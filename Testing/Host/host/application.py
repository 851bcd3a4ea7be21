"""The host's application: makes ``qt``, ``ctk`` and ``slicer`` what a module finds in Slicer 5.12, on real MRML."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import slicer
import vtk
from PyQt5 import QtCore, QtGui, QtWidgets

from . import core as core_module
from . import (  # noqa: F401  (they register what they implement)
    errors,
    helpers,
    hierarchy,
    iomanager,
    modules,
    names,
    qtclasses,
    slicerapp,
    uifile,
    widgets_ctk,
    widgets_mrml,
    widgets_segments,
    widgets_values,
)
from .indexclasses import IndexModule, index_class
from .mainwindow import AppMainWindow
from .wrapping import wrap

_current: Application | None = None

# Slicer's "Dark Slicer", by role of the palette; what it leaves out is as in the light style
DARK = {
    "Window": "#323232",
    "WindowText": "#ffffff",
    "Base": "#1e1e1e",
    "AlternateBase": "#323232",
    "ToolTipBase": "#ffffff",
    "ToolTipText": "#323232",
    "Text": "#ffffff",
    "Button": "#323232",
    "ButtonText": "#ffffff",
    "BrightText": "#ff0000",
    "Light": "#828284",
    "Midlight": "#5a5a5b",
    "Dark": "#232323",
    "Mid": "#2b2b2b",
    "Shadow": "#141414",
    "Highlight": "#3ca4ff",
    "HighlightedText": "#ffffff",
    "Link": "#3ca4ff",
}
DARK_DISABLED = {
    "WindowText": "#6d6d6d",
    "Text": "#6d6d6d",
    "ButtonText": "#b4b4b4",
    "Highlight": "#505050",
    "HighlightedText": "#6d6d6d",
}


class _SlicerModule(types.ModuleType):
    """``slicer`` with the Qt classes of the index; real MRML names stay as they are."""

    def __getattr__(self, name):
        entry = names.class_names(name)
        if entry is not None and entry.module == "slicer":
            made = index_class(name)
            setattr(self, name, made)
            return made
        raise errors.NotInSlicer(f"module 'slicer' has no {name!r}")


def install() -> None:
    """Put ``qt``, ``ctk`` and the host's half of ``slicer`` into sys.modules; done once, by ``import host``."""
    if isinstance(sys.modules.get("qt"), qtclasses.QtModule):
        return
    for name, value in list(vars(slicer).items()):
        if isinstance(value, types.ModuleType) and value.__name__.startswith("slicer_core."):
            sys.modules.setdefault(name, value)  # Slicer's Python imports vtkITK, MRMLCore ... without a package
    core_module.hide_newer_names()
    core_module.hide_other_spellings()
    errors.install_hook()
    qt = sys.modules["qt"] = qtclasses.QtModule("qt", "Qt as PythonQt shows it")
    qt.QUiLoader = uifile.QUiLoader
    for name in ("PythonQt", "PythonQt.QtCore", "PythonQt.QtGui", "PythonQt.QtNetwork", "PythonQt.QtUiTools"):
        sys.modules[name] = qt
    sys.modules["ctk"] = IndexModule("ctk", "CTK's widgets")
    slicer.__class__ = _SlicerModule
    for module_name, members in names.newer_python().items():
        for member in members:
            if hasattr(sys.modules[module_name], member):
                delattr(sys.modules[module_name], member)
    slicer.modules = sys.modules["slicer.modules"] = modules.Modules("slicer.modules")
    slicer.moduleNames = sys.modules["slicer.moduleNames"] = types.ModuleType("slicer.moduleNames")
    slicer.i18n = sys.modules["slicer.i18n"] = helpers.i18n_module()
    slicer.packaging = sys.modules["slicer.packaging"] = helpers.Packaging()
    sys.modules["SampleData"] = helpers.sample_data_module()
    from . import parameters, scripted

    slicer.ScriptedLoadableModule = sys.modules["slicer.ScriptedLoadableModule"] = scripted
    slicer.parameterNodeWrapper = sys.modules["slicer.parameterNodeWrapper"] = parameters


def current() -> Application:
    """The running application."""
    if _current is None:
        raise RuntimeError("no host.Application is running")
    return _current


class Application:
    """A running Slicer: scene, main window with views and module panel.

    Parameters: ``main_window`` False starts as ``--no-main-window`` does; ``testing`` answers every question box with its default
    for tests, as Slicer's ``--testing``; ``size`` of the window in pixels.
    """

    def __init__(self, main_window: bool = True, testing: bool = True, size: tuple[int, int] = (1280, 800)):
        global _current
        if _current is not None:
            _current.close()
        install()
        vtk.vtkObject.GlobalWarningDisplayOn()
        self.qapp = QtWidgets.QApplication.instance() or slicerapp.SlicerApplication(sys.argv[:1])
        slicerapp.CoreApplication.testing = testing
        self.qapp.setQuitOnLastWindowClosed(False)
        if self.qapp.platformName() == "offscreen":
            self.qapp.setFont(QtGui.QFont("DejaVu Sans", 9))  # the size of a desktop; offscreen's own default is larger
        self.core = core_module.Core()
        self.folder = slicerapp.private_folder()
        self.qapp.start(self.core, self.folder)
        self.scene = slicer.mrmlScene = self.core.scene
        slicer.app = wrap(self.qapp)
        slicer.dicomDatabase = slicer.app.dicomDatabase()
        database = self.qapp.dicomDatabase()
        database._folder = str(self.folder)
        sys.modules["DICOMLib"], sys.modules["DICOMLib.DICOMUtils"] = iomanager.dicom_utils_module(database)
        self.manager = self.qapp.moduleManager()
        for name in list(vars(slicer.modules)):
            if not name.startswith("_") and name != "sampleDataSources":
                delattr(slicer.modules, name)
        for name, module in modules.core_modules(self.core, self.manager).items():
            setattr(slicer.modules, name, wrap(module))
            setattr(slicer.moduleNames, module.name, module.name)
        self.hierarchy = hierarchy.Plugins(self.core.scene)
        self.window = None
        if main_window:
            self.window = AppMainWindow(self.qapp, self.core)
            self.window.resize(*size)
        _current = self

    def show(self):
        """Show the main window and let the views draw."""
        self.window.show()
        self.process()
        return self

    def set_dark(self, dark: bool):
        """Colours of the style "Dark Slicer" (`qSlicerDarkStyle.cxx` of Slicer 5), or the light ones."""
        palette = self.qapp.style().standardPalette()
        if dark:
            for role, colour in DARK.items():
                palette.setColor(getattr(QtGui.QPalette, role), QtGui.QColor(colour))
            for role, colour in DARK_DISABLED.items():
                palette.setColor(QtGui.QPalette.Disabled, getattr(QtGui.QPalette, role), QtGui.QColor(colour))
        self.qapp.setPalette(palette)
        self.process()

    def load_module(self, path: str | os.PathLike, select: bool = True):
        """Load a scripted module from its file; with a window its panel is shown. Returns the module's widget object, or None."""
        module = modules.load_scripted(Path(path), self.core, self.manager)
        from . import receivers

        receivers.emit(self.qapp, "startupCompleted()")
        if self.window is not None:
            self.window.moduleSelector().list_module(module.name)
            if select and hasattr(sys.modules[module.name], module.name + "Widget"):
                self.window.moduleSelector().selectModule(module.name)
                return module.panel.self()
        return None

    def unload_module(self, name: str):
        """Leave the module and unload it, as the end of the application does."""
        if self.window is not None and self.window.moduleSelector().selectedModule == name:
            self.window.leave_module()
            self.window.moduleSelector().forget(name)
        self.manager.unload(name)
        for attribute in (name.lower(), name + "Instance", name + "Widget"):
            if attribute in vars(slicer.modules):
                delattr(slicer.modules, attribute)

    def process(self, milliseconds: int = 0):
        """Let Qt run for a while: events, timers, renders."""
        self.qapp.processEvents()
        if milliseconds:
            loop = QtCore.QEventLoop()
            QtCore.QTimer.singleShot(milliseconds, loop.quit)
            loop.exec_()
        self.qapp.processEvents()

    def wait_for(self, condition, seconds: float = 10.0) -> bool:
        """Let Qt run until a condition holds; False when the time is over."""
        clock = QtCore.QElapsedTimer()
        clock.start()
        while not condition():
            if clock.elapsed() > 1000 * seconds:
                return False
            self.process(5)
        return True

    def close(self):
        """Leave the module, unload everything, close the window and the scene."""
        global _current
        if self.window is not None:
            self.window.leave_module()
        self.manager.unload_all()
        self.qapp.processEvents()
        self.core.scene.Clear(0)
        self.hierarchy.close()
        if self.window is not None:
            self.window.layout_manager.shut()
            self.window.hide()
            self.qapp.setLayoutManager(None)
            self.window.deleteLater()
            self.window = None
        self.qapp.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
        self.qapp.processEvents()
        _current = None
