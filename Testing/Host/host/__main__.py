"""Open the host as a window: ``python -m host [module.py] [volume file]``."""

from __future__ import annotations

import sys
from pathlib import Path

import slicer

from . import Application

if __name__ == "__main__":
    given = [Path(a) for a in sys.argv[1:]]
    module = next((p for p in given if p.suffix == ".py"), Path(__file__).resolve().parents[3] / "CTReasoner" / "CTReasoner.py")
    application = Application(testing=False, size=(1400, 900)).show()
    for volume in (p for p in given if p.suffix != ".py"):
        slicer.util.setSliceViewerLayers(background=slicer.util.loadVolume(str(volume)), fit=True)
    application.load_module(module)
    application.qapp.setQuitOnLastWindowClosed(True)
    code = application.qapp.exec_()
    application.close()
    sys.exit(code)
