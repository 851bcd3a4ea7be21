"""Report, masks and DICOM objects to a folder, into Slicer's DICOM database where the CT came from it, and to an archive."""

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
from .preflight import Preflight, dicom_files, instance_uids, what_is_left, why_derived
from .sending import Sender

FOLDER_KEY = "CTReasoner/ExportFolder"
DICOM = "dicom"           # the folder of DICOM objects in an export
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
        self._asked: dict[int, tuple[Any, Case]] = {}       # (engine, CT)
        self._preflight = Preflight(ui, self.tell, lambda: self.show_plan(*self._shown), log)
        self.sender = Sender(ui, self.tell, log)
        ui.exportFolderButton.directory = str(slicer.util.settingsValue(FOLDER_KEY, "") or Path.home())
        ui.exportFolderButton.connect("directoryChanged(QString)", self._folder_chosen)
        self._pending: tuple[Any, Case, Path] | None = None
        for box in (*OBJECTS.values(), "databaseCheckBox", "archiveCheckBox"):
            getattr(ui, box).connect("toggled(bool)", lambda _on: self.show_plan(*self._shown))
        self._shown: tuple[Case | None, bool] = (None, False)
        ui.exportSection.connect("contentsCollapsed(bool)", self._folded)

    def _folded(self, is_folded: bool) -> None:
        """A section that opens shows all that lies in it, also what was hidden while it was folded."""
        if not is_folded:
            self.sender.show()
            self.show_plan(*self._shown)

    @property
    def wished(self) -> list[str]:
        """Which DICOM objects are to be written; a report brings its segmentation."""
        return [what for what, box in OBJECTS.items() if getattr(self._ui, box).checked]

    def show_plan(self, case: Case | None, is_elsewhere: bool) -> None:
        """Say what would be written now, and what would keep it from being complete; is_elsewhere: a server writes it."""
        self._shown = (case, is_elsewhere)
        self._preflight.show(case, self.wished, is_elsewhere=is_elsewhere, into_database=self._ui.databaseCheckBox.checked,
                             to_archive=self.sender.is_wished)

    @property
    def _is_sent(self) -> bool:
        """Whether what is exported goes to an archive; a server's export does not, and neither does one without DICOM objects."""
        return self.sender.is_wished and bool(self.wished) and not self._shown[1]

    def _check_archive(self, case: Case) -> None:
        """Refuse, before anything is written, what could not be sent."""
        if not self._is_sent:
            return
        if self.sender.is_sending:
            raise UsageError(_("The last export is still on its way to the archive."), code="CTR-USE-027", hint=_("Wait for it."))
        if not self.sender.address:
            raise UsageError(_("There is no address of an archive."), code="CTR-USE-027",
                             hint=_("Type one, or untick the sending."))
        if why_derived(case.node, self.wished, False) and not self.sender.is_nameless_allowed:
            raise UsageError(_("These objects were derived from a CT without a patient: the archive would get a patient who does "
                               "not exist."), code="CTR-USE-024",
                             hint=_("Tick that they are sent all the same, or untick the sending."))

    def _folder_chosen(self, path: str) -> None:
        qt.QSettings().setValue(FOLDER_KEY, path)

    @property
    def is_busy(self) -> bool:
        return bool(self._asked) or self._pending is not None or self.sender.is_sending

    def start(self, engine: Any, case: Case | None) -> None:
        """Begin an export of what was answered about a CT; a sentence says what is missing."""
        folder = Path(self._ui.exportFolderButton.directory) / time.strftime("ctreasoner_%Y%m%d_%H%M%S")
        try:
            if case is None or not case.conversation.turns:
                raise UsageError(_("There is no answer to export yet."), code="CTR-USE-010", hint=_("Ask a question first."))
            self._check_archive(case)
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
        self.sender.step()
        if self._pending is None:
            return
        engine, case, folder = self._pending
        try:
            file = case.file(engine.volumes)
            if not file.done():
                return
            self._pending = None
            edited = case.writer.edited_masks(Path(engine.session) / "edited")
            left = what_is_left(case.node) if self.wished == ["seg"] and not self._shown[1] else []
            ask = engine.export(file.result(), folder, conversation=case.id, source=left or dicom_files(case.node), edited=edited,
                                rejected=case.rejected, dicom=self.wished, **({"incomplete": True} if left else {}))
            self._asked[ask] = engine, case
        except (CTReasonerError, CancelledError, OSError, ValueError, MemoryError) as error:
            self._pending = None
            self._fail(error)

    def done(self, ask: int | None, facts: dict[str, Any]) -> None:
        """Take a message of kind "exported"."""
        engine, case = self._asked.pop(ask, (None, None))
        if "files" not in facts:
            self.tell(facts.get("sentence", _("The export failed.")), facts.get("hint", ""))
            self._log.add_problem("export", facts.get("code", ""))
            return
        folder = Path(facts["folder"])
        said = " ".join([_("Exported to {folder}.").format(folder=folder), *(str(n) for n in facts.get("notes") or ())])
        if case is not None and self._ui.databaseCheckBox.checked:
            said += " " + self._to_database(folder, case)
        self.tell(said)
        if engine is not None and self._is_sent:
            self.sender.start(engine, folder / DICOM, said)
        self._log.add(f"export: written: {', '.join(facts['files'])}")

    def tell(self, sentence: str, hint: str = "") -> None:
        """Show a sentence in the section."""
        self._ui.exportLabel.text = " ".join(p for p in (sentence, hint) if p)

    def _fail(self, error: BaseException) -> None:
        self.tell(getattr(error, "strerror", None) or str(error) or type(error).__name__, getattr(error, "hint", ""))
        self._log.add_problem("export", getattr(error, "code", "") or type(error).__name__)

    def _to_database(self, folder: Path, case: Case) -> str:
        """Insert the DICOM objects; only where the CT itself came from the database, and under its patient and study alone."""
        if not instance_uids(case.node):
            return _("Not added to the database: this CT did not come from it.")
        if not slicer.dicomDatabase.isOpen:
            return _("Not added to the database: none is open.")
        from DICOMLib import DICOMUtils

        written = sorted(folder.rglob("*.dcm"))
        if not written:
            return _("Nothing was added to the database: there is no DICOM object among what was written.")
        belongs = _belonging_of_ct(case.node)
        one_of_each_folder = {path.parent: path for path in written}.values()
        if belongs is None or any(_belonging(path) != belongs for path in one_of_each_folder):
            self._log.add("export: not added to the DICOM database: of another patient or study than the CT")
            return _("Not added to the database: what was written does not belong to the patient and the study of this CT there.")
        places = sorted({folder / path.relative_to(folder).parts[0] for path in written})
        if not all(DICOMUtils.importDicom(str(place), slicer.dicomDatabase, True) for place in places):
            self._log.add("export: not added to the DICOM database")
            return _("The database did not take the DICOM objects; they are in the folder all the same.")
        return _("The DICOM objects are in the database.")


def _belonging_of_ct(node: Any) -> tuple[str, str] | None:
    """Return patient ID and study UID of a CT from the database, None where its files are not there any more."""
    files = dicom_files(node) or what_is_left(node)
    return _belonging(files[0]) if files and Path(files[0]).is_file() else None


def _belonging(path: str | Path) -> tuple[str, str]:
    """Return patient ID and study UID as a DICOM file says them."""
    import pydicom

    dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["PatientID", "StudyInstanceUID"])
    return str(dataset.get("PatientID", "")), str(dataset.get("StudyInstanceUID", ""))
