"""The verbs around archives: ``ctreasoner series`` lists what lies in a DICOM folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from .dicom import SeriesEntry

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def add(app: typer.Typer) -> None:
    """Give the command line these verbs."""
    app.command()(series)


def series(path: Annotated[Path, typer.Argument(metavar="PATH", help="A DICOM folder, zip, file or DICOMDIR.")],
           json_: Json = False) -> None:
    """List the DICOM series of a folder: modality, phase, kernel, thickness, number of images, and which can be asked about."""
    from .dicom import list_series

    entries = list_series(path)
    if json_:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=1, ensure_ascii=False))
    else:
        print_series(entries)


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
