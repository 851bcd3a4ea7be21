"""The folder of a conversation: the stream as it comes, and at the end everything that other programs read.

``events.jsonl`` grows event by event, so that whatever interrupts an answer, what was known stays readable. ``finish`` writes
masks, segmentation, markups, DICOM and the report, and ``answer.json``, whose paths are all relative to it.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answer import Answer, Assembler, FoundObject, answer_file, write_json
from .checked import plain
from .errors import CTReasonerError, InputError, ResourceError
from .events import LAST_EVENTS, Cancelled, Event, Mask, load_mask, to_json
from .exporting import Wish, maker_of, model_of, objects_of, write_dicom

if TYPE_CHECKING:
    from .geometry import Volume
    from .vocabulary import Vocabulary

EVENTS, ANSWER, REPORT, SEGMENTATION, MARKUPS, DICOM, ARRAYS = (
    "events.jsonl", "answer.json", "report.html", "segmentation.seg.nrrd", "markups.mrk.json", "dicom", "arrays")
OURS = (EVENTS, ANSWER, REPORT, SEGMENTATION, MARKUPS, "masks", ARRAYS, DICOM)


class OutputFolder:
    """Where the answers about one CT are kept.

    Parameters
    ----------
    folder : made where it does not exist; the files of an earlier conversation in it are replaced.
    source : the path that the CT was read from; a DICOM source gives the segmentation its series.
    credit : a line about the CT's origin for the report.
    wish : which DICOM objects are written; the segmentation, where nothing else is wished.
    """

    def __init__(self, folder: Path, volume: Volume, *, source: Path | None = None, credit: str = "",
                 wish: Wish | None = None) -> None:
        self.folder, self.volume, self.source, self.credit = Path(folder), volume, source, credit
        self.wish, self.created = wish or Wish(), datetime.datetime.now().replace(microsecond=0)
        self.answers: list[Answer] = []
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clear()
            self.workspace.mkdir(exist_ok=True)
            (self.folder / EVENTS).write_bytes(b"")
        except OSError as error:
            raise _disk(error, self.folder.name) from error

    def _clear(self) -> None:
        """Take away an earlier conversation; files that are not ours stay."""
        if not (self.folder / EVENTS).is_file():
            return
        for name in OURS:
            path = self.folder / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    @property
    def workspace(self) -> Path:
        """Where the engine puts the arrays of the masks of the streams that ``record`` takes."""
        return self.folder / ARRAYS

    def record(self, events: Iterable[Event], fold: Assembler) -> Iterator[Event]:
        """Pass a stream on while it is written and folded; a stream that is cut off ends with ``Cancelled``."""
        fold.answer.folder = self.folder
        self.answers.append(fold.answer)
        last: Event | None = None
        try:
            for event in events:
                if isinstance(event, Mask):         # the engine's path is relative to its workspace
                    event = replace(event, path=f"{ARRAYS}/{event.path}")
                self._append(event)
                fold.add(event)
                last = event
                yield event
        finally:
            if last is not None and not isinstance(last, LAST_EVENTS):
                end = Cancelled(answer=last.answer, seq=last.seq + 1, t=last.t)
                fold.add(end)
                self._append(end)
            self.write_answer()

    def _append(self, event: Event) -> None:
        """Put one line at the end of the stream's file; it is on its way to the disk when this returns."""
        try:
            with (self.folder / EVENTS).open("a", encoding="utf-8", newline="\n") as file:
                file.write(to_json(event) + "\n")
        except OSError as error:
            raise _disk(error, EVENTS) from error

    def write_answer(self, files: dict[str, str] | None = None) -> None:
        """Write ``answer.json`` for the turns so far; an object's mask is named where its file exists."""
        write_json(self._content(files), self.folder / ANSWER)

    def _content(self, files: dict[str, str] | None = None) -> dict[str, Any]:
        content = answer_file(self.answers, self._mask_file, files=files)
        content["created"] = self.created.isoformat()
        content["volume"] = {**content["volume"], "name": self.volume.name, "shape": list(self.volume.shape),
                             "series": self.volume.series, "ijk_to_ras": self.volume.affine.tolist()}
        return content

    def finish(self) -> dict[str, str]:
        """Write all that is made once a conversation is over. Returns {what: path relative to the folder}.

        What there is nothing to put into (no object was found, say) is left out; a full disk is a ``ResourceError``.
        """
        try:
            files = self._write_all()
        except OSError as error:
            raise _disk(error, self.folder.name) from error
        return files

    def _write_all(self) -> dict[str, str]:
        from .experts import anatomy

        vocabulary = anatomy.vocabulary()
        segments = list(self.segments())
        files = {"events": EVENTS, "answer": ANSWER}
        if segments:
            files["masks"] = self._write_masks(segments)
            segments = without_repeats(segments)
            files["segmentation"] = self._write_segmentation(segments, vocabulary)
            if self.wish.what:
                files |= self._write_dicom(segments)
        if markups := self._write_markups(vocabulary):
            files["markups"] = markups
        self.write_answer(files)
        files["report"] = self._write_report()
        self.write_answer(files)
        return files

    def segments(self) -> Iterator[tuple[FoundObject, Any]]:
        """Yield every object that has a mask with a voxel, in its last state, with its crop (uint8 [i, j, k])."""
        for found in self._latest().values():
            if found.mask is None:
                continue
            crop = load_mask(found.mask, self.folder)
            if crop.any():
                yield found, crop

    def _latest(self) -> dict[str, FoundObject]:
        """Return every object in the state of the last turn that speaks of it; measurements of earlier turns stay."""
        latest: dict[str, FoundObject] = {}
        for answer in self.answers:
            for found in answer.objects:
                old = latest.get(found.id)
                merged = {m["name"]: m for o in (old, found) if o is not None for m in o.measurements}
                latest[found.id] = replace(found, measurements=list(merged.values()))
        return latest

    def _mask_file(self, found: FoundObject) -> str | None:
        path = f"masks/{found.id}.nii.gz"
        return path if found.mask is not None and (self.folder / path).is_file() else None

    def _write_masks(self, segments: list[tuple[FoundObject, Any]]) -> str:
        from .io import write_mask_nifti

        (self.folder / "masks").mkdir(exist_ok=True)
        for found, crop in segments:
            write_mask_nifti(crop, found.mask.first_voxel, self.volume, self.folder / "masks" / f"{found.id}.nii.gz")
        return "masks"

    def _write_segmentation(self, segments: list[tuple[FoundObject, Any]], vocabulary: Vocabulary) -> str:
        from .io.writing import Segment, write_seg_nrrd

        rows = [Segment.named(found.name, crop, found.mask.first_voxel, vocabulary, id=found.id, display=found.display,
                              algorithm=_algorithm(found), **maker_of(found.by)) for found, crop in segments]
        write_seg_nrrd(rows, self.volume, self.folder / SEGMENTATION)
        return SEGMENTATION

    def _write_markups(self, vocabulary: Vocabulary) -> str:
        """Write the box of every object, and the line of every measurement that has one. Returns "" where there is none."""
        from .io.markups import BoxMarkup, LineMarkup, write_markups

        items: list[BoxMarkup | LineMarkup] = []
        for found in self._latest().values():
            known = vocabulary.get(found.name)
            look = {"colour": known.colour} if known else {}
            if found.box is not None:
                items.append(BoxMarkup(name=found.display or found.name, centre_ras=found.box["centre_ras"],
                                       size_mm=found.box["size_mm"], axes=found.box["axes"], description=found.id, **look))
            for measured in found.measurements:
                ends = (measured.get("geometry") or {}).get("ends_ras")
                if ends:
                    name = f"{found.display or found.name}, {measured['name'].replace('_', ' ')}"
                    items.append(LineMarkup(name=name, ends_ras=ends, description=measured["id"], **look))
        if not items:
            return ""
        write_markups(items, self.folder / MARKUPS)
        return MARKUPS

    def _write_dicom(self, segments: list[tuple[FoundObject, Any]]) -> dict[str, str]:
        content = plain(self._content())
        objects = objects_of(content, {found.id: (crop, found.mask.first_voxel) for found, crop in segments})
        written = write_dicom(self.folder / DICOM, objects, self.volume, wish=self.wish, source=self.source,
                              model=model_of(content), created=self.created)
        return {what: f"{DICOM}/{path}" for what, path in written.items()}

    def _write_report(self) -> str:
        from .report import write_report

        write_report((event for answer in self.answers for event in answer.events), self.volume, self.folder, self.credit,
                     questions={a.id: a.question for a in self.answers},
                     clicks={a.id: [c.point_ras for c in a.clicks] for a in self.answers})
        return REPORT


def without_repeats(segments: list[tuple[FoundObject, Any]]) -> list[tuple[FoundObject, Any]]:
    """Leave out an object that a later answer found again, voxel for voxel: it is one segment, not two."""
    kept: dict[tuple, tuple[FoundObject, Any]] = {}
    for found, crop in segments:
        kept[(found.name, found.mask.first_voxel, found.mask.shape, crop.tobytes())] = (found, crop)
    return list(kept.values())


def _algorithm(found: FoundObject) -> str:
    """Return DICOM's word for how a mask came about."""
    if found.origin == "edited":
        return "MANUAL"
    stage = found.mask.stage if isinstance(found.mask, Mask) else ""
    return "SEMIAUTOMATIC" if found.origin in ("click", "box", "scribble") or stage == "refined" else "AUTOMATIC"


def _disk(error: OSError, name: str) -> CTReasonerError:
    """Return the sentence for a file that could not be written."""
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        return InputError(f"{name} is a file, not a folder to write to.", code="CTR-IO-080")
    return ResourceError(f"{name} could not be written: {error.strerror or error}.", code="CTR-RES-001",
                         hint="Free some space or choose another folder.")
