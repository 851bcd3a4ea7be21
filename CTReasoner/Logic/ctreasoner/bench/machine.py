"""Is the machine idle? A training of ours is paused while we measure; anything else makes us refuse."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ResourceError

BUSY_CORES = 0.35                 # more than this used by others, and times mean little
PID_FILES = ("*.pid", "runs/*.pid", "runs/*/*.pid")
PROC = Path("/proc")


@contextmanager
def paused(say: Callable[[str], None], root: Path | None = None) -> Iterator[list[int]]:
    """Stop every running training that left a pid file under ``root`` (default: here); let them go on at the end.

    They go on too when this process is killed: a small watcher sees to it.
    """
    stopped = [pid for pid in trainings(root or Path()) for pid in (pid, *descendants(pid))]
    watcher = None
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        if stopped:
            say(f"A training runs (process {stopped[0]}); it is paused until the bench ends.")
            watcher = _watch(stopped)
            _send(stopped, signal.SIGSTOP)
            time.sleep(0.5)
        yield stopped
    finally:
        _send(stopped, signal.SIGCONT)
        signal.signal(signal.SIGTERM, previous)
        if watcher is not None:
            watcher.kill()
            watcher.wait()


def trainings(root: Path) -> list[int]:
    """Return the ids of running processes of ours that pid files under ``root`` name; a stale file names none."""
    found = []
    for pattern in PID_FILES:
        for path in sorted(root.glob(pattern)):
            try:
                pid = int(path.read_text().split()[0])
                command = (PROC / str(pid) / "cmdline").read_bytes()
            except (OSError, ValueError, IndexError):
                continue
            if b"ctreasoner" in command and pid != os.getpid() and pid not in found:
                found.append(pid)
    return found


def descendants(pid: int) -> list[int]:
    """Return the ids of all processes that a process started, directly or not."""
    children: dict[int, list[int]] = {}
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            after_name = stat.read_text().rpartition(")")[2].split()
        except OSError:     # it ended meanwhile
            continue
        children.setdefault(int(after_name[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        more = children.get(waiting.pop(), [])
        found += more
        waiting += more
    return found


def busy_cores(seconds: float = 1.5) -> float:
    """Return how many cores all programs of the machine use now, over a short while."""
    if not (PROC / "stat").is_file():
        return os.getloadavg()[0]
    before = _busy_ticks()
    time.sleep(seconds)
    return (_busy_ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def require_idle(cores: float) -> None:
    """Refuse to measure on a busy machine."""
    if cores > BUSY_CORES:
        raise ResourceError(f"The machine is busy: other programs use {cores:.1f} cores, so times would mean little.",
                            code="CTR-BEN-001", hint="Wait until they have ended, or pass --even-if-busy.")


def processor_name() -> str:
    """Return the processor's name."""
    try:
        lines = (PROC / "cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _busy_ticks() -> int:
    """Return user + nice + system + irq + softirq ticks of all cores since the start of the machine."""
    numbers = [int(n) for n in (PROC / "stat").read_text().splitlines()[0].split()[1:8]]
    return sum(numbers[:3]) + sum(numbers[5:7])


def _send(pids: list[int], what: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, what)
        except ProcessLookupError:
            continue


def _watch(pids: list[int]) -> subprocess.Popen:
    """Start a process that lets the stopped ones go on when we are gone."""
    names = " ".join(map(str, pids))
    script = f"while kill -0 {os.getpid()} 2>/dev/null; do sleep 1; done; kill -CONT {names}"
    return subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _leave(*_: object) -> None:
    raise SystemExit(143)
