"""The panel with a real worker process: answers, stops, crashes, silence, and nothing that outlives the module."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dicom_series
import numpy as np
import pydicom
import pytest
import slicer
from client_bench import DOUBLES, LONGEST_S
from ctreasoner.client.local import LocalEngine
from ctreasoner.io import read_volume
from fake_engine import FIRST, SHAPE, phantom_volume
from panel_fixtures import RETURN, LivePanel, still_window  # noqa: F401 (a fixture)


class Live(LivePanel):
    """The panel with a worker process."""

    def __init__(self, app, widget) -> None:
        self.engine = LocalEngine(sys.executable, arguments=["--factory", f"{DOUBLES}:Double"])
        widget.controller.use_engine(self.engine)
        super().__init__(app, widget)


@pytest.fixture
def live(app, module_widget) -> Live:
    return Live(app, module_widget)


def test_an_answer_comes_from_the_process_into_the_scene(live: Live) -> None:
    live.ask("Segment the heart")
    assert live.done() and live.ui.findingsTable.rowCount == 1
    assert live.ui.engineStateLabel.text == "Ready (double)"
    finding = live.controller.case.writer.findings()[0]
    node = live.controller.case.writer.segmentation
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(node, finding.segment_id, live.ct).transpose(2, 1, 0)
    where = np.argwhere(mask)
    assert tuple(where.min(0)) == FIRST and tuple(where.max(0)) == tuple(np.add(FIRST, SHAPE) - 1)


def test_stop_is_quick_and_the_engine_stays_warm(live: Live) -> None:
    live.ask("tick the heart")
    assert live.until(lambda: live.controller.asking.running is not None and live.controller.asking.running.turn.stage == "ticking",
                      LONGEST_S)
    live.ui.stopButton.click()
    assert live.until(lambda: not live.controller.asking.is_busy, 2.0)
    live.ask("Segment the heart")
    assert live.done() and live.ui.findingsTable.rowCount == 1


@pytest.mark.skipif(os.name != "posix", reason="ends processes by signals")
@pytest.mark.parametrize(("words", "said"), [
    ("crash the heart", "The engine ended by itself (code 3)."), ("killed heart", "ran out of memory or was ended by the system"),
    ("memory of the heart", "There is not enough memory."), ("stumble over the heart", "The engine stumbled: ZeroDivisionError")])
def test_trouble_is_said_and_the_next_question_is_answered(live: Live, words: str, said: str) -> None:
    live.ask(words)
    assert live.done() and said in live.words
    live.ask("Segment the heart")
    assert live.done() and live.ui.findingsTable.rowCount == 1


def test_an_exported_segmentation_comes_into_the_database_beside_its_ct(live: Live, tmp_path) -> None:
    slices = dicom_series.series(phantom_volume().voxels)
    folder = dicom_series.save(slices, tmp_path / "ct")
    from DICOMLib import DICOMUtils

    assert DICOMUtils.importDicom(str(folder), slicer.dicomDatabase, True)
    volume = read_volume(folder)
    node = slicer.util.addVolumeFromArray(volume.voxels.transpose(2, 1, 0).copy(), ijkToRAS=volume.affine, name="from DICOM")
    node.SetAttribute("DICOM.instanceUIDs", " ".join(s.SOPInstanceUID for s in slices))
    live.ui.ctSelector.setCurrentNode(node)
    live.ui.exportFolderButton.directory = str(tmp_path)
    live.ui.databaseCheckBox.checked = True
    live.ask("Segment the heart")
    assert live.done() and live.ui.findingsTable.rowCount == 1
    live.ui.exportButton.click()
    assert live.until(lambda: "Exported to" in live.ui.exportLabel.text, LONGEST_S), live.ui.exportLabel.text
    assert live.ui.exportLabel.text.endswith("The DICOM objects are in the database.")
    written = pydicom.dcmread(next(tmp_path.glob("ctreasoner_*/dicom/segmentation.dcm")))
    kept = Path(slicer.dicomDatabase.fileForInstance(written.SOPInstanceUID))
    assert kept.is_relative_to(slicer.dicomDatabase.databaseDirectory)
    segmentation = pydicom.dcmread(kept)
    assert segmentation.Modality == "SEG" and segmentation.PatientID == "P1"
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.826.0.1.3"
    used = {i.ReferencedSOPInstanceUID for i in segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert used <= {s.SOPInstanceUID for s in slices}


def test_nothing_outlives_the_module(live: Live) -> None:
    live.ask("Segment the heart")
    assert live.done()
    process, session = live.engine._process, live.engine.session
    live.widget.cleanup()
    assert not process.is_running and not session.exists()
