"""A report is read back by highdicom and dcmqi: one group for each segment, its values, codes, words and observers."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pydicom
import pytest
from ctreasoner.appearance.attributes import ATTRIBUTES
from ctreasoner.appearance.measure import NAMES
from ctreasoner.dicom import build_seg, read_series, write_sr
from ctreasoner.errors import InputError
from ctreasoner.vocabulary import Vocabulary
from ctreasoner.vocabulary.codes import MEASUREMENTS, SCHEME, attribute_code, attribute_of, value_code
from dicom_checks import complaints, dcmqi
from dicom_findings import SHAPE, findings
from dicom_series import hounsfield, save, series

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path_factory.mktemp("sr") / "ct"))


@pytest.fixture(scope="module")
def report(source, tmp_path_factory) -> Path:
    """Return a report on four findings that a person accepted."""
    segmentation = build_seg(findings(), source.volume, source.sources, created=WHEN)
    folder = tmp_path_factory.mktemp("report")
    return write_sr(folder / "sr.dcm", findings(), segmentation, source.volume, source.sources, model="compact 1",
                    created=WHEN, accepted_by="Doe^Jane")


def groups_of(path: Path) -> list:
    import highdicom as hd

    return hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()


def test_there_is_one_group_for_each_segment_in_their_order(report):
    groups = groups_of(report)
    assert [g.tracking_identifier for g in groups] == ["a1.o1", "a1.o2", "a1.o3", "a1.o4"]
    assert [g.tracking_uid for g in groups] == [f"1.2.826.0.1.77.{n}" for n in (1, 2, 3, 4)]
    assert [g.referenced_segment[0].referenced_segment_numbers for g in groups] == [[1], [2], [3], [4]]
    vocabulary = Vocabulary.load()
    assert [g.finding_type.value for g in groups[:3]] == [vocabulary[i.key].type[0] for i in findings()[:3]]


def test_values_units_and_derivations_are_those_that_were_measured(report):
    def rows(group):
        return [(m.name.meaning, m.value, m.unit.value, m.derivation.meaning if m.derivation else None,
                 [site.value.meaning for site in m.finding_sites]) for m in group.get_measurements()]

    lung, aorta, *_ = groups_of(report)
    assert rows(lung) == [
        ("Volume", 10.5, "ml", None, []), ("Long Axis", 21.0, "mm", None, []), ("Short Axis", 12.0, "mm", None, []),
        ("Attenuation Coefficient", -99.25, "[hnsf'U]", "Mean", []),
        ("Attenuation Coefficient", 33.125, "[hnsf'U]", "Standard Deviation", [])]
    assert rows(aorta)[1:3] == [("Diameter", 31.5, "mm", "Maximum", []), ("Diameter", 27.25, "mm", "Maximum", ["Aortic arch"])]


def test_attributes_are_codes_of_a_scheme_that_the_report_itself_names(report):
    document = pydicom.dcmread(report)
    (scheme,) = document.CodingSchemeIdentificationSequence
    assert (scheme.CodingSchemeDesignator, scheme.CodingSchemeVersion) == (SCHEME, "1")
    nodule = groups_of(report)[2]
    found = dict(attribute_of(e.name.value, e.value.value) for e in nodule.get_qualitative_evaluations()
                 if e.name.scheme_designator == SCHEME)
    assert found == dict(findings()[2].attributes)


def test_images_of_a_group_are_the_slices_that_hold_its_segment(report, source):
    for group, item in zip(groups_of(report), findings(), strict=True):
        held = [k for k in range(item.mask.shape[2]) if item.mask[:, :, k].any()]
        wanted = {source.sources[item.first_voxel[2] + k].SOPInstanceUID for k in held}
        images = list(group.referenced_segment)[1:]
        assert {i.referenced_sop_instance_uid for i in images} == wanted
    document = pydicom.dcmread(report)
    named = {r.ReferencedSOPInstanceUID for s in document.CurrentRequestedProcedureEvidenceSequence
             for q in s.ReferencedSeriesSequence for r in q.ReferencedSOPSequence}
    segmentation = groups_of(report)[0].referenced_segment[0].referenced_sop_instance_uid
    assert segmentation in named and named <= {d.SOPInstanceUID for d in source.sources} | {segmentation}


def test_words_algorithm_and_observers_are_there_and_nothing_is_verified(report):
    import highdicom as hd

    document = hd.sr.srread(report)
    assert (document.VerificationFlag, document.CompletionFlag) == ("UNVERIFIED", "COMPLETE")
    assert "VerifyingObserverSequence" not in document
    assert str(document.PatientName) == "Müller^Test"
    assert "research use only" in document.SeriesDescription
    kinds = [c.observer_type.meaning for c in document.content.get_observer_contexts()]
    assert sorted(kinds) == ["Device", "Person"]
    text = report.read_bytes()
    assert b"The left lung measures 10 ml." in text and b"compact 1" in text and b"Doe^Jane" in text
    named = ["Algorithm Name" in [i.name.meaning for i in group[0].ContentSequence] for group in groups_of(report)]
    assert named == [True, True, True, False]       # the last one was drawn by hand


def test_without_a_person_the_device_alone_observed(source, tmp_path):
    import highdicom as hd

    segmentation = build_seg(findings(), source.volume, source.sources, created=WHEN)
    document = hd.sr.srread(write_sr(tmp_path / "sr.dcm", findings(), segmentation, source.volume, source.sources, created=WHEN))
    assert [c.observer_type.meaning for c in document.content.get_observer_contexts()] == ["Device"]


def test_the_same_findings_give_the_same_bytes_and_another_value_another_instance(source, tmp_path):
    segmentation = build_seg(findings(), source.volume, source.sources, created=WHEN)
    paths = [write_sr(tmp_path / f"{n}.dcm", findings(), segmentation, source.volume, source.sources, created=WHEN) for n in (1, 2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    changed = findings()
    changed[0].measurements[0]["value"] += 1
    other = write_sr(tmp_path / "3.dcm", changed, segmentation, source.volume, source.sources, created=WHEN)
    assert pydicom.dcmread(other).SOPInstanceUID != pydicom.dcmread(paths[0]).SOPInstanceUID


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_report_on_one_segment_and_on_a_label_map_names_its_images(source, tmp_path, kind):
    (item, *_) = findings()
    segmentation = build_seg([item], source.volume, source.sources, created=WHEN, kind=kind)
    path = write_sr(tmp_path / "sr.dcm", [item], segmentation, source.volume, source.sources, created=WHEN)
    (group,) = groups_of(path)
    segment, *images = group.referenced_segment
    assert segment.referenced_sop_class_uid == segmentation.SOPClassUID and len(images) == 5


def test_a_segmentation_of_other_findings_is_refused(source, tmp_path):
    segmentation = build_seg(findings()[:2], source.volume, source.sources, created=WHEN)
    with pytest.raises(InputError, match="does not hold the segments"):
        write_sr(tmp_path / "sr.dcm", findings(), segmentation, source.volume, source.sources)


def test_dcmqi_reads_every_group_value_and_attribute(report, tmp_path):
    dcmqi("tid1500reader", "--inputDICOM", report, "--outputMetadata", tmp_path / "m.json")
    content = json.loads((tmp_path / "m.json").read_text())
    assert content["VerificationFlag"] == "UNVERIFIED"
    groups = content["Measurements"]
    assert [(g["ReferencedSegment"], g["TrackingIdentifier"]) for g in groups] == [(n, f"a1.o{n}") for n in (1, 2, 3, 4)]
    volumes = [g["measurementItems"][0] for g in groups[:3]]
    assert [(v["quantity"]["CodeMeaning"], float(v["value"]), v["units"]["CodeValue"]) for v in volumes] == [
        ("Volume", 10.5 * n, "ml") for n in (1, 2, 3)]
    values = [e["conceptValue"] for e in groups[2]["qualitativeEvaluations"]]
    said = [value["CodeValue"] for value in values if isinstance(value, dict)]
    assert "The lung nodule measures 32 ml." in values
    assert {"TE-part-solid", "MA-ill-defined", "SP-present", "CA-none"} <= set(said)
    assert groups[0]["measurementAlgorithmIdentification"]["AlgorithmName"] == "CTReasoner"
    assert "measurementAlgorithmIdentification" not in groups[3]


@pytest.mark.dciodvfy
def test_dciodvfy_finds_nothing_that_is_not_explained(report):
    assert complaints(report) == []


def test_every_attribute_that_the_model_may_say_has_a_code_of_at_most_16_characters():
    codes = [value_code(attribute, value) for attribute, values in ATTRIBUTES.items() for value in values]
    assert all(codes) and len({c[0] for c in codes}) == len(codes)
    assert all(attribute_code(attribute) for attribute in ATTRIBUTES)
    assert max(len(c[0]) for c in codes) <= 16 and len(SCHEME) <= 16
    assert set(MEASUREMENTS) <= set(NAMES)
    units = {"ml": "ml", "mm": "mm", "HU": "[hnsf'U]"}
    assert all(units[NAMES[name].unit] == code.unit[0] for name, code in MEASUREMENTS.items())
