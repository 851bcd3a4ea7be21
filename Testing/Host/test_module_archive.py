"""Exports that go on to an archive: what the panel says and refuses with a double, and the way to a real Orthanc."""

from __future__ import annotations

import sys
from pathlib import Path

import dicom_series
import host
import pydicom
import pytest
import qt
import slicer
from client_bench import LONGEST_S, engine_of
from ctreasoner.pacs.address import Access, Address
from ctreasoner.pacs.archive import open_archive
from ctreasoner.pacs.transfer import Patience
from panel_fixtures import RETURN, LivePanel, Panel, still_window  # noqa: F401 (a fixture)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Pacs"))
from orthanc import TOKEN, Orthanc, Proxy

ADDRESS = "https://pacs.example.org/dicom-web"


def typed(panel: Panel, address: str, token: str = "") -> None:
    """Tick the archive and type where it is, as a person does."""
    panel.ui.exportSection.collapsed = False
    panel.ui.archiveCheckBox.checked = True
    panel.app.process(30)
    for line, words in ((panel.ui.archiveAddressLineEdit, address), (panel.ui.archiveTokenLineEdit, token)):
        line.clear()
        host.text(line, words)
        host.key(line, RETURN)


@pytest.fixture(autouse=True)
def _nothing_remembered():
    yield
    qt.QSettings().setValue("CTReasoner/ArchiveAddress", "")


@pytest.fixture
def panel(app, module_widget, tmp_path) -> Panel:
    """The panel with an answer about a CT of the database; the engine is a double."""
    made = Panel(app, module_widget)
    made.answered()
    (path,) = dicom_series.save(dicom_series.series(number=7)[:1], tmp_path / "ct").iterdir()
    app.qapp.dicomDatabase()._insert("1.2.3.7", path)
    made.ct.SetAttribute("DICOM.instanceUIDs", "1.2.3.7")
    made.ui.exportFolderButton.directory = str(tmp_path)
    return made


def export(panel: Panel) -> str:
    """Press Export and let the engine have written it; returns what is said then."""
    number = len(panel.engine.exports) + 1
    panel.ui.exportButton.click()
    if not panel.until(lambda: len(panel.engine.exports) == number, 0.5):
        return panel.ui.exportLabel.text
    panel.engine.exported(number, folder=str(panel.engine.exports[-1]["folder"]), files={"answer": "answer.json"})
    panel.settle()
    return panel.ui.exportLabel.text


# ---------------------------------------------------------------- the panel, with a double

def test_nothing_is_sent_unless_it_is_ticked(panel: Panel) -> None:
    assert not panel.ui.archiveAddressLineEdit.visible
    assert export(panel).startswith("Exported to") and panel.engine.pushes == []
    typed(panel, ADDRESS)
    assert panel.ui.archiveAddressLineEdit.visible
    panel.ui.exportSegCheckBox.checked = False
    assert "no DICOM object is chosen" in panel.ui.exportPlanLabel.text
    assert export(panel).startswith("Exported to") and panel.engine.pushes == []


def test_the_sending_is_asked_of_the_engine_and_told_until_its_end(panel: Panel) -> None:
    typed(panel, ADDRESS, "secret")
    panel.ui.archiveCertificateLineEdit.currentPath = "/hospital.pem"
    assert export(panel).endswith("Sending to the archive …")
    panel.ui.archiveCertificateLineEdit.currentPath = ""
    assert panel.engine.pushes == [{"folder": panel.engine.exports[-1]["folder"] / "dicom", "address": ADDRESS, "token": "secret",
                                    "certificate": "/hospital.pem", "without_patient": False}]
    panel.engine.pushing(1, "storing 1/3")
    panel.settle()
    assert panel.ui.exportLabel.text.endswith("Sending to the archive: storing 1/3.")
    assert "still on its way" in export(panel) and len(panel.engine.exports) == 1
    panel.engine.pushed(1, stored=2, already=1)
    panel.settle()
    assert panel.ui.exportLabel.text.startswith("Exported to")
    assert panel.ui.exportLabel.text.endswith("The archive shows all DICOM objects: 2 stored now, 1 were there already.")
    log = panel.controller.log.text()
    assert "2 stored, 1 there already" in log and "secret" not in log and "pacs.example.org" not in log


def test_what_was_not_sent_is_not_called_stored(panel: Panel) -> None:
    typed(panel, ADDRESS)
    export(panel)
    panel.engine.pushed(1, code="CTR-NET-020", sentence="2 of 3 objects are not on the server.",
                        hint="The others are stored. Give the same command again for the rest.")
    panel.settle()
    text = panel.ui.exportLabel.text
    assert "Not all was sent to the archive: 2 of 3 objects are not on the server." in text and "shows all" not in text
    assert text.endswith("Export again later: what the archive has is not sent twice.")
    export(panel)
    panel.engine.state = "stopped"
    panel.app.process(80)
    assert "Not all was sent to the archive: The engine was exchanged" in panel.ui.exportLabel.text
    panel.engine.state = "ready"
    assert export(panel).endswith("Sending to the archive …") and len(panel.engine.pushes) == 3


def test_what_belongs_to_no_patient_is_refused_before_it_is_written_unless_confirmed_each_time(panel: Panel, tmp_path) -> None:
    panel.ct.RemoveAttribute("DICOM.instanceUIDs")
    typed(panel, ADDRESS)
    before = sorted(tmp_path.iterdir())
    assert export(panel).startswith("These objects were derived from a CT without a patient")
    assert panel.engine.exports == [] and sorted(tmp_path.iterdir()) == before
    panel.ui.archiveNamelessCheckBox.click()
    assert export(panel).endswith("Sending to the archive …") and panel.engine.pushes[-1]["without_patient"] is True
    panel.engine.pushed(1, stored=1, already=0)
    panel.settle()
    assert not panel.ui.archiveNamelessCheckBox.checked
    assert export(panel).startswith("These objects were derived") and len(panel.engine.pushes) == 1


def test_an_archive_without_an_address_is_refused_before_anything_is_written(panel: Panel) -> None:
    typed(panel, "")
    assert export(panel).startswith("There is no address of an archive.") and panel.engine.exports == []


def test_what_a_server_writes_is_not_sent_on(panel: Panel) -> None:
    typed(panel, ADDRESS)
    panel.controller.exporter.show_plan(panel.controller.case, True)
    assert "that needs the engine on this computer" in panel.ui.exportPlanLabel.text and not panel.ui.mendImagesButton.visible
    assert export(panel).startswith("Exported to") and panel.engine.pushes == []


def test_the_address_is_kept_and_the_token_is_not(app, panel: Panel) -> None:
    typed(panel, ADDRESS, "secret")
    settings = qt.QSettings()
    assert settings.value("CTReasoner/ArchiveAddress") == ADDRESS
    assert "secret" not in " ".join(str(settings.value(key)) for key in settings.allKeys())
    kept = [node.GetText() for node in slicer.util.getNodesByClass("vtkMRMLTextNode")]
    assert "secret" not in " ".join(kept) + panel.controller.log.text()


# ---------------------------------------------------------------- with the engine's process and a real archive

@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield server
    server.stop()


@pytest.fixture
def live(app, module_widget, tmp_path) -> LivePanel:
    """The panel with an answer of a real process about a CT that has no patient."""
    made = LivePanel(app, module_widget)
    made.engine = engine_of()
    made.controller.use_engine(made.engine)
    made.ask("segment the heart")
    assert made.until(lambda: made.controller.case.writer.findings(), LONGEST_S) and made.done()
    made.ui.exportFolderButton.directory = str(tmp_path)
    return made


def sent(live: LivePanel) -> str:
    """Export with what belongs to no patient, and wait until that is sent or not."""
    live.ui.archiveNamelessCheckBox.checked = True
    live.ui.exportButton.click()
    exporter = live.controller.exporter
    assert live.until(lambda: not exporter.is_busy, LONGEST_S), live.ui.exportLabel.text
    return live.ui.exportLabel.text


def there(proxy: Proxy) -> int:
    """How many objects the archive shows."""
    archive = open_archive(Address.parse(proxy.url), Access(token=TOKEN))
    return Patience().insist(lambda: sum(len(archive.objects(study.uid)) for study in archive.studies()))


@pytest.mark.orthanc
def test_an_export_reaches_a_real_archive_once_and_what_fails_is_not_called_stored(live: LivePanel, orthanc: Orthanc) -> None:
    with Proxy(orthanc.http) as proxy:
        typed(live, proxy.url, "wrong")
        assert "does not let us in (HTTP 401)" in sent(live)
        live.ui.archiveTokenLineEdit.text = TOKEN
        proxy.largest = 10
        assert "does not take an object of this size" in sent(live) and there(proxy) == 0
        proxy.largest = 1 << 40
        text = sent(live)
        slices = live.ct.GetImageData().GetDimensions()[2]
        assert f"The archive shows all DICOM objects: {slices + 1} stored now, 0 were there already." in text
        assert there(proxy) == slices + 1
        assert f"0 stored now, {slices + 1} were there already." in sent(live) and there(proxy) == slices + 1
        live.ask("segment the heart")
        assert live.done()      # the engine is as it was


@pytest.mark.orthanc
def test_the_engine_refuses_what_the_panel_could_not_foresee(app, live: LivePanel, orthanc: Orthanc, tmp_path) -> None:
    """The database has the images that the CT names, but they are of another grid: a series without a patient is written."""
    for path in dicom_series.save(dicom_series.series(number=7), tmp_path / "ct").iterdir():
        uid = str(pydicom.dcmread(path).SOPInstanceUID)
        app.qapp.dicomDatabase()._insert(uid, path)
        live.ct.SetAttribute("DICOM.instanceUIDs", f"{live.ct.GetAttribute('DICOM.instanceUIDs') or ''} {uid}".strip())
    with Proxy(orthanc.http) as proxy:
        typed(live, proxy.url, TOKEN)
        before = there(proxy)
        live.ui.exportButton.click()
        assert live.until(lambda: not live.controller.exporter.is_busy, LONGEST_S)
        assert "Not all was sent to the archive: These objects were derived from a CT without a patient" in live.ui.exportLabel.text
        assert live.ui.exportLabel.text.endswith("export again, if that is what you want.") and there(proxy) == before
