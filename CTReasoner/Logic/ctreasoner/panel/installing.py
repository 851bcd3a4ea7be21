"""Getting the engine: what would be done is said first, then done with progress, and can be cancelled."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from ..client.install import Installer
from ..errors import CTReasonerError
from . import hosting
from .log import Log

QUIET = ("idle", "ready", "failed", "cancelled", "checked")


class InstallBox:
    """The buttons "Install the engine" (then "Start installing") and "Cancel" and what they tell.

    Parameters
    ----------
    ui : the widgets of the panel.
    on_python : called with the path of a Python that has the engine now.
    log : gets the steps, and codes.
    make : makes the `Installer`.
    """

    def __init__(self, ui: Any, on_python: Callable[[str], None], log: Log,
                 make: Callable[[], Installer] | None = None) -> None:
        self._ui, self._on_python, self._log = ui, on_python, log
        self._make = make or _installer
        self._installer: Installer | None = None
        self._plan: Any = None
        self.words = ""                 # what the section shows in the place of the model's details
        self.state = "idle"
        self._is_given_up = False
        ui.installButton.connect("clicked()", self.next)
        ui.cancelInstallButton.connect("clicked()", self.cancel)
        ui.hostPythonCheckBox.connect("toggled(bool)", self._place_chosen)
        ui.engineSection.connect("contentsCollapsed(bool)", self._folded)
        self.show()

    @property
    def installer(self) -> Installer:
        """Made on first use."""
        if self._installer is None:
            self._installer = self._make()
        return self._installer

    def next(self) -> None:
        """Say what would be done, or do it when that stands there."""
        if self._ui.hostPythonCheckBox.checked:
            self._next_in_slicer()
        elif self.state == "planned" and self._plan is not None and not self._plan.problem:
            self.installer.start(self._plan)
        else:
            self._plan = None
            self.installer.look()

    def _next_in_slicer(self) -> None:
        """The same two steps for Slicer's own Python, where Slicer's dialogs ask and show the progress."""
        was_planned, self.state, self._plan = self.state == "planned", "planned", None
        try:
            if not was_planned:
                self.words = "\n".join([_("Start installing does this:"), *hosting.plan_lines()])
            else:
                self.state, self.words = "idle", ""
                self._ui.enginePythonLineEdit.currentPath = str(hosting.install())
                self._log.add("install: into Slicer's own Python")
        except CTReasonerError as error:
            self.state, self.words = "failed", f"{error} {error.hint}".strip()
            self._log.add_problem("install", error.code)
        self.show()

    def _place_chosen(self, _into_slicer: bool) -> None:
        """What was planned was planned for the other place."""
        if self.state == "planned":
            self.cancel()

    def check(self, python: str) -> None:
        """Find out whether a Python that a person chose can run the engine."""
        if not self.installer.is_busy:
            self.installer.check(python)

    def cancel(self) -> None:
        """Give up the plan, or end the installation; what it made is removed."""
        if self.state == "planned":
            self._plan, self.state, self.words, self._is_given_up = None, "idle", "", True
            self.show()
        elif self._installer is not None:
            self._installer.cancel()

    def step(self) -> bool:
        """Take what the installer says; returns whether there was anything."""
        messages = self._installer.poll() if self._installer is not None else []
        for message in messages:
            self._take(message.facts)
        changed, self._is_given_up = bool(messages) or self._is_given_up, False
        return changed

    def close(self) -> None:
        """End an installation that runs."""
        if self._installer is not None:
            self._installer.close()

    def _take(self, facts: dict[str, Any]) -> None:
        self.state = facts["state"]
        handler = getattr(self, f"_on_{self.state}", None)
        if handler is not None:
            handler(facts)
        if self.state != "installing":
            self._log.add(f"install: {self.state}")
            code = facts.get("code") or getattr(facts.get("plan"), "problem", {}).get("code", "")
            if code:
                self._log.add_problem("install", code)
        self.show()

    def _on_looking(self, _facts: dict[str, Any]) -> None:
        self.words = _("Looking at this computer …")

    def _on_planned(self, facts: dict[str, Any]) -> None:
        self._plan = plan = facts["plan"]
        if plan.problem:
            self.words = f"{plan.problem['sentence']} {plan.problem['hint']}"
        else:
            self.words = "\n".join([_("Start installing does this:"), *plan.lines])

    def _on_checked(self, facts: dict[str, Any]) -> None:
        self.words = facts["python"].problem

    def _on_installing(self, facts: dict[str, Any]) -> None:
        if facts.get("of"):
            steps = _("Step {step} of {of}: {name}, {seconds} s").format(
                step=facts["step"], of=facts["of"], name=facts["name"], seconds=round(facts.get("seconds", 0)))
            self.words = f"{steps}\n{str(facts.get('line', ''))[:160]}"
            self._ui.installProgressBar.maximum = facts["of"]
            self._ui.installProgressBar.value = facts["step"] - 1

    def _on_cancelling(self, _facts: dict[str, Any]) -> None:
        self.words = _("Cancelling; what was installed is being removed …")

    def _on_cancelled(self, _facts: dict[str, Any]) -> None:
        self.words = _("Cancelled. Nothing was left behind.")

    def _on_failed(self, facts: dict[str, Any]) -> None:
        self.words = f"{facts.get('sentence', '')} {facts.get('hint', '')}".strip()

    def _on_ready(self, facts: dict[str, Any]) -> None:
        self.words = ""
        self._on_python(str(facts["python"]))

    def show(self) -> None:
        """Bring the buttons up to date."""
        ui, runs = self._ui, self.state not in (*QUIET, "planned")
        can_be = ui.hostPythonCheckBox.checked or (self._plan is not None and not self._plan.problem)
        can_start = self.state == "planned" and can_be
        ui.installButton.text = _("Start installing") if can_start else _("Install the engine …")
        ui.installButton.enabled = ui.hostPythonCheckBox.enabled = not runs
        ui.cancelInstallButton.visible = runs or self.state == "planned"
        ui.installProgressBar.visible = self.state in ("installing", "cancelling")
        if self.words:
            ui.engineDetailsLabel.text = self.words

    def _folded(self, is_folded: bool) -> None:
        if not is_folded:
            self.show()


def _installer() -> Installer:
    """An installer for this Slicer: in the environment in which it was started, with its Python's pip where there is no other."""
    launcher = shutil.which("PythonSlicer")
    return Installer(environment=dict(slicer.util.startupEnvironment()), host_python=Path(launcher) if launcher else None)
