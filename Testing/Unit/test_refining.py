"""A click corrects a mask that the engine did not make: imported, or changed by hand. A rule stands for the pixel decoder."""

from __future__ import annotations

from pathlib import Path

import bright_engine
import numpy as np
import pydicom
import pytest
import torch
from ctreasoner import cli
from ctreasoner.conversation import Known
from ctreasoner.dicom import SegObject, read_series, write_derived, write_rtstruct, write_seg
from ctreasoner.events import Click, Mask, Request
from ctreasoner.geometry import Volume
from ctreasoner.model import closer
from ctreasoner.model.prompting import CHANNEL
from ctreasoner.reasoner import Reasoner, load_volume

MISSING, EXTRA, INSIDE = (36, 25, 20), (15, 25, 20), (25, 25, 20)      # voxels: in what is missing, in what is too much, in neither
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


@pytest.fixture(scope="module")
def engine():
    return bright_engine.make().engine


def point(volume: Volume, voxel) -> tuple[float, ...]:
    return tuple(float(v) for v in volume.index_to_world([voxel])[0])


class Talk:
    """A conversation that begins with a given mask of the block; `whole` is the mask as it is now."""

    def __init__(self, engine, folder: Path, key: str = "heart"):
        self.engine, self.folder = engine, folder
        self.volume, self.block = bright_engine.scan()
        self.whole, self.missing, self.extra = bright_engine.faulty(self.block)
        engine.forget(engine.register(self.volume))
        self.identity = engine.register(self.volume)
        crop, first = closer.trimmed(self.whole, np.zeros(3, int))
        talk = engine.conversation(Request(volume=self.identity, text="-"))
        self.known = talk.earlier["a1.o1"] = Known("a1.o1", 0, key, "Heart", mask=crop, first_voxel=first, given=True)
        talk.answers = 1

    def click(self, voxel, positive: bool) -> list:
        click = Click(point_ras=point(self.volume, voxel), positive=positive, target="a1.o1")
        events = list(self.engine.answer(Request(volume=self.identity, clicks=(click,)), workspace=self.folder))
        assert events[-1].type == "Done", events[-1]
        mask = next(e for e in events if isinstance(e, Mask))
        self.whole = np.zeros(self.volume.shape, bool)
        where = tuple(slice(a, a + n) for a, n in zip(mask.first_voxel, mask.shape, strict=True))
        self.whole[where] = np.load(self.folder / mask.path)
        return events


@pytest.mark.parametrize("key", ["heart", "thing", "liver of another maker"])
def test_a_click_adds_what_is_missing_and_another_takes_away_what_is_too_much(engine, tmp_path, key):
    talk = Talk(engine, tmp_path, key)
    before = talk.whole.copy()
    events = talk.click(MISSING, True)
    kinds = [e.type for e in events]
    assert kinds[:5] == ["Started", "Look", "Existence", "Look", "Mask"] and "Measurement" in kinds
    assert next(e for e in events if isinstance(e, Mask)).stage == "refined"
    assert talk.whole[talk.missing].mean() > 0.98 and talk.whole[talk.extra].all()
    assert not (before & ~talk.whole).any()             # a click that adds takes nothing away
    before = talk.whole.copy()
    talk.click(EXTRA, False)
    assert not talk.whole[talk.extra & ~talk.block].any()
    changed = before ^ talk.whole
    assert not (changed & talk.block).any()             # the block itself was right and stays
    assert 2 * (talk.whole & talk.block).sum() / (talk.whole.sum() + talk.block.sum()) > 0.98


def test_voxels_far_from_the_click_stay_though_the_model_would_draw_them_otherwise(engine, tmp_path):
    talk = Talk(engine, tmp_path)
    before = talk.whole.copy()
    talk.click(MISSING, True)
    far = np.zeros_like(before)
    far[:32] = True
    assert np.array_equal(talk.whole[far], before[far])


def test_the_mask_and_the_clicks_reach_the_decoder_and_the_code_is_that_of_the_routing_token(engine, tmp_path, monkeypatch):
    talk, codes = Talk(engine, tmp_path), []
    segment = engine.speaker.segment
    monkeypatch.setattr(engine.speaker, "segment", lambda thought: codes.append((segment(thought), thought)) or codes[-1][0])
    engine.seen.clear()
    talk.click(MISSING, True)
    code, prompt = engine.seen[-1]
    assert torch.equal(code, codes[0][0])
    assert prompt[CHANNEL["mask"]].sum() * 8 * talk.known.sight.view.spacing_mm[0] ** 3 == pytest.approx(
        bright_engine.faulty(talk.block)[0].sum() * bright_engine.SPACING ** 3, rel=0.02)
    assert prompt[CHANNEL["click_positive"]].max() > 0.9 and not prompt[CHANNEL["click_negative"]].any()
    assert [o.key for o in codes[0][1].plan.objects] == ["heart"]
    unnamed = Talk(engine, tmp_path, "thing")
    unnamed.click(MISSING, True)
    assert [o.key for o in codes[1][1].plan.objects] == ["thing"] and not torch.equal(engine.seen[-1][0], code)


def test_a_second_click_looks_at_nothing_anew(engine, tmp_path, monkeypatch):
    talk = Talk(engine, tmp_path)
    assert [e.object for e in talk.click(MISSING, True) if e.type == "Look"] == [None, "a1.o1"]
    monkeypatch.setattr(engine.speaker, "given", None)
    assert [e.object for e in talk.click(EXTRA, False) if e.type == "Look"] == [None]


def test_a_click_that_changes_nothing_is_said(engine, tmp_path):
    talk = Talk(engine, tmp_path)
    before = talk.whole.copy()
    warning = next(e for e in talk.click(INSIDE, True) if e.type == "Warning")
    assert warning.code == "click_without_effect" and "The model sees nothing to change at" in warning.sentence
    assert np.array_equal(before, talk.whole)


def test_strokes_of_a_hand_are_kept_by_a_click(engine, tmp_path):
    talk = Talk(engine, tmp_path)
    drawn = talk.whole.copy()
    drawn[22:24, 36:40, 20:22] = True                   # apart from everything, in what is not bright
    np.save(tmp_path / "drawn.npy", drawn.astype(np.uint8))
    list(engine.answer(Request(volume=talk.identity, edited={"a1.o1": str(tmp_path / "drawn.npy")}), workspace=tmp_path))
    talk.click(MISSING, True)
    assert talk.whole[22:24, 36:40, 20:22].all() and talk.whole[talk.missing].mean() > 0.98


# ---------------------------------------------------------------- DICOM in, a click, DICOM out

@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ct") / "ct"
    write_derived(bright_engine.scan((-1.0, -1.0, 1.0))[0], folder)
    return folder


@pytest.fixture(params=["SEG", "RTSTRUCT"])
def theirs(request, ct, tmp_path) -> Path:
    """A segmentation with a tracking identifier, or contours, of a faulty mask beside one that nobody touches."""
    series = read_series(ct)
    mask = bright_engine.faulty(bright_engine.scan()[1])[0]
    other = np.zeros_like(mask)
    other[5:9, 5:9, 5:9] = True
    objects = [SegObject("thing", name, m, (0, 0, 0), "MANUAL", tracking_id=f"{name} 1", tracking_uid=f"1.2.826.0.1.9.{n}")
               for n, (name, m) in enumerate([("Theirs", mask), ("Other", other)], start=1)]
    write = write_seg if request.param == "SEG" else write_rtstruct
    return write(tmp_path / f"{request.param}.dcm", objects, series.volume, series.sources)


def test_an_imported_finding_is_corrected_by_the_command_and_goes_out_as_the_same(theirs, ct, tmp_path, monkeypatch, capsys):
    made = bright_engine.make()
    monkeypatch.setattr(Reasoner, "from_pretrained", classmethod(lambda cls, *a, **k: made))
    click = ",".join(f"{v:g}" for v in point(load_volume(ct), MISSING))
    with pytest.raises(SystemExit) as left:
        cli.main(["ask", str(ct), "--import", str(theirs), "--target", "a1.o1", f"--click={click}", "--out", str(tmp_path / "out")])
    assert not left.value.code, capsys.readouterr().err
    new = pydicom.dcmread(tmp_path / "out" / "dicom" / "segmentation.dcm")
    first, other = new.SegmentSequence
    assert (first.SegmentLabel, other.SegmentLabel) == ("Theirs", "Other")
    assert (first.SegmentAlgorithmType, other.SegmentAlgorithmType) == ("SEMIAUTOMATIC", "MANUAL")
    assert first.SegmentDescription == "Changed since it was imported." and "SegmentDescription" not in other
    assert (first.TrackingID, first.TrackingUID) == ("Theirs 1", "1.2.826.0.1.9.1") or theirs.name == "RTSTRUCT.dcm"
    answer = made.import_dicom(ct, tmp_path / "out" / "dicom" / "segmentation.dcm", conversation="again")
    _, missing, extra = bright_engine.faulty(bright_engine.scan()[1])
    mask = answer.mask("a1.o1")
    assert mask[missing].mean() > 0.98 and mask[extra].all()


def test_the_same_from_python(theirs, ct):
    reasoner = bright_engine.make()
    volume = load_volume(ct)
    imported = reasoner.import_dicom(volume, theirs)
    assert [o.display for o in imported.objects] == ["Theirs", "Other"]
    answer = reasoner.ask(volume, clicks=[Click(point_ras=point(volume, EXTRA), positive=False)], target="a1.o1")
    assert answer.id == "a2" and answer.objects[0].display == "Theirs"
    _, missing, extra = bright_engine.faulty(bright_engine.scan()[1])
    mask = answer.mask("a1.o1")
    assert not mask[extra].any() and not mask[missing].any()
