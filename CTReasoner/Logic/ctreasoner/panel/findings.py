"""The table of findings: one row for each object that has a segment, sortable, linked to the views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

COLUMNS = ("segment", "colour", "visible", "volume", "hu", "confidence", "verified", "tier", "origin")
NAME, COLOUR, VISIBLE = 0, 1, 2
WIDTHS = {NAME: 106, COLOUR: 22, VISIBLE: 28, 3: 62, 4: 46, 5: 46, 6: 28, 7: 92, 8: 80}
ORIGINS = {"model": "model", "imported": "imported", "edited": "corrected", "person": "corrected", "corrected": "corrected",
           "accepted": "accepted"}


class FindingsTable:
    """Fills a QTableWidget with findings.

    Parameters
    ----------
    table : the QTableWidget.
    on_chosen : called with the id of the finding whose row was clicked.
    on_visible : called with an id and whether its segment shall be seen.
    """

    def __init__(self, table: Any, on_chosen: Callable[[str], None], on_visible: Callable[[str, bool], None]) -> None:
        self._table, self._on_chosen, self._on_visible = table, on_chosen, on_visible
        self._shown: list[Any] = []
        table.setColumnCount(len(COLUMNS))
        for column, (title, tip) in enumerate(_titles()):
            item = qt.QTableWidgetItem(title)
            item.setToolTip(tip)
            table.setHorizontalHeaderItem(column, item)
        for column, width in WIDTHS.items():
            table.setColumnWidth(column, width)
        table.verticalHeader().setVisible(False)
        table.verticalHeader().setDefaultSectionSize(24)
        table.setSortingEnabled(True)
        table.connect("cellClicked(int,int)", self._clicked)
        table.connect("itemChanged(QTableWidgetItem*)", self._changed)

    def show(self, findings: Sequence[Any]) -> bool:
        """Show these findings (as `scene` gives them); returns whether anything changed."""
        findings = list(findings)
        if findings == self._shown:
            return False
        chosen, self._shown = self.selected, findings
        table = self._table
        blocked = table.blockSignals(True)
        table.setSortingEnabled(False)          # a row that is being filled must stay where it is
        table.setRowCount(len(findings))
        for row, finding in enumerate(findings):
            for column, item in enumerate(_cells(finding)):
                table.setItem(row, column, item)
        table.setSortingEnabled(True)
        table.blockSignals(blocked)
        if chosen:
            self.select(chosen)
        return True

    @property
    def selected(self) -> str:
        """The id of the selected finding, "" where none is."""
        row = self._table.currentRow()
        item = self._table.item(row, NAME) if row >= 0 else None
        return str(item.data(qt.Qt.UserRole)) if item is not None and self._shown else ""

    def finding(self, key: str) -> Any:
        """The finding with this id, or None."""
        return next((f for f in self._shown if f.id == key), None)

    def select(self, key: str) -> None:
        """Select a row without jumping."""
        for row in range(self._table.rowCount):
            if str(self._table.item(row, NAME).data(qt.Qt.UserRole)) == key:
                self._table.setCurrentCell(row, NAME)
                return

    def _clicked(self, row: int, column: int) -> None:
        if column != VISIBLE:
            self._on_chosen(str(self._table.item(row, NAME).data(qt.Qt.UserRole)))

    def _changed(self, item: Any) -> None:
        if item.column() == VISIBLE:
            key = str(self._table.item(item.row(), NAME).data(qt.Qt.UserRole))
            self._on_visible(key, item.checkState() == qt.Qt.Checked)


def as_text(findings: Sequence[Any], ct_name: str = "") -> str:
    """Return the findings as plain text, a tab between columns: what "Copy findings" copies."""
    lines = [f"CTReasoner findings: {ct_name}".rstrip(": "), "Research use only. Not for diagnosis or treatment.", "",
             "\t".join(("Segment", "Volume (ml)", "Mean HU", "Confidence", "Verified", "Tier", "Origin"))]
    for f in findings:
        lines.append("\t".join((f.display + (" (outdated)" if f.outdated else ""), _number(f.volume_ml, 1), _number(f.mean_hu, 0),
                                _number(f.confidence, 2), _verified(f.verified), str(f.tier or ""), _origin(f.origin))))
    return "\n".join(lines) + "\n"


def _titles() -> list[tuple[str, str]]:
    return [(_("Segment"), _("The object and its segment; a click jumps there.")), ("", _("Colour of the segment")),
            ("", _("Visible")), (_("ml"), _("Volume in millilitres")), (_("HU"), _("Mean Hounsfield units in the mask")),
            (_("Conf."), _("Confidence that the object is there, calibrated, 0 to 1")),
            ("✓", _("Whether the statements about it were verified")), (_("Tier"), _("How well the object was tested")),
            (_("Origin"), _("Model, imported, corrected by a person, or accepted"))]


def _cells(finding: Any) -> list[Any]:
    name = qt.QTableWidgetItem(finding.display + (" *" if finding.outdated else ""))
    name.setData(qt.Qt.UserRole, finding.id)
    name.setToolTip(_("Changed by hand since it was described.") if finding.outdated else finding.display)
    colour = qt.QTableWidgetItem("")
    colour.setData(qt.Qt.DecorationRole, qt.QColor.fromRgbF(*finding.colour))      # a ground would hide where the row is selected
    visible = qt.QTableWidgetItem("")
    visible.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
    visible.setCheckState(qt.Qt.Checked if finding.visible else qt.Qt.Unchecked)
    cells = [name, colour, visible]
    for value, digits in ((finding.volume_ml, 1), (finding.mean_hu, 0), (finding.confidence, 2)):
        item = qt.QTableWidgetItem("")
        if value is not None:
            item.setData(qt.Qt.DisplayRole, round(float(value), digits) if digits else round(value))    # a number sorts as one
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        cells.append(item)
    words = (_verified(finding.verified), _tier(finding.tier), _origin(finding.origin))
    return cells + [qt.QTableWidgetItem(text) for text in words]


def _tier(tier: str | None) -> str:
    from ..vocabulary import TIERS

    return TIERS.get(tier or "", str(tier or ""))


def _verified(verified: Any) -> str:
    if isinstance(verified, str):
        return verified
    return {True: "✓", False: "✗", None: ""}.get(verified, str(verified))


def _origin(origin: str) -> str:
    return ORIGINS.get(origin, origin)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
