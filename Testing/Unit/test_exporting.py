"""A saved answer becomes DICOM objects: the same instances each time, from the command line too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from ctreasoner import cli
from ctreasoner.answer import Assembler
from ctreasoner.dicom import read_series, write_derived
from ctreasoner.errors import InputError, UsageError
from ctreasoner.events import Click, Request
from ctreasoner.exporting import Wish, objects_of, read_answer
from ctreasoner.geometry import Volume
from ctreasoner.output import OutputFolder
from ctreasoner.reasoner import load_volume
from dicom_checks import complaints
from fake_engine import FakeEngine, phantom_volume

ALL = ("seg", "sr", "keys", "rtstruct")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


def answered(folder: Path, ct: Path, requests: list[dict], **output) -> OutputFolder:
    """Ask the double about a CT and write the folder of the conversation."""
    engine, volume = FakeEngine(), load_volume(ct)
    made = OutputFolder(folder, volume, source=ct, **output)
    identity, earlier = engine.register(volume), {}
    for prompts in requests:
        request = Request(volume=identity, **prompts)
        fold = Assembler(request, earlier=earlier)
        list(made.record(engine.answer(request, workspace=made.workspace), fold))
        earlier.update((o.id, o) for o in fold.answer.objects)
    made.finish()
    return made


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """Return the folder of a DICOM series of the phantom."""
    folder = tmp_path_factory.mktemp("scan") / "ct"
    write_derived(lying_as_dicom(phantom_volume()), folder)
    return folder


def lying_as_dicom(volume: Volume) -> Volume:
    """Return the phantom with its axes to the left and to the back: it comes back from DICOM as the same array."""
    return Volume(volume.voxels, np.diag([-1.0, -1, 1, 1]) @ volume.affine)


@pytest.fixture(scope="module")
def saved(tmp_path_factory, scan) -> Path:
    """Return the folder of a conversation about it: words, then a click on something else."""
    folder = tmp_path_factory.mktemp("saved") / "answer"
    answered(folder, scan, [{"text": "segment the heart"}, {"text": "", "clicks": (Click(point_ras=(0, 0, 0)),)}])
    return folder


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main([str(a) for a in arguments])
    return left.value.code or 0


def test_the_command_writes_what_is_named(saved, scan, tmp_path, capsys):
    assert run("export", saved, scan, "--out", tmp_path, "--seg", "--sr", "--keys", "--rtstruct",
               "--accepted-by", "Doe^Jane", "--json") == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert files == {"DICOM-SEG": "segmentation.dcm", "DICOM-SR": "measurements.dcm", "key images": "keys",
                     "RTSTRUCT": "contours.dcm"}
    written = [pydicom.dcmread(path) for path in sorted(tmp_path.rglob("*.dcm"))]
    assert sorted(ds.Modality for ds in written) == ["OT", "OT", "RTSTRUCT", "SEG", "SR"]
    study = read_series(scan).sources[0].StudyInstanceUID
    assert {ds.StudyInstanceUID for ds in written} == {study}
    assert len({ds.SeriesInstanceUID for ds in written}) == 4 and len({ds.SOPInstanceUID for ds in written}) == 5
    assert "Doe" in (tmp_path / "measurements.dcm").read_bytes().decode("utf-8", "replace")
    assert all(ds.get("VerificationFlag", "UNVERIFIED") == "UNVERIFIED" for ds in written)


def test_segmentation_and_report_are_what_is_written_when_nothing_is_named(saved, scan, tmp_path, capsys):
    assert run("export", saved, scan, "--out", tmp_path) == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["measurements.dcm", "segmentation.dcm"]
    assert capsys.readouterr().out.startswith("DICOM-SEG: ")


def test_an_unchanged_answer_gives_the_same_bytes_and_the_instance_that_ask_wrote(saved, scan, tmp_path):
    for name in ("a", "b"):
        assert run("export", saved, scan, "--out", tmp_path / name, *(f"--{what}" for what in ALL)) == 0
    for path in sorted((tmp_path / "a").rglob("*.dcm")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes(), path.name
    assert (tmp_path / "a" / "segmentation.dcm").read_bytes() == (saved / "dicom" / "segmentation.dcm").read_bytes()


def test_what_was_clicked_is_semiautomatic_and_what_is_said_of_an_object_is_its_text(saved, scan):
    objects, _ = read_answer(saved, load_volume(scan))
    assert [(o.key, o.algorithm, o.tracking_id) for o in objects] == [
        ("heart", "AUTOMATIC", "a1.o1"), ("thing", "SEMIAUTOMATIC", "a2.o1")]
    assert objects[0].text.startswith("The heart measures ") and objects[0].text.endswith(" ml.")
    assert {m["name"] for m in objects[0].measurements} == {"volume", "long_axis"}
    assert objects[0].tracking_uid != objects[1].tracking_uid


def test_a_changed_mask_keeps_its_tracking_and_gets_another_instance(saved, scan):
    volume = load_volume(scan)
    (heart, _), content = read_answer(saved, volume)
    smaller = heart.mask.copy()
    smaller[: len(smaller) // 2] = False
    content["turns"][0]["objects"][0]["origin"] = "edited"
    (changed, *_) = objects_of(content, {"a1.o1": (smaller, heart.first_voxel)})
    assert (changed.tracking_id, changed.tracking_uid) == (heart.tracking_id, heart.tracking_uid)
    assert (changed.algorithm, changed.note) == ("MANUAL", "Changed by hand.")
    from ctreasoner.dicom import build_seg

    sources = read_series(scan).sources
    old, new = (build_seg([item], volume, sources) for item in (heart, changed))
    assert old.SOPInstanceUID != new.SOPInstanceUID


def test_an_object_of_which_a_later_answer_speaks_keeps_its_origin_and_all_that_was_measured(saved, scan):
    volume = load_volume(scan)
    content = json.loads((saved / "answer.json").read_text())
    later = json.loads(json.dumps(content["turns"][1]))
    row = {**later["objects"][0], "origin": "earlier", "categories": [], "measurements": [
        {"id": "a3.o1.m1", "name": "mean_hu", "value": 55.0, "unit": "HU", "method": "", "geometry": None}]}
    content["turns"].append({**later, "answer": "a3", "objects": [row]})
    mask = np.ones((2, 2, 2), bool)
    (thing,) = objects_of(content, {"a2.o1": (mask, (1, 1, 1))})
    assert thing.algorithm == "SEMIAUTOMATIC"
    assert {m["name"] for m in thing.measurements} == {"volume", "long_axis", "mean_hu"}
    assert volume.shape == tuple(content["volume"]["shape"])


def test_a_ct_that_is_no_dicom_gets_a_series_without_a_patient(tmp_path):
    volume = phantom_volume()
    nibabel.save(nibabel.Nifti1Image(volume.voxels, volume.affine), tmp_path / "scan.nii.gz")
    answered(tmp_path / "answer", tmp_path / "scan.nii.gz", [{"text": "segment the heart"}])
    assert run("export", tmp_path / "answer", tmp_path / "scan.nii.gz", "--out", tmp_path / "out", "--sr") == 0
    slices = sorted((tmp_path / "out" / "ct").iterdir())
    report = pydicom.dcmread(tmp_path / "out" / "measurements.dcm")
    assert len(slices) == volume.shape[2] and str(report.PatientName) == "Unknown^"
    assert pydicom.dcmread(slices[0]).StudyInstanceUID == report.StudyInstanceUID


def test_another_ct_is_refused_and_both_are_named(saved, tmp_path, capsys):
    other = phantom_volume((32, 30, 21))
    write_derived(other, tmp_path / "other")
    assert run("export", saved, tmp_path / "other", "--out", tmp_path / "out") == 3
    said = capsys.readouterr().err
    assert "CTR-IO-057" in said and "'ct'" in said and "'other'" in said
    assert not (tmp_path / "out").exists()


def test_a_mask_that_leads_out_of_the_folder_is_not_read(saved, scan, tmp_path):
    folder = tmp_path / "answer"
    shutil.copytree(saved, folder)
    content = json.loads((folder / "answer.json").read_text())
    content["turns"][0]["objects"][0]["mask"] = "../../secret.nii.gz"
    (folder / "answer.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="outside its folder"):
        read_answer(folder, load_volume(scan))


def test_wrong_wishes_are_said(saved, scan, tmp_path, capsys):
    with pytest.raises(UsageError, match="no export of 'pdf'"):
        Wish(("pdf",))
    assert run("export", saved, scan, "--out", tmp_path / "o", "--seg-type", "colour") == 3
    assert "none of BINARY, LABELMAP, FRACTIONAL" in capsys.readouterr().err
    assert run("export", tmp_path, scan, "--out", tmp_path / "o") == 3
    assert "cannot be read as an answer" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_one_sentence(saved, scan, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert run("export", saved, scan, "--out", tmp_path / "out") == 5
    assert "cannot be written" in capsys.readouterr().err


def test_key_images_show_the_outline_and_the_warning(saved, scan, tmp_path):
    assert run("export", saved, scan, "--out", tmp_path, "--keys") == 0
    image = pydicom.dcmread(tmp_path / "keys" / "key_00001.dcm")
    rgb = image.pixel_array
    assert image.SOPClassUID == "1.2.840.10008.5.1.4.1.1.7" and rgb.shape[2] == 3 and rgb.shape[0] > rgb.shape[1]
    red = np.array([206, 80, 74])                                   # the heart's colour, as a line and not as an area
    near = (np.abs(rgb[:512].astype(int) - red).max(axis=2) < 40).sum()
    assert 100 < near < 0.1 * 512 * 512
    band = rgb[512:].astype(int)
    assert (band.min(axis=2) > 200).sum() > 300                     # light words on the dark band
    assert "RESEARCH USE ONLY" in image.ImageComments and "research use only" in image.SeriesDescription
    assert "ml" in image.ImageComments
    shown = image.SourceImageSequence[0].ReferencedSOPInstanceUID
    sources = read_series(scan).sources
    (heart, _), _ = read_answer(saved, load_volume(scan))
    held = [sources[heart.first_voxel[2] + k].SOPInstanceUID for k in range(heart.mask.shape[2]) if heart.mask[:, :, k].any()]
    assert shown in held


@pytest.mark.dciodvfy
def test_dciodvfy_finds_nothing_that_is_not_explained(saved, scan, tmp_path):
    assert run("export", saved, scan, "--out", tmp_path, *(f"--{what}" for what in ALL), "--accepted-by", "Doe^Jane") == 0
    for path in sorted(tmp_path.rglob("*.dcm")):
        assert complaints(path) == [], path.name


# ---------------------------------------------------------------- and back

def test_what_was_exported_is_imported_as_an_answer_and_exported_again_as_the_same_findings(saved, scan, tmp_path, capsys):
    assert run("export", saved, scan, "--out", tmp_path / "out") == 0
    assert run("import", tmp_path / "out", scan, "--out", tmp_path / "back") == 0
    assert "The heart measures " in capsys.readouterr().out
    assert run("export", tmp_path / "back", scan, "--out", tmp_path / "again") == 0
    old, new = (pydicom.dcmread(tmp_path / name / "segmentation.dcm") for name in ("out", "again"))
    assert old.PixelData == new.PixelData
    for a, b in zip(old.SegmentSequence, new.SegmentSequence, strict=True):
        for keyword in ("TrackingID", "TrackingUID", "SegmentLabel", "SegmentAlgorithmType", "SegmentedPropertyTypeCodeSequence"):
            assert a.get(keyword) == b.get(keyword), keyword
        assert "SegmentDescription" not in b
    (first, *_), _ = read_answer(saved, load_volume(scan))
    (back, *_), _ = read_answer(tmp_path / "back", load_volume(scan))
    assert back.text == first.text
    volumes = [next(m["value"] for m in item.measurements if m["name"] == "volume") for item in (first, back)]
    assert volumes[0] == pytest.approx(volumes[1])


def test_an_imported_finding_that_was_changed_keeps_its_tracking_and_says_that_it_was_changed(saved, scan, tmp_path):
    run("export", saved, scan, "--out", tmp_path / "out")
    run("import", tmp_path / "out", scan, "--out", tmp_path / "back")
    path = tmp_path / "back" / "masks" / "a1.o1.nii.gz"
    image = nibabel.load(path)
    mask = np.asarray(image.dataobj).copy()
    mask[np.argwhere(mask)[0][0]] = 0
    nibabel.save(nibabel.Nifti1Image(mask, image.affine), path)
    run("export", tmp_path / "back", scan, "--out", tmp_path / "again", "--rtstruct", "--seg")
    old, new = (pydicom.dcmread(tmp_path / name / "segmentation.dcm") for name in ("out", "again"))
    assert new.SegmentSequence[0].TrackingUID == old.SegmentSequence[0].TrackingUID
    assert new.SegmentSequence[0].SegmentDescription == "Changed since it was imported."
    assert new.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert "SegmentDescription" not in new.SegmentSequence[1]
    assert old.SOPInstanceUID != new.SOPInstanceUID
    assert run("import", tmp_path / "again" / "contours.dcm", scan, "--out", tmp_path / "contours") == 0


def test_findings_of_another_patient_are_refused_by_the_command(saved, scan, tmp_path, capsys):
    run("export", saved, scan, "--out", tmp_path / "out")
    dataset = pydicom.dcmread(tmp_path / "out" / "segmentation.dcm")
    dataset.PatientID = "SOMEONE"
    dataset.save_as(tmp_path / "other.dcm", enforce_file_format=True)
    assert run("import", tmp_path / "other.dcm", scan, "--out", tmp_path / "back") == 3
    said = capsys.readouterr().err
    assert "'SOMEONE'" in said and "CTR-IO-063" in said and not (tmp_path / "back").exists()


# ---------------------------------------------------------------- images are missing

def without(scan: Path, folder: Path, *numbers: int) -> Path:
    """A copy of the series without some of its images, counted along its slices."""
    shutil.copytree(scan, folder)
    files = sorted(folder.iterdir(), key=lambda p: float(pydicom.dcmread(p).ImagePositionPatient[2]))
    for n in numbers:
        files[n].unlink()
    return folder


@pytest.mark.parametrize("gone", [(14,), (0, 1, 15, 16, 17), (-1,)], ids=["between", "many", "last"])
def test_where_images_are_missing_the_export_is_refused_or_refers_to_the_others_as_asked(saved, scan, tmp_path, capsys, gone):
    left = without(scan, tmp_path / "left", *gone)
    assert run("export", saved, left, "--out", tmp_path / "refused", "--seg") == 3
    assert not list((tmp_path / "refused").rglob("*.dcm"))
    assert run("export", saved, scan, "--out", tmp_path / "whole", "--seg") == 0
    assert run("export", saved, left, "--out", tmp_path / "out", "--incomplete") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["segmentation.dcm"]
    whole, part = (pydicom.dcmread(tmp_path / name / "segmentation.dcm") for name in ("whole", "out"))
    assert whole.PixelData == part.PixelData and whole.SOPInstanceUID != part.SOPInstanceUID
    there = {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID) for p in left.iterdir()}
    (referenced,) = part.ReferencedSeriesSequence
    assert {i.ReferencedSOPInstanceUID for i in referenced.ReferencedInstanceSequence} == there
    for old, new in zip(whole.PerFrameFunctionalGroupsSequence, part.PerFrameFunctionalGroupsSequence, strict=True):
        places = [f.PlanePositionSequence[0].ImagePositionPatient for f in (old, new)]
        np.testing.assert_allclose(*np.array(places, float), atol=1e-4)
        refs = [[s.ReferencedSOPInstanceUID for d in f.DerivationImageSequence for s in d.SourceImageSequence] for f in (old, new)]
        assert refs[1] == [uid for uid in refs[0] if uid in there]
    assert complaints(tmp_path / "out" / "segmentation.dcm") == []
    capsys.readouterr()


def test_only_the_segmentation_is_written_while_images_are_missing_and_only_of_the_very_series(saved, scan, tmp_path, capsys):
    left = without(scan, tmp_path / "left", 14)
    assert run("export", saved, left, "--out", tmp_path / "out", "--incomplete", "--sr") == 2
    assert "the segmentation alone can be written" in capsys.readouterr().err
    for path in left.iterdir():
        dataset = pydicom.dcmread(path)
        dataset.SeriesInstanceUID = "1.2.826.0.1.5"
        dataset.save_as(path)
    assert run("export", saved, left, "--out", tmp_path / "out", "--incomplete") == 3
    assert "The series that the answer is about is not here." in capsys.readouterr().err
    for path in without(scan, tmp_path / "moved", 14).iterdir():
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = [float(v) + 1.0 for v in dataset.ImagePositionPatient]
        dataset.save_as(path)
    assert run("export", saved, tmp_path / "moved", "--out", tmp_path / "out", "--incomplete") == 3
    assert "do not lie on the grid" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
