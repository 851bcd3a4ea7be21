"""The API: CTs in, questions, events and files out. docs/server.md shows it in use."""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, PlainTextResponse, StreamingResponse

from ..client.masks import write_crop
from ..client.protocol import PROTOCOL
from ..client.records import EDITED
from ..errors import UsageError
from ..events import Mask, from_json, load_mask
from ..events import Request as Asked
from ..version import __version__
from . import schemas
from .files import exported, nifti, unpacked, zipped
from .guard import User, operator
from .problems import REPLIES, Refused, not_found
from .queue import Job
from .schemas import HEX64, Id, ObjectId, VolumeId
from .server import Server

STREAM = "text/event-stream"
BINARY = {"schema": {"type": "string", "format": "binary"}}
FILE = {200: {"content": {"application/octet-stream": BINARY}}}
LINES = {name: {"type": "string"} for name in ("id", "event", "data")}
EVENTS = {
    200: {
        "description": "Events of the contract, one as JSON in each `data`, numbered by `id`; `event` is its type",
        "content": {STREAM: {"schema": {"type": "object", "properties": LINES}}},
    }
}
CERTAIN = {k: REPLIES[k] for k in (400, 401, 403, 404, 405, 409, 413, 415, 422, 429, 503, 507)}

api = APIRouter(prefix="/v1", responses=CERTAIN)
open_to_all = APIRouter(responses={403: REPLIES[403], 405: REPLIES[405], 503: REPLIES[503]})


def _server(request: Request) -> Server:
    return request.app.state.server


Here = Annotated[Server, Depends(_server)]


# ---------------------------------------------------------------- the server itself


@open_to_all.get("/health/live")
async def live() -> dict[str, str]:
    """The process runs."""
    return {"status": "ok"}


@open_to_all.get("/health/ready")
async def ready(server: Here) -> dict[str, str]:
    """Questions are taken: 503 while the model loads, while shutting down, and where the engine cannot be started."""
    state = "shutting down" if server.queue.draining else server.engine.state
    if state not in ("ready", "busy"):
        raise Refused(503, f"Not ready: {state}.", code="CTR-SRV-010", headers={"Retry-After": "5"})
    return {"status": state}


@open_to_all.get("/metrics", dependencies=[Depends(operator)], responses={401: REPLIES[401]}, response_class=PlainTextResponse)
async def metrics(server: Here) -> PlainTextResponse:
    """Prometheus text. Needs a token with the role "metrics" where tokens are needed."""
    return PlainTextResponse(server.metrics.text(), media_type="text/plain; version=0.0.4")


@api.get("/info")
async def info(server: Here, user: User) -> schemas.Info:
    """Version, model, limits, and how many wait."""
    return schemas.Info(
        version=__version__,
        protocol=PROTOCOL,
        model=server.engine.model,
        engine=server.engine.state,
        waiting=len(server.queue.line()),
        limits=asdict(server.settings.limits),
    )


# ---------------------------------------------------------------- CTs


@api.post("/uploads", status_code=201, responses={200: {"model": schemas.Begun, "description": "The CT is there already"}})
async def begin_upload(new: schemas.NewUpload, server: Here, user: User, response: Response) -> schemas.Begun:
    """Begin to send a CT (NIfTI, NRRD, MetaImage, or a zip of a DICOM series), or go on where a cut left off. 200 and the CT where
    it is there already."""
    known = server.uploads.known(user, identity=new.volume or "", sha256=new.sha256)
    if known is not None:
        response.status_code = 200
        return schemas.Begun(volume=_facts(server.volume(user, known["id"])))
    row = server.uploads.begin(user, new.size, new.sha256)
    response.headers["Location"] = f"/v1/uploads/{row['id']}"
    return schemas.Begun(upload=_upload(server, row))


@api.get("/uploads/{upload}")
async def upload_state(upload: Id, server: Here, user: User) -> schemas.UploadState:
    """How far an upload has come."""
    return _upload(server, server.uploads.get(user, upload))


@api.patch(
    "/uploads/{upload}",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def send_piece(
    upload: Id, request: Request, server: Here, user: User, upload_offset: Annotated[int, Header(ge=0, le=1 << 50)]
) -> schemas.UploadState:
    """Send the next piece, which begins at the byte `Upload-Offset`."""
    row = server.uploads.get(user, upload)
    before = server.uploads.offset(row)
    end = await server.uploads.append(row, upload_offset, request.stream())
    server.metrics.uploaded.inc(end - before)
    return _upload(server, row)


@api.post("/uploads/{upload}/finish", status_code=201)
async def finish_upload(upload: Id, server: Here, user: User) -> schemas.VolumeFacts:
    """Check the file and read it: the CT, or the sentence that says why it is none."""
    row = await server.uploads.finish(server.uploads.get(user, upload))
    server.audit.write(user, "upload", bytes=row["bytes"])
    return _facts(row)


@api.delete("/uploads/{upload}", status_code=204)
async def delete_upload(upload: Id, server: Here, user: User) -> None:
    """Give an upload up."""
    server.uploads.delete(server.uploads.get(user, upload))


@api.post("/references", status_code=201, responses={502: REPLIES[502]})
async def fetch_reference(wanted: schemas.Reference, server: Here, user: User) -> schemas.VolumeFacts:
    """Fetch a series from the archive that the server was given, and read it: the CT, or the sentence that says why it is none."""
    row = await server.references.fetch(user, wanted.study, wanted.series)
    server.audit.write(user, "fetch", bytes=row["bytes"])
    return _facts(server.volume(user, row["id"]))


@api.get("/volumes")
async def volumes(server: Here, user: User) -> list[schemas.VolumeFacts]:
    """Your CTs."""
    return [_facts(row) for row in server.store.all("SELECT * FROM volume WHERE user = ? ORDER BY used", user)]


@api.get("/volumes/{volume}")
async def volume_facts(volume: VolumeId, server: Here, user: User) -> schemas.VolumeFacts:
    """Shape and place of a CT."""
    return _facts(server.volume(user, volume))


@api.delete("/volumes/{volume}", status_code=204)
async def delete_volume(volume: VolumeId, server: Here, user: User) -> None:
    """Delete a CT with all that was answered about it, now."""
    server.delete_volume(server.volume(user, volume))
    server.audit.write(user, "delete", what="volume")


@api.get("/volumes/{volume}/objects")
async def objects_inside(volume: VolumeId, server: Here, user: User) -> schemas.Shown:
    """Which objects a CT shows, before any look. Waits its turn."""
    row = server.volume(user, volume)
    return schemas.Shown(**await server.queue.result(Job(user, f"inside {row['key']}", server.file_of(row))))


# ---------------------------------------------------------------- questions


@api.post("/questions", responses=EVENTS, response_class=StreamingResponse)
async def ask(asked: schemas.Question, server: Here, user: User) -> StreamingResponse:
    """Ask, and read the answer as it comes. `Location` names the question: go on reading there after a cut, or cancel it. An
    answer that nobody reads for a while is cancelled."""
    _check_text(asked)
    volume = server.volume(user, asked.volume)
    conversation = server.store.conversation(user, volume["id"], asked.conversation)
    edited = {key: str(_edited(server, conversation, key)) for key in asked.edited}
    plain = {f.name: getattr(asked, f.name) for f in fields(Asked)}
    request = Asked(**{**plain, "volume": volume["key"], "conversation": conversation["id"], "edited": edited})
    job = server.queue.put(
        Job(
            user,
            conversation["id"],
            server.file_of(volume),
            request=request,
            known=asked.known,
            answered=max(conversation["answered"], min(asked.answered, 10**5)),
        )
    )
    server.audit.write(
        user,
        "ask",
        text=bool(asked.text.strip()),
        prompts=len(asked.clicks) + len(asked.boxes) + len(asked.scribbles),
        edited=len(edited),
    )
    return _streamed(server.queue.stream(job), {"Location": f"/v1/questions/{job.id}", "Conversation": conversation["id"]})


@api.get("/questions/{question}")
async def question_state(question: Id, server: Here, user: User) -> schemas.QuestionState:
    """Whether a question is answered."""
    return _question(server, server.question(user, question))


@api.get("/questions/{question}/events", responses=EVENTS, response_class=StreamingResponse)
async def events(
    question: Id, server: Here, user: User, last_event_id: Annotated[int, Header(ge=-1, le=1 << 31)] = -1
) -> StreamingResponse:
    """The events after `Last-Event-ID`: of an answer that is being made, as they come; of an old one, at once."""
    server.question(user, question)
    job = server.queue.jobs.get(question)
    return _streamed(server.queue.stream(job, last_event_id) if job is not None else _recorded(server, question, last_event_id))


@api.delete("/questions/{question}", status_code=202)
async def cancel(question: Id, server: Here, user: User) -> None:
    """Cancel: the stream ends with `Cancelled`, or with `Done` where it was just over."""
    server.question(user, question)
    if (job := server.queue.jobs.get(question)) is not None:
        server.queue.cancel(job)
        server.audit.write(user, "cancel")


# ---------------------------------------------------------------- conversations and their files


@api.post("/conversations")
async def open_conversation(new: schemas.NewConversation, server: Here, user: User) -> schemas.ConversationFacts:
    """The conversation with this name about a CT; it is made where there is none."""
    _check_name(new.name)
    return _talk(server, server.store.conversation(user, server.volume(user, new.volume)["id"], new.name))


@api.get("/conversations")
async def conversations(
    server: Here, user: User, volume: Annotated[str, Query(pattern=HEX64)] | None = None
) -> list[schemas.ConversationFacts]:
    """Your conversations, or those about one CT."""
    rows = server.store.all("SELECT * FROM conversation WHERE user = ?", user)
    return [_talk(server, row) for row in rows if volume in (None, row["volume"])]


@api.get("/conversations/{conversation}")
async def conversation_facts(conversation: Id, server: Here, user: User) -> schemas.ConversationFacts:
    """The questions of a conversation; their events are the answers."""
    return _talk(server, server.conversation(user, conversation))


@api.delete("/conversations/{conversation}", status_code=204)
async def delete_conversation(conversation: Id, server: Here, user: User) -> None:
    """Delete a conversation with its masks, now. Its CT stays."""
    server.delete_conversation(server.conversation(user, conversation))
    server.audit.write(user, "delete", what="conversation")


@api.get(
    "/conversations/{conversation}/masks/{path}",
    responses={200: {"content": {"application/octet-stream": BINARY, "application/gzip": BINARY}}},
    response_class=Response,
)
async def mask(
    conversation: Id, path: str, server: Here, user: User, form: Annotated[str, Query(pattern="^(bits|nifti)$")] = "bits"
) -> Response:
    """A mask, by the `path` of its event: its crop as bits [i, j, k], k fastest, eight to a byte; or NIfTI on the CT's grid."""
    row = server.conversation(user, conversation)
    event = _mask_event(server, conversation, path)
    crop = load_mask(event, server.folder_of_conversation(conversation))
    if form == "bits":
        return Response(np.packbits(crop > 0).tobytes(), media_type="application/octet-stream")
    packed = await asyncio.to_thread(nifti, server.file_of(server.volume(user, row["volume"])), event, crop, server.store.folder)
    return Response(
        packed, media_type="application/gzip", headers={"Content-Disposition": f'attachment; filename="{event.object}.nii.gz"'}
    )


@api.put("/conversations/{conversation}/edited/{object}", status_code=204)
async def put_edited(conversation: Id, object: ObjectId, edited: schemas.Edited, server: Here, user: User) -> None:
    """Send a mask that a person changed; the next question names the object in `edited`."""
    row = server.conversation(user, conversation)
    shape = json.loads(server.volume(user, row["volume"])["facts"])["shape"]
    crop = unpacked(edited, shape)
    await asyncio.to_thread(write_crop, _edited_path(server, conversation, object), crop, edited.first_voxel)


@api.post("/conversations/{conversation}/export")
async def export(conversation: Id, new: schemas.NewExport, server: Here, user: User) -> schemas.Exported:
    """Have everything written: masks (NIfTI), segmentation (.seg.nrrd), DICOM, markups, answer.json, report. Waits its turn."""
    row = server.conversation(user, conversation)
    folder = server.export_folder(conversation)
    shutil.rmtree(folder, ignore_errors=True)
    volume = server.file_of(server.volume(user, row["volume"]))
    _check_name(new.accepted_by)
    export = {"folder": folder, "rejected": new.rejected, "dicom": new.dicom, "accepted_by": new.accepted_by}
    done = await server.queue.result(Job(user, conversation, volume, export=export))
    server.audit.write(user, "export")
    return schemas.Exported(files=done["files"], paths=sorted(exported(folder)), notes=done["notes"])


@api.get(
    "/conversations/{conversation}/export.zip",
    responses={200: {"content": {"application/zip": BINARY}}},
    response_class=FileResponse,
)
async def exported_zip(conversation: Id, server: Here, user: User) -> FileResponse:
    """Everything that was exported, as one file."""
    server.conversation(user, conversation)
    folder = server.export_folder(conversation)
    if not exported(folder):
        raise not_found("export")
    return FileResponse(await asyncio.to_thread(zipped, folder), media_type="application/zip", filename="ctreasoner.zip")


@api.get("/conversations/{conversation}/export/{path:path}", responses=FILE, response_class=FileResponse)
async def exported_file(conversation: Id, path: str, server: Here, user: User) -> FileResponse:
    """One file of an export, by its path there."""
    server.conversation(user, conversation)
    found = exported(server.export_folder(conversation)).get(path)
    if found is None:
        raise not_found("file")
    return FileResponse(found, media_type="application/octet-stream", filename=found.name)


# ---------------------------------------------------------------- inside


def _facts(row: sqlite3.Row) -> schemas.VolumeFacts:
    facts = json.loads(row["facts"])
    return schemas.VolumeFacts(
        id=row["id"], bytes=row["bytes"], **{k: facts[k] for k in ("shape", "spacing_mm", "affine", "notes")}
    )


def _upload(server: Server, row: sqlite3.Row) -> schemas.UploadState:
    return schemas.UploadState(
        id=row["id"], size=row["size"], offset=server.uploads.offset(row), chunk=server.settings.limits.chunk_bytes
    )


def _question(server: Server, row: sqlite3.Row) -> schemas.QuestionState:
    count = server.store.one("SELECT count(*) AS n FROM event WHERE question = ?", row["id"])["n"]
    return schemas.QuestionState(id=row["id"], conversation=row["conversation"], state=row["state"], text=row["text"], events=count)


def _talk(server: Server, row: sqlite3.Row) -> schemas.ConversationFacts:
    asked = server.store.all("SELECT * FROM question WHERE conversation = ? ORDER BY made", row["id"])
    return schemas.ConversationFacts(
        id=row["id"], volume=row["volume"], name=row["name"], questions=[_question(server, q) for q in asked]
    )


def _check_text(asked: schemas.Question) -> None:
    _check_name(asked.conversation)
    if not (asked.text + "".join(asked.known) + "".join(asked.known.values())).isascii():
        _check_name(asked.text + "".join(asked.known.values()), most=10**6)


def _check_name(text: str, most: int = 200) -> None:
    """Refuse halves of characters, which no file and no database takes."""
    if len(text) > most or any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise UsageError("The text is too long, or is no text.", code="CTR-SRV-012")


def _streamed(stream: AsyncIterator[tuple[int, str, str] | None], headers: dict[str, str] | None = None) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        async for event in stream:
            yield ": the line is open\n\n" if event is None else "id: {}\nevent: {}\ndata: {}\n\n".format(*event)

    return StreamingResponse(lines(), media_type=STREAM, headers={"X-Accel-Buffering": "no", **(headers or {})})


async def _recorded(server: Server, question: str, after: int) -> AsyncIterator[tuple[int, str, str]]:
    for row in server.store.events(question, after):
        yield row["seq"], row["type"], row["line"]


def _mask_event(server: Server, conversation: str, path: str) -> Mask:
    """Return the event that names a mask: what no event names is not looked for on the disk."""
    rows = server.store.all(
        "SELECT line FROM event JOIN question ON question.id = event.question WHERE conversation = ? "
        "AND type = 'Mask' ORDER BY made DESC",
        conversation,
    )
    found = next((e for e in (from_json(row["line"]) for row in rows) if e.path == path), None)
    if found is None:
        raise not_found("mask")
    return found


def _edited_path(server: Server, conversation: str, object: str) -> Path:
    return server.folder_of_conversation(conversation) / EDITED / f"{object}.npz"


def _edited(server: Server, conversation: sqlite3.Row, object: str) -> Path:
    import re

    path = _edited_path(server, conversation["id"], object)
    if not re.fullmatch(schemas.OBJECT, object) or not path.is_file():
        raise UsageError("A changed mask is named that was not sent.", code="CTR-SRV-020", hint="PUT it under /edited first.")
    return path
