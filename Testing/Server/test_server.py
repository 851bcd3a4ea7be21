"""One server, its API, and the client, over real HTTP; the engine is a double in its own process."""

from __future__ import annotations

import gzip
import hashlib
import re
import socket
import threading

import numpy as np
import pytest
from ctreasoner.checked import plain
from ctreasoner.client.wire import write_nrrd
from ctreasoner.errors import InputError, UsageError
from ctreasoner.events import Cancelled, Done, Failed, Mask, Measurement, Progress, Started, load_mask
from ctreasoner.geometry import Volume
from ctreasoner.io import read_volume
from ctreasoner.remote import Client
from ctreasoner.server.uploads import PIECE
from fake_engine import FakeEngine, phantom_volume
from serving import phantom_bytes, send, wait_for

HEART = "segment the heart"


def comparable(events):
    """Return what does not depend on time and place."""
    return [{k: v for k, v in plain(e).items() if k != "t"} | {"type": e.type} for e in events]


def metric(server, name):
    return sum(
        float(n) for n in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", server.call("GET", "/metrics")[2].decode(), re.MULTILINE)
    )


# ---------------------------------------------------------------- CTs in


def test_a_ct_that_is_there_is_not_sent_again_and_keeps_its_identity(server, client, ct):
    before = metric(server, "ctreasoner_uploaded_bytes_total")
    assert ct == phantom_volume().identity == Client(server.url).register(phantom_volume())
    assert metric(server, "ctreasoner_uploaded_bytes_total") == before > 0
    facts = next(v for v in server.call("GET", "/v1/volumes")[2] if v["id"] == ct)
    assert facts["shape"] == [32, 30, 20] and np.allclose(facts["affine"], phantom_volume().affine)


def test_a_file_is_sent_as_it_is_and_read_there(server, client, tmp_path):
    phantom_bytes(tmp_path, shape=(20, 22, 24))
    assert client.register(tmp_path / "ct.nrrd") == read_volume(tmp_path / "ct.nrrd").identity
    with pytest.raises(InputError, match="no file"):
        client.register(tmp_path / "none.nii")


def test_an_upload_that_was_cut_goes_on_where_it_was(server, tmp_path):
    noise = np.random.default_rng(0).integers(-1000, 1000, (100, 100, 100)).astype(np.int16)
    write_nrrd(Volume(noise, phantom_volume().affine), tmp_path / "noise.nrrd")
    content = (tmp_path / "noise.nrrd").read_bytes()
    new = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    path, sent = f"/v1/uploads/{server.call('POST', '/v1/uploads', new)[2]['upload']['id']}", PIECE + 1000
    with socket.create_connection(("127.0.0.1", server.port)) as line:  # promises everything, sends a part and is gone
        line.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nUpload-Offset: 0\r\nContent-Length: {len(content)}\r\n\r\n".encode()
            + content[:sent]
        )
        wait_for(lambda: server.call("GET", path)[2]["offset"] >= PIECE)
    assert server.call("POST", "/v1/uploads", new)[2]["upload"]["id"] == path.rpartition("/")[2]
    assert server.call("POST", f"{path}/finish")[0] == 409
    status, headers, problem = wait_for(
        lambda: (said := server.call("PATCH", path, body=b"x", Upload_Offset="3"))[1]["Upload-Offset"] and said
    )
    offset = int(headers["Upload-Offset"])
    assert (status, problem["code"]) == (409, "CTR-SRV-004") and PIECE <= offset <= sent
    assert server.call("PATCH", path, body=content[offset:], Upload_Offset=str(offset))[0] == 200
    status, _, facts = server.call("POST", f"{path}/finish")
    assert (status, facts["shape"]) == (201, [100, 100, 100])
    assert server.call("GET", path)[0] == 404
    assert server.call("POST", "/v1/uploads", new)[2]["volume"]["id"] == facts["id"]


def test_another_file_than_was_announced_is_refused(server, tmp_path):
    content = phantom_bytes(tmp_path)
    path = f"/v1/uploads/{server.call('POST', '/v1/uploads', {'size': len(content), 'sha256': '0' * 64})[2]['upload']['id']}"
    assert server.call("PATCH", path, body=content + b"more", Upload_Offset="0")[2]["code"] == "CTR-SRV-006"
    offset = server.call("GET", path)[2]["offset"]
    assert server.call("PATCH", path, body=content[offset:], Upload_Offset=str(offset))[0] == 200
    status, _, problem = server.call("POST", f"{path}/finish")
    assert (status, problem["code"]) == (422, "CTR-SRV-011") and server.call("GET", path)[0] == 404


def test_two_identical_uploads_at_once_become_one_ct(server):
    volume, ids = phantom_volume((40, 41, 42)), []
    threads = [threading.Thread(target=lambda: ids.append(Client(server.url).register(volume))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ids == [volume.identity] * 2
    assert sum(v["id"] == volume.identity for v in server.call("GET", "/v1/volumes")[2]) == 1


def test_unfinished_uploads_are_counted(server):
    begun = [server.call("POST", "/v1/uploads", {"size": 10, "sha256": f"{n:064x}"}) for n in range(4)]
    assert [status for status, *_ in begun] == [201, 201, 201, 429] and begun[3][1]["Retry-After"]
    for _, headers, _ in begun[:3]:
        assert server.call("DELETE", headers["Location"])[0] == 204


# ---------------------------------------------------------------- answers out


def test_the_stream_is_that_of_the_engine(server, ct, tmp_path):
    engine = FakeEngine()
    engine.register(phantom_volume())
    from ctreasoner.events import Request

    local = list(engine.answer(Request(volume=ct, text="segment the heart and the mandible"), workspace=tmp_path))
    with server.asked(ct, "segment the heart and the mandible", conversation="same") as answer:
        assert answer.status == 200 and answer.headers["content-type"].startswith("text/event-stream")
        assert comparable(answer.events()) == comparable(local)


def test_ids_go_on_in_a_conversation_and_begin_anew_in_another(client, ct):
    volume = phantom_volume()
    assert [client.ask(volume, HEART, conversation="counted").id for _ in range(2)] == ["a1", "a2"]
    assert client.ask(volume, HEART, conversation="other").id == "a1"


def test_the_client_answers_as_a_reasoner_does(client):
    answer = client.ask(phantom_volume(), HEART, conversation="as a reasoner")
    assert answer.state == "done" and answer.find("heart").measured("volume") == pytest.approx(4.512)
    mask = answer.mask("heart")
    assert mask.shape == (32, 30, 20) and mask.sum() == answer.find("heart").mask.voxels
    assert (phantom_volume().voxels[mask] > 40).all()
    with pytest.raises(UsageError, match="no question"):
        client.ask(phantom_volume(), " ")


def test_after_a_cut_the_stream_goes_on_after_the_last_event_id(server, ct):
    with server.asked(ct, "tick the heart", conversation="cut") as answer:
        first = answer.events(5)
    with server.reading("GET", f"/v1/questions/{answer.question}/events", headers={"Last-Event-ID": "4"}) as again:
        more = again.events(5)
        assert [e.seq for e in first + more] == list(range(10)) and more[0].type == "Progress"
        server.call("DELETE", f"/v1/questions/{answer.question}")
        rest = again.events()
    assert isinstance(rest[-1], Cancelled)
    with server.reading("GET", f"/v1/questions/{answer.question}/events") as whole:  # it is over: from the store
        assert comparable(whole.events()) == comparable(first + more + rest)


def test_an_answer_that_nobody_listens_to_is_cancelled(server, ct):
    with server.asked(ct, "tick the heart", conversation="left") as answer:
        answer.events(4)
    assert server.state(answer.question) == "open"
    wait_for(lambda: server.state(answer.question) == "cancelled")


def test_closing_the_clients_stream_cancels_at_once(server, client, ct, tmp_path):
    from ctreasoner.events import Request

    stream = client.answer(Request(volume=ct, text="tick the heart", conversation="closed"), workspace=tmp_path)
    assert isinstance(next(stream), Started)
    stream.close()
    talk = next(c for c in server.call("GET", f"/v1/conversations?volume={ct}")[2] if c["name"] == "closed")
    wait_for(lambda: server.state(talk["questions"][0]["id"]) == "cancelled")


def test_who_waits_is_told_the_place_and_too_many_are_refused(server, ct):
    with server.asked(ct, "hold", conversation="one") as one:
        one.events(2)
        with server.asked(ct, HEART, conversation="two") as two, server.asked(ct, HEART, conversation="three") as three:
            assert [(e.stage, e.step) for e in three.events(1)] == [("waiting", 2)]
            status, headers, problem = server.call("POST", "/v1/questions", {"volume": ct, "text": HEART, "conversation": "four"})
            assert (status, problem["code"]) == (429, "CTR-SRV-008") and int(headers["Retry-After"]) >= 1
            status, _, problem = server.call("POST", "/v1/questions", {"volume": ct, "text": HEART, "conversation": "two"})
            assert (status, problem["code"]) == (409, "CTR-SRV-005")
            next(server.data.glob(f"users/*/conversations/{one.conversation}")).joinpath("gate").touch()
            second, third = two.events(), three.events()
        assert isinstance(one.events()[-1], Done)
    assert [e.step for e in second if isinstance(e, Progress)] == [1] and isinstance(second[1], Started)
    assert [e.step for e in third if isinstance(e, Progress)] == [1] and isinstance(third[-1], Done)
    assert {e.answer for e in second + third} == {"a1"} and [e.seq for e in third] == list(range(1, len(third) + 1))


def test_who_waits_can_be_cancelled(server, ct):
    with server.asked(ct, "tick", conversation="ahead") as ahead, server.asked(ct, HEART, conversation="behind") as behind:
        ahead.events(3)
        server.call("DELETE", f"/v1/questions/{behind.question}")
        assert [e.type for e in behind.events()] == ["Progress", "Cancelled"]
        server.call("DELETE", f"/v1/questions/{ahead.question}")


def test_a_worker_that_is_killed_fails_the_answer_and_the_next_one_is_answered(server, client, ct):
    with server.asked(ct, "get killed", conversation="killed") as answer:
        events = answer.events()
    assert (
        isinstance(events[-1], Failed) and events[-1].code == "CTR-WRK-003" and [e.seq for e in events] == list(range(len(events)))
    )
    assert client.ask(phantom_volume(), HEART, conversation="killed").id == "a2"


def test_what_a_ct_shows_is_told_before_any_look(client):
    assert client.inside(phantom_volume()) == {"heart": ("present", 0.9), "mandible": ("outside", 0.8)}


# ---------------------------------------------------------------- masks and files


@pytest.fixture
def segmented(server, ct):
    with server.asked(ct, HEART, conversation="files") as answer:
        events = answer.events()
    return answer.conversation, [e for e in events if isinstance(e, Mask)][-1]


def test_a_mask_comes_as_bits_and_as_nifti(server, segmented, tmp_path):
    talk, mask = segmented
    path = f"/v1/conversations/{talk}/masks/{mask.path}"
    bits = server.call("GET", path)[2]
    crop = np.unpackbits(np.frombuffer(bits, np.uint8), count=np.prod(mask.shape)).reshape(mask.shape)
    kept = load_mask(mask, next(server.data.glob(f"users/*/conversations/{talk}")))
    assert len(bits) == 90 and np.array_equal(crop, kept) and crop.sum() == mask.voxels
    (tmp_path / "mask.nii").write_bytes(gzip.decompress(server.call("GET", f"{path}?form=nifti")[2]))
    import nibabel

    image = nibabel.load(tmp_path / "mask.nii")
    assert image.shape == (32, 30, 20) and np.allclose(image.affine, phantom_volume().affine)
    assert np.asarray(image.dataobj).sum() == mask.voxels


@pytest.mark.parametrize("path", ["other.npy", "..%2f..%2fserver.sqlite", "turns.jsonl", "%00"])
def test_what_no_event_names_is_no_mask(server, segmented, path):
    assert server.call("GET", f"/v1/conversations/{segmented[0]}/masks/{path}")[0] == 404


def test_everything_is_exported_and_comes_as_files_or_as_one(server, client, segmented, tmp_path):
    talk, mask = segmented
    assert server.call("GET", f"/v1/conversations/{talk}/export.zip")[0] == 404
    volume = server.call("GET", "/v1/volumes")[2][0]["id"]
    silent = server.call("POST", "/v1/conversations", {"volume": volume, "name": "silent"})[2]
    status, _, problem = server.call("POST", f"/v1/conversations/{silent['id']}/export", {})
    assert (status, problem["code"]) == (409, "CTR-WRK-017")
    files = client.export(phantom_volume(), tmp_path / "out", conversation="files")
    assert {"segmentation", "DICOM-SEG", "report", "masks"} <= set(files)
    assert (tmp_path / "out" / files["segmentation"]).read_bytes().startswith(b"NRRD")
    assert (tmp_path / "out" / "masks" / f"{mask.object}.nii.gz").is_file()
    seg = server.call("GET", f"/v1/conversations/{talk}/export/{files['DICOM-SEG']}")[2]
    assert seg[128:132] == b"DICM" and seg == (tmp_path / "out" / files["DICOM-SEG"]).read_bytes()
    status, headers, _ = server.call("GET", f"/v1/conversations/{talk}/export/report.html")
    assert (
        status == 200
        and headers["content-disposition"].startswith("attachment")
        and "sandbox" in headers["content-security-policy"]
    )
    for path in ("arrays/x.npy", "../turns.jsonl", "%2e%2e/turns.jsonl", "masks"):
        assert server.call("GET", f"/v1/conversations/{talk}/export/{path}")[0] == 404


def test_a_mask_that_a_person_changed_is_measured(server, client, ct):
    answer = client.ask(phantom_volume(), HEART, conversation="edited")
    key, talk = answer.find("heart").id, client.wire.conversation(ct, "edited")
    client.wire.send_edited(talk, key, np.ones((2, 3, 5)), (1, 1, 1))
    with server.asked(ct, "", conversation="edited", edited={key: "/etc/passwd"}) as again:
        measured = [e for e in again.events() if isinstance(e, Measurement)]
    assert measured[0].value == pytest.approx(30 * 0.012) and measured[0].object == key
    status, _, problem = server.call("POST", "/v1/questions", {"volume": ct, "conversation": "edited", "edited": {"../../x": ""}})
    assert (status, problem["code"]) == (422, "CTR-SRV-020")
    bad = {"first_voxel": [0, 0, 0], "shape": [9999, 9999, 9999], "bits": ""}
    assert server.call("PUT", f"/v1/conversations/{talk}/edited/{key}", bad)[2]["code"] == "CTR-WRK-020"


def test_what_is_deleted_is_gone_from_the_disk_too(server, client):
    volume = phantom_volume((25, 26, 27))
    ct = client.register(volume)
    with server.asked(ct, "tick", conversation="gone") as answer:
        answer.events(3)
        assert server.call("DELETE", f"/v1/volumes/{ct}")[0] == 204
        assert isinstance(answer.events()[-1], Cancelled)
    for path in (
        f"volumes/{ct}",
        f"questions/{answer.question}",
        f"questions/{answer.question}/events",
        f"conversations/{answer.conversation}",
    ):
        status, _, problem = server.call("GET", f"/v1/{path}")
        assert (status, problem["code"]) == (404, "CTR-SRV-003")
    assert server.call("POST", "/v1/questions", {"volume": ct, "text": HEART})[0] == 404
    wait_for(lambda: not list(server.data.glob(f"users/*/conversations/{answer.conversation}*")))


# ---------------------------------------------------------------- health, and wrong requests


def test_it_says_how_it_is(server, ct):
    assert server.call("GET", "/health/live")[2] == {"status": "ok"} and server.call("GET", "/health/ready")[0] == 200
    assert metric(server, "ctreasoner_engine_up") == 1 and metric(server, "ctreasoner_requests_total") > 10
    info = server.call("GET", "/v1/info")[2]
    assert info["model"]["name"] == "double" and info["limits"]["user_open"] == 3


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ({}, "CTR-SRV-012"),
        ({"volume": "x"}, "CTR-USE-001"),
        ({"volume": "x", "text": "y"}, "CTR-SRV-003"),
        ({"volume": "x", "text": "\ud800"}, "CTR-SRV-012"),
        ({"volume": "x", "text": "y" * 3000}, "CTR-USE-003"),
        ({"volume": "x", "boxes": [{"centre_ras": [0, 0, 0], "size_mm": [0, 1, 1]}]}, "CTR-GEO-021"),
    ],
)
def test_a_wrong_question_is_a_problem_with_the_engine_s_code(server, content, code):
    status, headers, problem = server.call("POST", "/v1/questions", content)
    assert problem["code"] == code and status == problem["status"] in (404, 422)
    assert headers["content-type"] == "application/problem+json" and problem["detail"].endswith(".")


def test_what_the_server_says_of_a_file_reaches_the_client_as_the_same_error(server, client, tmp_path):
    (tmp_path / "letter.nii").write_bytes(b"Dear colleague, " * 100)
    with pytest.raises(InputError) as told:
        client.register(tmp_path / "letter.nii")
    assert told.value.code == "CTR-IO-202" and "letter" not in str(told.value)
    assert send(server, b"not a CT")[0] == 422
