"""A unit: one CT, the questions, the weights. Its folder is named by these, and appears when it is whole.

    DIR/cases/<name>/       unit.json, answer.json, report.html, masks/, pictures/, ...: never half of it
    DIR/work/<run>/         what is being made; it goes with the run, or at the start of the next
    DIR/sources.jsonl       which files had which content, so that a rerun need not read them; it may be deleted
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..answer import write_json
from ..errors import InputError, ResourceError
from ..exporting import Wish
from .sources import Source

UNIT, CASES, WORK, INDEX, LOCK = "unit.json", "cases", "work", "sources.jsonl", ".lock"
UNIT_VERSION = 1
MOST_DEATHS = 2


@dataclass(frozen=True)
class Job:
    """What is asked of every CT.

    model, weights : folder of the model and the hash of its weights.
    dicom : of ``exporting.WHAT``; none writes no DICOM.
    access : options of ``pacs.address.Access.read`` (names of files, never secrets).
    run : of this start of the program.
    """

    out: Path
    questions: tuple[str, ...]
    model: str
    weights: str
    run: str
    dicom: tuple[str, ...] = ()
    access: dict[str, Any] = field(default_factory=dict)

    def name(self, identity: str) -> str:
        """Return the name of the unit of a CT: the same questions to the same voxels by the same weights have the same one."""
        text = json.dumps([UNIT_VERSION, identity, self.questions, self.weights])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    @property
    def wish(self) -> Wish:
        return Wish(self.dicom)

    @property
    def work(self) -> Path:
        return self.out / WORK / self.run

    def case(self, name: str) -> Path:
        return self.out / CASES / name

    def state(self, name: str) -> dict[str, Any] | None:
        """Return ``unit.json`` of a unit that is there, else None."""
        return read_unit(self.case(name))

    def is_done(self, name: str) -> bool:
        """Whether a unit is there, with all the DICOM that is wished."""
        known = self.state(name)
        return known is not None and set(self.dicom) <= set(known["dicom"])

    def archive(self, address: str):
        """Open an archive with the access that was given."""
        from ..pacs.address import Access, Address
        from ..pacs.archive import open_archive

        return open_archive(Address.parse(address), Access.read(**self.access))


def read_unit(folder: Path) -> dict[str, Any] | None:
    """Return the content of a unit's ``unit.json``; None where there is none, or one of another version."""
    try:
        content = json.loads((folder / UNIT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if content.get("v") == UNIT_VERSION else None


def commit(job: Job, made: Path, name: str) -> bool:
    """Move a finished folder to its name; False where another worker was first (then it is thrown away)."""
    target = job.case(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    if read_unit(target) is None and target.exists():
        shutil.rmtree(target)       # of another version, or touched by hand: not a unit
    try:
        os.rename(made, target)
    except OSError:
        shutil.rmtree(made, ignore_errors=True)
        if read_unit(target) is None:
            raise
        return False
    return True


def add_dicom(job: Job, folder: Path, volume, source: Path | None) -> None:
    """Write the DICOM objects that an earlier run did not make: from the saved answer, without the model."""
    from ..exporting import created_of, model_of, read_answer, write_dicom

    unit = read_unit(folder)
    objects, content = read_answer(folder, volume)
    wish = Wish(tuple(sorted({*unit["dicom"], *job.dicom})))
    new = job.work / f"{folder.name}.dicom"
    if objects:
        write_dicom(new, objects, volume, wish=wish, source=source, model=model_of(content), created=created_of(content))
        shutil.rmtree(folder / "dicom", ignore_errors=True)
        os.rename(new, folder / "dicom")
    write_json(unit | {"dicom": list(wish.what)}, folder / UNIT)


class Room:
    """Places for CTs in one worker. A process that dies takes all of them with it, so a CT that saw one die gets the whole room."""

    def __init__(self, places: int) -> None:
        self.places, self._free, self._whole = places, threading.Semaphore(places), threading.Lock()

    @contextmanager
    def place(self, job: Job, source: Source) -> Iterator[None]:
        """Wait for a place and take down that this CT is on its way: Ray would try for ever.

        Raises
        ------
        ResourceError : CTR-BAT-005, where processes died at it before.
        """
        tries = job.work / f"{source.key}.tries"
        deaths = tries.stat().st_size if tries.is_file() else 0
        if deaths >= MOST_DEATHS:
            raise ResourceError(f"{source.name}: {MOST_DEATHS} processes ended at this CT, without a word.", code="CTR-BAT-005",
                                hint="It may need more memory than there is: try `ctreasoner ask` with it, or fewer --workers.")
        with ExitStack() as stack:
            if deaths:
                stack.enter_context(self._whole)
            for _ in range(self.places if deaths else 1):
                stack.enter_context(self._free)
            tries.parent.mkdir(parents=True, exist_ok=True)
            with tries.open("ab") as file:
                file.write(b".")
            stack.callback(tries.unlink, missing_ok=True)       # whatever is raised: the process lives
            yield


class Index:
    """Which source had which content (``sources.jsonl``). A line that was cut off is passed over."""

    def __init__(self, out: Path) -> None:
        self.path = out / INDEX
        self.known: dict[str, str] = dict(self._lines())
        self._start = "\n" if self.path.is_file() else ""      # the last line may have been cut off

    def _lines(self) -> Iterator[tuple[str, str]]:
        if not self.path.is_file():
            return
        for line in self.path.read_bytes().splitlines():
            try:
                row = json.loads(line)
                yield row["source"], row["volume"]
            except (ValueError, KeyError, TypeError):
                continue

    def add(self, source: Source, identity: str) -> None:
        if self.known.get(source.key) != identity:
            self.known[source.key] = identity
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._start + json.dumps({"source": source.key, "volume": identity}) + "\n")
            self._start = ""


@contextmanager
def sole_owner(out: Path) -> Iterator[None]:
    """Make the folder, and refuse to work in it while another batch does; what an earlier one left half-made goes.

    Raises
    ------
    InputError : CTR-BAT-006, or no folder. ResourceError : it cannot be written.
    """
    import fcntl

    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / LOCK).open("w")
    except (FileExistsError, NotADirectoryError) as error:
        raise InputError(f"{out.name} is a file, not a folder to write to.", code="CTR-IO-080") from error
    except OSError as error:
        raise ResourceError(f"{out.name} could not be written: {error.strerror or error}.", code="CTR-RES-001",
                            hint="Free some space or choose another folder.") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InputError(f"Another batch is working in {out.name}.", code="CTR-BAT-006",
                             hint="Wait for it, or stop it.") from error
        shutil.rmtree(out / WORK, ignore_errors=True)
        try:
            yield
        finally:
            shutil.rmtree(out / WORK, ignore_errors=True)


def to_do(job: Job, sources: Iterable[Source], index: Index) -> tuple[list[Source], dict[str, str]]:
    """Return (the sources that have to be read, each once; {key of a source that is done: name of its unit})."""
    left, done = {}, {}
    for source in sources:
        identity = index.known.get(source.key)
        if identity and job.is_done(job.name(identity)):
            done[source.key] = job.name(identity)
        else:
            left.setdefault(source.key, source)
    return list(left.values()), done
