"""Slicer's main window: module panel on the left, views in the middle, and the shortcuts of the index."""

from __future__ import annotations

from PyQt5 import QtCore, QtGui, QtWidgets

from . import names, receivers
from .indexclasses import implements
from .layout import LayoutManager

PANEL_WIDTH = 420


@implements("qSlicerModuleSelectorToolBar")
class ModuleSelector(QtWidgets.QToolBar):
    """Chooses the module that the panel shows."""

    def __init__(self, parent=None):
        super().__init__("Module Selection", parent)
        self.setObjectName("ModuleSelectorToolBar")
        self._window, self._selected, self._history = parent, "", []
        self.addWidget(QtWidgets.QLabel(" Modules: ", self))
        self._box = QtWidgets.QComboBox(self)
        self._box.setMinimumWidth(180)
        self.addWidget(self._box)
        self._box.activated[str].connect(self.selectModule)

    @property
    def selectedModule(self):
        return self._selected

    @selectedModule.setter
    def selectedModule(self, name):
        self.selectModule(name)

    def list_module(self, name):
        """Offer a module in the box."""
        self._box.addItem(name)

    def forget(self, name):
        """The module is gone."""
        self._box.removeItem(self._box.findText(name))
        self._selected = ""

    def selectModule(self, name):
        if name == self._selected:
            return
        self._window.show_module(name)
        self._selected = name
        self._box.setCurrentText(name)
        receivers.emit(self, "moduleSelected(QString)", name)


@implements("qSlicerMainWindow")
class MainWindow(QtWidgets.QMainWindow):
    """Level of inheritance of the index."""

    def __init__(self, app, core, parent=None):
        super().__init__(parent)
        self._app, self._core, self._module = app, core, None
        self.setObjectName("qSlicerMainWindow")
        self.setWindowTitle("3D Slicer (host)")
        frame = QtWidgets.QFrame(self)
        frame.setObjectName("CentralWidgetLayoutFrame")
        self.setCentralWidget(frame)
        self.layout_manager = LayoutManager(frame, core)
        app.setLayoutManager(self.layout_manager)
        self._selector = ModuleSelector(self)
        self.addToolBar(self._selector)
        self._dock = QtWidgets.QDockWidget("", self)
        self._dock.setObjectName("PanelDockWidget")
        self._scroll = QtWidgets.QScrollArea(self._dock)
        self._scroll.setWidgetResizable(True)
        self._scroll.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        self._scroll.setMinimumWidth(PANEL_WIDTH)
        self._dock.setWidget(self._scroll)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, self._dock)
        self.statusBar()
        self.fired = []                                   # names of the window's own shortcuts that ran
        self._shortcuts = [self._shortcut(*row) for row in names.index()["shortcuts"]["qt"]]
        self._actions = self._ui_actions()

    def moduleSelector(self):
        return self._selector

    def setLayout(self, number):
        self.layout_manager.setLayout(number)

    def show_module(self, name):
        """Leave the present module and enter another one."""
        module = self._app.moduleManager().module(name)
        if module is None:
            raise RuntimeError(f"no module {name}")
        self.leave_module()
        panel = module.widgetRepresentation()
        self._scroll.setWidget(panel)
        panel.show()
        self._dock.setWindowTitle(module.title)
        self._module = module
        panel.enter()

    def leave_module(self):
        """Leave the present module, if one is shown."""
        if self._module is not None:
            self._module.panel.exit()
            self._scroll.takeWidget()
            self._module = None

    def _shortcut(self, keys, what, scope, _source):
        """A key of the index; several keys in one entry become several shortcuts."""
        made = []
        for key in keys.split(" "):
            sequence = getattr(QtGui.QKeySequence, key.split("::")[1]) if "::" in key else QtGui.QKeySequence(key)
            if scope == "view context menu" or scope == "widget with children":
                continue                                  # live in a view's menu or in the focused widget
            shortcut = QtWidgets.QShortcut(QtGui.QKeySequence(sequence), self)
            shortcut.setObjectName(what)
            if scope == "application":
                shortcut.setContext(QtCore.Qt.ApplicationShortcut)
            shortcut.activated.connect(lambda w=what: self.fired.append(w))
            made.append(shortcut)
        return made

    def _ui_actions(self):
        """Actions of qSlicerMainWindow.ui: those in a menu fire, the inert ones are only parented, as in Slicer."""
        shortcuts = names.index()["shortcuts"]
        menu, made = self.menuBar().addMenu("File"), []
        inert = {"EditUndoAction": "Ctrl+Z", "EditRedoAction": "Ctrl+Y", "WindowMaximizeViewAction": "Ctrl+6"}
        if sorted(inert) != sorted(shortcuts["inert"]["actions"]):
            raise AssertionError("the index lists other inert actions")
        for name, key in {**shortcuts["main_window_ui"], **inert}.items():
            action = QtWidgets.QAction(name, self)
            action.setObjectName(name)
            action.setShortcut(QtGui.QKeySequence(key))
            if name in ("CutAction", "CopyAction", "PasteAction"):
                action.setShortcutContext(QtCore.Qt.WidgetWithChildrenShortcut)
            action.triggered.connect(lambda _checked=False, n=name: self.fired.append(n))
            if name not in inert:
                menu.addAction(action)
            made.append(action)
        return made


@implements("qSlicerAppMainWindow")
class AppMainWindow(MainWindow):
    """The class that Slicer's window really has."""
