"""What we wrote comes back whole; what others wrote as far as it goes; what belongs elsewhere is refused, both sides named."""

from __future__ import annotations

import datetime
import zipfile
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from ctreasoner.dicom import SegObject, build_seg, read_findings, read_series, write_rtstruct, write_seg, write_sr
from ctreasoner.dicom.derived import derived_headers, write_derived
from ctreasoner.errors import InputError
from ctreasoner.geometry import Volume
from dicom_findings import SHAPE, findings
from dicom_series import hounsfield, save, series

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path_factory.mktemp("source") / "ct"))


def whole(item: SegObject, volume: Volume) -> np.ndarray:
    mask = np.zeros(volume.shape, bool)
    mask[tuple(slice(f, f + n) for f, n in zip(item.first_voxel, item.mask.shape, strict=True))] = item.mask
    return mask


def written(folder: Path, source, items=None) -> Path:
    """Write segmentation and report into a folder."""
    items = items or findings()
    folder.mkdir(exist_ok=True)
    segmentation = build_seg(items, source.volume, source.sources, created=WHEN)
    segmentation.save_as(folder / "seg.dcm", enforce_file_format=True)
    write_sr(folder / "sr.dcm", items, segmentation, source.volume, source.sources, created=WHEN)
    return folder


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_our_segmentation_and_report_bring_back_everything(source, tmp_path, packed):
    place = written(tmp_path / "objects", source)
    if packed:
        with zipfile.ZipFile(tmp_path / "o.zip", "w") as archive:
            for path in place.iterdir():
                archive.write(path, path.name)
        place = tmp_path / "o.zip"
    got, notes = read_findings(place, source.volume, source.sources)
    assert notes == []
    for back, item in zip(got, findings(), strict=True):
        np.testing.assert_array_equal(whole(back, source.volume), whole(item, source.volume))
        assert (back.key, back.display, back.algorithm) == (item.key, item.display, item.algorithm)
        assert (back.tracking_id, back.tracking_uid) == (item.tracking_id, item.tracking_uid)
        assert (dict(back.attributes), back.text) == (dict(item.attributes), item.text)
        coded = {m["name"]: (m["value"], m["unit"]) for m in item.measurements if m["name"] != "sphericity"}
        assert {m["name"]: (m["value"], m["unit"]) for m in back.measurements} == coded


def test_what_was_read_and_is_written_again_keeps_codes_and_tracking(source, tmp_path):
    got, _ = read_findings(written(tmp_path / "objects", source), source.volume, source.sources)
    path = write_seg(tmp_path / "again.dcm", got, source.volume, source.sources, created=WHEN)
    old, new = pydicom.dcmread(tmp_path / "objects" / "seg.dcm"), pydicom.dcmread(path)
    for a, b in zip(old.SegmentSequence, new.SegmentSequence, strict=True):
        for keyword in ("TrackingID", "TrackingUID", "SegmentLabel", "SegmentedPropertyTypeCodeSequence", "SegmentAlgorithmType",
                        "SegmentedPropertyCategoryCodeSequence"):
            assert a.get(keyword) == b.get(keyword), keyword
        assert np.abs(np.subtract(a.RecommendedDisplayCIELabValue, b.RecommendedDisplayCIELabValue)).max() < 600   # 1 of 100
    assert old.PixelData == new.PixelData


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "FRACTIONAL"])
@pytest.mark.parametrize("degrees", [(0, 0, 0), (10, -25, 40)], ids=["axial", "oblique"])
def test_every_kind_of_segmentation_comes_back_voxel_for_voxel(tmp_path, kind, degrees):
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ np.diag([0.7, -0.8, 2.5])[:, [1, 0, 2]]
    volume = Volume(hounsfield(SHAPE), affine)
    items = findings()[:2] if kind == "LABELMAP" else findings()
    path = write_seg(tmp_path / "a.dcm", items, volume, kind=kind)
    got, _ = read_findings(path, volume, derived_headers(volume))
    for back, item in zip(got, items, strict=True):
        np.testing.assert_array_equal(whole(back, volume), whole(item, volume))


def test_contours_become_findings_too(source, tmp_path):
    path = write_rtstruct(tmp_path / "rt.dcm", findings(), source.volume, source.sources)
    got, notes = read_findings(path, source.volume, source.sources)
    assert notes == [] and [g.display for g in got] == [f.display for f in findings()]
    for back, item in zip(got, findings(), strict=True):
        np.testing.assert_array_equal(whole(back, source.volume), whole(item, source.volume))
    assert [g.key for g in got][1:] == ["aorta", "lung_nodule", "thing"]


def test_an_open_contour_and_one_between_the_slices_are_left_out_and_said(source, tmp_path):
    dataset = pydicom.dcmread(write_rtstruct(tmp_path / "rt.dcm", findings(), source.volume, source.sources))
    first, second, *_ = dataset.ROIContourSequence[0].ContourSequence
    first.ContourGeometricType = "OPEN_PLANAR"
    second.ContourData = [float(v) + (1.2 if n % 3 == 2 else 0) for n, v in enumerate(second.ContourData)]
    dataset.save_as(tmp_path / "changed.dcm", enforce_file_format=True)
    _, notes = read_findings(tmp_path / "changed.dcm", source.volume, source.sources)
    assert notes == ["2 contours that are open or lie between the slices were left out."]


def test_a_segmentation_by_others_on_turned_frames_without_tracking_is_placed_right(source, tmp_path):
    # columns and rows run the other way, and the vocabulary does not know the codes
    mask = np.zeros((SHAPE[2], SHAPE[1], SHAPE[0]), bool)       # slice, row, column
    mask[2:5, 3:9, 4:7] = True
    orientation = [-1.0, 0, 0, 0, -1.0, 0]
    first = source.sources[0]
    turned = [np.array(s.ImagePositionPatient, float) + [0.8 * (SHAPE[0] - 1), 0.7 * (SHAPE[1] - 1), 0] for s in source.sources]
    description = hd.seg.SegmentDescription(
        segment_number=1, segment_label="Spleen", algorithm_type="MANUAL",
        segmented_property_category=hd.sr.CodedConcept("123037004", "SCT", "Anatomical Structure"),
        segmented_property_type=hd.sr.CodedConcept("78961009", "SCT", "Spleen"))
    seg = hd.seg.Segmentation(
        source_images=list(source.sources), pixel_array=mask[:, ::-1, ::-1].astype(np.uint8), segmentation_type="BINARY",
        segment_descriptions=[description], series_instance_uid="1.2.3", series_number=1, sop_instance_uid="1.2.3.4",
        instance_number=1, manufacturer="Others", manufacturer_model_name="x", software_versions="1", device_serial_number="1",
        plane_orientation=hd.PlaneOrientationSequence("PATIENT", orientation),
        pixel_measures=hd.PixelMeasuresSequence(list(first.PixelSpacing), 2.5, 2.5),
        plane_positions=[hd.PlanePositionSequence("PATIENT", p.tolist()) for p in turned])
    seg.save_as(tmp_path / "others.dcm", enforce_file_format=True)
    (got,), _ = read_findings(tmp_path / "others.dcm", source.volume, source.sources)
    np.testing.assert_array_equal(whole(got, source.volume), mask.transpose(2, 1, 0))
    assert (got.key, got.display, got.coding.type[2], got.tracking_uid) == ("thing", "Spleen", "Spleen", "")
    again = pydicom.dcmread(write_seg(tmp_path / "ours.dcm", [got], source.volume, source.sources))
    assert again.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "78961009"


def changed(path: Path, target: Path, **values) -> Path:
    dataset = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    dataset.save_as(target, enforce_file_format=True)
    return target


def test_another_patient_or_frame_of_reference_is_refused_and_both_are_named(source, tmp_path):
    path = written(tmp_path / "objects", source) / "seg.dcm"
    with pytest.raises(InputError, match="belongs to the patient 'P2', the CT to 'P1'"):
        read_findings(changed(path, tmp_path / "p.dcm", PatientID="P2"), source.volume, source.sources)
    with pytest.raises(InputError, match=r"frame of reference 1\.2\.9, the CT in 1\.2\.826\.0\.1\.2"):
        read_findings(changed(path, tmp_path / "f.dcm", FrameOfReferenceUID="1.2.9"), source.volume, source.sources)
    contours = write_rtstruct(tmp_path / "rt.dcm", findings(), source.volume, source.sources)
    dataset = pydicom.dcmread(contours)
    dataset.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID = dataset.FrameOfReferenceUID = "1.2.9"
    dataset.save_as(tmp_path / "rf.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="set of contours lies in the frame of reference"):
        read_findings(tmp_path / "rf.dcm", source.volume, source.sources)


def test_what_cannot_be_imported_is_one_sentence(source, tmp_path):
    place = written(tmp_path / "objects", source)
    with pytest.raises(InputError, match="report refers to a segmentation that is not here"):
        read_findings(place / "sr.dcm", source.volume, source.sources)
    write_derived(source.volume, tmp_path / "ct")
    with pytest.raises(InputError, match="no segmentation, report or contours"):
        read_findings(tmp_path / "ct", source.volume, source.sources)
    dataset = pydicom.dcmread(place / "seg.dcm")
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.5, 0.5]
    dataset.save_as(tmp_path / "spacing.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="another grid"):
        read_findings(tmp_path / "spacing.dcm", source.volume, source.sources)
    del dataset.PerFrameFunctionalGroupsSequence
    dataset.save_as(tmp_path / "damaged.dcm", enforce_file_format=True)
    with pytest.raises(InputError, match="cannot be read"):
        read_findings(tmp_path / "damaged.dcm", source.volume, source.sources)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.97])
def test_a_file_that_was_cut_is_refused(source, tmp_path, share):
    path = written(tmp_path / "objects", source) / "seg.dcm"
    data = path.read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError):
        read_findings(tmp_path / "cut.dcm", source.volume, source.sources)


def test_a_segment_without_codes_is_taken_by_its_name(source, tmp_path):
    item = replace(findings()[0], display="Aorta")
    dataset = pydicom.dcmread(write_seg(tmp_path / "a.dcm", [item], source.volume, source.sources))
    for keyword in ("SegmentedPropertyTypeCodeSequence", "SegmentedPropertyCategoryCodeSequence", "RecommendedDisplayCIELabValue",
                    "TrackingID", "TrackingUID"):
        del dataset.SegmentSequence[0][keyword]
    dataset.save_as(tmp_path / "b.dcm", enforce_file_format=True)
    (got,), notes = read_findings(tmp_path / "b.dcm", source.volume, source.sources)
    assert (got.key, got.tracking_id) == ("aorta", "")
    assert notes == ["1 segments had no codes; they are taken by their names."]
