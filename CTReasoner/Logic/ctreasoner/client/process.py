"""A child process whose whole tree can be ended, with pipes that never block the caller."""

from __future__ import annotations

import collections
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence

LOG_LINES = 500


class LineProcess:
    """Starts a program and exchanges lines with it. `on_line(line)` and `on_end(code)` are called on reading threads."""

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], on_line: Callable[[str], None],
                 on_end: Callable[[int], None]) -> None:
        flags = {"start_new_session": True} if os.name == "posix" else {
            "creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        self.log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self.last_output = time.monotonic()
        self._outbox: queue.Queue[str | None] = queue.Queue()
        self._on_line, self._on_end = on_line, on_end
        self._child = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                       env=dict(env), encoding="utf-8", errors="replace", **flags)
        for target in (self._read, self._read_log, self._write):
            threading.Thread(target=target, daemon=True, name=f"ctreasoner-{target.__name__}").start()

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    def send(self, line: str) -> None:
        """Queue a line; a pipe that is full or broken never holds the caller up."""
        self._outbox.put(line)

    def close_input(self) -> None:
        """End of file for the child, after what is queued."""
        self._outbox.put(None)

    def wait(self, seconds: float) -> bool:
        """Return whether the child ended within so many seconds."""
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> None:
        """End the child and all that it started (the pid of a launcher is not the interpreter's)."""
        if os.name == "posix":
            try:
                os.killpg(self._child.pid, signal.SIGKILL)      # the child leads its own session, so its group is its tree
            except (ProcessLookupError, PermissionError):
                pass
        elif self.is_running:
            subprocess.run(["taskkill", "/T", "/F", "/PID", str(self._child.pid)], capture_output=True, check=False)
        self.close_input()

    def _read(self) -> None:
        for line in self._child.stdout:
            self.last_output = time.monotonic()
            self._on_line(line)
        self._on_end(self._child.wait())

    def _read_log(self) -> None:
        for line in self._child.stderr:
            self.log.append(line.rstrip("\n"))

    def _write(self) -> None:
        while (line := self._outbox.get()) is not None:
            try:
                self._child.stdin.write(line)
                self._child.stdin.flush()
            except (OSError, ValueError):
                break
        try:
            self._child.stdin.close()
        except OSError:
            pass
