"""`ctreasoner batch`: the same questions to many CTs."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from ..archiving import Authority, PasswordFile, Title, TokenFile, User
from ..errors import Interrupted, UsageError
from ..exporting import WHAT, Wish
from ..session import say
from .sources import Source, find
from .units import Job, sole_owner

app = typer.Typer(name="ctreasoner batch", add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
EVERY_S = 10.0      # how often a line is written where stderr is no terminal
MOST_SHOWN = 5


@app.command()
def batch(
    where: Annotated[str, typer.Argument(metavar="INPUT", help="A folder of CT files or DICOM series, a manifest (.csv, .parquet: "
                                         "path, series, name), or https://HOST/dicom-web/studies?StudyDate=...")],
    ask: Annotated[list[str], typer.Option("--ask", help="A question to each CT; several are one conversation.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where cases/, objects.parquet and overview.html go.")],
    ray: Annotated[str | None, typer.Option("--ray", metavar="ADDRESS", help="A Ray cluster that runs (HOST:PORT of its head, or "
                                            "auto); default: one of our own on this machine, loopback only.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Engines at work; default: one for each core.")] = None,
    dicom: Annotated[list[str] | None, typer.Option("--dicom", metavar="|".join(WHAT), help="Also write this for each CT.")] = None,
    model: Annotated[str, typer.Option("--model", metavar="NAME|FOLDER", help="That ships, or a folder.")] = "compact",
    user: User = None, password_file: PasswordFile = None, token_file: TokenFile = None, ca: Authority = None,
    aet: Title = "CTREASONER",
    json_: Annotated[bool, typer.Option("--json", help="One JSON line for each CT as it ends, and one at the end.")] = False,
) -> None:
    """Ask every CT the same questions, on all cores. Whatever interrupts, the same command goes on with what is missing.

    A CT that is broken becomes a row of the table; it stops nothing, and the exit code is 0.
    """
    access = {"user": user, "password_file": _absolute(password_file), "token_file": _absolute(token_file), "ca": _absolute(ca),
              "calling": aet}
    job = make_job(out, ask, model=model, dicom=dicom or (), access=access)
    run(job, where, address=ray, workers=workers, as_json=json_)


def make_job(out: Path, questions: list[str], *, model: str = "compact", dicom=(), access: dict[str, Any] | None = None) -> Job:
    """Return what is asked of every CT; raises where a question, a wish or the model is not one."""
    from ..model.stored import read_config, weights_hash
    from ..reasoner import model_folder

    asked = tuple(" ".join(question.split()) for question in questions)
    if not asked or not all(asked):
        raise UsageError("A batch needs a question: --ask \"Segment the heart.\"", code="CTR-BAT-007")
    folder = model_folder(model).resolve()
    read_config(folder)
    wished = Wish(tuple(dict.fromkeys(dicom))).what
    return Job(out.resolve(), asked, str(folder), weights_hash(folder), uuid.uuid4().hex[:12], wished, access or {})


def run(job: Job, where: str, *, address: str | None = None, workers: int | None = None, as_json: bool = False) -> None:
    """Find, process, and write table and overview."""
    from .pipeline import process

    began = time.monotonic()
    with sole_owner(job.out):
        with Lines(as_json) as lines:
            sources = find(where, job.archive, lines.note, leave_out=job.out)
            say(f"{len(sources)} CTs.")
            try:
                outcome = process(job, sources, address=address, workers=workers, show=lines.show)
            except KeyboardInterrupt:
                raise Interrupted(f"Interrupted. {lines.ended} CTs were done or failed; the same command goes on with the others.",
                                  code="CTR-BAT-008") from None
        from .overview import write_overview
        from .table import write_table

        table = write_table(job, sources, outcome.done, outcome.failed)
        page = write_overview(job)
    new = len(outcome.done) - outcome.before - outcome.again
    summary = {"type": "Batch", "cts": len(sources), "new": new, "before": outcome.before + outcome.again,
               "failed": len(outcome.failed), "seconds": round(time.monotonic() - began, 1), "table": str(table),
               "overview": str(page)}
    if as_json:
        typer.echo(json.dumps(summary))
        return
    _say_failures(sources, outcome.failed)
    typer.echo(f"{new} CTs answered, {summary['before']} were done before, {summary['failed']} failed; "
               f"{summary['seconds']:.0f} s.")
    typer.echo(f"table: {table}\noverview: {page}")


def _say_failures(sources: list[Source], failed: dict[str, dict[str, Any]]) -> None:
    shown = [source for source in sources if source.key in failed]
    for source in shown[:MOST_SHOWN]:
        say(f"  {source.name}: {failed[source.key]['sentence']} [{failed[source.key]['code']}]")
    if len(shown) > MOST_SHOWN:
        counts = Counter(outcome["code"] for outcome in failed.values()).most_common(5)
        say(f"  and {len(shown) - MOST_SHOWN} more; the table has all. " + ", ".join(f"{code}: {n}" for code, n in counts))


def _absolute(path: Path | None) -> Path | None:
    return path.resolve() if path else None


class Lines:
    """What a person sees meanwhile: a bar on a terminal, else a line now and then; with ``--json`` a line for each CT on stdout."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        console = Console(stderr=True)
        self.as_json, self.ended, self._last, self._results = as_json, 0, time.monotonic(), sys.stdout
        self._bar = None
        if console.is_terminal and not as_json:
            self._bar = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                 TextColumn("{task.fields[rest]}"), console=console, transient=True)
            self._task = self._bar.add_task("looking for CTs", total=None, rest="")

    def __enter__(self) -> Lines:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def note(self, text: str) -> None:
        """Say what is being looked through."""
        if self._bar:
            self._bar.update(self._task, description="".join(c for c in text if c.isprintable())[:40])

    def show(self, outcome: dict[str, Any], progress: Any) -> None:
        """One CT has ended."""
        self.ended = progress.done
        rest = f"{progress.rate_per_min:.1f} CTs/min, {_minutes(progress.remaining_s)} left, {progress.failed} failed"
        if self.as_json:
            far = {"done": progress.done, "of": progress.of, "rate_per_min": round(progress.rate_per_min, 2),
                   "remaining_s": round(progress.remaining_s or 0)}
            typer.echo(json.dumps({"type": "Unit"} | outcome | far), file=self._results)
        elif self._bar:
            self._bar.update(self._task, description="asking", total=progress.of, completed=progress.done, rest=rest)
        elif time.monotonic() - self._last >= EVERY_S or progress.done == progress.of:
            self._last = time.monotonic()
            say(f"{progress.done}/{progress.of}: {rest}")


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min" if minutes else "under a minute"


def main(arguments: list[str]) -> int | None:
    """Run the verb's part of the command line; errors are the caller's."""
    return app(arguments, standalone_mode=False, prog_name="ctreasoner batch")

