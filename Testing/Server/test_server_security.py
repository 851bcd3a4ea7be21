"""Who may use a server, who sees what, and what hostile bytes come to."""

from __future__ import annotations

import json
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import pytest
from ctreasoner.client.wire import Wire
from ctreasoner.errors import NetworkError, UsageError
from ctreasoner.remote import Client
from ctreasoner.server.cli import main as serve
from ctreasoner.server.guard import _is_loopback
from ctreasoner.server.problems import Refused
from ctreasoner.server.settings import Settings
from ctreasoner.server.store import Store
from fake_engine import phantom_volume
from serving import phantom_bytes, resident_mb, self_signed, send, served, wait_for

HEART = "segment the heart"
OPEN = {"/health/live", "/health/ready"}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """(server behind a proxy, {name: its Authorization header})."""
    data = tmp_path_factory.mktemp("tokens")
    store = Store(data)
    made = {name: store.add_token(name, role) for name, role in (("anna", "user"), ("ben", "user"), ("prometheus", "metrics"))}
    store.close()
    with served(data, behind_proxy=True) as server:
        server.made = made
        yield server, {name: {"Authorization": f"Bearer {token}"} for name, token in made.items()}


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize(
    ("host", "more", "needs"),
    [
        ("127.0.0.1", {}, False),
        ("::1", {}, False),
        ("localhost", {}, False),
        ("127.0.0.1", {"behind_proxy": True}, True),
        ("0.0.0.0", {"behind_proxy": True}, True),
        ("192.168.1.2", {"behind_proxy": True}, True),
    ],
)
def test_a_token_is_needed_wherever_others_come_in(host, more, needs):
    settings = Settings(data=Path("x"), host=host, **more)
    settings.check()
    assert settings.needs_token is needs


@pytest.mark.parametrize(
    "more",
    [
        {"host": "0.0.0.0"},
        {"host": "::"},
        {"host": "hospital.example"},
        {"tls_cert": Path("c")},
        {"host": "0.0.0.0", "tls_cert": Path("none"), "tls_key": Path("none")},
    ],
)
def test_what_others_could_listen_to_is_not_started(more):
    with pytest.raises(UsageError) as told:
        Settings(data=Path("x"), **more).check()
    assert told.value.code == "CTR-SRV-016"


def test_a_server_that_nobody_could_use_is_not_started(tmp_path):
    from ctreasoner.server.app import build

    with pytest.raises(UsageError) as told:
        build(Settings(data=tmp_path, behind_proxy=True))
    assert told.value.code == "CTR-SRV-017" and "token add" in told.value.hint


def test_every_route_but_health_asks_for_a_token(tokens):
    server, _ = tokens
    paths = server.call("GET", "/openapi.json")[2]["paths"]
    assert len(paths) > 15
    for path, operations in paths.items():
        filled = path.replace("{object}", "a1.o1").replace("{volume}", "0" * 64).replace("{path}", "x")
        filled = filled.replace("{upload}", "0" * 32).replace("{question}", "0" * 32).replace("{conversation}", "0" * 32)
        assert "{" not in filled, path
        for method in operations:
            for sent in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": "Basic " + server.made["anna"]},
                {"Authorization": f"Bearer {server.made['anna'][:-1]}"},
            ):
                status = server.call(method.upper(), filled, **sent)[0]
                assert (status == 401) is (path not in OPEN), (method, path, status)


def test_roles_do_not_mix(tokens):
    server, headers = tokens
    assert server.call("GET", "/metrics", **headers["prometheus"])[0] == 200
    assert (
        server.call("GET", "/metrics", **headers["anna"])[0] == 403 == server.call("GET", "/v1/volumes", **headers["prometheus"])[0]
    )


def test_tokens_are_made_listed_and_taken_back_while_the_server_runs(tokens, capsys):
    server, _ = tokens
    data = ["--data", str(server.data)]
    serve(["token", "add", "carl", *data])
    token = capsys.readouterr().out.strip()
    assert server.call("GET", "/v1/info", Authorization=f"Bearer {token}")[0] == 200
    serve(["token", "list", *data])
    listed = capsys.readouterr().out
    assert "carl\tuser" in listed and token not in listed
    with pytest.raises(UsageError, match="already"):
        serve(["token", "add", "carl", *data])
    serve(["token", "revoke", "carl", *data])
    assert server.call("GET", "/v1/info", Authorization=f"Bearer {token}")[0] == 401
    with pytest.raises(UsageError, match="no token"):
        serve(["token", "revoke", "carl", *data])


def test_tokens_are_hashed_at_rest_and_files_are_for_one_user_alone(tokens):
    server, _ = tokens
    for path in server.data.glob("server.sqlite*"):
        assert not any(token.encode() in path.read_bytes() for token in server.made.values())
    assert server.data.joinpath("server.sqlite").stat().st_mode & 0o077 == 0


def test_pages_of_other_sites_are_refused(server, ct):
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}, {"Host": "evil.example:80"}):
        status, answered, problem = server.call("POST", "/v1/questions", {"volume": ct, "text": HEART}, **headers)
        assert (status, problem["code"]) == (403, "CTR-SRV-002")
        assert not [name for name in answered if name.lower().startswith("access-control")]
    assert server.call("GET", "/v1/info", Origin=f"http://127.0.0.1:{server.port}")[0] == 200
    assert server.call("OPTIONS", "/v1/questions", Origin=server.url)[0] == 405


@pytest.mark.parametrize(
    ("host", "is_it"),
    [
        ("localhost:1", True),
        ("127.0.0.1", True),
        ("[::1]:8642", True),
        ("[::1]", True),
        ("", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example:80", False),
    ],
)
def test_loopback_is_known_by_its_names(host, is_it):
    assert _is_loopback(host) is is_it


def test_tls_is_checked_by_the_client_which_says_what_is_wrong(tmp_path):
    cert, private = self_signed(tmp_path)
    with served(tmp_path / "data", tls_cert=str(cert), tls_key=str(private)) as server:
        url = f"https://127.0.0.1:{server.port}"
        assert Client(url, certificate=cert).info()["engine"] in ("starting", "ready")
        with pytest.raises(NetworkError, match="not trusted"):
            Wire(url).check()
        with pytest.raises(NetworkError):
            Wire(server.url).check()  # plain HTTP to a port that speaks TLS
        port = server.port
    with pytest.raises(NetworkError, match="No server listens"):
        Wire(f"http://127.0.0.1:{port}").check()
    with pytest.raises(NetworkError, match="no computer called"):
        Wire("https://no-such-host.invalid").check()


@pytest.mark.parametrize("url", ["", "ftp://x", "http://hospital.example", "http://", "https://x:y", "127.0.0.1:8642"])
def test_an_address_that_is_none_or_not_encrypted_is_refused(url):
    with pytest.raises(UsageError) as told:
        Wire(url)
    assert told.value.code == "CTR-NET-010"


# ---------------------------------------------------------------- who sees what


def test_users_see_nothing_of_one_another(tokens, tmp_path):
    server, headers = tokens
    content = phantom_bytes(tmp_path)
    status, facts = send(server, content, **headers["anna"])
    assert status == 201
    ct = facts["id"]
    with server.asked(ct, HEART, headers=headers["anna"]) as answer:
        events = answer.events()
    mask = next(e for e in events if e.type == "Mask")
    assert (
        server.call("GET", "/v1/volumes", **headers["ben"])[2] == [] == server.call("GET", "/v1/conversations", **headers["ben"])[2]
    )
    theirs = [
        ("GET", f"/v1/volumes/{ct}"),
        ("DELETE", f"/v1/volumes/{ct}"),
        ("GET", f"/v1/questions/{answer.question}"),
        ("GET", f"/v1/questions/{answer.question}/events"),
        ("DELETE", f"/v1/questions/{answer.question}"),
        ("GET", f"/v1/conversations/{answer.conversation}"),
        ("DELETE", f"/v1/conversations/{answer.conversation}"),
        ("GET", f"/v1/conversations/{answer.conversation}/masks/{mask.path}"),
        ("GET", f"/v1/conversations/{answer.conversation}/export.zip"),
    ]
    for method, path in theirs:
        seen = server.call(method, path, **headers["ben"])
        never = server.call(
            method,
            path.replace(ct, "0" * 64).replace(answer.question, "0" * 32).replace(answer.conversation, "0" * 32),
            **headers["ben"],
        )
        assert (seen[0], seen[2]) == (404, never[2]), path
    assert server.call("POST", "/v1/questions", {"volume": ct, "text": HEART}, **headers["ben"])[0] == 404
    # the same CT has to be sent by its other owner too, and the engine keeps the two apart
    status, again = send(server, content, **headers["ben"])
    assert status == 201 and again["id"] == ct
    store = Store(server.data)
    rows = store.all("SELECT * FROM volume WHERE id = ?", ct)
    assert len({row["key"] for row in rows}) == 2 == len({row["user"] for row in rows})
    assert server.call("DELETE", f"/v1/volumes/{ct}", **headers["ben"])[0] == 204
    assert server.call("GET", f"/v1/volumes/{ct}", **headers["anna"])[0] == 200


def test_logs_and_audit_hold_no_words_no_names_and_no_ids_of_cts(tokens, tmp_path):
    server, headers = tokens
    (tmp_path / "Miller^Anna.nrrd").write_bytes(phantom_bytes(tmp_path, shape=(19, 20, 21)))
    client = Client(server.url, server.made["anna"])
    ct = client.register(tmp_path / "Miller^Anna.nrrd")
    with server.asked(ct, "is the liver of Mrs Miller large?", headers=headers["anna"]) as answer:
        answer.events()
    wait_for(lambda: any('"POST", "route": "/v1/questions"' in line for line in server.lines))
    audit = (server.data / "audit.jsonl").read_text()
    for line in audit.splitlines():
        json.loads(line)
    written = audit + "".join(server.lines)
    for secret in ("Miller", "liver", ct, answer.question, answer.conversation, "anna", *server.made.values(), str(tmp_path)):
        assert secret not in written
    assert '"did": "ask"' in audit and '"did": "upload"' in audit


# ---------------------------------------------------------------- hostile bytes


def nrrd(sizes, extra="", body=b""):
    return (
        f"NRRD0004\ntype: short\ndimension: 3\nspace: RAS\nsizes: {sizes}\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
        f"endian: little\nencoding: raw\nspace origin: (0,0,0)\n{extra}\n"
    ).encode() + body


def zipped(tmp_path, *members):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return (tmp_path / "x.zip").read_bytes()


def deflated_dicom():
    """A DICOM file of 300 MB of zeros under the deflated transfer syntax, 300 kB."""
    uid = b"1.2.840.10008.1.2.1.99"
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(uid)) + uid
    meta = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta)) + meta
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    return bytes(128) + b"DICM" + meta + packer.compress(bytes(300 << 20)) + packer.flush()


HOSTILE = {
    "2^31 voxels and more": lambda t: nrrd("100000 100000 100000"),
    "negative sizes": lambda t: nrrd("-1 -1 -1"),
    "voxels in another file": lambda t: nrrd("9 9 9", "data file: /etc/passwd\n"),
    "a header without an end": lambda t: b"NRRD0004\n" + b"# " * (2 << 20),
    "a MetaImage that names a file": lambda t: (
        b"ObjectType = Image\nNDims = 3\nDimSize = 9 9 9\nElementType = MET_SHORT\nElementDataFile = /etc/passwd\n"
    ),
    "a zip bomb": lambda t: zipped(t, ("a.dcm", bytes(200 << 20))),
    "a path that leaves the zip": lambda t: zipped(t, ("../../evil.dcm", bytes(128) + b"DICM")),
    "half a zip": lambda t: zipped(t, ("a.dcm", bytes(4000)))[:60],
    "a deflated DICOM bomb": lambda t: deflated_dicom(),
    "half a CT": lambda t: phantom_bytes(t, shape=(30, 31, 32))[:-200],
    "a gzip that is none": lambda t: b"\x1f\x8b" + bytes(100),
    "a pickle": lambda t: b"\x80\x04\x95" + b"cos\nsystem\n(S'touch /tmp/evil'\ntR.",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused_in_words_and_cost_the_server_nothing(server, tmp_path, what):
    before = resident_mb(server.process.pid)
    status, problem = send(server, HOSTILE[what](tmp_path))
    assert status in (413, 422) and problem["code"].startswith(("CTR-IO", "CTR-GEO", "CTR-SRV", "CTR-RES")), problem
    assert "/" not in problem["detail"] and "Traceback" not in problem["detail"]
    assert resident_mb(server.process.pid) < before + 60
    assert not list(server.data.glob("users/*/uploads/*")) and not Path("/tmp/evil").exists()


def test_what_is_too_large_is_refused_before_it_is_sent(server):
    status, _, problem = server.call("POST", "/v1/uploads", {"size": 10 << 30, "sha256": "0" * 64})
    assert (status, problem["code"]) == (413, "CTR-SRV-006")
    status, _, problem = server.call("POST", "/v1/questions", body=b"{" + b" " * (3 << 20), Content_Type="application/json")
    assert (status, problem["code"]) == (413, "CTR-SRV-006")
    assert server.call("GET", "/v1/info", X_Long="x" * 100_000)[0] == 431
    assert server.call("GET", "/v1/info", Content_Encoding="gzip")[0] == 415


def test_reading_beyond_the_limits_ends_the_reader_alone(tmp_path):
    with served(tmp_path / "data", limits={"parse_bytes": 40 << 20}) as server:
        status, problem = send(server, phantom_bytes(tmp_path))
        assert status in (422, 507) and problem["code"] in ("CTR-SRV-014", "CTR-RES-002")
        assert server.call("GET", "/health/live")[0] == 200


def test_a_reader_that_takes_too_long_is_ended(tmp_path, monkeypatch):
    import asyncio

    from ctreasoner.server import parsing

    sleeper = tmp_path / "sleeper"
    sleeper.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(600)\n")
    sleeper.chmod(0o700)
    monkeypatch.setattr(parsing.sys, "executable", str(sleeper))
    with pytest.raises(Refused, match="seconds to read"):
        asyncio.run(parsing.parse(tmp_path / "in", tmp_path / "out", most_bytes=1 << 30, most_s=0.3))


def test_nothing_of_the_inside_is_told(server):
    status, headers, problem = server.call("GET", "/v1/nothing")
    assert status == 404 and headers["content-type"] == "application/problem+json" and "server" not in {h.lower() for h in headers}
    assert server.call("GET", "/docs")[0] == 404 and phantom_volume().identity not in json.dumps(problem)
