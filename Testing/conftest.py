"""What every test gets: no network for models, few threads, and one rule for the data that is not in this repository."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# Before anything imports torch or transformers.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("MPLBACKEND", "Agg")
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, os.environ.get("CTREASONER_TEST_THREADS", "1"))

import pytest  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"
WEIGHTS = Path(os.environ.get("CTREASONER_TEST_MODEL", ROOT / "CTReasoner" / "Resources" / "Models" / "compact"))
_deselected: dict[str, int] = {}

# marker -> (is it there?, what a person reads when it is not)
NEEDS = {
    "shared": (
        lambda: (SHARED / "known" / "index.jsonl").is_file(),
        "they need the research data in ../shared/data, which lies beside some checkouts and may not be published",
    ),
    "weights": (
        lambda: (WEIGHTS / "config.json").is_file(),
        "they need the shipped weights, which do not lie in CTReasoner/Resources/Models/compact yet",
    ),
    "demo_ct": (
        lambda: _demo_ct_is_there(),
        "they need the demo's CT, which is neither cached nor to be fetched from a package index now",
    ),
    "dciodvfy": (
        lambda: shutil.which("dciodvfy") is not None,
        "they need the program dciodvfy (apt-get install dicom3tools)",
    ),
    "node": (
        lambda: shutil.which("node") is not None and shutil.which("npm") is not None,
        "they need Node.js (apt-get install nodejs npm)",
    ),
    "orthanc": (
        lambda: shutil.which("Orthanc") is not None and Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so").exists(),
        "they need the server Orthanc (apt-get install orthanc orthanc-dicomweb)",
    ),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the tests whose marker names something that is not on this machine. The only such rule."""
    asked = {marker for marker in NEEDS if any(item.get_closest_marker(marker) for item in items)}
    lacking = {marker for marker in asked if not NEEDS[marker][0]()}
    keep, out = [], []
    for item in items:
        reason = next((marker for marker in sorted(lacking) if item.get_closest_marker(marker)), None)
        (out if reason else keep).append(item)
        if reason:
            _deselected[reason] = _deselected.get(reason, 0) + 1
    if out:
        config.hook.pytest_deselected(items=out)
        items[:] = keep


def _demo_ct_is_there() -> bool:
    """Fetch the demo's CT and its labels where they are not cached."""
    from ctreasoner.demo import demo_ct, demo_labels
    from ctreasoner.errors import NetworkError

    try:
        return demo_ct().is_file() and demo_labels().is_file()
    except NetworkError:
        return False


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A folder whose tests were all taken out by the rule above is no failure: what is missing is said."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and _deselected:
        session.exitstatus = pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how many tests were taken out, and why."""
    for marker, count in _deselected.items():
        terminalreporter.write_line(f"{count} tests were not run: {NEEDS[marker][1]}.")


@pytest.fixture(scope="session", autouse=True)
def _few_threads() -> None:
    """Give torch the threads that the environment allows (default 1: machines that test are busy)."""
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
