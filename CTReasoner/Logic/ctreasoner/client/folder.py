"""A folder for as long as a program runs. What programs that were killed left behind is taken away by the next one."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ..errors import ResourceError

PREFIX = "ctreasoner-engine-"
OWNER = "owner"
LOCKS = os.name == "posix"      # elsewhere a file that is open cannot be removed, which serves as well


class SessionFolder:
    """A new folder in the system's place for temporary files, readable by this user alone (it holds patient data).

    Raises
    ------
    ResourceError : where it cannot be made (CTR-RES-001).
    """

    def __init__(self) -> None:
        sweep()
        try:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._owner = open(self.path / OWNER, "w", encoding="ascii")     # noqa: SIM115 (held open: that is the mark)
        except OSError as error:
            raise ResourceError(f"The folder for the engine's files could not be made: {error.strerror or error}.",
                                code="CTR-RES-001", hint="Free some space in the folder for temporary files.") from error
        _lock(self._owner)

    def remove(self) -> None:
        """Take the folder away. A second call does nothing."""
        self._owner.close()
        shutil.rmtree(self.path, ignore_errors=True)


def sweep() -> None:
    """Remove the folders whose owner no longer runs."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if LOCKS:
                with open(folder / OWNER, "r+", encoding="ascii") as mark:
                    if not _lock(mark):
                        continue
                    shutil.rmtree(folder, ignore_errors=True)
            else:
                (folder / OWNER).unlink()
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:         # another user's, or in use
            continue


def _lock(file) -> bool:
    """Return whether this process now holds the file; the system lets go of it when the process ends, however it ends."""
    if not LOCKS:
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
