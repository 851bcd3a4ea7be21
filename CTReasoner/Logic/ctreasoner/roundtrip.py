"""The verbs of the clinical round trip: ``ctreasoner export`` makes DICOM objects of a saved answer, ``import`` the way back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Series = Annotated[str | None, typer.Option("--series", metavar="NUMBER|UID", help="Which of several DICOM series is meant.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]


def add(app: typer.Typer) -> None:
    """Give the command line these verbs."""
    app.command()(export)
    app.command("import")(import_)


def export(answer: Annotated[Path, typer.Argument(metavar="ANSWER_DIR", help="The folder that ask, chat or demo wrote (--out).")],
           ct: Annotated[Path, typer.Argument(metavar="CT", help="The CT that was asked about, as it was read then.")],
           out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the objects go.")],
           seg: Annotated[bool, typer.Option("--seg", help="DICOM segmentation.")] = False,
           sr: Annotated[bool, typer.Option("--sr", help="Structured report (TID 1500), with its segmentation.")] = False,
           keys: Annotated[bool, typer.Option("--keys", help="Key images (Secondary Capture).")] = False,
           rtstruct: Annotated[bool, typer.Option("--rtstruct", help="Contours (RT Structure Set).")] = False,
           seg_type: Annotated[str, typer.Option("--seg-type", metavar="TYPE", help="binary, labelmap or fractional.")] = "binary",
           accepted_by: Annotated[str, typer.Option("--accepted-by", metavar="NAME",
                                                    help="Who accepted the findings ('Doe^Jane'), for the report.")] = "",
           incomplete: Annotated[bool, typer.Option("--incomplete", help="Images of the CT are missing: write the segmentation "
                                                    "against those that are there (else it is refused).")] = False,
           series: Series = None, json_: Json = False) -> None:
    """Write a saved answer as DICOM objects: segmentation and report, or what is named."""
    from .answer import read_answer_file
    from .exporting import WHAT, Wish, created_of, model_of, read_answer, volume_of, write_dicom
    from .reasoner import load_volume

    what = tuple(name for name, wanted in zip(WHAT, (seg, sr, keys, rtstruct), strict=True) if wanted)
    wish = Wish(what or (("seg",) if incomplete else ("seg", "sr")), seg_type.upper(), accepted_by, incomplete)
    volume = volume_of(read_answer_file(answer / "answer.json"), ct) if incomplete else load_volume(ct, series)
    objects, content = read_answer(answer, volume)
    files = write_dicom(out, objects, volume, wish=wish, source=ct, model=model_of(content), created=created_of(content))
    if json_:
        typer.echo(json.dumps({"folder": str(out), "files": files}))
    else:
        for name, path in files.items():
            typer.echo(f"{name}: {out / path}")


def import_(objects: Annotated[Path, typer.Argument(metavar="DICOM", help="SEG, RTSTRUCT, or a folder or zip with SEG and SR.")],
            ct: Annotated[Path, typer.Argument(metavar="CT", help="The CT that they were made on.")],
            out: Annotated[Path, typer.Option("--out", metavar="ANSWER_DIR", help="Where the findings go, as an answer.")],
            series: Series = None, json_: Json = False) -> None:
    """Turn DICOM segmentations, reports and contours into findings: an answer folder that can be looked at and exported again."""
    from .importing import import_into, read_objects
    from .output import OutputFolder
    from .reasoner import load_volume
    from .session import show

    volume = load_volume(ct, series)
    found, notes = read_objects(objects, volume, ct)
    output = OutputFolder(out, volume, source=ct)
    answer = import_into(output, found)
    files = output.finish()
    if json_:
        typer.echo(json.dumps({"folder": str(out), "files": files, "objects": [o.id for o in answer.objects], "notes": notes}))
    else:
        show(answer)
        for note in notes:
            typer.echo(note, err=True)
