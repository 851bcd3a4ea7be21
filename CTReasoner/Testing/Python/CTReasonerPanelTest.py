"""The panel in a real Slicer: the recorded answer is asked for, comes into the scene, is undone and survives the scene's end."""

from __future__ import annotations

import time
import unittest

import slicer


class CTReasonerPanelTest(unittest.TestCase):
    """Needs the main window; the same tests pass in the host of Testing/Host."""

    def setUp(self):
        slicer.mrmlScene.Clear(0)
        slicer.util.selectModule("CTReasoner")
        self.widget = slicer.modules.CTReasonerWidget
        self.ui = self.widget.ui
        self.ui.engineKindComboBox.currentIndex = 1          # recorded answer
        self.widget.controller.engine_box.engine.speed = 50.0
        import CTReasoner

        self.node = CTReasoner.load_recorded_ct()[0]
        self.ui.ctSelector.setCurrentNode(self.node)

    def tearDown(self):
        self.widget.controller.stop()
        self.ui.engineKindComboBox.currentIndex = 0
        slicer.mrmlScene.Clear(0)

    def wait(self, condition, seconds=20.0):
        """Let Slicer run until something holds."""
        until = time.monotonic() + seconds
        while not condition() and time.monotonic() < until:
            slicer.app.processEvents()
            time.sleep(0.005)
        self.assertTrue(condition())

    def ask(self):
        self.ui.promptLineEdit.text = "Segment the heart and describe it"
        self.ui.askButton.click()
        self.wait(lambda: self.widget.controller.asking.is_busy)
        self.wait(lambda: not self.widget.controller.asking.is_busy)
        self.wait(lambda: self.ui.findingsTable.rowCount == 3)

    def test_recorded_answer(self):
        self.ask()
        self.wait(lambda: "The heart has a volume of" in self.ui.chatBrowser.toPlainText())     # drawn at the next tick
        self.assertIn("recording", self.ui.chatBrowser.toPlainText())
        segmentation = self.widget.controller.case.writer.segmentation.GetSegmentation()
        self.assertEqual(segmentation.GetNumberOfSegments(), 3)

    def test_undo_and_redo(self):
        self.ask()
        self.ui.undoButton.click()
        self.wait(lambda: self.ui.findingsTable.rowCount == 0)
        self.ui.redoButton.click()
        self.wait(lambda: self.ui.findingsTable.rowCount == 3)

    def test_the_scene_may_close_in_the_middle(self):
        self.widget.controller.engine_box.engine.speed = 1.0
        self.ui.promptLineEdit.text = "Segment the heart"
        self.ui.askButton.click()
        self.wait(lambda: self.widget.controller.asking.is_busy)
        slicer.mrmlScene.Clear(0)
        self.wait(lambda: not self.widget.controller.asking.is_busy)
        self.assertEqual(self.ui.findingsTable.rowCount, 0)


if __name__ == "__main__":
    unittest.main()
