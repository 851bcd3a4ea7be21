"""Pictures show what is there, where it is; the page shows everything and loads nothing."""

from __future__ import annotations

import base64
import dataclasses
import errno
import hashlib
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.errors import ResourceError
from ctreasoner.events import read_events, write_events
from ctreasoner.geometry import Volume
from ctreasoner.report import contact_sheet, object_pictures, page, write_report
from ctreasoner.report.panes import OUTSIDE_HU, PLANES, Pane, slice_hu, slice_mask
from ctreasoner.report.pictures import LINE, Drawing, Frame, Line, Outline, _scale_bar, draw, fitting_window
from ctreasoner.report.story import stories
from phantom_story import chest, record, tight


@pytest.fixture(scope="module")
def phantom() -> tuple[Volume, dict[str, np.ndarray]]:
    return chest()


@pytest.fixture
def small_pictures(monkeypatch):
    """Draw small: for tests that look at the page and not at its pictures."""
    monkeypatch.setattr(page, "object_pictures", lambda *args: object_pictures(*args, size_px=64))


def marked_volume(affine: np.ndarray, index=(20, 9, 6), shape=(30, 26, 14)) -> Volume:
    voxels = np.zeros(shape, np.int16)
    voxels[index] = 1000
    return Volume(voxels, affine)


def affines() -> list[np.ndarray]:
    """Return a straight, a flipped and permuted, and an oblique one."""
    from scipy.spatial.transform import Rotation

    straight = np.diag([1.0, 1.2, 2.0, 1])
    flipped = np.eye(4)
    flipped[:3, :3] = np.eye(3)[:, [1, 2, 0]] * [-1, 1, -1] * [1.0, 1.2, 2.0]
    oblique = np.eye(4)
    oblique[:3, :3] = Rotation.from_euler("xyz", [15, -20, 30], degrees=True).as_matrix() * [1.0, 1.2, 2.0]
    for affine in (straight, flipped, oblique):
        affine[:3, 3] = [-12, 30, -70]
    return [straight, flipped, oblique]


# --- pictures --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("affine", affines())
@pytest.mark.parametrize("plane", PLANES)
def test_a_bright_voxel_shows_where_its_world_position_says(affine, plane):
    volume = marked_volume(affine)
    spot = volume.index_to_world([20, 9, 6])
    pane = Pane.of(plane, spot + np.cross(*PLANES[plane]) * 0.0 + np.array(PLANES[plane][0]) * 3, 40, 160)
    hu = slice_hu(volume, pane)
    brightest = np.array(np.unravel_index(np.argmax(hu), hu.shape))[::-1] + 0.5
    np.testing.assert_allclose(brightest, pane.to_px(spot)[0], atol=2.5)


def test_the_patients_right_is_on_the_left_and_letters_say_so():
    assert Pane.of("axial", (0, 0, 0), 100, 10).ends() == {"left": "R", "right": "L", "top": "A", "bottom": "P"}
    assert Pane.of("coronal", (0, 0, 0), 100, 10).ends() == {"left": "R", "right": "L", "top": "S", "bottom": "I"}
    assert Pane.of("sagittal", (0, 0, 0), 100, 10).ends() == {"left": "A", "right": "P", "top": "S", "bottom": "I"}
    tilted = Pane.oblique((0, 0, 0), (0, 0.6, 0.8), 100, 10)
    assert tilted.ends()["left"] == "R"
    assert tilted.ends()["top"] == "AI"
    np.testing.assert_allclose(np.abs(tilted.normal), [0, 0.6, 0.8], atol=1e-9)


def test_what_was_not_scanned_is_told_apart_from_air():
    volume = Volume(np.full((10, 10, 10), -1000, np.int16), np.eye(4))
    hu = slice_hu(volume, Pane.of("axial", (4.5, 4.5, 4.5), 20, 40))
    assert hu[20, 20] == -1000
    assert hu[2, 2] == OUTSIDE_HU


@pytest.mark.parametrize("affine", affines())
def test_a_painted_mask_has_the_area_of_the_cut(affine):
    shape = (40, 36, 30)
    volume = Volume(np.zeros(shape, np.int16), affine)
    centre = volume.index_to_world((np.array(shape) - 1) / 2)
    points = volume.index_to_world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).reshape(-1, 3))
    ball = (np.linalg.norm(points - centre, axis=1) < 11).reshape(shape)
    crop, first = tight(ball)
    for plane in PLANES:
        pane = Pane.of(plane, centre, 40, 100)
        area = slice_mask(crop, first, volume, pane).sum() * (pane.mm_per_px / 2) ** 2
        assert area == pytest.approx(np.pi * 11**2, rel=0.06)


def test_lines_end_where_their_points_are_and_boxes_lie_on_their_faces():
    volume = Volume(np.zeros((50, 50, 20), np.int16), np.eye(4))
    pane = Pane.of("axial", (25, 25, 10), 50, 200)
    ends = np.array([[12.0, 20, 10], [38, 30, 10]])
    picture = np.asarray(draw(volume, pane, Drawing((40, 400), lines=[Line(ends, "27.9 mm")]))).astype(int)
    yellow = np.argwhere(np.abs(picture - LINE).sum(axis=2) < 60)[:, ::-1]
    for end in pane.to_px(ends):
        assert np.linalg.norm(yellow - end, axis=1).min() < 2.5
    red = (250, 40, 40)
    frame = Frame(np.array([10.0, 15, 5]), np.array([40.0, 35, 15]), red)
    picture = np.asarray(draw(volume, pane, Drawing((40, 400), frames=[frame]))).astype(int)
    drawn = np.argwhere(np.abs(picture - red).sum(axis=2) < 90)[:, ::-1]
    np.testing.assert_allclose([drawn.min(0), drawn.max(0)], [[40, 60], [160, 140]], atol=2)


def test_the_scale_bar_is_as_long_as_it_says():
    for extent in (12, 47, 133, 480, 2000):
        pane = Pane.of("axial", (0, 0, 0), extent, 420)
        mm, pixels = _scale_bar(pane)
        assert pixels * pane.mm_per_px == pytest.approx(mm)
        assert 0.05 < pixels / 420 <= 0.25


def test_the_window_fits_the_object(phantom):
    volume, masks = phantom
    level, width = fitting_window(volume, *tight(masks["aorta"]))
    assert level + width / 2 > 400
    assert level - width / 2 < -100
    level, width = fitting_window(volume, *tight(masks["lung_nodule"]))
    assert level - width / 2 < -1000


def test_all_pictures_of_an_object_have_one_size_and_words(phantom, tmp_path):
    volume, masks = phantom
    (story,) = [s for s in stories(record(volume, masks, tmp_path, ["aorta"])) if s.name == "aorta"]
    rows = object_pictures(story, volume, tmp_path, size_px=96)
    assert [row.kind for row in rows] == ["look", "look", "look", "final"]
    assert [picture.plane for picture in rows[-1].pictures] == ["axial", "coronal", "sagittal", "oblique"]
    for row in rows:
        assert all(picture.image.size == (96, 96) and picture.alt for picture in row.pictures)
        assert all(np.asarray(picture.image).std() > 10 for picture in row.pictures)
    assert contact_sheet(rows).size[0] > 4 * 96


def test_an_outline_has_the_objects_colour(phantom):
    volume, masks = phantom
    crop, first = tight(masks["heart"])
    centre = volume.index_to_world(np.array(first) + (np.array(crop.shape) - 1) / 2)
    colour = (10, 250, 120)
    drawing = Drawing((40, 400), [Outline(crop, first, colour)])
    picture = np.asarray(draw(volume, Pane.of("axial", centre, 160, 200), drawing)).astype(int)
    assert (np.abs(picture - colour).sum(axis=2) < 120).sum() > 150


# --- the page --------------------------------------------------------------------------------------------------------
class Page(HTMLParser):
    """What a page loads, runs and says."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def written(phantom, folder: Path, events=None, **options) -> str:
    volume, masks = phantom
    events = record(volume, masks, folder, ["heart", "lung_nodule"]) if events is None else events
    return write_report(events, volume, folder, **options).read_text(encoding="utf-8")


def test_the_page_loads_nothing_and_its_policy_allows_its_own_style_alone(phantom, tmp_path, small_pictures):
    text = written(phantom, tmp_path)
    page = Page(text)
    assert not {tag for tag, _ in page.tags} & {"script", "link", "iframe", "object", "embed", "form", "base"}
    sources = [attrs["src"] for _, attrs in page.tags if "src" in attrs]
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not [attrs for _, attrs in page.tags if {"href", "style", "onclick", "onload", "srcset"} & set(attrs)]
    policy = next(attrs["content"] for _, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "url(" not in style
    assert "prefers-color-scheme: dark" in style


def test_what_comes_from_outside_is_escaped(phantom, tmp_path, small_pictures):
    evil = '<img src=x onerror="alert(1)"></style><script>alert(2)</script>'
    text = written(phantom, tmp_path, source_note=evil, questions={"a1": evil})
    assert "<script>" not in text
    assert text.count("</style>") == 1
    assert evil in Page(text).text                      # shown as words
    assert "<b>A spoon</b>" in Page(text).text


def test_the_page_says_what_was_found_measured_and_checked(phantom, tmp_path, small_pictures):
    page = Page(written(phantom, tmp_path, source_note="LIDC-IDRI-0001, CC BY 3.0", questions={"a1": "Segment the heart"}))
    for words in ("Research use only", "LIDC-IDRI-0001, CC BY 3.0", "Segment the heart", "Heart", "Lung nodule", "Mandible",
                  "outside the scanned region", "Spoon", "not something the model knows", "Volume", "Long axis", "ml",
                  "number of voxels x voxel volume", "verified", "refuted", "not said", "shape", "round",
                  "'spoon' is not in the vocabulary.", "Look 0: whole scan", "Look 2: boundary", "Final mask: Heart"):
        assert words in page.text, words
    row = re.search(r"Long axis .*? mm .*? refuted found \d+ mm", page.text)
    assert row


def test_a_stream_cut_anywhere_and_replayed_from_its_file_still_makes_a_page(phantom, tmp_path, small_pictures):
    volume, masks = phantom
    events = record(volume, masks, tmp_path, ["lung_nodule"])
    for end in [*range(1, len(events), 4), len(events)]:
        assert "Research use only" in written(phantom, tmp_path, events[:end])
    write_events(events, tmp_path / "events.jsonl")
    assert written(phantom, tmp_path, read_events(tmp_path / "events.jsonl")) == written(phantom, tmp_path, events)


def test_a_follow_up_names_the_object_of_the_earlier_answer_and_shows_no_looks_again(phantom, tmp_path, small_pictures):
    volume, masks = phantom
    events = record(volume, masks, tmp_path, ["heart"])
    old = next(event for event in events if event.type == "Measurement")
    later = [dataclasses.replace(old, answer="a2", seq=0, id="a1.o1.m9", name="long_axis", unit="mm")]
    page = Page(written(phantom, tmp_path, [*events, *later], questions={"a2": "How large is it?"}))
    follow_up = page.text.split("How large is it?")[1]
    assert "Heart" in follow_up
    assert "Look 0" not in follow_up


def test_masks_that_are_gone_leave_the_looks(phantom, tmp_path, small_pictures):
    volume, masks = phantom
    events = record(volume, masks, tmp_path, ["heart"])
    for path in tmp_path.glob("*.npy"):
        path.unlink()
    page = Page(written(phantom, tmp_path, events))
    assert "Look 2: boundary" in page.text
    assert "Final mask" not in page.text


def test_a_full_disk_leaves_the_old_page_and_says_so(phantom, tmp_path, small_pictures, monkeypatch):
    before = written(phantom, tmp_path)

    def full(*_args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(ResourceError, match="No space left"):
        written(phantom, tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == before
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))
