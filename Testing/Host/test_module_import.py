"""DICOM segmentations, ours and others', become findings of the panel that clicks correct, and leave it as the same findings.

The engine's process is real, its pixel decoder a rule (`bright_engine`): what a click must change is known.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bright_engine
import highdicom as hd
import host
import numpy as np
import pydicom
import pytest
import slicer
from client_bench import LONGEST_S
from ctreasoner.client.local import LocalEngine
from ctreasoner.dicom import SegObject, read_series, write_derived, write_seg
from ctreasoner.scene.identity import tags_of
from panel_fixtures import LivePanel, small_window  # noqa: F401 (a fixture)
from PyQt5.QtWidgets import QFileDialog

ADD, REMOVE = 1, 2
MISSING, EXTRA = (36, 25, 20), (15, 25, 20)        # voxels
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ct") / "ct"
    write_derived(bright_engine.scan((-1.0, -1.0, 1.0))[0], folder)
    return folder


def segmentation(maker: str, ct: Path, path: Path) -> Path:
    """A faulty mask of the block, as we write it or as another program does."""
    mask, series = bright_engine.faulty(bright_engine.scan()[1])[0], read_series(ct)
    if maker == "ours":
        item = SegObject("heart", "Heart", mask, (0, 0, 0), "AUTOMATIC", tracking_id="a7.o3", tracking_uid="1.2.826.0.1.77")
        return write_seg(path, [item], series.volume, series.sources, model="earlier")
    spleen = hd.seg.SegmentDescription(
        segment_number=1, segment_label="Lien", algorithm_type="MANUAL", tracking_id="theirs", tracking_uid="1.2.826.0.1.88",
        segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=hd.sr.CodedConcept("78961009", "SCT", "Spleen"))
    made = hd.seg.Segmentation(
        source_images=list(series.sources), pixel_array=mask.transpose(2, 1, 0).astype(np.uint8), segmentation_type="BINARY",
        segment_descriptions=[spleen], series_instance_uid="1.2.3", series_number=1, sop_instance_uid="1.2.3.4", instance_number=1,
        manufacturer="Others", manufacturer_model_name="x", software_versions="1", device_serial_number="1")
    made.save_as(path, enforce_file_format=True)
    return path


class Desk(LivePanel):
    """The panel with a CT out of the DICOM database."""

    def __init__(self, app, widget, ct: Path, out: Path) -> None:
        self.app, self.widget, self.ui, self.controller = app, widget, widget.ui, widget.controller
        self.change_engine()
        volume = read_series(ct).volume
        self.ct = slicer.util.addVolumeFromArray(volume.voxels.transpose(2, 1, 0).copy(), ijkToRAS=volume.affine, name="block")
        self.ct.CreateDefaultDisplayNodes()
        files = {str(pydicom.dcmread(path).SOPInstanceUID): path for path in sorted(ct.iterdir())}
        for uid, path in files.items():
            app.qapp.dicomDatabase()._insert(uid, path)
        self.ct.SetAttribute("DICOM.instanceUIDs", " ".join(files))
        self.ui.ctSelector.setCurrentNode(self.ct)
        slicer.util.setSliceViewerLayers(background=self.ct, fit=True)
        self.ui.exportFolderButton.directory = str(out)
        self.ui.followCheckBox.click()              # views stay where the test puts them
        self.red = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        app.process(50)

    def change_engine(self) -> None:
        self.engine = LocalEngine(sys.executable, arguments=["--factory", f"{bright_engine.__file__}:make"])
        self.controller.use_engine(self.engine)

    def bring(self, path: Path, monkeypatch) -> None:
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
        self.ui.importButton.click()
        assert self.done(), self.engine.log

    def click(self, means: int, voxel) -> None:
        volume = bright_engine.scan((-1.0, -1.0, 1.0))[0]
        point = tuple(float(v) for v in volume.index_to_world([voxel])[0])
        slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetSliceOffset(point[2])
        self.controller.table.select(self.finding.id)
        self.ui.clickMeansComboBox.currentIndex = means
        turns = len(self.controller.case.conversation.turns)
        host.click(self.ui.clickButton)
        host.click(self.red, point)
        assert self.until(lambda: len(self.controller.case.conversation.turns) > turns, LONGEST_S) and self.done(), self.words

    @property
    def finding(self):
        (found,) = self.controller.case.writer.findings()
        return found

    @property
    def mask(self) -> np.ndarray:
        node = self.controller.case.writer.segmentation
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, self.finding.segment_id, self.ct).transpose(2, 1, 0) > 0

    @property
    def tags(self) -> dict[str, str]:
        return tags_of(self.controller.case.writer.segmentation.GetSegmentation().GetSegment(self.finding.segment_id))

    def exported(self, out: Path):
        self.ui.exportButton.click()
        assert self.until(lambda: "Exported to" in self.ui.exportLabel.text, LONGEST_S), self.ui.exportLabel.text
        (path,) = sorted(out.rglob("segmentation.dcm"))
        return pydicom.dcmread(path).SegmentSequence[0]


@pytest.fixture
def desk(app, module_widget, ct, tmp_path) -> Desk:
    return Desk(app, module_widget, ct, tmp_path / "out")


@pytest.mark.parametrize("maker", ["ours", "others'"])
def test_a_segmentation_comes_in_is_corrected_by_clicks_and_goes_out(desk: Desk, ct, tmp_path, monkeypatch, maker) -> None:
    given, missing, extra = bright_engine.faulty(bright_engine.scan()[1])
    desk.bring(segmentation(maker, ct, tmp_path / "seg.dcm"), monkeypatch)
    name, made, uid, code = {"ours": ("Heart", "AUTOMATIC", "1.2.826.0.1.77", "80891009"),
                             "others'": ("Lien", "MANUAL", "1.2.826.0.1.88", "78961009")}[maker]
    assert np.array_equal(desk.mask, given) and (desk.finding.display, desk.finding.origin) == (name, "imported")
    assert (desk.tags["DICOM.SegmentAlgorithmType"], desk.tags["DICOM.SegmentAlgorithmName"]) == (made, "")
    assert desk.finding.volume_ml == pytest.approx(given.sum() * bright_engine.SPACING ** 3 / 1000)
    desk.click(ADD, MISSING)
    assert desk.mask[missing].mean() > 0.98 and desk.mask[extra].all() and not (given & ~desk.mask).any()
    added = desk.mask
    desk.click(REMOVE, EXTRA)
    corrected = desk.mask
    assert not corrected[extra & ~bright_engine.scan()[1]].any() and corrected[missing].mean() > 0.98
    assert (desk.finding.origin, desk.tags["DICOM.SegmentAlgorithmType"]) == ("corrected", "SEMIAUTOMATIC")
    assert desk.finding.volume_ml == pytest.approx(corrected.sum() * bright_engine.SPACING ** 3 / 1000)
    desk.ui.undoButton.click()
    desk.app.process(60)
    assert np.array_equal(desk.mask, added)
    desk.click(REMOVE, EXTRA)                       # the engine goes on from what the scene shows
    assert np.array_equal(desk.mask, corrected)
    segment = desk.exported(tmp_path / "out")
    assert (segment.SegmentLabel, segment.SegmentAlgorithmType, segment.TrackingUID) == (name, "SEMIAUTOMATIC", uid)
    assert segment.SegmentDescription == "Changed since it was imported."
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == code


def test_an_engine_that_was_started_anew_corrects_what_the_scene_shows(desk: Desk, ct, tmp_path, monkeypatch) -> None:
    _, missing, extra = bright_engine.faulty(bright_engine.scan()[1])
    desk.bring(segmentation("ours", ct, tmp_path / "seg.dcm"), monkeypatch)
    desk.change_engine()
    desk.click(ADD, MISSING)
    assert desk.mask[missing].mean() > 0.98 and desk.mask[extra].all(), desk.words


def test_what_does_not_belong_to_the_ct_is_refused_in_words(desk: Desk, ct, tmp_path, monkeypatch) -> None:
    path = segmentation("others'", ct, tmp_path / "seg.dcm")
    dataset = pydicom.dcmread(path)
    dataset.FrameOfReferenceUID = "1.2.9"
    dataset.save_as(path)
    desk.bring(path, monkeypatch)
    assert "frame of reference 1.2.9" in desk.words and desk.controller.case.writer.findings() == []
    desk.ui.ctSelector.setCurrentNode(None)
    desk.ui.importButton.click()
    assert "No CT is chosen" in desk.words


def test_images_that_the_database_lacks_are_not_referred_to_and_the_others_are(desk: Desk, ct, tmp_path, monkeypatch) -> None:
    desk.bring(segmentation("ours", ct, tmp_path / "seg.dcm"), monkeypatch)
    uids = desk.ct.GetAttribute("DICOM.instanceUIDs").split()
    for uid in (uids[0], uids[20]):
        desk.app.qapp.dicomDatabase()._insert(uid, "")
    desk.controller.refresh()
    assert "the segmentation refers to those that are" in desk.ui.exportPlanLabel.text
    desk.exported(tmp_path / "out")
    assert "Images of the CT are missing" in desk.ui.exportLabel.text
    (path,) = (tmp_path / "out").rglob("segmentation.dcm")
    (series,) = pydicom.dcmread(path).ReferencedSeriesSequence
    assert {i.ReferencedSOPInstanceUID for i in series.ReferencedInstanceSequence} == {*uids} - {uids[0], uids[20]}
