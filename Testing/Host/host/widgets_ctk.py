"""CTK's widgets, as far as a module needs them."""

from __future__ import annotations

from PyQt5 import QtCore, QtGui, QtWidgets

from . import receivers
from .indexclasses import implements


def kept(attribute):
    """A property that is only kept."""

    def write(self, value):
        setattr(self, attribute, value)

    return property(lambda self: getattr(self, attribute), write)


@implements("ctkCollapsibleButton")
class CollapsibleButton(QtWidgets.QAbstractButton):
    """A titled section that folds: a click on its head hides or shows its children."""

    HEAD = 24

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QtWidgets.QSizePolicy.MinimumExpanding, QtWidgets.QSizePolicy.Preferred)
        self.setContentsMargins(0, self.HEAD, 0, 0)
        self._height, self._flat = 10, False
        self._hidden = []
        self.toggled.connect(self._toggled)

    @property
    def collapsed(self):
        return not self.isChecked()

    @collapsed.setter
    def collapsed(self, folded):
        self.setChecked(not folded)

    @property
    def flat(self):
        return self._flat

    @flat.setter
    def flat(self, flat):
        self._flat = flat
        self.update()

    @property
    def collapsedHeight(self):
        return self._height

    @collapsedHeight.setter
    def collapsedHeight(self, height):
        self._height = height

    def _children(self):
        return [c for c in self.children() if isinstance(c, QtWidgets.QWidget) and not c.isWindow()]

    def _toggled(self, opened):
        if opened:
            for child in self._hidden:
                child.setVisible(True)
            self._hidden = []
        else:
            self._hidden = [c for c in self._children() if not c.isHidden()]
            for child in self._hidden:
                child.setVisible(False)
        self.setMaximumHeight(16777215 if opened else self.HEAD)
        self.updateGeometry()
        receivers.emit(self, "contentsCollapsed(bool)", not opened)

    def childEvent(self, event):
        super().childEvent(event)
        child = event.child()
        if event.added() and not self.isChecked() and isinstance(child, QtWidgets.QWidget):
            self._hidden.append(child)
            child.setVisible(False)

    def sizeHint(self):
        inner = self.layout().totalSizeHint() if self.layout() is not None else QtCore.QSize(100, 0)
        return (
            QtCore.QSize(max(inner.width(), 100), self.HEAD) if self.collapsed else inner.expandedTo(QtCore.QSize(100, self.HEAD))
        )

    def minimumSizeHint(self):
        return QtCore.QSize(60, self.HEAD) if self.collapsed or self.layout() is None else self.layout().totalMinimumSize()

    def hitButton(self, place):
        return place.y() <= self.HEAD

    def paintEvent(self, _event):
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, self.width(), self.HEAD)
        option.features = QtWidgets.QStyleOptionButton.Flat if self._flat else QtWidgets.QStyleOptionButton.None_
        option.state |= QtWidgets.QStyle.State_Raised
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        arrow = QtWidgets.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, 6, 12, 12)
        painter.drawPrimitive(
            QtWidgets.QStyle.PE_IndicatorArrowDown if self.isChecked() else QtWidgets.QStyle.PE_IndicatorArrowRight, arrow
        )
        painter.setPen(self.palette().color(QtGui.QPalette.ButtonText))
        painter.drawText(
            QtCore.QRect(24, 0, self.width() - 28, self.HEAD), QtCore.Qt.AlignVCenter | QtCore.Qt.TextShowMnemonic, self.text()
        )


@implements("ctkCollapsibleGroupBox")
class CollapsibleGroupBox(QtWidgets.QGroupBox):
    """A group box that folds."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setCheckable(True)
        self.toggled.connect(self._toggled)

    @property
    def collapsed(self):
        return not self.isChecked()

    @collapsed.setter
    def collapsed(self, folded):
        self.setChecked(not folded)

    def _toggled(self, opened):
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(opened)


@implements("ctkComboBox")
class ComboBox(QtWidgets.QComboBox):
    """A combo box with a text for "nothing chosen"."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._default, self._elide, self._wheel = "", QtCore.Qt.ElideNone, 1

    @property
    def defaultText(self):
        return self._default

    @defaultText.setter
    def defaultText(self, text):
        self._default = text
        self.update()

    @property
    def scrollWheelEffect(self):
        return self._wheel

    @scrollWheelEffect.setter
    def scrollWheelEffect(self, effect):
        self._wheel = effect

    @property
    def currentUserDataAsString(self):
        return str(self.currentData() or "")

    @currentUserDataAsString.setter
    def currentUserDataAsString(self, text):
        self.setCurrentIndex(next((i for i in range(self.count()) if str(self.itemData(i)) == text), -1))

    def setCurrentUserDataAsString(self, text):
        self.currentUserDataAsString = text

    def wheelEvent(self, event):
        if self._wheel == 1 or (self._wheel == 2 and self.hasFocus()):
            super().wheelEvent(event)
        else:
            event.ignore()


@implements("ctkCheckBox")
class CheckBox(QtWidgets.QCheckBox):
    """A check box."""


@implements("ctkPushButton")
class PushButton(QtWidgets.QPushButton):
    """A push button whose text can be aligned and cut."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._elide = QtCore.Qt.ElideNone

    @property
    def elideMode(self):
        return self._elide

    @elideMode.setter
    def elideMode(self, mode):
        self._elide = mode
        self.update()


@implements("ctkFittedTextBrowser")
class FittedTextBrowser(QtWidgets.QTextBrowser):
    """A text browser as high as its text."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setVerticalScrollBarPolicy(QtCore.Qt.ScrollBarAlwaysOff)
        self.document().documentLayout().documentSizeChanged.connect(lambda *_: self.updateGeometry())
        self._collapsed, self._whole, self._more, self._less, self._scrolls = True, None, "Show details...", "Hide details.", False
        self.anchorClicked.connect(self._link)

    def _link(self, url):
        if url.toString() == "#":
            self.collapsed = not self._collapsed

    def _show(self):
        """Up to the first empty line (or ``<p>``) while collapsed, with a link to the rest."""
        if self._whole is not None:
            start, end, tail = self._whole.partition("<br>")
            text = (
                f'{start} <a href="#">{self._more}</a>'
                if self._collapsed and end
                else f'{start}{end}{tail} <a href="#">{self._less}</a>'
            )
            self.setHtml(text if end else self._whole)

    def setCollapsibleText(self, text):
        self._whole = text
        self._show()

    def setCollapsibleHtml(self, text):
        self.setCollapsibleText(text)

    def collapsibleText(self):
        return self._whole or ""

    @property
    def collapsed(self):
        return self._collapsed

    @collapsed.setter
    def collapsed(self, folded):
        self._collapsed = folded
        self._show()

    def sizeHint(self):
        return QtCore.QSize(200, int(self.document().size().height()) + 2 * self.frameWidth())

    def minimumSizeHint(self):
        return self.sizeHint()


@implements("ctkSearchBox")
class SearchBox(QtWidgets.QLineEdit):
    """A line edit with a clear button."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setClearButtonEnabled(True)
        self.setPlaceholderText("Search...")


FittedTextBrowser.showDetailsText, FittedTextBrowser.hideDetailsText = kept("_more"), kept("_less")
FittedTextBrowser.disableMouseScroll = kept("_scrolls")
