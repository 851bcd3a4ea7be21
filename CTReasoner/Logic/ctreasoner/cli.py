"""The front door for people: ``ctreasoner ask | chat | demo | series | export | import | objects | experts | serve | mcp | batch |
train | evaluate | dataset | bench``.

stdout holds the result, stderr the talk. ``--json`` prints the events as JSON lines (or one JSON value) on stdout instead.

Exit codes: 0 answered (also when the answer is "absent", "outside" or "unsupported"), 2 usage, 3 input, 4 model, 5 disk or
memory, 6 network, 130 interrupted, 1 a fault of ours.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from .errors import CTReasonerError, Interrupted, ResourceError, UsageError
from .version import __version__

try:
    import typer
except ImportError:  # pragma: no cover (the ground floor alone is installed)
    sys.exit("The command line needs the engine extra: pip install 'ctreasoner[engine]'.")

from . import archiving, roundtrip
from .experts import commands as expert_commands

app = typer.Typer(name="ctreasoner", add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False,
                  rich_markup_mode=None,
                  help="Ask a CT a question; get looks, boxes, masks, and words in which every number is measured. "
                       "Exit codes: 0 answered, 2 usage, 3 input, 4 model, 5 disk or memory, 6 network, 130 interrupted.")

ANYTHING = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

Json = Annotated[bool, typer.Option("--json", help="Print events (or the result) as JSON on stdout.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write events, answer.json, masks, DICOM and report there.")]
Model = Annotated[str, typer.Option("--model", metavar="NAME|FOLDER", help="A model that ships, or the folder of another.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads; default: torch's own choice.")]
Clicks = Annotated[list[str] | None, typer.Option("--click", metavar="R,A,S", help="A point of what is meant, RAS mm.")]
Negatives = Annotated[list[str] | None, typer.Option("--negative", metavar="R,A,S", help="A point that does not belong to it.")]
Boxes = Annotated[list[str] | None, typer.Option("--box", metavar="R,A,S,W,D,H", help="Centre and sizes of a box, mm.")]
Scribbles = Annotated[list[str] | None, typer.Option("--scribble", metavar="'R,A,S R,A,S ...'", help="A line through it.")]
Target = Annotated[str | None, typer.Option("--target", metavar="ID", help="The object of an earlier answer to refine.")]
Imported = Annotated[Path | None, typer.Option("--import", metavar="DICOM", help="Begin with the findings of a SEG or RTSTRUCT "
                                               "(a file, folder or zip); --target a1.o1 corrects the first of them.")]
Series = Annotated[str | None, typer.Option("--series", metavar="NUMBER|UID", help="Which of several DICOM series is meant.")]
Experts = Annotated[bool, typer.Option("--experts", help="Use installed experts for what the model does not know, unasked.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


@app.command()
def ask(ct: Annotated[Path, typer.Argument(metavar="CT", help="NIfTI, NRRD, MetaImage, or a DICOM folder, zip or file.")],
        question: Annotated[str, typer.Argument(help="The question, in words.")] = "",
        click: Clicks = None, negative: Negatives = None, box: Boxes = None, scribble: Scribbles = None,
        target: Target = None, imported: Imported = None, series: Series = None, out: Out = None, model: Model = "compact",
        threads: Threads = None, seed: Seed = 0, experts: Experts = False, json_: Json = False) -> None:
    """Ask one question about one CT."""
    from .session import Prompts

    prompts = Prompts.parse(click, negative, box, scribble, target)
    session = _begin(ct, model, threads, out, json_, seed, series=series, experts=experts, imported=imported)
    session.turn(question, prompts).close()


@app.command()
def chat(ct: Annotated[Path, typer.Argument(metavar="CT")], imported: Imported = None, series: Series = None,
         out: Out = None, model: Model = "compact", threads: Threads = None, seed: Seed = 0, experts: Experts = False,
         json_: Json = False) -> None:
    """Ask several questions about one CT; a later one may speak of an earlier answer. /help lists the commands."""
    from .session import converse

    session = _begin(ct, model, threads, out, json_, seed, series=series, experts=experts, imported=imported)
    converse(session, _lines(sys.stdin.isatty()))
    session.close()


@app.command()
def demo(out: Out = None, model: Model = "compact", threads: Threads = None, json_: Json = False) -> None:
    """Ask four questions about a real CT, which is fetched once (35 MB)."""
    from .demo import QUESTIONS, SOURCE, demo_ct
    from .session import Prompts, say

    ct = demo_ct(say)
    say(SOURCE)
    session = _begin(ct, model, threads, out or Path("demo"), json_, 0, credit=SOURCE)
    for asked in QUESTIONS:
        session.turn(asked.text, Prompts.of_click(asked.click))
    session.close()


@app.command()
def objects(model: Model = "compact", json_: Json = False) -> None:
    """List every object: names, tier, and the quality that was measured."""
    from .listing import object_rows, print_rows

    rows = object_rows(model)
    if json_:
        typer.echo(json.dumps(rows, indent=1, ensure_ascii=False))
    else:
        print_rows(rows)


@app.command(context_settings=ANYTHING)
def serve(context: typer.Context) -> None:
    """Answer over HTTP for many users; `serve token` gives them access; --help lists the options."""
    from .server.cli import main as serve_main

    _forward(serve_main, context)


@app.command(context_settings=ANYTHING)
def mcp(context: typer.Context) -> None:
    """Give assistants the tools ask, measure, compare and export (Model Context Protocol, stdio); --help lists the options."""
    from .mcp import main as mcp_main

    _forward(mcp_main, context)


@app.command(context_settings=ANYTHING)
def batch(context: typer.Context) -> None:
    """Ask many CTs the same questions, on all cores or a Ray cluster; --help lists the options."""
    from .batch.cli import main as batch_main

    _forward(batch_main, context)


@app.command(context_settings=ANYTHING)
def train(context: typer.Context) -> None:
    """Train a model; everything after the verb goes to the training program (--help lists it)."""
    from .training.train import main as train_main

    _forward(train_main, context, wrap_json=True)


@app.command(context_settings=ANYTHING)
def evaluate(context: typer.Context) -> None:
    """Measure a model; everything after the verb goes to the evaluation program (--help lists it)."""
    from .evaluation import main as evaluate_main

    _forward(evaluate_main, context)


@app.command(context_settings=ANYTHING)
def dataset(context: typer.Context) -> None:
    """Build, check, show, propose and review a data set of CTs with masks; --help lists the verbs."""
    from .dataset.commands import main as dataset_main

    _forward(dataset_main, context)


@app.command(context_settings=ANYTHING)
def bench(context: typer.Context) -> None:
    """Measure times and memory, beside a plain 3D U-Net; --help lists the options."""
    from .bench import main as bench_main

    _forward(bench_main, context)


archiving.add(app)
roundtrip.add(app)
app.add_typer(expert_commands.app, name="experts")


def main(argv: list[str] | None = None) -> None:
    """Run the command line and leave with its exit code; an error is one sentence on stderr, never a traceback."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        code = _guarded(lambda: app(arguments, standalone_mode=False), as_json="--json" in arguments)
    except BrokenPipeError:     # the reader of our output went away, e.g. `| head`
        sys.stderr.close()
        code = 0
    sys.exit(code)


def _guarded(run: Callable[[], object], *, as_json: bool = False) -> int:
    """Run and return the exit code; every error becomes one sentence."""
    try:
        result = run()
    except CTReasonerError as error:
        return _complain(error, as_json)
    except (KeyboardInterrupt, typer.Abort):
        return _complain(Interrupted("Interrupted; what was written so far is kept and can be read."), as_json)
    except MemoryError:
        return _complain(ResourceError("There is not enough memory for this.", code="CTR-RES-010"), as_json)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        if error.errno == errno.ENOSPC:
            return _complain(ResourceError("The disk is full.", code="CTR-RES-001"), as_json)
        return _complain(CTReasonerError(f"Something unexpected failed: {error.strerror or error}.", code="CTR-SYS-001"), as_json)
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:
        if hasattr(error, "format_message"):      # click's own: a wrong option or argument
            return _complain(UsageError(error.format_message().rstrip(".") + ".", code="CTR-USE-000",
                                        hint="ctreasoner --help"), as_json)
        fault = CTReasonerError(f"This is a fault of ours: {type(error).__name__}: {error}", code="CTR-BUG-000",
                                hint="Please report it with the command that you ran.")
        return _complain(fault, as_json)
    return result if isinstance(result, int) else 0


def _complain(error: CTReasonerError, as_json: bool) -> int:
    """Print an error as one sentence and its hint (and as a JSON line on stdout where JSON was asked for)."""
    if as_json and not getattr(error, "reported", False):
        typer.echo(json.dumps({"type": "Failed", "code": error.code, "sentence": str(error), "hint": error.hint}))
    typer.echo(f"{error} [{error.code}]" + (f"\n{error.hint}" if error.hint else ""), err=True)
    return error.exit_code


def _begin(ct: Path, model: str, threads: int | None, out: Path | None, json_: bool, seed: int, *, credit: str = "",
           series: str | None = None, experts: bool = False, imported: Path | None = None):
    """Load the CT (cheap, may fail) before the model (dear), and open the output folder."""
    from .session import Session

    return Session.begin(ct, series=series, model=model, threads=threads, out=out, as_json=json_, seed=seed,
                         credit=credit, experts=experts, imported=imported)


def _forward(program: Callable[[list[str]], object], context: typer.Context, *, wrap_json: bool = False) -> None:
    """Hand the remaining arguments to a program of its own; its integer result is the exit code.

    With ``wrap_json`` the program knows no ``--json`` itself: what it prints goes to stderr, and its last line becomes part of
    one JSON value on stdout.
    """
    arguments = list(context.args)
    as_json = wrap_json and "--json" in arguments
    if not as_json:
        code = program(arguments)
    else:
        arguments.remove("--json")
        tee = _Tee()
        with contextlib.redirect_stdout(tee):
            code = program(arguments)
        typer.echo(json.dumps({"exit_code": code if isinstance(code, int) else 0, "result": tee.last}))
    if isinstance(code, int) and code != 0:
        raise typer.Exit(code)


class _Tee(io.TextIOBase):
    """A text stream that passes everything to stderr and keeps the last whole line."""

    def __init__(self) -> None:
        self.last, self._open = "", ""

    def write(self, text: str) -> int:
        sys.stderr.write(text)
        *whole, self._open = (self._open + text).split("\n")
        self.last = next((line for line in reversed(whole) if line.strip()), self.last)
        return len(text)


def _lines(interactive: bool) -> Iterator[str]:
    """Yield the lines that a person types, or that come through a pipe; the end of input ends it."""
    while True:
        if interactive:
            typer.echo("> ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        yield line.rstrip("\n")


if __name__ == "__main__":
    main()
