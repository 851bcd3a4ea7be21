"""The panel with a CT in the scene and an engine that a test speaks for."""

from __future__ import annotations

import host
import numpy as np
import pytest
import slicer
from client_bench import LONGEST_S
from fake_engine import phantom_volume
from panel_doubles import ScriptedEngine

RETURN = 0x01000004
SPACING = 3.0
SHAPE = (64, 60, 50)        # i, j, k


@pytest.fixture(scope="module", name="slicer_app")
def still_window():
    """A small window that does not render: tests about the panel would wait for software rendering most of their time."""
    application = host.Application(size=(760, 420)).show()
    slicer.app.pauseRender()
    yield application
    application.close()
    host.take_failures()


@pytest.fixture(scope="module", name="slicer_app")
def small_window():
    """A small window that renders, for tests that look at views or click in them."""
    application = host.Application(size=(900, 520)).show()
    yield application
    application.close()
    host.take_failures()


def a_ct(name: str = "CT", shape=SHAPE):
    """A volume of 3 mm voxels around the origin, -1000 HU with a block of 40 HU, shown in the slice views."""
    voxels = np.full(shape, -1000, np.int16)
    voxels[tuple(slice(n // 6, n - n // 6) for n in shape)] = 40
    affine = np.diag([SPACING, SPACING, SPACING, 1.0])
    affine[:3, 3] = [-SPACING * (n - 1) / 2 for n in shape]
    node = slicer.util.addVolumeFromArray(voxels.transpose(2, 1, 0).copy(), ijkToRAS=affine, name=name)
    node.CreateDefaultDisplayNodes()
    slicer.util.setSliceViewerLayers(background=node, fit=True)
    return node


class Panel:
    """What a test does with the panel: real widgets, real events, short waits."""

    def __init__(self, app, widget) -> None:
        self.app, self.widget, self.ui, self.controller = app, widget, widget.ui, widget.controller
        self.engine = ScriptedEngine()
        self.controller.use_engine(self.engine)
        self.ct = a_ct()
        self.ui.ctSelector.setCurrentNode(self.ct)
        app.process(60)

    def until(self, condition, seconds: float = 5.0) -> bool:
        return self.app.wait_for(condition, seconds)

    def ask(self, words: str) -> bool:
        """Type and press Enter; returns whether the engine got it."""
        import host

        count = len(self.engine.requests)
        host.text(self.ui.promptLineEdit, words)
        host.key(self.ui.promptLineEdit, host.RETURN if hasattr(host, "RETURN") else 0x01000004)
        return self.until(lambda: len(self.engine.requests) > count, 3)

    def settle(self) -> None:
        """Let everything that was said arrive."""
        self.until(lambda: not self.engine._box, 5)
        self.app.process(80)

    @property
    def words(self) -> str:
        self.app.process(50)
        return self.ui.chatBrowser.toPlainText()

    def answered(self, words: str = "Segment the heart", **options) -> str:
        """A whole answer about one object; returns the object's id."""
        assert self.ask(words)
        answer = self.engine.begin()
        key = self.engine.find(answer, 1, "heart", (20, 20, 15), (16, 14, 12), **options)
        self.engine.finish()
        self.settle()
        return key


class LivePanel(Panel):
    """The panel with the phantom that the doubles of real engines know; which engine answers, the test says."""

    def __init__(self, app, widget) -> None:
        self.app, self.widget, self.ui, self.controller = app, widget, widget.ui, widget.controller
        volume = phantom_volume()
        self.ct = slicer.util.addVolumeFromArray(volume.voxels.transpose(2, 1, 0).copy(), ijkToRAS=volume.affine, name="phantom")
        self.ct.CreateDefaultDisplayNodes()
        self.ui.ctSelector.setCurrentNode(self.ct)
        app.process(30)

    def ask(self, words: str) -> None:
        """Type and press Enter."""
        host.text(self.ui.promptLineEdit, words)
        host.key(self.ui.promptLineEdit, RETURN)

    def done(self) -> bool:
        return self.until(lambda: not self.controller.asking.is_busy, LONGEST_S)


class Away(LivePanel):
    """The panel with a server chosen by its widgets."""

    def __init__(self, app, widget) -> None:
        super().__init__(app, widget)
        self.ui.engineSection.collapsed = False
        self.ui.engineKindComboBox.currentIndex = 2
        app.process(30)

    def name(self, address: str, token: str = "") -> None:
        """Type an address and a token, as a person does: each field is left at the end."""
        for line, words in ((self.ui.serverAddressLineEdit, address), (self.ui.serverTokenLineEdit, token)):
            line.clear()
            host.text(line, words)
            host.key(line, RETURN)

    def test(self, said: str) -> bool:
        self.ui.testButton.click()
        return self.until(lambda: said in self.ui.engineDetailsLabel.text, LONGEST_S)


@pytest.fixture(name="away")
def a_server_chosen(app, module_widget):
    """The panel in which an address is to be typed; afterwards the engine is the one beside it again."""
    yield Away(app, module_widget)
    module_widget.ui.serverAddressLineEdit.clear()
    module_widget.ui.engineKindComboBox.currentIndex = 0
