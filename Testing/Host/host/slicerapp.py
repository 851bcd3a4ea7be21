"""``slicer.app`` and what hangs on it: module manager, IO managers, settings."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from PyQt5 import QtCore, QtWidgets

from . import receivers
from .indexclasses import implements
from .iomanager import DICOMDatabase, IOManager

START_ENVIRONMENT = dict(os.environ)


@implements("qSlicerModuleManager")
class ModuleManager(QtCore.QObject):
    """Modules by name."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.loaded = {}

    def module(self, name):
        return self.loaded.get(name)

    def modulesNames(self):
        return list(self.loaded)

    def add(self, name, module):
        self.loaded[name] = module
        receivers.emit(self, "moduleLoaded(QString)", name)

    def unload(self, name):
        """The module is told, then its panel goes."""
        receivers.emit(self, "moduleAboutToBeUnloaded(QString)", name)
        module = self.loaded.pop(name)
        panel = getattr(module, "panel", None)
        if panel is not None:
            panel.setParent(None)
            panel.deleteLater()

    def unload_all(self):
        """What happens when the application ends."""
        for name in list(self.loaded):
            self.unload(name)


@implements("qSlicerCoreApplication")
class CoreApplication(QtWidgets.QApplication):
    """Level of inheritance of the index: what needs no windows."""

    majorVersion, minorVersion, revision = 5, 12, "34000"
    releaseType, platform, os, arch = "Stable", "linux-amd64", "linux", "amd64"
    repositoryRevision = "9034c71a8f"
    isInstalled, isCustomMainApplication, isUsageLoggingSupported = True, False, False
    mainApplicationName, mainApplicationDisplayName = "Slicer", "3D Slicer"
    mainApplicationMajorVersion, mainApplicationMinorVersion, mainApplicationPatchVersion = 5, 12, 3
    applicationLocaleName, documentationLanguage, documentationVersion = "en-US", "en", "5.12"
    documentationBaseUrl = "https://slicer.readthedocs.io/en/5.12/"
    testing = False

    def start(self, core, folder: Path):
        """Tie the application to a scene; ``folder`` holds settings, cache and temporary files."""
        self._core, self._folder, self._manager, self._paused = core, folder, ModuleManager(self), 0
        self.setApplicationName("Slicer")
        self.setOrganizationName("slicer.org")
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder / "settings"))
        self._settings = QtCore.QSettings()
        self._io, self._database = IOManager(core, self), DICOMDatabase(self)
        self._temporary, self._cache = str(folder / "temporary"), str(folder / "cache")
        for path in (self._temporary, self._cache):
            os.makedirs(path, exist_ok=True)

    @property
    def temporaryPath(self):
        return self._temporary

    @temporaryPath.setter
    def temporaryPath(self, path):
        self._temporary = path

    @property
    def cachePath(self):
        return self._cache

    @property
    def slicerHome(self):
        return str(self._folder)

    @property
    def extensionsInstallPath(self):
        return str(self._folder / "extensions")

    @property
    def slicerUserSettingsFilePath(self):
        return self._settings.fileName()

    @property
    def slicerRevisionUserSettingsFilePath(self):
        return self._settings.fileName()

    @staticmethod
    def testingEnabled():
        return CoreApplication.testing

    def mrmlScene(self):
        return self._core.scene

    def applicationLogic(self):
        return self._core.logic

    def moduleManager(self):
        return self._manager

    def moduleLogic(self, name):
        return self._core.module_logics.get(name)

    def coreIOManager(self):
        return self._io

    def dicomDatabase(self):
        return self._database

    def settings(self):
        return self._settings

    def userSettings(self):
        return self._settings

    def revisionUserSettings(self):
        return self._settings

    def startupEnvironment(self):
        environment = QtCore.QProcessEnvironment()
        for name, value in START_ENVIRONMENT.items():
            environment.insert(name, value)
        return environment

    def environment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    def moduleDocumentationUrl(self, name):
        return f"{self.documentationBaseUrl}user_guide/modules/{name.lower()}.html"

    def processEvents(self):
        QtWidgets.QApplication.processEvents()

    def sendEvent(self, thing, event):
        QtWidgets.QApplication.sendEvent(thing, event)


@implements("qSlicerApplication")
class SlicerApplication(CoreApplication):
    """The application with windows."""

    _layout = None

    def layoutManager(self):
        return self._layout

    def ioManager(self):
        return self._io

    def setLayoutManager(self, manager):
        self._layout = manager

    def pauseRender(self):
        self._paused += 1
        if self._layout is not None:
            self._layout.pauseRender()
        receivers.emit(self, "renderPaused(bool)", True)

    def resumeRender(self):
        self._paused = max(0, self._paused - 1)
        if self._layout is not None:
            self._layout.resumeRender()
        receivers.emit(self, "renderPaused(bool)", self._paused > 0)

    def setRenderPaused(self, paused):
        self.pauseRender() if paused else self.resumeRender()

    def openUrl(self, url):
        self.last_url = url


def private_folder() -> Path:
    """A fresh folder for settings and temporary files of this process."""
    return Path(tempfile.mkdtemp(prefix="slicer-host-"))
