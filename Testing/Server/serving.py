"""Real servers on loopback for the tests: a process each, its log, and plain HTTP to it."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ctreasoner.client.wire import write_nrrd
from ctreasoner.events import Event, from_json
from fake_engine import phantom_volume

PROGRAM = Path(__file__).with_name("serve_double.py")
LONGEST_S = 60.0  # a limit against hanging, no expectation


class Served:
    """A server's process."""

    def __init__(self, data: Path, **changes: Any) -> None:
        self.data = data
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(data), json.dumps({"port": 0, **changes})],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        found = wait_for(
            lambda: (
                next(filter(None, (re.search(r"running on https?://[\d.]+:(\d+)", line) for line in list(self.lines))), None)
                or self.process.poll() is not None
            )
        )
        if found is True:
            raise AssertionError(self.lines)
        self.port = int(found[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def _read(self) -> None:
        for line in self.process.stderr:
            self.lines.append(line)

    def call(
        self, method: str, path: str, content: Any = None, *, body: bytes | None = None, **headers: str
    ) -> tuple[int, Any, Any]:
        """Return (status, headers, JSON or bytes); header names are written with _ for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if content is not None:
            body, sent["Content-Type"] = json.dumps(content).encode(), "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_S)
        try:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            read = response.read()
            is_json = "json" in response.headers.get("content-type", "")
            return response.status, response.headers, json.loads(read) if is_json and read else read
        finally:
            connection.close()

    @contextmanager
    def asked(self, volume: str, text: str, **more: Any) -> Iterator[Reading]:
        """Ask, and read as much of the answer as is wanted; leaving closes the connection."""
        headers = {"Content-Type": "application/json", **more.pop("headers", {})}
        with self.reading(
            "POST", "/v1/questions", json.dumps({"volume": volume, "text": text, **more}).encode(), headers
        ) as reading:
            yield reading

    @contextmanager
    def reading(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Iterator[Reading]:
        with self.asking(method, path, body, headers) as connection:
            yield Reading(connection.getresponse())

    @contextmanager
    def asking(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Iterator[http.client.HTTPConnection]:
        """Send a request and read nothing yet; leaving closes the connection."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=LONGEST_S)
        try:
            connection.request(method, path, body, headers or {})
            yield connection
        finally:
            connection.close()

    def state(self, question: str, **headers: str) -> str:
        return self.call("GET", f"/v1/questions/{question}", **headers)[2]["state"]

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End the process and wait for it."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        self.process.wait(LONGEST_S)
        self._reader.join(LONGEST_S)
        self.process.stderr.close()

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


class Reading:
    """An answer that is being read."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.response, self.status, self.headers = response, response.status, response.headers
        self.question = response.headers.get("Location", "").rpartition("/")[2]
        self.conversation = response.headers.get("Conversation", "")

    def events(self, most: int = 10**6) -> list[Event]:
        found: list[Event] = []
        number = None
        while len(found) < most and (line := self.response.readline()):
            if line.startswith(b"id: "):
                number = int(line[4:])
            elif line.startswith(b"data: "):
                found.append(from_json(line[6:].decode()))
                assert found[-1].seq == number
        return found


@contextmanager
def served(data: Path, **changes: Any) -> Iterator[Served]:
    server = Served(data, **changes)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()
        elif not server.process.stderr.closed:
            server.stop()


def wait_for(what: Callable[[], Any]) -> Any:
    """Return what `what` returns as soon as it is true."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


def phantom_bytes(tmp_path: Path, **settings: Any) -> bytes:
    """Return the phantom as a packed NRRD file."""
    write_nrrd(phantom_volume(**settings), tmp_path / "ct.nrrd")
    return (tmp_path / "ct.nrrd").read_bytes()


def send(server: Served, content: bytes, **headers: str) -> tuple[int, Any]:
    """Upload a file in one piece; return (status, body) of the last request."""
    import hashlib

    status, _, begun = server.call(
        "POST", "/v1/uploads", {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}, **headers
    )
    if status != 201:
        return status, begun
    path = f"/v1/uploads/{begun['upload']['id']}"
    status, _, sent = server.call("PATCH", path, body=content, Upload_Offset="0", **headers)
    if status != 200:
        return status, sent
    status, _, body = server.call("POST", f"{path}/finish", **headers)
    return status, body


def resident_mb(pid: int) -> float:
    """Return the memory of a process, MB."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Write a certificate for 127.0.0.1 that nobody knows, and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert, private = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert, private
