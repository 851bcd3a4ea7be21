"""Chips of what the CT does not show: asked for when the engine is idle, grey, and still there to be clicked."""

from __future__ import annotations

import errno
import os

import host
import numpy as np
import pytest
import slicer
from ctreasoner.client.volumes import VolumeStore
from ctreasoner.panel import pages
from panel_fixtures import Panel, a_ct, still_window  # noqa: F401 (a fixture)


@pytest.fixture
def panel(app, module_widget, monkeypatch) -> Panel:
    monkeypatch.setattr("ctreasoner.panel.controller.EDIT_CHECK_S", 0.05)      # once a second otherwise
    return Panel(app, module_widget)


def wondered(panel: Panel, count: int = 1) -> bool:
    return panel.until(lambda: len(panel.engine.wondered) >= count, 10)


def chip(panel: Panel, key: str) -> str:
    panel.app.process(80)
    return next(part.split("</a>")[0] for part in panel.ui.suggestionsLabel.text.split("<a ") if f'"ask:{key}"' in part)


def is_grey(panel: Panel, key: str) -> bool:
    return panel.controller.chat.colours().faint in chip(panel, key)


def place_of(panel: Panel, key: str) -> tuple[int, int]:
    """Where a chip is drawn: the mouse is led over the label until the label says so."""
    label, under = panel.ui.suggestionsLabel, []
    seen = lambda href: under.append(href)  # noqa: E731 (kept, to be taken off again)
    label.connect("linkHovered(QString)", seen)
    try:
        for y in range(4, label.height, 7):
            for x in range(4, label.width, 7):
                host.move(label, (x, y))
                if under and under[-1] == f"ask:{key}":
                    return x, y
    finally:
        label.disconnect("linkHovered(QString)", seen)
    raise AssertionError(under)


def test_a_warm_idle_engine_is_asked_once_and_the_chips_of_the_others_turn_grey(panel: Panel) -> None:
    assert wondered(panel) and panel.engine.wondered[0].identity
    assert not is_grey(panel, "mandible") and panel.ui.engineStateLabel.text.startswith("Ready")
    panel.engine.shows(1, mandible=("outside", 0.93), larynx=("absent", 0.7), heart=("present", 0.97))
    panel.settle()
    assert is_grey(panel, "mandible") and is_grey(panel, "larynx") and not is_grey(panel, "heart") and not is_grey(panel, "aorta")
    panel.app.process(500)
    assert len(panel.engine.wondered) == 1 and panel.engine.requests == []


def test_a_grey_chip_says_that_it_is_an_estimate_and_can_be_clicked(panel: Panel) -> None:
    assert wondered(panel)
    panel.engine.shows(1, mandible=("outside", 0.93))
    panel.settle()
    label = panel.ui.suggestionsLabel
    mandible = place_of(panel, "mandible")
    assert label.toolTip == pages.chip_tip(None, ("outside", 0.93)) and "the model's own estimate" in label.toolTip
    place_of(panel, "heart")
    assert label.toolTip == "Click an object to ask for it."
    host.click(label, mandible)
    assert panel.until(lambda: panel.engine.requests, 5) and panel.engine.requests[0].text == "Segment the mandible and describe it"


def test_an_answer_has_the_last_word(panel: Panel) -> None:
    assert wondered(panel)
    panel.engine.shows(1, heart=("outside", 0.8))
    panel.settle()
    assert is_grey(panel, "heart")
    panel.answered("Segment the heart")
    assert not is_grey(panel, "heart")


def test_while_a_question_runs_nothing_else_is_asked_and_afterwards_the_rest(panel: Panel) -> None:
    assert wondered(panel)
    panel.ask("Segment the heart")
    panel.engine.shows(1, is_whole=False, mandible=("outside", 0.93))       # the question interrupted it
    panel.engine.begin()
    panel.settle()
    assert is_grey(panel, "mandible")
    panel.app.process(500)
    assert len(panel.engine.wondered) == 1
    panel.engine.finish()
    panel.settle()
    assert wondered(panel, 2)
    panel.engine.shows(2, mandible=("outside", 0.93), larynx=("outside", 0.7))
    panel.settle()
    assert is_grey(panel, "larynx")


def test_an_engine_that_is_not_warm_is_not_started_for_it(panel: Panel) -> None:
    panel.engine.state_is("stopped")
    before = list(panel.engine.wondered)
    panel.ui.ctSelector.setCurrentNode(a_ct("Other", (20, 20, 20)))
    panel.app.process(500)
    assert panel.engine.wondered == before


def test_what_was_known_goes_when_the_ct_changes(panel: Panel) -> None:
    assert wondered(panel)
    panel.engine.shows(1, mandible=("outside", 0.93))
    panel.settle()
    voxels = slicer.util.arrayFromVolume(panel.ct)
    voxels[:] = np.roll(voxels, 5, axis=0)
    slicer.util.arrayFromVolumeModified(panel.ct)
    assert panel.until(lambda: not is_grey(panel, "mandible"), 5)
    assert wondered(panel, 2) and panel.engine.wondered[0].identity != panel.engine.wondered[1].identity


def test_what_goes_wrong_stands_in_the_log_and_is_not_tried_again(panel: Panel, monkeypatch) -> None:
    assert wondered(panel)
    from ctreasoner.client.telling import Message

    panel.engine._box.append(Message("inside", 2001, facts={"code": "CTR-WRK-012", "sentence": "It stumbled.", "hint": ""}))
    panel.settle()
    assert "inside: CTR-WRK-012" in panel.controller.log.text()

    def full(*_arguments, **_more):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(VolumeStore, "put", full)
    panel.ui.ctSelector.setCurrentNode(a_ct("Other", (20, 20, 20)))
    assert panel.until(lambda: panel.controller.case.estimate is not None, 10)
    panel.app.process(500)
    assert panel.controller.log.text().count("inside: OSError") == 1 and len(panel.engine.wondered) == 1


def test_a_ct_that_is_bent_meanwhile_is_left_alone(panel: Panel) -> None:
    import vtk

    points = vtk.vtkPoints()
    for x, y, z in np.random.default_rng(0).uniform(-90, 90, (8, 3)):
        points.InsertNextPoint(x, y, z)
    moved = vtk.vtkPoints()
    moved.DeepCopy(points)
    moved.SetPoint(0, 0.0, 0.0, 0.0)
    thin = vtk.vtkThinPlateSplineTransform()
    thin.SetSourceLandmarks(points)
    thin.SetTargetLandmarks(moved)
    thin.SetBasisToR()
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "Tilt")
    transform.SetAndObserveTransformToParent(thin)
    panel.ct.SetAndObserveTransformNodeID(transform.GetID())
    before = list(panel.engine.wondered)
    panel.app.process(500)
    assert panel.engine.wondered == before


def test_another_engine_is_asked_anew(panel: Panel) -> None:
    assert wondered(panel)
    panel.engine.shows(1, mandible=("outside", 0.93))
    panel.settle()
    from panel_doubles import ScriptedEngine

    panel.engine = ScriptedEngine()
    panel.controller.use_engine(panel.engine)
    assert panel.controller.case.estimate is None and wondered(panel)
    panel.engine.shows(9, mandible=("outside", 0.93))           # an answer to nobody
    panel.settle()
    assert not is_grey(panel, "mandible")
