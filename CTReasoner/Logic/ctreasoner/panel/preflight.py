"""What stands above the button Export: what would be written, what is missing, and what can be mended from here."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from .case import Case
from .log import Log

DICM = slice(128, 132)      # where a DICOM file says so


class Preflight:
    """The lines of the plan, and the three buttons that mend what a line complains of.

    Parameters
    ----------
    ui : the widgets of the panel.
    tell : shows what became of it.
    refresh : shows the plan anew.
    log : gets what was mended.
    """

    def __init__(self, ui: Any, tell: Callable[[str], None], refresh: Callable[[], None], log: Log) -> None:
        self._ui, self._tell, self._refresh, self._log = ui, tell, refresh, log
        self._case: Case | None = None
        ui.mendCodesButton.connect("clicked()", self.restore_codes)
        ui.mendEmptyButton.connect("clicked()", self.leave_out_empty)
        ui.mendImagesButton.connect("clicked()", self.add_images)

    def show(self, case: Case | None, wished: list[str], *, is_elsewhere: bool, into_database: bool, to_archive: bool) -> None:
        """Show the lines, and those of the buttons for which there is something to mend; is_elsewhere: a server writes."""
        self._case = case = case if case is not None and case.conversation.turns else None
        if case is None:
            lines, codes, empty, why = [_("There is no answer to export yet.")], [], [], ""
        else:
            codes, empty = case.writer.miscoded(), case.writer.empty()
            why = why_derived(case.node, wished, is_elsewhere)
            lines = [*_of_masks(case, codes, empty), *_of_objects(case.node, why, wished, into_database, to_archive, is_elsewhere)]
        self._ui.exportPlanLabel.text = "\n".join(lines)
        is_open = not self._ui.exportSection.collapsed
        self._ui.mendCodesButton.visible = is_open and bool(codes)
        self._ui.mendEmptyButton.visible = is_open and bool(empty)
        self._ui.mendImagesButton.visible = is_open and bool(why) and not is_elsewhere and bool(loaded_files(case.node))

    def restore_codes(self) -> None:
        """Give the segments the codes again that they had in the answer."""
        if self._case is not None:
            count = self._case.writer.restore_codes()
            self._log.add(f"export: codes of {count} segments restored")
            self._tell(_("The segments have their codes again."))

    def leave_out_empty(self) -> None:
        """Reject the findings whose segments hold nothing; undo brings each back."""
        case = self._case
        for finding in case.writer.empty() if case is not None else []:
            if case.writer.reject(finding.id):
                case.rejected.append(finding.id)
                case.brought_back.clear()
                self._tell(_("The empty findings are left out; Undo brings them back."))
            else:
                self._tell(_("Nothing can be left out while an answer runs."))

    def add_images(self) -> None:
        """Copy the DICOM files that the CT was loaded from into Slicer's database, and note on the CT that it lies there."""
        files = loaded_files(self._case.node) if self._case is not None else []
        if not files:
            return
        if not slicer.dicomDatabase.isOpen:
            self._tell(_("Not added to the database: none is open. Open one in the module DICOM."))
            return
        said = _add(self._case.node, files)
        self._log.add(f"export: images of the CT for the database: {len(files)} files")
        self._tell(said)
        self._refresh()


def _of_masks(case: Case, codes: list, empty: list) -> list[str]:
    findings = case.writer.findings()
    masks = [f for f in findings if f.segment_id and f not in empty]
    lines = [_("Report, and masks of: {names}.").format(names=_names(masks) or _("nothing"))]
    boxes = [f for f in findings if not f.segment_id]
    if boxes:
        lines.append(_("A box and no mask: {names}. Ask to segment it where you want a mask.").format(names=_names(boxes)))
    if empty:
        lines.append(_("Empty, so not in the DICOM objects: {names}.").format(names=_names(empty)))
    if codes:
        lines.append(_("Codes changed or lost in the scene: {names}. Exports keep those of the answer.").format(
            names=_names(codes)))
    plain = [f for f in masks if case.writer.vocabulary.get(f.key) is None]
    if plain:
        lines.append(_("No codes of their own: {names}. They are written as tissue, or with the codes they were imported with; ask "
                       "for an object by its name to get its codes.").format(names=_names(plain)))
    if case.outdated:
        lines.append(_("Edited masks are measured again before they are written."))
    return lines


def _of_objects(node: Any, why: str, wished: list[str], into_database: bool, to_archive: bool, is_elsewhere: bool) -> list[str]:
    lines = []
    lack = why_no_original(node, is_elsewhere) if wished else ""
    if lack and not why:
        lines.append(_("{why}: the segmentation refers to those that are.").format(why=lack))
    if why:
        lines.append(_("{why}: the DICOM objects refer to a new CT series without a patient.").format(why=why))
        if into_database:
            lines.append(_("So they will not go into the database."))
        lines.append(_cure(node, is_elsewhere))
    if to_archive and is_elsewhere:
        lines.append(_("Nothing will be sent to an archive: that needs the engine on this computer."))
    elif to_archive and not wished:
        lines.append(_("Nothing will be sent to an archive: no DICOM object is chosen."))
    elif to_archive and why:
        lines.append(_("They are sent to the archive only where that is ticked."))
    return lines


def _cure(node: Any, is_elsewhere: bool) -> str:
    """Return what a person does so that DICOM objects refer to the original images."""
    if is_elsewhere:
        return _("With the engine on this computer they would refer to the original images.")
    if loaded_files(node):
        return _("Its files are DICOM: they can be added to the database.")
    if instance_uids(node):
        return _("Import its series again in the module DICOM.")
    return _("Where there is a DICOM series of it, load that from the module DICOM and ask again.")


def why_derived(node: Any, wished: list[str], is_elsewhere: bool) -> str:
    """Return why what is wished would refer to a new series without a patient, "" where it would not."""
    why = why_no_original(node, is_elsewhere) if wished else ""
    return "" if why and wished == ["seg"] and not is_elsewhere and what_is_left(node) else why


def why_no_original(node: Any, is_elsewhere: bool) -> str:
    """Return why DICOM objects could not refer to the original images, "" where nothing is known against it.

    Asked at each refresh: of a long series the database is asked for its ends alone; the export asks for all.
    """
    uids = instance_uids(node)
    if not uids:
        return _("This CT came from a file")
    if is_elsewhere:
        return _("A server writes them and does not get the original images")
    there = all(slicer.dicomDatabase.fileForInstance(uid) for uid in (uids[0], uids[-1]))
    return "" if there else _("Not all images of this CT are in the database")


def instance_uids(node: Any) -> list[str]:
    """Return the DICOM instances that a volume was loaded from, empty for a volume from a file."""
    return (node.GetAttribute("DICOM.instanceUIDs") or "").split()


def dicom_files(node: Any) -> list[str] | str:
    """Return the files of the series that a volume was loaded from, "" where they are not known."""
    uids = instance_uids(node)
    if not uids:
        return ""
    files = [slicer.dicomDatabase.fileForInstance(uid) for uid in uids]
    return files if all(files) else ""


def what_is_left(node: Any) -> list[str]:
    """Return the files of a series of which the database lacks some images, empty where it has all or none."""
    uids = instance_uids(node)
    files = [file for uid in uids if (file := slicer.dicomDatabase.fileForInstance(uid))]
    return files if len(files) < len(uids) else []


def loaded_files(node: Any) -> list[str]:
    """Return the DICOM files that a volume was loaded from past the database; empty where it came another way, or they are gone."""
    storage = node.GetStorageNode()
    if storage is None:
        return []
    names = [storage.GetFileName(), *(storage.GetNthFileName(n) for n in range(storage.GetNumberOfFileNames()))]
    files = list(dict.fromkeys(str(name) for name in names if name))
    return files if files and all(map(os.path.isfile, files)) and _is_dicom(files[0]) else []


def _is_dicom(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(DICM.stop)[DICM] == b"DICM"
    except OSError:
        return False


def _add(node: Any, files: list[str]) -> str:
    """Add one series to the database; return what became of it. Only those files: others may lie beside them."""
    import pydicom
    from DICOMLib import DICOMUtils

    try:
        wanted = ["SOPInstanceUID", "SeriesInstanceUID"]
        headers = [pydicom.dcmread(path, stop_before_pixels=True, specific_tags=wanted) for path in files]
        uids = [str(header.SOPInstanceUID) for header in headers]
        if len({str(header.SeriesInstanceUID) for header in headers}) > 1:
            return _("Not added to the database: the files of this CT belong to several series.")
        with tempfile.TemporaryDirectory(prefix="ctreasoner-") as folder:
            for number, path in enumerate(files):
                _gather(path, Path(folder) / f"{number:06d}.dcm")
            DICOMUtils.importDicom(folder, slicer.dicomDatabase, True)
    except (pydicom.errors.InvalidDicomError, AttributeError, OSError) as error:
        return _("Not added to the database: {why}.").format(why=getattr(error, "strerror", None) or _("a file is damaged"))
    if not all(slicer.dicomDatabase.fileForInstance(uid) for uid in uids):
        return _("The database did not take the images of this CT.")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    return _("The images of this CT are in the database.")


def _gather(path: str, target: Path) -> None:
    try:
        os.link(path, target)
    except OSError:             # another disk, or one without links
        shutil.copyfile(path, target)


def _names(findings: list) -> str:
    return ", ".join(f.display for f in findings)
