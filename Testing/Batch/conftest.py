"""CTs for a batch, and a worker with a double of the engine that runs in the test's own process."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import pytest
from batch_double import DoubleWorker, write_cts
from ctreasoner.batch.cli import make_job
from ctreasoner.batch.units import Job

QUESTION = "segment the heart"


@pytest.fixture
def cts(tmp_path: Path) -> Path:
    """A folder of four CTs and a file that is none."""
    return write_cts(tmp_path / "cts", 4)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return make_job(tmp_path / "out", [QUESTION])


@pytest.fixture
def worker(job: Job) -> DoubleWorker:
    return DoubleWorker(job)
