"""Requests that are made from the OpenAPI to be wrong, sent to a real server. `make fuzz` sends many more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from serving import resident_mb, served

EXAMPLES = os.environ.get("CTREASONER_FUZZ", "3")       # of each of 26 operations
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
PROGRAM = Path(sys.executable).with_name("st")


def test_no_request_meets_a_fault_or_what_the_schema_does_not_say(tmp_path):
    with served(tmp_path / "data", limits={"grace_s": 0.5}) as server:
        before = resident_mb(server.process.pid)
        command = [str(PROGRAM), "run", f"{server.url}/openapi.json", "--max-examples", EXAMPLES, "--seed", "1", "--checks", CHECKS,
                   "--phases", "fuzzing,coverage", "--request-timeout", "5", "--no-color"]
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
        assert server.call("GET", "/health/ready")[0] == 200
        assert resident_mb(server.process.pid) < before + 500
    assert not any('"exception"' in line for line in server.lines)
