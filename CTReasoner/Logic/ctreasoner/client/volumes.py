"""A CT is handed to the engine once, as a memory-mapped file, and found again by the hash of its content."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ResourceError
from ..geometry import Volume


@dataclass(frozen=True)
class VolumeFile:
    """A CT on disk: `path` is a .npy file of [i, j, k] HU; `identity` is its hash together with `affine` (ijk -> RAS mm)."""

    identity: str
    path: Path
    affine: tuple[tuple[float, ...], ...]
    name: str = ""
    source: str = ""
    shape: tuple[int, ...] = ()


class VolumeStore:
    """Writes CTs into a folder, on a thread of its own. The same content is written once."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="ctreasoner-volume")

    def put(self, voxels: np.ndarray, affine: np.ndarray, *, name: str = "", source: str = "") -> Future[VolumeFile]:
        """Write (i, j, k) HU and return a future; `voxels` may be a view of memory that the caller goes on showing."""
        return self._threads.submit(self._write, voxels, np.array(affine, float), name, source)

    def _write(self, voxels: np.ndarray, affine: np.ndarray, name: str, source: str) -> VolumeFile:
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"part-{os.getpid()}-{time.monotonic_ns()}.npy"
        try:
            np.save(part, Volume(voxels, affine).voxels)
            identity = Volume(np.load(part, mmap_mode="r"), affine).identity     # of what was written, not of what is shown
            path = self.folder / f"{identity}.npy"
            if path.is_file():
                part.unlink()
            else:
                os.replace(part, path)
        except OSError as error:
            raise ResourceError(f"The CT could not be handed to the engine: {error.strerror or error}.", code="CTR-RES-001",
                                hint="Free some space in the folder for temporary files.") from error
        finally:
            part.unlink(missing_ok=True)
        return VolumeFile(identity=identity, path=path, affine=tuple(map(tuple, affine.tolist())), name=name, source=source,
                          shape=tuple(int(n) for n in voxels.shape))

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown(wait=True, cancel_futures=True)
