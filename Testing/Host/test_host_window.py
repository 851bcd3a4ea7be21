"""The host runs: a window with views that take real events, the scene behind them, and a module's panel."""

from __future__ import annotations

import ctk
import host
import numpy as np
import pytest
import qt
import slicer
import vtk


@pytest.fixture
def ct(app):
    """A small CT with a ball in it, shown in all slice views."""
    k, j, i = np.ogrid[:40, :64, :64]
    array = np.where((k - 20) ** 2 * 2 + (j - 32) ** 2 + (i - 32) ** 2 < 20**2, 40, -1000).astype(np.int16)
    node = slicer.util.addVolumeFromArray(array, name="CT")
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    app.process()
    return node


def place_a_point(view, ras):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    slicer.modules.markups.logic().SetActiveList(node)
    mode = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    mode.SetPlaceModePersistence(0)
    mode.SetCurrentInteractionMode(mode.Place)
    host.click(view, ras)
    host.current().process()
    return node, mode


def test_a_click_in_a_slice_view_places_a_point(app, ct):
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    node, mode = place_a_point(view, (32, 32, 20))
    assert node.GetNumberOfDefinedControlPoints() == 1
    assert np.allclose(list(node.GetNthControlPointPositionVector(0)), (32, 32, 20), atol=1)
    assert mode.GetCurrentInteractionMode() == mode.ViewTransform


def test_a_click_in_the_3d_view_lands_on_the_surface(app):
    source = vtk.vtkSphereSource()
    source.SetRadius(50)
    source.SetThetaResolution(60)
    source.SetPhiResolution(60)
    source.Update()
    model = slicer.modules.models.logic().AddModel(source.GetOutput())
    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    view.resetFocalPoint()
    view.resetCamera()
    app.process(50)
    node, mode = place_a_point(view, None)
    assert node.GetNumberOfDefinedControlPoints() == 1
    assert abs(np.linalg.norm(list(node.GetNthControlPointPositionVector(0))) - 50) < 2
    assert mode.GetCurrentInteractionMode() == mode.ViewTransform
    slicer.mrmlScene.RemoveNode(model)


def test_a_drag_in_the_3d_view_turns_the_camera(app):
    view = slicer.app.layoutManager().threeDWidget(0).threeDView()
    before = view.cameraNode().GetPosition()
    host.drag(view, (100, 100), (160, 120))
    assert not np.allclose(view.cameraNode().GetPosition(), before)


def test_a_right_drag_in_a_slice_zooms(app, ct):
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    before = view.mrmlSliceNode().GetFieldOfView()
    host.drag(view, (100, 100), (100, 160), button=host.hands.RIGHT)
    assert not np.allclose(view.mrmlSliceNode().GetFieldOfView(), before)


def test_the_wheel_moves_the_slice(app, ct):
    widget = slicer.app.layoutManager().sliceWidget("Red")
    before = widget.sliceLogic().GetSliceOffset()
    host.wheel(widget.sliceView(), 1)
    assert widget.sliceLogic().GetSliceOffset() != before


def test_esc_does_not_end_place_mode(app, ct):
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    mode = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    slicer.modules.markups.logic().SetActiveList(node)
    mode.SetCurrentInteractionMode(mode.Place)
    host.move(view, (32, 32, 20))
    host.key(view, qt.Qt.Key_Escape)
    assert mode.GetCurrentInteractionMode() == mode.Place
    mode.SwitchToViewTransformMode()


def test_views_draw_the_volume(app, ct, tmp_path):
    picture = qt.QImage(host.grab(tmp_path / "window.png"))
    assert (picture.width(), picture.height()) == (1280, 800)
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    image = qt.QImage(host.grab(tmp_path / "red.png", view))
    assert image.pixelColor(image.width() // 2, image.height() // 2).lightness() > 200
    assert image.pixelColor(2, 2).lightness() < 10


def test_a_button_is_clicked_by_the_mouse(app):
    button, heard = qt.QPushButton("Ask"), []
    button.connect("clicked(bool)", heard.append)
    button.resize(80, 30)
    host.click(button)
    assert heard == [False]


def test_layouts_are_arranged_from_the_layout_node(app):
    manager = slicer.app.layoutManager()
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    app.process()
    assert list(manager.sliceViewNames()) == ["Red"]
    manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    app.process()
    assert sorted(manager.sliceViewNames()) == ["Green", "Red", "Yellow"]


def test_a_collapsible_button_hides_its_children(app):
    section = ctk.ctkCollapsibleButton()
    section.text = "Details"
    box = qt.QVBoxLayout(section)
    label = qt.QLabel("inside")
    box.addWidget(label)
    section.show()
    section.collapsed = True
    assert not label.visible
    section.collapsed = False
    assert label.visible


def test_the_heartbeat_sees_a_blocked_main_thread(app, ct):
    import time
    with host.Heartbeat() as beat:
        app.process(30)
        time.sleep(0.2)
        app.process(30)
    assert beat.summary()["blocked_worst_ms"] >= 150
    assert beat.summary()["without_render_worst_ms"] >= 150


def test_rendering_is_subtracted_from_the_heartbeat(app, ct):
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    with host.Heartbeat() as beat:
        app.process(20)
        for _ in range(10):
            view.forceRender()
        app.process(20)
    assert sum(beat.blocked_without_render_ms) < sum(beat.blocked_ms)


def test_the_dark_style_is_dark(app):
    app.set_dark(True)
    assert slicer.util.mainWindow().palette.color(qt.QPalette.Window).lightness() < 100
    app.set_dark(False)
    assert slicer.util.mainWindow().palette.color(qt.QPalette.Window).lightness() > 200


def test_no_main_window_gives_no_layout_manager():
    host.current().close() if host.application._current else None
    application = host.Application(main_window=False)
    assert slicer.app.layoutManager() is None
    assert slicer.util.mainWindow() is None
    application.close()
