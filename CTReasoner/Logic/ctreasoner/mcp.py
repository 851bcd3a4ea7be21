"""`ctreasoner mcp`: the engine as tools for assistants that speak the Model Context Protocol, over stdio, on local CTs.

An assistant may be talked into things by what it reads. So nothing outside the folders that the person allowed is read or written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .answer import Answer, Assembler, FoundObject
from .client.exporting import write_export
from .client.records import Record
from .errors import CTReasonerError, InputError, UsageError, error_of
from .geometry import Volume
from .reasoner import Reasoner, load_volume, make_request
from .version import __version__

ABOUT = ("Ask about computed tomography (CT) scans on this computer: where an organ or a finding is, how large it is, what it "
         "looks like. Every number is measured on the scan. Research software: no diagnosis may rest on it.")


@dataclass
class _Case:
    volume: Volume
    record: Record
    objects: dict[str, FoundObject] = field(default_factory=dict)


class Tools:
    """What an assistant can call. `make` loads the engine, at the first question; `allowed` are the folders that may be used."""

    def __init__(self, make: Callable[[], Reasoner], allowed: list[Path]) -> None:
        self._make, self._allowed = make, [folder.resolve() for folder in allowed]
        self._reasoner: Reasoner | None = None
        self._cases: dict[Path, _Case] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="ctreasoner-mcp-")

    def ask(self, ct: str, question: str, click_ras: list[float] | None = None) -> dict[str, Any]:
        """Ask a question about a CT in words. A later question may speak of an earlier answer ("how large is it?").

        Args:
            ct: path of a NIfTI, NRRD or MetaImage file, or of a DICOM folder, zip or file.
            question: for example "Segment the aorta." or "Is the heart enlarged?".
            click_ras: a point of what is meant: [right, anterior, superior] in mm.
        """
        with _in_words():
            return _told(self._answer(ct, question, click_ras))

    def measure(self, ct: str, object: str) -> dict[str, Any]:
        """Segment one object in a CT and return its measurements, each with unit and method.

        Args:
            ct: path of the CT.
            object: its name, for example "left kidney".
        """
        with _in_words():
            return _told(self._answer(ct, f"Segment and describe the {object}."))

    def compare(self, object: str, first_ct: str, second_ct: str) -> dict[str, Any]:
        """Measure the same object in two CTs, an earlier and a later one, and return both with the change of each measurement.

        Args:
            object: its name, for example "liver".
            first_ct: path of the earlier CT.
            second_ct: path of the later CT.
        """
        with _in_words():
            first, second = (self._answer(ct, f"Segment and describe the {object}.") for ct in (first_ct, second_ct))
            return {"first": _told(first), "second": _told(second), "changes": _changes(first, second)}

    def export(self, ct: str, folder: str) -> dict[str, Any]:
        """Write what was answered about a CT: masks, a segmentation for 3D Slicer and one in DICOM, markups and a report.

        Args:
            ct: path of the CT.
            folder: a new folder to write to.
        """
        with _in_words():
            case = self._case(ct)
            if not case.record.turns:
                raise UsageError("There is no answer about this CT yet.", code="CTR-WRK-017", hint="Ask a question first.")
            target, source = self._path(folder), str(self._path(ct))
            written, files, notes = write_export(case.record, case.volume, target, source=source, edited={})
            return {"folder": str(written), "files": files, "notes": notes}

    # ------------------------------------------------------------ inside
    def _path(self, text: str) -> Path:
        path = Path(text).expanduser().resolve()
        if not any(path.is_relative_to(folder) for folder in self._allowed):
            raise InputError(f"{path.name} does not lie in a folder that may be used.", code="CTR-MCP-001",
                             hint="Start ctreasoner mcp with --allow FOLDER.")
        return path

    def _case(self, ct: str) -> _Case:
        path = self._path(ct)
        if path not in self._cases:
            volume = load_volume(path)
            self._cases[path] = _Case(volume, Record(Path(self._folder.name) / str(len(self._cases))))
        return self._cases[path]

    def _answer(self, ct: str, question: str, click_ras: list[float] | None = None) -> Answer:
        case = self._case(ct)
        if self._reasoner is None:
            self._reasoner = self._make()
        request = make_request(self._reasoner.register(case.volume), question, clicks=[click_ras] if click_ras else [])
        fold = Assembler(request, earlier=case.objects, folder=case.record.workspace)
        case.record.begin(request)
        for event in self._reasoner.answer(request, workspace=case.record.workspace):
            case.record.add(event)
            fold.add(event)
        case.objects.update((o.id, o) for o in fold.answer.objects)
        if fold.answer.error is not None:
            raise error_of(fold.answer.error)
        return fold.answer


def _told(answer: Answer) -> dict[str, Any]:
    """Return what an assistant needs of an answer: words, objects with their numbers, and which statements were checked."""
    return {
        "text": answer.text.strip(),
        "objects": [{"id": o.id, "name": o.name, "existence": o.existence, "probability": o.probability, "box": o.box,
                     "cut_by_scan": getattr(o.mask, "cut_by_scan", None),
                     "measurements": [{k: m[k] for k in ("name", "value", "unit", "method")} for m in o.measurements]}
                    for o in answer.objects],
        "statements": [{"claim": s["claim"], "verdict": s["verdict"]} for s in answer.statements],
        "warnings": [w["sentence"] for w in answer.warnings],
    }


def _changes(first: Answer, second: Answer) -> list[dict[str, Any]]:
    """Return the change of each measurement that both answers have, of their first objects."""
    if not first.objects or not second.objects:
        return []
    later = {m["name"]: m for m in second.objects[0].measurements}
    return [{"name": m["name"], "unit": m["unit"], "first": m["value"], "second": later[m["name"]]["value"],
             "change": later[m["name"]]["value"] - m["value"]} for m in first.objects[0].measurements if m["name"] in later]


@contextmanager
def _in_words() -> Iterator[None]:
    """Give errors to the assistant as one sentence, with what to do."""
    from mcp.server.mcpserver.exceptions import ToolError

    try:
        yield
    except CTReasonerError as error:
        raise ToolError(f"{error} {error.hint} [{error.code}]".replace("  ", " ")) from None


def run(make: Callable[[], Reasoner], allowed: list[Path]) -> None:
    """Serve on stdin and stdout until the other side closes them. Raises UsageError where the package is not installed."""
    try:
        from mcp.server import MCPServer
    except ImportError as error:
        raise UsageError(f"The tools need the package {error.name}.", code="CTR-MCP-002",
                         hint="pip install 'ctreasoner[engine,mcp]'") from error
    protocol = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)                       # what libraries print goes to stderr: stdout carries the protocol alone
    sys.stdout = protocol
    tools = Tools(make, allowed)
    server = MCPServer("ctreasoner", version=__version__, instructions=ABOUT, log_level="WARNING")
    for tool in (tools.ask, tools.measure, tools.compare, tools.export):
        server.tool()(tool)
    server.run("stdio")


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="ctreasoner mcp", description="Tools for assistants (Model Context Protocol, stdio).")
    parser.add_argument("--allow", metavar="FOLDER", type=Path, action="append",
                        help="where CTs are read and exports written; may be given again; default: the current folder")
    parser.add_argument("--model", default="compact", help="a model that ships, or the folder of another")
    options = parser.parse_args(arguments)
    run(lambda: Reasoner.from_pretrained(options.model), options.allow or [Path.cwd()])
