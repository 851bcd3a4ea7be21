"""`ctreasoner mcp` with the double of the engine: `mcp_double.py FOLDER`. It prints as libraries do."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Unit"))
from ctreasoner.mcp import run
from ctreasoner.reasoner import Reasoner
from worker_doubles import Chatty

run(lambda: Reasoner(Chatty()), [Path(sys.argv[1])])
