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
READERS_S = 1.0         # how long a dead child's pipes are read on: another program may hold them open


class LineProcess:
    """Starts a program and exchanges lines with it. `on_line(line)` and `on_end(code)` are called on threads of its own.

    Raises
    ------
    OSError : where the program cannot be started.
    """

    def __init__(self, command: Sequence[str], *, env: Mapping[str, str], on_line: Callable[[str], None],
                 on_end: Callable[[int], None], cwd: str | os.PathLike | None = None, merge_errors: bool = False) -> None:
        flags = {"start_new_session": True} if os.name == "posix" else {
            "creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0) | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)}
        self.log: collections.deque[str] = collections.deque(maxlen=LOG_LINES)
        self.last_output = time.monotonic()
        self._outbox: queue.Queue[str | None] = queue.Queue()
        self._on_line, self._on_end = on_line, on_end
        self._child = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_errors else subprocess.PIPE, env=dict(env), cwd=cwd, encoding="utf-8",
            errors="replace", **flags)
        targets = [self._read, self._write] if merge_errors else [self._read, self._read_log, self._write]
        threads = [threading.Thread(target=t, daemon=True, name=f"ctreasoner-{t.__name__}") for t in targets]
        for thread in threads:
            thread.start()
        self._readers = threads[:-1]
        threading.Thread(target=self._await_end, daemon=True, name="ctreasoner-end").start()

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
        elif self.is_running:                                   # taskkill walks the tree; it is not waited for
            subprocess.Popen(["taskkill", "/T", "/F", "/PID", str(self._child.pid)], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0))
        self.close_input()

    def _read(self) -> None:
        with self._child.stdout as stream:
            for line in stream:
                self.last_output = time.monotonic()
                self._on_line(line)

    def _read_log(self) -> None:
        with self._child.stderr as stream:
            for line in stream:
                self.log.append(line.rstrip("\r\n"))

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

    def _await_end(self) -> None:
        code = self._child.wait()
        self.close_input()
        for reader in self._readers:
            reader.join(READERS_S)
        self._on_end(code)
