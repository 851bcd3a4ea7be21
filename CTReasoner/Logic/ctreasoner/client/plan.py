"""What installing the engine would do, said before it is done: Python, folder, megabytes, minutes, licences, commands."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .environment import LOGIC
from .packages import REQUIREMENTS, Package, engine_packages
from .pythons import Python, environment_python, find_python, maker_python

CPU_INDEX = "https://download.pytorch.org/whl/cpu"      # PyTorch's own; on Linux the package index holds the CUDA build
# measured on Linux, Python 3.11, PyTorch for the CPU
DOWNLOAD_MB, DISK_MB = 370, 1800
CUDA_DOWNLOAD_MB, CUDA_DISK_MB = 3000, 8000             # with NVIDIA's libraries
UV = "uv==0.13.9"                                       # brings a Python where there is none; Apache-2.0 or MIT
UV_PYTHON = "3.12"
TOOLS, PYTHONS = "tools", "python"                      # folders beside the environments: uv, and what it downloads


@dataclass(frozen=True)
class Step:
    """One program, and the environment variables that it needs beside the usual ones."""

    name: str
    command: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What `Installer.start` will do.

    python : what the environment is made with; None: a Python is downloaded. torch_index : where PyTorch comes from, "" for the
    package index. leash : the Python that ends a step when nobody listens any more. problem : {code, sentence, hint} where it
    cannot be done.
    """

    folder: Path
    environment: Path
    python: Python | None
    torch_index: str
    packages: tuple[Package, ...]
    download_mb: int
    disk_mb: int
    free_mb: int
    minutes: tuple[int, int]
    steps: tuple[Step, ...]
    leash: str
    problem: dict[str, str] = field(default_factory=dict)

    @property
    def needed_mb(self) -> int:
        """The environment, and what pip keeps and unpacks meanwhile."""
        return self.disk_mb + self.download_mb

    @property
    def lines(self) -> list[str]:
        """What a person reads before Start."""
        build = f"PyTorch: the build for the CPU, from {self.torch_index}" if self.torch_index == CPU_INDEX else \
            f"PyTorch: from {self.torch_index}" if self.torch_index else "PyTorch: the default build of the package index" + _cuda()
        return [
            f"Python: {self.python}" if self.python else f"Python: {UV_PYTHON} is downloaded (PSF-2.0), by uv (Apache-2.0 or MIT)",
            f"Folder: {self.environment}; Slicer's own Python is not changed",
            build,
            f"Download: about {self.download_mb:,} MB. On disk: about {self.disk_mb:,} MB, {self.free_mb:,} MB are free",
            f"Time: {self.minutes[0]} to {self.minutes[1]} minutes",
            *(f"{p.name} {p.version}: {p.licence}" for p in self.packages),
        ]


def engine_folder() -> Path:
    """Return the folder in the user's own data where engines are installed."""
    home = Path.home()
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "CTReasoner"


def environment_folder(folder: Path) -> Path:
    """Return the environment for the packages of this version; another list of packages has another one."""
    text = "\n".join(p.pin for p in engine_packages())
    return folder / f"env-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def default_torch_index() -> str:
    """Return where PyTorch comes from if nobody chooses: on Linux the index of the builds for the CPU."""
    return CPU_INDEX if sys.platform.startswith("linux") else ""


def default_build_mb() -> tuple[int, int]:
    """Return the megabytes to download and on disk where PyTorch comes from pip's own index."""
    return (CUDA_DOWNLOAD_MB, CUDA_DISK_MB) if sys.platform.startswith("linux") else (DOWNLOAD_MB, DISK_MB)


def free_mb(folder: Path) -> int:
    """Return the megabytes that are free where a folder is or would be."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free // 10**6


def make_plan(folder: Path, environment: Mapping[str, str] | None = None, *, python: str | os.PathLike | None = None,
              torch_index: str | None = None, host_python: str = "") -> Plan:
    """Return what installing would do. Starts programs: call it on a thread (`Installer.look` does).

    Parameters
    ----------
    python : what the environment is made with; None: the first fitting one on the PATH of `environment`, else a Python is
    downloaded with the help of `host_python`'s pip.
    torch_index : the address of a package index for PyTorch, "" for pip's own, None for `default_torch_index()`.
    """
    index = default_torch_index() if torch_index is None else torch_index
    target, packages = environment_folder(folder), engine_packages()
    avoid = [Path(host_python).parent.parent] if Path(host_python).name.startswith("PythonSlicer") else []
    made_with = maker_python(python, environment) if python else find_python(environment, avoid=avoid)
    problem: dict[str, str] = {}
    if made_with is not None and made_with.problem:
        problem = {"code": "CTR-INS-001", "sentence": made_with.problem, "hint": "Choose another Python, from 3.11 to 3.13."}
    elif made_with is None and not host_python:
        problem = {"code": "CTR-INS-001", "sentence": "There is no Python here that the engine could be installed with.",
                   "hint": "Install Python 3.12 from python.org, or point to an environment that has the engine."}
    large = not index and sys.platform.startswith("linux")          # CUDA libraries come along
    download, disk = default_build_mb() if large else (DOWNLOAD_MB, DISK_MB)
    extra = 0 if made_with else 60
    plan = Plan(folder=folder, environment=target, python=made_with, torch_index=index, packages=packages,
                download_mb=download + extra, disk_mb=disk + 2 * extra, free_mb=free_mb(folder),
                minutes=(5, 20) if large else (3, 10),
                steps=_steps(folder, target, made_with, index, packages, host_python),
                leash=made_with.path if made_with else host_python, problem=problem)
    if not problem and plan.free_mb < plan.needed_mb:
        problem.update(code="CTR-RES-001", sentence=f"The engine needs {plan.needed_mb:,} MB; {plan.free_mb:,} MB are free there.",
                       hint="Free some space or choose another folder.")
    return plan


def _steps(folder: Path, target: Path, made_with: Python | None, index: str, packages: tuple[Package, ...],
           host: str) -> tuple[Step, ...]:
    inner = str(environment_python(target))
    torch = next(p.pin for p in packages if p.name == "torch")
    pip = (inner, "-m", "pip", "install")
    if made_with is not None:
        first = (Step("environment", (made_with.path, "-m", "venv", str(target))),)
    else:
        tools = folder / TOOLS
        uv = tools / "bin" / ("uv.exe" if os.name == "nt" else "uv")
        first = (Step("uv", (host, "-m", "pip", "install", "--upgrade", "--target", str(tools), UV)),
                 Step("Python and environment",
                      (str(uv), "venv", "--python", UV_PYTHON, "--managed-python", "--seed", str(target)),
                      {"UV_PYTHON_INSTALL_DIR": str(folder / PYTHONS), "UV_CACHE_DIR": str(tools / "cache")}))
    return (*first,
            Step("PyTorch", (*pip, *(("--index-url", index) if index else ()), torch)),
            Step("packages", (*pip, "-r", str(REQUIREMENTS))),
            Step("check", (inner, "-m", "ctreasoner.system", "engine"), {"PYTHONPATH": str(LOGIC)}))


def _cuda() -> str:
    return ", with NVIDIA's CUDA libraries under NVIDIA's own licence" if sys.platform.startswith("linux") else ""
