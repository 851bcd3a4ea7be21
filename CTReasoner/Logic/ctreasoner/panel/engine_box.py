"""The engine as a person sees it: which one, is it there, is it running, how to get it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..client.install import installed_python
from ..client.local import LocalEngine
from ..errors import CTReasonerError
from .hints import hint_for
from .installing import InstallBox
from .log import Log
from .recorded import RecordedEngine, Recording
from .server_box import ServerBox

LOCAL, RECORDED, SERVER = 0, 1, 2
PYTHON_KEY = "CTReasoner/EnginePython"


class EngineBox:
    """Makes the engine that is chosen, shows its state, starts and ends it.

    Parameters
    ----------
    ui : the widgets of the panel.
    recordings : folder with one folder for each recording.
    on_exchanged : called with the new engine after another one was chosen; the old one is closed already.
    log : gets what is done, and codes.
    """

    def __init__(self, ui: Any, recordings: Path, on_exchanged: Callable[[Any], None], log: Log) -> None:
        self._ui, self._recordings, self._on_exchanged, self._log = ui, recordings, on_exchanged, log
        self._engine: Any = None
        self._given = False
        self.message: dict[str, Any] = {}
        ui.enginePythonLineEdit.currentPath = str(slicer.util.settingsValue(PYTHON_KEY, "") or "")
        self.install = InstallBox(ui, self._installed, log)
        self.server = ServerBox(ui, self._exchange, log)
        ui.engineKindComboBox.connect("currentIndexChanged(int)", self._kind_chosen)
        ui.enginePythonLineEdit.connect("currentPathChanged(QString)", self._python_chosen)
        ui.engineButton.connect("clicked()", self.start)
        ui.restartButton.connect("clicked()", self.restart)

    # ------------------------------------------------------------ which
    @property
    def is_recorded(self) -> bool:
        return not self._given and self._ui.engineKindComboBox.currentIndex == RECORDED

    @property
    def is_elsewhere(self) -> bool:
        """Whether a server is to answer."""
        return not self._given and self._ui.engineKindComboBox.currentIndex == SERVER

    @property
    def python(self) -> str:
        """The interpreter that was chosen, else that of the engine that was installed, "" for none."""
        chosen = str(self._ui.enginePythonLineEdit.currentPath or "").strip()
        return chosen or str(installed_python() or "")

    @property
    def is_there(self) -> bool:
        """Whether an engine can be started at all."""
        if self.is_elsewhere:
            return self.server.is_named
        return self._given or self.is_recorded or (bool(self.python) and os.path.isfile(self.python))

    @property
    def lack(self) -> tuple[str, str]:
        """Why there is none to start, and what to do about it."""
        if self.is_elsewhere:
            return _("No server is named."), _("Give its address in the section Engine.")
        return _("The engine is not installed."), _("Install it in the section Engine, or choose the recorded answer there.")

    @property
    def engine(self) -> Any:
        """The engine that is chosen, made on first use. CTReasonerError where it cannot be made."""
        if self._engine is None:
            self._engine = self._made()
        return self._engine

    @property
    def running(self) -> Any:
        """The engine that was made, or None."""
        return self._engine

    def recordings(self) -> list[Recording]:
        """The recordings that are installed."""
        found = []
        for folder in sorted(self._recordings.glob("*/recording.json")):
            try:
                found.append(Recording.read(folder.parent))
            except CTReasonerError as error:
                self._log.add_problem("recording", error.code)
        return found

    def use(self, engine: Any) -> None:
        """Use an engine that the caller made."""
        self.close()
        self._engine, self._given = engine, True
        self._on_exchanged(engine)
        self.show()

    # ------------------------------------------------------------ doing
    def start(self) -> None:
        """Start the engine, or lead to where one can be had."""
        if not self.is_there:
            self._ui.engineSection.collapsed = False
            self.show()
            return
        try:
            self.engine.start()
        except CTReasonerError as error:
            self.message = {"sentence": str(error), "hint": error.hint, "code": error.code}
            self._log.add_problem("engine", error.code)
        self.show()

    def restart(self) -> None:
        """End the engine and start it again."""
        if self._engine is not None:
            self._engine.restart()
        self.start()

    def step(self) -> None:
        """Take what an installation says."""
        if any([self.install.step(), self.server.step()]):
            self.show()

    def close(self) -> None:
        """End the engine; its process and its files are gone afterwards."""
        engine, self._engine, self._given = self._engine, None, False
        if engine is not None:
            engine.close()

    def state_message(self, facts: dict[str, Any]) -> None:
        """Take a message of kind "state"."""
        self.message = {**facts, "hint": hint_for(facts.get("code", ""), facts.get("hint", ""))}
        self._log.add(f"engine: {facts.get('state', '')}")
        if facts.get("code"):
            self._log.add_problem("engine", facts["code"])
        self.show()

    # ------------------------------------------------------------ showing
    def show(self) -> None:
        """Bring labels and buttons up to date."""
        ui, state = self._ui, self._engine.state if self._engine is not None else "stopped"
        ui.engineStateLabel.text = self._sentence(state)
        ui.engineButton.visible = state in ("stopped", "failed")
        ui.engineButton.text = _("Start") if self.is_there else _("Name it …") if self.is_elsewhere else _("Get it …")
        ui.restartButton.enabled = self._engine is not None
        for name in ("enginePythonLabel", "enginePythonLineEdit", "hostPythonCheckBox", "installButton"):
            getattr(ui, name).visible = not self.is_elsewhere
        ui.enginePythonLineEdit.enabled = not self.is_recorded
        self.server.show(self.is_elsewhere)
        said = self.server.words if self.is_elsewhere else self.install.words
        ui.engineDetailsLabel.text = said or self._details()

    def _sentence(self, state: str) -> str:
        said = " ".join(p for p in (self.message.get("sentence", ""), self.message.get("hint", "")) if p)
        if not self.is_there:
            return self.lack[0] if self.is_elsewhere else _("Not installed. Recorded answers can be replayed.")
        if state == "failed" or (self.message.get("silent_s") and state in ("busy", "starting")):
            return said or _("The engine failed.")
        if state == "stopped":
            return said if self.message.get("code") else _("Starts with the first question.")
        words = {"starting": _("Starting …"), "ready": _("Ready"), "busy": _("Answering …")}[state]
        name = str((self._engine.model or {}).get("name", "")) if self._engine is not None else ""
        return f"{words} ({name})" if name and state != "starting" else words

    def _details(self) -> str:
        model = dict(self._engine.model or {}) if self._engine is not None else {}
        if model:
            shown = ("name", "version", "hash", "parameters", "size_mb", "licence")
            return "\n".join(f"{key}: {model[key]}" for key in shown if model.get(key))
        if self.is_recorded:
            names = [r.name for r in self.recordings()]
            return _("Replays an answer that was recorded before, marked as recording: {names}.").format(names=", ".join(names)) \
                if names else _("No recording is installed.")
        if self.is_elsewhere:
            return _("The CT and your questions are sent to this server, without anything else that a DICOM file holds. The token "
                     "is not kept when Slicer ends.")
        return _("Name, size and licence of the model show here when the engine runs. Without an engine you can replay the "
                 "recorded answer, read old answers, and use the findings of a saved scene.")

    def _made(self) -> Any:
        if self.is_recorded:
            found = self.recordings()
            if not found:
                raise CTReasonerError(_("No recording is installed."), code="CTR-REC-001", hint=_("Install the extension again."))
            return RecordedEngine(found[0])
        if self.is_elsewhere:
            return self.server.engine()
        return LocalEngine(self.python, environment=dict(slicer.util.startupEnvironment()))

    def _kind_chosen(self, _index: int) -> None:
        self._exchange()

    def _python_chosen(self, path: str) -> None:
        qt.QSettings().setValue(PYTHON_KEY, path)
        self._exchange()
        if os.path.isfile(path):
            self.install.check(path)

    def _installed(self, _python: str) -> None:
        """An engine was installed: it is the one that is used now."""
        if self._ui.enginePythonLineEdit.currentPath != "":
            self._ui.enginePythonLineEdit.currentPath = ""      # the installed one is found without being named
        else:
            self._exchange()
        self._log.add("engine: installed")

    def _exchange(self) -> None:
        self.close()
        self.message = {}
        self._on_exchanged(None)
        self.show()
