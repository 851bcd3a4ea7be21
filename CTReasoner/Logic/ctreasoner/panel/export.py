"""Report, masks and DICOM objects to a folder, and into Slicer's DICOM database where the CT came from it."""

from __future__ import annotations

import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import CTReasonerError, UsageError
from .case import Case
from .log import Log

FOLDER_KEY = "CTReasoner/ExportFolder"
OBJECTS = {"seg": "exportSegCheckBox", "sr": "exportSrCheckBox", "keys": "exportKeysCheckBox", "rtstruct": "exportContoursCheckBox"}


class Exporter:
    """Asks the engine to write, and shows where it went.

    Parameters
    ----------
    ui : the widgets of the panel.
    log : gets what was written, and codes.
    """

    def __init__(self, ui: Any, log: Log) -> None:
        self._ui, self._log = ui, log
        self._asked: dict[int, Case] = {}
        ui.exportFolderButton.directory = str(slicer.util.settingsValue(FOLDER_KEY, "") or Path.home())
        ui.exportFolderButton.connect("directoryChanged(QString)", self._folder_chosen)
        self._pending: tuple[Any, Case, Path] | None = None
        for box in (*OBJECTS.values(), "databaseCheckBox"):
            getattr(ui, box).connect("toggled(bool)", lambda _on: self.show_plan(self._shown))
        self._shown: Case | None = None

    @property
    def wished(self) -> list[str]:
        """Which DICOM objects are to be written; a report brings its segmentation."""
        return [what for what, box in OBJECTS.items() if getattr(self._ui, box).checked]

    def show_plan(self, case: Case | None) -> None:
        """Say what would be written now, and what would keep it from being complete."""
        self._shown = case
        self._ui.exportPlanLabel.text = "\n".join(_plan(case, self.wished, self._ui.databaseCheckBox.checked))

    def _folder_chosen(self, path: str) -> None:
        qt.QSettings().setValue(FOLDER_KEY, path)

    @property
    def is_busy(self) -> bool:
        return bool(self._asked) or self._pending is not None

    def start(self, engine: Any, case: Case | None) -> None:
        """Begin an export of what was answered about a CT; a sentence says what is missing."""
        folder = Path(self._ui.exportFolderButton.directory) / time.strftime("ctreasoner_%Y%m%d_%H%M%S")
        try:
            if case is None or not case.conversation.turns:
                raise UsageError(_("There is no answer to export yet."), code="CTR-USE-010", hint=_("Ask a question first."))
            folder.mkdir(parents=True, exist_ok=True)
            case.file(engine.volumes)
        except (CTReasonerError, OSError) as error:
            self._fail(error)
            return
        self._pending = (engine, case, folder)
        self.tell(_("Exporting …"))
        self.step()

    def step(self) -> None:
        """Hand the export to the engine once the CT lies there."""
        if self._pending is None:
            return
        engine, case, folder = self._pending
        try:
            file = case.file(engine.volumes)
            if not file.done():
                return
            self._pending = None
            edited = case.writer.edited_masks(Path(engine.session) / "edited")
            ask = engine.export(file.result(), folder, conversation=case.id, source=_dicom_files(case.node), edited=edited,
                                rejected=case.rejected, dicom=self.wished)
            self._asked[ask] = case
        except (CTReasonerError, CancelledError, OSError, ValueError, MemoryError) as error:
            self._pending = None
            self._fail(error)

    def done(self, ask: int | None, facts: dict[str, Any]) -> None:
        """Take a message of kind "exported"."""
        case = self._asked.pop(ask, None)
        if "files" not in facts:
            self.tell(facts.get("sentence", _("The export failed.")), facts.get("hint", ""))
            self._log.add_problem("export", facts.get("code", ""))
            return
        folder = Path(facts["folder"])
        said = " ".join([_("Exported to {folder}.").format(folder=folder), *(str(n) for n in facts.get("notes") or ())])
        if case is not None and self._ui.databaseCheckBox.checked:
            said += " " + self._to_database(folder, case)
        self.tell(said)
        self._log.add(f"export: written: {', '.join(facts['files'])}")

    def tell(self, sentence: str, hint: str = "") -> None:
        """Show a sentence in the section."""
        self._ui.exportLabel.text = " ".join(p for p in (sentence, hint) if p)

    def _fail(self, error: BaseException) -> None:
        self.tell(getattr(error, "strerror", None) or str(error) or type(error).__name__, getattr(error, "hint", ""))
        self._log.add_problem("export", getattr(error, "code", "") or type(error).__name__)

    def _to_database(self, folder: Path, case: Case) -> str:
        """Insert the DICOM objects; only where the CT itself came from the database, so that patient and study exist there."""
        if not instance_uids(case.node):
            return _("Not added to the database: this CT did not come from it.")
        if not slicer.dicomDatabase.isOpen:
            return _("Not added to the database: none is open.")
        from DICOMLib import DICOMUtils

        places = sorted({folder / path.relative_to(folder).parts[0] for path in folder.rglob("*.dcm")})
        if not places:
            return _("Nothing was added to the database: there is no DICOM object among what was written.")
        if not all(DICOMUtils.importDicom(str(place), slicer.dicomDatabase, True) for place in places):
            self._log.add("export: not added to the DICOM database")
            return _("The database did not take the DICOM objects; they are in the folder all the same.")
        return _("The DICOM objects are in the database.")


def _plan(case: Case | None, wished: list[str], into_database: bool) -> list[str]:
    """Return the lines that stand above the button."""
    if case is None or not case.conversation.turns:
        return [_("There is no answer to export yet.")]
    findings = case.writer.findings()
    masks = [f for f in findings if f.segment_id]
    lines = [_("Report, and masks of: {names}.").format(names=", ".join(f.display for f in masks) or _("nothing"))]
    if len(masks) < len(findings):
        lines.append(_("A box and no mask: {names}.").format(names=", ".join(f.display for f in findings if not f.segment_id)))
    if case.outdated:
        lines.append(_("Edited masks are measured again before they are written."))
    if wished and not instance_uids(case.node):
        lines.append(_("This CT came from a file: the DICOM objects refer to a new CT series without a patient."))
    if into_database and not instance_uids(case.node):
        lines.append(_("They cannot go into the database: load the CT from there."))
    return lines


def instance_uids(node: Any) -> list[str]:
    """Return the DICOM instances that a volume was loaded from, empty for a volume from a file."""
    return (node.GetAttribute("DICOM.instanceUIDs") or "").split()


def _dicom_files(node: Any) -> list[str] | str:
    """Return the files of the series that a volume was loaded from, "" where they are not known."""
    uids = instance_uids(node)
    if not uids:
        return ""
    files = [slicer.dicomDatabase.fileForInstance(uid) for uid in uids]
    return files if all(files) else ""
