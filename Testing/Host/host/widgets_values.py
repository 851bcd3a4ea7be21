"""CTK's widgets that hold a value: paths, folders, numbers."""

from __future__ import annotations

from PyQt5 import QtCore, QtWidgets

from . import receivers
from .indexclasses import implements
from .widgets_ctk import kept


@implements("ctkPathLineEdit")
class PathLineEdit(QtWidgets.QWidget):
    """A path that can be typed or browsed for."""

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox(self)
        self._box.setEditable(True)
        self._box.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._button = QtWidgets.QToolButton(self)
        self._button.setText("...")
        self._button.clicked.connect(self.browse)
        row.addWidget(self._box, 1)
        row.addWidget(self._button)
        self._key, self._name_filters, self._filters, self._label, self._options, self._length = "", [], 0, "", 0, 0
        self._box.editTextChanged.connect(lambda text: receivers.emit(self, "currentPathChanged(QString)", text))

    @property
    def currentPath(self):
        return self._box.currentText()

    @currentPath.setter
    def currentPath(self, path):
        self._box.setEditText(path)

    def setCurrentPath(self, path):
        self.currentPath = path

    def comboBox(self):
        return self._box

    def browse(self):
        path, _ = QtWidgets.QFileDialog.getOpenFileName(
            self, self._label or "Select a file", self.currentPath, ";;".join(self._name_filters)
        )
        if path:
            self.currentPath = path

    def _history(self):
        return [str(v) for v in QtCore.QSettings().value(self._key, []) or []] if self._key else []

    def addCurrentPathToHistory(self):
        if self._key and self.currentPath:
            history = [self.currentPath] + [p for p in self._history() if p != self.currentPath]
            QtCore.QSettings().setValue(self._key, history[:10])

    def retrieveHistory(self):
        text = self.currentPath
        self._box.clear()
        self._box.addItems(self._history())
        if text:
            self._box.setEditText(text)

    @property
    def settingKey(self):
        return self._key

    @settingKey.setter
    def settingKey(self, key):
        self._key = key
        self.retrieveHistory()

    @property
    def nameFilters(self):
        return self._name_filters

    @nameFilters.setter
    def nameFilters(self, filters):
        self._name_filters = list(filters)

    @property
    def showBrowseButton(self):
        return not self._button.isHidden()

    @showBrowseButton.setter
    def showBrowseButton(self, shown):
        self._button.setVisible(shown)

    @property
    def showHistoryButton(self):
        return True

    @showHistoryButton.setter
    def showHistoryButton(self, shown):
        self._box.setStyleSheet("" if shown else "QComboBox::drop-down { width: 0; }")


PathLineEdit.filters, PathLineEdit.label = kept("_filters"), kept("_label")
PathLineEdit.options, PathLineEdit.minimumContentsLength = kept("_options"), kept("_length")


@implements("ctkDirectoryButton")
class DirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and browses for another one."""

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton(self)
        row.addWidget(self._button)
        self._directory, self._caption = ".", ""
        self._button.clicked.connect(self.browse)
        self._show()

    def _show(self):
        self._button.setText(QtCore.QDir(self._directory).absolutePath())

    @property
    def directory(self):
        return self._directory

    @directory.setter
    def directory(self, path):
        if QtCore.QDir(path) != QtCore.QDir(self._directory):
            path = self._directory = QtCore.QDir(path).absolutePath()
            self._show()
            receivers.emit(self, "directoryChanged(QString)", path)

    caption = kept("_caption")

    def browse(self):
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self._caption or "Select a folder", self._directory)
        if path:
            self.directory = path
            receivers.emit(self, "directorySelected(QString)", path)
        return path


@implements("ctkSliderWidget")
class SliderWidget(QtWidgets.QWidget):
    """A slider and a spin box for one number."""

    STEPS = 1000

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal, self)
        self._spin = QtWidgets.QDoubleSpinBox(self)
        self._spin.setRange(0, 99)
        self._page, self._tracking = 10.0, True
        row.addWidget(self._slider, 1)
        row.addWidget(self._spin)
        self._spin.valueChanged.connect(self._changed)
        self._slider.valueChanged.connect(self._slid)
        self._spread()

    def _spread(self):
        self._slider.blockSignals(True)
        step = self._spin.singleStep() or 1
        self._slider.setRange(0, max(1, round((self._spin.maximum() - self._spin.minimum()) / step)))
        self._slider.setValue(round((self._spin.value() - self._spin.minimum()) / step))
        self._slider.blockSignals(False)

    def _slid(self, place):
        self._spin.setValue(self._spin.minimum() + place * (self._spin.singleStep() or 1))

    def _changed(self, value):
        self._spread()
        receivers.emit(self, "valueIsChanging(double)", value)
        receivers.emit(self, "valueChanged(double)", value)

    @property
    def value(self):
        return self._spin.value()

    @value.setter
    def value(self, number):
        self._spin.setValue(number)

    def setValue(self, number):
        self.value = number

    def setDecimals(self, count):
        self.decimals = count

    def setSpinBoxVisible(self, shown):
        self.spinBoxVisible = shown

    @property
    def spinBoxVisible(self):
        return not self._spin.isHidden()

    @spinBoxVisible.setter
    def spinBoxVisible(self, shown):
        self._spin.setVisible(shown)

    tracking, pageStep = kept("_tracking"), kept("_page")


def _spin(name, setter):
    def write(self, value):
        getattr(self._spin, setter)(value)
        self._spread()

    return property(lambda self: getattr(self._spin, name)(), write)


for _name in ("minimum", "maximum", "singleStep", "decimals", "prefix", "suffix"):
    setattr(SliderWidget, _name, _spin(_name, f"set{_name[0].upper()}{_name[1:]}"))
