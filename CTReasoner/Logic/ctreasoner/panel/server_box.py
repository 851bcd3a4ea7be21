"""A server in the place of the engine on this computer: its address, a token, and whether it can be used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from ..client.remote import RemoteEngine
from ..client.wire import Wire
from ..errors import CTReasonerError
from .hints import hint_for
from .log import Log

ADDRESS_KEY, CERTIFICATE_KEY = "CTReasoner/ServerAddress", "CTReasoner/ServerCertificate"


class ServerBox:
    """The fields of a server and the button "Test connection". The token is kept nowhere: it goes with the panel.

    Parameters
    ----------
    ui : the widgets of the panel.
    on_changed : called when another server, or another token, was given.
    log : gets that a connection was tested, and codes; no address.
    """

    def __init__(self, ui: Any, on_changed: Callable[[], None], log: Log) -> None:
        self._ui, self._on_changed, self._log = ui, on_changed, log
        self.words = ""                 # what the section shows in the place of the model's details
        self._answers: queue.Queue[tuple[tuple[str, str, str], str, str]] = queue.Queue()
        ui.serverAddressLineEdit.text = str(slicer.util.settingsValue(ADDRESS_KEY, "") or "")
        ui.serverCertificateLineEdit.currentPath = str(slicer.util.settingsValue(CERTIFICATE_KEY, "") or "")
        self._given = self.given
        ui.serverAddressLineEdit.connect("editingFinished()", self._edited)
        ui.serverTokenLineEdit.connect("editingFinished()", self._edited)
        ui.serverCertificateLineEdit.connect("currentPathChanged(QString)", self._certificate_chosen)
        ui.testButton.connect("clicked()", self.test)

    @property
    def given(self) -> tuple[str, str, str]:
        """Address, token and file of the certificate as they stand in the fields."""
        ui = self._ui
        return (str(ui.serverAddressLineEdit.text).strip(), str(ui.serverTokenLineEdit.text).strip(),
                str(ui.serverCertificateLineEdit.currentPath or "").strip())

    @property
    def is_named(self) -> bool:
        """Whether there is an address at all."""
        return bool(self.given[0])

    def engine(self) -> RemoteEngine:
        """Return an engine at that server, not connected yet. UsageError (CTR-NET-010) for an address that is none."""
        address, token, certificate = self.given
        return RemoteEngine(address, token, certificate=certificate or None)

    def test(self) -> None:
        """Find out, beside the window, whether the server can be used; `step` takes what comes of it."""
        given = self.given
        try:
            wire = Wire(given[0], given[1], certificate=given[2] or None)
        except CTReasonerError as error:
            self.words = _told(error)
            self._log.add_problem("server", error.code)
        else:
            self.words = _("Asking the server …")
            threading.Thread(target=self._ask, args=(wire, given), daemon=True, name="ctreasoner-test").start()
        self._ui.engineDetailsLabel.text = self.words

    def _ask(self, wire: Wire, given: tuple[str, str, str]) -> None:
        try:
            self._answers.put((given, _found(wire.check()), ""))
        except CTReasonerError as error:
            self._answers.put((given, _told(error), error.code))

    def step(self) -> bool:
        """Take the answers to tests; returns whether there was one. What was asked of another server is dropped."""
        taken = False
        while not self._answers.empty():
            given, words, code = self._answers.get()
            if given == self.given:
                self.words, taken = words, True
                self._log.add_problem("server", code) if code else self._log.add("server: can be used")
        return taken

    def show(self, is_chosen: bool) -> None:
        """Show the fields where a server is to answer."""
        ui = self._ui
        for name in ("serverAddressLabel", "serverAddressLineEdit", "serverTokenLabel", "serverTokenLineEdit",
                     "serverCertificateLabel", "serverCertificateLineEdit", "testButton"):
            getattr(ui, name).visible = is_chosen
        ui.testButton.enabled = self.is_named

    def _certificate_chosen(self, path: str) -> None:
        qt.QSettings().setValue(CERTIFICATE_KEY, path)
        self._edited()

    def _edited(self) -> None:
        if self.given != self._given:
            self._given, self.words = self.given, ""
            qt.QSettings().setValue(ADDRESS_KEY, self.given[0])
            self._on_changed()


def _found(info: dict[str, Any]) -> str:
    model = info.get("model") or {}
    lines = [_("The server answers: CTReasoner {version}.").format(version=info.get("version", "?"))]
    if info.get("engine") == "starting":
        lines.append(_("Its model is being loaded."))
    lines += [f"{key}: {model[key]}" for key in ("name", "version", "hash", "parameters", "size_mb", "licence") if model.get(key)]
    if info.get("waiting"):
        lines.append(_("Questions that wait there: {count}").format(count=info["waiting"]))
    return "\n".join(lines)


def _told(error: CTReasonerError) -> str:
    return " ".join(words for words in (str(error), hint_for(error.code, error.hint)) if words)
