"""The module's life: without a main window, reloaded, unloaded, packed, saved and loaded with the scene; the recording."""

from __future__ import annotations

import sys
from pathlib import Path

import host
import list_files
import pytest
import slicer
from host import cmake
from panel_fixtures import Panel, a_ct, still_window  # noqa: F401 (a fixture)

MODULE = Path(__file__).resolve().parents[2] / "CTReasoner" / "CTReasoner.py"
FOLDER = MODULE.parent


@pytest.fixture
def panel(app, module_widget) -> Panel:
    return Panel(app, module_widget)


def test_a_saved_conversation_comes_back(panel: Panel) -> None:
    panel.answered("Segment the heart", said_ml=900)
    before = panel.words
    transcript = next(n for n in slicer.util.getNodesByClass("vtkMRMLTextNode") if n.GetAttribute("CTReasoner.Transcript"))
    text = transcript.GetText()
    case = panel.controller.case
    panel.controller.cases.clear()          # as when the scene was loaded: nothing but the nodes is left
    case.close()
    panel.controller.set_ct(panel.ct)
    assert text and "said 900" in before
    after = panel.words
    assert "Segment the heart" in after and "said 900" in after and "The heart has a volume of" in after
    assert "Looked at" in after


def test_a_scene_that_is_saved_closed_and_loaded_shows_words_and_findings(panel: Panel, tmp_path) -> None:
    panel.answered("Segment the heart")
    slicer.util.saveNode(panel.ct, str(tmp_path / "ct.nrrd"))
    slicer.util.saveNode(panel.controller.case.writer.segmentation, str(tmp_path / "findings.seg.nrrd"))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrml"))
    slicer.mrmlScene.Clear(0)
    panel.app.process(60)
    assert panel.ui.findingsTable.rowCount == 0
    slicer.util.loadScene(str(tmp_path / "scene.mrml"))
    panel.app.process(100)
    panel.ui.ctSelector.setCurrentNode(slicer.util.getNode("CT"))
    panel.app.process(100)
    assert "The heart has a volume of" in panel.words
    assert panel.ui.findingsTable.rowCount == 1 and panel.ui.findingsTable.item(0, 0).text() == "Heart"


def test_an_edit_in_a_loaded_scene_names_its_object_to_an_engine_that_did_not_make_it(panel: Panel) -> None:
    key = panel.answered("Segment the heart")
    panel.controller.cases.pop(panel.ct.GetID()).close()
    panel.controller.set_ct(panel.ct)
    case = panel.controller.case
    finding = case.writer.finding(key)
    voxels = slicer.util.arrayFromSegmentInternalBinaryLabelmap(case.writer.segmentation, finding.segment_id)
    voxels[0] = 0
    case.writer.segmentation.GetSegmentation().GetSegment(finding.segment_id).GetRepresentation("Binary labelmap").Modified()
    case.writer.segmentation.GetSegmentation().InvokeEvent(slicer.vtkSegmentation.SourceRepresentationModified)
    assert panel.ask("Measure it")
    assert list(panel.engine.requests[-1].edited) == [key] and panel.engine.known[-1] == {key: "heart"}


def test_the_next_answer_counts_on_after_a_restore(panel: Panel) -> None:
    panel.answered()
    panel.controller.cases.pop(panel.ct.GetID()).close()
    panel.controller.set_ct(panel.ct)
    assert panel.controller.case.answered == 1


def test_cleanup_leaves_nothing_behind(panel: Panel) -> None:
    panel.ask("Segment the heart")
    engine, scene = panel.engine, slicer.mrmlScene
    panel.widget.cleanup()
    assert engine.closed and panel.widget.controller is None
    node = a_ct("After")
    scene.RemoveNode(node)
    scene.Clear(0)
    panel.app.process(60)


@pytest.fixture
def package_kept():
    """Put the package's modules back: the doubles hold classes of them."""
    saved = {n: m for n, m in sys.modules.items() if n == "ctreasoner" or n.startswith("ctreasoner.")}
    yield saved
    for name in [n for n in sys.modules if n == "ctreasoner" or n.startswith("ctreasoner.")]:
        del sys.modules[name]
    sys.modules.update(saved)


def test_reload_reads_the_package_anew(app, package_kept) -> None:
    widget = app.load_module(MODULE)
    import ctreasoner.panel.controller as before

    widget.onReload()
    app.process(50)
    import ctreasoner.panel.controller as after

    assert after is not before and sys.modules["ctreasoner.panel.controller"] is after
    fresh = slicer.modules.CTReasonerWidget
    assert fresh is not widget and fresh.controller is not None
    app.unload_module("CTReasoner")


def test_sample_data_offers_the_phantom(app, module_widget) -> None:
    import SampleData

    sources = slicer.modules.sampleDataSources["CTReasoner"]
    source = next(s for s in sources if s.sampleName == "CTReasonerPhantom")
    node = source.customDownloader(source)[0]
    assert node.GetName() == "Phantom chest" and node.GetImageData().GetDimensions() == (96, 72, 44)
    assert SampleData.SampleDataLogic is not None


def test_the_module_s_own_test_runs(app, module_widget) -> None:
    slicer.selfTests["CTReasoner"]()


def test_the_recorded_answer_is_marked_as_one(app, module_widget) -> None:
    import CTReasoner

    ui, controller = module_widget.ui, module_widget.controller
    ui.ctSelector.setCurrentNode(CTReasoner.load_recorded_ct()[0])
    ui.engineKindComboBox.currentIndex = 1
    controller.engine_box.engine.speed = 1e3
    ui.promptLineEdit.text = "Segment the heart"
    ui.askButton.click()
    assert app.wait_for(lambda: ui.findingsTable.rowCount == 3 and not controller.asking.is_busy, 20)
    app.process(60)
    assert "recording" in ui.chatBrowser.toPlainText()
    assert ui.exportLabel.text == ""
    ui.exportButton.click()
    assert app.wait_for(lambda: "cannot be exported" in ui.exportLabel.text, 5)
    ui.engineKindComboBox.currentIndex = 0


def test_the_tests_for_a_real_slicer_pass_here(app, module_widget) -> None:
    import unittest

    sys.path.insert(0, str(FOLDER / "Testing" / "Python"))
    import CTReasonerPanelTest

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromModule(CTReasonerPanelTest).run(result)
    assert result.testsRun == 3 and result.wasSuccessful(), [t[1] for t in (*result.errors, *result.failures)]


def test_cmake_lists_every_file_of_the_module() -> None:
    text = (FOLDER / "CMakeLists.txt").read_text(encoding="utf-8")
    assert text == list_files.written(text), "run: python Testing/Host/list_files.py"
    listed, (scripts, resources) = cmake.scripted_module(FOLDER), list_files.lists()
    assert listed["SCRIPTS"] == scripts and set(resources) <= set(listed["RESOURCES"])
    weights = {p.relative_to(FOLDER).as_posix() for p in (FOLDER / "Resources" / "Models").rglob("*") if p.is_file()}
    assert weights <= set(listed["RESOURCES"])


def test_the_package_that_cmake_lists_runs_alone(app, tmp_path, monkeypatch, package_kept) -> None:
    copy = cmake.installed_copy(FOLDER, tmp_path / "installed")
    for name in package_kept:
        del sys.modules[name]
    monkeypatch.setattr(sys, "path", [str(copy.parent / "Logic"), *[p for p in sys.path if "CTReasoner" not in p]])
    widget = app.load_module(copy)
    import ctreasoner

    assert Path(ctreasoner.__file__).is_relative_to(tmp_path)
    assert widget.controller.engine_box.recordings()
    app.unload_module("CTReasoner")


def test_without_a_main_window() -> None:
    host.current().close()
    application = host.Application(main_window=False)
    application.load_module(MODULE)
    assert slicer.app.layoutManager() is None and slicer.util.mainWindow() is None
    panel = application.manager.module("CTReasoner").widgetRepresentation()
    widget = panel.self()
    made = Panel(application, widget)
    widget.enter()
    made.answered()
    assert widget.ui.findingsTable.rowCount == 1
    widget.exit()
    host.check_handlers()
    application.close()
