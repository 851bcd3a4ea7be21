"""What goes over HTTP beside requests and events of the contract."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from fastapi import Path as InPath
from pydantic import BaseModel, Field, WithJsonSchema

from ..events import Request

HEX32, HEX64 = r"^[0-9a-f]{32}$", r"^[0-9a-f]{64}$"
OBJECT = r"^a[0-9]{1,6}\.o[0-9]{1,6}$"
Id = Annotated[str, InPath(pattern=HEX32)]
VolumeId = Annotated[str, InPath(pattern=HEX64, description="sha256 of voxels and affine, as `Volume.identity`")]
ObjectId = Annotated[str, InPath(pattern=OBJECT)]
PAIR = {"type": "array", "items": {"type": ["string", "number"]}, "minItems": 2, "maxItems": 2}  # few readers know prefixItems
State = Literal["open", "done", "cancelled", "failed"]


@dataclass(frozen=True, kw_only=True)
class Question(Request):
    """A `Request` of the contract. Over HTTP `volume` is the id of a CT that was uploaded, and the values of `edited` are not
    read: a changed mask is sent before.

    answered : answers of this conversation that another engine gave; ids go on from there.
    known : object id -> vocabulary key of objects of such answers.
    """

    answered: int = 0
    known: dict[str, str] = field(default_factory=dict)


class NewUpload(BaseModel):
    size: int = Field(ge=1, le=1 << 50, description="Bytes of the file")
    sha256: str = Field(pattern=HEX64, description="Of the file")
    volume: str | None = Field(None, pattern=HEX64, description="`Volume.identity`, where the sender knows it")


class Reference(BaseModel):
    study: str = Field(max_length=64, description="StudyInstanceUID in the server's archive")
    series: str = Field(max_length=64, description="SeriesInstanceUID, or the number of the series")


class UploadState(BaseModel):
    id: str
    size: int
    offset: int = Field(description="The next byte that is missing")
    chunk: int = Field(description="Most bytes of one piece")


class VolumeFacts(BaseModel):
    id: str
    shape: list[int]
    spacing_mm: list[float]
    affine: list[list[float]] = Field(description="Voxel index -> RAS mm")
    notes: list[str] = Field(description="What reading changed, one sentence each")
    bytes: int


class Begun(BaseModel):
    """An upload to go on with, or the CT where it is there already."""

    upload: UploadState | None = None
    volume: VolumeFacts | None = None


class NewConversation(BaseModel):
    volume: str = Field(pattern=HEX64)
    name: str = Field("default", max_length=200)


class QuestionState(BaseModel):
    id: str
    conversation: str
    state: State
    text: str
    events: int = Field(description="How many there are so far")


class ConversationFacts(BaseModel):
    id: str
    volume: str
    name: str
    questions: list[QuestionState]


class Edited(BaseModel):
    """A mask that a person changed: a crop on the CT's grid."""

    first_voxel: tuple[int, int, int]
    shape: tuple[int, int, int]
    bits: str = Field(
        description="base64 of zlib of the voxels [i, j, k], k fastest, eight to a byte, the first in the highest bit"
    )


class NewExport(BaseModel):
    rejected: list[Annotated[str, Field(pattern=OBJECT)]] = Field([], max_length=1000, description="Objects that are left out")
    dicom: list[Literal["seg", "sr", "keys", "rtstruct"]] = Field(["seg"], max_length=4, description="Which DICOM objects")
    accepted_by: str = Field("", max_length=200, description="Who accepted the findings, for the report")


class Exported(BaseModel):
    files: dict[str, str] = Field(description="What -> path; a folder for masks")
    paths: list[str] = Field(description="Every file")
    notes: list[str]


class Shown(BaseModel):
    """What a CT shows before any look: object key -> [state, probability]."""

    states: dict[str, Annotated[tuple[str, float], WithJsonSchema(PAIR)]]
    is_whole: bool = Field(description="False where the engine was interrupted")


class Info(BaseModel):
    version: str
    protocol: int
    model: dict[str, Any]
    engine: str = Field(description="stopped, starting, ready, busy or failed")
    waiting: int
    limits: dict[str, float]
