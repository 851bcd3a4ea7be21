"""The parts of a running server, and what it does by itself: retention, draining, cleaning up."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path

from ..client.volumes import VolumeFile
from ..errors import UsageError
from . import journal
from .engine import ServerEngine, volume_file
from .problems import not_found
from .queue import Job, Queue
from .references import References
from .settings import Settings
from .store import Store, hold
from .uploads import Uploads

SWEEP_S = 60.0
EXPORT = ".export"


class Server:
    """What the routes use. Made by `app.build`; alive inside `running`."""

    def __init__(self, settings: Settings) -> None:
        settings.check()
        self.settings = settings
        self.store = Store(settings.data)
        if settings.needs_token and self.store.one("SELECT 1 FROM token") is None:
            raise UsageError(
                "Nobody could use this server: it needs a token, and there is none.",
                code="CTR-SRV-017",
                hint=f"ctreasoner serve token add NAME --data {settings.data}",
            )
        self._held = hold(self.store.folder)
        self.uploads = Uploads(self.store, settings.limits)
        self.references = References(self.uploads, settings)
        self.audit = journal.Audit(self.store.folder)
        self.engine = ServerEngine(settings, self.folder_of_conversation, self._woken)
        self.queue = Queue(self.store, self.engine, settings.limits)
        self.metrics = journal.Metrics(self.queue)
        self._loop: asyncio.AbstractEventLoop | None = None

    def _woken(self) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self.queue.wake.set)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start the engine and the tasks; at the end, stop them and leave files whole."""
        self._loop = asyncio.get_running_loop()
        self.queue.close_what_was_cut()
        self.sweep()
        self._sweep_uploads()
        self.engine.start()
        tasks = [asyncio.create_task(self.queue.run()), asyncio.create_task(self._sweep_for_ever())]
        for task in tasks:
            task.add_done_callback(_report)
        journal.say(
            "started",
            host=self.settings.host,
            port=self.settings.port,
            token=self.settings.needs_token,
            tls=self.settings.tls_cert is not None,
        )
        try:
            yield
        finally:
            await self.queue.drain()
            for task in tasks:
                task.cancel()
            await asyncio.to_thread(self.engine.close)
            self.store.close()
            self._held.close()
            journal.say("stopped")

    def start_draining(self) -> None:
        """Begin to shut down: from a signal handler, so everything else happens on the loop."""
        if self._loop is not None and not self.queue.draining:
            self.queue.draining = True
            self._loop.call_soon_threadsafe(lambda: setattr(self, "_drain", self._loop.create_task(self.queue.drain())))

    # ------------------------------------------------------------ what belongs to whom
    def volume(self, user: str, identity: str) -> sqlite3.Row:
        """Return the row of a user's CT and note that it is used."""
        row = self.store.one(
            "UPDATE volume SET used = max(used, ?) WHERE user = ? AND id = ? RETURNING *", time.time(), user, identity
        )
        if row is None:
            raise not_found("CT")
        return row

    def conversation(self, user: str, conversation: str) -> sqlite3.Row:
        row = self.store.one("SELECT * FROM conversation WHERE id = ? AND user = ?", conversation, user)
        if row is None:
            raise not_found("conversation")
        return row

    def question(self, user: str, question: str) -> sqlite3.Row:
        row = self.store.one("SELECT * FROM question WHERE id = ? AND user = ?", question, user)
        if row is None:
            raise not_found("question")
        return row

    def file_of(self, row: sqlite3.Row) -> VolumeFile:
        """Return what the engine takes of a CT."""
        return volume_file(row, self.uploads.voxels(row["user"], row["key"]), self.uploads.source(row["user"], row["key"]))

    def folder_of_conversation(self, conversation: str) -> Path:
        row = self.store.one("SELECT user FROM conversation WHERE id = ?", conversation)
        user = row["user"] if row is not None else "gone"
        return self.store.folder_of(user) / "conversations" / conversation

    def export_folder(self, conversation: str) -> Path:
        return self.folder_of_conversation(conversation).with_suffix(EXPORT)

    def jobs_of(self, conversations: set[str]) -> list[Job]:
        return [job for job in self.queue.jobs.values() if job.conversation in conversations]

    # ------------------------------------------------------------ taking away
    def delete_conversation(self, row: sqlite3.Row) -> None:
        self.queue.abandon(self.jobs_of({row["id"]}))
        folder = self.folder_of_conversation(row["id"])
        self.store.delete_conversation(row["id"])
        for path in folder.parent.glob(f"{folder.name}*"):  # with its export, unpacked and packed
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def delete_volume(self, row: sqlite3.Row) -> None:
        """Take a CT away with all that was answered about it."""
        for conversation in self.store.all("SELECT * FROM conversation WHERE user = ? AND volume = ?", row["user"], row["id"]):
            self.delete_conversation(conversation)
        self.engine.forget(row["key"])
        self.store.run("DELETE FROM volume WHERE key = ?", row["key"])
        for path in (self.uploads.voxels(row["user"], row["key"]), self.uploads.source(row["user"], row["key"])):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what nobody used for as long as is kept."""
        before = time.time() - self.settings.limits.retention_h * 3600
        for row in self.store.all("SELECT * FROM volume WHERE used < ?", before):
            if not any(job.volume.identity == row["key"] for job in self.queue.jobs.values()):
                self.delete_volume(row)
                self.audit.write(row["user"], "expired", what="volume")
        for row in self.store.all("SELECT * FROM upload WHERE used < ?", before):
            self.uploads.delete(row)

    def _sweep_uploads(self) -> None:
        """Take away what a server that was killed left half done."""
        kept = set()
        for row in self.store.all("SELECT * FROM upload"):
            path = self.uploads.path(row)
            if path.is_file():
                kept.add(path)
            else:
                self.uploads.delete(row)
        for path in self.store.folder.glob("users/*/uploads/*"):
            if path not in kept:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self.sweep()


def _report(task: asyncio.Task) -> None:
    """A task that ends by a fault of ours takes the server with it: half a server would keep everybody waiting."""
    if not task.cancelled() and task.exception() is not None:
        journal.LOG.error("a task ended", exc_info=task.exception())
        import os
        import signal

        os.kill(os.getpid(), signal.SIGTERM)
