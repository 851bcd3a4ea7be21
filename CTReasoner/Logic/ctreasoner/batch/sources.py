"""What lies in a folder, stands in a manifest or is found in an archive: one ``Source`` for each CT, without reading a voxel."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import parse_qsl

from ..errors import InputError, UsageError

FILES = (".nii", ".nii.gz", ".nrrd", ".mha", ".zip")
NO_CT = (".seg.nrrd",)
MANIFESTS = (".csv", ".parquet")
HEAD_BYTES = 132
FILTERS = {"PatientID": "patient_id", "StudyDate": "date"}


@dataclass(frozen=True)
class Source:
    """Where one CT comes from.

    name : what a person reads; unique within one batch.
    path : of a file or folder; "" for a series in an archive.
    series, study : DICOM identifiers; "" where there is none, or none was chosen.
    mark : changes when the files do (names, sizes, times of change); in an archive, how many images the series has.
    server : address of the archive; "" for files.
    """

    name: str
    path: str = ""
    series: str = ""
    study: str = ""
    mark: str = ""
    server: str = ""

    @property
    def key(self) -> str:
        """24 hex digits: the same as long as the same bytes are meant."""
        text = json.dumps([self.path, self.series, self.study, self.mark, self.server])
        return hashlib.sha256(text.encode()).hexdigest()[:24]

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def find(where: str, archive: Callable | None = None, say: Callable[[str], None] = lambda text: None, *,
         leave_out: Path | None = None) -> list[Source]:
    """Return the CTs of a folder, a manifest, a file, or the answer of an archive to a query (``archive(address)`` opens it).

    leave_out : a folder that is not looked into; masks of an earlier batch look like CTs.

    Raises
    ------
    InputError : nothing there, or no CT among it. UsageError : a manifest or a query that cannot be understood.
    NetworkError : the archive does not answer.
    """
    if re.match(r"(https?|dicom)://", where):
        found = list(_in_archive(where, archive, say))
    else:
        path = Path(where)
        if not path.exists():
            raise InputError(f"There is no file or folder '{path.name}'.", code="CTR-IO-001")
        if path.is_dir():
            found = list(_in_folder(path.resolve(), leave_out, say))
        elif path.suffix.lower() in MANIFESTS:
            found = list(_in_manifest(path.resolve()))
        else:
            found = [_file(path.resolve(), path.name)]
    if not found:
        raise InputError(f"There is no CT in '{_shown(where)}'.", code="CTR-BAT-001",
                         hint="Looked for are NIfTI, NRRD, MetaImage and zip files, and DICOM folders.")
    return _named(found)


def _shown(where: str) -> str:
    """Return an input as a message may show it: an address without its query, a path without its folders."""
    return where.partition("?")[0] if "://" in where else Path(where).name


def _named(found: list[Source]) -> list[Source]:
    """Give sources that share a name a number each."""
    counts: dict[str, int] = {}
    named = []
    for source in found:
        counts[source.name] = seen = counts.get(source.name, 0) + 1
        named.append(source if seen == 1 else Source(**{**asdict(source), "name": f"{source.name} ({seen})"}))
    return named


# --- files -----------------------------------------------------------------------------------------------------------
def _in_folder(root: Path, leave_out: Path | None, say: Callable[[str], None]) -> Iterator[Source]:
    """Yield every CT file and every CT series under a folder, in the order of their names; links are not followed."""
    for here, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f != "__MACOSX" and Path(here, f) != leave_out)
        say(f"looking through {Path(here).name}")
        slices = []
        for name in sorted(files):
            path = Path(here, name)
            if name.startswith(".") or name.lower().endswith(NO_CT) or name.upper() == "DICOMDIR" or path.is_symlink():
                continue
            if name.lower().endswith(FILES):
                yield _file(path, path.relative_to(root).as_posix())
            else:
                slices.append(path)
        yield from _series_of(Path(here), slices, root)


def _file(path: Path, name: str, series: str = "") -> Source:
    return Source(name=name, path=str(path), series=series, mark=_mark([path]))


def _mark(paths: Iterable[Path]) -> str:
    """Return a digest of names, sizes and times of change. A file that cannot be looked at marks itself as such."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            facts = path.stat()
            digest.update(f"{path.name}/{facts.st_size}/{facts.st_mtime_ns};".encode())
        except OSError:
            digest.update(f"{path.name}/?;".encode())
    return digest.hexdigest()[:24]


def _series_of(folder: Path, files: list[Path], root: Path) -> Iterator[Source]:
    """Yield the CT series whose slices lie directly in a folder; with a header that cannot be read, the folder as one source.

    Reading that source says what is wrong.
    """
    series: dict[str, list[Path]] = {}
    marked = [path for path in files if _has_mark(path)]
    name = folder.relative_to(root).as_posix() if folder != root else folder.name
    for path in marked:
        try:
            uid = _ct_series(path)
        except InputError:
            yield Source(name=name, path=str(folder), mark=_mark(marked))
            return
        if uid is not None:
            series.setdefault(uid, []).append(path)
    if len(series) == 1:
        (uid, paths), = series.items()
        yield Source(name=name, path=str(folder), series=uid, mark=_mark(paths))
        return
    for uid, paths in series.items():
        yield Source(name=f"{name}/{uid}", path=str(folder), series=uid, mark=_mark(paths))


def _has_mark(path: Path) -> bool:
    from ..dicom.archive import has_dicom_mark

    try:
        with path.open("rb") as file:
            return has_dicom_mark(file.read(HEAD_BYTES))
    except OSError:
        return False


def _ct_series(path: Path) -> str | None:
    """Return the series that a slice belongs to; None for what is no slice of a CT. Only the first tags are read."""
    import pydicom
    from pydicom.uid import CTImageStorage, DeflatedExplicitVRLittleEndian

    from ..dicom.archive import Member
    from ..dicom.choosing import is_ct_slice
    from ..dicom.header import Header, reading

    tags = ["SOPClassUID", "Modality", "SeriesInstanceUID", "ImageType", "ImagePositionPatient"]
    member = Member(path.name, 0, lambda limit=-1: b"")
    with reading(member):
        if pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            raise ValueError("deflated")        # the reader inflates it, with limits
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)
        uid, kind = str(header.get("SeriesInstanceUID", "")), str(header.get("SOPClassUID", ""))
        if not uid or not kind:
            raise ValueError("no series")
        if kind != CTImageStorage and not header.get("ImagePositionPatient"):
            header.ImagePositionPatient = [0, 0, 0]     # a multi-frame object has one in each frame, which is not read here
    return uid if is_ct_slice(Header(member, header, True)) else None


# --- manifests -------------------------------------------------------------------------------------------------------
def _in_manifest(path: Path) -> Iterator[Source]:
    """Yield the rows of a table with the column "path" (relative to it) and, if wished, "series" and "name"."""
    rows = _rows(path)
    for number, row in enumerate(rows, start=1):
        unknown = set(row) - {"path", "series", "name"}
        if "path" not in row or unknown:
            what = f"the unknown column '{min(unknown)}'" if unknown else "no column 'path'"
            raise UsageError(f"{path.name} has {what}.", code="CTR-BAT-002",
                             hint="Its columns are path, and if wished series and name.")
        if not str(row["path"] or "").strip():
            raise UsageError(f"Row {number} of {path.name} names no path.", code="CTR-BAT-002")
        ct = (path.parent / str(row["path"]).strip()).resolve()
        inside = sorted(p for p in ct.iterdir() if p.is_file()) if ct.is_dir() else [ct]
        name = str(row.get("name") or row["path"])
        yield Source(name=name, path=str(ct), series=str(row.get("series") or ""), mark=_mark(inside))


def _rows(path: Path) -> Iterator[dict]:
    """Yield the rows of a CSV (all cells as text) or Parquet file."""
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    try:
        if path.suffix.lower() == ".parquet":
            table = pyarrow.parquet.read_table(path)
        else:
            names = pyarrow.csv.open_csv(path).schema.names
            text = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()))
            table = pyarrow.csv.read_csv(path, convert_options=text)
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(f"{path.name} cannot be read as a table.", code="CTR-BAT-002",
                         hint="Its columns are path, and if wished series and name.") from error
    for batch in table.to_batches(1000):
        yield from batch.to_pylist()


# --- archives --------------------------------------------------------------------------------------------------------
def _in_archive(where: str, archive: Callable | None, say: Callable[[str], None]) -> Iterator[Source]:
    """Yield every CT series of the studies that a query (QIDO-RS, or C-FIND for dicom://) finds."""
    address, _, query = where.partition("?")
    address = re.sub(r"/studies/?$", "", address)
    wanted = dict(parse_qsl(query, keep_blank_values=True))
    unknown = set(wanted) - set(FILTERS)
    if unknown or not query:
        what = f"'{min(unknown)}'" if unknown else "nothing"
        raise UsageError(f"The query names {what}; it may name {' and '.join(FILTERS)}.", code="CTR-BAT-003",
                         hint="For example https://pacs.example.org/dicom-web/studies?StudyDate=20260101-20260131.")
    server = archive(address)
    studies = server.studies(**{FILTERS[name]: value for name, value in wanted.items()})
    for number, study in enumerate(studies, start=1):
        say(f"study {number}/{len(studies)}")
        for series in server.series(study.uid):
            if series.modality == "CT":
                yield Source(name=series.uid, series=series.uid, study=study.uid, server=address, mark=str(series.images or ""))


@contextmanager
def at_hand(source: Source, scratch: Path, archive: Callable | None) -> Iterator[Path]:
    """The path of a CT's files; those of an archive are fetched into ``scratch`` and go afterwards."""
    if not source.server:
        yield Path(source.path)
        return
    from ..pacs.transfer import pull

    try:
        yield pull(archive(source.server), source.study, scratch, series=source.series).folders[0]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
