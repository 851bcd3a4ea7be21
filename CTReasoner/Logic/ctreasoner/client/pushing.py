"""An export on its way to an archive. Runs in the engine's process alone; `ctreasoner push` goes the same way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..pacs.transfer import Pushed


def push_folder(folder: str | Path, address: str, *, token: str = "", certificate: str = "", without_patient: bool = False,
                say: Callable[[str], None] = lambda words: None) -> Pushed:
    """Store the DICOM objects of a folder in an archive; return how many it took now, and how many it had.

    Parameters
    ----------
    address : as `pacs.address.Address.parse` reads it. token : bearer token, "" for none.
    certificate : file of the authority that signed the server's certificate, "" for the public ones.
    without_patient : send also what was derived from a CT without a patient.

    Raises
    ------
    UsageError : the address, the certificate, a token that would go unencrypted, packages that are lacking.
    UsageError, InputError, NetworkError : as `pacs.transfer.push` does.
    """
    from ..pacs.address import Access, Address

    where = Address.parse(address)
    access = replace(Access.read(ca=Path(certificate) if certificate else None), token=token)
    try:
        from ..pacs.archive import open_archive
        from ..pacs.transfer import push

        archive = open_archive(where, access)
    except ImportError as error:
        raise UsageError("Sending to an archive needs more packages in the engine's Python.", code="CTR-USE-025",
                         hint="Install the engine again.") from error
    return push(archive, Path(folder), without_patient=without_patient, say=say)
