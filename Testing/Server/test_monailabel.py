"""MONAI Label's own client class asks the server and gets the engine's masks voxel by voxel; so do OHIF's requests."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from ctreasoner.answer import Answer, FoundObject
from ctreasoner.client.wire import write_nrrd
from ctreasoner.events import By, Click, Mask, PromptBox
from ctreasoner.geometry import Volume
from ctreasoner.remote import Client
from ctreasoner.server.monailabel import Labels
from fake_engine import phantom_volume
from serving import phantom_bytes, served, wait_for

HERE = Path(__file__).resolve().parent
CACHE = HERE.parents[1] / "build" / "monailabel"
PACKAGES = ("monailabel==0.8.5", "requests==2.32.5", "urllib3==2.6.3", "idna==3.11", "certifi", "charset-normalizer==3.4.4",
            "legacy-cgi==2.6.4; python_version >= '3.13'")  # fmt: skip (what the client imports; the rest is for its server)
LIMITS = {"grace_s": 1.0, "user_open": 3, "user_uploads": 3, "upload_bytes": 4 << 20}
BOUNDARY = "----WebKitFormBoundaryq3Y1"


def volume() -> Volume:
    """The phantom, lying askew: nothing fits where axes, signs or the origin are mixed up."""
    turn = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([-2.0, 2.5, 3.0])
    affine[:3, 3] = 31, -28, -40
    return Volume(phantom_volume().voxels, affine, name="phantom")


@pytest.fixture(scope="module")
def package():
    """The folder of MONAI Label's package and what its client imports, put into build/ once: 20 MB from the package index."""
    folder = CACHE / "package"
    if not (CACHE / "ready").is_file():
        shutil.rmtree(CACHE, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--target", str(folder), *PACKAGES], check=True)
        (CACHE / "ready").touch()
    return folder


@pytest.fixture(scope="module")
def pointed(tmp_path_factory):
    """A server whose masks depend on where is pointed."""
    worker = ("--factory", f"{HERE / 'server_doubles.py'}:Pointed")
    with served(tmp_path_factory.mktemp("data"), worker=worker, limits=LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def driven(package, pointed, tmp_path_factory):
    """(what the client printed, the folder of its files)."""
    folder = tmp_path_factory.mktemp("monailabel")
    write_nrrd(volume(), folder / "ct.nrrd")
    program = [sys.executable, "-I", "-S", HERE / "monailabel_drive.py"]
    command = [str(c) for c in (*program, package, f"{pointed.url}/monailabel", folder / "ct.nrrd", folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout), folder


def engine_s(server, text="", **prompts):
    """(mask on the CT's grid, name) as the server's own API tells them."""
    client = Client(server.url)
    answer = client.ask(volume(), text, conversation="to compare", **prompts)
    found = answer.objects[-1]
    return answer.mask(found.id), found.display


def pointed_at(name):
    """The prompts of the drive's question, in RAS mm."""
    inside = volume().index_to_world([[10, 11, 7], [8, 10, 6], [13, 13, 8], [14, 20, 2], [9, 0, 8]])
    clicks = [Click(point_ras=tuple(p), positive=n < 2) for n, p in enumerate(inside[:3].tolist())]
    box = PromptBox(centre_ras=tuple(inside[3:].mean(axis=0)), size_mm=tuple(np.abs(inside[3] - inside[4])))
    return {"clicks": clicks, "boxes": [box] if name == "box" else []}


def read(path):
    """(voxels [i, j, k], affine ijk -> RAS mm) as the reader of 3D Slicer's module sees them."""
    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).T, np.diag([-1, -1, 1, 1]) @ affine


# ---------------------------------------------------------------- the client class, as 3D Slicer's module uses it


def test_it_tells_models_and_images(driven):
    said, _ = driven
    models = said["info"]["models"]
    assert said["auth"] is False and said["training"] is False
    assert {name: m["type"] for name, m in models.items()} == {
        "organ": "segmentation", "all": "segmentation", "words": "segmentation", "click": "deepgrow"}  # fmt: skip
    assert models["organ"]["labels"]["Heart"] == 1 and models["organ"]["config"]["label"][0] == "Heart"
    assert said["info"]["labels"] == ["object"] and not said["info"]["config"]  # a config is taken for an old server's
    assert said["sent"] == [{"image": "2: CT Thorax"}] * 2 and list(said["store"]["objects"]) == ["2: CT Thorax"]


@pytest.mark.parametrize("name", ["organ", "words", "click", "box", "all", "file"])
def test_a_label_map_is_the_engine_s_mask(driven, pointed, name):
    said, folder = driven
    prompts = pointed_at(name) if name in ("click", "box") else {"text": "Segment the heart."}
    expected, display = engine_s(pointed, **prompts)
    voxels, affine = read(folder / f"{name}{'.nii.gz' if name == 'file' else '.nrrd'}")
    assert expected.any() and np.array_equal(voxels, expected) and np.allclose(affine, volume().affine, atol=1e-4)
    assert said[name]["label_names"] == {display: 1} and said[name]["text"]


def test_the_double_is_not_blind_to_where_is_pointed(pointed):
    clicked, boxed = (engine_s(pointed, **pointed_at(name))[0] for name in ("click", "box"))
    assert 0 < boxed.sum() < clicked.sum() < engine_s(pointed, "Segment the heart.")[0].sum()


def test_an_object_that_others_hide_is_not_named(tmp_path):
    """Slicer gives names to the values that it finds, in their order."""
    labels = Labels(np.zeros((4, 4, 4), np.uint8), {"heart": 1, "aorta": 2})
    for name, lines in (("heart", 2), ("thing", 1), ("aorta", 2)):
        np.save(tmp_path / f"{name}.npy", np.ones((lines, 4, 4), np.uint8))
        mask = Mask(answer="a1", seq=0, t=0.0, object=name, stage="final", first_voxel=(1, 0, 0), shape=(lines, 4, 4),
                    path=f"{name}.npy", voxels=16 * lines, cut_by_scan=False, by=By(kind="model", name="double"))  # fmt: skip
        found = FoundObject(id=name, name=name, display=name, mask=mask)
        labels.add(Answer(objects=[found, FoundObject(id="absent")], folder=tmp_path))
        if name == "thing":
            assert labels.shown() == {"heart": 1, "thing": 3}
    assert labels.shown() == {"aorta": 2} and labels.grid[1:3].min() == 2 and not labels.grid[[0, 3]].any()


def test_what_is_not_there_is_refused_with_the_server_s_sentence(driven):
    refused = driven[0]["refused"]
    assert {name: text.split(";")[0] for name, text in refused.items()} == {
        "model": "Status: 404", "image": "Status: 404", "label": "Status: 422", "point": "Status: 422", "nothing": "Status: 422",
        "scribbles": "Status: 422", "session": "Status: 404", "save": "Status: 404", "train": "Status: 404", "next": "Status: 404",
        "log in": "Status: 401"}  # fmt: skip
    for name, sentence in {
        "model": "no such model",
        "label": "`label` names no object",
        "point": "Points are voxel indices",
        "scribbles": "one file, in the field `file`",
        "train": "Nothing is trained here",
    }.items():
        assert sentence in refused[name]


def test_answers_leave_nothing_behind(driven, pointed):
    names = [c["name"] for c in pointed.call("GET", "/v1/conversations")[2]]
    assert "monailabel image 2: CT Thorax" in names and not [n for n in names if n.startswith(("monailabel a", "monailabel s"))]
    assert len(pointed.call("GET", "/v1/volumes")[2]) == 1 and not list(pointed.data.glob("users/*/uploads/*"))


def test_a_second_image_takes_the_name_over(driven, pointed, tmp_path):
    small = phantom_bytes(tmp_path, shape=(20, 21, 22))
    assert put(pointed, "datastore/?image=taken", small)[0] == 200 == put(pointed, "datastore/?image=taken", ct_bytes(tmp_path))[0]
    told, _, body = infer(pointed, "organ", "image=taken&output=image", {"result_extension": ".nrrd"})
    (tmp_path / "label.nrrd").write_bytes(body)
    assert told == 200 and read(tmp_path / "label.nrrd")[0].shape == volume().shape
    assert pointed.call("DELETE", "/monailabel/datastore/?id=taken")[0] == 200
    assert pointed.call("DELETE", "/monailabel/datastore/?id=taken")[0] == 404


# ---------------------------------------------------------------- the requests of OHIF's module


def form(**fields):
    """(headers, body) of a form as a browser sends it; a tuple is a file (name, bytes)."""
    body = b""
    for name, value in fields.items():
        file, content = value if isinstance(value, tuple) else (None, value.encode())
        told = f'form-data; name="{name}"' + (f'; filename="{file}"\r\nContent-Type: application/octet-stream' if file else "")
        body += f"--{BOUNDARY}\r\nContent-Disposition: {told}\r\n\r\n".encode() + content + b"\r\n"
    return {"Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}, body + f"--{BOUNDARY}--\r\n".encode()


def put(server, path, content, field="file", **headers):
    more, body = form(**{field: ("../../x.nii", content), "params": "{}"})
    return server.call("PUT", f"/monailabel/{path}", body=body, **more, **headers)


def infer(server, model, query, params, **headers):
    more, body = form(params=params if isinstance(params, str) else json.dumps(params))
    return server.call("POST", f"/monailabel/infer/{model}?{query}", body=body, **more, **headers)


def ct_bytes(tmp_path):
    write_nrrd(volume(), tmp_path / "ct.nrrd")
    return (tmp_path / "ct.nrrd").read_bytes()


OHIF = {"result_extension": ".nrrd", "result_dtype": "uint8", "result_compress": False, "restore_label_idx": False}


def test_ohif_s_requests_get_raw_nrrd_whose_values_are_those_of_info(pointed, tmp_path):
    series = "1.2.826.0.1.3680043.8.498.1"
    page = {"Origin": f"http://127.0.0.1:{pointed.port}", "Accept": "application/json,multipart/form-data"}
    assert put(pointed, f"datastore/image?image={series}", ct_bytes(tmp_path))[0] == 200
    info = pointed.call("GET", "/monailabel/info/", **page)[2]
    assert isinstance(info["labels"], list) and pointed.call("GET", "/monailabel/train/?check_if_running=true", **page)[0] == 404
    heart, _ = engine_s(pointed, "Segment the heart.")
    clicked, _ = engine_s(pointed, **pointed_at("click"))
    points = {"foreground": [[10, 11, 7], [8, 10, 6]], "background": [[13, 13, 8]]}
    for model, params, expected in (("organ", {}, heart), ("organ", {"label": "Heart"}, heart), ("all", {}, heart),
                                    ("click", points, clicked)):  # fmt: skip
        status, headers, body = infer(pointed, model, f"image={series}&output=image", {**params, **OHIF}, **page)
        head, _, voxels = body.partition(b"\n\n")
        assert status == 200 and headers["content-type"] == "application/octet-stream" and b"encoding: raw" in head
        value = info["models"][model]["labels"]["Heart"] if model != "click" else 1
        assert np.array_equal(np.frombuffer(voxels, np.uint8).reshape(volume().shape, order="F"), value * expected)


# ---------------------------------------------------------------- who may, and what is refused


def test_tokens_keep_users_apart_and_a_log_in_takes_one_for_the_password(tmp_path):
    from ctreasoner.server.store import Store

    store = Store(tmp_path / "data")
    tokens = {name: store.add_token(name) for name in ("anna", "ben")}
    store.close()
    with served(tmp_path / "data", behind_proxy=True, limits=LIMITS) as locked:
        assert locked.call("GET", "/monailabel/auth/")[2] == {"enabled": True}
        for method, path in (("GET", "info/"), ("GET", "datastore/"), ("PUT", "datastore/"), ("PUT", "datastore/image"),
                             ("DELETE", "datastore/?id=x"), ("DELETE", "datastore/image?id=x"), ("PUT", "session/"),
                             ("GET", "session/x"), ("DELETE", "session/x"), ("POST", "infer/all"), ("GET", "auth/token/valid"),
                             ("POST", "train/x"), ("PUT", "datastore/label"), ("POST", "activelearning/x")):  # fmt: skip
            assert locked.call(method, f"/monailabel/{path}")[0] == 401, path
        for password in ("wrong", "", "%00", "%FF", "&" * 50, tokens["anna"][:-1]):
            assert locked.call("POST", "/monailabel/auth/token", body=f"username=a&password={password}".encode())[0] == 401
        users = {}
        for name, token in tokens.items():
            sent = f"username=x&password={token}&grant_type=password".encode()
            status, _, told = locked.call("POST", "/monailabel/auth/token", body=sent)
            assert status == 200
            users[name] = {"Authorization": f"{told['token_type']} {told['access_token']}"}
            assert locked.call("GET", "/monailabel/auth/token/valid", **users[name])[0] == 200
        content = ct_bytes(tmp_path)
        assert put(locked, "datastore/?image=mine", content, **users["anna"])[0] == 200
        session = put(locked, "session/", content, "files", **users["anna"])[2]["session_id"]
        for query in ("image=mine", f"session_id={session}"):
            assert infer(locked, "organ", query, {}, **users["ben"])[0] == 404
            assert infer(locked, "organ", query, {}, **users["anna"])[0] == 200
        for method, path in (("DELETE", "datastore/?id=mine"), ("GET", f"session/{session}"), ("DELETE", f"session/{session}")):
            assert locked.call(method, f"/monailabel/{path}", **users["ben"])[0] == 404
        assert locked.call("GET", "/monailabel/datastore/", **users["ben"])[2]["total"] == 0
        assert locked.call("GET", "/monailabel/datastore/", **users["anna"])[2]["total"] == 1


@pytest.mark.parametrize("path", ["datastore/?image=x", "session/", "infer/organ?image=x"])
def test_hostile_forms_are_refused_and_leave_nothing(pointed, tmp_path, path):
    method, field = ("POST", "file") if path.startswith("infer") else ("PUT", "files" if path.startswith("session") else "file")
    good = form(**{field: ("ct.nrrd", ct_bytes(tmp_path))})[1]
    typed = {"Content_Type": f"multipart/form-data; boundary={BOUNDARY}"}
    many = form(**{f"f{n}": "x" for n in range(40)})[1]
    for headers, body, expected in (
        ({}, good, 422),
        ({"Content_Type": "multipart/form-data"}, good, 422),
        ({"Content_Type": f"multipart/form-data; boundary={'b' * 300}"}, good, 422),
        ({"Content_Type": "application/x-www-form-urlencoded"}, b"file=x", 422),
        (typed, b"", 422),
        (typed, good[:-10], 422),  # cut off in its last line
        (typed, good[: len(good) // 2], 422),
        (typed, b"no form at all", 422),
        (typed, many, 422),
        (typed, form(params="x" * 2_000_000)[1], 422),
        (typed, form(params="[]", **{field: ("ct.nrrd", b"")})[1], 422),
        (typed, form(**{field: ("x", b"\x1f\x8b" + bytes(100))})[1], 422),
        (typed, form(**{field: ("x", b"a"), "other": ("y", b"b")})[1], 422),
        (typed, form(**{field: ("x", bytes(5 << 20))})[1], 413),
        ({**typed, "Content_Encoding": "gzip"}, good, 415),
        ({**typed, "Origin": "https://evil.example"}, good, 403),
    ):
        status, _, problem = pointed.call(method, f"/monailabel/{path}", body=body, **headers)
        assert status == expected and problem["code"].startswith("CTR-"), (headers, body[:80])
    assert not list(pointed.data.glob("users/*/uploads/*"))
    assert not any('"exception"' in line for line in pointed.lines)


HOSTILE = ("", "nothing", "[1]", "[" * 5000, '{"label": 3}', '{"label": {"a": 1}}', '{"label": "\\ud800"}',
           '{"result_extension": "/etc/passwd"}', '{"result_extension": [".nrrd"]}')  # fmt: skip
NOWHERE = ("x", 7, {"a": 1}, [[]], [[1, 2]], [[1, 2, None]], [[1, 2, "x"]], [[1, 2, 10**400]], [[-1, 2, 3]], [[[1, 2, 3]]],
           [[float("nan"), 1, 1]], [[float("inf"), 1, 1]], [[1, 2, 3]] * 1001)  # fmt: skip


@pytest.mark.parametrize("sent", HOSTILE)
def test_hostile_parameters_are_refused(driven, pointed, sent):
    assert infer(pointed, "organ", "image=2:%20CT%20Thorax", sent)[0] == 422


@pytest.mark.parametrize("points", NOWHERE)
def test_hostile_points_are_refused(driven, pointed, points):
    for params in ({"foreground": points}, {"background": points}, {"foreground": [[1, 2, 3]], "roi": points}):
        assert infer(pointed, "click", "image=2:%20CT%20Thorax", params)[0] == 422, params


@pytest.mark.parametrize("name", ["..", "../../x", "%00", "%0A", "%FF", "%ED%A0%80", "x" * 300, "%25", "a%27%20OR%201=1"])
def test_hostile_names_are_names_and_nothing_else(pointed, tmp_path, name):
    status = put(pointed, f"datastore/?image={name}", ct_bytes(tmp_path))[0]
    assert status == (422 if name in ("%00", "%0A") or len(name) > 200 else 200)
    assert pointed.call("DELETE", f"/monailabel/datastore/?id={name}")[0] == status
    for path in ("session", "infer"):
        assert pointed.call("GET" if path == "session" else "POST", f"/monailabel/{path}/{name}", body=b"")[0] in (404, 405, 422)
    assert not list(pointed.data.parent.glob("x*"))


def test_a_client_that_goes_has_its_answer_cancelled(driven, pointed):
    headers, body = form(params=json.dumps({"text": "tick the heart"}))

    def answered():
        return [c["id"] for c in pointed.call("GET", "/v1/conversations")[2] if c["name"].startswith("monailabel answer")]

    sent = {"Content-Type": headers["Content_Type"]}
    with pointed.asking("POST", "/monailabel/infer/words?image=2:%20CT%20Thorax", body, sent):
        talk = wait_for(answered)[0]
        wait_for(lambda: pointed.call("GET", f"/v1/conversations/{talk}")[2]["questions"][0]["events"] > 3)
    wait_for(lambda: not answered())
    assert infer(pointed, "organ", "image=2:%20CT%20Thorax&output=json", {})[2]["label_names"] == {"Heart": 1}
