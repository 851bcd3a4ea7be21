"""Requests that are made from the OpenAPI to be wrong, sent to a real server. `make fuzz` sends many more.

Identifiers are in most requests those of a CT, a conversation, an answer and an upload that are there: most would be 404 else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ctreasoner.remote import Client
from fake_engine import phantom_volume
from serving import resident_mb, served

EXAMPLES = os.environ.get("CTREASONER_FUZZ", "3")       # of each of 26 operations
SEED = os.environ.get("CTREASONER_FUZZ_SEED", "1")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
EXPORT = "/v1/conversations/{conversation}/export"
PROGRAM = Path(sys.executable).with_name("st")


def there(server):
    """{parameter: a value that is there}."""
    client = Client(server.url)
    answer = client.ask(phantom_volume(), "Segment the heart.")
    volume = server.call("GET", "/v1/volumes")[2][0]["id"]
    talk = server.call("GET", "/v1/conversations")[2][0]
    server.call("POST", f"/v1/conversations/{talk['id']}/export", {})
    upload = server.call("POST", "/v1/uploads", {"size": 10**6, "sha256": "0" * 64})[2]["upload"]["id"]
    return {"volume": volume, "conversation": talk["id"], "question": talk["questions"][0]["id"], "upload": upload,
            "object": answer.objects[0].id, "path": answer.objects[0].mask.path}  # fmt: skip


def settings(known):
    """What schemathesis is told of the identifiers (TOML)."""
    lines = [f'[dictionaries.{name}]\nvalues = ["{value}"]' for name, value in known.items()]
    of = {f"path.{name}": name for name in known} | {"body.volume": "volume", "body.conversation": "conversation"}
    lines += ["[parameters]", *(f'"{where}" = {{ dictionary = "{name}", probability = 0.7 }}' for where, name in of.items())]
    lines += ["[[operations]]", 'include-path-regex = "(finish|objects)$"', "request-timeout = 60"]  # work, not a hang
    lines += ["[[operations]]", f'include-path = "{EXPORT}"', "request-timeout = 600", "[operations.parameters]"]
    lines += ['"path.conversation" = { dictionary = "conversation", probability = 0.02 }']  # a second of work for each object
    return "\n".join(lines)


def test_no_request_meets_a_fault_or_what_the_schema_does_not_say(tmp_path):
    with served(tmp_path / "data", limits={"grace_s": 0.5}) as server:
        (tmp_path / "fuzz.toml").write_text(settings(there(server)))
        before = resident_mb(server.process.pid)
        for part in ("--exclude-method", "--include-method"):  # what is there is deleted last
            command = [str(PROGRAM), "--config-file", "fuzz.toml", "run", f"{server.url}/openapi.json", part, "DELETE",
                       "--max-examples", EXAMPLES, "--seed", SEED, "--checks", CHECKS, "--phases", "fuzzing,coverage",
                       "--request-timeout", "5", "--no-color"]  # fmt: skip
            run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
            print(run.stdout[run.stdout.rfind("Test cases") :])
            assert run.returncode == 0, run.stdout[-9000:] + run.stderr[-2000:]
        assert server.call("GET", "/health/ready")[0] == 200
        assert resident_mb(server.process.pid) < before + 500
    assert not any('"exception"' in line for line in server.lines)
