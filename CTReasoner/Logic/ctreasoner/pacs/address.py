"""Whom to ask and as whom: the address of an archive, and what it wants to see before it answers."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ..errors import UsageError

HINT = "For example https://pacs.example.org/dicom-web, or dicoms://ORTHANC@pacs.example.org:4242 (AE title, host, port)."


@dataclass(frozen=True)
class Address:
    """An archive. ``url`` is set for DICOMweb, ``title`` (its AE title) for DIMSE, which is ``encrypted`` when asked (dicoms://)."""

    host: str
    port: int
    url: str = ""
    title: str = ""
    encrypted: bool = False

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read an address as it is typed; raises ``UsageError``."""
        try:
            parts = urlsplit(text)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            host, port, parts = "", None, urlsplit("")
        if parts.scheme in ("http", "https") and host and not parts.query and not parts.fragment:
            if parts.username or parts.password:
                raise UsageError("An address with a password in it can be seen by everybody on this computer.",
                                 code="CTR-USE-022", hint="Give --user and --password-file.")
            return cls(host, port or (443 if parts.scheme == "https" else 80), url=text.rstrip("/"))
        if parts.scheme in ("dicom", "dicoms") and host and port and parts.username and len(parts.username) <= 16:
            return cls(host, port, title=parts.username, encrypted=parts.scheme == "dicoms")
        raise UsageError(f"{text!r} is no address of a DICOMweb or DICOM server.", code="CTR-USE-020", hint=HINT)

    @property
    def is_loopback(self) -> bool:
        """Whether it is this computer."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Access:
    """What an archive wants to see: a user and password (basic), a token (bearer), and which authority signs its certificate.

    ca : file with the certificates that are trusted instead of the public ones; None for those.
    certificate : file with our own certificate and its private key (PEM), for servers that ask for one (dicoms://).
    calling : our AE title (DIMSE).
    """

    user: str = ""
    password: str = ""
    token: str = ""
    ca: Path | None = None
    certificate: Path | None = None
    calling: str = "CTREASONER"

    @classmethod
    def read(cls, *, user: str | None = None, password_file: Path | None = None, token_file: Path | None = None,
             ca: Path | None = None, certificate: Path | None = None, calling: str = "CTREASONER") -> Access:
        """Take secrets out of files, where other people on the computer do not see them as they see a command line."""
        if bool(user) != bool(password_file) or (user and token_file):
            raise UsageError("Give either --user with --password-file, or --token-file.", code="CTR-USE-021")
        for path in (ca, certificate):
            if path is not None and not path.is_file():
                raise UsageError(f"There is no file {path.name!r} with certificates.", code="CTR-USE-023")
        if not 0 < len(calling) <= 16:
            raise UsageError("An AE title has 1 to 16 characters.", code="CTR-USE-020")
        return cls(user or "", _secret(password_file), _secret(token_file), ca, certificate, calling)

    def check(self, address: Address) -> None:
        """Refuse to send a secret where everybody on the way can read it."""
        if (self.password or self.token) and address.url.startswith("http:") and not address.is_loopback:
            raise UsageError("A password or token is sent over https only.", code="CTR-USE-022", hint="Use an https:// address.")

    def tls(self) -> ssl.SSLContext:
        """The context of an encrypted connection: whom we trust, and who we are; raises ``UsageError``."""
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except ssl.SSLError as error:
            raise UsageError(f"The file {self.ca.name!r} holds no certificates (PEM).", code="CTR-USE-023") from error
        if self.certificate is not None:
            try:
                context.load_cert_chain(self.certificate)
            except ssl.SSLError as error:
                raise UsageError(f"The file {self.certificate.name!r} does not hold a certificate and its private key (PEM).",
                                 code="CTR-USE-023") from error
        return context


def _secret(path: Path | None) -> str:
    """Return the first line of a file."""
    if path is None:
        return ""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The file {path.name!r} cannot be read.", code="CTR-USE-023") from error
    if not lines or not lines[0].strip():
        raise UsageError(f"The file {path.name!r} is empty.", code="CTR-USE-023")
    return lines[0].strip()
