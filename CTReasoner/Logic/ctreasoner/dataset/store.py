"""A data set on disk: written whole or not at all, read as memory maps.

    DIR/dataset.json            schema, sources (licence, protocol, who drew), the command that made it
    DIR/cases.jsonl             one line for each finished case; what it does not name does not exist
    DIR/cases/<id>/ct.npy       int16 or float32 HU [i, j, k], nearest RAS axes
    DIR/cases/<id>/labels.jsonl, questions.jsonl
    DIR/cases/<id>/masks/<label>.npy    uint8 0 and 1, a crop
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ctreasoner.errors import InputError, ResourceError
from ctreasoner.geometry import Volume
from ctreasoner.io.files import atomic

from .schema import SCHEMA, Case, Label, Question, Source, from_line, to_line

Purpose = Literal["training", "evaluation"]


class DataSet:
    """One folder. ``open`` for one that exists, ``create`` for a new one (an existing one is continued)."""

    def __init__(self, folder: Path, sources: dict[str, Source], made: dict[str, Any]) -> None:
        self.folder, self.sources, self.made = folder, sources, made
        self._cases: dict[str, Case] | None = None

    @classmethod
    def open(cls, folder: str | Path) -> DataSet:
        """Raises InputError: CTR-DATA-005 where there is none, CTR-DATA-003 where it is damaged or of another schema."""
        folder = Path(folder)
        path = folder / "dataset.json"
        if not path.is_file():
            raise InputError(f"{folder.name or folder} holds no dataset.json: it is no data set.", code="CTR-DATA-005",
                             hint="ctreasoner dataset build SOURCE --out DIR makes one.")
        content = _parsed(path.read_bytes(), "dataset.json")
        if content.get("schema") != SCHEMA:
            raise InputError(f"dataset.json has the schema {content.get('schema')!r}; this version reads {SCHEMA}.",
                             code="CTR-DATA-003", hint="Build the data set again.")
        sources = [from_line(Source, s, "dataset.json") for s in content.get("sources", [])]
        return cls(folder, {s.name: s for s in sources}, content.get("made", {}))

    @classmethod
    def create(cls, folder: str | Path, made: dict[str, Any]) -> DataSet:
        folder = Path(folder)
        if (folder / "dataset.json").is_file():
            return cls.open(folder)
        try:
            (folder / "cases").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResourceError(f"{folder.name} could not be made: {error.strerror or error}.", code="CTR-RES-001",
                                hint="Choose another folder.") from error
        found = cls(folder, {}, made)
        found._write_head()
        return found

    # ------------------------------------------------------------ reading

    def cases(self) -> list[Case]:
        """Every finished case, in the order in which they were written."""
        if self._cases is None:
            path = self.folder / "cases.jsonl"
            lines = _lines(path, Case) if path.is_file() else []
            self._cases = {case.id: case for case in lines}
        return list(self._cases.values())

    def case(self, key: str) -> Case:
        self.cases()
        if key not in self._cases:
            raise InputError(f"{self.folder.name} has no case {key}.", code="CTR-DATA-006")
        return self._cases[key]

    def labels(self, case: str, *, proposals: bool = False) -> list[Label]:
        """What counts as a label in a case; with ``proposals`` also what no person has accepted."""
        found = _lines(self._of(case) / "labels.jsonl", Label)
        return [label for label in found if proposals or label.counts]

    def questions(self, case: str) -> list[Question]:
        return list(_lines(self._of(case) / "questions.jsonl", Question))

    def volume(self, case: Case) -> Volume:
        """The CT as a memory map; InputError (CTR-DATA-007) where the file is not what the line says."""
        voxels = _array(self._of(case.id) / "ct.npy", case.shape, ("int16", "float32"))
        return Volume(voxels, np.array(case.affine), name=case.id)

    def mask(self, label: Label) -> np.ndarray:
        """The crop [i, j, k] uint8 of a label with a mask, as a memory map."""
        root = self._of(label.case).resolve()
        path = (root / (label.mask or "")).resolve()
        if label.mask is None or not path.is_relative_to(root):
            raise InputError(f"Label {label.id} of {label.case} has no mask inside its case.", code="CTR-DATA-007")
        return _array(path, label.shape, ("uint8",))

    def whole_mask(self, label: Label) -> np.ndarray:
        """[i, j, k] bool on the whole grid of its case."""
        whole = np.zeros(self.case(label.case).shape, bool)
        whole[tuple(slice(f, f + n) for f, n in zip(label.first_voxel, label.shape, strict=True))] = self.mask(label)
        return whole

    def require(self, purpose: Purpose) -> None:
        """Refuse training on sources whose licence is missing or forbids derivatives; evaluation may read both."""
        for source in self.sources.values() if purpose == "training" else ():
            may_train(source)

    # ------------------------------------------------------------ writing

    def add_source(self, source: Source) -> None:
        """Remember a source; the same name with other facts is refused (CTR-DATA-013)."""
        known = self.sources.get(source.name)
        if known is not None and known != source:
            raise InputError(f"The source {source.name} is in {self.folder.name} already, with another licence or protocol.",
                             code="CTR-DATA-013", hint="Give it another name in source.json, or build into another folder.")
        if known is None:
            self.sources[source.name] = source
            self._write_head()

    def add_case(self, case: Case, voxels: np.ndarray, labels: Sequence[Label], masks: Mapping[str, np.ndarray],
                 questions: Sequence[Question]) -> None:
        """Write a case; its line in cases.jsonl comes last, so that an interruption leaves no half case."""
        self.cases()
        folder = self._of(case.id)
        shutil.rmtree(folder, ignore_errors=True)            # what an interruption left; no line names it
        (folder / "masks").mkdir(parents=True)
        save_array(folder / "ct.npy", voxels)
        for name, mask in masks.items():
            save_array(folder / "masks" / f"{name}.npy", mask)
        self.write_labels(case.id, labels)
        self.write_questions(case.id, questions)
        self._cases[case.id] = case
        self._write_cases()

    def change_case(self, case: Case, **fields: Any) -> Case:
        changed = replace(case, **fields)
        self.cases()
        self._cases[case.id] = changed
        self._write_cases()
        return changed

    def write_labels(self, case: str, labels: Iterable[Label]) -> None:
        _write_lines(self._of(case) / "labels.jsonl", labels)

    def write_questions(self, case: str, questions: Iterable[Question]) -> None:
        _write_lines(self._of(case) / "questions.jsonl", questions)

    def write_mask(self, label: Label, crop: np.ndarray) -> None:
        save_array(self._of(label.case) / str(label.mask), crop)

    def _of(self, case: str) -> Path:
        return self.folder / "cases" / case

    def _write_cases(self) -> None:
        _write_lines(self.folder / "cases.jsonl", self._cases.values())

    def _write_head(self) -> None:
        head = {"schema": SCHEMA, "sources": [json.loads(to_line(s)) for s in self.sources.values()], "made": self.made}
        with atomic(self.folder / "dataset.json") as file:
            file.write((json.dumps(head, indent=1, ensure_ascii=False) + "\n").encode())


def save_array(path: Path, array: np.ndarray) -> None:
    """Write a .npy file, whole or not at all."""
    with atomic(path) as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)


def _array(path: Path, shape: tuple[int, ...], kinds: tuple[str, ...]) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path.parent.name}/{path.name} cannot be read as an array.", code="CTR-DATA-007",
                         hint="Build the case again.") from error
    if array.shape != shape or array.dtype.name not in kinds:
        raise InputError(f"{path.parent.name}/{path.name} is {array.dtype.name} {array.shape}; its line says "
                         f"{' or '.join(kinds)} {shape}.", code="CTR-DATA-007", hint="Build the case again.")
    return array


def _parsed(text: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON.", code="CTR-DATA-003") from error
    if not isinstance(content, dict):
        raise InputError(f"{where}: not a JSON object.", code="CTR-DATA-003")
    return content


def _lines(path: Path, kind: type) -> Iterator[Any]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path.parent.name}/{path.name} cannot be read: {error.strerror or error}.", code="CTR-DATA-007",
                         hint="Build the case again.") from error
    for number, line in enumerate(content.splitlines(), 1):
        if line.strip():
            where = f"{path.parent.name}/{path.name} line {number}"
            yield from_line(kind, _parsed(line, where), where)


def _write_lines(path: Path, items: Iterable[Any]) -> None:
    with atomic(path) as file:
        for item in items:
            file.write((to_line(item) + "\n").encode())


def may_train(source: Source) -> None:
    """Raises InputError where a source has no licence (CTR-DATA-011) or one that forbids derivatives (-012)."""
    if not source.licence.strip():
        raise InputError(f"The source {source.name} has no licence: nobody may train on it.", code="CTR-DATA-011",
                         hint="Write its licence into dataset.json (source.json of a published folder), or evaluate only.")
    if source.forbids_derivatives:
        raise InputError(f"The licence of {source.name} ({source.licence[:60]}) forbids derivatives: weights would be one.",
                         code="CTR-DATA-012", hint="It may be evaluated on.")
