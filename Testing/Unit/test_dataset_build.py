"""Every published layout becomes the same data set; what cannot be trusted is refused by name."""

from __future__ import annotations

import errno
import json
import re

import dataset_phantoms as phantoms
import numpy as np
import pytest
from ctreasoner.appearance.attributes import attributes_for
from ctreasoner.cli import main
from ctreasoner.dataset import layouts
from ctreasoner.dataset.build import Settings, build
from ctreasoner.dataset.naming import key_of
from ctreasoner.dataset.questions import kinds
from ctreasoner.dataset.store import DataSet
from ctreasoner.errors import InputError
from ctreasoner.training import prompts


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two cases of a layout of one's own, built once."""
    folder = tmp_path_factory.mktemp("pairs")
    phantoms.pairs(folder / "mine", 2)
    assert build([folder / "mine"], folder / "out").written == 2
    return DataSet.open(folder / "out")


# ---------------------------------------------------------------- layouts

EXPECTED = {  # layout -> {case: (split, labelled keys)}
    "totalsegmentator": {"s0001": ("train", {"heart", "aorta", "trachea"}), "s0002": ("test", {"heart", "aorta", "trachea"})},
    "segthor": {"segthor_Patient_01": (None, {"esophagus", "heart", "trachea", "aorta"}),
                "segthor_Patient_41": ("unlabelled", set())},
    "btcv": {"btcv_0001": ("train", {"esophagus", "aorta"}), "btcv_0035": ("val", {"esophagus", "aorta"})},
    "amos": {"amos_0001": ("train", {"esophagus", "aorta"}), "amos_0008": ("val", {"esophagus", "aorta"})},
    "flare": {"FLARE22_Tr_0001": (None, {"aorta", "esophagus"}), "Case_00001": ("unlabelled", set())},
    "decathlon": {"t_001": (None, {"heart"})},
    "mosmed": {f"{part}_Morozov_study_0255_{k}": (part.lower(), {"lung_infection"})
               for part, k in (("Train", 20), ("Train", 24), ("Val", 28), ("Test", 32))},
    "compact": {"thorax_01": ("train", {"esophagus", "heart", "trachea", "aorta", "lung_left", "lung_right"}),
                "lidc_9_1": ("train", {"lung_nodule"}), "lidc_0001_1": ("val", {"lung_nodule"})},
    "pairs": {"one": (None, {"esophagus", "heart", "trachea", "aorta"})},
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_published_layout_is_found_out_and_read(name: str, tmp_path) -> None:
    folder = phantoms.WRITERS[name](tmp_path / "source")
    assert layouts.layout_of(folder) == name
    assert build([folder], tmp_path / "out").refused == []
    data = DataSet.open(tmp_path / "out")
    for case, (split, keys) in EXPECTED[name].items():
        line = data.case(case)
        assert split in (None, line.split) and {label.key for label in data.labels(case)} == keys
        assert keys <= set(line.covered) and (line.covered or split == "unlabelled")
    assert {c.id for c in data.cases()} == set(EXPECTED[name])
    if name not in ("mosmed", "compact"):                           # 8 bits, and a codec that loses
        case = data.case(next(iter(EXPECTED[name])))
        hu, masks = phantoms.thorax()
        assert np.array_equal(data.volume(case).voxels, hu)
        assert all(np.array_equal(data.whole_mask(label), masks[label.key]) for label in data.labels(case.id))


def test_every_layout_has_a_miniature() -> None:
    assert {*EXPECTED, "dicom"} == set(layouts.NAMES)


def test_a_class_that_was_looked_for_is_absent_and_one_that_was_not_is_never_asked_for(tmp_path) -> None:
    build([phantoms.totalsegmentator(tmp_path / "ts")], tmp_path / "out")
    data = DataSet.open(tmp_path / "out")
    assert "mandible" in data.case("s0001").covered and "lung_left" not in data.case("s0001").covered
    asked = [a for case in data.cases() for q in data.questions(case.id) for a in q.objects]
    assert {a.states for a in asked if a.key == "mandible"} == {("absent", "outside")}
    assert {a.key for a in asked} <= {None, "heart", "aorta", "trachea", "mandible"}
    absent = [q for q in data.questions("s0001") if any(a.key == "mandible" for a in q.objects)]
    assert absent and all(q.answers == () for q in absent)              # nobody said whether the scan covers its place


def test_how_a_file_stores_a_patient_changes_nothing(tmp_path) -> None:
    """Axes turned and flipped, with the affine that says so, and NRRD beside NIfTI."""
    hu, masks = phantoms.thorax()
    flip = np.diag([-1.0, 1, -1, 1])
    flip[:3, 3] = [phantoms.SHAPE[0] - 1, 0, phantoms.SHAPE[2] - 1]
    turn = np.eye(4)[[1, 0, 2, 3]].T
    folder = phantoms.about(tmp_path / "mine", labels={"heart": 1})
    heart = masks["heart"].astype(np.uint8)
    phantoms.save(folder / "images" / "plain.nii.gz", hu)
    phantoms.save(folder / "labels" / "plain.nii.gz", heart)
    phantoms.save(folder / "images" / "flipped.nii.gz", hu[::-1, :, ::-1], phantoms.affine() @ flip)
    phantoms.save(folder / "labels" / "flipped.nii.gz", heart.transpose(1, 0, 2), phantoms.affine() @ turn)
    phantoms.save(folder / "images" / "itk.nrrd", hu)
    phantoms.save(folder / "labels" / "itk.nrrd", heart)
    build([folder], tmp_path / "out")
    data = DataSet.open(tmp_path / "out")
    plain, others = data.case("plain"), [data.case(c) for c in ("flipped", "itk")]
    assert all(c.identity == plain.identity and np.allclose(c.affine, plain.affine) for c in others)
    wanted = data.labels("plain")[0].box
    assert all(np.allclose(data.labels(c.id)[0].box.centre_ras, wanted.centre_ras, atol=1e-3) for c in others)


def test_segments_of_slicer_and_of_our_own_export_keep_their_names(tmp_path) -> None:
    from ctreasoner.geometry import Volume
    from ctreasoner.io import Segment, write_seg_nrrd
    from ctreasoner.vocabulary import Vocabulary

    hu, masks = phantoms.thorax()
    folder = phantoms.about(tmp_path / "mine")
    phantoms.save(folder / "images" / "one.nii.gz", hu)
    (folder / "labels").mkdir()
    overlapping = {"heart": masks["heart"], "lung_nodule": np.roll(masks["heart"], 3, axis=0)}
    segments = [Segment.named(key, mask, (0, 0, 0), Vocabulary.load()) for key, mask in overlapping.items()]
    write_seg_nrrd(segments, Volume(hu, phantoms.affine()), folder / "labels" / "one.seg.nrrd")
    assert build([folder], tmp_path / "out").refused == []
    data = DataSet.open(tmp_path / "out")
    assert {label.key: label.voxels for label in data.labels("one")} == {k: int(m.sum()) for k, m in overlapping.items()}


def test_dicom_segmentations_and_contours_land_on_the_voxels_that_they_name(tmp_path) -> None:
    import dicom_series
    from ctreasoner.dicom import SegObject, read_series, write_seg

    folder = phantoms.about(tmp_path / "clinic") / "p1"
    hu = np.full((40, 36, 10), -1000, np.int16)
    hu[4:36, 4:32] = 40
    dicom_series.save(dicom_series.series(hu, slope=1.0), folder / "ct")
    series = read_series(folder / "ct")
    mask = np.zeros(series.volume.shape, bool)
    mask[10:20, 12:25, 3:7] = True
    write_seg(folder / "seg.dcm", [SegObject("heart", "Heart", mask, (0, 0, 0))], series.volume, series.sources)
    ring = [(12.0, 8.0), (28.0, 8.0), (28.0, 24.0), (12.0, 24.0)]                      # between voxel centres at .5
    hole = [(17.5, 12.5), (22.5, 12.5), (22.5, 18.5), (17.5, 18.5)]
    rtstruct(folder / "rt.dcm", series, [[(i - 0.5, j - 0.5, 5) for i, j in ring], [(i, j, 5) for i, j in hole]])
    assert build([tmp_path / "clinic"], tmp_path / "out").refused == []
    data = DataSet.open(tmp_path / "out")
    found = {label.key: label for label in data.labels("p1")}
    assert found["heart"].voxels == mask.sum() and found["ptv"].voxels == 16 * 16 - 5 * 6
    assert (found["heart"].drawn_by.kind, found["ptv"].drawn_by.kind) == ("expert", "person")
    box = found["heart"].box
    corners = series.volume.index_to_world([(9.5, 11.5, 2.5), (19.5, 24.5, 6.5)])
    assert np.allclose(box.centre_ras, corners.mean(axis=0), atol=1e-3)


def test_a_dicom_folder_without_a_segmentation_is_refused(tmp_path) -> None:
    import dicom_series

    folder = phantoms.about(tmp_path / "clinic")
    dicom_series.save(dicom_series.series(), folder / "p1")
    assert refused(folder, tmp_path / "out").startswith("p1: There is nothing to import")


def rtstruct(path, series, rings) -> None:
    """Contours in LPS mm from voxel positions of a series."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.Modality, ds.StudyInstanceUID, ds.SeriesInstanceUID = "RTSTRUCT", series.template.StudyInstanceUID, generate_uid()
    roi, structure = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = 7, "PTV"
    structure.ReferencedROINumber, structure.ContourSequence = 7, []
    for ring in rings:
        contour = Dataset()
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(ring)
        contour.ContourData = [float(v) for v in (series.volume.index_to_world(ring) * [-1, -1, 1]).ravel()]
        structure.ContourSequence.append(contour)
    ds.StructureSetROISequence, ds.ROIContourSequence = [roi], [structure]
    ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(("name", "key"), [
    ("Parotid_R", "parotid_right"), ("left kidney", "kidney_left"), ("SpinalCord", "spinalcord"), ("Spinal Cord", "spinal_cord"),
    ("windpipe", "trachea"), ("lung_upper_lobe_left", "lung_upper_lobe_left"), ("inferior vena cava*", "inferior_vena_cava")])
def test_names_become_keys(name: str, key: str) -> None:
    assert key_of(name) == key


def test_sides_are_told_wherever_they_stand_in_a_name() -> None:
    from ctreasoner.dataset.naming import display_of, other_side, side_of

    assert (display_of("rib_left_9"), side_of("rib_left_9"), other_side("rib_left_9")) == ("Rib 9, left", "left", "rib_right_9")
    assert (side_of("aorta"), side_of("left_of_right"), other_side("parotid_left")) == (None, None, "parotid_right")


# ---------------------------------------------------------------- what a case holds

def test_every_attribute_is_there_with_what_it_was_read_from(built) -> None:
    for label in built.labels("one"):
        assert [a.name for a in label.attributes] == list(attributes_for(label.key))
        measured = {m.name: m.value for m in label.measurements}
        for a in label.attributes:
            assert (a.value is None) == bool(a.reason) and (a.value is None or a.value in a.accepted)
            assert all(measured[name] == value for name, value in a.evidence.items())
    density = {label.key: label.attributes[0] for label in built.labels("one")}
    assert density["aorta"].value == "enhanced" and abs(density["aorta"].evidence["p50_hu"] - 180) < 2
    assert density["trachea"].value == "air"


def test_every_number_that_is_said_was_measured(built) -> None:
    from ctreasoner.appearance.wording import rounded

    for label in built.labels("one"):
        assert len(set(label.wordings)) >= 4
        allowed = {rounded(m.value, m.unit).split()[0] for m in label.measurements if m.value is not None}
        for text in label.wordings:
            said = re.findall(r"(-?\d+(?:\.\d+)?) (?:ml|HU)\b", re.sub(r"[\d.]+ to [\d.]+ ml", "", text))
            assert set(said) <= allowed, text


def test_what_radiologists_said_stands_before_the_rule(tmp_path) -> None:
    build([phantoms.compact(tmp_path / "known")], tmp_path / "out", only=lambda f: f.id == "lidc_9_1")
    label = DataSet.open(tmp_path / "out").labels("lidc_9_1")[0]
    words = {a.name: a for a in label.attributes}
    assert (words["texture"].value, words["texture"].by.kind) == ("solid", "person")
    assert words["texture"].shares == {"solid": pytest.approx(2 / 3), "part-solid": pytest.approx(1 / 3), "ground-glass": 0}
    assert words["texture"].evidence["solid_share"] > 90
    side = next(m for m in label.measurements if m.name == "side")
    assert side.value is None and side.reason == "only a part of the body"


def test_8_bit_slices_have_masks_and_words_and_no_measurement(tmp_path) -> None:
    build([phantoms.mosmed(tmp_path / "mm")], tmp_path / "out")
    data = DataSet.open(tmp_path / "out")
    case = data.cases()[0]
    label = data.labels(case.id)[0]
    assert (case.hu, case.scale, label.measurements, label.wordings) == ("none", "unknown", (), ())
    assert label.words == ("Unilateral pulmonary infection, one infected area, lower left lung.",)
    assert data.sources["mosmed_plus"].split_unit == "slices"


def test_simulated_users_point_at_the_object_and_do_so_again(built, tmp_path) -> None:
    volume = built.volume(built.case("one"))
    for label in built.labels("one"):
        mask = built.whole_mask(label)
        points = [c.point_ras for c in label.prompts.clicks if c.positive] + list(label.prompts.scribble.points_ras)
        beside = [c.point_ras for c in label.prompts.clicks if not c.positive]
        at = np.rint(volume.world_to_index(points)).astype(int)
        assert len(points) == 8 and mask[tuple(at.T)].all()
        assert beside and not mask[tuple(np.rint(volume.world_to_index(beside)).astype(int).T)].any()
    phantoms.pairs(tmp_path / "mine")
    build([tmp_path / "mine"], tmp_path / "again")
    build([tmp_path / "mine"], tmp_path / "other", Settings(seed=1))
    again, other = DataSet.open(tmp_path / "again"), DataSet.open(tmp_path / "other")
    assert again.labels("one") == built.labels("one") and again.questions("one") == built.questions("one")
    assert [lb.prompts for lb in other.labels("one")] != [lb.prompts for lb in built.labels("one")]


def test_questions_of_every_kind_are_asked(built) -> None:
    made = built.questions("one")
    intents = {q.intent for q in made}
    assert intents == set(prompts.INTENTS)
    assert {q.reference for q in made} >= {None, *prompts.REFERENCES} - {"other_side", "left", "right"}
    assert any(q.boxes for q in made) and any(q.scribbles for q in made) and any(q.clicks for q in made)
    assert {s for q in made for a in q.objects for s in a.states} == {"present", "outside", "unsupported"}
    assert {q.wording for q in made} == {"train", "heldout"}
    assert "followup it" in list(kinds(made))


def test_questions_point_at_what_they_name(built) -> None:
    by_id = {q.id: q for q in built.questions("one")}
    for q in by_id.values():
        assert q.reference is None or by_id[q.earlier].objects
        for a in q.objects:
            assert q.text[a.start:a.end].strip() or q.clicks or q.boxes or q.scribbles or q.reference
    larger = next(q for q in by_id.values() if q.reference == "larger")
    assert {a.key for a in larger.objects} == {a.key for a in by_id[larger.earlier].objects}


def test_a_part_is_never_said_to_be_the_whole(built) -> None:
    """The lungs' kind of label: cut by the scan. Its texts say so wherever they give a volume."""
    from dataclasses import replace

    from ctreasoner.dataset.build import fill
    from ctreasoner.training.wordings import phrases

    case = built.case("one")
    label = replace(next(lb for lb in built.labels("one") if lb.key == "heart"), ends="cut by scan")
    cut = fill(label, np.asarray(built.mask(label)), built.volume(case), case, 0)
    size = next(a for a in cut.attributes if a.name == "size")
    texts = [text for text in cut.wordings if " ml" in text]
    assert size.value is None and texts
    assert all(any(phrase in text for phrase in phrases("extent", "cut")) for text in texts)


def test_a_scan_that_ends_before_an_object_is_cut_well_before_it(built) -> None:
    cut = [q for case in built.cases() for q in built.questions(case.id) if q.slices]
    assert cut
    for q in cut:
        label = next(lb for lb in built.labels(q.case) if lb.id == q.objects[0].label)
        low, high = q.slices
        gap = max(label.first_voxel[2] - high, low - (label.first_voxel[2] + label.shape[2]))
        assert gap * phantoms.SPACING >= 14 and q.objects[0].states == ("outside",)


# ---------------------------------------------------------------- bad input

def refused(folder, out) -> str:
    done = build([folder], out)
    assert done.written == 0 and len(done.refused) == 1
    return done.refused[0]


def test_a_mask_on_another_grid_is_refused_by_name(tmp_path) -> None:
    folder = phantoms.pairs(tmp_path / "mine")
    away = phantoms.affine()
    away[0, 3] += 30
    phantoms.save(folder / "labels" / "one.nii.gz", phantoms.label_map(phantoms.SEGTHOR), away)
    text = refused(folder, tmp_path / "out")
    assert "one.nii.gz lies up to 8.6 voxels away from the CT (30.0 mm" in text and "CTR-DATA-021" in text
    phantoms.save(folder / "labels" / "one.nii.gz", phantoms.label_map(phantoms.SEGTHOR)[:-1])
    assert "has 83 x 66 x 60 voxels, the CT 84 x 66 x 60" in refused(folder, tmp_path / "out")


@pytest.mark.parametrize(("value", "words"), [(9, "one.nii.gz holds the label 9, which no table names"),
                                              (0, "one.nii.gz is empty")])
def test_labels_out_of_range_and_empty_masks_are_refused_by_name(value: int, words: str, tmp_path) -> None:
    folder = phantoms.pairs(tmp_path / "mine")
    phantoms.save(folder / "labels" / "one.nii.gz", np.full(phantoms.SHAPE, value, np.uint8))
    assert words in refused(folder, tmp_path / "out")


def test_fractions_are_no_labels(tmp_path) -> None:
    folder = phantoms.pairs(tmp_path / "mine")
    phantoms.save(folder / "labels" / "one.nii.gz", phantoms.label_map(phantoms.SEGTHOR).astype(np.float32) / 2)
    assert "no label numbers" in refused(folder, tmp_path / "out")


def test_a_patient_in_two_splits_is_refused(tmp_path) -> None:
    folder = phantoms.totalsegmentator(tmp_path / "ts")
    build([folder], tmp_path / "out", only=lambda f: f.id == "s0001")
    data = DataSet.open(tmp_path / "out")
    data.change_case(data.case("s0001"), patient="totalsegmentator_s0002")
    text = build([folder], tmp_path / "out").refused[0]
    assert "s0002/ct.nii.gz is of patient totalsegmentator_s0002, who lies in train with s0001 and would lie in test too" in text


def test_the_same_voxels_under_another_name_in_another_split_are_refused(tmp_path) -> None:
    folder = phantoms.totalsegmentator(tmp_path / "ts")
    phantoms.save(folder / "s0002" / "ct.nii.gz", phantoms.thorax(0)[0])
    assert "s0002/ct.nii.gz holds the very voxels of s0001" in build([folder], tmp_path / "out").refused[0]


def test_without_a_licence_nothing_is_built_and_the_file_is_named(tmp_path, capsys) -> None:
    folder = phantoms.pairs(tmp_path / "mine")
    (folder / "source.json").write_text(json.dumps({"labels": phantoms.SEGTHOR}))
    with pytest.raises(InputError, match=r"mine/source.json names no licence") as caught:
        build([folder], tmp_path / "out")
    assert caught.value.code == "CTR-DATA-010"
    with pytest.raises(SystemExit) as left:
        main(["dataset", "build", str(folder), "--out", str(tmp_path / "out"), "--licence", "CC BY 4.0"])
    assert left.value.code == 0 and "1 cases written" in capsys.readouterr().out


def test_training_refuses_a_licence_that_forbids_derivatives_and_evaluation_allows_it(tmp_path) -> None:
    build([phantoms.pairs(tmp_path / "mine")], tmp_path / "out", Settings(licence="CC BY-NC-ND 4.0"))
    data = DataSet.open(tmp_path / "out")
    data.require("evaluation")
    with pytest.raises(InputError, match="forbids derivatives"):
        data.require("training")


@pytest.mark.parametrize("text", ["CC BY-NC-ND 4.0", "CC-BY-ND", "NoDerivatives", "no derivative works",
                                  "derivatives are not allowed"])
def test_licences_against_derivatives_are_known(text: str) -> None:
    from ctreasoner.dataset.schema import Source

    assert Source(name="x", licence=text).forbids_derivatives
    assert not Source(name="x", licence="CC BY 4.0, and more").forbids_derivatives


def test_a_folder_in_no_layout_is_refused_with_the_known_ones(tmp_path) -> None:
    (tmp_path / "odd").mkdir()
    with pytest.raises(InputError, match="odd is laid out in no way that is known") as caught:
        build([tmp_path / "odd"], tmp_path / "out")
    assert all(name in caught.value.hint for name in layouts.NAMES)


def test_an_interrupted_build_leaves_no_half_case_and_goes_on(tmp_path, monkeypatch) -> None:
    folder = phantoms.pairs(tmp_path / "mine", 3)
    wrote, whole = [], DataSet.write_questions

    def stop(self, case, made):
        wrote.append(case)
        if len(wrote) == 2:
            raise KeyboardInterrupt
        whole(self, case, made)

    monkeypatch.setattr(DataSet, "write_questions", stop)
    with pytest.raises(KeyboardInterrupt):
        build([folder], tmp_path / "out")
    monkeypatch.undo()
    assert len(DataSet.open(tmp_path / "out").cases()) == 1
    done = build([folder], tmp_path / "out")
    assert (done.written, done.there) == (2, 1) and len(DataSet.open(tmp_path / "out").cases()) == 3


def test_a_full_disk_is_one_sentence_and_leaves_no_case(tmp_path, monkeypatch, capsys) -> None:
    folder = phantoms.pairs(tmp_path / "mine")

    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(SystemExit) as left:
        main(["dataset", "build", str(folder), "--out", str(tmp_path / "out")])
    assert left.value.code == 5 and "CTR-RES-001" in capsys.readouterr().err
    assert DataSet.open(tmp_path / "out").cases() == []


def test_files_that_are_gone_or_damaged_are_refused_by_name(tmp_path) -> None:
    folder = phantoms.compact(tmp_path / "known")
    (folder / "lidc_9_1.avif").unlink()
    (folder / "thorax_01.avif").write_bytes(b"no picture")
    done = build([folder], tmp_path / "out")
    assert done.written == 1 and [text.split()[0] for text in done.refused] == ["thorax_01.avif", "lidc_9_1.avif"]
    (folder / "index.jsonl").write_text('{"id": "x"}\n')
    with pytest.raises(InputError, match=r"index.jsonl line 1 is no line"):
        build([folder], tmp_path / "out")


def test_a_damaged_line_or_array_is_named(built, tmp_path) -> None:
    import shutil

    shutil.copytree(built.folder, tmp_path / "copy")
    data = DataSet.open(tmp_path / "copy")
    path = tmp_path / "copy" / "cases" / "one" / "labels.jsonl"
    lines = path.read_text().splitlines()
    for broken, words in ((lines[1].replace('"voxels": ', '"voxels": "x'), "one/labels.jsonl line 2: not JSON"),
                          (json.dumps({**json.loads(lines[1]), "voxels": "many"}), "line 2: Label.voxels must be a whole number"),
                          (json.dumps({**json.loads(lines[1]), "reviewed_by": "A"}), "line 2: Label .* has a part of a review"),
                          (json.dumps({**json.loads(lines[1]), "extra": 1}), "line 2: a label has no extra")):
        path.write_text("\n".join([lines[0], broken, *lines[2:]]))
        with pytest.raises(InputError, match=words):
            data.labels("one")
    (tmp_path / "copy" / "cases" / "one" / "ct.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"one/ct.npy cannot be read"):
        data.volume(data.case("one"))


def test_a_mask_may_not_lie_outside_its_case(built) -> None:
    from dataclasses import replace

    label = replace(built.labels("one")[0], mask="../../../secret.npy")
    with pytest.raises(InputError, match="no mask inside its case"):
        built.mask(label)


# ---------------------------------------------------------------- towards training

def test_training_reads_a_built_data_set_as_it_reads_the_compact_layout(tmp_path) -> None:
    from ctreasoner.dataset.prepare import main as prepare
    from ctreasoner.training.views import read_prepared, training_cases

    folder = phantoms.compact(tmp_path / "known")
    build([folder], tmp_path / "built")
    prepare([str(folder), str(tmp_path / "a")])
    prepare([str(tmp_path / "built"), str(tmp_path / "b")])
    for one, two in zip(read_prepared(tmp_path / "a"), read_prepared(tmp_path / "b"), strict=True):
        assert (one.id, one.source, one.patient, one.covered, one.hu_class == "fine") == (
            two.id, two.source, two.patient, two.covered, two.source == "segthor")
        assert (one.hu == two.hu).all() and (one.labels == two.labels).all() and np.allclose(one.spacing, two.spacing)
        assert bool(one.ratings) == bool(two.ratings)
    for part in ("a", "b"):
        assert [c.id for c in training_cases(tmp_path / part)] == ["lidc_9_1", "thorax_01"]


def test_training_is_not_fed_with_what_a_licence_forbids(tmp_path) -> None:
    from ctreasoner.dataset.prepare import main as prepare

    build([phantoms.pairs(tmp_path / "mine")], tmp_path / "built", Settings(licence="CC BY-ND 4.0"))
    with pytest.raises(InputError, match="forbids derivatives"):
        prepare([str(tmp_path / "built"), str(tmp_path / "out")])
    assert not list((tmp_path / "out").glob("*.npz"))


@pytest.mark.shared
def test_the_research_data_keep_their_splits_and_traps(shared_data, tmp_path) -> None:
    wanted = {"segthor_01", "openkbp_017", "lidc_0014_1", "lidc_0001_1"}
    done = build([shared_data / "known"], tmp_path / "out", only=lambda f: f.id in wanted)
    assert done.written == 4 and done.refused == []
    data = DataSet.open(tmp_path / "out")
    splits = {c.id: c.split for c in data.cases()}
    assert splits == {"segthor_01": "val", "openkbp_017": "val", "lidc_0014_1": "train", "lidc_0001_1": "val"}
    ends = {label.key: label.ends for label in data.labels("openkbp_017")}
    assert ends["spinal_cord"] == ends["esophagus"] == "drawn range" and ends["mandible"] == "whole"
    assert {label.drawn_by.kind for label in data.labels("segthor_01") if "lung" in label.key} == {"rule"}
