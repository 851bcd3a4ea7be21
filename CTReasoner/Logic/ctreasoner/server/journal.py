"""What a server writes down: log lines as JSON without patient data, an audit of who did what kind of thing, metrics."""

from __future__ import annotations

import json
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from .queue import Queue

LOG = logging.getLogger("ctreasoner.server")
AUDIT = "audit.jsonl"


class JsonLines(logging.Formatter):
    """One JSON object a line. Of an exception: its type and where it was raised; its words may hold what a user sent."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _now(), "level": record.levelname.lower(), "logger": record.name, **getattr(record, "facts", {})}
        if "facts" not in record.__dict__:
            line["event"] = str(record.msg) if record.exc_info else record.getMessage()
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"], line["at"] = record.exc_info[0].__name__, _frames(record.exc_info[2])
        return json.dumps(line, ensure_ascii=False)


def set_up_logging() -> None:
    """Have this process, uvicorn included, log JSON lines to stderr."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True  # it holds paths; `Journal` writes routes


def say(event: str, **facts: Any) -> None:
    LOG.info(event, extra={"facts": {"event": event, **facts}})


class Audit:
    """Appends who did what kind of thing when: ids, kinds and numbers; never words, names or content."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / AUDIT

    def write(self, user: str, did: str, **facts: Any) -> None:
        line = json.dumps({"time": _now(), "user": user, "did": did, **facts}) + "\n"
        with open(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
            file.write(line)


class Metrics:
    """What Prometheus reads. Numbers of all users together."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "ctreasoner_requests", "Requests by route and status.", ("method", "route", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "ctreasoner_request_seconds",
            "From request to the last byte; a stream lasts as long as its answer.",
            ("route",),
            registry=self._registry,
        )
        self.uploaded = Counter("ctreasoner_uploaded_bytes", "Bytes of CTs that came in.", registry=self._registry)
        for name, about, value in (
            ("waiting", "Questions and exports that wait.", lambda: len(queue.line())),
            ("open", "Questions and exports that wait or are being answered.", lambda: len(queue.jobs)),
            ("engine_up", "1 while the engine's process can answer.", lambda: float(queue.engine.state != "failed")),
            ("answer_seconds_median", "Of the last fifty, from the engine's beginning to the end.", queue.median_s),
        ):
            Gauge(f"ctreasoner_{name}", about, registry=self._registry).set_function(value)
        self._ends = Gauge(
            "ctreasoner_answers", "Ends of questions and exports since the start.", ("how",), registry=self._registry
        )

    def text(self) -> bytes:
        for how, count in self._queue.finished.items():
            self._ends.labels(how).set(count)
        return generate_latest(self._registry)


class Journal:
    """ASGI middleware: counts and logs every request by its route, never by its path."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            route, seconds = getattr(scope.get("route"), "path", "none"), time.monotonic() - began
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE") else "other"
            self.metrics.requests.labels(method, route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            if not route.startswith("/health"):
                say("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1), user=scope.get("user", ""))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _frames(traceback: Any) -> list[str]:
    frames = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        frames.append(f"{Path(code.co_filename).name}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return frames[-8:]
