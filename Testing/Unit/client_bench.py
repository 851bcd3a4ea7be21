"""What the client's tests share: an engine of doubles, and waiting for what happened instead of for a time."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ctreasoner.client.local import LocalEngine
from ctreasoner.client.telling import Message
from ctreasoner.events import LAST_EVENTS, Event, Request
from fake_engine import phantom_volume

DOUBLES = Path(__file__).with_name("worker_doubles.py")
LONGEST_S = 300.0       # a limit against hanging, no expectation: machines that test are busy


def engine_of(factory: str = "Double", **settings) -> LocalEngine:
    return LocalEngine(sys.executable, arguments=["--factory", f"{DOUBLES}:{factory}"], **settings)


def hand_over(engine: LocalEngine):
    volume = phantom_volume()
    return engine.volumes.put(volume.voxels, volume.affine, name="phantom").result(LONGEST_S)


def question(handed, text: str = "segment the heart", **fields) -> Request:
    return Request(volume=handed.identity, text=text, **fields)


def wait(engine: LocalEngine, until: Callable[[list[Message]], bool]) -> list[Message]:
    """Poll until `until(messages)` is true; returns the messages."""
    messages, end = [], time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        messages += engine.poll()
        if until(messages):
            return messages
        time.sleep(0.01)
    raise AssertionError([m for m in messages if m.kind != "event"] + [engine.log])


def events_of(messages: list[Message], ask: int) -> list[Event]:
    return [m.event for m in messages if m.kind == "event" and m.ask == ask]


def answered(engine: LocalEngine, ask: int) -> list[Event]:
    """Wait for the end of an answer and return its events."""
    return events_of(wait(engine, lambda m: any(isinstance(e, LAST_EVENTS) for e in events_of(m, ask))), ask)


def exported(engine: LocalEngine, number: int) -> dict:
    return next(m for m in wait(engine, lambda m: any(x.kind == "exported" and x.ask == number for x in m))
                if m.kind == "exported").facts


def inside(engine: LocalEngine, number: int, messages: list[Message] | None = None) -> dict:
    """Wait for what an engine says about which objects a CT shows."""
    messages = messages or wait(engine, lambda m: any(x.kind == "inside" and x.ask == number for x in m))
    return next(m for m in messages if m.kind == "inside" and m.ask == number).facts


def begun(engine: LocalEngine, ask: int, count: int = 2) -> list[Message]:
    """Wait until an answer has so many events."""
    return wait(engine, lambda m: len(events_of(m, ask)) >= count)


def reached(engine: LocalEngine, state: str) -> list[Message]:
    """Wait until a message says so."""
    return wait(engine, lambda m: any(x.kind == "state" and x.facts["state"] == state for x in m))


def is_gone(pid: int) -> bool:
    """Wait until a process has ended (a zombie has)."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def vanishes(path: Path) -> bool:
    end = time.monotonic() + LONGEST_S
    while path.exists() and time.monotonic() < end:
        time.sleep(0.02)
    return not path.exists()
