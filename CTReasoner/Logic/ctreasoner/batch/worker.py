"""What runs in each worker process: one engine, and two CTs on their way: one is read or written while one is asked about."""

from __future__ import annotations

import json
import platform
import shutil
import threading
import time
from contextlib import ExitStack
from typing import Any

from ..answer import Answer, Assembler, write_json
from ..errors import CTReasonerError, error_of
from ..geometry import Volume
from ..output import ARRAYS, OutputFolder
from ..reasoner import load_volume, make_request
from ..version import __version__
from .rows import object_rows
from .sources import Source, at_hand
from .units import UNIT, UNIT_VERSION, Job, Room, add_dicom, commit

CALLS = 2       # CTs on their way in one worker: the engine has one of them, files and pictures of the other are read or written


class Worker:
    """A stateful actor of Ray Data: a source in, what became of it out. It is called from ``CALLS`` threads.

    Nothing is raised: a CT that cannot be answered about is an outcome with a code. A model that cannot be loaded makes every
    outcome "broken".
    """

    def __init__(self, job: Job) -> None:
        self.job, self.room, self.engine_free, self.broken = job, Room(CALLS), threading.Lock(), None
        try:
            self.engine = self.load()
        except CTReasonerError as error:
            self.broken = error

    def load(self) -> Any:
        from ..engine import Engine

        return Engine.from_pretrained(self.job.model, threads=1)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        source = Source(**json.loads(row["source"]))
        return {"outcome": json.dumps({"source": source.key, "name": source.name} | self.outcome(source))}

    def outcome(self, source: Source) -> dict[str, Any]:
        """Return {state: done, already, failed or broken; unit, volume, seconds; or code, sentence, hint}."""
        if self.broken:
            return _words("broken", self.broken)
        began = time.perf_counter()
        try:
            with self.room.place(self.job, source):
                made = self._unit(source)
        except CTReasonerError as error:
            made = _words("failed", error)
        except MemoryError:
            made = {"state": "failed", "code": "CTR-RES-002", "sentence": "There is not enough memory for this scan.", "hint": ""}
        except Exception as error:      # a fault of ours must not take the other CTs with it
            made = {"state": "failed", "code": "CTR-BUG-000", "hint": "",
                    "sentence": f"This is a fault of ours: {type(error).__name__}: {error}"}
        return made | {"seconds": round(time.perf_counter() - began, 3)}

    def _unit(self, source: Source) -> dict[str, Any]:
        """Read one CT, ask, write, and give it its name."""
        folder = self.job.work / source.key
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, True)
            began = time.perf_counter()
            path = stack.enter_context(at_hand(source, self.job.work / f"{source.key}.dcm", self.job.archive))
            volume = load_volume(path, source.series or None)
            name = self.job.name(volume.identity)
            known = {"unit": name, "volume": volume.identity}
            if self.job.is_done(name):
                return {"state": "already"} | known
            if self.job.state(name) is not None:
                add_dicom(self.job, self.job.case(name), volume, path)
                return {"state": "done"} | known
            took = {"reading": time.perf_counter() - began}
            shutil.rmtree(folder, ignore_errors=True)       # of a process that died
            output = OutputFolder(folder, volume, source=path, wish=self.job.wish)
            answers = self._answers(volume, output, took)
            self._write(output, answers, source, name, took)
            return {"state": "done" if commit(self.job, folder, name) else "already"} | known

    def _answers(self, volume: Volume, output: OutputFolder, took: dict[str, float]) -> list[Answer]:
        """Ask every question, in one conversation. Raises what a failed answer stands for."""
        with self.engine_free:
            began = time.perf_counter()
            identity, objects, answers = self.engine.register(volume), {}, []
            try:
                for question in self.job.questions:
                    request = make_request(identity, question)
                    fold = Assembler(request, earlier=objects, folder=output.workspace)
                    for _ in output.record(self.engine.answer(request, workspace=output.workspace), fold):
                        pass
                    if fold.answer.error is not None:
                        raise error_of(fold.answer.error)
                    objects.update((found.id, found) for found in fold.answer.objects)
                    answers.append(fold.answer)
            finally:
                self.engine.forget(identity)
            took["asking"] = time.perf_counter() - began
        return answers

    def _write(self, output: OutputFolder, answers: list[Answer], source: Source, name: str, took: dict[str, float]) -> None:
        from .pictures import write_pictures

        began = time.perf_counter()
        output.finish()
        shots = write_pictures(output)
        shutil.rmtree(output.folder / ARRAYS)      # masks/ holds the same, packed
        took["writing"] = time.perf_counter() - began
        write_json({
            "v": UNIT_VERSION,
            "unit": name,
            "name": source.name,
            "volume": output.volume.identity,
            "questions": list(self.job.questions),
            "dicom": list(self.job.dicom),
            "created": output.created.isoformat(),
            "seconds": {stage: round(seconds, 3) for stage, seconds in took.items()},
            "by": {"ctreasoner": __version__, "model": answers[0].model if answers else {}, "python": platform.python_version()},
            "notes": list(output.volume.notes),
            "pictures": shots,
            "rows": [row for answer in answers for row in object_rows(answer, output.folder)],
        }, output.folder / UNIT)


def _words(state: str, error: CTReasonerError) -> dict[str, Any]:
    return {"state": state, "code": error.code, "sentence": str(error), "hint": error.hint}

