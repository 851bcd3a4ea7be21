"""The front door for programs: load a CT, load a model, ask.

>>> volume = load_volume("ct.nii.gz")                                     # doctest: +SKIP
>>> reasoner = Reasoner.from_pretrained("compact")                        # doctest: +SKIP
>>> reasoner.ask(volume, "What is here?", clicks=[(-56, -86, -116)]).text  # doctest: +SKIP
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answer import Answer, Assembler, FoundObject
from .errors import ModelError, UsageError, error_of
from .events import Click, Event, Options, PromptBox, Request, Scribble

if TYPE_CHECKING:
    from .geometry import Volume

DEFAULT_MODEL = "compact"
_HERE = Path(__file__).resolve().parent
# In a checkout and in Slicer the models lie beside Logic/; in an installed package, inside it.
MODEL_FOLDERS = (_HERE.parent.parent / "Resources" / "Models", _HERE / "_models")


def load_volume(path: str | Path, series: str | None = None) -> Volume:
    """Return the CT that lies at ``path``: NIfTI, NRRD, MetaImage, a DICOM folder, zip or file.

    ``series`` is the number or UID of one of several DICOM series.

    Raises
    ------
    InputError : where the file is missing, broken, or not a CT. The sentence says what was expected and what came.
    """
    from .io import read_volume

    return read_volume(Path(path), series=series)


def model_folder(name_or_folder: str | Path = DEFAULT_MODEL) -> Path:
    """Return the folder of a model that ships ("compact") or of a user's own.

    Raises
    ------
    ModelError : CTR-MOD-001 where there is no such model.
    """
    wanted = Path(name_or_folder).expanduser()
    candidates = [wanted, *(folder / str(name_or_folder) for folder in MODEL_FOLDERS)]
    for folder in candidates:
        if (folder / "config.json").is_file():
            return folder
    if wanted.is_dir():
        raise ModelError(f"The folder {wanted.name} holds no model: it has no config.json.", code="CTR-MOD-001",
                         hint="Name a folder that save_pretrained wrote.")
    raise ModelError(f"There is no model '{wanted.name}'.", code="CTR-MOD-001",
                     hint="Name a model folder; the README says which models ship and how one is trained.")


class Reasoner:
    """A loaded model with the conversations that it has had.

    ``answer`` gives the events while they happen, ``ask`` the finished answer. Both keep the conversation, so that a later
    question may speak of an earlier answer ("how large is it?").
    """

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self._identities: dict[int, tuple[Any, str]] = {}
        self._objects: dict[tuple[str, str], dict[str, FoundObject]] = {}
        self._workspace: Path | None = None

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path = DEFAULT_MODEL, *, threads: int | None = None) -> Reasoner:
        """Load a model by the name of one that ships, or from a folder; ``threads`` None leaves the choice to torch."""
        folder = model_folder(name_or_folder)
        from .engine import Engine

        return cls(Engine.from_pretrained(folder, threads=threads))

    def register(self, volume: Volume | str | Path) -> str:
        """Make a CT known and return its identity, which ``Request.volume`` then takes. A path is read first."""
        if isinstance(volume, (str, Path)):
            volume = load_volume(volume)
        known = self._identities.get(id(volume))
        if known is None or known[0] is not volume:
            known = self._identities[id(volume)] = (volume, self.engine.register(volume))
        return known[1]

    def answer(self, request: Request, *, workspace: Path | None = None) -> Iterator[Event]:
        """Yield the events of an answer while they happen.

        Close the iterator to cancel. ``workspace`` is the folder for the arrays of the masks; without it a temporary one is
        used, which lives as long as this object.
        """
        yield from self.engine.answer(request, workspace=workspace or self.workspace_of(request))

    def ask(self, volume: Volume | str | Path, question: str = "", *,
            clicks: Iterable[Click | Sequence[float]] = (),
            boxes: Iterable[PromptBox | Sequence[float]] = (),
            scribbles: Iterable[Scribble | Sequence[Sequence[float]]] = (),
            target: str | None = None,
            conversation: str = "default",
            options: Options | None = None) -> Answer:
        """Return the finished answer to one question about one CT.

        Parameters
        ----------
        volume : a ``Volume``, or the path of one.
        clicks : RAS mm points, or ``Click`` objects.
        boxes : (R, A, S, size R, size A, size S) in mm, or ``PromptBox`` objects.
        scribbles : polylines of RAS mm points, or ``Scribble`` objects.
        target : id of an object of an earlier answer that the prompts refine.

        Raises
        ------
        CTReasonerError : where the question cannot be answered at all. "Absent", "outside" and "unsupported" are answers.
        """
        request = make_request(self.register(volume), question, clicks=clicks, boxes=boxes, scribbles=scribbles,
                               target=target, conversation=conversation, options=options)
        objects = self._objects.setdefault((request.volume, conversation), {})
        fold = Assembler(request, earlier=objects, folder=self.workspace_of(request))
        for event in self.answer(request):
            fold.add(event)
        objects.update((o.id, o) for o in fold.answer.objects)
        if fold.answer.error is not None:
            raise error_of(fold.answer.error)
        return fold.answer

    def import_dicom(self, volume: Volume | str | Path, objects: str | Path, *, ct: str | Path | None = None,
                     conversation: str = "default") -> Answer:
        """Return the findings of DICOM objects (SEG, RTSTRUCT, SEG with SR) as an answer of the conversation.

        A later click with one of their ids as ``target`` corrects its mask. ``ct`` is where the CT was read from, if not what
        ``volume.source`` says; notes on what was left out become warnings.

        Raises
        ------
        InputError : another patient, frame of reference or grid, or nothing that can be imported.
        """
        from .importing import import_alone, read_objects

        volume = load_volume(volume) if isinstance(volume, (str, Path)) else volume
        request = Request(volume=self.register(volume), text="import", conversation=conversation)
        found, notes = read_objects(Path(objects), volume, Path(ct or volume.source) if ct or volume.source else None)
        talk = self.engine.conversation(request)
        answer = import_alone(found, volume, self.workspace_of(request), talk.answers + 1)
        answer.warnings += [{"code": "import", "sentence": note, "hint": ""} for note in notes]
        talk.take_in(answer.events, self.workspace_of(request))
        self._objects.setdefault((request.volume, conversation), {}).update((o.id, o) for o in answer.objects)
        return answer

    def inside(self, volume: Volume | str | Path) -> dict[str, tuple[str, float]]:
        """Return, for each object that can be asked for by name, its state on a CT and the probability of that state.

        States are "present", "absent" and "outside". It is the model's estimate from the whole scan, before any closer look;
        an answer may come to another result.
        """
        volume = load_volume(volume) if isinstance(volume, (str, Path)) else volume
        return {key: (state, probability) for key, state, probability in self.engine.inside(volume)}

    @property
    def workspace(self) -> Path:
        """The temporary folder of this object's mask arrays; it goes when the object goes."""
        if self._workspace is None:
            self._workspace = Path(tempfile.mkdtemp(prefix="ctreasoner-"))
            weakref.finalize(self, shutil.rmtree, self._workspace, True)
        return self._workspace

    def workspace_of(self, request: Request) -> Path:
        """Return the folder for one conversation about one CT: ids of objects are unique within it alone."""
        name = hashlib.sha256(f"{request.volume} {request.conversation}".encode()).hexdigest()[:16]
        folder = self.workspace / name
        folder.mkdir(exist_ok=True)
        return folder


def make_request(volume: str, question: str = "", *, clicks: Iterable = (), boxes: Iterable = (), scribbles: Iterable = (),
                 target: str | None = None, conversation: str = "default", options: Options | None = None) -> Request:
    """Return a request from plain numbers or ready prompts."""
    return Request(
        volume=volume,
        text=question,
        clicks=tuple(c if isinstance(c, Click) else Click(point_ras=_numbers(c, 3, "A click")) for c in clicks),
        boxes=tuple(b if isinstance(b, PromptBox) else _box(b) for b in boxes),
        scribbles=tuple(s if isinstance(s, Scribble) else _scribble(s) for s in scribbles),
        target=target,
        conversation=conversation,
        options=options or Options(),
    )


def _box(numbers: Sequence[float]) -> PromptBox:
    values = _numbers(numbers, 6, "A box")
    return PromptBox(centre_ras=values[:3], size_mm=values[3:])


def _scribble(points: Sequence[Sequence[float]]) -> Scribble:
    return Scribble(points_ras=tuple(_numbers(p, 3, "A point of a scribble") for p in points))


def _numbers(values: Sequence[float], count: int, what: str) -> tuple[float, ...]:
    """Return ``count`` finite floats, or say what was expected."""
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(abs(n) < 1e6 for n in numbers):
        names = "R,A,S" if count == 3 else "R,A,S,width,depth,height"
        raise UsageError(f"{what} is {count} finite numbers in mm, {names}; got {values!r}.", code="CTR-USE-002")
    return numbers
