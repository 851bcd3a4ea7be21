"""CTReasoner in 3D Slicer: ask a CT in words, with a click or a box. Thin: what behaves lies in Logic/ctreasoner.

Annotations are evaluated here (no `from __future__`): parameterNodeWrapper reads those of the parameter node at once.
"""

import sys
from pathlib import Path

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HERE = Path(__file__).resolve().parent
LOGIC = str(HERE / "Logic")
PACKAGE = "ctreasoner"


def forget_package() -> None:
    """Drop the package's modules, so that "Reload" reads them anew (Slicer itself reloads this file alone)."""
    for name in [n for n in sys.modules if n == PACKAGE or n.startswith(PACKAGE + ".")]:
        del sys.modules[name]


if LOGIC not in sys.path:
    sys.path.insert(0, LOGIC)


#
# CTReasoner
#


class CTReasoner(ScriptedLoadableModule):
    """What Slicer knows about the module at start-up."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CTReasoner")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = []
        self.parent.contributors = ["The CTReasoner contributors"]
        self.parent.helpText = _(
            "Ask a CT a question in words, with a click or a box. The module looks closer step by step, draws boxes and "
            "segments, and answers in words in which every number is measured and checked. Research use only.")
        self.parent.acknowledgementText = _(
            "Built on 3D Slicer, PyTorch and Transformers. The engine runs in a process of its own, and nothing leaves this "
            "computer unless you choose a server.")
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data() -> None:
    """Offer the CT of the recorded answer in Sample Data; it lies in the module, nothing is downloaded."""
    import SampleData

    logic, category = SampleData.SampleDataLogic, "CTReasoner"
    if hasattr(logic, "registerCustomSampleDataCategory"):       # newer than 5.10
        logic.registerCustomSampleDataCategory(category, title=_("CTReasoner"))
    thumbnail = HERE / "Resources" / "Icons" / "CTReasoner.png"
    file = HERE / "Resources" / "Recordings" / "chest" / "ct.npz"
    logic.registerCustomSampleDataSource(
        category=category, sampleName="CTReasonerPhantom", thumbnailFileName=str(thumbnail), uris=file.as_uri(),
        fileNames=file.name, nodeNames="Phantom chest", customDownloader=load_recorded_ct)


def load_recorded_ct(_source=None):
    """Add the CT of the recorded answer to the scene and return its node in a list."""
    from ctreasoner.panel.recorded import recorded_ct

    return [recorded_ct(HERE / "Resources" / "Recordings")]


#
# CTReasonerParameterNode
#


@parameterNodeWrapper
class CTReasonerParameterNode:
    """What is saved with the scene.

    ct : the CT that questions are about.
    followViews : whether the views move to what is being looked at.
    """

    ct: slicer.vtkMRMLScalarVolumeNode
    followViews: bool = True


#
# CTReasonerWidget
#


class CTReasonerWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: widgets from the .ui file, a controller that makes them work."""

    def __init__(self, parent=None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.ui = None
        self.controller = None
        self._parameter_node = None
        self._gui_tag = None

    def setup(self) -> None:
        """Called once, when the module is opened the first time, and after a reload."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/CTReasoner.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = CTReasonerLogic()
        from ctreasoner.panel.controller import Controller

        self.controller = Controller(self.ui, self.logic.module_logics(), HERE / "Resources")
        self.ui.ctSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.controller.set_ct)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self._scene_closing)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self._scene_closed)
        self._use_parameter_node()

    def cleanup(self) -> None:
        """Called when the module is unloaded, reloaded, or Slicer ends: nothing of ours lives on."""
        self.removeObservers()
        self._drop_parameter_node()
        if self.controller is not None:
            self.ui.ctSelector.disconnect("currentNodeChanged(vtkMRMLNode*)", self.controller.set_ct)
            self.controller.close()
            self.controller = None

    def enter(self) -> None:
        """Called each time the module is opened."""
        self._use_parameter_node()
        if self.controller is not None:
            self.controller.enter()

    def exit(self) -> None:
        """Called each time another module is opened."""
        if self.controller is not None:
            self.controller.exit()
        self._drop_parameter_node()

    def onReload(self) -> None:
        """Read the whole package anew, not this file alone."""
        self.cleanup()
        forget_package()
        ScriptedLoadableModuleWidget.onReload(self)

    def _scene_closing(self, _caller, _event) -> None:
        self._drop_parameter_node()

    def _scene_closed(self, _caller, _event) -> None:
        if self.parent.isEntered:
            self._use_parameter_node()

    def _use_parameter_node(self) -> None:
        """Tie the widgets to the scene's parameter node; a first volume is chosen where none is."""
        self._drop_parameter_node()
        if self.logic is None:
            return
        self._parameter_node = self.logic.getParameterNode()
        if self._parameter_node.ct is None:
            self._parameter_node.ct = self.logic.first_ct()
        self._gui_tag = self._parameter_node.connectGui(self.ui)

    def _drop_parameter_node(self) -> None:
        if self._parameter_node is not None:
            self._parameter_node.disconnectGui(self._gui_tag)
            self._parameter_node, self._gui_tag = None, None


#
# CTReasonerLogic
#


class CTReasonerLogic(ScriptedLoadableModuleLogic):
    """What other modules and scripts may call; the rest is the package in Logic."""

    def getParameterNode(self):
        """The scene's parameters, wrapped."""
        return CTReasonerParameterNode(super().getParameterNode())

    @staticmethod
    def module_logics() -> dict[str, vtk.vtkObject]:
        """The C++ logics of Slicer that the package needs."""
        return {"segmentations": slicer.modules.segmentations.logic(), "markups": slicer.modules.markups.logic(),
                "volumes": slicer.modules.volumes.logic()}

    @staticmethod
    def first_ct():
        """The volume that the slice views show, else the first scalar volume that is no label map, or None."""
        shown = {c.GetBackgroundVolumeID() for c in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")}
        found = [n for n in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if not n.IsA("vtkMRMLLabelMapVolumeNode")]
        return next((n for n in found if n.GetID() in shown), found[0] if found else None)


#
# CTReasonerTest
#


class CTReasonerTest(ScriptedLoadableModuleTest):
    """A recorded answer from the question to the segments: needs no engine, no network and no GPU."""

    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_recorded_answer()

    def test_recorded_answer(self):
        from ctreasoner.panel.testing import replay_into_scene

        node = load_recorded_ct()[0]
        findings = replay_into_scene(node, CTReasonerLogic.module_logics(), HERE / "Resources" / "Recordings")
        self.assertGreaterEqual(len(findings), 2)
        for finding in findings:
            self.assertGreater(finding.volume_ml, 0)
        self.delayDisplay("The recorded answer is in the scene.")
