"""How much work a refusal costs: calls and memory, which do not depend on how busy the machine is."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def bounded(*, calls: int, megabytes: float) -> Iterator[None]:
    """Fail when what happens inside makes more calls (of Python or C functions) or holds more memory at once."""
    count = 0

    def counting(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    tracemalloc.start()
    sys.setprofile(counting)
    try:
        yield
    finally:
        sys.setprofile(None)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
    assert count <= calls, f"{count} calls, {calls} allowed"
    assert peak <= megabytes, f"{peak:.0f} MB, {megabytes} allowed"
