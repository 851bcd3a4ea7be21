"""CTs on their way in: in pieces that can be sent again, checked against their hash, and never twice."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import secrets
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from .parsing import parse
from .problems import Refused, not_found
from .settings import Limits
from .store import Store, digest

PIECE = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Uploads:
    """The files that users send, and the CTs that become of them."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.store, self.limits = store, limits
        self._busy: set[str] = set()  # uploads that are being written to or read
        self._parsing = asyncio.Semaphore(2)

    def begin(self, user: str, size: int, sha256: str) -> sqlite3.Row:
        """Return a new upload, or the one of this very file that was begun before."""
        row = self.store.one("SELECT * FROM upload WHERE user = ? AND sha256 = ? AND size = ?", user, sha256, size)
        if row is not None:
            return row
        self.check_room(user, size)
        upload = secrets.token_hex(16)
        path = self._path(user, upload)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        self.store.run("INSERT INTO upload VALUES (?, ?, ?, ?, ?)", upload, user, sha256, size, time.time())
        return self.get(user, upload)

    def check_room(self, user: str, size: int) -> None:
        """Raise Refused where a user's file of so many bytes is too large, or there is no room for it."""
        if size > self.limits.upload_bytes:
            raise Refused(413, f"The file has {size:,} bytes; {self.limits.upload_bytes:,} are taken at most.", code="CTR-SRV-006")
        if self.store.used_bytes(user) + size > self.limits.user_bytes:
            raise Refused(
                507,
                f"Your CTs may take {self.limits.user_bytes:,} bytes; with this one they would take more.",
                code="CTR-SRV-009",
                hint="Delete CTs that are no longer needed.",
            )
        if self.store.one("SELECT count(*) AS n FROM upload WHERE user = ?", user)["n"] >= self.limits.user_uploads:
            raise Refused(
                429,
                f"{self.limits.user_uploads} of your uploads are not finished.",
                code="CTR-SRV-008",
                hint="Finish or delete one of them.",
                headers={"Retry-After": "60"},
            )
        if shutil.disk_usage(self.store.folder).free < 4 * size + (64 << 20):  # itself, and what it unpacks to
            raise _full()

    def get(self, user: str, upload: str) -> sqlite3.Row:
        row = self.store.one("SELECT * FROM upload WHERE id = ? AND user = ?", upload, user)
        if row is None:
            raise not_found("upload")
        return row

    def offset(self, row: sqlite3.Row) -> int:
        """Return how many bytes have come: all of them, where the file is being read already."""
        try:
            return self.path(row).stat().st_size
        except FileNotFoundError:
            return row["size"]

    async def append(self, row: sqlite3.Row, offset: int, body: AsyncIterator[bytes]) -> int:
        """Write a piece at `offset`, where the last one ended, and return the new end. What came before a cut stays."""
        path = self.path(row)
        with self._alone(row["id"]):
            have = self.offset(row)
            if offset != have:
                raise Refused(
                    409,
                    f"The next byte of this upload is {have}, not {offset}.",
                    code="CTR-SRV-004",
                    headers={"Upload-Offset": str(have)},
                )
            if have == row["size"]:
                return have
            try:
                with open(path, "r+b", buffering=0) as file:
                    file.seek(have)
                    async for piece in _pieces(body):
                        if have + len(piece) > row["size"]:
                            raise Refused(
                                413, f"More than the {row['size']:,} bytes that were announced were sent.", code="CTR-SRV-006"
                            )
                        await asyncio.to_thread(_write_all, file, piece)
                        have += len(piece)
            except OSError as error:
                os.truncate(path, have)
                raise _full() if error.errno in FULL else error from error
        self.store.run("UPDATE upload SET used = ? WHERE id = ?", time.time(), row["id"])
        return have

    def announce(self, row: sqlite3.Row, size: int, sha256: str) -> sqlite3.Row:
        """Return an upload with the size and hash of what came, where neither was known when it began."""
        self.store.run("UPDATE upload SET size = ?, sha256 = ? WHERE id = ?", size, sha256, row["id"])
        return self.get(row["user"], row["id"])

    async def finish(self, row: sqlite3.Row) -> sqlite3.Row:
        """Check and read a file that has come whole; return its CT. A file that is refused is taken away."""
        user, path = row["user"], self.path(row)
        with self._alone(row["id"]):
            if (have := self.offset(row)) != row["size"]:
                raise Refused(
                    409,
                    f"The upload has {have:,} of {row['size']:,} bytes.",
                    code="CTR-SRV-004",
                    headers={"Upload-Offset": str(have)},
                )
            try:
                if await asyncio.to_thread(_sha256, path) != row["sha256"]:
                    raise Refused(
                        422,
                        "The file that came is not the one that was announced: its hash differs.",
                        code="CTR-SRV-011",
                        hint="Send it again.",
                    )
                async with self._parsing:
                    return await self._read(user, path, row["sha256"])
            finally:
                self.delete(row)

    async def _read(self, user: str, path: Path, sha256: str) -> sqlite3.Row:
        # the file's name stands in the sentences of what is refused; a process that is killed leaves no other file behind
        named, out = path.with_name(f"{path.name}-") / "the file", path.with_suffix(".npy")
        named.parent.mkdir(mode=0o700)
        try:
            path.rename(named)
            facts = await parse(named, out, most_bytes=self.limits.parse_bytes, most_s=self.limits.parse_s)
            return self._keep(user, named if facts["dicom"] else None, out, sha256, facts)
        finally:
            out.unlink(missing_ok=True)
            shutil.rmtree(named.parent, ignore_errors=True)

    def _keep(self, user: str, source: Path | None, out: Path, sha256: str, facts: dict[str, Any]) -> sqlite3.Row:
        identity = facts["identity"]
        row = self.store.one("SELECT * FROM volume WHERE user = ? AND id = ?", user, identity)
        if row is None:
            key = digest(f"{user} {identity} {secrets.token_hex(16)}")
            target = self.voxels(user, key)
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            size = out.stat().st_size + (source.stat().st_size if source else 0)
            if source is not None:
                source.rename(self.source(user, key))
            out.rename(target)
            self.store.run(
                "INSERT INTO volume VALUES (?, ?, ?, ?, ?, ?, ?)", user, identity, key, sha256, json.dumps(facts), size, time.time()
            )
        return self.store.one("SELECT * FROM volume WHERE user = ? AND id = ?", user, identity)

    def known(self, user: str, *, identity: str = "", sha256: str = "") -> sqlite3.Row | None:
        """Return the user's CT with this content, or from this very file. Other users' are not looked at."""
        return self.store.one("SELECT * FROM volume WHERE user = ? AND (id = ? OR sha256 = ?)", user, identity, sha256)

    def delete(self, row: sqlite3.Row) -> None:
        self.store.run("DELETE FROM upload WHERE id = ?", row["id"])
        self.path(row).unlink(missing_ok=True)

    def voxels(self, user: str, key: str) -> Path:
        return self.store.folder_of(user) / "volumes" / f"{key}.npy"

    def source(self, user: str, key: str) -> Path:
        """Return where the file of a DICOM series is kept, which an exported segmentation refers to."""
        return self.store.folder_of(user) / "volumes" / f"{key}.source"

    def path(self, row: sqlite3.Row) -> Path:
        """Return where the bytes of an upload lie until it is finished."""
        return self._path(row["user"], row["id"])

    def _path(self, user: str, upload: str) -> Path:
        return self.store.folder_of(user) / "uploads" / f"{upload}.part"

    def _alone(self, upload: str) -> _Alone:
        return _Alone(self._busy, upload)


class _Alone:
    """Two requests about one upload do not mix: the second is told to ask again."""

    def __init__(self, busy: set[str], upload: str) -> None:
        self._busy, self._upload = busy, upload

    def __enter__(self) -> None:
        if self._upload in self._busy:
            raise Refused(409, "Another request is about this upload now.", code="CTR-SRV-004", headers={"Retry-After": "1"})
        self._busy.add(self._upload)

    def __exit__(self, *_: object) -> None:
        self._busy.discard(self._upload)


async def _pieces(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield larger pieces than the network does; the rest also where the sender is cut off."""
    held = bytearray()
    try:
        async for part in body:
            held += part
            if len(held) >= PIECE:
                yield bytes(held)
                held.clear()
    except Exception:  # the client is gone: what has come so far is kept
        pass
    if held:
        yield bytes(held)


def _write_all(file: Any, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _full() -> Refused:
    return Refused(507, "The server's disk is full.", code="CTR-RES-001", hint="Ask who runs the server to free some space.")
