"""What a server is told when it starts: where it listens, where it keeps things, and how much of everything."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UsageError

PORT = 8642
GIB = 1 << 30


@dataclass(frozen=True)
class Limits:
    """Bytes, seconds and counts. What exceeds one is refused with a sentence that names it."""

    upload_bytes: int = 4 * GIB  # of one file; the packed CT of 4,000 slices has about 1.5 GiB
    chunk_bytes: int = 16 << 20
    body_bytes: int = 2 << 20  # of a question: a scribble of 20,000 points
    parse_bytes: int = 8 * GIB  # address space of the process that reads an upload
    parse_s: float = 300.0
    user_bytes: int = 40 * GIB  # of one user's CTs and uploads, as stored
    user_uploads: int = 8  # begun and not finished
    user_open: int = 8  # questions and exports of one user that wait or are being answered
    open: int = 64  # of all users
    grace_s: float = 30.0  # an answer that nobody has listened to for so long is cancelled
    drain_s: float = 120.0  # on SIGTERM, for what is being answered
    retention_h: float = 24.0  # a CT, with all that was answered about it, after its last use
    warm_volumes: int = 8  # CTs that the engine keeps in mind


@dataclass(frozen=True)
class Settings:
    """How a server is run.

    data : the folder of its database, CTs and answers, readable by its user alone.
    worker : arguments for the engine's process, as `client.worker` takes them.
    archive, access : where CTs are fetched from by reference ("": nowhere), and the arguments of `pacs.address.Access.read`.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = PORT
    tls_cert: Path | None = None
    tls_key: Path | None = None
    behind_proxy: bool = False
    worker: tuple[str, ...] = ()
    archive: str = ""
    access: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    @property
    def is_loopback(self) -> bool:
        """Whether no other computer can reach this server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def needs_token(self) -> bool:
        """Everywhere but on loopback without a proxy, through which others come in."""
        return self.behind_proxy or not self.is_loopback

    def check(self) -> None:
        """Raise UsageError where somebody could listen in, or files that are named are not there."""
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("TLS needs both --tls-cert and --tls-key.", code="CTR-SRV-016")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise UsageError(f"There is no file {path.name} for TLS.", code="CTR-SRV-016")
        if not self.is_loopback and self.tls_cert is None and not self.behind_proxy:
            raise UsageError(
                f"{self.host} can be reached from other computers: give --tls-cert and --tls-key, "
                "or say --behind-proxy where a proxy does the encryption.",
                code="CTR-SRV-016",
            )
