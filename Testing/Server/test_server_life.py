"""Starting, stopping, being killed, full disks, time: what a conversation survives."""

from __future__ import annotations

import signal
import sqlite3

import pytest
import tiny_model
from ctreasoner.checked import plain
from ctreasoner.errors import ResourceError
from ctreasoner.events import Click, Done, Failed, Started
from ctreasoner.remote import Client
from ctreasoner.server.store import FILE, hold
from fake_engine import phantom_volume
from serving import phantom_bytes, send, served

HEART = "segment the heart"


def test_sigterm_lets_the_running_answer_end_and_tells_the_others(tmp_path):
    with served(tmp_path / "data") as server:
        ct = Client(server.url).register(phantom_volume())
        with server.asked(ct, "hold the heart", conversation="one") as one, server.asked(ct, HEART, conversation="two") as two:
            one.events(2)
            server.process.send_signal(signal.SIGTERM)
            last = two.events()[-1]
            assert isinstance(last, Failed) and last.code == "CTR-SRV-010"
            next(server.data.glob(f"users/*/conversations/{one.conversation}")).joinpath("gate").touch()
            assert isinstance(one.events()[-1], Done)
        server.stop()
    assert any('"event": "stopped"' in line for line in server.lines)


def test_a_conversation_goes_on_after_a_restart_and_a_cut_answer_has_its_end(tmp_path):
    data = tmp_path / "data"
    with served(data) as server:
        ct = Client(server.url).register(phantom_volume())
        assert Client(server.url).ask(phantom_volume(), HEART).id == "a1"
        with server.asked(ct, "tick the heart") as answer:
            before = answer.events(4)
            server.kill()
    with served(data) as server:
        with server.reading("GET", f"/v1/questions/{answer.question}/events", headers={"Last-Event-ID": "3"}) as again:
            rest = again.events()
        assert isinstance(rest[-1], Failed) and rest[-1].code == "CTR-SRV-015"
        assert [e.seq for e in before + rest] == list(range(len(before + rest)))
        client = Client(server.url)
        third = client.ask(phantom_volume(), HEART)
        assert third.id == "a3" and third.mask("heart").any()
        assert [q["state"] for q in server.call("GET", f"/v1/conversations/{answer.conversation}")[2]["questions"]] == [
            "done",
            "failed",
            "done",
        ]
        with pytest.raises(ResourceError):  # the data belong to one server at a time
            hold(data)


def test_what_nobody_used_for_long_goes_and_a_clock_that_is_set_back_takes_nothing(tmp_path):
    data = tmp_path / "data"
    with served(data) as server:
        client = Client(server.url)
        old, new = client.register(phantom_volume()), client.register(phantom_volume((20, 21, 22)))
        client.ask(phantom_volume(), HEART)
        server.stop()
    db = sqlite3.connect(data / FILE)
    db.execute("UPDATE volume SET used = used - 90000 WHERE id = ?", (old,))
    db.execute("UPDATE volume SET used = used + 90000 WHERE id = ?", (new,))  # as if the clock had been set back since
    db.commit()
    db.close()
    with served(data) as server:
        assert [v["id"] for v in server.call("GET", "/v1/volumes")[2]] == [new]
        assert server.call("GET", "/v1/conversations")[2] == []
        assert len(list(data.glob("users/*/volumes/*"))) == 1 and not list(data.glob("users/*/conversations/*"))
        assert server.call("POST", "/v1/questions", {"volume": new, "text": HEART, "conversation": "x"})[0] == 200


def test_a_full_disk_is_507_and_leaves_nothing_half(tmp_path):
    with served(tmp_path / "data", file_bytes=300_000) as server:
        status, problem = send(server, bytes(400_000))
        assert (status, problem["code"]) == (507, "CTR-RES-001")
        upload = next(server.data.glob("users/*/uploads/*.part"))
        assert upload.stat().st_size in (0, 300_000)
        assert server.call("GET", "/health/live")[0] == 200


def test_a_quota_that_is_used_up_is_507(tmp_path):
    with served(tmp_path / "data", limits={"user_bytes": 50_000}) as server:
        content = phantom_bytes(tmp_path)
        assert send(server, content)[0] == 201
        status, problem = send(server, content + bytes(50_000))
        assert (status, problem["code"]) == (507, "CTR-SRV-009")


def test_a_follow_up_after_a_restart_is_what_it_would_have_been(tmp_path):
    """The real engine with random weights: a server that is started anew knows what was spoken of."""
    model, volume, points = tiny_model.save(tmp_path / "model"), tiny_model.scan(), (Click(point_ras=(-20.0, 0.0, 0.0)),)
    worker = ["--model", str(model), "--threads", "1"]

    def spoken(client, text, **more):
        """The events of an answer, but for what depends on time and on the file system."""
        varies = ("t", "seq", "timings_s", "peak_memory_mb")
        events = client.ask(volume, text, **more).events
        assert isinstance(events[0], Started)
        return [{k: v for k, v in plain(e).items() if k not in varies} for e in events]

    with served(tmp_path / "data", worker=worker) as server:
        client = Client(server.url)
        first = spoken(client, "describe the heart", clicks=points, conversation="whole")
        second = spoken(client, "how large is it?", conversation="whole")
        assert spoken(client, "describe the heart", clicks=points, conversation="cut") == first
        server.kill()
    with served(tmp_path / "data", worker=worker) as server:
        assert spoken(Client(server.url), "how large is it?", conversation="cut") == second
