"""What the verbs of the command line share: a CT, a model, a conversation, and where its answers go."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answer import Answer, Assembler, FoundObject
from .errors import CTReasonerError, InputError, UsageError
from .events import Click, Event, Options, PromptBox, Scribble, to_json
from .output import OutputFolder
from .reasoner import Reasoner, error_of, load_volume, make_request, model_folder

if TYPE_CHECKING:
    from .geometry import Volume

HELP = """Type a question, or:
  /click R,A,S      /negative R,A,S      /box R,A,S,W,D,H      /scribble R,A,S R,A,S ...
                    prompts for the next question (RAS mm); an empty line asks with the prompts alone
  /target ID        the object that the prompts refine ("a1.o2"); /target alone: none
  /help  /quit"""


def say(sentence: str) -> None:
    """Talk to the person; stdout is kept for results."""
    print(sentence, file=sys.stderr, flush=True)  # noqa: T201


@dataclass
class Prompts:
    """What was pointed at, beside the words: all in RAS mm."""

    clicks: list[Click] = field(default_factory=list)
    boxes: list[PromptBox] = field(default_factory=list)
    scribbles: list[Scribble] = field(default_factory=list)
    target: str | None = None

    @classmethod
    def parse(cls, clicks: Iterable[str] | None = None, negatives: Iterable[str] | None = None,
              boxes: Iterable[str] | None = None, scribbles: Iterable[str] | None = None, target: str | None = None) -> Prompts:
        """Read prompts as they are typed; numbers that do not fit are a ``UsageError`` or an ``InputError``."""
        made = cls(target=target)
        for sign, texts in ((True, clicks), (False, negatives)):
            made.clicks += [Click(point_ras=numbers(t), positive=sign, target=target) for t in texts or ()]
        for text in boxes or ():
            values = numbers(text, 6)
            made.boxes.append(PromptBox(centre_ras=values[:3], size_mm=values[3:]))
        for text in scribbles or ():
            points = tuple(numbers(part) for part in text.replace(";", " ").split())
            if len(points) < 2:
                raise UsageError("A scribble needs at least two points, 'R,A,S R,A,S'.", code="CTR-USE-003")
            made.scribbles.append(Scribble(points_ras=points, target=target))
        return made

    @classmethod
    def of_click(cls, point: tuple[float, float, float] | None) -> Prompts:
        """Return one positive click, or nothing."""
        return cls(clicks=[Click(point_ras=point)] if point else [])

    def __bool__(self) -> bool:
        return bool(self.clicks or self.boxes or self.scribbles)


def numbers(text: str, count: int = 3) -> tuple[float, ...]:
    """Return finite numbers that stand between commas (or spaces where there is no comma)."""
    parts = text.split(",") if "," in text else text.split()
    try:
        values = tuple(float(part) for part in parts)
    except ValueError:
        values = ()
    if len(values) != count or not all(abs(v) < 1e6 for v in values):
        raise UsageError(f"'{text}' is not {count} finite numbers between commas (RAS, mm).", code="CTR-USE-002")
    return values


class Session:
    """One conversation about one CT. Every turn is shown, written where a folder was named, and kept for the next."""

    def __init__(self, reasoner: Reasoner, volume: Any, *, output: OutputFolder | None = None, as_json: bool = False,
                 seed: int = 0, experts: bool = False) -> None:
        self.reasoner, self.output, self.as_json, self.seed, self.experts = reasoner, output, as_json, seed, experts
        self.identity = reasoner.register(volume)
        self.objects: dict[str, FoundObject] = {}
        self.answers: list[Answer] = []

    @classmethod
    def begin(cls, ct: Path, *, series: str | None = None, model: str = "compact", threads: int | None = None,
              out: Path | None = None, as_json: bool = False, seed: int = 0, credit: str = "",
              experts: bool = False, imported: Path | None = None) -> Session:
        """Open a conversation: the CT is read while the model loads, since both take seconds of a cold start.

        What is cheap to check (does the model exist, does the CT, can the folder be written) comes first.
        """
        model_folder(model)
        if not ct.exists():
            raise InputError(f"There is no file or folder '{ct.name}'.", code="CTR-IO-001")
        with Progress(not as_json) as progress, ThreadPoolExecutor(1) as other:
            progress.show(f"reading {ct.name} and loading the model")
            reading = other.submit(load_volume, ct, series)
            reasoner = Reasoner.from_pretrained(model, threads=threads)
            volume = reading.result()
            output = OutputFolder(out, volume, source=ct, credit=credit) if out else None
        session = cls(reasoner, volume, output=output, as_json=as_json, seed=seed, experts=experts)
        if imported is not None:
            session.bring(imported, volume, ct)
        return session

    def bring(self, dicom: Path, volume: Volume, ct: Path) -> None:
        """Begin with the findings of DICOM objects about the CT, which was read from ``ct``: they can be corrected by clicks."""
        from .importing import import_into, read_objects

        if self.output is None:
            answer = self.reasoner.import_dicom(volume, dicom, ct=ct)
            notes = [warning["sentence"] for warning in answer.warnings]
        else:
            found, notes = read_objects(dicom, volume, ct)
            answer = import_into(self.output, found)
            self.reasoner.engine.conversation(make_request(self.identity, "import")).take_in(answer.events, self.output.folder)
        self.answers.append(answer)
        self.objects.update((o.id, o) for o in answer.objects)
        if self.as_json:
            for event in answer.events:
                print(to_json(event), flush=True)  # noqa: T201 (this is the result)
        else:
            show(answer)
        for note in notes:
            say(note)

    def turn(self, question: str, prompts: Prompts | None = None) -> Session:
        """Ask one question and show the answer. Raises what a failed answer stands for."""
        prompts = prompts or Prompts()
        request = make_request(self.identity, question, clicks=prompts.clicks, boxes=prompts.boxes, scribbles=prompts.scribbles,
                               target=prompts.target, options=Options(seed=self.seed, experts=self.experts))
        workspace = self.output.workspace if self.output else self.reasoner.workspace_of(request)
        fold = Assembler(request, earlier=self.objects, folder=workspace)
        events: Iterator[Event] = self.reasoner.answer(request, workspace=workspace)
        if self.output:
            events = self.output.record(events, fold)
        self._show_question(question, prompts)
        with Progress(not self.as_json) as progress:
            for event in events:
                if not self.output:
                    fold.add(event)
                if self.as_json:
                    print(to_json(event), flush=True)  # noqa: T201 (this is the result)
                progress.of(event)
        answer = fold.answer
        self.answers.append(answer)
        self.objects.update((o.id, o) for o in answer.objects)
        if answer.error is not None:
            error = error_of(answer.error)
            error.reported = True
            raise error
        if not self.as_json:
            show(answer)
        return self

    def close(self) -> None:
        """Write what is written once: masks, segmentation, markups, DICOM, report; say where they lie."""
        if self.output is None:
            if not self.as_json:
                say("(--out DIR keeps masks, report and DICOM.)")
            return
        with Progress(not self.as_json) as progress:
            progress.show("writing masks, DICOM and report")
            files = self.output.finish()
        if self.as_json:
            say(json.dumps({"files": files}))
            return
        for name, path in files.items():
            say(f"{name}: {self.output.folder / path}")

    def _show_question(self, question: str, prompts: Prompts) -> None:
        if self.as_json:
            return
        shown = [("click" if c.positive else "not", ", ".join(f"{v:g}" for v in c.point_ras)) for c in prompts.clicks]
        points = "".join(f" [{sign} {point}]" for sign, point in shown)
        say(f"\n> {question}{points}")


def show(answer: Answer) -> None:
    """Print an answer: its text, then one line for each object's existence and each warning."""
    print(answer.text.strip() or "(no words)", flush=True)  # noqa: T201 (this is the result)
    for warning in answer.warnings:
        say(f"  ! {warning.get('sentence', '')} {warning.get('hint', '')}".rstrip())
    for found in answer.objects:
        facts = [found.existence or "?"]
        if found.probability is not None:
            facts[0] += f" ({found.probability:.2f})"
        facts += [f"{m['name']} {m['value']:.4g} {m['unit']}" for m in found.measurements[:4] if m["value"] is not None]
        say(f"  {found.id} {found.display or found.name}: {'; '.join(facts)}")
    stages = ", ".join(f"{name} {seconds:.1f}" for name, seconds in answer.timings_s.items() if seconds >= 0.05)
    say(f"  {answer.events[-1].t:.1f} s" + (f" ({stages})" if stages else ""))


def converse(session: Session, lines: Iterable[str]) -> None:
    """Answer line by line; a wrong line gets a sentence and the conversation goes on."""
    if not session.as_json:
        say(HELP)
    prompts = Prompts()
    for line in lines:
        text = line.strip()
        if text in ("/quit", "/exit"):
            return
        try:
            if text.startswith("/"):
                _command(text, prompts)
                continue
            if text or prompts:
                asked, prompts = prompts, Prompts()
                session.turn(text, asked)
        except CTReasonerError as error:
            say(f"{error} [{error.code}]" + (f" {error.hint}" if error.hint else ""))


def _command(text: str, prompts: Prompts) -> None:
    """Take one slash command into the prompts of the next question."""
    name, _, rest = text[1:].partition(" ")
    keyword = {"click": "clicks", "negative": "negatives", "box": "boxes", "scribble": "scribbles"}.get(name)
    if name == "help":
        say(HELP)
    elif name == "target":
        prompts.target = rest.strip() or None
    elif keyword:
        more = Prompts.parse(**{keyword: [rest.strip()]}, target=prompts.target)
        prompts.clicks += more.clicks
        prompts.boxes += more.boxes
        prompts.scribbles += more.scribbles
    else:
        raise UsageError(f"/{name} is no command; /help lists them.", code="CTR-USE-004")


class Progress:
    """A line on stderr that says what happens now; silent where stderr is no terminal."""

    def __init__(self, wanted: bool = True) -> None:
        self._status = None
        if wanted and sys.stderr.isatty():
            from rich.console import Console

            self._status = Console(stderr=True).status("")

    def __enter__(self) -> Progress:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status:
            self._status.stop()

    def show(self, text: str) -> None:
        """Replace the line."""
        if self._status:
            self._status.update(text)

    def of(self, event: Event) -> None:
        """Say what an event means for the person who waits."""
        kind = event.type
        if kind == "Look":
            spacing = min(event.view.spacing_mm)
            self.show(f"looking at {event.object or 'the whole scan'} (look {event.step}, {spacing:.1f} mm)")
        elif kind == "Mask":
            self.show(f"{event.object}: {event.stage} mask")
        elif kind == "Progress":
            self.show(f"{event.stage} {event.step}/{event.of}")
        elif kind == "Intent":
            self.show("understood: " + ", ".join(o.get("name") or "?" for o in event.objects))
