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
    """A CT on disk: `path` is a .npy file of [i, j, k] HU; `identity` is its hash together with `affine` (ijk -> RAS mm).

    source : the folder or file that it was read from; a DICOM series there is what an exported DICOM segmentation refers to.
    eight_bit : it was one byte per voxel before it was written, which no HU are.
    content : the hash itself where `identity` is another name, under which the engine keeps this CT apart from an equal one.
    """

    identity: str
    path: Path
    affine: tuple[tuple[float, ...], ...]
    name: str = ""
    source: str = ""
    shape: tuple[int, ...] = ()
    eight_bit: bool = False
    content: str = ""


class VolumeStore:
    """Writes CTs into a folder, on a thread of its own. The same content is written once."""

    def __init__(self, folder: str | os.PathLike) -> None:
        self.folder = Path(folder)
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="ctreasoner-volume")

    def put(self, voxels: np.ndarray, affine: np.ndarray, *, name: str = "", source: str = "") -> Future[VolumeFile]:
        """Write (i, j, k) HU and return a future; `voxels` may be a view of memory that the caller goes on showing.

        The future raises ResourceError (CTR-RES-001) where the disk is full, GeometryError for an affine that makes no sense.
        """
        return self._threads.submit(self._write, voxels, np.array(affine, float), name, source)

    def path(self, identity: str) -> Path:
        """Return where the CT with this identity lies, if it was put."""
        return self.folder / f"{identity}.npy"

    def _write(self, voxels: np.ndarray, affine: np.ndarray, name: str, source: str) -> VolumeFile:
        part = self.folder / f"part-{os.getpid()}-{time.monotonic_ns()}.npy"
        shown = Volume(voxels, affine)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if any(self.folder.glob("*.npy")) and self.path(shown.identity).is_file():
                identity = shown.identity
            else:
                np.save(part, shown.voxels)
                written = Volume(np.load(part, mmap_mode="r"), affine)
                identity = written.identity         # of what was written: what is shown may have changed meanwhile
                del written                         # a mapped file cannot be moved on Windows
                os.replace(part, self.path(identity))
        except OSError as error:
            raise ResourceError(f"The CT could not be handed to the engine: {error.strerror or error}.", code="CTR-RES-001",
                                hint="Free some space in the folder for temporary files.") from error
        finally:
            part.unlink(missing_ok=True)
        return VolumeFile(identity=identity, path=self.path(identity), affine=tuple(map(tuple, affine.tolist())), name=name,
                          source=source, shape=shown.shape, eight_bit=voxels.dtype.itemsize == 1)

    def forget(self, identity: str) -> None:
        """Remove the file of a CT."""
        self.path(identity).unlink(missing_ok=True)

    def close(self) -> None:
        """Wait for what is being written."""
        self._threads.shutdown(wait=True, cancel_futures=True)
