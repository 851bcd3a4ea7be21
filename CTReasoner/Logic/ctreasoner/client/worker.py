"""The engine as a process: `python -m ctreasoner.client.worker`. Protocol: see `protocol`.

One thread reads (so that a cancel or the end of the panel is noticed at once), the main thread works. Whatever else prints
goes to stderr: stdout carries the protocol alone. At file scope there is nothing that a bare Python lacks, so that a missing
package is said in a sentence.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import json
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..errors import CTReasonerError, InputError, ResourceError, UsageError
from ..events import LAST_EVENTS, Cancelled, Event, Failed, Mask, Measurement, Request, Started, request_from_json, to_json
from ..version import __version__
from .protocol import PROTOCOL, decode, encode
from .records import EDITED, Record

PARENT_CHECK_S = 2.0
CROP = ".npz"           # the suffix of masks.write_crop


class Worker:
    """Serves one panel.

    Parameters
    ----------
    make : called once, returns what has `answer(request, workspace=)`, and `register(volume)` itself or in its `engine`.
    send : takes one line.
    relive : answer the last questions of a conversation that another process began once more, unseen, so that a later one may
        speak of them.
    """

    def __init__(self, make: Callable[[], Any], send: Callable[[str], None], *, relive: bool = False) -> None:
        self._make, self._write, self._relive = make, send, relive
        self._lock = threading.Lock()
        self._jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._cancelled: set[int] = set()
        self._volumes: dict[str, Any] = {}
        self._refused: dict[str, CTReasonerError] = {}
        self._records: dict[str, Record] = {}
        self._last: Event | None = None         # of the answer that is being made
        self._reasoner: Any = None
        self.session: Path | None = None
        self.panel: int | None = None
        self.said_bye = False

    def send(self, **content: Any) -> None:
        """Write one line; a panel that is gone is noticed by the reading thread."""
        with self._lock:
            try:
                self._write(encode(**content))
            except (OSError, ValueError):
                pass

    # ------------------------------------------------------------ the reading thread
    def read(self, lines: Any) -> None:
        """Take lines until the end: a cancel is noted and acknowledged here, the rest waits for the main thread."""
        for line in lines:
            try:
                message = decode(line)
            except InputError as error:
                self._failed(error, {})
                continue
            op = message.get("op")
            if op == "hello":
                self._hello(message)
            elif op == "cancel":
                self._cancelled.add(message.get("ask"))
                self.send(reply="cancelling", ask=message.get("ask"))
            elif op == "bye":
                self.said_bye = True
                break
            else:
                self._jobs.put(message)
        self._jobs.put(None)

    def _hello(self, message: dict[str, Any]) -> None:
        self.panel = message.get("pid")
        if message.get("session"):
            self.session = Path(message["session"])
        self.send(reply="hello", protocol=PROTOCOL, version=__version__, python=sys.version.split()[0], pid=os.getpid())
        self._jobs.put({"op": "load"})

    # ------------------------------------------------------------ the main thread
    def work(self) -> None:
        """Do one job after the other until the panel says bye or is gone. Whatever a job ends in, the next one is done."""
        while (job := self._jobs.get()) is not None:
            handler = getattr(self, f"_do_{job.get('op')}", None)
            self._last = None
            try:
                if handler is None:
                    raise UsageError(f"The engine has no '{job.get('op')}'.", code="CTR-WRK-011")
                handler(job)
            except Exception as error:
                self._failed(_as_sentence(error), job)

    def _failed(self, error: CTReasonerError, job: dict[str, Any]) -> None:
        facts = {"code": error.code, "sentence": str(error), "hint": error.hint}
        if job.get("op") in ("ask", "import"):
            last = self._last or Failed(answer=f"ask{job.get('ask')}", seq=-1, t=0.0, **facts)
            self._event(job["ask"], Failed(answer=last.answer, seq=last.seq + 1, t=last.t, **facts))
        else:
            self.send(reply="failed", op=job.get("op", ""), ask=job.get("ask"), id=job.get("id"), **facts)

    def _do_load(self, _job: dict[str, Any]) -> None:
        if self._reasoner is None:
            self._reasoner = self._make()
            self.send(reply="ready", model=_facts_of_model(self._engine))

    @property
    def _engine(self) -> Any:
        return getattr(self._reasoner, "engine", self._reasoner)

    def _do_volume(self, job: dict[str, Any]) -> None:
        """Take a CT over. Why it could not be is kept for the question about it."""
        try:
            self._volumes[job["id"]] = _volume_of(job)
            self._refused.pop(job["id"], None)
        except Exception as error:
            self._refused[job["id"]] = _as_sentence(error)
            raise
        self.send(reply="volume", id=job["id"])

    def _do_ask(self, job: dict[str, Any]) -> None:
        if self._is_over(job["ask"]):
            return
        request = request_from_json(json.dumps(job["request"]))
        record = self._record(job["workspace"])
        reasoner = self._ready(request.volume)
        self._go_on(request, record, job)
        record.begin(request)
        request = self._with_masks(request, record.workspace)
        try:
            for event in self._until_cancelled(job["ask"], _stream(reasoner, request, record.workspace)):
                self._event(job["ask"], event, record)
        except Exception as error:
            self._fail_answer(error, job["ask"], record)
        finally:
            self._cancelled.discard(job["ask"])

    def _do_import(self, job: dict[str, Any]) -> None:
        """Answer with the findings of DICOM objects; they are objects of the conversation from then on."""
        from .bringing import import_events

        if self._is_over(job["ask"]):
            return
        request = request_from_json(json.dumps(job["request"]))
        record = self._record(job["workspace"])
        self._ready(request.volume)
        self._go_on(request, record, job)
        talk = self._engine.conversation(request)
        events = import_events(Path(job["path"]), self._volumes[request.volume], job.get("source") or "", record.workspace,
                               f"a{talk.answers + 1}")
        record.begin(request)
        try:
            for event in self._until_cancelled(job["ask"], events):
                self._event(job["ask"], event, record)
        except Exception as error:
            self._fail_answer(error, job["ask"], record)
        finally:
            self._cancelled.discard(job["ask"])
        talk.take_in(record.turns[-1].events, record.workspace)

    def _is_over(self, ask: int) -> bool:
        """Whether a question was cancelled before it began; it is ended here."""
        if ask in self._cancelled:
            self._cancelled.discard(ask)
            self._event(ask, Cancelled(answer=f"ask{ask}", seq=0, t=0.0))
            return True
        return False

    def _event(self, ask: int, event: Event, record: Record | None = None) -> None:
        if record is not None:
            record.add(event)
            if isinstance(event, Mask) and event.stage == "refined":    # goes on from the changed mask and takes its place
                (record.workspace / EDITED / f"{event.object}{CROP}").unlink(missing_ok=True)
        self._last = event
        self.send(reply="event", ask=ask, event=to_json(event))

    def _fail_answer(self, error: Exception, ask: int, record: Record) -> None:
        """End an answer that has begun; where the disk is full, the record has to do without its end."""
        self._failed(_as_sentence(error), {"op": "ask", "ask": ask})
        try:
            record.add(self._last)
        except OSError:
            pass

    def _until_cancelled(self, ask: int, stream: Any) -> Iterator[Event]:
        """Pass a stream on; a cancel ends it where it stands and keeps the engine warm. What came after the cancel is dropped."""
        last: Event | None = None
        try:
            for event in stream:
                if ask in self._cancelled and not isinstance(event, LAST_EVENTS):
                    first = last is None
                    yield Cancelled(answer=event.answer, seq=0 if first else last.seq + 1, t=event.t)
                    return
                last = event
                yield event
        finally:
            getattr(stream, "close", lambda: None)()
        if not isinstance(last, LAST_EVENTS):
            raise CTReasonerError("The answer stopped in the middle.", code="CTR-WRK-016", hint="Ask again.")

    def _ready(self, identity: str) -> Any:
        """Return the reasoner, to which the CT is known."""
        self._do_load({})
        if identity in self._refused:
            raise self._refused[identity]
        if identity not in self._volumes:
            raise InputError("The engine does not have this CT.", code="CTR-WRK-015", hint="Ask again.")
        self._engine.register(self._volumes[identity])      # not the reasoner: it would go on holding a CT that is to be forgotten
        return self._reasoner

    def _record(self, workspace: str) -> Record:
        if workspace not in self._records:
            self._records[workspace] = Record(Path(workspace))
        return self._records[workspace]

    def _go_on(self, request: Request, record: Record, job: dict[str, Any]) -> None:
        """Let a conversation that this process did not begin keep its numbers, and objects that can be edited."""
        if not hasattr(self._engine, "conversation"):
            return
        from .restoring import known_by_name, known_by_record, relive

        talk = self._engine.conversation(request)
        if talk.answers == 0:
            talk.earlier.update(known_by_record(record))
            if self._relive:
                relive(self._reasoner, talk, record, lambda: job["ask"] in self._cancelled)
        new = {key: name for key, name in (job.get("known") or {}).items() if talk.by_id(key) is None}
        talk.earlier.update(known_by_name(new))
        talk.answers = max(talk.answers, record.answered, int(job.get("answered") or 0))

    def _with_masks(self, request: Request, workspace: Path) -> Request:
        """Return the request with its changed masks where and as the engine reads them; crops are kept for an export."""
        if not request.edited:
            return request
        import numpy as np

        from ..io import read_mask
        from .masks import crop_of, expand, read_crop, write_crop

        folder, volume, paths = workspace / EDITED, self._volumes[request.volume], {}
        folder.mkdir(exist_ok=True)
        for key, path in request.edited.items():
            if Path(path).suffix == CROP:
                crop, first = read_crop(path, volume.shape)
                path = folder / f"{key}.npy"
                np.save(path, expand(crop, first, volume.shape))
            else:
                crop, first = crop_of(read_mask(path, volume))
            write_crop(folder / f"{key}{CROP}", crop, first)
            paths[key] = str(path)
        return replace(request, edited=paths)

    def _do_export(self, job: dict[str, Any]) -> None:
        from .exporting import write_export

        record = self._record(job["workspace"])
        if not record.turns:
            raise UsageError("There is no answer about this CT yet.", code="CTR-WRK-017", hint="Ask a question first.")
        if job["volume"] not in self._volumes:
            raise self._refused.get(job["volume"]) or InputError("The engine does not have this CT.", code="CTR-WRK-015")
        folder, files, notes = write_export(record, self._volumes[job["volume"]], job["folder"], source=job.get("source") or "",
                                            edited=job.get("edited") or {}, rejected=job.get("rejected") or (),
                                            dicom=job.get("dicom") or ("seg",), accepted_by=job.get("accepted_by") or "",
                                            incomplete=bool(job.get("incomplete")))
        self.send(reply="exported", ask=job.get("ask"), folder=str(folder), files=files, notes=notes)

    def _do_inside(self, job: dict[str, Any]) -> None:
        """Say which objects a CT shows, as far as that gets before something else is asked."""
        self._ready(job["volume"])
        found = self._engine.inside(self._volumes[job["volume"]])
        states, is_whole = {}, False
        while self._jobs.empty() and not is_whole:
            one = next(found, None)
            is_whole = one is None
            if one is not None:
                states[one[0]] = [one[1], round(one[2], 4)]
        self.send(reply="inside", ask=job["ask"], states=states, is_whole=is_whole)

    def _do_push(self, job: dict[str, Any]) -> None:
        """Send an export to an archive, on a thread of its own: a question does not wait for a slow server."""
        threading.Thread(target=self._push, args=(job,), daemon=True, name="push").start()

    def _push(self, job: dict[str, Any]) -> None:
        from .pushing import push_folder

        try:
            done = push_folder(job["folder"], job["address"], token=job.get("token") or "",
                               certificate=job.get("certificate") or "", without_patient=bool(job.get("without_patient")),
                               say=lambda words: self.send(reply="pushing", ask=job["ask"], words=words))
            self.send(reply="pushed", ask=job["ask"], stored=done.stored, already=done.already)
        except Exception as error:
            self._failed(_as_sentence(error), job)

    def _do_forget(self, job: dict[str, Any]) -> None:
        identity = job["volume"]
        self._volumes.pop(identity, None)
        self._refused.pop(identity, None)
        for workspace in [w for w, r in self._records.items() if any(t.request.volume == identity for t in r.turns)]:
            del self._records[workspace]
        if hasattr(self._engine, "forget"):
            self._engine.forget(identity)
        self.send(reply="forgotten", volume=identity)

    def clean(self) -> None:
        """Take away the session's folder where the panel no longer can."""
        if self.session is not None and not self.said_bye:
            shutil.rmtree(self.session, ignore_errors=True)


def _stream(reasoner: Any, request: Request, workspace: Path) -> Iterator[Event]:
    """Answer a request. Where a question comes together with changed masks, these are measured first, in the same answer."""
    question = replace(request, edited={}) if request.text.strip() or request.clicks or request.boxes or request.scribbles else None
    if not request.edited or question is None:
        yield from reasoner.answer(request, workspace=workspace)
        return
    edits = list(reasoner.answer(replace(request, text="", clicks=(), boxes=(), scribbles=(), target=None), workspace=workspace))
    if isinstance(edits[-1], Failed):
        yield from edits
        return
    shift = 0
    for event in reasoner.answer(question, workspace=workspace):
        yield replace(event, seq=event.seq + shift)
        if isinstance(event, Started):
            for shift, measured in enumerate((e for e in edits if isinstance(e, Measurement)), start=1):
                yield replace(measured, answer=event.answer, seq=event.seq + shift, t=event.t)


def _volume_of(job: dict[str, Any]) -> Any:
    """Return the Volume of a file that was handed over, memory-mapped. What is no CT is refused, as where a file is read."""
    import numpy as np

    from ..geometry import Volume
    from ..io import check_ct

    try:
        voxels = np.load(job["path"], mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise InputError("The CT's file cannot be read by the engine.", code="CTR-WRK-013", hint="Ask again.") from error
    volume = Volume(voxels, np.array(job["affine"], float), name=job.get("name", ""), source=job.get("source", ""))
    if volume.identity != (job.get("content") or job["id"]):
        raise InputError("The CT changed while it was handed over.", code="CTR-WRK-014", hint="Ask again.")
    check_ct(volume, eight_bit=bool(job.get("eight_bit")))
    volume.__dict__["identity"] = job["id"]         # a cached property: two owners of the same CT share nothing that was encoded
    return volume


def _facts_of_model(engine: Any) -> dict[str, Any]:
    """Return name and hash of an engine's model, with the megabytes of its weight files and its licence where it tells them."""
    facts, folder = dict(getattr(engine, "model", {})), getattr(engine, "folder", None)
    if folder is not None:
        facts["size_mb"] = round(sum(p.stat().st_size for p in Path(folder).glob("*.safetensors")) / 1e6, 1)
    licence = getattr(getattr(engine, "by", None), "licence", "")
    return {**facts, "licence": licence} if licence else facts


def _as_sentence(error: Exception) -> CTReasonerError:
    """Return what a person is told of an error, whatever it is."""
    if isinstance(error, CTReasonerError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("There is not enough memory.", code="CTR-RES-002", hint="Close other programs and ask again.")
    if isinstance(error, OSError) and (error.errno == errno.ENOSPC or "requested and" in str(error)):     # numpy's short write
        return ResourceError("The disk is full: the answer could not be written.", code="CTR-RES-001",
                             hint="Free some space in the folder for temporary files and ask again.")
    if isinstance(error, ImportError):
        return CTReasonerError(f"The engine's Python lacks {error.name or error}.", code="CTR-WRK-018",
                               hint="Install the engine, or choose a Python that has it.")
    import traceback

    traceback.print_exception(error)
    return CTReasonerError(f"The engine stumbled: {type(error).__name__}: {error}", code="CTR-WRK-012",
                           hint="Ask again; the log holds the details.")


def _make_reasoner(factory: str, model: str, threads: int | None) -> Any:
    """Return the engine's front door: our own, or what `module:name` (or `file.py:name`) makes."""
    if factory:
        module, _, name = factory.rpartition(":")
        if module.endswith(".py"):
            sys.path.insert(0, str(Path(module).parent))
            module = Path(module).stem
        return getattr(importlib.import_module(module), name)()
    from ..reasoner import Reasoner

    return Reasoner.from_pretrained(model, threads=threads)


def _watch_parents(worker: Worker) -> None:
    """End when the parent or the panel is gone, however it went (a pipe that a third process holds open never ends)."""
    parent = os.getppid()
    while os.getppid() == parent and _runs(worker.panel):
        time.sleep(PARENT_CHECK_S)
    worker.clean()
    os._exit(0)


def _runs(pid: int | None) -> bool:
    try:
        os.kill(pid or os.getpid(), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="ctreasoner.client.worker", description="The engine as a process; JSON lines.")
    parser.add_argument("--model", default="compact")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--factory", default="", help="module:name or file.py:name of a callable that makes another engine")
    parser.add_argument("--relive", action="store_true", help="go on with conversations that another process began")
    options = parser.parse_args(arguments)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)                                   # stray prints, from C code too, go to stderr
    sys.stdout = sys.stderr

    def send(line: str) -> None:
        out.write(line)
        out.flush()

    worker = Worker(lambda: _make_reasoner(options.factory, options.model, options.threads), send, relive=options.relive)

    def read() -> None:
        with open(0, encoding="utf-8", errors="replace", newline="\n", closefd=False) as lines:
            worker.read(lines)
        worker.clean()                              # without a bye the panel is gone: what is being worked on is for nobody
        os._exit(0)

    threading.Thread(target=read, daemon=True, name="reader").start()
    if os.name == "posix":
        threading.Thread(target=_watch_parents, args=(worker,), daemon=True, name="parents").start()
    worker.work()
    return 0


if __name__ == "__main__":
    sys.exit(main())
