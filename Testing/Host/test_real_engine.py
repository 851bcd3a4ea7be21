"""The whole thing once: the module in the host, the engine's own process with the shipped weights, a real CT.

One question in words and one click, by keyboard and mouse. How well the model segments is for the evaluation to say; here the
heart only has to be the heart.
"""

from __future__ import annotations

import json
import re
import sys

import host
import numpy as np
import pytest
import slicer
import vtk
from client_bench import LONGEST_S
from ctreasoner.client.local import LocalEngine
from ctreasoner.client.records import FILE, Record
from ctreasoner.demo import NODULE_RAS, demo_ct, demo_labels
from ctreasoner.events import Mask, load_mask
from ctreasoner.geometry import View, Volume, digest, sample
from ctreasoner.reasoner import model_folder
from ctreasoner.scene import voxels_of
from ctreasoner.scene.identity import tag
from panel_fixtures import small_window  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.weights, pytest.mark.demo_ct]
RETURN = 0x01000004
HEART_LABEL = 51            # of the 118 classes of TotalSegmentator that come with the CT


class Desk:
    """The panel with the demo's CT and an engine that nobody imitates."""

    def __init__(self, app, widget) -> None:
        self.app, self.ui, self.controller = app, widget.ui, widget.controller
        self.engine = LocalEngine(sys.executable, arguments=["--model", str(model_folder()), "--threads", "1"])
        self.controller.use_engine(self.engine)
        self.ct = slicer.util.loadVolume(str(demo_ct()))
        slicer.util.setSliceViewerLayers(background=self.ct, fit=True)
        self.ui.ctSelector.setCurrentNode(self.ct)
        self.red = slicer.app.layoutManager().sliceWidget("Red").sliceView()
        self.red_node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
        app.process(50)

    def until(self, condition) -> bool:
        return self.app.wait_for(condition, LONGEST_S)

    def answered(self) -> bool:
        controller = self.controller
        begun = self.until(lambda: controller.asking.is_busy or controller.case.conversation.turns[-1:])
        return begun and self.until(lambda: not controller.asking.is_busy)

    @property
    def case(self):
        return self.controller.case

    @property
    def words(self) -> str:
        self.app.process(120)
        return self.ui.chatBrowser.toPlainText()

    def mask(self, finding) -> np.ndarray:
        node = self.case.writer.segmentation
        return slicer.util.arrayFromSegmentBinaryLabelmap(node, finding.segment_id, self.ct) > 0      # k, j, i

    def record(self) -> Record:
        """What the engine's process wrote down of the conversation, beside its masks."""
        return Record(next(path.parent for path in self.engine.session.rglob(FILE)))


@pytest.fixture
def desk(app, module_widget) -> Desk:
    return Desk(app, module_widget)


def test_a_typed_question_and_a_click_about_a_real_ct(desk: Desk) -> None:
    host.text(desk.ui.promptLineEdit, "Segment the heart and describe it")
    host.key(desk.ui.promptLineEdit, RETURN)
    assert desk.answered(), desk.engine.log
    check_the_heart(desk)
    check_the_chips(desk)
    click_the_nodule(desk)
    desk.ui.undoButton.click()
    desk.app.process(60)
    assert [f.key for f in desk.case.writer.findings()] == ["heart"] and desk.ui.findingsTable.rowCount == 1


def check_the_heart(desk: Desk) -> None:
    turn = desk.case.conversation.turns[0]
    assert turn.state == "done" and desk.ui.findingsTable.rowCount == 1, desk.words
    (finding,) = desk.case.writer.findings()
    mask = desk.mask(finding)
    # nodes: one segmentation of this CT, its segment named, coloured, coded, with the model's name
    segment = desk.case.writer.segmentation.GetSegmentation().GetSegment(finding.segment_id)
    assert (finding.key, finding.origin, segment.GetName()) == ("heart", "model", "Heart")
    assert "80891009" in tag(segment, "TerminologyEntry")
    assert len(slicer.util.getNodesByClass("vtkMRMLSegmentationNode")) == 1
    # voxels: those that the engine wrote, and a heart
    record = desk.record()
    final = next(e for e in record.turns[0].events if isinstance(e, Mask) and e.stage == "final")
    whole = np.zeros(mask.shape[::-1], bool)
    whole[tuple(slice(f, f + n) for f, n in zip(final.first_voxel, final.shape, strict=True))] = load_mask(final, record.workspace)
    assert np.array_equal(mask, whole.transpose(2, 1, 0)) and mask.sum() == final.voxels
    node = slicer.util.loadLabelVolume(str(demo_labels()))
    labels = slicer.util.arrayFromVolume(node) == HEART_LABEL
    slicer.mrmlScene.RemoveNode(node)
    assert 2 * np.sum(mask & labels) / (mask.sum() + labels.sum()) > 0.6
    # numbers: the row, the words and the voxels say the same
    assert finding.volume_ml == pytest.approx(mask.sum() * np.prod(desk.ct.GetSpacing()) / 1000, rel=1e-3)
    values = slicer.util.arrayFromVolume(desk.ct)[mask]
    assert finding.mean_hu == pytest.approx(values.mean(), abs=0.5)
    words = desk.words
    assert turn.text and turn.statements
    assert bare(turn.text) in bare(words), words
    verdicts = [statement.verdict for statement in turn.statements]
    assert (words.count("✓"), words.count("✗")) == (verdicts.count("verified"), verdicts.count("refuted")), words
    assert finding.verified is ("refuted" not in verdicts)
    # positions: views where the last look was, its digest that of the view cut again from the CT
    desk.until(lambda: not desk.case.follower.moving)
    look = turn.looks[-1]
    assert desk.red_node.GetSliceToRAS().GetElement(2, 3) == pytest.approx(look.view.centre_ras[2], abs=1.0)
    check_the_looks(desk, turn)
    # transcript: in the scene, with question, words and looks
    node = next(n for n in slicer.util.getNodesByClass("vtkMRMLTextNode") if "conversation" in n.GetName())
    kept = json.loads(node.GetText().splitlines()[-1])
    assert kept["question"] == "Segment the heart and describe it" and kept["text"] == turn.text
    assert len(kept["looks"]) == len(turn.looks) >= 2


def bare(words: str) -> str:
    """Words without spaces, and without the marks behind statements and what stands there where one was refuted."""
    return re.sub(r"[\s✓✗?]+|\(said [^)]*\)", "", words)


def check_the_looks(desk: Desk, turn) -> None:
    volume = Volume(*voxels_of(desk.ct))
    for look in turn.looks:
        view = View(centre_ras=look.view.centre_ras, shape=look.view.shape, spacing_mm=look.view.spacing_mm)
        assert digest(sample(volume, view)) == look.digest


def check_the_chips(desk: Desk) -> None:
    """Once the engine is idle it says what the CT shows: a chest has no mandible."""
    assert desk.until(lambda: desk.case.estimate is not None and desk.case.estimate.is_final)
    states = desk.case.estimate.states
    assert states["mandible"][0] == "outside" and states["lung_left"][0] == "present"
    desk.app.process(120)
    chip = next(c.split("</a>")[0] for c in desk.ui.suggestionsLabel.text.split("<a ") if '"ask:mandible"' in c)
    assert desk.controller.chat.colours().faint in chip


def click_the_nodule(desk: Desk) -> None:
    desk.ui.restoreViewButton.click()
    desk.red_node.JumpSliceByCentering(*NODULE_RAS)
    desk.app.process(80)
    host.click(desk.ui.clickButton)
    host.click(desk.red, NODULE_RAS)
    assert desk.until(lambda: len(desk.case.conversation.turns) == 2) and desk.answered()
    turn = desk.case.conversation.turns[1]
    assert turn.state == "done", desk.words
    found = [f for f in desk.case.writer.findings() if f.answer == turn.answer]
    assert len(found) == 1 and found[0].segment_id, desk.words
    mask = desk.mask(found[0])
    to_ijk = vtk.vtkMatrix4x4()
    desk.ct.GetRASToIJKMatrix(to_ijk)
    i, j, k = np.round(to_ijk.MultiplyPoint((*NODULE_RAS, 1.0))[:3]).astype(int)
    assert mask[k - 2:k + 3, j - 2:j + 3, i - 2:i + 3].any() and 0 < found[0].volume_ml < 60
    mode = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert mode.GetCurrentInteractionMode() == mode.ViewTransform

