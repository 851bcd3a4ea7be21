"""Engines for the worker's tests, named on its command line."""

from __future__ import annotations

import os
import time
from pathlib import Path

from fake_engine import FakeEngine


class Double(FakeEngine):
    model = {"name": "double", "hash": "0"}  # noqa: RUF012
    pause_s = 0.0

    def answer(self, request, workspace: Path | None = None):
        for event in super().answer(request, workspace=workspace):
            time.sleep(self.pause_s if "heart" in request.text else 0)
            if "stumble" in request.text:
                1 / 0  # noqa: B018
            yield event


class Slow(Double):
    pause_s = 0.3


class Chatty(Double):
    def register(self, volume):
        print("hello from a library")
        os.write(1, b"and from C\n")
        return super().register(volume)


quick, slow, chatty = Double, Slow, Chatty
