"""Files that exist whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ..errors import ResourceError


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """A file to write to that becomes `path` when the block ends well; otherwise nothing is left and the old one stays.

    Raises: ResourceError (CTR-RES-001), when the disk is full or the folder cannot be written to.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            yield file
        os.replace(part, path)
    except OSError as error:
        raise ResourceError(f"{path.name} could not be written: {error.strerror or error}.", code="CTR-RES-001",
                            hint="Free some space or choose another folder.") from error
    finally:
        part.unlink(missing_ok=True)
