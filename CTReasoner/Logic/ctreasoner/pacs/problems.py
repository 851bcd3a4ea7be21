"""What can go wrong with an archive, each in one sentence; ``PassingError`` is worth another try."""

from __future__ import annotations

from ..errors import NetworkError


class PassingError(NetworkError):
    """The other side was busy, slow, down or cut off: the same request may succeed a little later."""


class TooLargeError(NetworkError):
    """The other side takes less at a time."""


def unreachable(where: object) -> PassingError:
    return PassingError(f"The server {where} cannot be reached, or closed the connection.", code="CTR-NET-010",
                        hint="Check the address and whether the server runs; then give the same command again: it goes on.")


def slow(where: object, seconds: float) -> PassingError:
    return PassingError(f"The server {where} did not answer within {seconds:g} seconds.", code="CTR-NET-011",
                        hint="Give the same command again later: it goes on where it stopped.")


def busy(where: object, status: int) -> PassingError:
    return PassingError(f"The server {where} is busy or out of order (HTTP {status}).", code="CTR-NET-012",
                        hint="Give the same command again later: it goes on where it stopped.")


def refused(where: object, status: int) -> NetworkError:
    return NetworkError(f"The server {where} does not let us in (HTTP {status}).", code="CTR-NET-013",
                        hint="Check user and password, or the token, and what they allow.")


def certificate(where: object) -> NetworkError:
    return NetworkError(f"The certificate of the server {where} is not trusted.", code="CTR-NET-014",
                        hint="Give the file of the authority that signed it with --ca.")


def no_tls(where: object) -> NetworkError:
    return NetworkError(f"The server {where} does not agree to an encrypted connection.", code="CTR-NET-021",
                        hint="It may want a certificate of yours (--cert), or not encrypt at this port (dicom://).")


def too_large(where: object) -> TooLargeError:
    return TooLargeError(f"The server {where} does not take an object of this size (HTTP 413).", code="CTR-NET-015",
                         hint="Whoever runs the server can raise its limit.")


def full(where: object) -> NetworkError:
    return NetworkError(f"The server {where} has no space left.", code="CTR-NET-016",
                        hint="Tell whoever runs it; then give the same command again: it goes on where it stopped.")


def odd(where: object, what: str) -> NetworkError:
    return NetworkError(f"The server {where} answered with {what}.", code="CTR-NET-017",
                        hint="Check that the address is that of its DICOM service.")


def absent(what: str) -> NetworkError:
    return NetworkError(f"The server has no {what}.", code="CTR-NET-018")
