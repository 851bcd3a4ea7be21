"""The verbs around archives: ``series`` lists what lies in a DICOM folder, ``pull`` and ``push`` speak to a PACS,
``deidentify`` copies without the patient."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import UsageError

if TYPE_CHECKING:
    from .dicom import SeriesEntry
    from .pacs.archive import Archive

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Server = Annotated[str, typer.Argument(metavar="SERVER", help="https://HOST/dicom-web, or dicom[s]://AE-TITLE@HOST:PORT.")]
User = Annotated[str | None, typer.Option("--user", help="Name for basic authentication.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", metavar="FILE", help="Its first line is the password.")]
TokenFile = Annotated[Path | None, typer.Option("--token-file", metavar="FILE", help="Its first line is a bearer token.")]
Authority = Annotated[Path | None, typer.Option("--ca", metavar="FILE", help="Who signed the server's certificate (PEM).")]
Certificate = Annotated[Path | None, typer.Option("--cert", metavar="FILE",
                                                  help="Our certificate and its key (PEM), for dicoms:// servers.")]
Title = Annotated[str, typer.Option("--aet", metavar="TITLE", help="Our own AE title, for dicom[s]:// servers.")]


def add(app: typer.Typer) -> None:
    """Give the command line these verbs."""
    for verb in (series, pull, push, deidentify):
        app.command()(verb)


def series(path: Annotated[Path, typer.Argument(metavar="PATH", help="A DICOM folder, zip, file or DICOMDIR.")],
           json_: Json = False) -> None:
    """List the DICOM series of a folder: modality, phase, kernel, thickness, number of images, and which can be asked about."""
    from .dicom import list_series

    entries = list_series(path)
    if json_:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False))
    else:
        print_series(entries)


def pull(server: Server,
         study: Annotated[str | None, typer.Option("--study", metavar="UID", help="The study; else studies are listed.")] = None,
         series: Annotated[str | None, typer.Option("--series", metavar="NUMBER|UID", help="One series of it.")] = None,
         out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Where to; without it series are listed.")] = None,
         patient: Annotated[str | None, typer.Option("--patient", metavar="ID", help="List studies of this patient.")] = None,
         date: Annotated[str | None, typer.Option("--date", metavar="YYYYMMDD[-YYYYMMDD]", help="List studies of a day.")] = None,
         user: User = None, password_file: PasswordFile = None, token_file: TokenFile = None, ca: Authority = None,
         cert: Certificate = None, aet: Title = "CTREASONER", json_: Json = False) -> None:
    """Fetch a study from a PACS (DICOMweb or DIMSE), or list what there is."""
    archive = _archive(server, user, password_file, token_file, ca, cert, aet)
    if study is None:
        _list_studies(archive, patient, date, json_)
    elif out is None:
        _list_series_of(archive, study, json_)
    else:
        from .pacs.transfer import pull as fetch
        from .session import Progress

        with Progress(not json_) as progress:
            got = fetch(archive, study, out, series=series, say=progress.show)
        if json_:
            typer.echo(json.dumps({"fetched": got.fetched, "already": got.already, "folders": [str(f) for f in got.folders]}))
        else:
            typer.echo(f"{got.fetched} objects fetched, {got.already} were here already. One folder for each series:")
            for folder in got.folders:
                typer.echo(str(folder))


def push(path: Annotated[Path, typer.Argument(metavar="PATH", help="A DICOM file, folder or zip.")], server: Server,
         without_patient: Annotated[bool, typer.Option("--without-patient", help="Push also what belongs to no patient.")] = False,
         user: User = None, password_file: PasswordFile = None, token_file: TokenFile = None, ca: Authority = None,
         cert: Certificate = None, aet: Title = "CTREASONER", json_: Json = False) -> None:
    """Store DICOM objects in a PACS (DICOMweb or DIMSE); what is there already is not sent again."""
    archive = _archive(server, user, password_file, token_file, ca, cert, aet)
    from .pacs.transfer import push as store
    from .session import Progress

    with Progress(not json_) as progress:
        done = store(archive, path, without_patient=without_patient, say=progress.show)
    if json_:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(f"{done.stored} objects stored, {done.already} were there already; the server shows them all.")


def deidentify(path: Annotated[Path, typer.Argument(metavar="PATH", help="A DICOM file, folder or zip.")],
               out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A folder that does not exist yet.")],
               json_: Json = False) -> None:
    """Copy CT slices, segmentations, reports and contours for research, without the patient (DICOM PS3.15 basic profile)."""
    try:
        from .dicom.deidentify import NOTES, REPORT
        from .dicom.deidentify import deidentify as copy

        done = copy(path, out)
    except ImportError as error:
        raise UsageError("Copies for research need more packages.", code="CTR-USE-025",
                         hint="pip install 'ctreasoner[engine,pacs]'") from error
    if json_:
        typer.echo(json.dumps(vars(done), indent=1))
        return
    left = ", ".join(f"{count} {what}" for what, count in done.left_out.items())
    typer.echo(f"{done.objects} objects copied to {out}." + (f" Left out: {left}." if left else ""))
    typer.echo(f"{REPORT} there says what was removed, emptied and replaced. " + " ".join(NOTES))


def _archive(server: str, user: str | None, password_file: Path | None, token_file: Path | None, ca: Path | None,
             cert: Path | None, aet: str) -> Archive:
    """Return what speaks to a server; nothing is sent yet."""
    from .pacs.address import Access, Address

    address = Address.parse(server)
    access = Access.read(user=user, password_file=password_file, token_file=token_file, ca=ca, certificate=cert, calling=aet)
    try:
        from .pacs.archive import open_archive

        return open_archive(address, access)
    except ImportError as error:
        raise UsageError("Pulling and pushing need more packages.", code="CTR-USE-025",
                         hint="pip install 'ctreasoner[engine,pacs]'") from error


def _list_studies(archive: Archive, patient: str | None, date: str | None, as_json: bool) -> None:
    if date is not None and not re.fullmatch(r"\d{8}(-\d{8})?", date):
        raise UsageError(f"{date!r} is no date or range of dates.", code="CTR-USE-026", hint="For example 20260102-20260131.")
    found = archive.studies(patient_id=patient or "", date=date or "")
    if as_json:
        typer.echo(json.dumps([asdict(study) for study in found], indent=1, ensure_ascii=False))
        return
    print_table(("date", "patient", "name", "modalities", "objects", "description", "study"),
                [(s.date, s.patient_id, s.patient_name, s.modalities, _count(s.images), s.description, s.uid) for s in found])


def _list_series_of(archive: Archive, study: str, as_json: bool) -> None:
    from .pacs.archive import checked_uid

    found = archive.series(checked_uid(study, "the study"))
    if as_json:
        typer.echo(json.dumps([asdict(series) for series in found], indent=1, ensure_ascii=False))
        return
    print_table(("series", "modality", "objects", "description", "identifier"),
                [(s.number, s.modality, _count(s.images), s.description, s.uid) for s in found])


def _count(value: int | None) -> str:
    return "" if value is None else str(value)


def print_series(entries: list[SeriesEntry]) -> None:
    """Print the table for people. Words out of files are shown as they are, never as markup or control characters."""
    rows = [(entry.number, entry.modality, str(entry.images), _mm(entry.thickness_mm), _mm(entry.spacing_mm), entry.phase,
             entry.kernel, entry.description, entry.problem or "yes") for entry in entries]
    print_table(("series", "modality", "images", "thick mm", "apart mm", "phase", "kernel", "description",
                 "can be asked about"), rows)


def print_table(titles: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print plain text in columns."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text("".join(c for c in cell if c.isprintable())) for cell in row))
    Console().print(table)


def _mm(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
