"""3D Slicer's own reading code (slicer-core) finds names, colours, terminology and positions in what was written."""

from __future__ import annotations

import numpy as np
import pytest
from ct_files import OBLIQUE, a_ct
from ctreasoner.geometry import Volume
from ctreasoner.io import BoxMarkup, LineMarkup, Segment, terminology_entry, write_markups, write_seg_nrrd
from ctreasoner.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def slicer():
    import slicer
    import vtk

    vtk.vtkObject.GlobalWarningDisplayOff()
    return slicer


@pytest.fixture
def scene(slicer):
    scene = slicer.vtkMRMLScene()
    scene.AddNode(slicer.vtkMRMLSelectionNode())
    slicer.vtkSlicerSegmentationsModuleLogic().SetMRMLScene(scene)  # registers the converters
    return scene


def read_segmentation(slicer, scene, path):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    return node


def voxels_ras(slicer, node, segment_id) -> np.ndarray:
    """Sorted RAS centres of a segment's voxels."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    image, matrix = slicer.vtkOrientedImageData(), vtk.vtkMatrix4x4()
    node.GetBinaryLabelmapRepresentation(segment_id, image)
    image.GetImageToWorldMatrix(matrix)
    affine = np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])
    e = image.GetExtent()
    shape = (e[5] - e[4] + 1, e[3] - e[2] + 1, e[1] - e[0] + 1)
    index = np.argwhere(vtk_to_numpy(image.GetPointData().GetScalars()).reshape(shape).T) + [e[0], e[2], e[4]]
    return np.round(np.sort((index @ affine[:3, :3].T + affine[:3, 3]).view("f8,f8,f8"), axis=0).view("f8"), 4)


@pytest.mark.parametrize("second", [(10, 12, 6), (4, 5, 2)], ids=["apart", "overlapping"])
def test_slicer_reads_segments(tmp_path, slicer, scene, second):
    import vtk

    volume, vocabulary = Volume(a_ct(), OBLIQUE), Vocabulary.load()
    mask = np.zeros((5, 6, 4), np.uint8)
    mask[1:, 1:, :3] = 1
    segments = [Segment.named("parotid_left", mask, (2, 3, 1), vocabulary, id="a1.o1"),
                Segment.named("thing", mask, second, vocabulary, id="a1.o2", display="What was clicked")]
    write_seg_nrrd(segments, volume, tmp_path / "s.seg.nrrd")
    node = read_segmentation(slicer, scene, tmp_path / "s.seg.nrrd")
    assert node.GetSegmentation().GetNumberOfSegments() == 2
    for segment in segments:
        read, text = node.GetSegmentation().GetSegment(segment.id), vtk.mutable("")
        assert read.GetName() == segment.display
        assert np.allclose(np.array(read.GetColor()) * 255, segment.colour, atol=0.01)
        assert read.GetTag("TerminologyEntry", text) and str(text) == terminology_entry(segment)
        assert read.GetTag("DICOM.SegmentAlgorithmType", text) and str(text) == "AUTOMATIC"
        expected = volume.index_to_world(np.argwhere(mask) + segment.first_voxel)
        expected = np.round(np.sort(np.ascontiguousarray(expected).view("f8,f8,f8"), axis=0).view("f8"), 4)
        assert np.allclose(voxels_ras(slicer, node, segment.id), expected, atol=1e-3)


def test_slicer_reads_boxes_and_lines(tmp_path, slicer, scene):
    axes = ((0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0))
    write_markups([BoxMarkup(name="Aorta", centre_ras=(10, -20, 30), size_mm=(10, 20, 40), axes=axes, colour=(255, 0, 51)),
                   LineMarkup(name="Long axis", ends_ras=((1, 2, 3), (4, 6, 3)))], tmp_path / "m.mrk.json")
    logic = slicer.vtkSlicerMarkupsLogic()
    logic.SetMRMLScene(scene)
    assert logic.LoadMarkups(str(tmp_path / "m.mrk.json"), "m")
    roi = scene.GetFirstNodeByClass("vtkMRMLMarkupsROINode")
    line = scene.GetFirstNodeByClass("vtkMRMLMarkupsLineNode")
    matrix = roi.GetObjectToWorldMatrix()
    assert roi.GetName() == "Aorta" and np.allclose(roi.GetSize(), (10, 20, 40)) and np.allclose(roi.GetCenter(), (10, -20, 30))
    assert np.allclose([[matrix.GetElement(r, c) for r in range(3)] for c in range(3)], axes)
    assert np.allclose(roi.GetDisplayNode().GetSelectedColor(), (1, 0, 0.2))
    ends = np.zeros((2, 3))
    for n in range(2):
        line.GetNthControlPointPositionWorld(n, ends[n])
    assert line.GetName() == "Long axis" and np.allclose(ends, ((1, 2, 3), (4, 6, 3)))
