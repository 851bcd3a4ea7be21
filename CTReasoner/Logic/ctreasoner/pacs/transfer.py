"""Pulling and pushing studies: what is there is not sent again, what was cut goes on, nothing half is called done."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ..dicom.archive import Member, members
from ..dicom.derived import is_without_patient
from ..dicom.directory import is_directory
from ..dicom.files import save_bytes
from ..dicom.header import Header, read_header
from ..errors import InputError, NetworkError, UsageError
from . import problems
from .archive import Archive, Outgoing, Remote, checked_uid

LOT_FILES, LOT_BYTES = 50, 32 << 20  # of one store request; halved whenever one fails
ABSENT = "CTR-NET-018"
T = TypeVar("T")


@dataclass(frozen=True)
class Patience:
    """How often a request that failed for a passing reason is made, and how long to wait before the next: 1, 2, 4 s."""

    tries: int = 4
    first_s: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    def insist(self, step: Callable[[], T], progress: Callable[[], int] = lambda: 0) -> T:
        """Return what ``step`` returns; a try that got further than the one before starts the count anew."""
        failures, before = 0, progress()
        while True:
            try:
                return step()
            except problems.PassingError:
                failures = 1 if progress() > before else failures + 1
                before = progress()
                if failures >= self.tries:
                    raise
                self.sleep(self.first_s * 2 ** (failures - 1))


@dataclass(frozen=True)
class Pulled:
    """How many objects came, how many were in the folder already, and the folder of each series."""

    fetched: int
    already: int
    folders: tuple[Path, ...]


@dataclass(frozen=True)
class Pushed:
    """How many objects were stored now, and how many the server had already; it shows them all."""

    stored: int
    already: int


# --- from the archive ------------------------------------------------------------------------------------------------
def pull(archive: Archive, study: str, folder: Path, *, series: str | None = None, patience: Patience | None = None,
         say: Callable[[str], None] = lambda text: None) -> Pulled:
    """Fetch a study, or one series of it, into ``folder``; files that lie there already are not fetched again.

    Names of folders and files are digests of the identifiers, so that no value of a server becomes a path. A file appears when
    it is whole and was read through, so whatever interrupts, the same call goes on.

    Parameters
    ----------
    series : SeriesInstanceUID or SeriesNumber.

    Raises
    ------
    NetworkError : the server, in one sentence; also where it sent what is no DICOM object, once the others are here.
    """
    patience = patience or Patience()
    checked_uid(study, "the study")
    uid = _series_uid(archive, study, series, patience) if series else None
    wanted = patience.insist(lambda: archive.objects(study, uid))
    if not wanted:
        raise problems.absent("such study or series")
    already = len([remote for remote in wanted if _place(folder, remote).is_file()])
    damaged: set[str] = set()

    def missing() -> list[Remote]:
        return [remote for remote in wanted if not _place(folder, remote).is_file() and remote.uid not in damaged]

    def fetch() -> None:
        for remote, data in archive.fetch(missing()):
            if not _keep(remote, data, _place(folder, remote)):
                damaged.add(remote.uid)
            say(f"fetching {len(wanted) - len(missing())}/{len(wanted)}")

    patience.insist(fetch, lambda: -len(missing()))
    if damaged or missing():
        lost = len(damaged) + len(missing())
        raise NetworkError(f"{lost} of {len(wanted)} objects came damaged or not at all, and were left out.", code="CTR-NET-019",
                           hint="The others are in the folder. Give the same command again for the rest.")
    folders = sorted({_place(folder, remote).parent for remote in wanted})
    return Pulled(len(wanted) - already, already, tuple(folders))


def _series_uid(archive: Archive, study: str, wanted: str, patience: Patience) -> str:
    found = [s.uid for s in patience.insist(lambda: archive.series(study)) if wanted in (s.uid, s.number)]
    if len(found) != 1:
        what = "single series with the number" if found else "series"
        raise problems.absent(f"{what} {wanted[:64]!r} in this study")
    return found[0]


def _place(folder: Path, remote: Remote) -> Path:
    return folder / _digest(remote.series)[:12] / f"{_digest(remote.uid)[:24]}.dcm"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _keep(remote: Remote, data: bytes, path: Path) -> bool:
    """Write an object that can be read and is the one that was asked for; return whether it was."""
    try:
        header = read_header(Member("the object", len(data), lambda limit=-1: data if limit < 0 else data[:limit]))
    except InputError:
        return False
    if header is None or (str(header.SOPInstanceUID), str(header.SeriesInstanceUID)) != (remote.uid, remote.series):
        return False
    save_bytes(data, path)
    return True


# --- to the archive --------------------------------------------------------------------------------------------------
@dataclass
class _Sending:
    """The state of one push."""

    todo: list[Outgoing]
    failed: dict[str, str] = field(default_factory=dict)
    files: int = LOT_FILES
    size: int = LOT_BYTES

    def lot(self) -> list[Outgoing]:
        """Return the next files that go together: at least one."""
        taken, size = [], 0
        for file in self.todo[: self.files]:
            size += file.member.size
            if taken and size > self.size:
                break
            taken.append(file)
        return taken

    def smaller(self) -> None:
        """Send less at a time from now on."""
        self.files, self.size = max(1, len(self.lot()) // 2), max(1, self.size // 2)


def push(archive: Archive, path: Path, *, without_patient: bool = False, patience: Patience | None = None,
         say: Callable[[str], None] = lambda text: None) -> Pushed:
    """Store every DICOM object under ``path`` (folder, file or zip) that the server does not have yet.

    Returns only when the server shows all of them. What it has is known by the SOP instance UID, so pushing twice, or again
    after a cut, stores nothing twice.

    Parameters
    ----------
    without_patient : push also what was derived from a CT without a patient (see ``dicom.derived``).

    Raises
    ------
    UsageError, InputError : before anything is sent. NetworkError : the server; what it has by then stays there.
    """
    patience = patience or Patience()
    files = outgoing(path, without_patient=without_patient)
    studies = list(dict.fromkeys(file.study for file in files))
    known = patience.insist(lambda: _there(archive, studies))
    sending = _Sending([file for file in files if file.uid not in known])
    count = len(sending.todo)
    while sending.todo:
        patience.insist(lambda: _send(archive, sending), lambda: -len(sending.todo))
        say(f"storing {count - len(sending.todo)}/{count}")
    _verify(archive, files, studies, sending.failed, patience)
    return Pushed(count, len(files) - count)


def _send(archive: Archive, sending: _Sending) -> None:
    """Send one lot; whatever was answered for is done with, also when the rest fails."""
    lot = sending.lot()
    try:
        for file, problem in archive.store(lot):
            sending.todo.remove(file)
            if problem:
                sending.failed[file.uid] = problem
    except problems.TooLargeError:
        if len(lot) == 1:
            raise
        sending.smaller()
        return
    except problems.PassingError:
        sending.smaller()  # servers that take less often close the connection instead of saying so
        raise
    for file in [file for file in lot if file in sending.todo]:
        sending.todo.remove(file)
        sending.failed[file.uid] = "not mentioned in the answer"


def _there(archive: Archive, studies: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for study in studies:
        try:
            found |= {remote.uid for remote in archive.objects(study)}
        except NetworkError as error:
            if error.code != ABSENT:
                raise
    return found


def _verify(archive: Archive, files: Sequence[Outgoing], studies: Sequence[str], failed: dict[str, str],
            patience: Patience) -> None:
    """Look whether the server shows every object; some need a moment until they do."""

    def look() -> None:
        found = _there(archive, studies)
        lost = [file for file in files if file.uid not in found]
        if not lost:
            return
        why = next((failed[file.uid] for file in lost if file.uid in failed), "")
        sentence = f"{len(lost)} of {len(files)} objects are not on the server {archive.address}" + (f": {why}." if why else ".")
        kind = NetworkError if why else problems.PassingError
        raise kind(sentence, code="CTR-NET-020", hint="The others are stored. Give the same command again for the rest.")

    patience.insist(look)


def outgoing(path: Path, *, without_patient: bool = False) -> list[Outgoing]:
    """Return the DICOM objects under ``path``, each once, after a look at every one of them."""
    files: dict[str, Outgoing] = {}
    patients: dict[str, str] = {}
    nameless = False
    for member in members(path):
        header = read_header(member)
        if header is None or is_directory(header):
            continue
        file = _outgoing(header)
        nameless |= is_without_patient(header.dataset)
        if patients.setdefault(file.study, str(header.PatientID)) != str(header.PatientID):
            raise InputError("One study here belongs to two patients.", code="CTR-IO-041", hint="Push the files of one patient.")
        if file.uid in files and files[file.uid].member.read(-1) != member.read(-1):
            raise InputError(f"{member.name!r} and {files[file.uid].member.name!r} differ, but carry the same SOP instance UID.",
                             code="CTR-IO-042", hint="Remove the one that is wrong.")
        files.setdefault(file.uid, file)
    if not files:
        raise InputError(f"{path.name!r} holds no DICOM files.", code="CTR-IO-002")
    if nameless and not without_patient:
        raise UsageError("These objects were derived from a CT without a patient: the archive would get a patient who does not "
                         "exist.", code="CTR-USE-024", hint="Give --without-patient if that is what you want.")
    return list(files.values())


def _outgoing(header: Header) -> Outgoing:
    name = header.member.name
    uids: Iterable[str] = (checked_uid(header.dataset.get(keyword), repr(name)) for keyword in
                           ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"))
    syntax = checked_uid(header.dataset.file_meta.get("TransferSyntaxUID"), repr(name))
    return Outgoing(*uids, syntax=syntax, member=header.member)
