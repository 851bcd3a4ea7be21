"""Writing DICOM files so that a reader never meets half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset

from ..errors import ResourceError


def copy_of(dataset: Dataset) -> Dataset:
    """Return a data set that can gain elements and change its own; the values themselves are shared.

    ``Dataset(other)`` and ``update`` share the elements, so that a value set in the copy would be set in both.
    """
    copied = Dataset()
    for element in dataset:
        copied.add(copy(element))
    copied.file_meta = getattr(dataset, "file_meta", None)
    return copied


def save(dataset: Dataset, path: Path) -> Path:
    """Write ``dataset`` beside ``path`` and move it there; a full disk is a ResourceError and leaves nothing behind."""
    return _write(lambda file: dataset.save_as(file, enforce_file_format=True), path)


def save_bytes(data: bytes, path: Path) -> Path:
    """Write a file as it came, in the same way."""
    return _write(lambda file: file.write(data), path)


def _write(write: Callable[[BinaryIO], object], path: Path) -> Path:
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            write(file)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise ResourceError(
            f"{path.name!r} cannot be written: {error.strerror or error}.",
            code="CTR-RES-001",
            hint="Free some space or choose another folder.",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
    return path
