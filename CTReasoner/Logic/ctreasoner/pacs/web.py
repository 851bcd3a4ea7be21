"""An archive over DICOMweb (PS3.18): QIDO-RS and STOW-RS through dicomweb-client, WADO-RS as raw bytes with a limit."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from urllib.parse import quote

import pydicom
import requests
from dicomweb_client import DICOMwebClient
from pydicom.datadict import tag_for_keyword

from ..errors import CTReasonerError, NetworkError
from . import problems
from .address import Access, Address
from .archive import Outgoing, Remote, Study, StudySeries, checked_uid

CONNECT_S = 10.0
PAGE = 1000
LARGEST = 2 << 30  # bytes of one object
DUPLICATE = 0x0111  # failure reasons of PS3.18 table I.2-2 are those of C-STORE, PS3.4 table B.2-1
NO_SPACE = range(0xA700, 0xA800)


class WebArchive:
    """See ``archive.Archive``."""

    def __init__(self, address: Address, access: Access, timeout_s: float) -> None:
        self.address, self.timeout_s = address, timeout_s
        self._session = requests.Session()
        weakref.finalize(self, self._session.close)
        self._session.max_redirects = 0  # an archive that sends us elsewhere is not the one that was named
        self._session.auth = _Auth(access)
        self._session.mount("https://", _Trusting(access))
        self._client = DICOMwebClient(address.url, session=self._session, timeout=(CONNECT_S, timeout_s), permissive_uid=True)
        self._client.set_http_retry_params(retry=False)  # its retry sends the body of a large POST only once: transfer.py retries

    # --- QIDO-RS ---------------------------------------------------------------------------------------------------------
    def studies(self, *, patient_id: str = "", date: str = "") -> list[Study]:
        filters = {"PatientID": patient_id, "StudyDate": date}
        filters = {name: value for name, value in filters.items() if value}
        found: dict[str, Study] = {}
        with self._sentences():
            while True:
                rows = self._client.search_for_studies(search_filters=filters, limit=PAGE, offset=len(found),
                                                       fields=["StudyDescription", "ModalitiesInStudy"])
                new = {study.uid: study for study in map(_study, rows) if study.uid not in found}
                found |= new
                if not new or len(rows) < PAGE:  # as in `objects`
                    return list(found.values())

    def series(self, study: str) -> list[StudySeries]:
        with self._sentences():
            rows = self._client.search_for_series(study_instance_uid=study, fields=["SeriesDescription", "SeriesNumber"])
            return [StudySeries(uid=checked_uid(_value(row, "SeriesInstanceUID"), "a series"), number=_value(row, "SeriesNumber"),
                                modality=_value(row, "Modality"), description=_value(row, "SeriesDescription"),
                                images=_number(_value(row, "NumberOfSeriesRelatedInstances"))) for row in rows]

    def objects(self, study: str, series: str | None = None) -> list[Remote]:
        found: dict[str, Remote] = {}
        with self._sentences():
            while True:
                rows = self._client.search_for_instances(study_instance_uid=study, series_instance_uid=series, limit=PAGE,
                                                         offset=len(found), fields=["SeriesInstanceUID"])
                new = {r.uid: r for r in (_remote(study, row) for row in rows) if r.uid not in found}
                found |= new
                if not new or len(rows) < PAGE:  # a server that knows no offset sends the same page again
                    return list(found.values())

    # --- WADO-RS ---------------------------------------------------------------------------------------------------------
    def fetch(self, wanted: Sequence[Remote]) -> Iterator[tuple[Remote, bytes]]:
        for remote in wanted:
            path = "/".join(("studies", quote(remote.study), "series", quote(remote.series), "instances", quote(remote.uid)))
            accept = 'multipart/related; type="application/dicom"; transfer-syntax=*'
            with self._sentences():
                response = self._session.get(f"{self.address.url}/{path}", headers={"Accept": accept}, stream=True,
                                             timeout=(CONNECT_S, self.timeout_s))
                with response:
                    response.raise_for_status()
                    body = _bounded(response, self.address)
                yield remote, _only_part(body, response.headers.get("Content-Type", ""), self.address)

    # --- STOW-RS ---------------------------------------------------------------------------------------------------------
    def store(self, files: Sequence[Outgoing]) -> Iterator[tuple[Outgoing, str]]:
        with self._sentences():
            answer = self._client.store_instances([pydicom.dcmread(BytesIO(file.member.read(-1))) for file in files])
        taken = {str(item.ReferencedSOPInstanceUID) for item in answer.get("ReferencedSOPSequence") or []}
        failed = {str(item.get("ReferencedSOPInstanceUID")): int(item.get("FailureReason") or 0)
                  for item in answer.get("FailedSOPSequence") or []}
        if any(reason in NO_SPACE for reason in failed.values()):
            raise problems.full(self.address)
        for file in files:
            reason = failed.get(file.uid)
            if file.uid in taken or reason == DUPLICATE:
                yield file, ""
            elif reason is not None:
                yield file, f"failure reason {reason:04X}"  # not answered for: not yielded, so not stored

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Turn what the libraries raise into one sentence."""
        try:
            yield
        except CTReasonerError:
            raise
        except requests.exceptions.SSLError as error:
            raise problems.certificate(self.address) from error
        except requests.exceptions.Timeout as error:
            raise problems.slow(self.address, self.timeout_s) from error
        except requests.exceptions.HTTPError as error:
            raise _of_status(self.address, error.response) from error
        except requests.exceptions.TooManyRedirects as error:
            raise problems.odd(self.address, "the address of another server") from error
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            raise problems.unreachable(self.address) from error
        except (requests.exceptions.RequestException, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise problems.odd(self.address, "something that is not DICOMweb") from error


def _of_status(where: Address, response: requests.Response) -> NetworkError:
    status = response.status_code
    if status in (401, 403):
        return problems.refused(where, status)
    if status == 404:
        return problems.absent("such study, series or service")
    if status == 413:
        return problems.too_large(where)
    if status == 507:
        return problems.full(where)
    if status in (408, 425, 429, 500, 502, 503, 504):
        return problems.busy(where, status)
    return problems.odd(where, f"HTTP {status}")


class _Auth(requests.auth.AuthBase):
    """Basic or bearer, or nothing; being an auth object it also keeps a .netrc out."""

    def __init__(self, access: Access) -> None:
        self._basic = requests.auth.HTTPBasicAuth(access.user.encode(), access.password.encode()) if access.user else None
        self._token = access.token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        return self._basic(request) if self._basic else request


class _Trusting(requests.adapters.HTTPAdapter):
    """Trusts the authority that the user named; ``session.verify`` would yield to a variable of the environment."""

    def __init__(self, access: Access) -> None:
        super().__init__()
        self._ca = str(access.ca) if access.ca else None

    def send(self, request, **options):  # type: ignore[override]
        if self._ca:
            options["verify"] = self._ca
        return super().send(request, **options)


def _bounded(response: requests.Response, where: Address) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(1 << 20):
        body += chunk
        if len(body) > LARGEST:
            raise problems.odd(where, "an object without an end")
    return bytes(body)


def _only_part(body: bytes, content_type: str, where: Address) -> bytes:
    """Return the one DICOM file of a multipart/related body (RFC 2387), or a bare application/dicom one."""
    if content_type.startswith("application/dicom"):
        return body
    options = dict(part.strip().partition("=")[::2] for part in content_type.split(";")[1:])
    boundary = b"--" + options.get("boundary", "").strip('"').encode()
    start = body.find(b"\r\n\r\n", body.find(boundary))
    end = body.find(b"\r\n" + boundary, start + 4)
    if len(boundary) == 2 or start < 0 or end < 0:
        raise problems.PassingError(f"The server {where} broke off in the middle of an object.", code="CTR-NET-010")
    return body[start + 4 : end]


def _study(row: dict) -> Study:
    return Study(uid=checked_uid(_value(row, "StudyInstanceUID"), "a study"), date=_value(row, "StudyDate"),
                 description=_value(row, "StudyDescription"), patient_id=_value(row, "PatientID"),
                 patient_name=_value(row, "PatientName"), modalities=_value(row, "ModalitiesInStudy"),
                 images=_number(_value(row, "NumberOfStudyRelatedInstances")))


def _remote(study: str, row: dict) -> Remote:
    return Remote(study=study, series=checked_uid(_value(row, "SeriesInstanceUID"), "a series"),
                  uid=checked_uid(_value(row, "SOPInstanceUID"), "an image"),
                  sop_class=checked_uid(_value(row, "SOPClassUID"), "a class of objects"))


def _value(row: dict, keyword: str) -> str:
    """Return a value of the DICOM JSON model (PS3.18 annex F) as text; several with spaces between; "" where there is none."""
    values = row.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value") or []
    return " ".join(str(v.get("Alphabetic", "")) if isinstance(v, dict) else str(v) for v in values if v is not None)


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else None
