"""A copy for research: nothing of the patient is left, everything still belongs together, and the voxels are the same."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from ctreasoner import cli
from ctreasoner.dicom import build_seg, read_series, write_sr
from ctreasoner.dicom.deidentify import NOTES, deidentify
from ctreasoner.dicom.files import save as save_file
from ctreasoner.errors import InputError
from dicom_checks import complaints
from dicom_findings import SHAPE, findings
from dicom_series import hounsfield, save, series
from pydicom.dataset import Dataset

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")
# whatever names the patient, the day, the place or the people; each is searched for in every byte of the copies
SECRETS = ("Müller", "19500101", "20260102", "101112", "Hausarzt", "Klinik", "ACC-77", "typed by somebody", "SN-4711",
           "Doe^Jane", "Thorax wegen", "Befund", "Kommentar", "vertraulich")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A CT with everything that a scanner knows of a patient, a segmentation and a report on it, a scout and a capture."""
    folder = tmp_path_factory.mktemp("study")
    slices = series(hounsfield(SHAPE) // 2 * 2)
    for ds in slices:
        ds.ReferringPhysicianName, ds.InstitutionName, ds.AccessionNumber = "Hausarzt^Doktor", "Klinik", "ACC-77"
        ds.DeviceSerialNumber, ds.StationName = "SN-4711", "SN-4711"
        ds.StudyDescription, ds.ImageComments, ds.PatientComments = "Thorax wegen Husten", "Kommentar", "vertraulich"
        ds.AcquisitionDate, ds.AcquisitionDateTime = "20260102", "20260102101112"
        request = Dataset()
        request.RequestedProcedureDescription, request.RequestingPhysician = "Befund", "Hausarzt^Doktor"
        request.ReferencedStudySequence = [Dataset()]
        request.ReferencedStudySequence[0].ReferencedSOPInstanceUID = "1.2.826.0.1.1.9"
        ds.RequestAttributesSequence = [request]
        other = Dataset()
        other.PatientID, other.IssuerOfPatientID = "P1-Klinik", "Klinik"
        ds.OtherPatientIDsSequence = [other]
        block = ds.private_block(0x0019, "VENDOR", create=True)
        block.add_new(1, "LO", "vertraulich")
        ds.add_new(0x60003000, "OW", b"vertraulich ")     # an overlay
    save(slices, folder, "CT")
    got = read_series(folder)
    items = findings()
    seg = build_seg(items, got.volume, got.sources, created=WHEN)
    write_sr(folder / "sr.dcm", items, seg, got.volume, got.sources, model="compact 1", created=WHEN, accepted_by="Doe^Jane")
    seg.SegmentSequence[0].SegmentLabel = seg.SegmentSequence[0].SegmentDescription = "typed by somebody"
    save_file(seg, folder / "seg.dcm")
    scout = series(hounsfield((30, 40, 1)), number=9)
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(scout, folder, "SC")
    burned = series(hounsfield((9, 9, 1)), number=8, modality="OT", sop_class="1.2.840.10008.5.1.4.1.1.7")
    burned[0].BurnedInAnnotation = "YES"
    save(burned, folder, "CAP")
    return folder


@pytest.fixture(scope="module")
def copy(study, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("research") / "copy"
    deidentify(study, folder)
    return folder


def of(folder: Path, modality: str) -> list[pydicom.Dataset]:
    found = [pydicom.dcmread(p) for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".json"]
    return [ds for ds in found if ds.Modality == modality]


def uids_of(dataset: Dataset) -> set[str]:
    """Return every identifier in an object that is somebody's, at any depth (that of our own coding scheme is nobody's)."""
    found = set()
    for element in dataset.iterall():
        if element.VR == "UI" and element.keyword != "CodingSchemeUID":
            values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
            found |= {str(v) for v in values if v and not str(v).startswith("1.2.840.10008.")}
    return found


def test_what_is_searched_for_is_there_before(study):
    whole = b"".join(path.read_bytes() for path in study.iterdir())
    missing = [s for s in SECRETS if s.encode("latin-1") not in whole and s.encode() not in whole]
    assert missing == []


def test_no_word_date_or_number_of_the_patient_is_in_any_byte(copy):
    for path in copy.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        leaked = [s for s in SECRETS if s.encode("latin-1") in data or s.encode() in data]
        assert leaked == [], path.name


def test_no_identifier_of_the_original_is_in_the_copy_and_names_of_files_are_new(study, copy):
    modalities = ("CT", "SEG", "SR")
    before = set().union(*(uids_of(ds) for m in modalities for ds in of(study, m)))
    after = set().union(*(uids_of(ds) for m in modalities for ds in of(copy, m)))
    assert before and after and before & after == set()
    assert not any(uid in str(path) for path in copy.rglob("*") for uid in before | after)


def test_everything_still_belongs_together(copy):
    slices, (seg,), (report,) = of(copy, "CT"), of(copy, "SEG"), of(copy, "SR")
    images = {ds.SOPInstanceUID for ds in slices}
    assert len(images) == SHAPE[2]
    named = {item.ReferencedSOPInstanceUID for item in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert named and named <= images
    assert {ds.StudyInstanceUID for ds in (*slices, seg, report)} == {seg.StudyInstanceUID}
    assert {ds.FrameOfReferenceUID for ds in (*slices, seg)} == {seg.FrameOfReferenceUID}
    patients = {(str(ds.PatientName), ds.PatientID) for ds in (*slices, seg, report)}
    assert len(patients) == 1 and next(iter(patients))[1].startswith("ANON-")
    content = highdicom.sr.srread(next(p for p in copy.rglob("*.dcm")
                                       if pydicom.dcmread(p).Modality == "SR"))
    groups = content.content.get_volumetric_roi_measurement_groups()
    tracked = {segment.TrackingUID for segment in seg.SegmentSequence}
    assert {group.tracking_uid for group in groups} == tracked
    assert {group.referenced_segment[0].referenced_sop_instance_uid for group in groups} == {seg.SOPInstanceUID}


def test_voxels_masks_codes_and_measurements_are_the_same(study, copy):
    before, after = read_series(study).volume, read_series(copy).volume
    assert before.identity == after.identity
    (seg_before,), (seg_after,) = of(study, "SEG"), of(copy, "SEG")
    assert seg_before.PixelData == seg_after.PixelData
    types = [[s.SegmentedPropertyTypeCodeSequence[0].CodeValue for s in seg.SegmentSequence] for seg in (seg_before, seg_after)]
    assert types[0] == types[1]

    def numbers(report):
        return [str(e.value) for e in report.iterall() if e.keyword == "NumericValue"]

    assert numbers(*of(study, "SR")) == numbers(*of(copy, "SR")) != []


def test_the_report_s_free_text_is_cleared(study, copy):
    texts = {str(e.value) for e in of(copy, "SR")[0].iterall() if e.keyword == "TextValue"}
    assert texts == {"Removed"}
    assert len({str(e.value) for e in of(study, "SR")[0].iterall() if e.keyword == "TextValue"}) > 3


def test_private_attributes_overlays_and_nested_names_are_gone_and_the_method_is_named(copy):
    first = of(copy, "CT")[0]
    assert not any(e.tag.is_private for e in first.iterall()) and 0x60003000 not in first
    assert "OtherPatientIDsSequence" not in first
    assert first.PatientIdentityRemoved == "YES"
    assert [c.CodeValue for c in first.DeidentificationMethodCodeSequence] == ["113100", "113104"]


def test_what_was_done_is_written_down_without_a_value(copy):
    done = json.loads((copy / "deidentified.json").read_text())
    assert done["objects"] == SHAPE[2] + 2
    assert done["left_out"] == {"image with words burned in": 1, "scout": 1}
    assert done["removed"]["ImageComments"] == done["emptied"]["PatientBirthDate"] - 2 == SHAPE[2]
    assert done["private_attributes"] == 2 * SHAPE[2] and done["identifiers"] > SHAPE[2]
    assert done["notes"] == list(NOTES)


def test_another_call_gives_other_identifiers(study, copy, tmp_path):
    deidentify(study, tmp_path / "second")
    assert not uids_of(of(copy, "CT")[0]) & set().union(*(uids_of(ds) for ds in of(tmp_path / "second", "CT")))


@pytest.mark.dciodvfy
@pytest.mark.parametrize("modality", ["SEG", "SR"])
def test_the_copies_are_valid_objects(copy, modality):
    for path in copy.rglob("*.dcm"):
        if pydicom.dcmread(path).Modality == modality:
            assert [line for line in complaints(path) if line.startswith("Error")] == []


def test_a_folder_that_is_there_or_nothing_to_copy_is_one_sentence(study, tmp_path):
    with pytest.raises(InputError, match="is there already"):
        deidentify(study, tmp_path)
    scout = series(hounsfield((9, 9, 1)), modality="MR", sop_class="1.2.840.10008.5.1.4.1.1.4")
    with pytest.raises(InputError, match="no CT, segmentation, report or contour"):
        deidentify(save(scout, tmp_path / "mr"), tmp_path / "out")
    assert not (tmp_path / "out").exists() and [p.name for p in tmp_path.iterdir()] == ["mr"]


def test_a_damaged_file_leaves_nothing_behind(tmp_path):
    folder = save(series(), tmp_path / "ct")
    (folder / "IM0004").write_bytes((folder / "IM0004").read_bytes()[:-9])
    with pytest.raises(InputError, match="truncated"):
        deidentify(folder, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["ct"]


def test_the_verb_says_what_it_did(study, tmp_path, capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["deidentify", str(study), "--out", str(tmp_path / "copy")])
    printed = capsys.readouterr().out
    assert not left.value.code and f"{SHAPE[2] + 2} objects copied" in printed and "1 scout" in printed and "face" in printed
    assert np.all(read_series(tmp_path / "copy").volume.voxels == read_series(study).volume.voxels)
