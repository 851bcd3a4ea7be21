"""A form (multipart/form-data) as it comes in: its few fields in memory, its one file as an upload under the user's limits."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from ..errors import UsageError
from .uploads import Uploads

FIELD_BYTES = 1 << 20
MOST_PARTS = 16


@dataclass
class Form:
    """What a form held. `upload` is the row of its file, complete and not yet read, or None."""

    fields: dict[str, str]
    upload: sqlite3.Row | None = None


async def read_form(request: Request, uploads: Uploads, user: str, file_field: str) -> Form:
    """Read a form whose only file, if any, is the field `file_field`. Its file name is not looked at.

    Raises
    ------
    UsageError : CTR-SRV-012 for a body that is no such form, or one that is cut off. Refused : what `Uploads` refuses.
    """
    length = request.headers.get("content-length", "")
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not 0 < len(options.get(b"boundary", b"")) <= 200 or not length.isdigit():
        raise _wrong("The body must be multipart/form-data, and say its length.")
    parts = _Parts(options[b"boundary"], file_field)
    body = _until_gone(request.stream())
    upload = None
    try:
        async for piece in body:
            parts.feed(piece)
            if parts.has_file:
                break
        if parts.has_file:  # its length is known when it ends; until then the whole body's stands for it
            upload = uploads.begin(user, int(length), f"form {secrets.token_hex(16)}")
            hashed = hashlib.sha256()
            size = await uploads.append(upload, 0, _content(parts, body, hashed))
        if not parts.ended:
            raise parts.refused or _wrong("The form was cut off.")
        if upload is None:
            return Form(parts.text())
        return Form(parts.text(), uploads.announce(upload, size, hashed.hexdigest()))
    except BaseException:
        if upload is not None:
            uploads.delete(upload)
        raise


async def _until_gone(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    with contextlib.suppress(ClientDisconnect):
        async for piece in body:
            yield piece


async def _content(parts: _Parts, body: AsyncIterator[bytes], hashed: Any) -> AsyncIterator[bytes]:
    """Yield the file's bytes while the rest of the form is read, and hash them."""
    while True:
        held = bytes(parts.content)
        parts.content.clear()
        hashed.update(held)
        yield held
        piece = await anext(body, None)
        if piece is None:
            return
        parts.feed(piece)


class _Parts:
    """What the parser tells of a body, in its order."""

    def __init__(self, boundary: bytes, file_field: str) -> None:
        self.content = bytearray()  # of the file: what has come and was not taken away
        self.has_file = self.ended = False
        self.refused: UsageError | None = None
        self._file_field, self._fields = file_field, {}
        self._into = bytearray()
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._count = 0
        told = ("part_begin", "part_data", "header_field", "header_value", "header_end", "headers_finished", "end")
        self._parser = MultipartParser(boundary, {f"on_{name}": getattr(self, f"_on_{name}") for name in told})

    def feed(self, piece: bytes) -> None:
        """Take the next bytes; what is wrong with them is remembered, since a reader of uploads takes any end for a cut."""
        try:
            self._parser.write(piece)
        except (FormParserError, UsageError) as error:
            self.refused = error if isinstance(error, UsageError) else _wrong("The body is no multipart form.")
            raise self.refused from error

    def text(self) -> dict[str, str]:
        try:
            return {name: value.decode() for name, value in self._fields.items()}
        except UnicodeDecodeError as error:
            raise _wrong("A field of the form is not UTF-8.") from error

    def _on_part_begin(self) -> None:
        self._disposition = b""
        self._count += 1
        if self._count > MOST_PARTS:
            raise _wrong(f"A form has {MOST_PARTS} fields at most.")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" not in options:
            self._into = self._fields[name] = bytearray()
            return
        if name != self._file_field or self.has_file:
            raise _wrong(f"The form may hold one file, in the field `{self._file_field}`.", "A DICOM series is sent as a zip.")
        self.has_file, self._into = True, self.content

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._into is not self.content and len(self._into) + end - start > FIELD_BYTES:
            raise _wrong(f"A field of a form has {FIELD_BYTES:,} bytes at most.")
        self._into += data[start:end]

    def _on_end(self) -> None:
        self.ended = True


def _wrong(sentence: str, hint: str = "") -> UsageError:
    return UsageError(sentence, code="CTR-SRV-012", hint=hint)
