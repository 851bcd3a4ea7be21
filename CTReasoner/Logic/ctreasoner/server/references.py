"""CTs by reference: a series in the one archive that whoever runs the server has named. No user names another address."""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from .problems import Refused
from .settings import Settings
from .uploads import Uploads

if TYPE_CHECKING:
    from ..pacs.archive import Archive, Remote

AT_ONCE = 2


class References:
    """Fetches series into the uploads of whoever asks; what is fetched is then read as if it had been sent.

    Raises
    ------
    UsageError : for an archive whose address or access cannot be used.
    """

    def __init__(self, uploads: Uploads, settings: Settings) -> None:
        self._uploads, self._most = uploads, settings.limits.upload_bytes
        self._archive = _opened(settings) if settings.archive else None
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, user: str, study: str, series: str) -> sqlite3.Row:
        """Return the CT of a series; one that was fetched before and is still here is not read again.

        Raises
        ------
        Refused : 404 where no archive was named, and what `Uploads` refuses. NetworkError : what the archive says.
        """
        if self._archive is None:
            raise Refused(404, "This server fetches from no archive.", code="CTR-SRV-023", hint="Send the CT itself.")
        self._uploads.check_room(user, 1)
        folder = self._uploads.store.folder_of(user) / "uploads" / f"{secrets.token_hex(16)}.series"
        folder.mkdir(parents=True, mode=0o700)
        try:
            async with self._turn:
                packed = await asyncio.to_thread(self._pulled, study, series, folder)
            with open(packed, "rb") as content:
                sha256 = hashlib.file_digest(content, "sha256").hexdigest()
            known = self._uploads.known(user, sha256=sha256)
            if known is not None:
                return known
            row = self._uploads.begin(user, packed.stat().st_size, sha256)
            os.replace(packed, self._uploads.path(row))
            return await self._uploads.finish(row)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _pulled(self, study: str, series: str, folder: Path) -> Path:
        """Fetch a series; return its files in a zip that is the same each time."""
        from ..pacs.transfer import pull

        pull(_Bounded(self._archive, self._most), study, folder, series=series)
        packed = folder / "series.zip"
        with zipfile.ZipFile(packed, "w") as into:
            for path in sorted(folder.rglob("*.dcm")):
                into.writestr(zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes())
        return packed


class _Bounded:
    """An archive of which no more than so many bytes are taken."""

    def __init__(self, archive: Archive, most: int) -> None:
        self.address, self.series, self.objects = archive.address, archive.series, archive.objects
        self._archive, self._left, self._most = archive, most, most

    def fetch(self, wanted: Sequence[Remote]) -> Iterator[tuple[Remote, bytes]]:
        for remote, data in self._archive.fetch(wanted):
            self._left -= len(data)
            if self._left < 0:
                raise Refused(413, f"The series has more than {self._most:,} bytes, the most that is taken.", code="CTR-SRV-006")
            yield remote, data


def _opened(settings: Settings) -> Archive:
    try:
        from ..pacs.address import Access, Address
        from ..pacs.archive import open_archive

        return open_archive(Address.parse(settings.archive), Access.read(**settings.access))
    except ImportError as error:
        raise UsageError(f"To fetch from an archive the server needs the package {error.name}.", code="CTR-SRV-021",
                         hint="pip install 'ctreasoner[engine,server,pacs]'") from error
