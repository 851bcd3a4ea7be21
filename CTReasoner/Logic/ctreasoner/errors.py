"""The error tree: one sentence for people, one stable code for programs, one hint on what to do.

CTReasonerError                 exit 1
├── UsageError                  exit 2    the question, an option or an argument cannot be understood
├── InputError                  exit 3    a file or a value that must not be trusted
│   ├── GeometryError                     an affine, a spacing or a view that makes no sense
│   └── NotACTError                       readable, but not Hounsfield units
├── ModelError                  exit 4    weights missing, corrupt or of another version
├── ResourceError               exit 5    disk or memory
├── NetworkError                exit 6
└── Interrupted                 exit 130  the person said stop
"""

from __future__ import annotations

from collections.abc import Mapping


class CTReasonerError(Exception):
    """Base of all errors that people may see. ``str(error)`` is one sentence without a traceback."""

    exit_code = 1
    default_code = "CTR-000"

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.hint = hint

    def __reduce__(self):  # keyword-only fields survive a trip between processes
        return _rebuild, (type(self), str(self), self.code, self.hint)


def _rebuild(kind: type[CTReasonerError], message: str, code: str, hint: str) -> CTReasonerError:
    return kind(message, code=code, hint=hint)


class UsageError(CTReasonerError):
    """The request itself cannot be understood."""

    exit_code = 2
    default_code = "CTR-USE-000"


class InputError(CTReasonerError):
    """A file or value that cannot be trusted."""

    exit_code = 3
    default_code = "CTR-IO-000"


class GeometryError(InputError):
    """An affine, spacing, box or view that makes no sense."""

    default_code = "CTR-GEO-000"


class NotACTError(InputError):
    """The file is readable, but its values are not Hounsfield units of a CT."""

    default_code = "CTR-IO-100"


class ModelError(CTReasonerError):
    """Weights that are missing, corrupt or of another version."""

    exit_code = 4
    default_code = "CTR-MOD-000"


class ResourceError(CTReasonerError):
    """Disk or memory ran out."""

    exit_code = 5
    default_code = "CTR-RES-000"


class NetworkError(CTReasonerError):
    """A remote side could not be reached or did not keep its protocol."""

    exit_code = 6
    default_code = "CTR-NET-000"


class Interrupted(CTReasonerError):
    """The person said stop."""

    exit_code = 130
    default_code = "CTR-INT-000"


def error_of(failed: Mapping[str, str]) -> CTReasonerError:
    """Return the exception that a ``Failed`` event (or anything else with code, sentence and hint) stands for."""
    kinds = {"USE": UsageError, "IO": InputError, "IN": InputError, "EVT": InputError, "GEO": GeometryError, "MOD": ModelError,
             "MODEL": ModelError, "RES": ResourceError, "NET": NetworkError, "INT": Interrupted}
    code = failed.get("code", "")
    group = code.split("-")[1] if code.count("-") >= 2 else ""
    kind = kinds.get(group, CTReasonerError)
    return kind(failed.get("sentence", "The answer failed."), code=code, hint=failed.get("hint", ""))
