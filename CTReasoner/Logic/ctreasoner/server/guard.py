"""Who may: a token, or loopback alone; and never another site's page."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send

from .problems import Refused, problem_of
from .settings import Settings
from .store import LOCAL

if TYPE_CHECKING:
    from starlette.types import ASGIApp

BEARER = HTTPBearer(auto_error=False, description="A token that `ctreasoner serve token add` printed; not needed on loopback.")
HEADERS = 32 << 10
SAFE = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; sandbox"),
)


def _who(request: Request, role: str) -> str:
    server = request.app.state.server
    if not server.settings.needs_token:
        return LOCAL
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    owner = server.store.owner(token.strip()) if scheme.lower() == "bearer" and token.isascii() else None
    if owner is None:
        raise refuse_token()
    if owner["role"] != role:
        raise Refused(403, f"This token is not for that: its role is '{owner['role']}'.", code="CTR-SRV-002")
    return owner["user"]


def refuse_token() -> Refused:
    """Return what whoever comes without a token that is known is told."""
    return Refused(
        401,
        "A token is needed, and this one is missing or not known.",
        code="CTR-SRV-001",
        hint="Ask who runs the server for one (ctreasoner serve token add NAME).",
        headers={"WWW-Authenticate": "Bearer"},
    )


def user(request: Request, _shown: Annotated[object, Depends(BEARER)]) -> str:
    """Return the user's id, or refuse (401). Every route but /health asks for it."""
    request.scope["user"] = _who(request, "user")
    return request.scope["user"]


def operator(request: Request, _shown: Annotated[object, Depends(BEARER)]) -> str:
    """Return the id of whoever may read the metrics."""
    return _who(request, "metrics")


User = Annotated[str, Depends(user)]


class Guard:
    """ASGI middleware: what is refused before anything is read, limits on bodies, and headers that browsers obey.

    A page of another site can send requests to loopback from the browser of whoever visits it: `Origin` and `Host` give it away.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app, self.settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            headers = Headers(scope=scope)
            self._check_origin(headers)
            limit = self._limit(scope, headers)
        except Refused as error:
            await problem_of(error)(scope, receive, send)
            return
        await self.app(scope, _counted(receive, limit), _with_headers(send))

    def _check_origin(self, headers: Headers) -> None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, "Pages of other sites may not use this server.", code="CTR-SRV-002")
        if not self.settings.needs_token and not _is_loopback(host):
            raise Refused(403, "On loopback this server answers to localhost and 127.0.0.1 alone.", code="CTR-SRV-002")

    def _limit(self, scope: Scope, headers: Headers) -> int:
        limits, path = self.settings.limits, scope["path"]
        limit = limits.body_bytes
        if scope["method"] == "PATCH" or "/edited/" in path:
            limit = limits.chunk_bytes
        elif path.startswith(("/monailabel/datastore/", "/monailabel/session/", "/monailabel/infer/")):
            limit = limits.upload_bytes  # a CT comes whole; it is read only from a user, and counted as any upload
        if sum(len(name) + len(value) for name, value in headers.raw) > HEADERS:
            raise Refused(431, f"The headers of a request may have {HEADERS:,} bytes.", code="CTR-SRV-006")
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > limit:
            raise _too_large(limit)
        if headers.get("content-encoding", "identity") != "identity":
            raise Refused(415, "Bodies are taken as they are; a CT's file is packed itself.", code="CTR-SRV-019")
        return limit


def _counted(receive: Receive, limit: int) -> Receive:
    count = 0

    async def counted() -> Message:
        nonlocal count
        message = await receive()
        count += len(message.get("body", b""))
        if count > limit:
            raise _too_large(limit)
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def safe(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *SAFE]}
        await send(message)

    return safe


def _too_large(limit: int) -> Refused:
    return Refused(413, f"A body of this request may have {limit:,} bytes.", code="CTR-SRV-006", hint="Send a CT in pieces.")


def _is_loopback(host: str) -> bool:
    name = host.rsplit(":", 1)[0].strip("[]") if not host.endswith("]") else host.strip("[]")
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
