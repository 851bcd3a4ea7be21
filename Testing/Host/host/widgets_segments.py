"""The table of segments, against the real segmentation node."""

from __future__ import annotations

from PyQt5 import QtCore, QtGui, QtWidgets

from . import receivers
from .indexclasses import implements
from .layout import MRMLWidget


@implements("qMRMLSegmentsTableView")
class SegmentsTableView(MRMLWidget):
    """Visibility, colour and name of every segment of a segmentation."""

    def __init__(self, parent=None):
        super().__init__(parent)
        box = QtWidgets.QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        self._table = QtWidgets.QTableWidget(0, 3, self)
        self._table.setHorizontalHeaderLabels(["", "", "Name"])
        self._table.horizontalHeader().setStretchLastSection(True)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.itemChanged.connect(self._edited)
        self._table.itemSelectionChanged.connect(self._selected)
        box.addWidget(self._table)
        self._node, self._tags, self._filling, self._read_only = None, [], False, False

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node):
        for segmentation, tag in self._tags:
            segmentation.RemoveObserver(tag)
        self._node, self._tags = node, []
        if node is not None:
            segmentation = node.GetSegmentation()
            events = (segmentation.SegmentAdded, segmentation.SegmentRemoved, segmentation.SegmentModified)
            self._tags = [(segmentation, receivers.observe(self, segmentation, event, "_fill")) for event in events]
        self._fill()

    def _ids(self):
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        return (
            [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())] if segmentation is not None else []
        )

    def _fill(self):
        self._filling = True
        self._table.setRowCount(len(self._ids()))
        for row, name in enumerate(self._ids()):
            segment, display = self._node.GetSegmentation().GetSegment(name), self._node.GetDisplayNode()
            visible, colour, title = (QtWidgets.QTableWidgetItem() for _ in range(3))
            shown = display is None or display.GetSegmentVisibility(name)
            visible.setCheckState(QtCore.Qt.Checked if shown else QtCore.Qt.Unchecked)
            colour.setBackground(QtGui.QBrush(QtGui.QColor.fromRgbF(*segment.GetColor())))
            title.setText(segment.GetName() or "")
            for column, item in enumerate((visible, colour, title)):
                item.setData(QtCore.Qt.UserRole, name)
                self._table.setItem(row, column, item)
        self._filling = False

    def _edited(self, item):
        if self._filling or self._read_only:
            return
        name = item.data(QtCore.Qt.UserRole)
        if item.column() == 0 and self._node.GetDisplayNode() is not None:
            self._node.GetDisplayNode().SetSegmentVisibility(name, item.checkState() == QtCore.Qt.Checked)
        elif item.column() == 2:
            receivers.emit(self, "segmentAboutToBeModified(QString)", name)
            self._node.GetSegmentation().GetSegment(name).SetName(item.text())

    def _selected(self):
        selection = self._table.selectionModel().selection()
        receivers.emit(self, "selectionChanged(QItemSelection,QItemSelection)", selection, QtCore.QItemSelection())

    def selectedSegmentIDs(self):
        return [self._ids()[row] for row in sorted({index.row() for index in self._table.selectedIndexes()})]

    def setSelectedSegmentIDs(self, wanted):
        self._table.clearSelection()
        for row, name in enumerate(self._ids()):
            if name in wanted:
                self._table.selectRow(row)

    def clearSelectedSegments(self):
        self._table.clearSelection()

    @property
    def segmentCount(self):
        return len(self._ids())

    @property
    def selectionMode(self):
        return int(self._table.selectionMode())

    @selectionMode.setter
    def selectionMode(self, mode):
        self._table.setSelectionMode(QtWidgets.QAbstractItemView.SelectionMode(mode))

    def setSelectionMode(self, mode):
        self.selectionMode = mode

    @property
    def headerVisible(self):
        return not self._table.horizontalHeader().isHidden()

    @headerVisible.setter
    def headerVisible(self, shown):
        self._table.horizontalHeader().setVisible(shown)

    @property
    def readOnly(self):
        return self._read_only

    @readOnly.setter
    def readOnly(self, locked):
        self._read_only = locked


def _column(place):
    def write(self, shown):
        self._table.setColumnHidden(place, not shown)

    return property(lambda self: not self._table.isColumnHidden(place), write)


def _absent():
    """A column that the host's table does not have: it can only be hidden."""

    def write(self, shown):
        if shown:
            raise NotImplementedError("the host's table of segments has no such column")

    return property(lambda self: False, write)


SegmentsTableView.visibilityColumnVisible, SegmentsTableView.colorColumnVisible = _column(0), _column(1)
for _name in (
    "opacityColumnVisible",
    "statusColumnVisible",
    "layerColumnVisible",
    "filterBarVisible",
    "jumpToSelectedSegmentEnabled",
):
    setattr(SegmentsTableView, _name, _absent())
