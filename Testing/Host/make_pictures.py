"""Pictures of the module in the host, with a recorded answer: first look, closer look, finished, refused; the panel in light
and dark, and two of its sections.

    python Testing/Host/make_pictures.py OUT [RECORDING]

RECORDING is a folder that record_demo.py wrote; without it the phantom that ships is shown.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "CTReasoner" / "Logic")]

import host  # noqa: E402
import slicer  # noqa: E402
from ctreasoner.events import Look  # noqa: E402
from PIL import Image  # noqa: E402

MODULE = HERE.parents[1] / "CTReasoner" / "CTReasoner.py"
SIZE = (1360, 900)


def play_until(app, controller, t: float) -> None:
    """Let the recording run to a time and stand there until the views have come to rest."""
    engine, case = controller.engine_box.engine, controller.case
    end = time.monotonic() + 20

    def rests() -> bool:
        began, waiting = next(iter(engine._playing.values()))
        engine.speed = t / (time.monotonic() - began)
        return time.monotonic() > end or (waiting[0].t > t and not case.follower.moving and not controller._is_stale)

    app.wait_for(rests, 30)
    app.process(100)


def section(app, path: Path, button) -> None:
    """Write a picture of one section of the panel, opened for it."""
    button.collapsed = False
    app.process(300)
    host.grab(path, button)
    button.collapsed = True
    app.process(100)


def main(out: Path, recording: Path) -> None:
    """Write the pictures into a folder."""
    app = host.Application(size=SIZE).show()
    widget = app.load_module(MODULE)
    ui, controller = widget.ui, widget.controller
    from ctreasoner.panel.recorded import RecordedEngine, Recording, recorded_ct

    node = recorded_ct(recording.parent)
    ui.ctSelector.setCurrentNode(node)
    ui.engineKindComboBox.currentIndex = 1
    controller.use_engine(RecordedEngine(Recording.read(recording)))
    app.process(200)
    host.grab(out / "module-start.png")
    engine = controller.engine_box.engine
    engine.speed = 1e-3                 # stands still until it is told how far to play
    ui.promptLineEdit.text = engine.recording.question
    ui.askButton.click()
    app.wait_for(lambda: engine._playing, 20)
    looks = [e.t for e in engine.recording.events if isinstance(e, Look)]
    for number, name in ((0, "module-first-look.png"), (1, "module-closer-look.png")):
        play_until(app, controller, looks[number] + 0.01)
        host.grab(out / name)
    engine.speed = 1e3
    app.wait_for(lambda: not controller.asking.is_busy, 60)
    app.process(3000)
    controller.go_to(controller.case.writer.findings()[0].id)
    slicer.app.layoutManager().threeDWidget(0).threeDView().resetFocalPoint()
    app.process(2500)
    host.grab(out / "module-finished.png")
    host.grab(out / "panel-light.png", widget.parent)
    app.set_dark(True)
    controller.chat.changed()
    app.process(300)
    host.grab(out / "panel-dark.png", widget.parent)
    host.grab(out / "module-dark.png")
    app.set_dark(False)
    ui.exportFolderButton.directory = "/data/exports"
    section(app, out / "panel-export.png", ui.exportSection)
    other = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(node)[5:].copy(), name="Another CT")
    ui.ctSelector.setCurrentNode(other)
    app.process(100)
    ui.promptLineEdit.text = "Is the aorta dilated?"
    ui.askButton.click()
    app.wait_for(lambda: controller.case.conversation.turns and not controller.asking.is_busy, 20)
    app.process(200)
    host.grab(out / "module-refused.png")
    ui.engineSection.collapsed = False
    ui.serverAddressLineEdit.text, ui.serverTokenLineEdit.text = "https://ct.example.org:8642", "no-token"
    ui.engineKindComboBox.currentIndex = 2
    section(app, out / "panel-server.png", ui.engineSection)
    host.check_handlers()
    app.close()
    for picture in [*out.glob("module-*.png"), *out.glob("panel-*.png")]:
        Image.open(picture).convert("RGB").quantize(96).save(picture, optimize=True)        # a quarter of the size


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else MODULE.parent / "Resources" / "Recordings" / "chest")
