"""Contours are read back by matplotlib's polygons on the centres of the voxels: the same mask, wherever its slices lie."""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from ctreasoner.dicom import SegObject, read_series, write_rtstruct
from ctreasoner.dicom.contours import outlines
from ctreasoner.dicom.derived import write_derived
from ctreasoner.errors import InputError
from ctreasoner.geometry import Volume
from ctreasoner.vocabulary import Vocabulary
from dicom_checks import complaints
from dicom_findings import SHAPE, findings
from dicom_series import hounsfield, save, series
from matplotlib.path import Path as Polygon
from scipy.ndimage import gaussian_filter, label

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)


def filled(polygons, shape) -> np.ndarray:
    """Return the mask [row, column] whose centres lie inside an odd number of times."""
    rows, columns = np.indices(shape)
    centres = np.stack([columns.ravel(), rows.ravel()], axis=1).astype(float)
    mask = np.zeros(shape, bool)
    for polygon in polygons:
        mask ^= Polygon(polygon).contains_points(centres).reshape(shape)
    return mask


def area(polygon: np.ndarray) -> float:
    x, y = polygon.T
    return 0.5 * float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))


@pytest.mark.parametrize("seed", range(40))
def test_polygons_enclose_the_mask_and_its_area_with_holes_as_keyholes(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 30, 2))
    mask = rng.random(shape) > rng.random() if seed % 2 else gaussian_filter(rng.random(shape), 1.5) > 0.5
    polygons = outlines(mask)
    np.testing.assert_array_equal(filled(polygons, shape), mask)
    assert sum(map(area, polygons)) == pytest.approx(mask.sum())       # clockwise outside, against it round holes
    assert len(polygons) == label(mask)[1]                             # one for each connected part, whatever its holes


def test_a_ring_with_an_island_in_its_hole_is_two_polygons():
    mask = np.ones((9, 9), bool)
    mask[2:7, 2:7] = False
    mask[4, 4] = True
    ring, island = outlines(mask)
    assert (area(ring), area(island)) == (56, 1)
    assert len(ring) == 4 + 5 + 2           # the outside, the hole and back to its first corner, both ends of the channel


def read_back(path: Path, sources) -> dict[str, np.ndarray]:
    """Return {ROI name: mask [column, row, slice]}, by the image that each contour names."""
    dataset = pydicom.dcmread(path)
    names = {roi.ROINumber: roi.ROIName for roi in dataset.StructureSetROISequence}
    place = {source.SOPInstanceUID: k for k, source in enumerate(sources)}
    masks = {}
    for roi in dataset.ROIContourSequence:
        mask = np.zeros((int(sources[0].Columns), int(sources[0].Rows), len(sources)), bool)
        for contour in roi.ContourSequence:
            k = place[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            source = sources[k]
            points = np.array(contour.ContourData, float).reshape(-1, 3) - np.array(source.ImagePositionPatient, float)
            across, down = np.array(source.ImageOrientationPatient, float).reshape(2, 3)
            assert np.abs(points @ np.cross(across, down)).max() < 1e-3             # in the plane of its slice
            assert contour.ContourGeometricType == "CLOSED_PLANAR" and len(points) == contour.NumberOfContourPoints
            polygon = np.stack([points @ across / source.PixelSpacing[1], points @ down / source.PixelSpacing[0]], axis=1)
            mask[:, :, k] ^= filled([polygon], mask.shape[1::-1]).T
        masks[names[roi.ReferencedROINumber]] = mask
    return masks


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


@pytest.mark.parametrize("degrees", [(0, 0, 0), (12, -20, 35)], ids=["axial", "oblique"])
def test_every_voxel_comes_back_from_the_contours(tmp_path, degrees):
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag([-0.7, 0.8, 2.5])
    volume = Volume(hounsfield(SHAPE), affine)
    sources = write_derived(volume, tmp_path / "ct")
    path = write_rtstruct(tmp_path / "rt.dcm", findings(), volume, sources)
    series_volume = read_series(tmp_path / "ct").volume
    for item, (name, mask) in zip(findings(), read_back(path, sources).items(), strict=True):
        assert name == item.display
        wanted = np.zeros(SHAPE, bool)
        wanted[tuple(slice(f, f + n) for f, n in zip(item.first_voxel, item.mask.shape, strict=True))] = item.mask
        there = np.rint(volume.world_to_index(series_volume.index_to_world(np.argwhere(mask)))).astype(int)
        got = np.zeros(SHAPE, bool)
        got[tuple(there.T)] = True
        assert dice(got, wanted) == 1.0


def test_names_colours_codes_and_references_are_those_of_the_findings(tmp_path):
    got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
    paths = [write_rtstruct(tmp_path / f"{n}.dcm", findings(), got.volume, got.sources, created=WHEN) for n in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    dataset = pydicom.dcmread(paths[0])
    assert str(dataset.PatientName) == "Müller^Test" and dataset.StudyInstanceUID == got.sources[0].StudyInstanceUID
    assert (dataset.ApprovalStatus, dataset.Modality) == ("UNAPPROVED", "RTSTRUCT")
    assert [r.ROIGenerationAlgorithm for r in dataset.StructureSetROISequence] == [i.algorithm for i in findings()]
    vocabulary = Vocabulary.load()
    assert tuple(dataset.ROIContourSequence[1].ROIDisplayColor) == vocabulary["aorta"].colour
    code = dataset.RTROIObservationsSequence[1].RTROIIdentificationCodeSequence[0]
    assert code.CodeValue == vocabulary["aorta"].type[0]
    frame = dataset.ReferencedFrameOfReferenceSequence[0]
    images = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].ContourImageSequence
    assert {i.ReferencedSOPInstanceUID for i in images} == {s.SOPInstanceUID for s in got.sources}
    assert frame.FrameOfReferenceUID == got.sources[0].FrameOfReferenceUID


def test_without_a_voxel_there_are_no_contours(tmp_path):
    got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
    with pytest.raises(InputError, match="no mask"):
        write_rtstruct(tmp_path / "rt.dcm", [SegObject("heart", "Heart", np.zeros((2, 2, 2)), (0, 0, 0))], got.volume, got.sources)


@pytest.mark.dciodvfy
def test_dciodvfy_finds_nothing_that_is_not_explained(tmp_path):
    got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
    assert complaints(write_rtstruct(tmp_path / "rt.dcm", findings(), got.volume, got.sources)) == []
