"""Fixtures of the host: a running application per test file, a failing handler fails the test that caused it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULE = ROOT / "CTReasoner" / "CTReasoner.py"
if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))

import host  # noqa: E402
from host import lines  # noqa: E402

LINES = None
if os.environ.get("HOST_LINES"):
    LOGIC = MODULE.parent / "Logic" / "ctreasoner"
    LINES = lines.Lines([MODULE, LOGIC / "scene", LOGIC / "panel"])
    LINES.start()


def pytest_terminal_summary(terminalreporter):
    """List the lines of the module that no test ran, when asked with HOST_LINES=1."""
    if LINES is not None:
        LINES.stop()
        terminalreporter.section("lines of the module that did not run")
        for file, rest in LINES.missing().items():
            terminalreporter.write_line(f"{Path(file).relative_to(ROOT)}: {lines.ranges(rest)}")


@pytest.fixture(scope="module")
def slicer_app():
    """A running host with main window and views, the same for all tests of a file."""
    application = host.Application().show()
    yield application
    application.close()
    host.take_failures()


@pytest.fixture
def app(slicer_app):
    """The running host with an empty scene; an exception in a handler fails the test."""
    host.take_failures()
    slicer_app.scene.Clear(0)
    slicer_app.process()
    yield slicer_app
    slicer_app.process()
    host.check_handlers()


@pytest.fixture
def module_widget(app):
    """CTReasoner's panel, opened as a user opens it; the module is unloaded afterwards."""
    widget = app.load_module(MODULE)
    app.process()
    yield widget
    app.unload_module("CTReasoner")
