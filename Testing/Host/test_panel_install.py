"""Installing the engine from the panel: said first, with progress, cancelled, failed, done. An installer double does the work."""

from __future__ import annotations

import importlib.metadata
import sys
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import host
import pytest
import slicer
from ctreasoner.client.packages import Package
from ctreasoner.client.telling import Message
from host import slicerapp
from panel_fixtures import still_window  # noqa: F401 (a fixture)

LINES = ["Python: 3.12", "Download: about 450 MB. On disk: about 1,800 MB", "Time: 3 to 10 minutes", "torch 2.13.0: BSD-3-Clause"]


@dataclass
class InstallerDouble:
    problem: dict = field(default_factory=dict)
    box: list = field(default_factory=list)
    started: list = field(default_factory=list)
    checked: list = field(default_factory=list)
    cancelled: int = 0
    is_busy: bool = False

    def look(self) -> None:
        self.say("planned", plan=SimpleNamespace(lines=LINES, problem=self.problem))

    def start(self, plan) -> None:
        self.started.append(plan)
        self.say("installing", step=2, of=4, name="PyTorch", line="Downloading torch (180 MB)", seconds=7.4)

    def check(self, python: str) -> None:
        self.checked.append(python)

    def cancel(self) -> None:
        self.cancelled += 1
        self.say("cancelled")

    def close(self) -> None:
        """Nothing runs."""

    def say(self, state: str, **facts) -> None:
        self.box.append(Message("install", facts={"state": state, **facts}))

    def poll(self) -> list[Message]:
        out, self.box = self.box, []
        return out


@pytest.fixture
def installer(app, monkeypatch) -> InstallerDouble:
    double = InstallerDouble()
    monkeypatch.setattr("ctreasoner.panel.installing._installer", lambda: double)
    return double


@pytest.fixture
def opened(installer, app, module_widget):
    module_widget.ui.engineSection.collapsed = False
    app.process(40)
    return SimpleNamespace(ui=module_widget.ui, app=app, double=installer, box=module_widget.controller.engine_box)


def test_megabytes_minutes_and_licences_stand_there_before_anything_is_done(opened) -> None:
    ui, double = opened.ui, opened.double
    assert not ui.installProgressBar.visible and not ui.cancelInstallButton.visible
    host.click(ui.installButton)
    opened.app.process(80)
    for line in LINES:
        assert line in ui.engineDetailsLabel.text
    assert ui.engineDetailsLabel.text.startswith("Start installing does this:")
    assert double.started == [] and ui.installButton.text == "Start installing" and ui.cancelInstallButton.visible
    host.click(ui.cancelInstallButton)
    opened.app.process(40)
    assert ui.installButton.text == "Install the engine …" and LINES[0] not in ui.engineDetailsLabel.text


def test_progress_then_the_installed_python_is_used(opened, monkeypatch, tmp_path) -> None:
    ui, double = opened.ui, opened.double
    host.click(ui.installButton)
    opened.app.process(80)
    host.click(ui.installButton)
    opened.app.process(80)
    assert len(double.started) == 1 and ui.installProgressBar.visible and ui.installProgressBar.maximum == 4
    assert "Step 2 of 4: PyTorch, 7 s" in ui.engineDetailsLabel.text and "180 MB" in ui.engineDetailsLabel.text
    python = tmp_path / "python"
    python.touch()
    monkeypatch.setattr("ctreasoner.panel.engine_box.installed_python", lambda: python)
    double.say("ready", python=python)
    opened.app.process(80)
    assert not ui.installProgressBar.visible and opened.box.is_there and opened.box.python == str(python)
    assert ui.engineButton.text == "Start"


def test_cancel_and_failure_are_said(opened) -> None:
    ui, double = opened.ui, opened.double
    host.click(ui.installButton)
    opened.app.process(80)
    host.click(ui.installButton)
    opened.app.process(80)
    host.click(ui.cancelInstallButton)
    opened.app.process(80)
    assert double.cancelled == 1 and "Nothing was left behind" in ui.engineDetailsLabel.text
    double.say("failed", code="CTR-NET-001", hint="Check the network.",
               sentence="The step 'PyTorch' could not reach the package index.")
    opened.app.process(80)
    assert "could not reach the package index. Check the network." in ui.engineDetailsLabel.text
    assert ui.installButton.enabled and "install: CTR-NET-001" in opened.box.install._log.text()


def test_too_little_space_is_said_before_start(opened) -> None:
    opened.double.problem.update(code="CTR-RES-001", sentence="The engine needs 2,250 MB; 900 MB are free there.",
                                 hint="Free some space.")
    host.click(opened.ui.installButton)
    opened.app.process(80)
    assert "install: CTR-RES-001" in opened.box.install._log.text()
    assert "900 MB are free" in opened.ui.engineDetailsLabel.text and opened.ui.installButton.text == "Install the engine …"


def test_a_python_that_a_person_chose_is_checked(opened, tmp_path) -> None:
    python = tmp_path / "python3"
    python.touch()
    opened.ui.enginePythonLineEdit.currentPath = str(python)
    opened.app.process(40)
    assert opened.double.checked == [str(python)]
    opened.double.say("checked", python=SimpleNamespace(problem="This Python 3.9 is too old."))
    opened.app.process(80)
    assert "too old" in opened.ui.engineDetailsLabel.text


# ---------------------------------------------------------------- into Slicer's own Python

def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """A package with nothing in it."""
    about, kept = f"{name}-{version}.dist-info", f"Requires-Dist: {needs}\n" if needs else ""
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{kept}")
        file.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{about}/RECORD", "")


@pytest.fixture
def into_slicer(opened, tmp_path, monkeypatch):
    """The tick is set; pip takes packages from a folder and puts them into another one; the engine lacks one package."""
    shelf, place, programs = tmp_path / "shelf", tmp_path / "place", tmp_path / "bin"
    for folder in (shelf, place, programs):
        folder.mkdir()
    launcher = programs / "PythonSlicer"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    for name, value in {"NO_INDEX": "1", "FIND_LINKS": str(shelf), "TARGET": str(place), "DISABLE_PIP_VERSION_CHECK": "1"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.syspath_prepend(str(place))
    wanted = ["numpy", "ctr-probe==1.0"]
    monkeypatch.setattr("ctreasoner.panel.hosting.host_requirements", lambda: wanted)
    monkeypatch.setattr("ctreasoner.panel.hosting.engine_packages", lambda: (Package("ctr-probe", "1.0", "MIT"),))
    monkeypatch.setattr(slicerapp.CoreApplication, "testing", False)
    opened.asked = []
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, *_more, **_options: opened.asked.append(text) or True)
    opened.shelf, opened.launcher, opened.ui.hostPythonCheckBox.checked = shelf, launcher, True
    return opened


def started(opened) -> str:
    for _ in range(2):
        host.click(opened.ui.installButton)
        opened.app.process(60)
    return opened.ui.engineDetailsLabel.text


def test_slicer_s_own_python_is_only_touched_where_that_was_chosen_and_said(into_slicer) -> None:
    wheel(into_slicer.shelf, "ctr_probe", "1.0")
    host.click(into_slicer.ui.installButton)
    into_slicer.app.process(60)
    words = into_slicer.ui.engineDetailsLabel.text
    assert "ctr-probe 1.0: MIT" in words and "numpy" not in words and "stays as it is" in words and "MB" in words
    assert into_slicer.ui.installButton.text == "Start installing" and not into_slicer.asked and not into_slicer.double.started
    into_slicer.ui.hostPythonCheckBox.checked = False        # the other place: planned anew
    into_slicer.app.process(60)
    assert into_slicer.ui.installButton.text == "Install the engine …"


def test_packages_are_added_with_a_constraint_for_everything_that_is_there(into_slicer) -> None:
    wheel(into_slicer.shelf, "ctr_probe", "1.0")
    started(into_slicer)
    assert importlib.metadata.version("ctr-probe") == "1.0" and len(into_slicer.asked) == 1
    name, (wanted,), options = slicer.packaging.calls[-1]
    assert (name, wanted, options["requester"]) == ("pip_ensure", ["ctr-probe==1.0"], "CTReasoner")
    assert f"numpy=={importlib.metadata.version('numpy')}" in Path(options["constraints"]).read_text().splitlines()
    assert into_slicer.ui.enginePythonLineEdit.currentPath == into_slicer.box.python == str(into_slicer.launcher)
    assert into_slicer.double.checked == [str(into_slicer.launcher)]
    into_slicer.ui.enginePythonLineEdit.currentPath = ""


def test_what_would_replace_a_package_of_slicer_s_is_given_up(into_slicer) -> None:
    wheel(into_slicer.shelf, "numpy", "1.0")
    wheel(into_slicer.shelf, "ctr_probe", "1.0", needs="numpy==1.0")
    assert "do not go with those of Slicer" in started(into_slicer)
    assert list(into_slicer.shelf.parent.joinpath("place").iterdir()) == [] and into_slicer.box.python != str(into_slicer.launcher)
    assert "install: CTR-INS-004" in into_slicer.box.install._log.text() and into_slicer.ui.installButton.enabled


def test_declined_testing_mode_older_slicer_and_no_launcher_are_said(into_slicer, monkeypatch) -> None:
    wheel(into_slicer.shelf, "ctr_probe", "1.0")
    with monkeypatch.context() as patch:
        patch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *_texts, **_options: False)
        assert started(into_slicer) == "Nothing was installed."
    with monkeypatch.context() as patch:
        patch.setattr(slicerapp.CoreApplication, "testing", True)
        assert "still lacks packages" in started(into_slicer)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "slicer.packaging", None)
        assert "began with 5.12" in started(into_slicer)
    into_slicer.launcher.unlink()
    assert "PythonSlicer" in started(into_slicer)
