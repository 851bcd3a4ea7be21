"""The whole round: a CT comes from the archive, is asked about, and what was found goes back, voxel by voxel the same."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
import pytest
import tiny_model
from ctreasoner.dicom import SegObject, write_seg
from ctreasoner.reasoner import load_volume
from orthanc import a_study
from test_dicomweb import direct, files_of, run

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with random weights, with which every answer has a mask."""
    return tiny_model.save(tmp_path_factory.mktemp("model"))


def points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the places of a mask's voxels in hundredths of a mm, sorted."""
    places = np.rint((np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]) * 100).astype(int)
    return places[np.lexsort(places.T)]


def segments_of(path: Path) -> dict[str, np.ndarray]:
    """Return {tracking identifier: RAS points} of a segmentation, read by highdicom."""
    seg = highdicom.seg.segread(path)
    found = {}
    for number in seg.segment_numbers:
        volume = seg.get_volume(segment_numbers=[number], combine_segments=True)
        to_ras = np.diag([-1.0, -1, 1, 1]) @ np.asarray(volume.affine)
        found[seg.get_segment_description(number).tracking_id] = points(volume.array > 0, to_ras)
    return found


def asked(ct: Path, model: Path, out: Path) -> Path:
    """Click on the dense ball until random weights answer with a mask; return the folder of the answer."""
    point = ",".join(f"{value:.3f}" for value in load_volume(ct).index_to_world([[28, 30, 25]])[0])
    for question in ("what is here?", "segment this", "segment the heart"):
        assert run("ask", ct, question, "--click", point, "--model", model, "--threads", 1, "--out", out) == 0
        if (out / "dicom").is_dir():
            return out
    raise AssertionError("no mask")


def test_a_ct_comes_from_the_archive_is_answered_and_the_findings_go_back(orthanc, model, tmp_path, secrets, capsys):
    ct = tiny_model.scan()
    folder, study = a_study(tmp_path / "scanner", hu=ct.voxels, spacing=(4.0, 4.0), step=(0, 0, 4.0), slope=1.0)
    assert run("push", folder, orthanc.url, *secrets["basic"]) == 0
    assert run("pull", orthanc.url, "--study", study, "--out", tmp_path / "here", *secrets["basic"]) == 0

    asked(tmp_path / "here", model, tmp_path / "answer")
    masks = {path.name.removesuffix(".nii.gz"): nibabel.load(path) for path in (tmp_path / "answer" / "masks").iterdir()}
    assert masks and all(np.asarray(mask.dataobj).any() for mask in masks.values())

    everything = ("--seg", "--sr", "--keys", "--rtstruct")
    assert run("export", tmp_path / "answer", tmp_path / "here", "--out", tmp_path / "dicom", *everything) == 0
    assert run("push", tmp_path / "dicom", orthanc.url, *secrets["basic"]) == 0
    assert run("push", tmp_path / "dicom", orthanc.url, *secrets["basic"], "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["stored"] == 0       # an unchanged answer is there already
    assert run("pull", orthanc.url, "--study", study, "--out", tmp_path / "back", *secrets["basic"]) == 0

    written, back = files_of(tmp_path / "dicom"), files_of(tmp_path / "back")
    assert {ds.Modality for ds in back.values()} >= {"CT", "SEG", "SR", "RTSTRUCT"}
    assert back == {**files_of(folder), **written}      # every element of every object, pixels included
    found = [path for path in (tmp_path / "back").rglob("*.dcm") if pydicom.dcmread(path).Modality == "SEG"]
    came = segments_of(*found)
    asked_for = {name: points(np.asarray(mask.dataobj) > 0, mask.affine) for name, mask in masks.items()}
    for name, places in came.items():
        np.testing.assert_array_equal(places, asked_for[name])
    assert {p.tobytes() for p in asked_for.values()} == {p.tobytes() for p in came.values()}    # equal ones are one segment
    assert run("import", *found, tmp_path / "here", "--out", tmp_path / "again") == 0
    again = {path.name: np.asarray(nibabel.load(path).dataobj) for path in (tmp_path / "again" / "masks").iterdir()}
    assert sorted(m.sum() for m in again.values()) == sorted(len(places) for places in came.values())
    patients = {(str(ds.PatientName), ds.PatientID, ds.StudyInstanceUID) for ds in back.values()}
    assert patients == {("Žofia^Ωmega", "P1", study)}


def test_what_belongs_to_no_patient_is_pushed_only_when_that_is_wanted(orthanc, tmp_path, secrets, capsys):
    """A NIfTI file names no patient; neither do the series derived from it and its segmentation."""
    ct = tiny_model.scan((20, 16, 8), seed=1)
    heart = SegObject("heart", "Heart", ct.voxels > 200, (0, 0, 0), tracking_id="a1.o1")
    write_seg(tmp_path / "dicom" / "segmentation.dcm", [heart], ct, derived_folder=tmp_path / "dicom" / "ct")
    for path in (tmp_path / "dicom", tmp_path / "dicom" / "segmentation.dcm"):
        assert run("push", path, orthanc.url, *secrets["basic"]) == 2
        assert "derived from a CT without a patient" in capsys.readouterr().err
    written = files_of(tmp_path / "dicom")
    study = next(iter(written.values())).StudyInstanceUID
    assert len(written) == 9 and direct(orthanc).objects(study) == []
    assert run("push", tmp_path / "dicom", orthanc.url, "--without-patient", *secrets["basic"]) == 0
    assert {remote.uid for remote in direct(orthanc).objects(study)} == written.keys()
