"""A folder for as long as a program runs. What programs that were killed left behind is taken away by the next one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from ..errors import ResourceError

PREFIX = "ctreasoner-engine-"
OWNER = "owner"


class SessionFolder:
    """A new folder in the system's place for temporary files, readable by this user alone (it holds patient data).

    Raises
    ------
    ResourceError : where it cannot be made (CTR-RES-001).
    """

    def __init__(self) -> None:
        sweep()
        try:
            self.path, self._owner = _marked()
            while not lock(self._owner):            # another program's sweep came in between and takes it away
                self._owner.close()
                self.path, self._owner = _marked()
        except OSError as error:
            raise ResourceError(f"The folder for the engine's files could not be made: {error.strerror or error}.",
                                code="CTR-RES-001", hint="Free some space in the folder for temporary files.") from error

    def remove(self) -> None:
        """Take the folder away. A second call does nothing."""
        self._owner.close()
        shutil.rmtree(self.path, ignore_errors=True)


def _marked() -> tuple[Path, IO[str]]:
    """Return a new folder and the file in it that its owner holds open."""
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    return path, open(path / OWNER, "w", encoding="ascii")


def sweep() -> None:
    """Remove the folders whose owner no longer runs."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            with open(folder / OWNER, "r+", encoding="ascii") as mark:
                left = lock(mark)
        except OSError:         # another user's, or none of ours
            continue
        if left:
            shutil.rmtree(folder, ignore_errors=True)


def lock(file) -> bool:
    """Return whether this process now holds the file; the system lets go of it when the process ends, however it ends."""
    try:
        if os.name == "nt":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
