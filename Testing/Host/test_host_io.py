"""Nodes and scenes go to files and come back through ``slicer.util``, on slicer-core's storage nodes."""

from __future__ import annotations

from pathlib import Path

import dicom_series
import numpy as np
import slicer


def a_ct():
    array = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    return array, slicer.util.addVolumeFromArray(array, name="CT")


def test_a_volume_is_saved_and_loaded(app, tmp_path):
    array, node = a_ct()
    assert slicer.util.saveNode(node, str(tmp_path / "ct.nrrd"))
    loaded = slicer.util.loadVolume(str(tmp_path / "ct.nrrd"))
    assert np.array_equal(slicer.util.arrayFromVolume(loaded), array)


def test_a_segmentation_is_saved_and_loaded(app, tmp_path):
    array, ct = a_ct()
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.SetReferenceImageGeometryParameterFromVolumeNode(ct)
    node.GetSegmentation().AddEmptySegment("liver", "Liver")
    slicer.util.updateSegmentBinaryLabelmapFromArray((array > 60).astype(np.uint8), node, "liver", ct)
    assert slicer.util.saveNode(node, str(tmp_path / "x.seg.nrrd"))
    loaded = slicer.util.loadSegmentation(str(tmp_path / "x.seg.nrrd"))
    assert loaded.GetSegmentation().GetNthSegmentID(0) == "liver"


def test_a_scene_is_saved_and_loaded_and_its_items_come_back(app, tmp_path):
    text = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTextNode", "Words")
    text.SetText("αβγ")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    node = slicer.util.getNode("Words")
    assert node.GetText() == "αβγ"
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    assert hierarchy.GetItemByDataNode(node)


def test_a_missing_file_is_a_runtime_error(app, tmp_path):
    import pytest
    with pytest.raises(RuntimeError, match="Failed to load"):
        slicer.util.loadVolume(str(tmp_path / "none.nrrd"))


def test_the_dicom_database_knows_what_it_was_told(app, tmp_path):
    from DICOMLib import DICOMUtils
    app.qapp.dicomDatabase()._insert("1.2.3", tmp_path / "a.dcm")
    assert slicer.dicomDatabase.fileForInstance("1.2.3") == str(tmp_path / "a.dcm")
    assert slicer.dicomDatabase.fileForInstance("9") == ""
    first, *_ = slices = dicom_series.series()
    folder = dicom_series.save(slices, tmp_path / "in")
    (folder / "notes.txt").write_text("no DICOM")
    assert DICOMUtils.importDicom(str(folder), slicer.dicomDatabase, True)
    kept = Path(slicer.dicomDatabase.fileForInstance(first.SOPInstanceUID))
    assert kept.is_file() and kept.is_relative_to(slicer.dicomDatabase.databaseDirectory)
    assert all(slicer.dicomDatabase.fileForInstance(s.SOPInstanceUID) for s in slices)


def test_an_import_that_fails_says_so_and_does_not_raise(app, tmp_path, capsys):
    from DICOMLib import DICOMUtils
    folder = dicom_series.save(dicom_series.series(), tmp_path / "in")
    app.qapp.dicomDatabase()._folder, kept = str(folder / "000.dcm" / "x"), app.qapp.dicomDatabase()._folder
    (folder / "000.dcm").write_text("a file where the database's folder should be")
    assert DICOMUtils.importDicom(str(folder), slicer.dicomDatabase, True) is False
    app.qapp.dicomDatabase()._folder = kept
