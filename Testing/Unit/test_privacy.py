"""The promises of docs/privacy.md: no reporting, no listening, no code in data files."""

from __future__ import annotations

import ast
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.client.local import LocalEngine
from ctreasoner.client.masks import read_crop
from ctreasoner.client.worker import _volume_of
from ctreasoner.errors import InputError, ModelError
from ctreasoner.events import By, Mask, Span, Stream, Text, from_json, load_mask
from fake_engine import phantom_volume

HERE = Path(__file__).resolve().parent
MODULE = HERE.parents[1] / "CTReasoner"
LOGIC = MODULE / "Logic"
FILES = [MODULE / "CTReasoner.py", *sorted((LOGIC / "ctreasoner").rglob("*.py"))]

NETWORK = {"socket", "socketserver", "ssl", "select", "selectors", "asyncio", "urllib", "http", "ftplib", "smtplib", "imaplib",
           "poplib", "telnetlib", "nntplib", "xmlrpc", "wsgiref", "webbrowser", "requests", "httpx", "aiohttp", "urllib3",
           "websockets", "websocket", "zmq", "grpc", "boto3", "sentry_sdk", "dicomweb_client", "pynetdicom"}
# who speaks to an archive; the verbs `pull` and `push`, and `batch` where its input is an archive's address, alone make them do it
ARCHIVE = {"pacs/address.py", "pacs/dimse.py", "pacs/web.py"}
BATCH = {"batch/sources.py", "batch/units.py"}
# and who to a server: the client of one that the person named, and the server that somebody started
WIRE, SERVES = {"client/wire.py"}, {"asyncio", "http"}
# by which Slicer and Qt reach the network, open a browser or wait for somebody
OUTSIDE = {"QNetworkAccessManager", "QNetworkRequest", "QDesktopServices", "QTcpServer", "QTcpSocket", "QUdpSocket", "QLocalServer",
           "QLocalSocket", "QWebSocket", "QWebSocketServer", "WebServerLogic", "WebServer", "openUrl", "downloadFile",
           "downloadFromURL", "downloadVolume", "downloadAndExtractArchive", "downloadSample", "loadRemoteURL"}
CODE_IN_DATA = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "runpy"}
# who starts other programs: the engine's process, the installer's steps, the demo's pip, the bench
STARTERS = {"client/process.py", "client/pythons.py", "demo.py", "bench/__init__.py", "bench/machine.py", "bench/measure.py"}


@cache
def tree(path: Path) -> ast.AST:
    return ast.parse(path.read_text(encoding="utf-8"))


def short(path: Path) -> str:
    return path.relative_to(LOGIC / "ctreasoner" if path.is_relative_to(LOGIC) else MODULE).as_posix()


def imported(path: Path) -> set[str]:
    """Return the first names of all absolute imports of a file, those inside functions too."""
    names = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").partition(".")[0])
    return names


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield (name as written, call), such as ("torch.load", ...)."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    """Return the constant of a keyword argument, None where it is not given."""
    found = next((k.value for k in call.keywords if k.arg == name), None)
    return None if found is None else ast.literal_eval(found)


# ---------------------------------------------------------------- no reporting, no listening: read from the sources

def test_no_file_imports_what_speaks_to_a_network() -> None:
    speaking = {short(p): found for p in FILES if (found := imported(p) & NETWORK)}
    assert {name for name in speaking if not name.startswith("server/")} == ARCHIVE | WIRE | {"batch/sources.py"}
    assert set().union(*(found for name, found in speaking.items() if name.startswith("server/"))) <= SERVES


def test_an_archive_is_reached_from_the_verbs_that_say_so_alone() -> None:
    """Neither panel nor engine imports what speaks to an archive; those that do wait until a verb or an export asks for it."""
    importers = {short(p) for p in FILES if not short(p).startswith("pacs/")
                 and any(isinstance(n, ast.ImportFrom) and (n.module or "").split(".")[0] == "pacs" for n in ast.walk(tree(p)))}
    assert importers == {"archiving.py", "client/pushing.py", "server/references.py"} | BATCH
    for name in importers:
        at_once = [n for n in tree(LOGIC / "ctreasoner" / name).body if isinstance(n, ast.ImportFrom)]
        assert not any((n.module or "").startswith("pacs") for n in at_once)


def test_no_download_browser_or_server_of_slicer_or_qt_is_named() -> None:
    named = {short(p): found for p in FILES
             if (found := {n.attr for n in ast.walk(tree(p)) if isinstance(n, ast.Attribute)} & OUTSIDE)}
    assert named == {}


def test_the_sample_lies_in_the_module() -> None:
    registered = [c for name, c in calls(MODULE / "CTReasoner.py") if name.endswith("registerCustomSampleDataSource")]
    places = [ast.unparse(k.value) for c in registered for k in c.keywords if k.arg in ("uris", "url")]
    assert registered and all(place.endswith(".as_uri()") for place in places)      # of a file on this computer


def test_programs_are_started_in_few_places_and_never_through_a_shell() -> None:
    assert {short(p) for p in FILES if "subprocess" in imported(p)} == STARTERS
    for path in FILES:
        for name, call in calls(path):
            assert name not in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"), short(path)
            assert not any(k.arg == "shell" for k in call.keywords), short(path)


def test_pip_is_started_by_the_installer_and_the_demo_alone() -> None:
    named = {short(p) for p in FILES for n in ast.walk(tree(p)) if isinstance(n, ast.Constant) and n.value == "pip"}
    assert named == {"client/plan.py", "demo.py"}


def test_the_engine_is_started_with_model_hubs_switched_off() -> None:
    engine = LocalEngine(sys.executable, environment={"PATH": os.environ.get("PATH", "")})
    try:
        assert engine._environment["HF_HUB_OFFLINE"] == "1"
    finally:
        engine.close()


# ---------------------------------------------------------------- no reporting, no listening: seen while it runs

WATCH = """
import sys
def watch(name, arguments):
    if name.partition(".")[0] in ("socket", "urllib", "http", "ftplib", "smtplib", "webbrowser"):
        with open({seen!r}, "a") as file:
            file.write(name + "\\n")
sys.addaudithook(watch)
def make():
    from ctreasoner.reasoner import Reasoner
    return Reasoner.from_pretrained({model!r}, threads=1)
"""
PANEL = """
import sys; sys.path[:0] = {paths!r}
import client_bench, watched
from client_bench import answered, exported, hand_over, question
client_bench.LONGEST_S = 300
from ctreasoner.client.local import LocalEngine
engine = LocalEngine(sys.executable, arguments=["--factory", watched.__file__ + ":make"])
handed = hand_over(engine)
events = answered(engine, engine.ask(question(handed, "segment the heart and describe it"), handed))
facts = exported(engine, engine.export(handed, sys.argv[1]))
engine.close()
print(type(events[-1]).__name__, "files" in facts or facts)
"""


def test_an_answer_and_its_export_open_no_socket_and_look_up_no_name(tmp_path: Path) -> None:
    """Panel side and engine's process are both watched by Python's audit events; sockets of any kind would be noted."""
    import tiny_model

    seen, model = tmp_path / "seen.txt", tiny_model.save(tmp_path / "model")
    (tmp_path / "watched.py").write_text(WATCH.format(seen=str(seen), model=str(model)), encoding="utf-8")
    program = PANEL.format(paths=[str(tmp_path), str(HERE), str(LOGIC)])
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out")], capture_output=True, text=True, timeout=600,
                          check=False)
    assert done.stdout.split() == ["Done", "True"], done.stderr
    assert not seen.exists() or seen.read_text() == ""


def test_the_watch_would_see_a_socket(tmp_path: Path) -> None:
    seen = tmp_path / "seen.txt"
    program = WATCH.format(seen=str(seen), model="") + "import socket; socket.socket().close()"
    subprocess.run([sys.executable, "-c", program], timeout=600, check=True)
    assert "socket" in seen.read_text()


# ---------------------------------------------------------------- no code in data files: read from the sources

def test_no_file_imports_a_format_that_carries_code() -> None:
    assert {short(p): found for p in FILES if (found := imported(p) & CODE_IN_DATA)} == {}


def test_nothing_is_evaluated() -> None:
    wrong = {(short(p), name) for p in FILES for name, _ in calls(p) if name in ("eval", "exec", "compile", "__import__")}
    assert wrong == set()


def test_arrays_and_weights_are_loaded_as_data() -> None:
    for path in FILES:
        for name, call in calls(path):
            if name == "torch.load":
                assert keyword(call, "weights_only") is True, short(path)
            if name in ("np.load", "numpy.load"):
                assert not keyword(call, "allow_pickle"), short(path)
            if name.endswith("from_pretrained"):
                assert not any(k.arg == "trust_remote_code" for k in call.keywords), short(path)


def test_the_model_folder_is_read_as_safetensors() -> None:
    names = {name for name, _ in calls(LOGIC / "ctreasoner" / "model" / "weights.py")}
    assert "safe_open" in names and not any(name.startswith("torch.load") for name in names)


# ---------------------------------------------------------------- no code in data files: hostile files

class Payload:
    """Pickled, it makes a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self) -> tuple:
        return os.mkdir, (self.target,)


@pytest.fixture
def hostile(tmp_path: Path) -> Iterator[Path]:
    """A .npy file that holds a pickled object; the test fails when the object was built."""
    target = tmp_path / "it ran"
    path = tmp_path / "hostile.npy"
    np.save(path, np.array([Payload(target)], dtype=object), allow_pickle=True)
    yield path
    assert not target.exists()


def test_the_hostile_file_is_one(hostile: Path) -> None:
    target = hostile.parent / "it ran"
    np.load(hostile, allow_pickle=True)
    assert target.is_dir()
    target.rmdir()


def test_a_ct_that_holds_an_object_is_refused(hostile: Path) -> None:
    with pytest.raises(InputError) as caught:
        _volume_of({"path": str(hostile), "affine": np.eye(4).tolist(), "id": "x"})
    assert caught.value.code == "CTR-WRK-013"


def test_a_mask_that_holds_an_object_is_refused(hostile: Path) -> None:
    mask = Mask(answer="a1", seq=0, t=0.0, object="a1.o1", stage="final", first_voxel=(0, 0, 0), shape=(1, 1, 1), path=hostile.name,
                voxels=1, cut_by_scan=False, by=By(kind="model", name="m"))
    with pytest.raises(InputError) as caught:
        load_mask(mask, hostile.parent)
    assert caught.value.code == "CTR-EVT-007"


def test_an_edited_mask_that_holds_an_object_is_refused(hostile: Path) -> None:
    from ctreasoner.io import read_mask

    packed = hostile.with_suffix(".npz")
    np.savez(packed, mask=np.array([Payload(hostile.parent / "it ran")], object), first_voxel=np.zeros(3, int))
    with pytest.raises(InputError) as caught:
        read_crop(packed, (4, 4, 4))
    assert caught.value.code == "CTR-WRK-020"
    with pytest.raises(InputError) as caught:
        read_mask(hostile, phantom_volume())
    assert caught.value.code == "CTR-IO-220"


def test_a_model_folder_with_a_pickle_in_it_is_refused(tmp_path: Path) -> None:
    from ctreasoner.model import weights

    folder, target = tmp_path / "model", tmp_path / "it ran"
    folder.mkdir()
    config = {"model_type": "ctreasoner", "vision": {}, "auto_map": {"AutoModel": "evil.Model"}}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "evil.py").write_text(f"import os; os.mkdir({str(target)!r})", encoding="utf-8")
    for name in ("pytorch_model.bin", "model.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Payload(target)))
        with pytest.raises(ModelError):
            weights.load_vision(folder)
        with pytest.raises(ModelError):
            weights.load_language(folder)
    assert not target.exists()


def test_an_event_that_names_python_stays_words() -> None:
    line = json.dumps({"type": "Text", "answer": "a1", "seq": 0, "t": 0.0, "text": "__import__('os').mkdir('it ran')", "spans": []})
    assert from_json(line).text == "__import__('os').mkdir('it ran')"
    assert from_json(line.replace('"Text"', '"os.mkdir"')) is None


def test_words_and_links_of_an_answer_never_become_markup() -> None:
    from ctreasoner.panel import pages
    from ctreasoner.panel.turns import Conversation

    talk = Conversation()
    turn = talk.ask("<img src='http://example.org/x.png'>")
    words = "<a href='http://example.org'>here</a>"
    turn.apply(Stream("a1").emit(Text, text=words, spans=(Span(start=0, end=4, kind="object", ref='x"><script>'),)))
    html = pages.transcript(talk, pages.LIGHT)
    assert "<img" not in html and "<script>" not in html and "href='http" not in html and "&lt;a" in html
