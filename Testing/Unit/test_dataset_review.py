"""Sheets of pictures, proposals that are no labels, and a person's review that loses nothing."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from dataclasses import replace

import dataset_phantoms as phantoms
import numpy as np
import pytest
from ctreasoner.cli import main
from ctreasoner.dataset.build import Settings, build
from ctreasoner.dataset.check import check
from ctreasoner.dataset.propose import EngineProposer, Proposal, propose
from ctreasoner.dataset.review import review, waiting
from ctreasoner.dataset.show import case_sheet, colour_of, show
from ctreasoner.dataset.store import DataSet
from ctreasoner.errors import InputError, UsageError
from ctreasoner.events import By
from PIL import Image

PERSON = "Ada Lovelace"


class Double:
    """Proposes the phantom's true heart (unsure), its trachea (surer), and says that there is no mandible."""

    by = By(kind="expert", name="double", version="1")

    def propose(self, volume):
        masks = phantoms.thorax()[1]
        yield Proposal("trachea", masks["trachea"], 0.2, "The trachea is there.")
        yield Proposal("heart", masks["heart"], 0.7)
        yield Proposal("mandible", None, 0.4)


def proposed(folder) -> DataSet:
    ct = phantoms.save(folder / "one.nii.gz", phantoms.thorax()[0])
    assert propose([ct], folder / "out", Double(), licence="CC BY 4.0").written == 1
    return DataSet.open(folder / "out")


def answers(*lines: str):
    """A person who types these lines and then leaves."""
    left = list(lines)

    def ask(prompt: str) -> str:
        if not left:
            raise EOFError
        line = left.pop(0)
        if line == "^C":
            raise KeyboardInterrupt
        return line + "\n"

    return ask


def kept(data: DataSet) -> dict[str, str | None]:
    return {label.key: label.decision for label in data.labels("one", proposals=True)}


# ---------------------------------------------------------------- pictures

def test_a_sheet_shows_every_mask_in_its_colour(tmp_path) -> None:
    build([phantoms.pairs(tmp_path / "mine")], tmp_path / "out")
    data = DataSet.open(tmp_path / "out")
    [path] = show(data, tmp_path / "sheets")
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    for label in data.labels("one"):
        assert (np.abs(pixels - colour_of(label.key)).max(axis=1) < 8).sum() > 100, label.key
    assert code_of(["dataset", "show", str(data.folder), "--case", "one", "--out", str(tmp_path / "more")]) == 0
    with pytest.raises(InputError, match="no case two"):
        show(data, tmp_path / "sheets", ["two"])


def test_8_bit_slices_and_unlabelled_scans_have_a_sheet_too(tmp_path) -> None:
    build([phantoms.mosmed(tmp_path / "mm"), phantoms.segthor(tmp_path / "st")], tmp_path / "out")
    data = DataSet.open(tmp_path / "out")
    for name in ("Val_Morozov_study_0255_28", "segthor_Patient_41"):
        assert np.asarray(case_sheet(data, data.case(name))).std() > 10


def code_of(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    return left.value.code


# ---------------------------------------------------------------- proposals

def test_a_proposal_is_no_label(tmp_path) -> None:
    data = proposed(tmp_path)
    case = data.case("one")
    assert data.labels("one") == [] and data.questions("one") == [] and case.covered == ()
    label = next(lb for lb in data.labels("one", proposals=True) if lb.key == "trachea")
    assert label.proposed_by == Double.by and label.reviewed_by is None and label.changed_voxels is None
    assert label.box and label.prompts and label.attributes and label.wordings[0] == "The trachea is there."
    notes = list(check(data))
    assert [p.level for p in notes] == ["note"] and "3 proposals wait for review and do not count" in notes[0].sentence


def test_proposing_again_touches_nothing_and_a_damaged_ct_is_refused_by_name(tmp_path) -> None:
    data = proposed(tmp_path)
    review(data, PERSON, answers("a"), lambda _: None)
    (tmp_path / "bad.nii.gz").write_bytes(b"\x1f\x8b broken")
    again = phantoms.save(tmp_path / "twin.nii.gz", phantoms.thorax()[0])
    done = propose([tmp_path / "one.nii.gz", tmp_path / "bad.nii.gz", again], data.folder, Double(), licence="CC BY 4.0")
    assert (done.written, done.there) == (0, 1) and "bad.nii.gz" in done.refused[0] and "very voxels of one" in done.refused[1]
    assert kept(DataSet.open(data.folder))["heart"] == "accepted"
    with pytest.raises(InputError, match="under which licence"):
        propose([again], data.folder, Double(), licence=" ")


def test_the_engine_proposes_what_it_finds_and_says_how_sure_it_is(tmp_path) -> None:
    import nibabel
    from ctreasoner.reasoner import Reasoner
    from fake_engine import FakeEngine, phantom_volume

    volume = phantom_volume()
    nibabel.save(nibabel.Nifti1Image(volume.voxels, volume.affine), tmp_path / "ct.nii.gz")
    proposer = EngineProposer(Reasoner(FakeEngine()), ["heart", "mandible"])
    propose([tmp_path / "ct.nii.gz"], tmp_path / "out", proposer, licence="mine")
    data = DataSet.open(tmp_path / "out")
    labels = {label.key: label for label in data.labels("ct", proposals=True)}
    assert labels["heart"].voxels > 0 and labels["mandible"].state == "absent"
    assert all(0 <= label.uncertainty <= 1 and label.proposed_by.kind == "model" for label in labels.values())
    with pytest.raises(InputError, match="'liver' is no object that can be proposed"):
        EngineProposer(None, ["liver"])


@pytest.mark.weights
@pytest.mark.demo_ct
def test_the_shipped_weights_propose_the_trachea_of_a_real_ct(tmp_path) -> None:
    import nibabel
    from ctreasoner.demo import demo_ct, demo_labels
    from ctreasoner.evaluation.scans import DEMO_LABELS
    from ctreasoner.reasoner import Reasoner

    done = propose([demo_ct()], tmp_path / "out", EngineProposer(Reasoner.from_pretrained(), ["trachea"]), licence="CC BY 3.0")
    data = DataSet.open(tmp_path / "out")
    [label] = data.labels("cxr", proposals=True)
    truth = nibabel.as_closest_canonical(nibabel.load(demo_labels()))
    true, found = np.asarray(truth.dataobj) == DEMO_LABELS["trachea"], data.whole_mask(label)
    assert done.written == 1 and 2 * (true & found).sum() / (true.sum() + found.sum()) > 0.6


def test_masks_of_another_program_wait_for_the_same_review(tmp_path) -> None:
    settings = Settings(proposed_by="TotalSegmentator 2.18")
    build([phantoms.totalsegmentator(tmp_path / "ts")], tmp_path / "out", settings, only=lambda f: f.id == "s0001")
    data = DataSet.open(tmp_path / "out")
    assert data.labels("s0001") == [] and data.questions("s0001") == [] and data.case("s0001").covered == ()
    review(data, PERSON, answers("a", "q"), lambda _: None)
    [label] = data.labels("s0001")
    assert (label.key, label.proposed_by.name, label.reviewed_by) == ("aorta", "TotalSegmentator 2.18", PERSON)
    assert data.case("s0001").covered == ("aorta",) and data.questions("s0001")


# ---------------------------------------------------------------- the review

def test_the_most_uncertain_comes_first_with_its_picture(tmp_path) -> None:
    data, told = proposed(tmp_path), []
    assert [label.key for _, label in waiting(data)] == ["heart", "mandible", "trachea"]
    done = review(data, PERSON, answers("s", "?", "s", "q"), told.append)
    assert (done.skipped, done.left) == (2, 3)
    shown = [line for line in told if line.startswith("\n[")]
    assert "Heart in one, proposed by double, uncertainty 0.70" in shown[0]
    assert "Mandible" in shown[1] and "not to be in this scan" in shown[1]
    pictures = {p.name for p in (data.folder / "review").iterdir()}
    assert pictures == {"one.heart.png", "one.scan.png", "one.trachea.png"}


def test_what_is_accepted_counts_from_then_on_and_what_is_rejected_never(tmp_path) -> None:
    data = proposed(tmp_path)
    done = review(data, f"  {PERSON} ", answers("a", "a", "r"), lambda _: None)
    assert (done.accepted, done.rejected, done.left) == (2, 1, 0)
    data = DataSet.open(data.folder)
    labels = {label.key: label for label in data.labels("one")}
    assert set(labels) == {"heart", "mandible"} and set(data.case("one").covered) == {"heart", "mandible"}
    assert labels["heart"].reviewed_by == PERSON and labels["heart"].changed_voxels == 0 and labels["heart"].reviewed_at
    asked = {a.key: a.states for q in data.questions("one") for a in q.objects if a.key}
    assert asked["mandible"] == ("absent", "outside") and "heart" in asked and "trachea" not in asked
    assert [p for p in check(data) if p.level == "error"] == []


def test_a_correction_is_a_mask_of_the_person_and_its_voxels_are_counted(tmp_path) -> None:
    data, told = proposed(tmp_path), []
    truth = phantoms.thorax()[1]["heart"]
    better = truth.copy()
    better[:, :, 30:] = False
    away = phantoms.affine()
    away[1, 3] += 20
    wrong = phantoms.save(tmp_path / "wrong.nii.gz", better.astype(np.uint8), away)
    empty = phantoms.save(tmp_path / "empty.nii.gz", np.zeros(phantoms.SHAPE, np.uint8))
    right = phantoms.save(tmp_path / "right.nii.gz", better.astype(np.uint8))
    done = review(data, PERSON, answers(f"c {wrong}", f"c {empty}", "c /nowhere.nii.gz", f"c {right}", "q"), told.append)
    assert done.corrected == 1
    assert any("wrong.nii.gz lies up to" in line for line in told) and any("empty.nii.gz is empty" in line for line in told)
    label = next(lb for lb in data.labels("one") if lb.key == "heart")
    assert (label.decision, label.changed_voxels, label.voxels) == ("corrected", int((truth ^ better).sum()), int(better.sum()))
    assert np.array_equal(data.whole_mask(label), better)
    volume = next(m.value for m in label.measurements if m.name == "volume")
    assert volume == pytest.approx(better.sum() * phantoms.SPACING**3 / 1000)
    assert [p for p in check(DataSet.open(data.folder)) if p.level == "error"] == []


def test_what_is_written_for_an_editor_comes_back_unchanged(tmp_path) -> None:
    data, told = proposed(tmp_path), []
    mask = data.folder / "review" / "one.heart.nii.gz"
    done = review(data, PERSON, answers("e", f"c {mask}", "q"), told.append)
    assert done.corrected == 1 and (data.folder / "review" / "one.nii.gz").is_file()
    assert next(lb for lb in data.labels("one") if lb.key == "heart").changed_voxels == 0


@pytest.mark.parametrize("end", [("^C",), ()])
def test_an_interrupted_review_loses_nothing(end: tuple[str, ...], tmp_path) -> None:
    data = proposed(tmp_path)
    done = review(data, PERSON, answers("a", *end), lambda _: None)
    assert (done.accepted, done.left) == (1, 2)
    again = DataSet.open(data.folder)
    assert kept(again) == {"heart": "accepted", "trachea": None, "mandible": None}
    assert [label.key for _, label in waiting(again)] == ["mandible", "trachea"]


def test_a_fall_between_two_writes_is_repaired_by_the_next_review(tmp_path, monkeypatch) -> None:
    data = proposed(tmp_path)

    def fall(self, case, **fields):
        raise KeyboardInterrupt

    monkeypatch.setattr(DataSet, "change_case", fall)
    review(data, PERSON, answers("a"), lambda _: None)
    monkeypatch.undo()
    data = DataSet.open(data.folder)
    assert kept(data)["heart"] == "accepted" and data.case("one").covered == ()
    assert any(p.level == "error" and "not among what the case covers" in p.sentence for p in check(data))
    review(data, PERSON, answers("q"), lambda _: None)
    assert data.case("one").covered == ("heart",) and data.questions("one")


@pytest.mark.parametrize("name", ["", "Ada", "x y", "12 34"])
def test_a_review_is_signed_with_a_whole_name(name: str, tmp_path) -> None:
    with pytest.raises(UsageError, match="first and a last name"):
        review(proposed(tmp_path), name, answers("a"), lambda _: None)


def test_a_script_cannot_sign_for_a_person(tmp_path, capsys, monkeypatch) -> None:
    import io

    data = proposed(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.StringIO("a\na\na\n"))
    assert code_of(["dataset", "review", str(data.folder), "--name", PERSON]) == 2
    assert "needs a person at a terminal" in capsys.readouterr().err
    assert set(kept(data).values()) == {None}


def test_half_a_signature_is_refused(tmp_path) -> None:
    label = proposed(tmp_path).labels("one", proposals=True)[0]
    with pytest.raises(InputError, match="belong together"):
        replace(label, reviewed_by=PERSON)


def test_a_person_at_a_terminal_reviews(tmp_path) -> None:
    data = proposed(tmp_path)
    screen, keyboard = pty.openpty()
    command = [sys.executable, "-m", "ctreasoner", "dataset", "review", str(data.folder), "--name", PERSON, "--json"]
    process = subprocess.Popen(command, stdin=keyboard, stderr=keyboard, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    os.close(keyboard)
    seen, sent, lines = "", 0, ["a", "r", "q"]
    until = time.monotonic() + 240
    while sent < len(lines) and time.monotonic() < until and process.poll() is None:
        if select.select([screen], [], [], 1.0)[0]:
            seen += os.read(screen, 4096).decode(errors="replace")
        if seen.count("q or ? >") > sent:
            os.write(screen, f"{lines[sent]}\n".encode())
            sent += 1
    out = process.communicate(timeout=60)[0]
    os.close(screen)
    assert json.loads(out) == {"accepted": 1, "corrected": 0, "rejected": 1, "skipped": 0, "left": 1}
    assert kept(DataSet.open(data.folder)) == {"heart": "accepted", "mandible": "rejected", "trachea": None}
