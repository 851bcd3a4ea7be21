"""What the panel says of an export and of Slicer's DICOM database; the engine is a double."""

from __future__ import annotations

import errno
import os

import dicom_series
import pydicom
import pytest
import slicer
from ctreasoner.scene.identity import TERMINOLOGY, tag
from panel_fixtures import Panel, still_window  # noqa: F401 (a fixture)


@pytest.fixture
def panel(app, module_widget, tmp_path) -> Panel:
    """The panel with an answer about a CT from the database; what the double writes is of another series of its study."""
    made = Panel(app, module_widget)
    made.answered()
    files = sorted(dicom_series.save(dicom_series.series(number=7)[:2], tmp_path / "ct").iterdir())
    uids = [str(pydicom.dcmread(path).SOPInstanceUID) for path in files]
    for uid, path in [*zip(uids, files, strict=True), (dicom_series.series()[0].SOPInstanceUID, "")]:    # not of an earlier test
        app.qapp.dicomDatabase()._insert(uid, path)
    made.ct.SetAttribute("DICOM.instanceUIDs", " ".join(uids))
    made.ui.exportFolderButton.directory = str(tmp_path)
    made.ui.databaseCheckBox.checked = True
    return made


def said(panel: Panel, *, with_dicom: bool = True, **changed: str) -> str:
    """Export, and let the engine have written a segmentation, with changed attributes, or none."""
    number = len(panel.engine.exports) + 1
    panel.ui.exportButton.click()
    assert panel.until(lambda: len(panel.engine.exports) == number, 5)
    folder = panel.engine.exports[-1]["folder"]
    if with_dicom:
        written = dicom_series.series()[:1]
        for keyword, value in changed.items():
            setattr(written[0], keyword, value)
        for path in dicom_series.save(written, folder / "dicom").iterdir():
            path.rename(path.with_suffix(".dcm"))
    panel.engine.exported(number, folder=str(folder), files={"answer": "answer.json"})
    panel.settle()
    return panel.ui.exportLabel.text


def test_what_was_written_is_added_where_the_ct_came_from_the_database_and_it_was_wished(panel: Panel) -> None:
    uid = dicom_series.series()[0].SOPInstanceUID
    panel.ui.databaseCheckBox.checked = False
    assert "database" not in said(panel) and slicer.dicomDatabase.fileForInstance(uid) == ""
    panel.ui.databaseCheckBox.checked = True
    assert said(panel).endswith("The DICOM objects are in the database.") and slicer.dicomDatabase.fileForInstance(uid)
    panel.ct.RemoveAttribute("DICOM.instanceUIDs")
    assert said(panel).endswith("Not added to the database: this CT did not come from it.")


def test_why_nothing_was_added_is_said(app, panel: Panel, monkeypatch) -> None:
    database = app.qapp.dicomDatabase()
    assert "there is no DICOM object among what was written" in said(panel, with_dicom=False)
    monkeypatch.setattr(database, "_open", False)
    assert said(panel).endswith("Not added to the database: none is open.")
    monkeypatch.setattr(database, "_open", True)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(database, "_index", full)
    assert said(panel).endswith("The database did not take the DICOM objects; they are in the folder all the same.")
    assert list(panel.engine.exports[-1]["folder"].glob("dicom/*"))


@pytest.mark.parametrize("changed", [{"PatientID": "P2"}, {"StudyInstanceUID": "1.2.826.0.1.99"}, {"PatientID": ""}])
def test_nothing_of_another_patient_or_study_goes_into_the_database(panel: Panel, changed: dict[str, str]) -> None:
    uid = dicom_series.series()[0].SOPInstanceUID
    assert said(panel, **changed).endswith("does not belong to the patient and the study of this CT there.")
    assert slicer.dicomDatabase.fileForInstance(uid) == ""
    assert said(panel).endswith("The DICOM objects are in the database.") and slicer.dicomDatabase.fileForInstance(uid)


def test_a_ct_whose_images_have_gone_gets_nothing_into_the_database(app, panel: Panel) -> None:
    first = panel.ct.GetAttribute("DICOM.instanceUIDs").split()[0]
    app.qapp.dicomDatabase()._insert(first, "")
    panel.controller.refresh()
    plan = panel.ui.exportPlanLabel
    assert plan.text.endswith("Not all images of this CT are in the database: the segmentation refers to those that are.")
    assert said(panel) and panel.engine.exports[-1]["incomplete"] and len(panel.engine.exports[-1]["source"]) == 1
    panel.ui.exportSrCheckBox.click()
    assert "Not all images of this CT are in the database: the DICOM objects refer to a new CT series" in plan.text
    assert plan.text.endswith("So they will not go into the database.\nImport its series again in the module DICOM.")
    assert said(panel) and panel.engine.exports[-1]["source"] == "" and "incomplete" not in panel.engine.exports[-1]


def test_a_ct_of_which_no_image_is_left_gets_nothing_into_the_database(app, panel: Panel) -> None:
    for uid in panel.ct.GetAttribute("DICOM.instanceUIDs").split():
        app.qapp.dicomDatabase()._insert(uid, "")
    panel.controller.refresh()
    assert "Not all images of this CT are in the database: the DICOM objects refer" in panel.ui.exportPlanLabel.text
    assert said(panel).endswith("does not belong to the patient and the study of this CT there.")
    assert slicer.dicomDatabase.fileForInstance(dicom_series.series()[0].SOPInstanceUID) == ""


def test_the_files_of_the_series_go_to_the_engine_where_the_database_has_them_all(app, panel: Panel, tmp_path) -> None:
    panel.ct.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    assert said(panel) and panel.engine.exports[-1]["source"] == ""
    for uid in ("1.2", "1.3"):
        app.qapp.dicomDatabase()._insert(uid, tmp_path / f"{uid}.dcm")
    assert said(panel) and panel.engine.exports[-1]["source"] == [str(tmp_path / "1.2.dcm"), str(tmp_path / "1.3.dcm")]


def test_what_is_ticked_is_asked_of_the_engine(panel: Panel) -> None:
    assert said(panel) and panel.engine.exports[-1]["dicom"] == ["seg"]
    for box in (panel.ui.exportSrCheckBox, panel.ui.exportKeysCheckBox, panel.ui.exportContoursCheckBox):
        box.click()
    assert said(panel) and panel.engine.exports[-1]["dicom"] == ["seg", "sr", "keys", "rtstruct"]


def test_what_would_be_written_stands_above_the_button(panel: Panel) -> None:
    panel.controller.refresh()
    plan = panel.ui.exportPlanLabel
    assert plan.text == "Report, and masks of: Heart."
    panel.ct.RemoveAttribute("DICOM.instanceUIDs")
    panel.controller.refresh()
    assert "refer to a new CT series without a patient" in plan.text and "will not go into the database" in plan.text
    panel.ui.exportSegCheckBox.click()
    panel.ui.databaseCheckBox.click()
    assert plan.text == "Report, and masks of: Heart."
    panel.ui.ctSelector.setCurrentNode(None)
    panel.settle()
    assert plan.text == "There is no answer to export yet."


# ---------------------------------------------------------------- what can be mended

@pytest.fixture
def opened(panel: Panel) -> Panel:
    """The same with the section open: buttons in a closed one are not seen."""
    panel.ui.exportSection.collapsed = False
    panel.controller.refresh()
    return panel


def test_a_section_that_is_opened_shows_nothing_that_is_not_wanted(panel: Panel) -> None:
    panel.ui.exportSection.collapsed = True
    panel.controller.refresh()
    panel.ui.exportSection.collapsed = False
    panel.settle()
    names = ("mendCodesButton", "mendEmptyButton", "mendImagesButton", "archiveAddressLineEdit", "archiveNamelessCheckBox")
    assert [name for name in names if getattr(panel.ui, name).visible] == []
    panel.ui.archiveCheckBox.click()
    assert panel.ui.archiveAddressLineEdit.visible


def segment_of(panel: Panel):
    writer = panel.controller.case.writer
    return writer.segmentation.GetSegmentation().GetSegment(writer.findings()[0].segment_id)


def test_codes_that_were_lost_or_changed_are_restored(opened: Panel) -> None:
    buttons = (opened.ui.mendCodesButton, opened.ui.mendEmptyButton, opened.ui.mendImagesButton)
    assert not any(button.visible for button in buttons)
    codes = tag(segment_of(opened), TERMINOLOGY)
    for other in ("", codes.replace("80891009", "12345")):
        segment_of(opened).SetTag(TERMINOLOGY, other)
        opened.controller.refresh()
        assert "Codes changed or lost in the scene: Heart." in opened.ui.exportPlanLabel.text
        assert opened.ui.mendCodesButton.visible
        opened.ui.mendCodesButton.click()
        opened.settle()
        assert tag(segment_of(opened), TERMINOLOGY) == codes and not opened.ui.mendCodesButton.visible
        assert opened.ui.exportPlanLabel.text == "Report, and masks of: Heart."


def test_what_has_no_codes_of_its_own_is_named(opened: Panel) -> None:
    assert opened.ask("what is here")
    opened.engine.find(opened.engine.begin(), 1, "thing", (4, 4, 4), (5, 5, 5))
    opened.engine.finish()
    opened.settle()
    opened.controller.refresh()
    assert "No codes of their own: Thing. They are written as tissue" in opened.ui.exportPlanLabel.text
    assert not opened.ui.mendCodesButton.visible


def test_an_empty_finding_is_left_out_and_brought_back_by_undo(opened: Panel) -> None:
    case = opened.controller.case
    key = case.writer.findings()[0].id
    image = segment_of(opened).GetRepresentation("Binary labelmap")
    image.GetPointData().GetScalars().Fill(0)
    image.Modified()
    case.writer.segmentation.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
    opened.engine.state = "starting"        # or the panel would have it measured again
    assert opened.until(lambda: "masks of: nothing.\nEmpty, so not in the DICOM objects: Heart." in opened.ui.exportPlanLabel.text)
    opened.ui.mendEmptyButton.click()
    opened.engine.state = "ready"
    opened.settle()
    assert case.rejected == [key] and not case.writer.findings() and not opened.ui.mendEmptyButton.visible
    assert said(opened) and opened.engine.exports[-1]["rejected"] == [key]
    opened.ui.undoButton.click()
    opened.settle()
    assert case.rejected == [] and [f.id for f in case.writer.findings()] == [key]


def loaded_past_the_database(panel: Panel, app, folder, **changed: str) -> list[str]:
    """The CT as Slicer has it when DICOM files were loaded as a volume, without the database; returns its UIDs."""
    database = app.qapp.dicomDatabase()
    for uid in panel.ct.GetAttribute("DICOM.instanceUIDs").split():
        database._insert(uid, "")
    panel.ct.RemoveAttribute("DICOM.instanceUIDs")
    files = sorted((folder / "ct").iterdir())
    if changed:
        header = pydicom.dcmread(files[0])
        for keyword, value in changed.items():
            setattr(header, keyword, value)
        header.save_as(files[0])
    panel.ct.AddDefaultStorageNode()
    storage = panel.ct.GetStorageNode()
    storage.SetFileName(str(files[0]))
    for path in files:
        storage.AddFileName(str(path))
    panel.controller.refresh()
    return [str(pydicom.dcmread(path).SOPInstanceUID) for path in files]


def test_a_ct_loaded_from_dicom_files_is_added_to_the_database_and_exports_refer_to_it(app, opened: Panel, tmp_path,
                                                                                       monkeypatch) -> None:
    database = tmp_path / "database"
    monkeypatch.setattr(app.qapp.dicomDatabase(), "_folder", str(database))
    uids = loaded_past_the_database(opened, app, tmp_path)
    dicom_series.save(dicom_series.series(number=8)[:1], tmp_path / "ct" / "beside")
    assert "Its files are DICOM: they can be added to the database." in opened.ui.exportPlanLabel.text
    opened.ui.mendImagesButton.click()
    assert opened.ui.exportLabel.text == "The images of this CT are in the database."
    assert opened.ui.exportPlanLabel.text == "Report, and masks of: Heart." and not opened.ui.mendImagesButton.visible
    kept = [slicer.dicomDatabase.fileForInstance(uid) for uid in uids]
    assert all(path.startswith(str(database)) for path in kept) and len(list(database.rglob("*.dcm"))) == 2
    assert said(opened) and opened.engine.exports[-1]["source"] == kept


@pytest.mark.parametrize(("changed", "closed", "why"), [
    ({"SeriesInstanceUID": "1.2.3"}, False, "belong to several series"), ({}, True, "none is open")])
def test_why_images_are_not_added_is_said_and_nothing_is_noted_on_the_ct(app, opened: Panel, tmp_path, monkeypatch, changed, closed,
                                                                         why) -> None:
    uids = loaded_past_the_database(opened, app, tmp_path, **changed)
    monkeypatch.setattr(app.qapp.dicomDatabase(), "_open", not closed)
    opened.ui.mendImagesButton.click()
    assert why in opened.ui.exportLabel.text and opened.ct.GetAttribute("DICOM.instanceUIDs") is None
    assert not any(slicer.dicomDatabase.fileForInstance(uid) for uid in uids)


def test_a_ct_from_another_file_cannot_be_added(opened: Panel, tmp_path) -> None:
    (tmp_path / "ct.nrrd").write_bytes(b"NRRD0004\n" + bytes(200))
    opened.ct.RemoveAttribute("DICOM.instanceUIDs")
    opened.ct.AddDefaultStorageNode()
    opened.ct.GetStorageNode().SetFileName(str(tmp_path / "ct.nrrd"))
    opened.controller.refresh()
    assert opened.ui.exportPlanLabel.text.endswith("load that from the module DICOM and ask again.")
    assert not opened.ui.mendImagesButton.visible
