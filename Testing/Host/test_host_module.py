"""A scripted module lives in the host as in Slicer: load, open, leave, reload, unload, self test, no main window."""

from __future__ import annotations

import sys
import textwrap

import host
import pytest
import slicer

SOURCE = '''
import qt, slicer, vtk
from slicer.ScriptedLoadableModule import *
from slicer.util import VTKObservationMixin
from slicer.i18n import tr as _

LOG = []

class {name}(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("A small module")
        self.parent.categories = ["Examples"]
        self.parent.contributors = ["A. Writer"]
        self.parent.helpText = _("Help")
        slicer.app.connect("startupCompleted()", register)

def register():
    import SampleData
    SampleData.SampleDataLogic.registerCustomSampleDataSource(category="{name}", sampleName="One", uris="https://example.org/x.nrrd",
        fileNames="x.nrrd", nodeNames="X")

class {name}Widget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        LOG.append("init")

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.button = qt.QPushButton("Go")
        self.layout.addWidget(self.button)
        self.logic = {name}Logic()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onClose)
        LOG.append("setup")

    def onClose(self, caller, event):
        LOG.append("scene closes")

    def enter(self):
        LOG.append("enter")

    def exit(self):
        LOG.append("exit")

    def cleanup(self):
        self.removeObservers()
        LOG.append("cleanup")

class {name}Logic(ScriptedLoadableModuleLogic):
    pass

class {name}Test(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def test_adds(self):
        LOG.append("tested")
'''


@pytest.fixture
def small(tmp_path):
    def write(name):
        path = tmp_path / f"{name}.py"
        path.write_text(textwrap.dedent(SOURCE.format(name=name)))
        return path
    yield write
    while str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def log(name):
    return sys.modules[name].LOG


def test_a_module_is_loaded_and_opened(app, small):
    widget = app.load_module(small("SmallOne"))
    assert log("SmallOne") == ["init", "setup", "enter"]
    assert slicer.modules.smallone.title == "A small module"
    assert slicer.modules.SmallOneInstance.moduleName == "SmallOne"
    assert slicer.modules.SmallOneWidget is widget
    assert slicer.moduleNames.SmallOne == "SmallOne"
    assert slicer.util.getModuleWidget("SmallOne") is widget
    assert slicer.util.selectedModule() == "SmallOne"
    assert widget.parent.className() == "qSlicerScriptedLoadableModuleWidget"
    assert widget.resourcePath("UI/x.ui").endswith("Resources/UI/x.ui")
    app.unload_module("SmallOne")
    assert log("SmallOne")[-2:] == ["exit", "cleanup"]
    assert not hasattr(slicer.modules, "smallone")


def test_modules_are_entered_and_left(app, small):
    app.load_module(small("SmallTwo"))
    app.load_module(small("SmallThree"))
    assert log("SmallTwo") == ["init", "setup", "enter", "exit"]
    slicer.util.selectModule("SmallTwo")
    assert log("SmallTwo")[-1] == "enter"
    assert log("SmallThree")[-1] == "exit"
    app.unload_module("SmallTwo")
    app.unload_module("SmallThree")


def test_reload_makes_a_new_widget_in_the_same_place(app, small):
    old = app.load_module(small("SmallFour"))
    slicer.util.reloadScriptedModule("SmallFour")
    new = slicer.modules.SmallFourWidget
    assert new is not old
    assert log("SmallFour") == ["init", "setup"]             # the file ran anew; enter comes with the next switch
    assert new.parent == old.parent
    assert new.layout.count() == 1
    app.unload_module("SmallFour")


def test_the_scene_closing_reaches_the_module(app, small):
    app.load_module(small("SmallFive"))
    slicer.mrmlScene.Clear(0)
    assert log("SmallFive")[-1] == "scene closes"
    app.unload_module("SmallFive")
    slicer.mrmlScene.Clear(0)
    assert log("SmallFive")[-1] == "cleanup"


def test_the_self_test_runs(app, small):
    app.load_module(small("SmallSix"))
    slicer.selfTests["SmallSix"]()
    assert "tested" in log("SmallSix")
    app.unload_module("SmallSix")


def test_sample_data_is_registered_when_startup_is_completed(app, small):
    import SampleData
    app.load_module(small("SmallSeven"))
    sources = SampleData.SampleDataLogic.sampleDataSourcesByCategory("SmallSeven")
    assert [source.sampleName for source in sources] == ["One"]
    app.unload_module("SmallSeven")


def test_an_exception_in_enter_is_kept(app, small):
    path = small("SmallEight")
    path.write_text(path.read_text().replace('LOG.append("enter")', "1 / 0"))
    app.load_module(path)
    with pytest.raises(host.HandlerFailed, match="ZeroDivisionError"):
        host.check_handlers()
    app.unload_module("SmallEight")


def test_the_parameter_node_is_a_singleton_of_the_module(app, small):
    widget = app.load_module(small("SmallNine"))
    node = widget.logic.getParameterNode()
    assert node is widget.logic.getParameterNode()
    assert (node.GetAttribute("ModuleName"), node.GetSingletonTag()) == ("SmallNine", "SmallNine")
    app.unload_module("SmallNine")


def test_a_module_is_loaded_without_a_main_window(small):
    if host.application._current is not None:
        host.current().close()
    application = host.Application(main_window=False)
    try:
        assert application.load_module(small("SmallTen")) is None
        assert slicer.modules.smallten.widgetRepresentation() is not None
        assert log("SmallTen") == ["init", "setup"]
        host.check_handlers()
    finally:
        application.close()
