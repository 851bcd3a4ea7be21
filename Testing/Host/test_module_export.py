"""What the panel says of an export and of Slicer's DICOM database; the engine is a double."""

from __future__ import annotations

import errno
import os

import dicom_series
import pytest
import slicer
from panel_fixtures import Panel, still_window  # noqa: F401 (a fixture)


@pytest.fixture
def panel(app, module_widget, tmp_path) -> Panel:
    made = Panel(app, module_widget)
    made.answered()
    made.ct.SetAttribute("DICOM.instanceUIDs", "1.2 1.3")
    made.ui.exportFolderButton.directory = str(tmp_path)
    made.ui.databaseCheckBox.checked = True
    return made


def said(panel: Panel, *, with_dicom: bool = True) -> str:
    """Export, and let the engine have written a segmentation or none."""
    number = len(panel.engine.exports) + 1
    panel.ui.exportButton.click()
    assert panel.until(lambda: len(panel.engine.exports) == number, 5)
    folder = panel.engine.exports[-1]["folder"]
    if with_dicom:
        for path in dicom_series.save(dicom_series.series()[:1], folder / "dicom").iterdir():
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


def test_the_files_of_the_series_go_to_the_engine_where_the_database_has_them_all(app, panel: Panel, tmp_path) -> None:
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
    assert "refer to a new CT series without a patient" in plan.text and "cannot go into the database" in plan.text
    panel.ui.exportSegCheckBox.click()
    panel.ui.databaseCheckBox.click()
    assert plan.text == "Report, and masks of: Heart."
    panel.ui.ctSelector.setCurrentNode(None)
    panel.settle()
    assert plan.text == "There is no answer to export yet."
