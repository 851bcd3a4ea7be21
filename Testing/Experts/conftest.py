"""The environment of the real nnU-Net, and a tiny model that it trains: made once, below build/experts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "experts"
sys.path.insert(0, str(Path(__file__).parent))


def _run(*command: str | Path, **extra: str) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env={**os.environ, **extra}, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.fixture(scope="session")
def nnunet_python() -> Path:
    """The Python of an environment that has nnunetv2 (about 1.7 GB, some minutes once)."""
    python = HOME / "nnunet" / "bin" / "python"
    if not (HOME / "nnunet.ready").is_file():
        _run(sys.executable, "-m", "venv", HOME / "nnunet")
        _run(python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "torch==2.13.0", "nnunetv2==2.8.1")
        (HOME / "nnunet.ready").touch()
    return python


@pytest.fixture(scope="session")
def tiny_model(nnunet_python, tmp_path_factory) -> Path:
    """The folder of a tiny nnU-Net, trained for some steps by the package itself."""
    told = _run(nnunet_python, Path(__file__).with_name("tiny_nnunet.py"), tmp_path_factory.mktemp("tiny"), OMP_NUM_THREADS="2")
    return Path(told.strip().splitlines()[-1])
