"""Installing the engine from the panel: said first, with progress, cancelled, failed, done. An installer double does the work."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import host
import pytest
from ctreasoner.client.local import Message
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
