"""The folder of a conversation: every file is read back by a reader that is not ours."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK
from ctreasoner.answer import Assembler
from ctreasoner.errors import InputError, ResourceError
from ctreasoner.events import Click, Request, read_events
from ctreasoner.output import OutputFolder, without_repeats
from fake_engine import FakeEngine, phantom_volume

QUESTIONS = ("segment the heart", "where is the mandible?", "how large is the heart?")


def converse(folder: Path, questions=QUESTIONS, **prompts) -> OutputFolder:
    """Ask the double some questions and record the answers."""
    engine, volume = FakeEngine(), phantom_volume()
    output = OutputFolder(folder, volume, credit="A phantom.")
    identity = engine.register(volume)
    for text in questions:
        request = Request(volume=identity, text=text, **prompts)
        list(output.record(engine.answer(request, workspace=output.workspace), Assembler(request)))
    return output


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, dict]:
    """Return the folder of a finished conversation and its answer.json."""
    folder = tmp_path_factory.mktemp("finished") / "out"
    converse(folder).finish()
    return folder, json.loads((folder / "answer.json").read_text())


def test_the_stream_of_all_turns_can_be_read_back(finished) -> None:
    events = list(read_events(finished[0] / "events.jsonl"))
    assert [e.answer for e in events if e.type == "Started"] == ["a1", "a2", "a3"]
    assert all(e.type == "Done" for e in events if e.type in ("Done", "Cancelled", "Failed"))


def test_answer_json_holds_turns_objects_and_relative_paths(finished) -> None:
    folder, content = finished
    assert [turn["question"] for turn in content["turns"]] == list(QUESTIONS)
    heart = content["turns"][0]["objects"][0]
    assert (heart["id"], heart["name"], heart["existence"], heart["origin"]) == ("a1.o1", "heart", "present", "text")
    assert set(heart) >= {"display", "probability", "box", "mask", "measurements", "categories", "by"}
    paths = [heart["mask"], *content["files"].values()]
    assert all(not Path(p).is_absolute() and (folder / p).exists() for p in paths)
    assert content["turns"][1]["objects"][0]["mask"] is None
    assert content["volume"]["shape"] == [32, 30, 20]
    assert content["versions"]["model"]["name"] == "double"


def test_a_mask_lies_on_the_grid_of_the_ct(finished) -> None:
    volume = phantom_volume()
    image = nibabel.load(finished[0] / "masks" / "a1.o1.nii.gz")
    assert image.shape == volume.shape
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj) > 0, volume.voxels > 40)


def test_the_slicer_segmentation_holds_name_colour_and_terminology(finished) -> None:
    image = SimpleITK.ReadImage(str(finished[0] / "segmentation.seg.nrrd"))
    keys = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert keys["Segment0_Name"] == "Heart"
    assert "80891009" in keys["Segment0_Tags"]
    assert "Segment1_Name" not in keys, "the same mask of a later answer is the same segment"
    assert SimpleITK.GetArrayFromImage(image).sum() == (phantom_volume().voxels > 40).sum()


def test_markups_hold_the_box_and_the_measured_line(finished) -> None:
    markups = json.loads((finished[0] / "markups.mrk.json").read_text())["markups"]
    assert [m["type"] for m in markups] == ["ROI", "Line", "ROI", "Line"]
    box = json.loads((finished[0] / "answer.json").read_text())["turns"][0]["objects"][0]["box"]
    lps = np.array(box["centre_ras"]) * (-1, -1, 1)
    np.testing.assert_allclose(markups[0]["center"], lps, atol=1e-6)


def test_the_dicom_segmentation_refers_to_a_derived_series(finished) -> None:
    folder = finished[0]
    segmentation = pydicom.dcmread(folder / "dicom" / "segmentation.dcm")
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted((folder / "dicom" / "ct").iterdir())]
    assert len(slices) == 20
    assert [s.SegmentLabel for s in segmentation.SegmentSequence] == ["Heart"]
    assert segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID == slices[0].SeriesInstanceUID


def test_the_report_is_one_file_that_fetches_nothing(finished) -> None:
    page = (finished[0] / "report.html").read_text()
    assert "Heart" in page and "A phantom." in page
    assert 'src="http' not in page and 'href="http' not in page.replace('href="https://doi.org', "")


def test_a_conversation_without_masks_still_has_answer_and_report(tmp_path: Path) -> None:
    files = converse(tmp_path, ("where is the mandible?",)).finish()
    assert set(files) == {"events", "answer", "report"}


def test_a_folder_is_used_again_and_foreign_files_stay(tmp_path: Path) -> None:
    converse(tmp_path).finish()
    (tmp_path / "notes.txt").write_text("mine")
    converse(tmp_path, ("where is the mandible?",)).write_answer()
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "masks").exists()
    assert not (tmp_path / "segmentation.seg.nrrd").exists()


def test_a_consumer_that_stops_leaves_a_cancelled_stream(tmp_path: Path) -> None:
    engine, volume = FakeEngine(), phantom_volume()
    request = Request(volume=engine.register(volume), text="segment the heart")
    output, fold = OutputFolder(tmp_path, volume), Assembler(request)
    events = output.record(engine.answer(request, workspace=output.workspace), fold)
    next(events)
    next(events)
    events.close()
    assert [e.type for e in read_events(tmp_path / "events.jsonl")] == ["Started", "Look", "Cancelled"]
    assert json.loads((tmp_path / "answer.json").read_text())["turns"][0]["state"] == "cancelled"


def test_a_clicked_object_is_semiautomatic_in_dicom(tmp_path: Path) -> None:
    converse(tmp_path, ("",), clicks=(Click(point_ras=(0, 0, 0)),)).finish()
    segmentation = pydicom.dcmread(tmp_path / "dicom" / "segmentation.dcm")
    assert segmentation.SegmentSequence[0].SegmentAlgorithmType == "SEMIAUTOMATIC"


def test_different_masks_of_one_organ_are_two_segments(tmp_path: Path) -> None:
    output = converse(tmp_path)
    (one, crop), (two, _) = output.segments()
    changed = crop.copy()
    changed[0, 0, 0] ^= 1
    assert len(without_repeats([(one, crop), (two, changed)])) == 2
    assert without_repeats([(one, crop), (two, crop)])[0][0] is two


def test_a_file_in_the_place_of_the_folder_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file, not a folder"):
        OutputFolder(tmp_path / "file", phantom_volume())


@pytest.mark.parametrize("full", ["events.jsonl", "answer.json"])
def test_a_full_disk_is_one_sentence(tmp_path: Path, full: str) -> None:
    engine, volume = FakeEngine(), phantom_volume()
    request = Request(volume=engine.register(volume), text="segment the heart")
    output = OutputFolder(tmp_path, volume)
    (tmp_path / full).unlink(missing_ok=True)
    (tmp_path / full).symlink_to("/dev/full") if full == "events.jsonl" else (tmp_path / "answer.json.part").symlink_to("/dev/full")
    with pytest.raises(ResourceError, match=r"could not be written: No space left"):
        list(output.record(engine.answer(request, workspace=output.workspace), Assembler(request)))
