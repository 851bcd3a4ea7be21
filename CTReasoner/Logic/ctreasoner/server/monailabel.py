"""The REST API of MONAI Label (0.8.5) in front of the same engine, below /monailabel, for clients that speak it already.

A client's image id is the name of a conversation without questions, a session is such a conversation's id; each inference is a
conversation of its own, which is deleted when it is answered. Nothing is trained here, and no labels are taken.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sqlite3
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from starlette.datastructures import QueryParams

from ..answer import Answer, assemble
from ..appearance.wording import spoken
from ..client.volumes import VolumeFile
from ..errors import UsageError, error_of
from ..events import Click, PromptBox, from_json, load_mask
from ..events import Request as Asked
from ..version import __version__
from ..vocabulary import Vocabulary
from .files import label_map
from .forms import Form, read_form
from .guard import User, refuse_token, user
from .problems import Refused, not_found
from .queue import Job
from .server import Server

IMAGE, SESSION, ANSWER = "monailabel image ", "monailabel session ", "monailabel answer "
OBJECT = "object"  # what the model "click" calls what is clicked
MOST_POINTS = 1000
EXTENSIONS = (".nii.gz", ".nrrd")

public = APIRouter(prefix="/monailabel", include_in_schema=False)
router = APIRouter(prefix="/monailabel", include_in_schema=False, dependencies=[Depends(user)])


def _server(request: Request) -> Server:
    return request.app.state.server


Here = Annotated[Server, Depends(_server)]


def _models() -> dict[str, dict[str, Any]]:
    """Return the models as /info tells them. `labels` holds the values of the label maps, `config` what a client may change."""
    names = [item.display for item in Vocabulary.load()]
    organ = {"type": "segmentation", "dimension": 3, "labels": {name: n for n, name in enumerate(names, 1)}}
    return {
        "organ": {**organ, "description": "One object, chosen by its name", "config": {"label": names}},
        "all": {**organ, "description": "Every object that the CT shows", "config": {}},
        "words": {**organ, "description": "A question in words", "config": {"text": "Segment the heart."}},
        "click": {
            "type": "deepgrow",
            "dimension": 3,
            "labels": [OBJECT],
            "description": "What is clicked, or lies in the box",
            "config": {},
        },
    }


# ---------------------------------------------------------------- the server


@public.get("/auth/")
async def auth(server: Here) -> dict[str, bool]:
    """Whether a token is needed."""
    return {"enabled": server.settings.needs_token}


@public.post("/auth/token")
async def log_in(request: Request, server: Here) -> dict[str, str]:
    """A dialogue that asks for name and password takes a token as the password; it is given back as it is."""
    token = QueryParams(await request.body()).get("password", "").strip()       # whatever type the body is said to have
    if not token.isascii() or server.store.owner(token) is None:
        raise refuse_token()
    return {"access_token": token, "token_type": "bearer"}


@router.get("/auth/token/valid")
async def token_is_valid() -> dict[str, Any]:
    """The token is known: else this is not reached."""
    return {}


@router.get("/info/")
async def info(server: Here, user: User) -> dict[str, Any]:
    """Models, and how many images there are."""
    stats = {"total": len(_images(server, user)), "completed": 0}
    return {
        "name": "CTReasoner",
        "description": "Answers about CTs, with masks",
        "version": __version__,
        "labels": [OBJECT],  # a client makes an empty segment of each, and clicks need one
        "models": _models(),
        "datastore": stats,
        "datastore_stats": stats,
        **{name: {} for name in ("trainers", "strategies", "scoring", "train_stats", "config")},
    }


@router.api_route("/train/{rest:path}", methods=["GET", "POST", "DELETE"])
@router.api_route("/activelearning/{rest:path}", methods=["POST"])
@router.api_route("/datastore/label", methods=["GET", "PUT", "DELETE"])
async def not_offered() -> None:
    """What there is no place for."""
    raise Refused(404, "Nothing is trained here, and no labels are kept.", code="CTR-SRV-019", hint="Save it locally.")


# ---------------------------------------------------------------- images


@router.get("/datastore/")
async def datastore(server: Here, user: User, output: str = "stats") -> dict[str, Any]:
    """The images that were sent; none has labels here."""
    images = _images(server, user)
    if output != "all":
        return {"total": len(images), "completed": 0}
    objects = {name: {"image": {"ext": "", "info": {}}, "labels": {}} for name in images}
    return {"name": "CTReasoner", "description": "", "objects": objects}


@router.put("/datastore/")
@router.put("/datastore/image")
async def add_image(request: Request, server: Here, user: User, image: str = "") -> dict[str, str]:
    """Send a CT under an id of the client's choice; what had this id before has it no longer."""
    name = _name(image or secrets.token_hex(16))
    row = await _sent(server, user, await read_form(request, server.uploads, user, "file"))
    for old in _called(server, user, name):
        server.delete_conversation(old)
    server.store.conversation(user, row["id"], IMAGE + name)
    return {"image": name}


@router.delete("/datastore/")
@router.delete("/datastore/image")
async def remove_image(server: Here, user: User, id: str) -> dict[str, Any]:
    """Delete an image, and its CT unless something else is about it."""
    row = _image(server, user, id)
    for talk in _called(server, user, id):
        server.delete_conversation(talk)
    if server.store.one("SELECT 1 FROM conversation WHERE user = ? AND volume = ?", user, row["id"]) is None:
        server.delete_volume(row)
    server.audit.write(user, "delete", what="volume")
    return {}


@router.put("/session/")
async def create_session(request: Request, server: Here, user: User) -> dict[str, Any]:
    """Send a CT without naming it."""
    row = await _sent(server, user, await read_form(request, server.uploads, user, "files"))
    talk = server.store.conversation(user, row["id"], SESSION + secrets.token_hex(16))
    return {"session_id": talk["id"]}


@router.get("/session/{session}")
async def get_session(session: str, server: Here, user: User) -> dict[str, str]:
    """Whether a session is there still."""
    return {"session_id": _session(server, user, session)["id"]}


@router.delete("/session/{session}")
async def remove_session(session: str, server: Here, user: User) -> dict[str, Any]:
    """End a session; its CT goes by retention."""
    server.delete_conversation(_session(server, user, session))
    return {}


async def _sent(server: Server, user: str, form: Form) -> sqlite3.Row:
    """Return the CT in a form's file; one that was sent before is not read again."""
    upload = form.upload
    if upload is None:
        raise UsageError("The form holds no file.", code="CTR-SRV-012")
    server.metrics.uploaded.inc(upload["size"])
    if (known := server.uploads.known(user, sha256=upload["sha256"])) is not None:
        server.uploads.delete(upload)
        return server.volume(user, known["id"])
    row = await server.uploads.finish(upload)
    server.audit.write(user, "upload", bytes=row["bytes"])
    return row


def _name(text: str) -> str:
    if len(text) > 200 or not text.isprintable():
        raise UsageError("An image's id has at most 200 printable characters.", code="CTR-SRV-012")
    return text


def _images(server: Server, user: str) -> list[str]:
    rows = server.store.all("SELECT name FROM conversation WHERE user = ? AND name LIKE ?", user, IMAGE + "%")
    return [row["name"].removeprefix(IMAGE) for row in rows]


def _called(server: Server, user: str, name: str) -> list[sqlite3.Row]:
    return server.store.all("SELECT * FROM conversation WHERE user = ? AND name = ?", user, IMAGE + _name(name))


def _image(server: Server, user: str, name: str) -> sqlite3.Row:
    found = _called(server, user, name)
    if not found:
        raise not_found("image")
    return server.volume(user, found[0]["volume"])


def _session(server: Server, user: str, session: str) -> sqlite3.Row:
    row = server.store.one(
        "SELECT * FROM conversation WHERE id = ? AND user = ? AND name LIKE ?", session, user, SESSION + "%"
    )
    if row is None:
        raise not_found("session")
    return row


# ---------------------------------------------------------------- inference


@dataclass
class Labels:
    """A label map on a CT's grid (uint8, [i, j, k]) as it is filled. Where objects overlap, the later one shows.

    values : {vocabulary key: value}, in which a name that is not there gets the next value.
    """

    grid: np.ndarray
    values: dict[str, int]
    names: dict[int, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def add(self, answer: Answer) -> None:
        """Take the masks and words of an answer."""
        for found in answer.objects:
            if found.mask is None:
                continue
            crop = load_mask(found.mask, answer.folder) > 0
            value = self.values.setdefault(found.name, len(self.values) + 1)
            self.names[value] = found.display
            self.grid[tuple(slice(a, a + n) for a, n in zip(found.mask.first_voxel, crop.shape, strict=True))][crop] = value
        self.said.append(answer.text.strip())

    def shown(self) -> dict[str, int]:
        """Return {name: value} of what can be seen, lowest value first: clients count on the order, and on nothing missing."""
        return {name: value for value, name in sorted(self.names.items()) if (self.grid == value).any()}


@router.post("/infer/{model}")
async def infer(
    model: str, request: Request, server: Here, user: User, image: str = "", session_id: str = "", output: str = "all"
) -> Response:
    """Answer: a label map on the CT's grid and `params`, in which `label_names` tells its values and `text` is the answer."""
    if model not in _models():
        raise not_found("model")
    form = await read_form(request, server.uploads, user, "file")
    if form.upload is not None:
        row = await _sent(server, user, form)
    elif session_id:
        row = server.volume(user, _session(server, user, session_id)["volume"])
    else:
        row = _image(server, user, image)
    params = _params(model, form)
    extension = params.get("result_extension") or EXTENSIONS[0]
    if output not in ("all", "image", "json") or extension not in EXTENSIONS:
        raise UsageError("`output` is all, image or json, and `result_extension` .nrrd or .nii.gz.", code="CTR-SRV-012")
    labels = await _unless_gone(request, _infer(server, user, row, model, params))
    shown = await asyncio.to_thread(labels.shown)
    result = {"label_names": shown, "text": " ".join(filter(None, labels.said)), "model": server.engine.model}
    if output == "json":
        return Response(json.dumps(result), media_type="application/json")
    affine, is_packed = np.array(server.file_of(row).affine), params.get("result_compress") is not False
    packed = await asyncio.to_thread(label_map, labels.grid, affine, extension, is_packed)
    if output == "image":
        named = {"Content-Disposition": f'attachment; filename="label{extension}"'}
        return Response(packed, media_type="application/octet-stream", headers=named)
    return _multipart(result, packed, f"label{extension}")


def _params(model: str, form: Form) -> dict[str, Any]:
    """Return what a client sent, over what /info says is taken where nothing is sent."""
    try:
        sent = json.loads(form.fields.get("params", "{}"))
    except (ValueError, RecursionError):
        sent = None
    if not isinstance(sent, dict):
        raise UsageError("The field `params` holds no JSON object.", code="CTR-SRV-012")
    config = {name: value[0] if isinstance(value, list) else value for name, value in _models()[model]["config"].items()}
    return {**config, **sent}


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Labels]) -> Labels:
    """Return what `work` does; end it where the client has gone meanwhile."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())  # after its body: that it has gone
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        while not task.done():  # before Python 3.12, `wait_for` may lose a cancellation
            task.cancel()
            await asyncio.wait({task}, timeout=0.1)
        await asyncio.gather(task, return_exceptions=True)
        raise Refused(409, "The answer was cancelled.", code="CTR-SRV-004", hint="Ask again.")
    finally:
        gone.cancel()
        task.cancel()


async def _infer(server: Server, user: str, row: sqlite3.Row, model: str, params: dict[str, Any]) -> Labels:
    file, vocabulary = server.file_of(row), Vocabulary.load()
    values = {} if model == "click" else {item.key: n for n, item in enumerate(vocabulary, 1)}
    labels = Labels(np.zeros(file.shape, np.uint8), values)
    if model == "all":
        asked = [{"text": _segment(vocabulary.display(key))} for key in await _present(server, user, file)]
    elif model == "organ":
        name = _text(params, "label")
        if name.lower() not in {item.display.lower() for item in vocabulary}:
            raise UsageError("`label` names no object of the vocabulary.", code="CTR-SRV-012", hint="`/info/` lists them.")
        asked = [{"text": _segment(name)}]
    else:
        asked = [{"text": _text(params, "text")} if model == "words" else _prompts(params, file)]
    for question in asked:
        await _answer(server, user, row, file, question, labels)
    return labels


def _segment(display: str) -> str:
    return f"Segment the {spoken(display)}."


async def _present(server: Server, user: str, file: VolumeFile) -> list[str]:
    shown: dict[str, Any] = {"is_whole": False}
    while not shown["is_whole"]:  # another question came between: it goes on from there
        shown = await server.queue.result(Job(user, f"inside {file.identity}", file))
    return [key for key, (state, _) in shown["states"].items() if state == "present"]


def _text(params: dict[str, Any], name: str) -> str:
    value = params.get(name)
    if not isinstance(value, str) or any(0xD800 <= ord(c) <= 0xDFFF for c in value):
        raise UsageError(f"`{name}` in `params` holds no text.", code="CTR-SRV-012")
    return value


def _prompts(params: dict[str, Any], file: VolumeFile) -> dict[str, Any]:
    """Return clicks and the box, which clients name by voxel indices, in RAS mm. The box lies along the axes of RAS there, too."""
    points = [(_ras(params.get(name), file), name == "foreground") for name in ("foreground", "background")]
    clicks = tuple(Click(point_ras=tuple(p), positive=positive) for ras, positive in points for p in ras.tolist())
    if not params.get("roi"):
        return {"clicks": clicks}
    roi = params["roi"] if isinstance(params["roi"], list) and len(params["roi"]) == 6 else [None] * 6
    one, other = _ras([roi[0::2], roi[1::2]], file, far=True)
    centre, size = (one + other) / 2, np.abs(one - other)
    return {"clicks": clicks, "boxes": (PromptBox(centre_ras=tuple(centre.tolist()), size_mm=tuple(size.tolist())),)}


def _ras(points: Any, file: VolumeFile, far: bool = False) -> np.ndarray:
    """Return (n, 3) RAS mm of n voxel indices [i, j, k], which lie in the CT, or not `far` from it."""
    try:
        indices = np.array(points or np.zeros((0, 3)), float)
    except (TypeError, ValueError, OverflowError):
        indices = np.zeros(0)
    margin = 0.5 + far * np.array(file.shape)
    fits = indices.ndim == 2 and indices.shape[1] == 3 and len(indices) <= MOST_POINTS
    if not fits or not ((indices >= -margin) & (indices <= np.array(file.shape) - 1 + margin)).all():
        raise UsageError("Points are voxel indices [i, j, k] inside the CT, a box is [i, i, j, j, k, k].", code="CTR-SRV-012")
    affine = np.array(file.affine)
    return indices @ affine[:3, :3].T + affine[:3, 3]


async def _answer(
    server: Server, user: str, row: sqlite3.Row, file: VolumeFile, question: dict[str, Any], labels: Labels
) -> None:
    """Ask, and add what comes to `labels`; nothing is left of it here."""
    talk = server.store.conversation(user, row["id"], ANSWER + secrets.token_hex(16))
    try:
        asked = Asked(volume=row["key"], conversation=talk["id"], **question)
        job = server.queue.put(Job(user, talk["id"], file, request=asked))
        server.audit.write(user, "ask", text="text" in question, prompts=len(asked.clicks) + len(asked.boxes), edited=0)
        events = [from_json(line) async for _, _, line in _events(server, job)]
        answer = assemble(events, asked, folder=server.folder_of_conversation(talk["id"]))
        if answer.state == "failed":
            raise error_of(answer.error)
        if answer.state == "cancelled":
            raise Refused(409, "The answer was cancelled.", code="CTR-SRV-004", hint="Ask again.")
        await asyncio.to_thread(labels.add, answer)
    finally:
        server.delete_conversation(talk)


async def _events(server: Server, job: Job) -> AsyncIterator[tuple[int, str, str]]:
    async for event in server.queue.stream(job):
        if event is not None:
            yield event


def _multipart(params: dict[str, Any], packed: bytes, name: str) -> Response:
    """Return the form that MONAI Label answers with: the field `params`, then the file `image`."""
    mark, line = secrets.token_hex(16), "\r\n"
    head = [f"--{mark}", 'Content-Disposition: form-data; name="params"', "Content-Type: application/json", "", json.dumps(params)]
    file = [f"--{mark}", f'Content-Disposition: form-data; name="image"; filename="{name}"']
    before = line.join([*head, *file, "Content-Type: application/octet-stream", "", ""])
    return Response(
        before.encode() + packed + f"{line}--{mark}--{line}".encode(), media_type=f"multipart/form-data; boundary={mark}"
    )
