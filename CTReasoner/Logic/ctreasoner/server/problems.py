"""Errors over HTTP: problem+json (RFC 9457) with the sentence, code and hint that every other front door shows."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from .. import errors
from ..errors import CTReasonerError

MEDIA = "application/problem+json"
STATUS = (  # the first that fits
    (errors.UsageError, 422),
    (errors.InputError, 422),
    (errors.ModelError, 503),
    (errors.ResourceError, 507),
    (errors.NetworkError, 502),
    (errors.Interrupted, 409),
    (CTReasonerError, 500),
)
ENGINE = {  # what another process told, of which the code alone is known
    "CTR-WRK-017": 409,  # nothing was asked yet
    **dict.fromkeys(("CTR-WRK-001", "CTR-WRK-003", "CTR-WRK-004", "CTR-WRK-005", "CTR-WRK-006", "CTR-SRV-010", "CTR-SRV-015"), 503),
}
REPLIES = {
    code: {"description": text, "content": {MEDIA: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for code, text in {
        400: "Not HTTP as it is understood here",
        401: "No token, or one that is not known",
        403: "Another site's page, or another host's name",
        404: "Not there, or another user's",
        405: "Another method",
        409: "Not in this state",
        413: "Too large",
        415: "Another type",
        422: "Refused, with the reason",
        429: "Too much at once; Retry-After says when",
        502: "The archive cannot be reached, or lacks it",
        503: "Shutting down, or no model",
        507: "The disk, or a quota, is full",
    }.items()
}
SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for people"},
        "code": {"type": "string", "description": "Stable, as docs/troubleshooting.md lists them"},
        "hint": {"type": "string", "description": "What to do"},
    },
}


class Refused(CTReasonerError):
    """An error that knows its HTTP status and headers."""

    def __init__(self, status: int, message: str, *, code: str, hint: str = "", headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status, self.headers = status, dict(headers or {})


def not_found(what: str) -> Refused:
    """What is another user's looks like what never was."""
    return Refused(404, f"There is no such {what}.", code="CTR-SRV-003")


def status_of(error: CTReasonerError) -> int:
    if isinstance(error, Refused):
        return error.status
    return ENGINE.get(error.code) or next(status for kind, status in STATUS if isinstance(error, kind))


def problem(status: int, sentence: str, code: str, hint: str = "", headers: Mapping[str, str] | None = None) -> JSONResponse:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": sentence,
        "code": code,
        "hint": hint,
    }
    return JSONResponse(content, status, headers=dict(headers or {}), media_type=MEDIA)


def problem_of(error: CTReasonerError) -> JSONResponse:
    return problem(status_of(error), str(error), error.code, error.hint, getattr(error, "headers", None))


def install(app: FastAPI) -> None:
    """Have every error of an app answered as a problem; what is not foreseen says nothing of the inside."""

    @app.exception_handler(CTReasonerError)
    async def _ours(_request: Request, error: CTReasonerError) -> JSONResponse:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return problem(422, f"The request is not understood: {where}: {first['msg']}.", "CTR-SRV-012")

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, f"{HTTPStatus(error.status_code).phrase}.", "CTR-SRV-019", headers=error.headers)

    @app.exception_handler(Exception)
    async def _fault(_request: Request, _error: Exception) -> JSONResponse:
        return problem(500, "This is a fault of ours; the server's log holds the details.", "CTR-SRV-013")
