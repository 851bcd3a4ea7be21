"""Where the files of a series lie: one file, a folder, or a zip that is read without being unpacked."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import InputError, ResourceError

MAX_FILES = 20_000
MAX_FILE_BYTES = 4 << 30
MAX_TOTAL_BYTES = 16 << 30
MAX_RATIO = 200  # 256 MB of zeros reach 1,028 : 1; a CT series rarely exceeds 10 : 1
SMALL_MEMBER = 1 << 20  # one blank slice may pack better than MAX_RATIO; the archive as a whole may not

# What lies beside slices on export media and in a download. Any other file that is not DICOM is refused, because a
# slice that was cut off in its first bytes looks just like that.
BYSTANDERS = {
    ".txt", ".json", ".jsonl", ".xml", ".pdf", ".md", ".csv", ".tsv", ".html", ".htm", ".css", ".js", ".jpg",
    ".jpeg", ".png", ".gif", ".bmp", ".ico", ".zip", ".log", ".ini", ".inf", ".cfg", ".exe", ".dll", ".bat", ".sh",
    ".db", ".yml", ".yaml", ".nrrd", ".mha", ".mhd", ".nii", ".gz", ".sha256", ".md5", ".xlsx", ".docx", ".url",
    ".lnk", ".toc",
}  # fmt: skip
BYSTANDER_NAMES = {"dicomdir", "license", "readme", "lockfile", "version", "thumbs.db", "changelog", "checksums"}
SKIPPED_FOLDERS = {"__MACOSX", ".git"}


@dataclass(frozen=True)
class Member:
    """One file of a series: its name for messages, its size in bytes, and a way to get all of it."""

    name: str
    size: int
    read: Callable[[int], bytes]  # read(limit) -> the first ``limit`` bytes; -1 means all

    @property
    def is_bystander(self) -> bool:
        """Whether the name says that this file was never meant to be a slice."""
        name = PurePosixPath(self.name).name.lower()
        return name.startswith(".") or name in BYSTANDER_NAMES or PurePosixPath(name).suffix in BYSTANDERS


def has_dicom_mark(head: bytes) -> bool:
    """Return whether the first 132 bytes of a file carry the mark "DICM"."""
    return head[128:132] == b"DICM"


def is_dicom(path: str | os.PathLike) -> bool:
    """Return whether ``path`` is a folder, a zip, or a file with the DICOM mark: what :func:`read_series` takes."""
    path = Path(path)
    if path.is_dir():
        return True
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return has_dicom_mark(head) or head.startswith(b"PK\x03\x04")


def members(path: str | os.PathLike) -> list[Member]:
    """List the files under ``path`` (a file, a folder, a zip, or a DICOMDIR for its folder), sorted by name; nothing is unpacked.

    Raises
    ------
    InputError : nothing there, too many or too large files, an archive with hostile members.
    """
    path = Path(path)
    if path.name.upper() == "DICOMDIR" and path.is_file():
        path = path.parent  # it lists the files of its folder; its own paths are not followed
    if path.is_dir():
        found = _folder_members(path)
    elif not path.exists():
        raise InputError(f"There is no file or folder {path.name!r}.", code="CTR-IO-001")
    elif zipfile.is_zipfile(path) and not _file_has_mark(path):
        found = _zip_members(path)
    else:
        found = [_file_member(path, path.name)]
    if not found:
        raise InputError(f"{path.name!r} holds no files.", code="CTR-IO-002", hint="Give the folder of one CT series.")
    return found


def _file_has_mark(path: Path) -> bool:
    with path.open("rb") as file:
        return has_dicom_mark(file.read(132))


def _file_member(path: Path, name: str) -> Member:
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise InputError(f"{name!r} has {size / 1e9:.1f} GB; the limit is {MAX_FILE_BYTES / 1e9:.1f} GB.", code="CTR-IO-003")

    def read(limit: int = -1) -> bytes:
        with path.open("rb") as file:
            return file.read(limit)

    return Member(name, size, read)


def _folder_members(folder: Path) -> list[Member]:
    root = folder.resolve()
    found: list[Member] = []
    for here, folders, files in os.walk(root, followlinks=False):
        folders[:] = sorted(name for name in folders if name not in SKIPPED_FOLDERS and not name.startswith("."))
        for name in sorted(files):
            path = Path(here, name)
            if not path.resolve().is_relative_to(root) or not path.is_file():
                continue  # a link that leaves the folder, a socket, a device
            found.append(_file_member(path, path.relative_to(root).as_posix()))
            if len(found) > MAX_FILES:
                raise InputError(
                    f"The folder holds more than {MAX_FILES} files.",
                    code="CTR-IO-003",
                    hint="Give the folder of one series, not of an archive.",
                )
    return found


# --- zip --------------------------------------------------------------------------------------------------------------
def check_zip(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the plain files of an archive after checking every member; nothing is read or written yet.

    Raises
    ------
    InputError : a name that leaves the archive, a link, encryption, too many, too large, packed beyond ``MAX_RATIO``.
    """
    infos = archive.infolist()
    if len(infos) > MAX_FILES:
        raise InputError(f"The archive holds {len(infos)} members; the limit is {MAX_FILES}.", code="CTR-IO-011")
    for info in infos:
        _check_member(info)
    files = [info for info in infos if not info.is_dir()]
    total, packed = sum(info.file_size for info in files), sum(info.compress_size for info in files)
    if total > MAX_TOTAL_BYTES:
        raise InputError(
            f"The archive unpacks to {total / 1e9:.0f} GB; the limit is {MAX_TOTAL_BYTES / 1e9:.0f} GB.",
            code="CTR-IO-012",
        )
    if total > MAX_RATIO * max(packed, 1):
        raise InputError(
            f"The archive unpacks to {total // max(packed, 1)} times its size; the limit is {MAX_RATIO}.",
            code="CTR-IO-012",
            hint="No CT packs like that: this looks like a zip bomb.",
        )
    return files


def _check_member(info: zipfile.ZipInfo) -> None:
    name = info.orig_filename if "\x00" in info.orig_filename else info.filename
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not parts or ".." in parts or name.startswith(("/", "\\")) or "\x00" in name or ":" in parts[0]:
        raise InputError(
            "The archive holds a member whose path leaves the archive.",
            code="CTR-IO-010",
            hint="Nothing was unpacked. Ask the sender for a plain archive.",
        )
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InputError("The archive holds a link or a special file.", code="CTR-IO-010", hint="Nothing was unpacked.")
    if info.flag_bits & 0x1:
        raise InputError("The archive is encrypted.", code="CTR-IO-013", hint="Unpack it yourself and give the folder.")
    if info.file_size > MAX_FILE_BYTES:
        raise InputError(f"A member of the archive has {info.file_size / 1e9:.1f} GB.", code="CTR-IO-012")
    if info.file_size > max(SMALL_MEMBER, MAX_RATIO * info.compress_size):
        raise InputError(
            f"A member of the archive unpacks to more than {MAX_RATIO} times its size.",
            code="CTR-IO-012",
            hint="No CT packs like that: this looks like a zip bomb.",
        )


def _open_zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError) as error:
        raise InputError(f"{path.name!r} is not a complete zip archive.", code="CTR-IO-014") from error


def _zip_members(path: Path) -> list[Member]:
    archive = _open_zip(path)  # closed when the last member that can read it is gone
    infos = [info for info in check_zip(archive) if PurePosixPath(info.filename).parts[0] not in SKIPPED_FOLDERS]

    def reader(info: zipfile.ZipInfo) -> Callable[[int], bytes]:
        return lambda limit=-1: _read_zip_member(archive, info, limit)

    return [Member(info.filename, info.file_size, reader(info)) for info in sorted(infos, key=lambda info: info.filename)]


def _read_zip_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    """Return the bytes of one member, never more than its header promised; a wrong checksum is an InputError."""
    try:
        with archive.open(info) as file:
            if limit >= 0:
                return file.read(min(limit, info.file_size))
            return file.read(info.file_size) + file.read(1)  # the extra read makes zipfile compare the checksum
    except Exception as error:
        raise InputError("A member of the archive cannot be unpacked: the archive is damaged.", code="CTR-IO-014") from error


def safe_unpack(path: str | os.PathLike, folder: str | os.PathLike) -> list[Path]:
    """Unpack a zip into ``folder`` after :func:`check_zip`; every written path is checked to lie inside it."""
    path, root = Path(path), Path(folder).resolve()
    with _open_zip(path) as archive:
        infos = check_zip(archive)
        written = []
        for info in infos:
            target = (root / info.filename).resolve()
            if not target.is_relative_to(root):
                raise InputError("The archive holds a member whose path leaves the archive.", code="CTR-IO-010")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(info) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
            except zipfile.BadZipFile as error:
                raise InputError(f"A member of {path.name!r} is damaged.", code="CTR-IO-014") from error
            except OSError as error:
                raise ResourceError(f"The archive cannot be unpacked: {error.strerror}.", code="CTR-RES-001") from error
            written.append(target)
    return written
