"""How published data lie on disk: one small reader for each layout, all with the same three functions.

A layout says whether a folder is its own (``fits``) and lists what lies there (``cases``); each ``Found`` reads its CT and masks
only when asked to. Numbers of classes mean nothing outside their file: everything leaves a reader by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ctreasoner.errors import InputError
from ctreasoner.geometry import Volume

from ..schema import By, Source, from_line

SOURCE_FILE = "source.json"
SUFFIXES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".mha", ".mhd")
NAMES = ("compact", "totalsegmentator", "segthor", "btcv", "amos", "flare", "decathlon", "mosmed", "pairs", "dicom")


@dataclass(frozen=True, eq=False)
class Drawn:
    """One mask as its source gives it: bool [i, j, k] on a grid that must be the CT's; ``file`` is named in messages."""

    name: str
    mask: np.ndarray
    affine: np.ndarray
    file: str
    by: By | None = None                 # None: who the source says
    range_only: bool = False             # drawn over a range of slices only
    cut_by_crop: bool = False
    ratings: Sequence[Sequence[int]] = ()
    words: tuple[str, ...] = ()


@dataclass(eq=False)
class Scan:
    """A CT with everything that its source knows of it. ``covered``: names that somebody looked for."""

    volume: Volume
    masks: Iterator[Drawn]
    covered: tuple[str, ...]
    view: str = "scan"
    hu: str = "trusted"
    scale: str = "mm"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """One case that can be read: ``file`` names it in messages, ``split`` is the publisher's (None: none was published)."""

    id: str
    patient: str
    source: Source
    file: str
    read: Callable[[], Scan]
    split: str | None = None
    published_split: str | None = None


class Layout(Protocol):
    """A module of this package."""

    LOOKS_LIKE: str                       # for people

    def fits(self, folder: Path) -> bool: ...

    def cases(self, folder: Path, about: dict[str, Any]) -> Iterator[Found]: ...


def layout(name: str) -> Layout:
    return import_module(f".{name}", __name__)


def layout_of(folder: Path) -> str:
    """The name of the layout of a folder; InputError (CTR-DATA-020) where it has none."""
    if not folder.is_dir():
        raise InputError(f"There is no folder {folder.name or folder}.", code="CTR-IO-001")
    for name in NAMES:
        if layout(name).fits(folder):
            return name
    known = "; ".join(f"{name}: {layout(name).LOOKS_LIKE}" for name in NAMES)
    raise InputError(f"{folder.name} is laid out in no way that is known.", code="CTR-DATA-020", hint=f"Known are {known}.")


def about_of(folder: Path, licence: str = "") -> dict[str, Any]:
    """What source.json says of a folder, and a licence given by hand. Keys: those of ``Source``, ``labels`` (name -> number)."""
    path = folder / SOURCE_FILE
    about: dict[str, Any] = {}
    if path.is_file():
        try:
            about = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise InputError(f"{folder.name}/{SOURCE_FILE}: not JSON.", code="CTR-DATA-003") from error
        if not isinstance(about, dict):
            raise InputError(f"{folder.name}/{SOURCE_FILE}: not a JSON object.", code="CTR-DATA-003")
    return about | ({"licence": licence} if licence else {})


def source_of(about: dict[str, Any], **defaults: Any) -> Source:
    """The source of a folder: what source.json says, else what is known of the layout."""
    fields = {**defaults, **{k: v for k, v in about.items() if k != "labels"}}
    return from_line(Source, fields, SOURCE_FILE)


def with_licence(source: Source, about: dict[str, Any]) -> Source:
    return replace(source, licence=about["licence"]) if about.get("licence") else source


# ---------------------------------------------------------------- what several readers share

def images(folder: Path) -> list[Path]:
    """Files of volumes in a folder, by name."""
    return sorted(p for p in folder.iterdir() if p.is_file() and p.name.lower().endswith(SUFFIXES)) if folder.is_dir() else []


def stem(path: Path) -> str:
    """The name of a file without what says its format."""
    return next((path.name[:-len(s)] for s in SUFFIXES if path.name.lower().endswith(s)), path.stem)


def read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path.parent.name}/{path.name} cannot be read as JSON.", code="CTR-DATA-003") from error
    if not isinstance(content, dict):
        raise InputError(f"{path.parent.name}/{path.name} is no JSON object.", code="CTR-DATA-003")
    return content


def numbered(content: Any, file: str) -> dict[int, str]:
    """Number -> name of a table of labels, written either way round ({"1": "liver"} or {"liver": 1}); without the background."""
    table: dict[int, str] = {}
    try:
        for a, b in dict(content).items():
            number, name = (int(b), str(a)) if isinstance(b, int) else (int(a), str(b))
            table[number] = name
    except (TypeError, ValueError) as error:
        raise InputError(f"{file}: its table of labels is no list of names and numbers.", code="CTR-DATA-003") from error
    return {n: name for n, name in table.items() if n != 0 and name.lower() != "background"}


@dataclass
class LabelMap:
    """The masks of one file of label numbers. ``names``: what its numbers mean; others are refused (CTR-DATA-023)."""

    path: Path
    names: dict[int, str]
    fields: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Drawn]:
        from ..grids import read_labels

        stored, affine = read_labels(self.path)
        present = [int(v) for v in np.unique(stored) if v]
        unknown = [v for v in present if v not in self.names]
        if unknown:
            raise InputError(f"{self.path.name} holds the label {unknown[0]}, which no table names "
                             f"({', '.join(map(str, sorted(self.names)))} are named).", code="CTR-DATA-023")
        if not present:
            raise InputError(f"{self.path.name} is empty: nothing is labelled in it.", code="CTR-DATA-024",
                             hint="Leave the file away if nobody labelled the CT.")
        for value in present:
            yield Drawn(self.names[value], stored == value, affine, self.path.name, **self.fields)


def pair(image: Path, labels: Path | None, names: dict[int, str]) -> Callable[[], Scan]:
    """How a CT with one file of label numbers is read; without that file nothing is covered."""
    def read() -> Scan:
        from ctreasoner.io import read_volume

        masks = iter(LabelMap(labels, names)) if labels is not None else iter(())
        return Scan(read_volume(image), masks, tuple(names.values()) if labels is not None else ())

    return read
