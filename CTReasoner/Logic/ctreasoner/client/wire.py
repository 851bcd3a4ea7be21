"""The server's API as a program on another computer uses it: standard library and numpy, one connection for each request.

Nothing is sent before somebody names a server, and nothing but to that server.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import json
import os
import shutil
import socket
import ssl
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from ..checked import plain
from ..errors import CTReasonerError, NetworkError, ResourceError, UsageError, error_of
from ..events import LAST_EVENTS, Event, Mask, Request, from_json
from ..geometry import Volume
from .protocol import PROTOCOL

TIMEOUT_S = 60.0  # of silence; while it answers, the server says something each 15 seconds
WORK_S = 1800.0  # while it reads a CT, or waits to write and writes files, it says nothing
PIECE = 4 << 20
AGAIN_S = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)  # pauses before an answer that was cut off is gone on with
CUT = (OSError, http.client.HTTPException)
RAS = "right-anterior-superior"
HINT = "Check the address, and that the server runs."


class Wire:
    """One server.

    Parameters
    ----------
    url : "https://host:port", or "http://" for this very computer. A path in front of the API is kept.
    token : as `ctreasoner serve token add` printed it; none is needed on loopback.
    certificate : PEM file of whoever signed the server's certificate, if the system does not know them.

    Raises
    ------
    UsageError : CTR-NET-010 for an address that is none, or that would send CT and token unencrypted to another computer.
    """

    def __init__(self, url: str, token: str = "", *, certificate: str | os.PathLike | None = None) -> None:
        try:
            parts = urlsplit(url.strip().rstrip("/"))
            self.host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts, self.host = urlsplit(""), ""
        if parts.scheme not in ("http", "https") or not self.host or not token.isascii() or any(c.isspace() for c in token):
            raise UsageError("The address of a server looks like https://host:8642.", code="CTR-NET-010")
        if parts.scheme == "http" and self.host not in ("localhost", "::1") and not self.host.startswith("127."):
            raise UsageError(
                f"CTs are sent to {self.host} encrypted or not at all: its address begins with https://.", code="CTR-NET-010"
            )
        self._path, self._token = parts.path, token
        try:
            self._tls = ssl.create_default_context(cafile=certificate) if parts.scheme == "https" else None
        except (OSError, ssl.SSLError) as error:
            raise UsageError("The file with the server's certificate cannot be read.", code="CTR-NET-010") from error

    # ------------------------------------------------------------ requests
    def call(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> Any:
        """Send JSON (or `body`) and return the JSON that comes back, bytes where it is something else, or None."""
        sent = dict(headers or {})
        if content is not None:
            body, sent["Content-Type"] = json.dumps(content, allow_nan=False).encode(), "application/json"
        with self._answer(method, path, body, sent, timeout_s) as response:
            is_json = response.headers.get_content_type() == "application/json"
            try:
                read = response.read()
            except CUT as error:
                raise _unreachable(error, self.host) from error
        try:
            return json.loads(read) if is_json and read else read or None
        except ValueError as error:
            raise foreign(self.host) from error

    @contextmanager
    def _answer(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float = TIMEOUT_S
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield a response that is no refusal; a refusal is raised as the error that it stands for."""
        kind = http.client.HTTPConnection if self._tls is None else http.client.HTTPSConnection
        settings = {} if self._tls is None else {"context": self._tls}
        connection = kind(self.host, self._port, timeout=timeout_s, **settings)
        sent = {"Authorization": f"Bearer {self._token}", **headers} if self._token else dict(headers)
        try:
            try:
                connection.request(method, self._path + path, body, sent)
                response = connection.getresponse()
                if response.status >= 400:
                    raise _refusal(response, self.host)
            except CUT as error:
                raise _unreachable(error, self.host) from error
            yield response
        finally:
            connection.close()

    def check(self) -> dict[str, Any]:
        """Return the server's info; raise the sentence that says why it cannot be used."""
        info = self.call("GET", "/v1/info")
        if not isinstance(info, dict) or "protocol" not in info:
            raise foreign(self.host)
        if info["protocol"] != PROTOCOL:
            raise NetworkError(
                f"The server speaks version {info['protocol']} of the protocol, this program version {PROTOCOL}.",
                code="CTR-NET-013",
                hint=f"The server is CTReasoner {info.get('version')}: use that version here.",
            )
        return info

    # ------------------------------------------------------------ CTs
    def send_volume(self, volume: Volume, on_progress: Callable[[int, int], None] = lambda done, of: None) -> str:
        """Send a CT where the server lacks it, packed; return its id there."""
        known = self._known(volume.identity)
        if known:
            return known
        with tempfile.TemporaryDirectory(prefix="ctreasoner-") as folder:
            file = Path(folder) / "ct.nrrd"
            write_nrrd(volume, file)
            return self._send(file, on_progress, identity=volume.identity)

    def send_file(self, path: Path, on_progress: Callable[[int, int], None] = lambda done, of: None) -> str:
        """Send a file as it is, or the files of a folder in a zip, under numbers; return the CT's id there."""
        if path.is_dir():
            with tempfile.TemporaryDirectory(prefix="ctreasoner-") as folder:
                return self._send(_zipped(path, Path(folder) / "series.zip"), on_progress)
        return self._send(path, on_progress)

    def _known(self, identity: str) -> str:
        try:
            return self.call("GET", f"/v1/volumes/{identity}")["id"]
        except NotThere:
            return ""

    def _send(self, file: Path, on_progress: Callable[[int, int], None], identity: str | None = None) -> str:
        with open(file, "rb") as content:
            new = {"size": os.path.getsize(file), "sha256": hashlib.file_digest(content, "sha256").hexdigest(), "volume": identity}
            end = time.monotonic() + WORK_S
            while True:
                begun = self.call("POST", "/v1/uploads", new)
                if begun["volume"]:
                    return begun["volume"]["id"]
                upload = f"/v1/uploads/{begun['upload']['id']}"
                try:
                    self._send_pieces(upload, content, begun["upload"], on_progress)
                    return self.call("POST", f"{upload}/finish", timeout_s=WORK_S)["id"]
                except (Conflict, NotThere):  # another program sends the same file, or has just finished to
                    if time.monotonic() > end:
                        raise
                    time.sleep(AGAIN_S[1])

    def _send_pieces(self, upload: str, content: Any, state: dict[str, Any], on_progress: Callable[[int, int], None]) -> None:
        """Send what is missing; after a cut, ask where to go on. A piece that gets nowhere six times is given up."""
        offset, size, failures = state["offset"], state["size"], 0
        while offset < size:
            content.seek(offset)
            piece = content.read(min(PIECE, state["chunk"]))
            try:
                end = self.call(
                    "PATCH", upload, body=piece, headers={"Upload-Offset": str(offset), "Content-Type": "application/octet-stream"}
                )["offset"]
            except (NetworkError, Conflict):
                if failures == len(AGAIN_S):
                    raise
                time.sleep(AGAIN_S[failures])
                end = self.call("GET", upload)["offset"]
            failures = 0 if end > offset else failures + 1
            offset = end
            on_progress(offset, size)

    # ------------------------------------------------------------ questions
    def conversation(self, volume: str, name: str) -> str:
        """Return the id of the conversation with this name about a CT."""
        return self.call("POST", "/v1/conversations", {"volume": volume, "name": name})["id"]

    def send_edited(self, conversation: str, key: str, crop: np.ndarray, first_voxel: Sequence[int]) -> None:
        """Send a mask that a person changed."""
        bits = base64.b64encode(zlib.compress(np.packbits(crop > 0).tobytes(), 1)).decode("ascii")
        self.call(
            "PUT",
            f"/v1/conversations/{conversation}/edited/{quote(key)}",
            {"first_voxel": [int(n) for n in first_voxel], "shape": list(crop.shape), "bits": bits},
        )

    def ask(
        self,
        request: Request,
        volume: str,
        workspace: Path,
        *,
        answered: int = 0,
        known: Mapping[str, str] | None = None,
        on_begun: Callable[[str], None] = lambda question: None,
    ) -> Iterator[Event]:
        """Yield the events of an answer; masks lie in `workspace` when their event comes. Close it to cancel.

        `on_begun` gets the question's id, for `cancel` from another thread.
        """
        content = {**plain(request), "volume": volume, "answered": answered, "known": dict(known or {})}
        question, over = "", False
        try:
            with self._answer(
                "POST", "/v1/questions", json.dumps(content, allow_nan=False).encode(), {"Content-Type": "application/json"}
            ) as response:
                question = response.headers.get("Location", "").rpartition("/")[2]
                conversation = response.headers.get("Conversation", "")
                on_begun(question)
                for event in self._events(question, response):
                    if isinstance(event, Mask):
                        self._fetch_mask(conversation, event, workspace)
                    over = isinstance(event, LAST_EVENTS)
                    yield event
        finally:
            if question and not over:
                self.cancel(question)

    def _events(self, question: str, response: http.client.HTTPResponse) -> Iterator[Event]:
        """Yield events to the last, over as many connections as it takes."""
        last, failures = -1, 0
        source: Any = _nothing(response)
        while True:
            try:
                with source as stream:
                    for event in _read_events(stream):
                        last, failures = event.seq, 0
                        yield event
                        if isinstance(event, LAST_EVENTS):
                            return
            except (*CUT, NetworkError) as error:
                if failures == len(AGAIN_S):
                    raise error if isinstance(error, CTReasonerError) else _unreachable(error, self.host) from error
            if failures == len(AGAIN_S):
                raise NetworkError("The answer was cut off, and cannot be gone on with.", code="CTR-NET-012", hint="Ask again.")
            time.sleep(AGAIN_S[failures])
            failures += 1
            source = self._answer("GET", f"/v1/questions/{question}/events", None, {"Last-Event-ID": str(last)})

    def cancel(self, question: str) -> None:
        """Have an answer stopped. A server that is gone has stopped it."""
        try:
            self.call("DELETE", f"/v1/questions/{question}")
        except NetworkError:
            pass

    def _fetch_mask(self, conversation: str, event: Mask, workspace: Path) -> None:
        bits = self.call("GET", f"/v1/conversations/{conversation}/masks/{quote(event.path, safe='')}") or b""
        count = int(np.prod(event.shape))
        target = (workspace / event.path).resolve()
        if len(bits) != (count + 7) // 8 or not target.is_relative_to(workspace.resolve()):
            raise foreign(self.host)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, np.unpackbits(np.frombuffer(bits, np.uint8), count=count).reshape(event.shape))
        except OSError as error:
            raise ResourceError(
                "A mask could not be written.", code="CTR-RES-001", hint="Free some space in the folder for temporary files."
            ) from error

    def export(self, conversation: str, folder: Path, **wanted: Any) -> tuple[dict[str, str], list[str]]:
        """Have everything written by the server and unpacked into `folder`; return {what: path relative to it} and notes.

        wanted : rejected, dicom and accepted_by, as for `LocalEngine.export`.
        """
        done = self.call("POST", f"/v1/conversations/{conversation}/export", wanted, timeout_s=WORK_S)
        with tempfile.TemporaryFile() as file:
            with self._answer("GET", f"/v1/conversations/{conversation}/export.zip", None, {}) as response:
                try:
                    shutil.copyfileobj(response, file)
                except CUT as error:
                    raise _unreachable(error, self.host) from error
            _unpack(file, folder, self.host)
        return done["files"], done["notes"]


class NotThere(CTReasonerError):
    """404: not there, or another user's."""


class Conflict(CTReasonerError):
    """409: not in this state."""


def write_nrrd(volume: Volume, path: Path) -> None:
    """Write a CT as one packed NRRD, from which exactly its voxels and affine are read again."""
    kind = {"int16": "short", "float32": "float"}[volume.voxels.dtype.name]
    vectors = [f"({','.join(repr(float(v)) for v in volume.affine[:3, a])})" for a in range(4)]
    header = [
        "NRRD0004",
        f"type: {kind}",
        "dimension: 3",
        f"space: {RAS}",
        f"sizes: {' '.join(map(str, volume.shape))}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]
    try:
        with open(path, "wb") as file:
            file.write(("\n".join(header) + "\n\n").encode("ascii"))
            with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=1, mtime=0) as packed:
                for k in range(volume.shape[2]):
                    packed.write(
                        np.ascontiguousarray(volume.voxels[:, :, k].T).astype(volume.voxels.dtype.newbyteorder("<")).tobytes()
                    )
    except OSError as error:
        raise ResourceError(
            "The CT could not be packed for the server.",
            code="CTR-RES-001",
            hint="Free some space in the folder for temporary files.",
        ) from error


def _zipped(folder: Path, target: Path) -> Path:
    """Pack the files of a folder under numbers, since their names may be a patient's; the same files give the same bytes."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file()), start=1):
            info = zipfile.ZipInfo(f"{number:06d}{path.suffix if path.suffix.isalnum() else ''}")
            info.compress_type = zipfile.ZIP_DEFLATED
            with open(path, "rb") as source, archive.open(info, "w") as sink:
                shutil.copyfileobj(source, sink)
    return target


def _unpack(file: Any, folder: Path, host: str) -> None:
    root = folder.resolve()
    try:
        with zipfile.ZipFile(file) as archive:
            for info in archive.infolist():
                target = (root / info.filename).resolve()
                if not target.is_relative_to(root) or info.is_dir():
                    raise foreign(host)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, open(target, "wb") as sink:
                    shutil.copyfileobj(source, sink)
    except zipfile.BadZipFile as error:
        raise foreign(host) from error
    except OSError as error:
        raise ResourceError(
            f"{folder.name} could not be written: {error.strerror or error}.",
            code="CTR-RES-001",
            hint="Free some space or choose another folder.",
        ) from error


@contextmanager
def _nothing(response: http.client.HTTPResponse) -> Iterator[http.client.HTTPResponse]:
    yield response


def _read_events(stream: http.client.HTTPResponse) -> Iterator[Event]:
    """Yield the events of a stream whose every event is one `data:` line; a line that was cut is left out."""
    while line := stream.readline():
        if line.startswith(b"data: ") and line.endswith(b"\n"):
            event = from_json(line[6:].decode("utf-8"))
            if event is not None:
                yield event


def _refusal(response: http.client.HTTPResponse, host: str) -> CTReasonerError:
    try:
        facts = json.loads(response.read(1 << 20))
        facts = {"code": str(facts["code"]), "sentence": str(facts["detail"]), "hint": str(facts.get("hint") or "")}
    except (ValueError, KeyError, TypeError, *CUT):
        return foreign(host)
    kind = {404: NotThere, 409: Conflict}.get(response.status)
    return kind(facts["sentence"], code=facts["code"], hint=facts["hint"]) if kind else error_of(facts)


def foreign(host: str) -> NetworkError:
    return NetworkError(f"What answers at {host} is no CTReasoner server.", code="CTR-NET-014", hint=HINT)


def _unreachable(error: Exception, host: str) -> NetworkError:
    """Return why a server cannot be reached."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return NetworkError(
            f"The certificate of {host} is not trusted: {error.verify_message}.",
            code="CTR-NET-011",
            hint="Name the certificate of whoever signed it, or ask who runs the server.",
        )
    if isinstance(error, ssl.SSLError):
        return NetworkError(
            f"{host} does not speak TLS as it should.", code="CTR-NET-011", hint="Does its address begin with http:// instead?"
        )
    if isinstance(error, socket.gaierror):
        return NetworkError(f"There is no computer called {host}.", code="CTR-NET-011", hint=HINT)
    if isinstance(error, ConnectionRefusedError):
        return NetworkError(f"No server listens at this port of {host}.", code="CTR-NET-011", hint=HINT)
    if isinstance(error, TimeoutError):
        return NetworkError(f"{host} does not answer.", code="CTR-NET-011", hint="Is there a firewall in between?")
    return NetworkError(f"The connection to {host} was cut.", code="CTR-NET-012", hint="Try again.")
