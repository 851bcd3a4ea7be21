"""A real Orthanc on this computer, in a temporary folder and on free ports, and what stands between it and a client."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from dicom_series import hounsfield, save, series
from pydicom.uid import generate_uid

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD, TITLE, TOKEN = "someone", "a secret", "ORTHANC", "a.bearer.token"



def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Orthanc:
    """A running server. ``url`` is its DICOMweb, ``dicom`` its DIMSE address; ``tls`` are more settings, for DIMSE over TLS."""

    def __init__(self, folder: Path, tls: dict | None = None) -> None:
        self.folder, self.http, self.dimse = folder, free_port(), free_port()
        self.url, self.dicom = f"http://127.0.0.1:{self.http}/dicom-web", f"dicom://{TITLE}@127.0.0.1:{self.dimse}"
        self._tls = tls or {}
        self._process: subprocess.Popen | None = None

    def start(self) -> Orthanc:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "conf.json").write_text(json.dumps({
            "Name": "test", "StorageDirectory": str(self.folder / "db"), "IndexDirectory": str(self.folder / "db"),
            "HttpPort": self.http, "DicomPort": self.dimse, "DicomAet": TITLE, "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True, "RegisteredUsers": {USER: PASSWORD}, "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True, "UnknownSopClassAccepted": True, "OverwriteInstances": False, "DefaultEncoding": "Utf8",
            "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Host": "localhost"}, **self._tls}))
        self._process = subprocess.Popen(["Orthanc", str(self.folder / "conf.json"), f"--logfile={self.folder / 'log.txt'}"],
                                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
        for _ in range(600):
            if self._process.poll() is not None:
                raise RuntimeError("Orthanc ended: " + (self.folder / "log.txt").read_text()[-1000:])
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.http}/system", timeout=5).close()
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 401:       # it answers, and wants to know who asks
                    return self
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError("Orthanc does not answer.")

    def stop(self) -> None:
        """End it and wait until it is gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
            self._process = None


class Proxy(ThreadingHTTPServer):
    """Between client and Orthanc: wants a bearer token, and can be told to misbehave.

    ``faults`` holds one word for each coming request, used up one by one: a status ("413"), "cut" (the connection is closed in
    the middle of the answer), "drop" (it is closed after the request was passed on), "wait" (longer than the client does) or "".
    """

    daemon_threads = True

    def __init__(self, target_port: int, *, token: str = TOKEN) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.target_port, self.token, self.faults = target_port, token, []
        self.requests: list[tuple[str, str, int]] = []
        self.largest = 1 << 40
        self.url = f"http://127.0.0.1:{self.server_port}/dicom-web"

    def __enter__(self) -> Proxy:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Passing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_GET(self) -> None:
        self._pass("GET")

    def do_POST(self) -> None:
        self._pass("POST")

    def _pass(self, method: str) -> None:
        body = self._body()
        self.server.requests.append((method, self.path, len(body)))
        self.close_connection = True
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.send_error(401)
        elif len(body) > self.server.largest:
            self.send_error(413)
        elif fault.isdigit():
            self.send_error(int(fault))
        elif fault == "wait":
            time.sleep(3)
        else:
            self._answer(fault, *self._ask(method, body))

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _ask(self, method: str, body: bytes) -> tuple[int, str, bytes]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.server.target_port}{self.path}", body or None, method=method)
        for name in ("Accept", "Content-Type"):
            if name in self.headers:
                request.add_header(name, self.headers[name])
        manager = urllib.request.HTTPPasswordMgrWithPriorAuth()
        manager.add_password(None, request.full_url, USER, PASSWORD, is_authenticated=True)
        try:
            with urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager)).open(request, timeout=60) as answer:
                return answer.status, answer.headers.get("Content-Type", ""), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, "text/plain", error.read()

    def _answer(self, fault: str, status: int, kind: str, body: bytes) -> None:
        if fault == "drop":
            return
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")     # said, so that no client sends its next request into a closed one
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if fault == "cut" else body)

    def log_message(self, *_: object) -> None:
        pass


def a_study(folder: Path, hu=None, **options) -> tuple[Path, str]:
    """Write a CT series of a new study and return (folder, StudyInstanceUID)."""
    study, slices = generate_uid(), series(hounsfield((24, 20, 8)) // 2 * 2 if hu is None else hu, **options)
    number, frame = generate_uid(), generate_uid()
    for ds in slices:
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, number
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.FrameOfReferenceUID, ds.SpecificCharacterSet, ds.PatientName = frame, "ISO_IR 192", "Žofia^Ωmega"
    return save(slices, folder), str(study)
