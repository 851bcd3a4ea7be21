"""What outlives a restart, in one SQLite file: tokens, CTs, uploads, conversations, questions and their events.

Used from one thread; every statement touches few rows. Times are seconds since 1970, and only retention reads them.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ..client.folder import lock
from ..errors import InputError, ResourceError, UsageError

FILE = "server.sqlite"
VERSION = 1
LOCAL = "local"  # the user on loopback, who needs no token
TABLES = """
CREATE TABLE token (user TEXT PRIMARY KEY, name TEXT UNIQUE NOT NULL, hash TEXT UNIQUE NOT NULL, role TEXT NOT NULL,
  made REAL NOT NULL);
CREATE TABLE volume (user TEXT NOT NULL, id TEXT NOT NULL, key TEXT UNIQUE NOT NULL, sha256 TEXT NOT NULL, facts TEXT NOT NULL,
  bytes INTEGER NOT NULL, used REAL NOT NULL, PRIMARY KEY (user, id));
CREATE INDEX volume_by_file ON volume (user, sha256);
CREATE TABLE upload (id TEXT PRIMARY KEY, user TEXT NOT NULL, sha256 TEXT NOT NULL, size INTEGER NOT NULL, used REAL NOT NULL);
CREATE TABLE conversation (id TEXT PRIMARY KEY, user TEXT NOT NULL, volume TEXT NOT NULL, name TEXT NOT NULL,
  answered INTEGER NOT NULL, UNIQUE (user, volume, name));
CREATE TABLE question (id TEXT PRIMARY KEY, user TEXT NOT NULL, conversation TEXT NOT NULL, text TEXT NOT NULL,
  state TEXT NOT NULL, made REAL NOT NULL);
CREATE INDEX question_of ON question (conversation, made);
CREATE TABLE event (question TEXT NOT NULL, seq INTEGER NOT NULL, type TEXT NOT NULL, line TEXT NOT NULL,
  PRIMARY KEY (question, seq)) WITHOUT ROWID;
"""


class Store:
    """The database in `folder`, which is made for this user alone.

    Raises
    ------
    ResourceError : where the folder cannot be made (CTR-RES-001). InputError : where the file is of another version.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._db = sqlite3.connect(self.folder / FILE, isolation_level=None, check_same_thread=False)
            os.chmod(self.folder / FILE, 0o600)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._prepare()
        except (OSError, sqlite3.OperationalError) as error:
            raise ResourceError(
                f"The server's data in {self.folder.name} cannot be opened: {error}.",
                code="CTR-RES-001",
                hint="Choose another folder with --data.",
            ) from error
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"The server's data in {self.folder.name} are damaged: {error}.",
                code="CTR-SRV-018",
                hint="Restore a backup, or choose another folder with --data.",
            ) from error

    def _prepare(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._db.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
        elif version != VERSION:
            raise InputError(
                f"The server's data in {self.folder.name} are of version {version}, this server's of {VERSION}.",
                code="CTR-SRV-018",
                hint="Use the version that wrote them, or choose another folder with --data.",
            )

    def close(self) -> None:
        self._db.close()

    def run(self, sql: str, *values: Any) -> sqlite3.Cursor:
        return self._db.execute(sql, values)

    def one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        return self._db.execute(sql, values).fetchone()

    def all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        return self._db.execute(sql, values).fetchall()

    # ------------------------------------------------------------ who
    def add_token(self, name: str, role: str = "user") -> str:
        """Return a new token; only its hash is kept. Role: "user", or "metrics", which may read the metrics alone."""
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise UsageError("A token's name has 1 to 64 printable characters.", code="CTR-SRV-017")
        token = f"ctr_{secrets.token_urlsafe(32)}"
        try:
            self.run("INSERT INTO token VALUES (?, ?, ?, ?, ?)", secrets.token_hex(8), name, digest(token), role, time.time())
        except sqlite3.IntegrityError as error:
            raise UsageError(
                f"There is a token '{name}' already.", code="CTR-SRV-017", hint="Revoke it first, or take another name."
            ) from error
        return token

    def revoke_token(self, name: str) -> str:
        """Return the user whose token this was; a server that runs refuses it from now on."""
        row = self.one("DELETE FROM token WHERE name = ? RETURNING user", name)
        if row is None:
            raise UsageError(f"There is no token '{name}'.", code="CTR-SRV-017", hint="ctreasoner serve token list")
        return row["user"]

    def owner(self, token: str) -> sqlite3.Row | None:
        """Return (user, role) of a token. It is 256 random bits, so a plain hash is enough, and comparing hashes tells nothing."""
        return self.one("SELECT user, role FROM token WHERE hash = ?", digest(token))

    def folder_of(self, user: str) -> Path:
        """Return the user's folder; users are ids of ours, never names."""
        return self.folder / "users" / user

    # ------------------------------------------------------------ conversations
    def conversation(self, user: str, volume: str, name: str) -> sqlite3.Row:
        """Return the conversation with this name about a CT of the user's, made where there is none."""
        self.run("INSERT OR IGNORE INTO conversation VALUES (?, ?, ?, ?, 0)", secrets.token_hex(16), user, volume, name)
        return self.one("SELECT * FROM conversation WHERE user = ? AND volume = ? AND name = ?", user, volume, name)

    def events(self, question: str, after: int = -1) -> Iterator[sqlite3.Row]:
        """Yield (seq, type, line) of the events that follow."""
        yield from self.all("SELECT seq, type, line FROM event WHERE question = ? AND seq > ? ORDER BY seq", question, after)

    def delete_conversation(self, conversation: str) -> None:
        self.run("DELETE FROM event WHERE question IN (SELECT id FROM question WHERE conversation = ?)", conversation)
        self.run("DELETE FROM question WHERE conversation = ?", conversation)
        self.run("DELETE FROM conversation WHERE id = ?", conversation)

    def used_bytes(self, user: str) -> int:
        """Return what a user's CTs take, and their uploads will."""
        return self.one(
            "SELECT (SELECT coalesce(sum(bytes), 0) FROM volume WHERE user = ?1) + "
            "(SELECT coalesce(sum(size), 0) FROM upload WHERE user = ?1) AS n",
            user,
        )["n"]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def hold(folder: Path) -> IO[str]:
    """Return a file whose lock says that this server runs here; ResourceError where another one does."""
    mark = open(folder / "running", "a", encoding="ascii")  # noqa: SIM115 (held as long as the server runs)
    if not lock(mark):
        mark.close()
        raise ResourceError(
            f"Another server runs on the data in {folder.name}.",
            code="CTR-SRV-018",
            hint="Stop it, or choose another folder with --data.",
        )
    return mark
