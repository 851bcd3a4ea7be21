"""The HTTP application: routes, guard, problems and journal round one `Server`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from ..version import __version__
from . import monailabel, problems
from .guard import Guard
from .journal import Journal
from .routes import api, open_to_all
from .server import Server
from .settings import Settings

ABOUT = "Ask a CT a question over HTTP. Answers are server-sent events; every refusal is problem+json with a stable code."


def build(settings: Settings) -> FastAPI:
    """Return the application; its lifespan starts and stops the engine.

    Raises
    ------
    UsageError, ResourceError, InputError : where the settings are not safe, or the data cannot be used.
    """
    server = Server(settings)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with server.running():
            yield

    app = FastAPI(title="CTReasoner", version=__version__, description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.server = server
    problems.install(app)
    app.include_router(open_to_all)
    app.include_router(api)
    app.include_router(monailabel.public)
    app.include_router(monailabel.router)
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Journal, metrics=server.metrics)
    app.openapi = lambda: _openapi(app)
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return the schema with `Problem` in it, and without FastAPI's own form of a refused request, which is never sent."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        parts = schema.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            parts.pop(unused, None)
        parts["Problem"] = problems.SCHEMA
        for path in schema["paths"].values():
            for operation in path.values():
                operation["responses"]["422"] = problems.REPLIES[422]
        app.openapi_schema = schema
    return app.openapi_schema
