"""The panel in the host, driven by mouse and keys; an engine double answers."""

from __future__ import annotations

from pathlib import Path

import host
import pytest
import qt
import slicer
from ctreasoner.errors import InputError
from ctreasoner.events import Warning_
from panel_fixtures import Panel, a_ct, still_window  # noqa: F401 (a fixture)

RETURN = 0x01000004         # Qt::Key_Return


@pytest.fixture
def panel(app, module_widget) -> Panel:
    return Panel(app, module_widget)


def link(panel: Panel, words: str) -> None:
    """Click a link of the transcript with the mouse, where its words stand."""
    browser = panel.ui.chatBrowser
    cursor = browser.document.find(words)
    assert not cursor.isNull(), f"{words!r} does not stand in the transcript"
    browser.setTextCursor(cursor)
    browser.ensureCursorVisible()
    cursor.setPosition(cursor.selectionStart() + 1)
    place = browser.cursorRect(cursor).center()
    host.click(browser.viewport(), (place.x(), place.y()))
    panel.app.process(30)


def rows(panel: Panel) -> list[list[str]]:
    table = panel.ui.findingsTable
    return [[table.item(r, c).text() for c in range(table.columnCount)] for r in range(table.rowCount)]


# ---------------------------------------------------------------- the main path

def test_enter_asks_and_the_answer_comes_into_table_scene_and_transcript(panel: Panel) -> None:
    key = panel.answered("Segment the heart")
    assert panel.engine.requests[0].text == "Segment the heart"
    assert panel.ui.promptLineEdit.text == ""
    assert rows(panel)[0][0] == "Heart" and rows(panel)[0][6] == "✓" and rows(panel)[0][8] == "model"
    segmentation = panel.controller.case.writer.segmentation.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert panel.controller.case.writer.finding(key).segment_id
    assert "The heart has a volume of" in panel.words and "may hold patient data" in panel.words
    assert "Research use only" in panel.ui.researchLabel.text


def test_a_planted_wrong_number_is_seen_marked(panel: Panel) -> None:
    panel.answered(said_ml=900)
    assert "✗" in panel.words and "said 900, measured 72.6" in panel.words
    assert rows(panel)[0][6] == "✗"


def test_text_streams_in_before_the_answer_is_over(panel: Panel) -> None:
    panel.ask("Segment the heart")
    answer = panel.engine.begin()
    panel.engine.find(answer, 1, "heart", (20, 20, 15), (16, 14, 12))
    panel.settle()
    assert "The heart has a volume" in panel.words and panel.ui.stopButton.enabled and panel.ui.progressBar.visible
    panel.engine.finish()
    panel.settle()
    assert not panel.ui.stopButton.enabled and not panel.ui.progressBar.visible


def test_stop_ends_the_answer_and_the_panel_is_idle(panel: Panel) -> None:
    panel.ask("Segment the heart")
    answer = panel.engine.begin()
    panel.engine.find(answer, 1, "heart", (20, 20, 15), (16, 14, 12))
    panel.settle()
    panel.ui.stopButton.click()
    assert panel.until(lambda: not panel.controller.asking.is_busy, 1.0)
    assert "Stopped" in panel.words and panel.engine.cancelled == [1]
    assert len(panel.controller.case.writer.findings()) == 1         # what was found stays
    assert panel.ask("Once more") and not panel.engine.closed


def test_a_second_question_waits_and_says_so(panel: Panel) -> None:
    panel.ask("first")
    host.text(panel.ui.promptLineEdit, "second")
    host.key(panel.ui.promptLineEdit, RETURN)
    assert "Queued" in panel.words and len(panel.engine.requests) == 1
    panel.engine.begin()
    panel.engine.finish()
    assert panel.until(lambda: len(panel.engine.requests) == 2)
    assert panel.engine.requests[1].text == "second"


def test_stop_drops_what_waits(panel: Panel) -> None:
    panel.ask("first")
    host.text(panel.ui.promptLineEdit, "second")
    host.key(panel.ui.promptLineEdit, RETURN)
    panel.ui.stopButton.click()
    panel.settle()
    assert "Not asked, because Stop was pressed" in panel.words and len(panel.engine.requests) == 1


def test_up_and_down_bring_earlier_questions_back(panel: Panel) -> None:
    for words in ("one", "two"):
        panel.ask(words)
        panel.engine.begin()
        panel.engine.finish()
        panel.settle()
    line, up, down = panel.ui.promptLineEdit, 0x01000013, 0x01000015
    host.key(line, up)
    host.key(line, up)
    assert line.text == "one"
    host.key(line, down)
    assert line.text == "two"


def test_unicode_and_very_long_prompts(panel: Panel) -> None:
    assert panel.ask("Où est l'aorte? 心臓")
    assert panel.engine.requests[0].text == "Où est l'aorte? 心臓"
    panel.engine.begin()
    panel.engine.finish()
    panel.settle()
    panel.ui.promptLineEdit.text = "x" * 2500
    host.key(panel.ui.promptLineEdit, RETURN)
    panel.settle()
    assert "2500 characters" in panel.words and len(panel.engine.requests) == 1
    assert panel.ui.promptLineEdit.text                              # nothing lost


# ---------------------------------------------------------------- links and table

def test_the_name_of_an_object_leads_there(panel: Panel) -> None:
    key = panel.answered()
    red = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    red.JumpSliceByCentering(60, 60, 60)
    link(panel, "heart has")
    centre = panel.controller.case.writer.centre_of(key)
    assert panel.until(lambda: abs(red.GetSliceToRAS().GetElement(2, 3) - centre[2]) <= 3.0, 5)
    assert panel.controller.table.selected == key


def test_a_number_shows_its_line_until_the_next_click(panel: Panel) -> None:
    panel.answered()
    link(panel, "20 mm")

    def lines() -> list:
        return [n for n in slicer.util.getNodesByClass("vtkMRMLMarkupsLineNode") if n.GetDisplayNode().GetVisibility()]

    assert len(lines()) == 1
    link(panel, "heart has")
    assert lines() == []


def test_a_row_jumps_and_its_box_hides_the_segment(panel: Panel) -> None:
    key = panel.answered()
    table = panel.ui.findingsTable
    table.item(0, 2).setCheckState(qt.Qt.Unchecked)
    panel.settle()
    assert not panel.controller.case.writer.finding(key).visible
    place = table.visualItemRect(table.item(0, 0)).center()
    host.click(table.viewport(), (place.x(), place.y()))
    panel.settle()
    assert panel.controller.table.selected == key and panel.ui.acceptButton.enabled


def test_numbers_sort_as_numbers(panel: Panel) -> None:
    panel.ask("both")
    answer = panel.engine.begin()
    panel.engine.find(answer, 1, "heart", (10, 20, 15), (4, 4, 4))
    panel.engine.find(answer, 2, "aorta", (30, 20, 15), (20, 20, 20))
    panel.engine.find(answer, 3, "trachea", (30, 42, 15), (9, 9, 9))
    panel.engine.finish()
    panel.settle()
    panel.ui.findingsTable.sortItems(3, qt.Qt.AscendingOrder)
    assert [r[0] for r in rows(panel)] == ["Heart", "Trachea", "Aorta"]


def test_accept_reject_and_copy(panel: Panel) -> None:
    key = panel.answered()
    panel.controller.table.select(key)
    panel.ui.acceptButton.click()
    panel.settle()
    assert rows(panel)[0][8] == "accepted"
    panel.ui.copyFindingsButton.click()
    text = qt.QApplication.clipboard().text()
    assert "Heart\t72.6" in text and "Research use only" in text
    panel.ui.rejectButton.click()
    panel.settle()
    assert rows(panel) == []
    panel.ui.undoButton.click()
    panel.settle()
    assert rows(panel)[0][0] == "Heart"


# ---------------------------------------------------------------- undo

def test_undo_takes_an_answer_back_and_redo_brings_it(panel: Panel) -> None:
    panel.answered()
    panel.ui.undoButton.click()
    panel.settle()
    assert rows(panel) == [] and "undone" in panel.words
    panel.ui.redoButton.click()
    panel.settle()
    assert rows(panel)[0][0] == "Heart" and "undone" not in panel.words


def test_undo_asks_before_it_takes_manual_strokes(panel: Panel, monkeypatch) -> None:
    panel.answered()
    monkeypatch.setattr(panel.controller.case.writer, "needs_asking_before_undo", lambda: True)
    asked = []
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda text, **_options: asked.append(text) or len(asked) > 1)
    panel.ui.undoButton.click()
    panel.settle()
    assert "by hand" in asked[0] and len(rows(panel)) == 1
    panel.ui.undoButton.click()
    panel.settle()
    assert rows(panel) == []


def test_a_full_disk_is_said_before_anything_is_asked(panel: Panel, monkeypatch) -> None:
    def full(*_arguments, **_options):
        from concurrent.futures import Future

        made: Future = Future()
        made.set_exception(OSError(28, "No space left on device"))
        return made

    monkeypatch.setattr(panel.engine.volumes, "put", full)
    host.text(panel.ui.promptLineEdit, "Segment the heart")
    host.key(panel.ui.promptLineEdit, RETURN)
    panel.settle()
    assert "No space left on device" in panel.words and not panel.controller.asking.is_busy
    monkeypatch.undo()
    assert panel.ask("Once more")


def test_an_edit_by_hand_outdates_the_words_and_is_measured_again(panel: Panel, monkeypatch) -> None:
    monkeypatch.setattr("ctreasoner.panel.controller.EDIT_QUIET_S", 0.1)
    monkeypatch.setattr("ctreasoner.panel.controller.EDIT_CHECK_S", 0.1)
    key = panel.answered()
    node = panel.controller.case.writer.segmentation
    finding = panel.controller.case.writer.finding(key)
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(node, finding.segment_id)
    voxels[0] = 0
    node.GetSegmentation().GetSegment(finding.segment_id).GetRepresentation("Binary labelmap").Modified()
    node.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
    assert panel.until(lambda: len(panel.engine.requests) == 2, 8)
    assert "Outdated: Heart was changed by hand" in panel.words and rows(panel)[0][0] == "Heart *"
    assert list(panel.engine.requests[1].edited) == [key] and "Measure again" in panel.words
    assert Path(panel.engine.requests[1].edited[key]).is_file()


# ---------------------------------------------------------------- trouble

def test_no_ct_no_question(app, module_widget) -> None:
    module_widget.controller.use_engine(Panel.__init__.__globals__["ScriptedEngine"]())
    host.text(module_widget.ui.promptLineEdit, "What is here?")
    host.key(module_widget.ui.promptLineEdit, RETURN)
    app.process(60)
    assert "No CT is chosen" in module_widget.ui.chatBrowser.toPlainText()
    assert module_widget.ui.promptLineEdit.text == "What is here?"


def test_a_bent_ct_is_refused_and_a_straightened_copy_is_offered(panel: Panel) -> None:
    import vtk

    bent = a_ct("<b>Bent</b>", (20, 20, 20))
    transform = slicer.vtkMRMLTransformNode()
    transform.SetName("Tilt")
    slicer.mrmlScene.AddNode(transform)
    thin = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for x, y, z in ((0, 0, 0), (20, 0, 0), (0, 20, 0), (0, 0, 20)):
        source.InsertNextPoint(x, y, z)
        target.InsertNextPoint(x + 0.1 * x * y, y, z)
    source.InsertNextPoint(20, 20, 20)
    target.InsertNextPoint(25, 20, 20)
    thin.SetSourceLandmarks(source)
    thin.SetTargetLandmarks(target)
    thin.SetBasisToR()
    transform.SetAndObserveTransformToParent(thin)
    bent.SetAndObserveTransformNodeID(transform.GetID())
    panel.ui.ctSelector.setCurrentNode(bent)
    assert "lies under the transform Tilt" in panel.words and "<b>Bent</b>" in panel.words
    link(panel, "Straighten a copy")
    assert panel.until(lambda: panel.controller.case is not None, 5), panel.words
    assert panel.controller.case.node is not bent and bent.GetParentTransformNode() is transform


def test_the_person_s_own_segments_are_kept_overwritten_or_locked(panel: Panel) -> None:
    panel.ui.othersComboBox.currentIndex = 2
    assert panel.controller.case.writer.others == "lock"
    panel.ui.ctSelector.setCurrentNode(a_ct("Other", (20, 20, 20)))
    assert panel.controller.case.writer.others == "lock"


def test_an_engine_that_is_missing_is_said_with_what_to_do(app, module_widget, monkeypatch) -> None:
    monkeypatch.setattr("ctreasoner.panel.engine_box.installed_python", lambda: None)
    ct = a_ct()
    module_widget.ui.ctSelector.setCurrentNode(ct)
    host.text(module_widget.ui.promptLineEdit, "What is here?")
    host.key(module_widget.ui.promptLineEdit, RETURN)
    app.process(60)
    words = module_widget.ui.chatBrowser.toPlainText()
    assert "The engine is not installed." in words and "recorded answer" in words
    assert not module_widget.ui.engineSection.collapsed


@pytest.mark.parametrize(("sentence", "hint"), [
    ("There is not enough memory.", "Close other programs."),
    ("The engine ended by itself (code -11).", "Ask again: the engine is started anew."),
    ("phantom is not a CT: its values are not Hounsfield units.", "Choose a CT volume.")])
def test_every_failure_is_a_sentence_and_a_hint(panel: Panel, sentence: str, hint: str) -> None:
    panel.ask("What is here?")
    panel.engine.fail(sentence, hint)
    panel.settle()
    assert sentence in panel.words and hint in panel.words and not panel.controller.asking.is_busy


def test_hints_speak_of_the_panel(panel: Panel) -> None:
    panel.ask("Segment the flux capacitor")
    panel.engine.begin()
    panel.engine.say(Warning_, code="object_unsupported", sentence="The model does not know the object \"x\".",
                     hint="`ctreasoner objects` lists what can be asked for.")
    panel.engine.say(Warning_, code="object_unsupported", sentence="Another.", hint="Did you mean Heart?")
    panel.engine.finish()
    panel.engine.state_is("failed", code="CTR-MOD-001", sentence="There is no model 'compact'.",
                          hint="Name a model folder; the README says which models ship and how one is trained.")
    panel.settle()
    words = panel.words
    assert "ctreasoner objects" not in words and "press Click an organ" in words and "Did you mean Heart?" in words
    assert "README" not in panel.ui.engineStateLabel.text and "press Restart" in panel.ui.engineStateLabel.text


def test_the_log_holds_codes_and_no_name_of_a_ct(panel: Panel, tmp_path) -> None:
    panel.ct.SetName("Doe^Jane")
    panel.answered("Segment the heart")
    panel.ui.exportFolderButton.directory = str(tmp_path / "Doe^Jane")
    for number, facts in enumerate(({"code": "CTR-RES-001", "sentence": "The disk is full for Doe^Jane.", "hint": ""},
                                    {"folder": str(tmp_path / "Doe^Jane"), "files": {"report": "Doe^Jane.html"}}), start=1):
        panel.ui.exportButton.click()
        assert panel.until(lambda n=number: len(panel.engine.exports) == n, 3)
        panel.engine.exported(number, **facts)
        panel.settle()
    panel.controller.tell_error(InputError("Doe^Jane has no image data.", code="CTR-SCN-002"))
    panel.engine.state_is("failed", code="CTR-WRK-003", sentence="The engine ended by itself.", hint="Ask again.")
    panel.settle()
    text = panel.controller.log.text()
    assert "Doe" not in text and "export: written: report" in text
    for line in ("export: CTR-RES-001", "panel: CTR-SCN-002", "engine: CTR-WRK-003"):
        assert line in text


def test_a_failed_engine_stands_in_the_engine_line(panel: Panel) -> None:
    panel.engine.state_is("failed", code="CTR-WRK-002", sentence="The engine is version 9, the panel 1.", hint="Restart Slicer.")
    panel.settle()
    assert panel.ui.engineStateLabel.text == "The engine is version 9, the panel 1. Restart Slicer."
    panel.engine.state_is("busy", code="CTR-WRK-007", silent_s=25.0, hint="Wait.",
                          sentence="The engine has said nothing for 25 seconds.")
    panel.settle()
    assert "25 seconds" in panel.ui.engineStateLabel.text


def test_a_ct_that_is_removed_while_it_is_answered(panel: Panel) -> None:
    panel.ask("Segment the heart")
    answer = panel.engine.begin()
    panel.engine.find(answer, 1, "heart", (20, 20, 15), (16, 14, 12))
    panel.settle()
    slicer.mrmlScene.RemoveNode(panel.ct)
    panel.settle()
    assert not panel.controller.asking.is_busy and panel.engine.cancelled == [1]
    assert "removed" in panel.words and panel.controller.case is None
    other = a_ct("Other")
    panel.ui.ctSelector.setCurrentNode(other)
    assert panel.ask("And this one?")


def test_a_ct_that_is_moved_while_it_is_answered(panel: Panel) -> None:
    panel.ask("Segment the heart")
    panel.engine.begin()
    panel.settle()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    panel.ct.SetAndObserveTransformNodeID(transform.GetID())
    matrix = __import__("vtk").vtkMatrix4x4()
    matrix.SetElement(0, 3, 25.0)
    transform.SetMatrixTransformToParent(matrix)
    panel.settle()
    assert "changed or moved" in panel.words and not panel.controller.asking.is_busy


def test_a_renamed_ct_goes_on(panel: Panel) -> None:
    panel.ask("Segment the heart")
    panel.engine.begin()
    panel.ct.SetName("Another name")
    panel.engine.finish()
    panel.settle()
    assert not panel.controller.asking.is_busy and "changed" not in panel.words


def test_the_scene_closes_in_the_middle_of_an_answer(panel: Panel) -> None:
    panel.ask("Segment the heart")
    answer = panel.engine.begin()
    panel.engine.find(answer, 1, "heart", (20, 20, 15), (16, 14, 12))
    slicer.mrmlScene.Clear(0)
    panel.settle()
    assert panel.controller.case is None and rows(panel) == [] and not panel.controller.asking.is_busy
    panel.ui.ctSelector.setCurrentNode(a_ct("New"))
    assert panel.ask("And now?")


def test_another_ct_has_its_own_conversation(panel: Panel) -> None:
    panel.answered("Segment the heart")
    other = a_ct("Other")
    panel.ui.ctSelector.setCurrentNode(other)
    panel.app.process(60)
    assert "Segment the heart" not in panel.words and rows(panel) == []
    panel.ui.ctSelector.setCurrentNode(panel.ct)
    panel.app.process(60)
    assert "Segment the heart" in panel.words and rows(panel)[0][0] == "Heart"


def shown_of(ct) -> list[str]:
    """Names of segmentations and boxes of a CT that can be seen."""
    nodes = [*slicer.util.getNodesByClass("vtkMRMLSegmentationNode"), *slicer.util.getNodesByClass("vtkMRMLMarkupsROINode")]
    return sorted(n.GetName() for n in nodes if n.GetNodeReferenceID("CTReasoner.CT") == ct.GetID() and n.GetDisplayVisibility())


def test_findings_of_a_ct_are_seen_while_it_is_chosen(panel: Panel) -> None:
    key = panel.answered("Segment the heart")
    mine = shown_of(panel.ct)
    assert mine == ["CT findings", "Heart"]
    other = a_ct("Other")
    panel.ui.ctSelector.setCurrentNode(other)
    assert shown_of(panel.ct) == []
    other_key = panel.answered("Segment the heart")
    assert len(shown_of(other)) == 2 and shown_of(panel.ct) == []
    panel.ui.ctSelector.setCurrentNode(panel.ct)
    assert shown_of(panel.ct) == mine and shown_of(other) == []
    panel.controller.case.writer.segmentation.SetDisplayVisibility(0)         # a person's own choice
    panel.ui.ctSelector.setCurrentNode(other)
    panel.controller.case.writer.set_visible(other_key, False)
    panel.ui.ctSelector.setCurrentNode(panel.ct)
    assert "CT findings" not in shown_of(panel.ct)
    panel.ui.ctSelector.setCurrentNode(other)
    assert not panel.controller.case.writer.finding(other_key).visible and key


def test_what_is_found_in_a_ct_that_is_no_longer_chosen_waits_unseen(panel: Panel) -> None:
    panel.ask("Segment the heart")
    answer = panel.engine.begin()
    panel.settle()
    other = a_ct("Other")
    panel.ui.ctSelector.setCurrentNode(other)
    panel.engine.find(answer, 1, "heart", (20, 20, 15), (16, 14, 12))
    panel.settle()
    assert shown_of(panel.ct) == []
    panel.engine.finish()
    panel.settle()
    panel.ui.ctSelector.setCurrentNode(panel.ct)
    assert shown_of(panel.ct) == ["CT findings", "Heart"]


# ---------------------------------------------------------------- export, suggestions, look

def test_export_hands_the_conversation_to_the_engine(panel: Panel, tmp_path) -> None:
    panel.answered()
    panel.ui.exportFolderButton.directory = str(tmp_path)
    panel.ui.exportButton.click()
    assert panel.until(lambda: panel.engine.exports, 3)
    asked = panel.engine.exports[0]
    assert asked["folder"].parent == tmp_path and asked["rejected"] == []
    panel.engine.exported(1, folder=str(asked["folder"]), files={"seg": "seg.dcm"})
    panel.settle()
    assert "Exported to" in panel.ui.exportLabel.text
    panel.ui.exportButton.click()
    assert panel.until(lambda: len(panel.engine.exports) == 2, 3)
    panel.engine.exported(2, code="CTR-RES-001", sentence="The disk is full.", hint="Free some space.")
    panel.settle()
    assert panel.ui.exportLabel.text == "The disk is full. Free some space."


def test_a_suggestion_asks(panel: Panel) -> None:
    assert "heart" in panel.ui.suggestionsLabel.text
    panel.controller._suggestion("ask:heart")
    assert panel.until(lambda: panel.engine.requests, 3)
    assert panel.engine.requests[0].text == "Segment the heart and describe it"


def test_it_fits_into_400_pixels(panel: Panel) -> None:
    panel.answered()
    for section in ("exportSection", "engineSection", "logSection"):
        getattr(panel.ui, section).collapsed = False
    panel.app.process(30)
    assert panel.widget.parent.minimumSizeHint.width() <= 400
