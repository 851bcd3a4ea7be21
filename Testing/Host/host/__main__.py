"""Open the host as a window: ``python -m host [module.py] [volume file ...]``; without a volume the module's sample is shown."""

from __future__ import annotations

import sys
from pathlib import Path

import slicer
from PyQt5 import QtWidgets

from . import Application


def add_data(application):
    """File > Add Data: a file dialog, then what ``slicer.util`` loads."""
    path, _ = QtWidgets.QFileDialog.getOpenFileName(application.window, "Add data")
    if path:
        slicer.util.loadNodeFromFile(path)


def show_sample(name: str):
    """The first sample that the module has registered."""
    import SampleData

    for source in SampleData.SampleDataLogic.sampleDataSourcesByCategory(name)[:1]:
        if source.customDownloader is not None:
            source.customDownloader(source)


def main(arguments: list[str]) -> int:
    """Run until the window is closed."""
    given = [Path(a) for a in arguments]
    module = next((p for p in given if p.suffix == ".py"), Path(__file__).resolve().parents[3] / "CTReasoner" / "CTReasoner.py")
    volumes = [p for p in given if p.suffix != ".py"]
    application = Application(testing=False, size=(1400, 900)).show()
    for volume in volumes:
        slicer.util.setSliceViewerLayers(background=slicer.util.loadVolume(str(volume)), fit=True)
    application.load_module(module)
    application.window.findChild(QtWidgets.QAction, "FileAddDataAction").triggered.connect(lambda: add_data(application))
    if not volumes:
        show_sample(module.stem)
    application.qapp.setQuitOnLastWindowClosed(True)
    code = application.qapp.exec_()
    application.close()
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
