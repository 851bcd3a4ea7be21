"""Clicks, boxes and scribbles with the mouse in the views; the keys of the panel; the views that follow and stop."""

from __future__ import annotations

import host
import numpy as np
import pytest
import slicer
from host.hands import LEFT, NO, SHIFT, point_of
from panel_fixtures import Panel, small_window  # noqa: F401 (a fixture)

ESCAPE, RETURN = 0x01000000, 0x01000004


@pytest.fixture
def panel(app, module_widget) -> Panel:
    made = Panel(app, module_widget)
    made.red = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    return made


def mode() -> str:
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    return node.GetInteractionModeAsString(node.GetCurrentInteractionMode())


def test_a_click_in_a_slice_asks_what_is_here(panel: Panel) -> None:
    host.click(panel.ui.clickButton)
    assert panel.ui.clickButton.checked and mode() == "Place"
    host.click(panel.red, (20.0, -15.0, 0.0))
    assert panel.until(lambda: panel.engine.requests, 5)
    request = panel.engine.requests[0]
    assert len(request.clicks) == 1 and request.clicks[0].positive and request.clicks[0].target is None
    assert np.allclose(request.clicks[0].point_ras[:2], (20, -15), atol=1.5)
    assert not panel.ui.clickButton.checked and mode() != "Place"


def test_escape_ends_place_mode_and_asks_nothing(panel: Panel) -> None:
    host.click(panel.ui.clickButton)
    host.move(panel.red, (20.0, -15.0, 0.0))
    panel.app.window.activateWindow()
    host.key(panel.red, ESCAPE)
    panel.app.process(60)
    assert mode() != "Place" and not panel.ui.clickButton.checked
    assert panel.engine.requests == []
    host.click(panel.red, (20.0, -15.0, 0.0))
    panel.app.process(100)
    assert panel.engine.requests == []


def test_the_shortcut_lives_only_while_the_panel_is_open(panel: Panel) -> None:
    host.key(panel.red, "Ctrl+Shift+P")
    panel.app.process(40)
    assert mode() == "Place"
    panel.widget.exit()
    assert mode() != "Place"
    host.key(panel.red, "Ctrl+Shift+P")
    panel.app.process(40)
    assert mode() != "Place"
    panel.widget.enter()
    assert panel.app.window.fired == []


def test_a_click_outside_the_ct_is_said_and_not_asked(panel: Panel) -> None:
    panel.ct.SetName("Small")
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetFieldOfView(900, 700, 1)
    panel.app.process(60)
    host.click(panel.ui.clickButton)
    host.click(panel.red, (300.0, 0.0, 0.0))
    panel.app.process(150)
    assert panel.engine.requests == [] and "outside" in panel.words


def test_add_to_a_selected_finding(panel: Panel) -> None:
    key = panel.answered()
    panel.ui.clickMeansComboBox.currentIndex = 2
    host.click(panel.ui.clickButton)
    panel.app.process(30)
    assert "No finding is selected" in panel.words and not panel.ui.clickButton.checked
    panel.controller.table.select(key)
    host.click(panel.ui.clickButton)
    host.click(panel.red, (3.0, 3.0, 0.0))
    assert panel.until(lambda: len(panel.engine.requests) == 2, 5)
    request = panel.engine.requests[1]
    assert request.target == key and not request.clicks[0].positive and request.clicks[0].target == key


def test_a_box_waits_for_words(panel: Panel) -> None:
    host.click(panel.ui.boxButton)
    host.click(panel.red, (-30.0, -30.0, 0.0))
    host.click(panel.red, (30.0, 20.0, 0.0))
    panel.app.process(100)
    assert panel.engine.requests == [] and "a box" in panel.ui.drawnLabel.text and panel.ui.drawnLabel.visible
    assert panel.ask("What is in the box?")
    box = panel.engine.requests[0].boxes[0]
    assert min(box.size_mm) > 1
    panel.engine.begin()
    panel.engine.finish()
    panel.settle()
    assert not panel.ui.drawnLabel.visible


def test_a_line_is_drawn_with_the_button_held_down(panel: Panel) -> None:
    host.click(panel.ui.scribbleButton)
    assert panel.ui.scribbleButton.checked and mode() != "Place"
    host.move(panel.red, (10.0, 10.0, 0.0))                             # no button, no line
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    before = node.GetXYToRAS().GetElement(0, 3), node.GetFieldOfView()
    host.drag(panel.red, (-30.0, -20.0, 0.0), (30.0, 20.0, 0.0), steps=8)
    panel.app.process(80)
    assert not panel.ui.scribbleButton.checked and "a scribble" in panel.ui.drawnLabel.text
    assert (node.GetXYToRAS().GetElement(0, 3), node.GetFieldOfView()) == before
    host.drag(panel.red, (0.0, 0.0, 0.0), (20.0, -20.0, 0.0))           # the pen is down no more
    assert panel.ask("What is under the line?")
    (line,) = panel.engine.requests[0].scribbles
    points = np.array(line.points_ras)
    assert line.positive and line.target is None and len(points) >= 8
    assert np.allclose(points[0], (-30, -20, 0), atol=1.5) and np.allclose(points[-1], (30, 20, 0), atol=1.5)
    assert np.all(np.abs(points[:, 0] * 20 / 30 - points[:, 1]) < 2)
    panel.engine.begin()
    panel.engine.finish()
    panel.settle()
    assert not panel.ui.drawnLabel.visible and not panel.controller.case.follower.suspended


def test_escape_ends_a_line_in_the_middle_and_nothing_is_left_of_it(panel: Panel) -> None:
    from PyQt5 import QtTest

    host.click(panel.ui.scribbleButton)
    place = point_of(panel.red, (5.0, 5.0, 0.0))
    QtTest.QTest.mousePress(panel.red._host_object, LEFT, NO, place)
    curve = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsCurveNode")
    assert curve.GetNumberOfControlPoints() == 1
    panel.app.window.activateWindow()
    host.key(panel.red, ESCAPE)
    panel.app.process(60)
    QtTest.QTest.mouseRelease(panel.red._host_object, LEFT, NO, place)
    panel.app.process(60)
    assert curve.GetNumberOfControlPoints() == 0 and not panel.ui.scribbleButton.checked and not panel.ui.drawnLabel.visible


def test_a_line_adds_to_the_selected_finding_and_one_beside_the_ct_is_said(panel: Panel) -> None:
    key = panel.answered()
    panel.ui.clickMeansComboBox.currentIndex = 2
    panel.controller.table.select(key)
    host.click(panel.ui.scribbleButton)
    host.drag(panel.red, (0.0, 0.0, 0.0), (15.0, 0.0, 0.0))
    panel.app.process(80)
    assert panel.ask("not this")
    (line,) = panel.engine.requests[-1].scribbles
    assert not line.positive and line.target == key
    slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed").SetFieldOfView(900, 700, 1)
    panel.app.process(60)
    host.click(panel.ui.scribbleButton)
    host.drag(panel.red, (0.0, 0.0, 0.0), (300.0, 0.0, 0.0))
    panel.app.process(150)
    assert "outside the CT" in panel.words and not panel.ui.drawnLabel.visible


def test_shift_and_the_wheel_stay_with_the_view_while_a_line_may_be_drawn(panel: Panel) -> None:
    host.click(panel.ui.scribbleButton)
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    before = node.GetSliceOffset()
    host.wheel(panel.red, 1, (0.0, 0.0, 0.0))
    host.drag(panel.red, (0.0, 0.0, before), (20.0, 0.0, before), modifier=SHIFT)
    panel.app.process(60)
    assert node.GetSliceOffset() != before and panel.ui.scribbleButton.checked
    assert slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLMarkupsCurveNode").GetNumberOfControlPoints() == 0
    host.click(panel.ui.scribbleButton)
    assert not panel.ui.scribbleButton.checked


def test_what_was_drawn_can_be_dropped(panel: Panel) -> None:
    panel.controller.case.prompts.add_click((0.0, 0.0, 0.0))
    panel.controller.refresh_buttons()
    assert "1 point" in panel.ui.drawnLabel.text
    panel.ui.dropDrawnButton.click()
    assert panel.ui.drawnLabel.text == ""


def test_two_clicks_at_once_are_two_questions_one_after_the_other(panel: Panel) -> None:
    for place in ((20.0, -15.0, 0.0), (-20.0, 15.0, 0.0)):
        host.click(panel.ui.clickButton)
        host.click(panel.red, place)
        panel.app.process(80)
    assert panel.until(lambda: panel.engine.requests, 5)
    assert len(panel.engine.requests) == 1 and "Queued" in panel.words
    panel.engine.begin()
    panel.engine.finish()
    assert panel.until(lambda: len(panel.engine.requests) == 2, 5)


# ---------------------------------------------------------------- views

def test_the_views_follow_until_the_wheel_and_again_after_resume(panel: Panel) -> None:
    panel.ask("Segment the heart")
    panel.engine.begin()
    panel.settle()
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    panel.engine.look(key="x", step=1, centre=(10.0, 5.0, 30.0))
    assert panel.until(lambda: abs(node.GetSliceToRAS().GetElement(2, 3) - 30.0) < 1.0, 8)
    assert panel.ui.restoreViewButton.enabled
    host.wheel(panel.red, 1)
    panel.app.process(60)
    assert panel.ui.resumeButton.enabled
    before = node.GetSliceToRAS().GetElement(2, 3)
    panel.engine.look(key="x", step=2, centre=(10.0, 5.0, -40.0))
    panel.settle()
    assert node.GetSliceToRAS().GetElement(2, 3) == before
    panel.ui.resumeButton.click()
    assert panel.until(lambda: abs(node.GetSliceToRAS().GetElement(2, 3) + 40.0) < 1.0, 8)
    panel.engine.finish()


def test_my_view_comes_back(panel: Panel) -> None:
    node = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    node.JumpSliceByCentering(5.0, 6.0, 7.0)
    before = node.GetFieldOfView()
    panel.ask("Segment the heart")
    panel.engine.begin()
    panel.engine.look(key="x", step=1, centre=(10.0, 5.0, 30.0), size=(40.0, 40.0, 40.0))
    panel.engine.finish()
    panel.settle()
    assert panel.until(lambda: not panel.controller.case.follower.moving, 8)
    panel.ui.restoreViewButton.click()
    assert node.GetFieldOfView() == pytest.approx(before) and abs(node.GetSliceToRAS().GetElement(2, 3) - 7.0) < 0.1


def test_the_slider_goes_through_the_looks_of_an_answer(panel: Panel) -> None:
    panel.answered()
    slider = panel.ui.looksSlider
    assert slider.visible and slider.maximum == 1
    panel.ui.followCheckBox.checked = False
    slider.value = 0
    panel.app.process(40)
    assert panel.ui.looksLabel.text.startswith("1 of 2")
