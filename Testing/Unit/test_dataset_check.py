"""`dataset check` says what is wrong, one sentence each, naming the file."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace

import dataset_phantoms as phantoms
import numpy as np
import pytest
from ctreasoner.cli import main
from ctreasoner.dataset.build import build
from ctreasoner.dataset.check import check
from ctreasoner.dataset.store import DataSet


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("check")
    build([phantoms.compact(folder / "known")], folder / "out", only=lambda f: f.id == "thorax_01")
    build([phantoms.pairs(folder / "mine", 2)], folder / "out")
    return folder / "out"


@pytest.fixture
def data(whole, tmp_path) -> DataSet:
    shutil.copytree(whole, tmp_path / "copy")
    return DataSet.open(tmp_path / "copy")


def errors(data: DataSet, **kind) -> list[str]:
    return [f"{p.file}: {p.sentence}" for p in check(DataSet.open(data.folder), **kind) if p.level == "error"]


def shifted(data: DataSet, key: str, by: tuple[int, int, int]) -> None:
    """Move a mask, its line and all that points at it: only the CT can tell."""
    labels = []
    for label in data.labels("one"):
        if label.key == key:
            move = np.array(by) * phantoms.SPACING
            box = replace(label.box, centre_ras=tuple(np.array(label.box.centre_ras) + move))
            label = replace(label, first_voxel=tuple(np.array(label.first_voxel) + by), box=box, prompts=None)
        labels.append(label)
    data.write_labels("one", labels)


def test_a_good_data_set_has_no_error(data) -> None:
    assert errors(data) == []


def test_exit_code_and_json_say_what_was_found(data, capsys) -> None:
    for patient, code in (("mine_one", 0), ("mine_two", 3)):
        data.change_case(data.case("one"), patient=patient, split="train")
        data.change_case(data.case("two"), split="val")
        with pytest.raises(SystemExit) as left:
            main(["dataset", "check", str(data.folder), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert left.value.code == code and bool(found["errors"]) == bool(code)


def test_a_patient_in_two_splits(data) -> None:
    data.change_case(data.case("one"), patient="mine_two", split="train")
    data.change_case(data.case("two"), split="val")
    assert errors(data) == ["cases.jsonl: patient mine_two lies in train (one) and val (two)."]


def test_one_scan_under_two_names_in_two_splits(data) -> None:
    one, two = data.case("one"), data.case("two")
    shutil.copy(data.folder / "cases" / "one" / "ct.npy", data.folder / "cases" / "two" / "ct.npy")
    data.change_case(one, split="train")
    data.change_case(two, split="val", identity=one.identity)
    assert "cases.jsonl: one (train) and two (val) hold the same voxels." in errors(data)
    voxels = np.load(data.folder / "cases" / "one" / "ct.npy") + 1                   # as after another conversion
    np.save(data.folder / "cases" / "two" / "ct.npy", voxels)
    from ctreasoner.dataset.build import voxels_identity

    data.change_case(data.case("two"), identity=voxels_identity(voxels))
    assert "cases.jsonl: one (train) and two (val) look like one scan." in errors(data)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_patient_who_is_flipped_along_an_axis(axis: int, data) -> None:
    """Voxels and masks flipped together, the affine kept: nothing but anatomy can tell."""
    case = data.case("thorax_01")
    folder = data.folder / "cases" / case.id
    voxels = np.flip(np.load(folder / "ct.npy"), axis)
    np.save(folder / "ct.npy", np.ascontiguousarray(voxels))
    volume, labels = data.volume(case), []
    for label in data.labels(case.id):
        np.save(folder / label.mask, np.ascontiguousarray(np.flip(data.mask(label), axis)))
        first = list(label.first_voxel)
        first[axis] = case.shape[axis] - first[axis] - label.shape[axis]
        from ctreasoner.geometry import box_of

        centre, size = box_of(data.mask(label), first, volume)
        labels.append(replace(label, first_voxel=tuple(first), prompts=None,
                              box=replace(label.box, centre_ras=tuple(centre), size_mm=tuple(size))))
    data.write_labels(case.id, labels)
    from ctreasoner.dataset.build import voxels_identity

    data.change_case(case, identity=voxels_identity(np.ascontiguousarray(voxels)))
    found = errors(data)
    words = {0: "lung_right lies left of lung_left: the sides are flipped.", 1: "does not lie further to the front than esophagus",
             2: "trachea does not lie further to the head than heart"}[axis]
    assert found and any(words in text for text in found)
    assert all(text.startswith("cases/thorax_01/labels.jsonl") for text in found)


def test_a_mask_beside_its_organ(data) -> None:
    shifted(data, "heart", (14, 0, 0))
    assert len(found := errors(data)) == 1
    assert found[0].startswith("cases/one/masks/heart.npy: ") and "the mask is not aligned with the CT" in found[0]


def test_a_mask_that_lies_elsewhere_than_its_line_says(data) -> None:
    labels = data.labels("one")
    at = next(n for n, label in enumerate(labels) if label.key == "aorta")
    labels[at] = replace(labels[at], first_voxel=(labels[at].first_voxel[0] + 4, *labels[at].first_voxel[1:]))
    data.write_labels("one", labels)
    assert any("masks/aorta.npy: it does not lie where its line says: its box is 14 mm away." in text for text in errors(data))


def test_impossible_hu(data) -> None:
    path = data.folder / "cases" / "one" / "ct.npy"
    voxels = np.load(path)
    voxels[phantoms.thorax()[1]["heart"]] += 800
    np.save(path, voxels)
    found = errors(data)
    assert any(re.search(r"Heart has a mean of 84[45] HU; 0 to 450 HU are possible\.", text) for text in found)
    assert "cases/one/ct.npy: its voxels are not those that were written." in found
    np.save(path, np.clip(voxels.astype(int) + 1024, 0, None).astype(np.int16))
    assert any("ct.npy: one has values from 0 to" in text and "no CT in Hounsfield units" in text for text in errors(data))


def test_impossible_volumes(data) -> None:
    label = next(lb for lb in data.labels("one") if lb.key == "heart")
    crop = np.array(data.mask(label))
    crop[3:] = 0
    data.write_mask(label, crop)
    found = errors(data)
    assert any("masks/heart.npy: Heart would have" in text and "whole ones have 300 to 1900 ml" in text for text in found)
    assert any("its line says" in text for text in found)


@pytest.mark.parametrize(("value", "words"), [(0, "it is empty."), (7, "it holds the label 7; a mask holds 0 and 1.")])
def test_empty_masks_and_labels_out_of_range(value: int, words: str, data) -> None:
    label = data.labels("one")[0]
    data.write_mask(label, np.full(label.shape, value, np.uint8))
    assert f"cases/one/{label.mask}: {words}" in errors(data)


def test_a_mask_of_another_geometry(data) -> None:
    label = data.labels("one")[0]
    data.write_mask(label, np.ones((2, 2, 2), np.uint8))
    assert any("its line says uint8" in text for text in errors(data))
    data.write_labels("one", [replace(label, first_voxel=(80, 0, 0))])
    data.write_mask(label, np.ones(label.shape, np.uint8))
    assert any("it leaves the scan" in text for text in errors(data))


def test_what_is_labelled_must_be_covered(data) -> None:
    data.change_case(data.case("one"), covered=("heart", "trachea", "aorta"))
    assert errors(data) == ["cases/one/labels.jsonl: esophagus is labelled, but esophagus is not among what the case covers."]


@pytest.mark.parametrize(("licence", "words"), [("", "has no licence"), ("CC BY-ND 4.0", "forbids derivatives")])
def test_licences(licence: str, words: str, data) -> None:
    head = json.loads((data.folder / "dataset.json").read_text())
    for source in head["sources"]:
        source["licence"] = licence
    (data.folder / "dataset.json").write_text(json.dumps(head))
    assert len(errors(data)) == 2 and all(text.startswith("dataset.json: ") and words in text for text in errors(data))
    assert errors(data, purpose="evaluation") == []


def test_slices_that_their_publisher_split_are_a_note(tmp_path) -> None:
    build([phantoms.mosmed(tmp_path / "mm")], tmp_path / "out")
    found = list(check(DataSet.open(tmp_path / "out")))
    assert [p.level for p in found] == ["note"] and "split slices" in found[0].sentence


def test_a_lost_file_is_one_sentence(data) -> None:
    (data.folder / "cases" / "one" / "labels.jsonl").unlink()
    (data.folder / "cases" / "two" / "ct.npy").unlink()
    found = errors(data)
    assert all(any(words in text for text in found) for words in ("one/labels.jsonl cannot be read", "two/ct.npy cannot be read"))
