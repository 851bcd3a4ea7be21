"""The panel with an address behind which something else listens: it says what, is idle again, and nothing is lost."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from ctreasoner.client.protocol import PROTOCOL
from ctreasoner.client.wire import Wire
from panel_fixtures import Away, a_server_chosen, still_window  # noqa: F401 (fixtures)

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Server"))
from serving import LONGEST_S, self_signed

WELCOME = "<html>Welcome to the intranet</html>"
OLDER = json.dumps({"version": "0.0.9", "protocol": PROTOCOL - 1, "engine": "ready", "model": {}, "waiting": 0})


@contextmanager
def stranger(words: str, kind: str, tls: tuple[Path, Path] | None = None):
    """Yield the port of a web server that answers whatever is asked with the same words."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(words.encode())

        do_POST = do_GET

        def log_message(self, *_arguments) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def refused(away: Away, said: str) -> None:
    """The test says it, a question says it; the panel is idle, the question in the transcript, no finding is there."""
    assert away.test(said), away.ui.engineDetailsLabel.text
    away.ask("Segment the heart")
    assert away.done() and away.until(lambda: said in away.words, LONGEST_S), away.words
    assert "Segment the heart" in away.words and "Traceback" not in away.words
    assert away.ui.findingsTable.rowCount == 0 and not away.controller.asking.is_busy


def test_a_web_server_that_is_none_of_ours(away: Away) -> None:
    with stranger(WELCOME, "text/html") as port:
        away.name(f"http://127.0.0.1:{port}")
        refused(away, "is no CTReasoner server")


def test_a_server_of_another_version(away: Away) -> None:
    with stranger(OLDER, "application/json") as port:
        away.name(f"http://127.0.0.1:{port}")
        refused(away, f"version {PROTOCOL - 1} of the protocol")


def test_a_certificate_that_nobody_knows(away: Away, tmp_path) -> None:
    with stranger(OLDER, "application/json", self_signed(tmp_path)) as port:
        away.name(f"https://127.0.0.1:{port}")
        refused(away, "The certificate of 127.0.0.1 is not trusted")


def test_a_host_that_listens_and_never_answers(away: Away, monkeypatch) -> None:
    monkeypatch.setitem(Wire.call.__kwdefaults__, "timeout_s", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away.name(f"http://127.0.0.1:{silent.getsockname()[1]}")
        refused(away, "does not answer")
