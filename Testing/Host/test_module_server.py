"""The panel with a real server process on loopback: chosen, tested, asked, stopped, lost and found again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import dicom_series
import numpy as np
import pydicom
import pytest
import slicer
from fake_engine import FIRST, SHAPE, phantom_volume
from panel_fixtures import Away, a_server_chosen, still_window  # noqa: F401 (fixtures)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Server"))
from serving import LONGEST_S, served, wait_for


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with served(tmp_path_factory.mktemp("data"), limits={"grace_s": 1.0}) as running:
        assert wait_for(lambda: running.call("GET", "/v1/info")[2]["engine"] == "ready")
        yield running


def test_a_server_is_tested_and_says_which_model_it_has(away: Away, server) -> None:
    away.name(server.url)
    assert away.test("The server answers: CTReasoner")
    assert "name: double" in away.ui.engineDetailsLabel.text


def test_an_answer_comes_from_the_server_into_the_scene(away: Away, server) -> None:
    away.name(server.url)
    away.ask("Segment the heart")
    assert away.done() and away.ui.findingsTable.rowCount == 1, away.words
    assert away.until(lambda: away.ui.engineStateLabel.text == "Ready (double)")
    finding = away.controller.case.writer.findings()[0]
    node = away.controller.case.writer.segmentation
    where = np.argwhere(slicer.util.arrayFromSegmentBinaryLabelmap(node, finding.segment_id, away.ct).transpose(2, 1, 0))
    assert tuple(where.min(0)) == FIRST and tuple(where.max(0)) == tuple(np.add(FIRST, SHAPE) - 1)


def test_chips_turn_grey_once_the_server_has_the_ct_and_it_is_not_sent_for_them(away: Away, server) -> None:
    away.name(server.url)
    assert away.test("The server answers: CTReasoner")
    away.app.process(1500)
    assert away.controller.case.estimate is None or away.controller.case.estimate.states == {}
    away.ask("Segment the heart")
    assert away.done()
    assert away.until(lambda: away.controller.case.estimate is not None and away.controller.case.estimate.states, LONGEST_S)
    assert away.controller.case.estimate.states == {"heart": ("present", 0.9), "mandible": ("outside", 0.8)}


def test_stop_ends_an_answer_and_the_next_one_comes(away: Away, server) -> None:
    away.name(server.url)
    away.ask("tick the heart")
    running = away.controller.asking
    assert away.until(lambda: running.running is not None and running.running.turn.stage == "ticking", LONGEST_S)
    away.ui.stopButton.click()
    assert away.until(lambda: not running.is_busy, 2.0)
    away.ask("Segment the heart")
    assert away.done() and away.ui.findingsTable.rowCount == 1


def test_the_answer_of_a_server_is_exported(away: Away, server, tmp_path) -> None:
    away.name(server.url)
    away.ui.exportFolderButton.directory = str(tmp_path)
    away.ask("Segment the heart")
    assert away.done() and away.ui.findingsTable.rowCount == 1
    away.ui.exportButton.click()
    assert away.until(lambda: "Exported to" in away.ui.exportLabel.text, LONGEST_S), away.ui.exportLabel.text
    (answer,) = tmp_path.glob("ctreasoner_*/answer.json")
    assert json.loads(answer.read_text())["turns"][0]["question"] == "Segment the heart"


def test_what_a_server_wrote_does_not_come_under_another_patient_into_the_database(app, away: Away, server, tmp_path) -> None:
    slices = dicom_series.series(phantom_volume().voxels)
    database = app.qapp.dicomDatabase()
    for number, path in enumerate(sorted(dicom_series.save(slices, tmp_path / "ct").iterdir())):
        database._insert(slices[number].SOPInstanceUID, path)
    away.ct.SetAttribute("DICOM.instanceUIDs", " ".join(s.SOPInstanceUID for s in slices))
    away.name(server.url)
    away.ui.exportFolderButton.directory = str(tmp_path)
    away.ui.databaseCheckBox.checked = True
    away.ask("Segment the heart")
    assert away.done() and away.ui.findingsTable.rowCount == 1
    assert away.until(lambda: "So they will not go into the database." in away.ui.exportPlanLabel.text)
    away.ui.exportButton.click()
    assert away.until(lambda: "Exported to" in away.ui.exportLabel.text, LONGEST_S), away.ui.exportLabel.text
    assert away.ui.exportLabel.text.endswith("does not belong to the patient and the study of this CT there.")
    written = pydicom.dcmread(next(tmp_path.glob("ctreasoner_*/**/segmentation.dcm")))
    assert written.PatientID != slices[0].PatientID and database.fileForInstance(str(written.SOPInstanceUID)) == ""


@pytest.mark.parametrize(("address", "said"), [
    ("http://127.0.0.1:9", "No server listens at this port"), ("https://127.0.0.1:{port}", "does not speak TLS as it should"),
    ("http://hospital.example.org", "encrypted or not at all"), ("the server", "looks like https://host:8642")])
def test_the_test_says_why_a_server_cannot_be_used(away: Away, server, address: str, said: str) -> None:
    away.name(address.format(port=server.port))
    assert away.test(said), away.ui.engineDetailsLabel.text
    away.ask("Segment the heart")
    assert away.until(lambda: said in away.words, LONGEST_S), away.words
    assert away.ui.findingsTable.rowCount == 0


def test_without_a_right_token_it_says_so(away: Away, tmp_path) -> None:
    from ctreasoner.server.store import Store

    store = Store(tmp_path)
    token = store.add_token("anna", "user")
    store.close()
    with served(tmp_path, behind_proxy=True) as server:
        away.name(server.url, "wrong-token")
        assert away.test("token"), away.ui.engineDetailsLabel.text
        away.name(server.url, token)
        assert away.test("The server answers")


def test_a_server_that_dies_is_said_and_the_one_that_comes_back_answers(away: Away, tmp_path) -> None:
    with served(tmp_path / "one") as server:
        away.name(server.url)
        away.ask("tick the heart")
        running = away.controller.asking
        assert away.until(lambda: running.running is not None and running.running.turn.stage == "ticking", LONGEST_S)
        server.kill()
        assert away.done() and "No server listens at this port" in away.words
    with served(tmp_path / "one") as server:
        away.name(server.url)
        away.ask("Segment the heart")
        assert away.done() and away.ui.findingsTable.rowCount == 1


def test_the_address_is_kept_and_the_token_is_not(app, module_widget, away: Away, server) -> None:
    import qt

    away.name(server.url, "a-secret-token")
    kept = qt.QSettings()
    assert kept.value("CTReasoner/ServerAddress") == server.url
    assert not any("a-secret-token" in str(kept.value(key)) for key in kept.allKeys())
    away.ui.engineKindComboBox.currentIndex = 0
    assert not away.ui.serverTokenLineEdit.visible and away.ui.enginePythonLineEdit.visible
