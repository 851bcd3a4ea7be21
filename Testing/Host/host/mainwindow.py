"""Slicer's main window: module panel on the left, views in the middle, and the shortcuts of the index."""

from __future__ import annotations

from PyQt5 import QtCore, QtGui, QtWidgets

from . import names, receivers
from .indexclasses import implements
from .layout import LayoutManager
from .widgets_ctk import CollapsibleButton, FittedTextBrowser


class ModulePanel(QtWidgets.QWidget):
    """Holds the panel of a module in a scroll area; as wide as the module's minimum, as qSlicerModulePanel is."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.area = QtWidgets.QScrollArea(self)
        self.area.setWidgetResizable(True)
        self.area.setHorizontalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.area)
        self._content = None

    def show_module(self, module, panel):
        """Help and acknowledgement, then the module's own widgets."""
        self._content = QtWidgets.QWidget()
        rows = QtWidgets.QVBoxLayout(self._content)
        rows.setContentsMargins(3, 3, 3, 3)
        help_section = CollapsibleButton(self._content)
        help_section.setText("Help && Acknowledgement")
        text = FittedTextBrowser()
        text.setHtml(f"{module.helpText}<p>{module.acknowledgementText}</p>")
        QtWidgets.QVBoxLayout(help_section).addWidget(text)
        help_section.collapsed = True
        rows.addWidget(help_section)
        rows.addWidget(panel)
        rows.addStretch(1)
        self.area.setWidget(self._content)
        panel.show()
        panel.installEventFilter(self)

    def clear(self, panel):
        """Let the module's widgets go, unharmed."""
        panel.removeEventFilter(self)
        panel.hide()
        panel.setParent(None)
        self.area.takeWidget()
        self._content = None

    def eventFilter(self, watched, event):
        if event.type() == QtCore.QEvent.Resize:
            self.updateGeometry()
        return False

    def minimumSizeHint(self):
        width = self._content.minimumSizeHint().width() if self._content is not None else 200
        return QtCore.QSize(width + self.area.verticalScrollBar().sizeHint().width(), super().minimumSizeHint().height())

    def sizeHint(self):
        return self.minimumSizeHint().expandedTo(QtCore.QSize(400, 300))


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
        self.panel = ModulePanel(self._dock)
        self._dock.setWidget(self.panel)
        self.addDockWidget(QtCore.Qt.LeftDockWidgetArea, self._dock)
        self.statusBar()
        self.fired = []  # names of the window's own shortcuts that ran
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
        self.panel.show_module(module, panel)
        self._dock.setWindowTitle(module.title)
        self._module = module
        panel.enter()

    def leave_module(self):
        """Leave the present module, if one is shown."""
        if self._module is not None:
            self._module.panel.exit()
            self.panel.clear(self._module.panel)
            self._module = None

    def _shortcut(self, keys, what, scope, _source):
        """A key of the index; several keys in one entry become several shortcuts."""
        made = []
        for key in keys.split(" "):
            sequence = getattr(QtGui.QKeySequence, key.split("::")[1]) if "::" in key else QtGui.QKeySequence(key)
            if scope == "view context menu" or scope == "widget with children":
                continue  # live in a view's menu or in the focused widget
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
