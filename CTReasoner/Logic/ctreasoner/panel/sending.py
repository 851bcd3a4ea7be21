"""A DICOMweb archive as the target of an export: its address, a token, and what becomes of the sending."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .hints import hint_for
from .log import Log

ADDRESS_KEY, CERTIFICATE_KEY = "CTReasoner/ArchiveAddress", "CTReasoner/ArchiveCertificate"
FIELDS = ("archiveAddressLabel", "archiveAddressLineEdit", "archiveTokenLabel", "archiveTokenLineEdit", "archiveCertificateLabel",
          "archiveCertificateLineEdit", "archiveNamelessCheckBox")


class Sender:
    """Has the engine's process send what was exported. The token is kept nowhere: it goes with the panel.

    Parameters
    ----------
    ui : the widgets of the panel.
    tell : shows how far it is and how it ended.
    log : gets that something was sent, and codes; no address.
    """

    def __init__(self, ui: Any, tell: Callable[[str, str], None], log: Log) -> None:
        self._ui, self._tell, self._log = ui, tell, log
        self._engine: Any = None            # that of the running sending
        self._ask: int | None = None
        self._before = ""                   # what was said of the export itself
        ui.archiveAddressLineEdit.text = str(slicer.util.settingsValue(ADDRESS_KEY, "") or "")
        ui.archiveCertificateLineEdit.currentPath = str(slicer.util.settingsValue(CERTIFICATE_KEY, "") or "")
        ui.archiveAddressLineEdit.connect("editingFinished()", lambda: qt.QSettings().setValue(ADDRESS_KEY, self.address))
        ui.archiveCertificateLineEdit.connect("currentPathChanged(QString)",
                                              lambda path: qt.QSettings().setValue(CERTIFICATE_KEY, path))
        ui.archiveCheckBox.connect("toggled(bool)", self.show)
        self.show()

    @property
    def is_wished(self) -> bool:
        return bool(self._ui.archiveCheckBox.checked)

    @property
    def is_sending(self) -> bool:
        return self._engine is not None

    @property
    def address(self) -> str:
        return str(self._ui.archiveAddressLineEdit.text).strip()

    @property
    def is_nameless_allowed(self) -> bool:
        """Whether a person has said that what belongs to no patient shall be sent, too."""
        return bool(self._ui.archiveNamelessCheckBox.checked)

    def show(self, *_toggled: bool) -> None:
        """Show the fields where they are wanted, and the section is open."""
        for name in FIELDS:
            getattr(self._ui, name).visible = self.is_wished and not self._ui.exportSection.collapsed

    def start(self, engine: Any, folder: Path, before: str) -> None:
        """Begin to send the DICOM objects of a folder; `before` stays in front of what is told."""
        ui = self._ui
        self._engine, self._before = engine, before
        self._ask = engine.push(folder, self.address, token=str(ui.archiveTokenLineEdit.text).strip(),
                                certificate=str(ui.archiveCertificateLineEdit.currentPath or "").strip(),
                                without_patient=self.is_nameless_allowed)
        ui.archiveNamelessCheckBox.checked = False      # a confirmation counts once
        self._tell(_("{before} Sending to the archive …").format(before=before), "")

    def progress(self, ask: int | None, facts: dict[str, Any]) -> None:
        """Take a message of kind "pushing"."""
        if ask == self._ask and self._engine is not None:
            self._tell(_("{before} Sending to the archive: {progress}.").format(before=self._before, progress=facts["words"]), "")

    def done(self, ask: int | None, facts: dict[str, Any]) -> None:
        """Take a message of kind "pushed"."""
        if ask != self._ask or self._engine is None:
            return
        self._engine = None
        if "stored" not in facts:
            self._failed(facts.get("sentence", ""), facts.get("code", ""), facts.get("hint", ""))
            return
        said = _("The archive shows all DICOM objects: {stored} stored now, {already} were there already.")
        self._tell(f"{self._before} {said.format(stored=facts['stored'], already=facts['already'])}", "")
        self._log.add(f"export: sent to an archive: {facts['stored']} stored, {facts['already']} there already")

    def step(self) -> None:
        """Notice that the engine which was sending is no longer there."""
        if self._engine is not None and self._engine.state == "stopped":
            self._engine = None
            self._failed(_("The engine was exchanged before it was done."), "",
                         _("Export again: what the archive has is not sent twice."))

    def _failed(self, sentence: str, code: str, hint: str) -> None:
        self._tell(_("{before} Not all was sent to the archive: {sentence}").format(before=self._before, sentence=sentence),
                   hint_for(code, hint))
        self._log.add_problem("export", code)
