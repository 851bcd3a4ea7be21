"""What every test gets: no network for models, few threads, and one rule for the data that is not in this repository."""

from __future__ import annotations

import os
from pathlib import Path

# Before anything imports torch or transformers.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, os.environ.get("CTREASONER_TEST_THREADS", "1"))

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
_deselected: list[str] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the tests marked ``shared`` where the data does not lie beside the checkout. The only such rule."""
    if (SHARED / "known" / "index.jsonl").is_file():
        return
    keep, out = [], []
    for item in items:
        (out if item.get_closest_marker("shared") else keep).append(item)
    if out:
        _deselected.extend(item.nodeid for item in out)
        config.hook.pytest_deselected(items=out)
        items[:] = keep


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how many tests were taken out, and why."""
    if _deselected:
        terminalreporter.write_line(
            f"{len(_deselected)} tests were not run: they need the research data in ../shared/data, which lies beside "
            "some checkouts, may not be published, and is not there."
        )


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Let torch use the number of threads that the environment allows (default 1: machines that test are busy)."""
    import importlib.util

    if importlib.util.find_spec("torch") is None:
        return
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


@pytest.fixture
def shared_data() -> Path:
    """Return the folder of the research data; a test that uses it must be marked ``shared``."""
    return SHARED


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    """Start every test from the same random state of numpy."""
    import numpy as np

    np.random.seed(0)  # noqa: NPY002 (libraries that still use the global state)
