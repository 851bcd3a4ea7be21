"""How long the main thread is blocked while an answer streams into the scene: 512 x 512 x 300 voxels, a heartbeat of 5 ms.

    python Testing/Host/bench_panel.py [K]          K slices instead of 300

An engine double speaks as fast as the panel listens, in the pace of a quick engine: 6 organs with masks of whole organs.
Printed are all of it, what is left without the time inside RenderWindow.Render() (software rendering here), and what is left
without the host's own reading back of pictures as well, which Slicer's views do not do.
"""

from __future__ import annotations

import cProfile
import os
import pstats
import sys
import time
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "CTReasoner" / "Logic")]

import host  # noqa: E402
import numpy as np  # noqa: E402
import slicer  # noqa: E402
from host.views import AbstractView  # noqa: E402
from panel_fixtures import Panel  # noqa: E402

MODULE = HERE.parents[1] / "CTReasoner" / "CTReasoner.py"
ORGANS = {  # name -> first voxel, shape of its block, as parts of the CT
    "heart": ((0.40, 0.30, 0.50), (0.25, 0.25, 0.25)), "aorta": ((0.48, 0.48, 0.10), (0.06, 0.06, 0.80)),
    "liver": ((0.15, 0.25, 0.20), (0.40, 0.35, 0.28)), "spleen": ((0.70, 0.45, 0.25), (0.15, 0.18, 0.18)),
    "trachea": ((0.47, 0.44, 0.72), (0.05, 0.05, 0.25)), "stomach": ((0.55, 0.25, 0.25), (0.22, 0.20, 0.20))}
STEP_S = 0.15           # between the events of an object


class Beat(host.Heartbeat):
    """A heartbeat that also keeps what is left without Render() alone."""

    def __enter__(self):
        self.without_render_ms, self._inside, self._began = [], 0.0, 0.0
        manager = slicer.app.layoutManager()
        views = [manager.sliceWidget(name).sliceView() for name in manager.sliceViewNames()]
        for view in [*views, manager.threeDWidget(0).threeDView()]:
            view.renderWindow().AddObserver("StartEvent", self._starts)
            view.renderWindow().AddObserver("EndEvent", self._ends)
        return super().__enter__()

    def _starts(self, *_):
        self._began = time.perf_counter()

    def _ends(self, *_):
        self._inside += time.perf_counter() - self._began

    def _tick(self):
        super()._tick()
        self.without_render_ms.append(max(0.0, self.blocked_ms[-1] - 1000 * self._inside))
        self._inside = 0.0


class Window(Panel):
    """The panel with a CT of the size of a clinical one."""

    def __init__(self, app, widget, shape: tuple[int, int, int]) -> None:
        super().__init__(app, widget)
        slicer.mrmlScene.RemoveNode(self.ct)
        voxels = np.full(shape[::-1], -1000, np.int16)
        voxels[:, shape[1] // 6: -shape[1] // 6, shape[0] // 8: -shape[0] // 8] = 40
        affine = np.diag([0.75, 0.75, 1.25, 1.0])
        affine[:3, 3] = -affine[np.arange(3), np.arange(3)] * np.array(shape) / 2
        self.ct = slicer.util.addVolumeFromArray(voxels, ijkToRAS=affine, name="large")
        self.ct.CreateDefaultDisplayNodes()
        slicer.util.setSliceViewerLayers(background=self.ct, fit=True)
        self.ui.ctSelector.setCurrentNode(self.ct)
        app.process(500)

    def pause(self) -> None:
        self.app.process(int(1000 * STEP_S))

    def stream(self, shape: tuple[int, int, int]) -> None:
        """Tell a whole answer, event by event with pauses, as an engine does."""
        answer = self.engine.begin()
        self.pause()
        for number, (name, (first, size)) in enumerate(ORGANS.items(), start=1):
            corner = tuple(int(a * n) for a, n in zip(first, shape, strict=True))
            block = tuple(max(1, int(a * n)) for a, n in zip(size, shape, strict=True))
            self.engine.find(answer, number, name, corner, block)
            spoken, self.engine._box = self.engine._box, []
            for message in spoken:
                self.engine._box.append(message)
                self.pause()
        self.engine.finish()
        self.until(lambda: not self.controller.asking.is_busy, 60)

    @property
    def lacks_surfaces(self) -> bool:
        segmentation = self.controller.case.writer.segmentation.GetSegmentation()
        return any(segmentation.GetSegment(i).GetRepresentation("Closed surface") is None for i in segmentation.GetSegmentIDs())


def main(slices: int = 300) -> None:
    """Print the figures, and where the time went outside rendering."""
    shape = (512, 512, slices)
    app = host.Application(size=(1360, 900)).show()
    window = Window(app, app.load_module(MODULE), shape)
    app.process(8000)       # the panel makes boxes ahead
    window.ui.promptLineEdit.text = "Segment the heart"
    window.ui.askButton.click()
    if not window.until(lambda: window.engine.requests, 120):
        raise SystemExit("The question did not reach the engine.")
    app.process(300)
    profile, began, rendered = cProfile.Profile(), time.perf_counter(), AbstractView.render_seconds
    if "--profile" in sys.argv:
        profile.enable()
    with Beat() as beat:
        window.stream(shape)
    streamed = time.perf_counter() - began
    with Beat() as after:
        window.until(lambda: not window.lacks_surfaces, 60)
        app.process(50)
    profile.disable()
    print(f"CT {shape}, {len(ORGANS)} organs, answered in {streamed:.1f} s; rendering till the surfaces stood rendering "
          f"{AbstractView.render_seconds - rendered:.1f} s, {len(beat.blocked_ms)} ticks")
    for name, numbers in (("blocked", beat.blocked_ms), ("blocked without Render()", beat.without_render_ms),
                          ("blocked without Render() and reading back", beat.blocked_without_render_ms),
                          ("afterwards, while surfaces are made, without Render()", after.without_render_ms)):
        print(f"{name}: median {np.median(numbers):.1f} ms, 99 in 100 below {np.percentile(numbers, 99):.1f} ms, worst "
              f"{', '.join(f'{v:.0f}' for v in sorted(numbers)[:-9:-1])} ms")
    if "--profile" in sys.argv:
        pstats.Stats(profile).sort_stats("cumulative").print_stats("ctreasoner|host", 40)
    app.close()


if __name__ == "__main__":
    main(*[int(a) for a in sys.argv[1:] if a.isdigit()])
