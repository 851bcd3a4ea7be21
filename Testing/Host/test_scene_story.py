"""Long random stories: whatever a person and the model do one after the other, every voxel is where a simple account says."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.scene import SceneWriter, store
from ctreasoner.scene.layers import Layers
from ctreasoner.vocabulary import Vocabulary
from scene_fixtures import GRIDS, Scene, Story, ball, placed, rotation, tell, whole

SHAPE = (60, 50, 40)
KEYS = (("heart", "Heart"), ("aorta", "Aorta"), ("trachea", "Trachea"), ("thing", "Clicked structure"), ("lung_left", "Left lung"))
VOCABULARY = Vocabulary.load()
DEEDS = ["answer", "answer", "answer", "undo", "redo", "stroke", "stroke", "accept", "reject", "surface", "correct"]


@dataclass
class Kept:
    """What should be in one segment; `by_person`: accepted, corrected or edited, so that no newer answer replaces it."""

    id: str
    key: str
    mask: np.ndarray
    by_person: bool = False

    def copy(self) -> Kept:
        return replace(self, mask=self.mask.copy())


class Account:
    """A plain account beside the scene: segments by id, and per step how those that it touched were before."""

    def __init__(self, scene: Scene, ct, folder: Path, random: np.random.Generator) -> None:
        self.scene, self.ct, self.folder, self.random = scene, ct, folder, random
        self.writer = SceneWriter(scene.mrml, ct, VOCABULARY, scene.logics)
        self.now: dict[str, Kept] = {}
        self.done: list[dict[str, Kept | None]] = []
        self.undone: list[dict[str, Kept | None]] = []
        self.answers = 0

    def some(self) -> str:
        return str(self.random.choice(list(self.now))) if self.now else ""

    def mask(self) -> tuple[np.ndarray, tuple]:
        size = tuple(int(n) for n in self.random.integers(5, 22, 3))
        return ball(size, int(self.random.integers(100))), tuple(
            int(self.random.integers(0, s - n)) for s, n in zip(SHAPE, size, strict=True))

    def step(self, before: dict[str, Kept | None]) -> None:
        self.done.append(before)
        del self.done[:-20]
        self.undone.clear()

    def story(self) -> Story:
        self.answers += 1
        return Story(self.folder, f"a{self.answers}")

    def answer(self) -> None:
        story, before, new = self.story(), {}, {}
        for n, at in enumerate(self.random.permutation(len(KEYS))[:int(self.random.integers(1, 4))], 1):
            key, display = KEYS[at]
            crop, first = self.mask()
            story.find(n, key, display, crop, first, GRIDS["plain"])
            new[story.id(n)] = Kept(story.id(n), key, placed(SHAPE, crop, first))
        story.done()
        tell(self.writer, story)
        for finding_id, kept in new.items():
            expected = next((s for s, k in self.now.items() if k.key == kept.key != "thing" and not k.by_person), None)
            slot = self.writer.finding(finding_id).segment_id
            assert slot == expected or (expected is None and slot not in self.now)
            before[slot] = self.now.get(slot)
            self.now[slot] = kept
        self.step(before)

    def correct(self) -> None:
        slot, story = self.some(), self.story()
        if not slot:
            return
        crop, first = self.mask()
        story.mask(self.now[slot].id, crop, first, "refined")
        story.done()
        tell(self.writer, story)
        self.step({slot: self.now[slot].copy()})
        self.now[slot] = replace(self.now[slot], mask=placed(SHAPE, crop, first), by_person=True)

    def swing(self, deed: str) -> None:
        source, target = (self.done, self.undone) if deed == "undo" else (self.undone, self.done)
        assert getattr(self.writer, deed)() == bool(source)
        if not source:
            return
        step = source.pop()
        target.append({slot: self.now[slot].copy() if slot in self.now else None for slot in step})
        for slot, kept in step.items():
            self.now.pop(slot, None)
            if kept is not None:
                self.now[slot] = kept

    def stroke(self) -> None:
        slot = self.some()
        if not slot:
            return
        at, size, erase = self.random.integers(0, 30, 3), tuple(self.random.integers(2, 9, 3)), bool(self.random.integers(2))
        kept = self.now[slot] = self.now[slot].copy()
        before = kept.mask.copy()
        kept.mask[tuple(slice(int(a), int(a + s)) for a, s in zip(at, size, strict=True))] = not erase
        editor = Layers(self.writer.segmentation, self.ct)  # the same write without our guard
        (editor.remove_voxels if erase else editor.add_voxels)(slot, np.ones(size, np.uint8), at)
        changed = not np.array_equal(before, kept.mask)
        assert self.writer.check_edits() == ([kept.id] if changed else [])
        kept.by_person |= changed

    def accept(self) -> None:
        slot = self.some()
        if slot:
            assert self.writer.accept(self.now[slot].id)
            self.now[slot] = replace(self.now[slot], by_person=True)

    def reject(self) -> None:
        slot = self.some()
        if slot:
            assert self.writer.reject(self.now[slot].id)
            self.step({slot: self.now.pop(slot)})

    def surface(self) -> None:
        self.writer.build_3d_step()

    def check(self) -> None:
        assert {f.segment_id: (f.id, f.key) for f in self.writer.findings()} == {s: (k.id, k.key) for s, k in self.now.items()}
        for slot, kept in self.now.items():
            assert np.array_equal(whole(self.writer.segmentation, slot, self.ct), kept.mask), (slot, kept.id)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_story_ends_as_a_simple_account_of_it(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MANY_LAYERS", 1 + seed % 3)  # images are shared early and often
    random, scene = np.random.default_rng(seed), Scene()
    ct = scene.add_ct(list(GRIDS)[seed % len(GRIDS)])
    if seed % 2:
        scene.add_transform(ct, rotation(*random.integers(-60, 60, 3).tolist()))
    account, nodes = Account(scene, ct, tmp_path, random), []
    for n in range(40):
        deed = str(random.choice(DEEDS))
        account.swing(deed) if deed in ("undo", "redo") else getattr(account, deed)()
        nodes.append(scene.count())
        if n % 4 == 3:
            account.check()
    account.check()
    assert nodes[-1] <= 24  # views, CT, segmentation, and a pool of boxes
