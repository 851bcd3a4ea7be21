"""Unique identifiers that depend on content alone: the same answer exports to the same instances."""

from __future__ import annotations

import hashlib
import uuid


def content_uid(*parts: object) -> str:
    """Return a UID ("2.25." and a UUID as decimal, DICOM PS3.5 B.2) that is a function of ``parts``.

    >>> content_uid("ct", 1) == content_uid("ct", 1), content_uid("ct", 1) == content_uid("ct", 2)
    (True, False)
    """
    digest = hashlib.sha256("\x1f".join(["ctreasoner", *map(str, parts)]).encode()).digest()
    return f"2.25.{uuid.UUID(bytes=digest[:16], version=5).int}"
