"""Which lines of the module ran in the host: ``HOST_LINES=1 pytest Testing/Host`` lists the others at the end.

Only frames of the watched files are traced, so a run takes little longer.
"""

from __future__ import annotations

import dis
import sys
import threading
from pathlib import Path
from types import CodeType


class Lines:
    """Records the lines that run in the files below some paths."""

    def __init__(self, paths: list[Path]):
        self.files = {str(f) for p in paths for f in ([p] if p.is_file() else p.rglob("*.py"))}
        self.ran: dict[str, set[int]] = {file: set() for file in self.files}
        self._expected = {file: _lines_of(compile(Path(file).read_text(encoding="utf-8"), file, "exec")) for file in self.files}

    def start(self):
        """Begin to record, in this thread and in new ones."""
        threading.settrace(self._called)
        sys.settrace(self._called)

    def stop(self):
        """Record no more."""
        sys.settrace(None)
        threading.settrace(None)

    def _called(self, frame, event, _argument):
        if frame.f_code.co_filename not in self.files:
            return None
        self.ran[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line

    def _line(self, frame, event, _argument):
        if event == "line":
            self.ran[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line

    def missing(self) -> dict[str, list[int]]:
        """File -> lines with code that did not run."""
        rest = {file: sorted(self._expected[file] - self.ran[file]) for file in sorted(self.files)}
        return {file: numbers for file, numbers in rest.items() if numbers}


def _lines_of(code: CodeType) -> set[int]:
    """Lines on which a code object, or one inside it, has instructions."""
    found = {line for _, line in dis.findlinestarts(code) if line}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _lines_of(constant)
    return found


def ranges(numbers: list[int]) -> str:
    """1, 2, 3, 7 -> "1-3, 7"."""
    groups: list[list[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ", ".join(f"{g[0]}-{g[-1]}" if len(g) > 1 else str(g[0]) for g in groups)
