"""The worker process of the panel, as a server uses it: workspaces outlive it, and few CTs are kept in its mind."""

from __future__ import annotations

import json
import queue
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..client.local import LocalEngine
from ..client.volumes import VolumeFile
from ..events import Request
from .settings import Settings


class ServerEngine(LocalEngine):
    """One worker. `wake` is called, from another thread, whenever it said something.

    A CT is known to it by its row's key, not by its content: users who hold the same CT share nothing that was encoded, so that
    no answer comes sooner because of somebody else's. A conversation's folder is named by the conversation alone.
    """

    def __init__(self, settings: Settings, folder_of: Callable[[str], Path], wake: Callable[[], None]) -> None:
        super().__init__(arguments=[*settings.worker, "--relive"])
        self._inbox = _Waking(wake)
        self._folder_of, self._most = folder_of, settings.limits.warm_volumes
        self._warm: OrderedDict[str, None] = OrderedDict()

    def ask(self, request: Request, volume: VolumeFile, *, answered: int = 0, known: Mapping[str, str] | None = None) -> int:
        self._touch(volume.identity)
        return super().ask(request, volume, answered=answered, known=known)

    def inside(self, volume: VolumeFile) -> int:
        self.start()
        self._touch(volume.identity)
        return super().inside(volume)

    def _touch(self, key: str) -> None:
        """Have the worker forget the CT that was used longest ago, where there are too many."""
        self._warm[key] = None
        self._warm.move_to_end(key)
        while len(self._warm) > self._most:
            self.forget(next(iter(self._warm)))

    def forget(self, identity: str) -> None:
        self._warm.pop(identity, None)
        super().forget(identity)

    def _workspace(self, volume: str, conversation: str) -> Path:
        return self._folder_of(conversation)

    def _remove(self, identity: str) -> None:
        """Files are the store's to delete."""


class _Waking(queue.Queue):
    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__()
        self._wake = wake

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item, block, timeout)
        self._wake()


def volume_file(row: sqlite3.Row, voxels: Path, source: Path) -> VolumeFile:
    """Return what the engine takes of a CT in the store."""
    facts = json.loads(row["facts"])
    return VolumeFile(
        identity=row["key"],
        content=row["id"],
        path=voxels,
        affine=tuple(map(tuple, facts["affine"])),
        name="CT",
        shape=tuple(facts["shape"]),
        source=str(source) if source.is_file() else "",
    )
