"""An archive over DIMSE (PS3.7, PS3.8) with pynetdicom: C-ECHO, C-FIND, C-GET and C-STORE; over TLS (PS3.15 B) when asked."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    Verification,
)

from ..errors import NetworkError
from . import problems
from .address import Access, Address
from .archive import Outgoing, Remote, Study, StudySeries, checked_uid

# Objects are fetched as they are stored where the server can; each syntax is offered by itself, so that it may choose.
SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless,
            DeflatedExplicitVRLittleEndian)
PENDING = (0xFF00, 0xFF01)
TAKEN = (0x0000, 0x0111, 0xB000, 0xB006, 0xB007)  # success, there already, stored with a remark (PS3.4 table B.2-1)
NO_SPACE = range(0xA700, 0xA800)


class DimseArchive:
    """See ``archive.Archive``."""

    def __init__(self, address: Address, access: Access, timeout_s: float) -> None:
        self.address, self._calling, self.timeout_s = address, access.calling, timeout_s
        self._tls = access.tls() if address.encrypted else None

    def echo(self) -> None:
        """Ask whether somebody is there (C-ECHO)."""
        with self._association([build_context(Verification)]) as association:
            self._status(association.send_c_echo())

    # --- C-FIND ----------------------------------------------------------------------------------------------------------
    def studies(self, *, patient_id: str = "", date: str = "") -> list[Study]:
        rows = self._find("STUDY", PatientID=patient_id, StudyDate=date, StudyInstanceUID="", StudyDescription="", PatientName="",
                          ModalitiesInStudy="", NumberOfStudyRelatedInstances=None)
        return [Study(uid=checked_uid(row.get("StudyInstanceUID"), "a study"), date=_text(row, "StudyDate"),
                      description=_text(row, "StudyDescription"), patient_id=_text(row, "PatientID"),
                      patient_name=_text(row, "PatientName"), modalities=_text(row, "ModalitiesInStudy"),
                      images=_count(row, "NumberOfStudyRelatedInstances")) for row in rows]

    def series(self, study: str) -> list[StudySeries]:
        rows = self._find("SERIES", StudyInstanceUID=study, SeriesInstanceUID="", SeriesNumber=None, Modality="",
                          SeriesDescription="", NumberOfSeriesRelatedInstances=None)
        return [StudySeries(uid=checked_uid(row.get("SeriesInstanceUID"), "a series"), number=_text(row, "SeriesNumber"),
                            modality=_text(row, "Modality"), description=_text(row, "SeriesDescription"),
                            images=_count(row, "NumberOfSeriesRelatedInstances")) for row in rows]

    def objects(self, study: str, series: str | None = None) -> list[Remote]:
        found = []
        for uid in [series] if series else [row.uid for row in self.series(study)]:
            rows = self._find("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=uid, SOPInstanceUID="", SOPClassUID="")
            found += [Remote(study, uid, checked_uid(row.get("SOPInstanceUID"), "an image"),
                             checked_uid(row.get("SOPClassUID"), "a class of objects")) for row in rows]
        return found

    def _find(self, level: str, **keys: str | None) -> list[Dataset]:
        query = Dataset()
        query.QueryRetrieveLevel = level
        for keyword, value in keys.items():
            setattr(query, keyword, value)
        rows = []
        with self._association([build_context(StudyRootQueryRetrieveInformationModelFind)]) as association:
            for status, row in association.send_c_find(query, StudyRootQueryRetrieveInformationModelFind):
                code = self._status(status)
                if code not in (*PENDING, 0x0000):
                    raise problems.odd(self.address, f"the status {code:04X} to a C-FIND")
                if row is not None:
                    rows.append(row)
        return rows

    # --- C-GET -----------------------------------------------------------------------------------------------------------
    def fetch(self, wanted: Sequence[Remote]) -> Iterator[tuple[Remote, bytes]]:
        for sop_class in dict.fromkeys(remote.sop_class for remote in wanted):
            came: list[bytes] = []

            def keep(event: evt.Event, came: list[bytes] = came) -> int:
                came.append(event.encoded_dataset())
                return 0x0000

            contexts = [build_context(StudyRootQueryRetrieveInformationModelGet),
                        *(build_context(sop_class, syntax) for syntax in SYNTAXES)]
            with self._association(contexts, [build_role(sop_class, scp_role=True)], [(evt.EVT_C_STORE, keep)]) as association:
                for remote in (r for r in wanted if r.sop_class == sop_class):
                    came.clear()
                    self._get(association, remote)
                    if len(came) != 1:
                        raise problems.odd(self.address, f"{len(came)} objects where one was asked for")
                    yield remote, came[0]

    def _get(self, association: Association, remote: Remote) -> None:
        query = Dataset()
        query.QueryRetrieveLevel = "IMAGE"
        query.StudyInstanceUID, query.SeriesInstanceUID, query.SOPInstanceUID = remote.study, remote.series, remote.uid
        for status, _ in association.send_c_get(query, StudyRootQueryRetrieveInformationModelGet):
            code = self._status(status)
            if code not in (*PENDING, 0x0000):
                raise problems.odd(self.address, f"the status {code:04X} to a C-GET")

    # --- C-STORE ---------------------------------------------------------------------------------------------------------
    def store(self, files: Sequence[Outgoing]) -> Iterator[tuple[Outgoing, str]]:
        kinds = sorted({(file.sop_class, file.syntax) for file in files})[:128]  # as many as an association can carry
        with self._association([build_context(*kind) for kind in kinds]) as association:
            for file in files:
                try:
                    answer = association.send_c_store(pydicom.dcmread(BytesIO(file.member.read(-1))))
                except ValueError:  # no presentation context was accepted for it
                    yield file, f"the server does not take {pydicom.uid.UID(file.sop_class).name}"
                    continue
                code = self._status(answer)
                if code in NO_SPACE:
                    raise problems.full(self.address)
                yield file, "" if code in TAKEN else f"status {code:04X}"

    # --- association -----------------------------------------------------------------------------------------------------
    @contextmanager
    def _association(self, contexts: list, roles: list | None = None, handlers: list | None = None) -> Iterator[Association]:
        entity = AE(ae_title=self._calling)
        entity.connection_timeout = 10
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = self.timeout_s
        association = entity.associate(self.address.host, self.address.port, contexts=contexts, ae_title=self.address.title,
                                       ext_neg=roles or [], evt_handlers=handlers or [],
                                       tls_args=self._tls and (self._tls, self.address.host))
        if association.is_rejected or (association.is_established is False and association.rejected_contexts):
            raise NetworkError(f"The server {self.address} refuses us or the service that was asked for.",
                                        code="CTR-NET-013", hint="Check both AE titles: its own in the address, ours with --aet.")
        if not association.is_established:
            self._greet()
            raise problems.unreachable(self.address)
        try:
            yield association
        except RuntimeError as error:
            if association.is_established:
                raise
            raise problems.unreachable(self.address) from error  # pynetdicom's word for a request after the end
        finally:
            if association.is_established:
                association.release()

    def _greet(self) -> None:
        """Raise what is wrong with an encrypted connection, if that is what failed: pynetdicom does not say."""
        if self._tls is None:
            return
        try:
            plain = socket.create_connection((self.address.host, self.address.port), 10)
        except OSError:
            return
        try:
            with plain, self._tls.wrap_socket(plain, server_hostname=self.address.host) as encrypted:
                encrypted.settimeout(1)
                encrypted.recv(1)                       # TLS 1.3: a refusal of our own certificate comes after the greeting
        except ssl.SSLCertVerificationError as error:
            raise problems.certificate(self.address) from error
        except TimeoutError:                            # it waits for what we have to say: TLS is not what failed
            return
        except OSError as error:
            raise problems.no_tls(self.address) from error

    def _status(self, status: Dataset) -> int:
        """Return a status code; an empty status means that the other side went away or did not answer in time."""
        if "Status" not in status:
            raise problems.unreachable(self.address)
        return int(status.Status)


def _text(row: Dataset, keyword: str) -> str:
    value = row.get(keyword)
    if isinstance(value, pydicom.multival.MultiValue):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _count(row: Dataset, keyword: str) -> int | None:
    text = _text(row, keyword)
    return int(text) if text.isdigit() else None
