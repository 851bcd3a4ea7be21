"""Experts: what a folder must hold, which label is which object, a process that misbehaves, and who answers for what."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.consulting import reply
from ctreasoner.errors import UsageError
from ctreasoner.events import Existence, Intent, Look, Mask, Options, PromptBox, Text, Warning_
from ctreasoner.experts import anatomy, commands, foreign, registry, sense
from ctreasoner.experts.foreign import ForeignExpert
from ctreasoner.experts.grids import Crop
from ctreasoner.experts.nnunet import ModelFolder
from ctreasoner.experts.protocol import ExpertError
from expert_doubles import body, entry, install, model_folder, python


@pytest.fixture(autouse=True)
def own_list(tmp_path, monkeypatch):
    monkeypatch.setenv(registry.PLACE, str(tmp_path / "list" / "experts.json"))


# ---------------------------------------------------------------- folders, labels, the list

def test_a_folder_says_what_it_needs(tmp_path) -> None:
    model = ModelFolder.read(model_folder(tmp_path, licence="CC0"))
    assert model.labels == {"Kidney_R": 1, "Kidney_L": 2} and model.spacing_mm == (3, 3, 3) and model.patch_mm == (96, 96, 96)
    assert model.orientation == "LPS" and model.licence == "CC0"


@pytest.mark.parametrize(("file", "content", "code"), [
    ("dataset.json", None, "CTR-EXP-010"), ("plans.json", None, "CTR-EXP-010"),
    ("fold_0/checkpoint_final.pth", None, "CTR-EXP-010"),
    ("dataset.json", "{", "CTR-EXP-011"), ("dataset.json", "[]", "CTR-EXP-011"),
    ("plans.json", '{"configurations": {}}', "CTR-EXP-011"),
    ("dataset.json", '{"channel_names": {"0": "T1"}, "labels": {"a": 1}}', "CTR-EXP-012"),
    ("dataset.json", '{"channel_names": {"0": "CT", "1": "PET"}, "labels": {"a": 1}}', "CTR-EXP-012"),
    ("dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"a": [1, 2]}}', "CTR-EXP-013"),
    ("dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"a": 1, "b": 1}}', "CTR-EXP-013"),
    ("dataset.json", '{"channel_names": {"0": "CT"}, "labels": {"background": 0}}', "CTR-EXP-013"),
])
def test_a_broken_folder_is_refused_in_a_sentence(tmp_path, file, content, code) -> None:
    folder = model_folder(tmp_path)
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises(ExpertError) as caught:
        ModelFolder.read(folder)
    assert caught.value.code == code


@pytest.mark.parametrize(("label", "key"), [
    ("Liver", "liver"), ("kidney_left", "kidney_left"), ("Kidney_R", "kidney_right"), ("left adrenal gland", "adrenal_gland_left"),
    ("vertebrae_L3", "vertebra_l3"), ("urinary bladder", "urinary_bladder"), ("aorta", "aorta"), ("oesophagus", "esophagus")])
def test_labels_are_known_by_name(label, key) -> None:
    assert anatomy.suggested(label)[0] == (key, 100.0)


def test_a_misspelt_label_is_proposed_and_a_foreign_one_is_not(tmp_path) -> None:
    commands.write_mapping({"pancrease": 1, "xyzzy": 2}, tmp_path / "m.json")
    rows = json.loads((tmp_path / "m.json").read_text())["labels"]
    assert rows["pancrease"]["object"] == "pancreas" and rows["xyzzy"]["object"] is None


@pytest.mark.parametrize("rows", [
    {"Kidney_R": {"object": "kidney_left"}, "Kidney_L": {"object": "kidney_left"}}, {"Kidney_R": {"object": None}},
    {"Spleen": {"object": "spleen"}}, []])
def test_a_mapping_without_sense_is_refused(tmp_path, rows) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"labels": rows}))
    with pytest.raises(ExpertError, match=r"m\.json"):
        commands.read_mapping(tmp_path / "m.json", {"Kidney_R": 1, "Kidney_L": 2})


def test_an_object_of_ones_own_needs_a_new_key(tmp_path) -> None:
    own = {"key": "fistula", "names": ["fistula"]}
    assert ForeignExpert(entry(tmp_path, labels={"f": own})).objects["fistula"].display == "Fistula"
    with pytest.raises(ExpertError, match="exists already"):
        ForeignExpert(entry(tmp_path, name="b", labels={"f": {**own, "key": "heart"}}))


def test_add_check_list_and_remove(tmp_path, capsys) -> None:
    folder, py = model_folder(tmp_path), python(tmp_path)
    commands.add(folder, name="Ward 7", python=py)
    mapping = registry.place().with_name("Ward 7.labels.json")
    assert str(mapping) in capsys.readouterr().out and registry.read()["experts"] == []
    commands.add(folder, name="Ward 7", python=py, labels=mapping)
    commands.check("Ward 7")
    commands.list_(json_=False)
    assert "Kidney, right" in (shown := capsys.readouterr().out) and "licence not stated" in shown
    commands.remove("Ward 7")
    assert registry.read()["experts"] == []
    with pytest.raises(UsageError, match="no expert called"):
        commands.remove("Ward 7")


def test_one_that_is_gone_leaves_the_others(tmp_path) -> None:
    gone = entry(tmp_path, name="Gone")
    (Path(gone["folder"]) / "plans.json").unlink()
    install(gone, entry(tmp_path))
    found, problems = registry.experts()
    assert [e.name for e in found] == ["Ward 7"] and "Gone" in problems[0]


def test_a_broken_list_is_a_sentence() -> None:
    registry.place().parent.mkdir(parents=True)
    registry.place().write_text('{"v": 1}')
    assert registry.experts()[0] == [] and "cannot be read" in registry.experts()[1][0]


# ---------------------------------------------------------------- its process

@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [None, ((30, -20, -30), (90, 40, 30))])
def test_a_mask_comes_back_onto_the_grid_of_the_scan(tmp_path, flip, box) -> None:
    volume = body(flip=flip)
    found = ForeignExpert(entry(tmp_path)).segment(volume, ["kidney_right"], box)["kidney_right"]
    whole = np.zeros(volume.shape, np.uint8)
    whole[tuple(slice(f, f + n) for f, n in zip(found.first_voxel, found.mask.shape, strict=True))] = found.mask
    assert np.array_equal(whole, volume.voxels == 150)
    assert found.by.licence == "CC BY-NC 4.0 (non-commercial use only)" and found.by.version == "2.8.1"


def test_a_mask_cut_by_the_crop_is_looked_for_in_the_whole_scan(tmp_path) -> None:
    volume = body()
    found = ForeignExpert(entry(tmp_path)).segment(volume, ["kidney_left"], ((60, 0, 0), (70, 20, 10)))["kidney_left"]
    assert found.mask.sum() == (volume.voxels == 250).sum()


def test_a_crop_costs_less_than_the_scan(tmp_path) -> None:
    expert = ForeignExpert(entry(tmp_path))
    assert expert.expected_seconds(body(), ((50, 0, -10), (60, 20, 10))) < expert.expected_seconds(body())


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR"])
def test_turning_and_turning_back(orientation) -> None:
    volume = body((5.0, 4.0, 8.0), flip=True)
    crop = Crop.of(volume, ((-50, -20, -30), (40, 40, 30)), orientation)
    assert list(crop.array().shape) == crop.array_shape
    where = tuple(slice(f, f + n) for f, n in zip(crop.first, crop.shape, strict=True))
    assert np.array_equal(crop.back(crop.array()), volume.voxels[where])


@pytest.mark.parametrize(("how", "code"), [("crash", "028"), ("refuse", "027"), ("grid", "023"), ("hang", "025"), ("eat", "026")])
def test_a_process_that_misbehaves_is_ended_and_said(tmp_path, monkeypatch, how, code) -> None:
    monkeypatch.setattr(foreign, "LEAST_LIMIT_S", 3.0 if how == "hang" else 60.0)
    monkeypatch.setattr(foreign, "TIMES_EXPECTED", 0.0)
    with pytest.raises(ExpertError) as caught:
        ForeignExpert(entry(tmp_path, how, memory_mb=300)).segment(body(), ["kidney_left"])
    assert caught.value.code == f"CTR-EXP-{code}"


def test_a_stop_ends_it(tmp_path) -> None:
    with pytest.raises(ExpertError, match="stopped"):
        ForeignExpert(entry(tmp_path, "hang")).segment(body(), ["kidney_left"], cancelled=lambda: True)


@pytest.mark.parametrize(("how", "code"), [("empty", "020"), ("body", "021"), ("sides", "022")])
def test_nonsense_is_refused(tmp_path, how, code) -> None:
    expert, volume = ForeignExpert(entry(tmp_path, how)), body()
    found = expert.segment(volume, ["kidney_right"])["kidney_right"]
    with pytest.raises(ExpertError) as caught:
        sense.check(found, expert.objects["kidney_right"], volume)
    assert caught.value.code == f"CTR-EXP-{code}"


def test_an_implausible_volume_is_said(tmp_path) -> None:
    expert, volume = ForeignExpert(entry(tmp_path, labels={"P": "prostate", "L": "liver"})), body()
    found = expert.segment(volume, ["liver"])["liver"]
    assert "would be plausible" in sense.odd_volume(found, expert.objects["liver"], volume, cut=False)
    assert sense.odd_volume(found, expert.objects["prostate"], volume, cut=False) == ""


# ---------------------------------------------------------------- in a conversation

@pytest.fixture(scope="module")
def reasoner():
    from ctreasoner import Reasoner

    return Reasoner.from_pretrained("compact", threads=1)


def asked(reasoner, volume, text, talk="t", **settings) -> list:
    from ctreasoner.reasoner import make_request

    request = make_request(reasoner.register(volume), text, conversation=talk, **settings)
    return list(reasoner.answer(request))


def warned(events) -> list[str]:
    return [e.code for e in events if isinstance(e, Warning_)]


@pytest.mark.weights
def test_it_is_asked_once_and_shows_the_mask_as_its_own(tmp_path, reasoner) -> None:
    install(entry(tmp_path))
    volume, talk = body(), "once"
    first = asked(reasoner, volume, "segment the right kidney", talk)
    assert warned(first) == ["expert_available"] and not any(isinstance(e, Mask) for e in first)
    sentence = next(e.sentence for e in first if isinstance(e, Warning_))
    assert "Ward 7 covers the right kidney; about" in sentence and "on this CPU" in sentence and sentence.endswith("Use it?")
    second = asked(reasoner, volume, "yes", talk)
    mask = next(e for e in second if isinstance(e, Mask))
    assert (mask.by.kind, mask.by.name, mask.by.version) == ("expert", "Ward 7", "2.8.1")
    assert mask.voxels == (volume.voxels == 150).sum()
    assert [e.by.name for e in second if isinstance(e, Look) and e.object] == ["Ward 7"]
    assert next(e for e in second if isinstance(e, Intent)).objects[0]["expert"]["name"] == "Ward 7"
    assert {e.by.kind for e in second if e.type == "Category"} == {"rule"}
    assert any(e.type == "Measurement" and e.name == "volume" for e in second)
    assert any(isinstance(e, Text) and e.text for e in second)
    third = asked(reasoner, volume, "segment the left kidney", talk)
    assert warned(third) == [] and any(isinstance(e, Mask) for e in third)
    refined = asked(reasoner, volume, "", talk, clicks=[(60, 10, 0)], target=mask.object)
    assert refined[-1].type == "Failed" and refined[-1].code == "CTR-ASK-005"


@pytest.mark.weights
def test_a_no_is_remembered(tmp_path, reasoner) -> None:
    install(entry(tmp_path))
    asked(reasoner, body(), "segment the right kidney", "no")
    assert warned(asked(reasoner, body(), "no", "no")) == ["expert_refused"]
    assert warned(asked(reasoner, body(), "segment the left kidney", "no")) == ["expert_refused"]


@pytest.mark.weights
@pytest.mark.parametrize("how", ["crash", "empty", "body", "sides", "grid", "refuse"])
def test_what_goes_wrong_is_said_and_loses_nothing(tmp_path, reasoner, how) -> None:
    install(entry(tmp_path, how))
    events = asked(reasoner, body(), "segment the right kidney and the heart", how, options=Options(experts=True))
    assert warned(events)[0] == "expert_failed" and events[-1].type == "Done"
    states = {e.name: e.state for e in events if isinstance(e, Existence)}
    assert states["unknown"] == "unsupported" and "heart" in states


@pytest.mark.weights
def test_the_first_of_two_that_know_it_is_used(tmp_path, reasoner) -> None:
    install(entry(tmp_path, name="First"), entry(tmp_path, name="Second"), use="always")
    events = asked(reasoner, body(), "segment the right kidney", "two")
    assert [e.by.name for e in events if isinstance(e, Mask)] == ["First"]


@pytest.mark.weights
def test_a_drawn_box_bounds_what_the_expert_sees(tmp_path, reasoner, monkeypatch) -> None:
    seen = []
    real = ForeignExpert.segment
    monkeypatch.setattr(ForeignExpert, "segment", lambda self, v, o, b, c: seen.append(b) or real(self, v, o, b, c))
    install(entry(tmp_path), use="always")
    asked(reasoner, body(), "segment the right kidney", "box", boxes=[PromptBox(centre_ras=(60, 10, 0), size_mm=(60, 60, 60))])
    assert np.allclose(seen[0][0], (30, -20, -30))


@pytest.mark.weights
def test_the_side_is_asked_for(tmp_path, reasoner) -> None:
    install(entry(tmp_path), use="always")
    assert warned(asked(reasoner, body(), "segment the kidney", "side")) == ["side_needed"]


@pytest.mark.weights
def test_files_name_expert_version_and_licence(tmp_path, reasoner) -> None:
    from ctreasoner.answer import Assembler
    from ctreasoner.exporting import Wish
    from ctreasoner.output import OutputFolder
    from ctreasoner.reasoner import make_request
    from pydicom import dcmread

    install(entry(tmp_path), use="always")
    volume = body()
    request = make_request(reasoner.register(volume), "segment the right kidney", conversation="files")
    output = OutputFolder(tmp_path / "out", volume, wish=Wish(("seg", "sr")))
    list(output.record(reasoner.answer(request, workspace=output.workspace), Assembler(request)))
    files = output.finish()
    found = json.loads((tmp_path / "out/answer.json").read_text())["turns"][0]["objects"][0]
    assert found["name"] == "kidney_right" and found["by"]["name"] == "Ward 7" and "CC BY-NC" in found["by"]["licence"]
    assert "Drawn by Ward 7 2.8.1; licence of its weights: CC BY-NC 4.0" in (tmp_path / "out/report.html").read_text()
    header = (tmp_path / "out/segmentation.seg.nrrd").read_bytes().split(b"\n\n")[0].decode()
    assert "SegmentAlgorithmName:Ward 7 2.8.1" in header and "CTReasoner.Licence:CC BY-NC 4.0" in header and "64033007" in header
    segment = dcmread(tmp_path / "out" / files["DICOM-SEG"]).SegmentSequence[0]
    algorithm = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("Ward 7", "2.8.1") and "CC BY-NC" in segment.SegmentDescription
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "64033007"
    report = dcmread(tmp_path / "out" / files["DICOM-SR"]).to_json()
    assert "Ward 7" in report and "2.8.1" in report and "CC BY-NC" in report


KNOWN = {"heart": "heart", "aorta": "aorta", "trachea": "trachea", "oesophagus": "esophagus", "left lung": "lung_left",
         "mandible": "mandible", "brainstem": "brainstem", "spinal cord": "spinal_cord"}
ABDOMEN = {"liver": "liver", "spleen": "spleen", "pancreas": "pancreas", "stomach": "stomach", "gallbladder": "gallbladder",
           "left kidney": "kidney_left", "right kidney": "kidney_right"}
PELVIS = {"prostate": "prostate", "urinary bladder": "urinary_bladder", "right femur": "femur_right"}
UNKNOWN = ("hippocampus", "tibia", "cochlea", "appendix", "uterus", "clavicle", "tonsil")
PHRASES = ("segment the {}", "outline the {}", "where is the {}?", "show me the {}", "describe the {}", "please segment the {}",
           "how large is the {}?", "find the {}")


@pytest.mark.weights
def test_two_hundred_questions_reach_the_right_one(tmp_path, reasoner) -> None:
    install(entry(tmp_path, name="Abdomen", labels={k: k for k in ABDOMEN.values()}),
            entry(tmp_path, name="Pelvis", labels={k: k for k in PELVIS.values()}))
    wanted = {**dict.fromkeys(KNOWN, "model"), **dict.fromkeys(ABDOMEN, "Abdomen"), **dict.fromkeys(PELVIS, "Pelvis"),
              **dict.fromkeys(UNKNOWN, "nobody")}
    volume, results = body((8.0, 8.0, 8.0)), []
    for n, (words, who) in enumerate(wanted.items()):
        for m, phrase in enumerate(PHRASES):
            results.append((phrase.format(words), who, _who(reasoner, volume, phrase.format(words), f"q{n}.{m}", KNOWN.get(words))))
    assert len(results) == 200
    wrong = [r for r in results if r[2] != r[1] and (r[1], r[2]) != ("nobody", "declined")]
    assert wrong == []


def _who(reasoner, volume, question: str, talk: str, key: str | None) -> str:
    """Who answers: "model" (for the object that was asked for), the name of an expert, "nobody", "declined", "another"."""
    from ctreasoner.reasoner import make_request

    stream = reasoner.answer(make_request(reasoner.register(volume), question, conversation=talk, options=Options(want_text=False)))
    for event in stream:
        if isinstance(event, Existence) and event.state != "unsupported":
            stream.close()
            return "model" if event.name == key else "another"
        if isinstance(event, Warning_):
            stream.close()
            return {"expert_available": event.sentence.split()[0], "object_unsupported": "nobody"}.get(event.code, "declined")
    return "declined"


def test_yes_and_no_are_these_words_alone() -> None:
    said = [reply(t) for t in ("Yes!", "use it", "No.", "no liver, the heart", "segment the yes")]
    assert said == [True, True, False, None, None]
