"""What an archive can do, whichever protocol it speaks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from ..dicom.archive import Member
from ..errors import InputError
from .address import Access, Address

UID = re.compile(r"[0-9]+(\.[0-9]+)*")


@dataclass(frozen=True)
class Study:
    """One study as a server lists it; ``images`` is None where it does not say."""

    uid: str
    date: str
    description: str
    patient_id: str
    patient_name: str
    modalities: str
    images: int | None


@dataclass(frozen=True)
class StudySeries:
    """One series of a study as a server lists it."""

    uid: str
    number: str
    modality: str
    description: str
    images: int | None


@dataclass(frozen=True)
class Remote:
    """One object on a server."""

    study: str
    series: str
    uid: str
    sop_class: str


@dataclass(frozen=True)
class Outgoing:
    """One file that is to be stored."""

    study: str
    series: str
    uid: str
    sop_class: str
    syntax: str
    member: Member


class Archive(Protocol):
    """The interface of ``web.WebArchive`` and ``dimse.DimseArchive``; each method raises ``NetworkError`` in one sentence."""

    address: Address

    def studies(self, *, patient_id: str = "", date: str = "") -> list[Study]: ...

    def series(self, study: str) -> list[StudySeries]: ...

    def objects(self, study: str, series: str | None = None) -> list[Remote]: ...

    def fetch(self, wanted: Sequence[Remote]) -> Iterator[tuple[Remote, bytes]]:
        """Yield each object with the bytes of its DICOM file, as they come."""

    def store(self, files: Sequence[Outgoing]) -> Iterable[tuple[Outgoing, str]]:
        """Store files; return each that was answered for, with "" or why it was not taken."""


def open_archive(address: Address, access: Access, *, timeout_s: float = 60.0) -> Archive:
    """Return what speaks to an address; nothing is sent yet."""
    access.check(address)
    if address.url:
        from .web import WebArchive

        return WebArchive(address, access, timeout_s)
    from .dimse import DimseArchive

    return DimseArchive(address, access, timeout_s)


def checked_uid(value: object, what: str) -> str:
    """Return a UID that is one: it goes into addresses and requests."""
    text = str(value or "")
    if len(text) > 64 or not UID.fullmatch(text):
        raise InputError(f"The identifier of {what} is no DICOM UID.", code="CTR-IO-040")
    return text
