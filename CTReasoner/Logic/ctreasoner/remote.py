"""A server in the place of a loaded model: the methods of `Reasoner`, without torch on this computer.

>>> client = Client("http://127.0.0.1:8642")                              # doctest: +SKIP
>>> client.ask("ct.nii.gz", "Segment the aorta.").text                    # doctest: +SKIP
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .client.wire import WORK_S, Wire
from .errors import InputError
from .events import Event, Request
from .reasoner import Reasoner

if TYPE_CHECKING:
    from .geometry import Volume


class Client(Reasoner):
    """Asks a server (`ctreasoner serve`). A CT is sent once; a path is sent as it is and read over there.

    Parameters are those of `client.wire.Wire`.
    """

    def __init__(self, url: str, token: str = "", *, certificate: str | os.PathLike | None = None) -> None:
        self.wire = Wire(url, token, certificate=certificate)
        super().__init__(_Far(self.wire))

    def info(self) -> dict[str, Any]:
        """Return the server's version, model and limits; raises why it cannot be used."""
        return self.wire.check()

    def register(self, volume: Volume | str | Path) -> str:
        """Send a CT where the server lacks it and return its id there, which ``Request.volume`` takes.

        Raises
        ------
        CTReasonerError : what the server says of the file, or why it cannot be reached.
        """
        if not isinstance(volume, (str, Path)):
            return super().register(volume)
        path = Path(volume)
        if not path.exists():
            raise InputError(f"There is no file or folder '{path.name}'.", code="CTR-IO-001")
        return self.wire.send_file(path)

    def fetch(self, study: str, series: str) -> str:
        """Have the server fetch a series (its UID or number) from its archive; return the CT's id there, as ``register`` does."""
        return self.wire.call("POST", "/v1/references", {"study": study, "series": series}, timeout_s=WORK_S)["id"]

    def inside(self, volume: Volume | str | Path) -> dict[str, tuple[str, float]]:
        """Return {object key: (state, probability)} of what a CT shows, as ``Reasoner.inside`` does."""
        path, shown = f"/v1/volumes/{self.register(volume)}/objects", {"is_whole": False}
        while not shown["is_whole"]:        # something was asked meanwhile: it goes on from there
            shown = self.wire.call("GET", path, timeout_s=WORK_S)
        return {key: (state, probability) for key, (state, probability) in shown["states"].items()}

    def export(self, volume: Volume | str | Path, folder: str | Path, *, conversation: str = "default") -> dict[str, str]:
        """Write everything about a conversation (masks, segmentation, DICOM, report) to a folder; return {what: path in it}."""
        talk = self.wire.conversation(self.register(volume), conversation)
        return self.wire.export(talk, Path(folder))[0]

    def forget(self, volume: Volume | str | Path) -> None:
        """Have the server delete a CT with all that was answered about it, now."""
        self.wire.call("DELETE", f"/v1/volumes/{self.register(volume)}")


class _Far:
    """What `Reasoner` needs of an engine, over HTTP."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def register(self, volume: Volume) -> str:
        return self._wire.send_volume(volume)

    def answer(self, request: Request, *, workspace: Path | None = None) -> Iterator[Event]:
        folder = Path(workspace) if workspace else Path(tempfile.mkdtemp(prefix="ctreasoner-"))
        yield from self._wire.ask(request, request.volume, folder)
