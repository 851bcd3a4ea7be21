"""A DICOMDIR says which images belong to a disc. It is never followed: what lies in its folder is read, and compared with it."""

from __future__ import annotations

from pydicom.tag import Tag

from .header import Header, parse, reading

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage
RECORDS = Tag(0x0004, 0x1220)


def is_directory(header: Header) -> bool:
    """Whether a file is a DICOMDIR, whatever its name."""
    meta = getattr(header.dataset, "file_meta", {})
    return str(meta.get("MediaStorageSOPClassUID", "")) == DIRECTORY_CLASS


def listed_images(header: Header) -> set[str]:
    """Return the SOP instance UIDs of all image records. File names in it (ReferencedFileID) are not looked at."""
    with reading(header.member):
        dataset, _ = parse(header.member, header.member.read(-1), [RECORDS], stop_at_pixels=True)
        records = dataset.get("DirectoryRecordSequence") or []
        uids = {str(r.get("ReferencedSOPInstanceUIDInFile", "")) for r in records if r.get("DirectoryRecordType") == "IMAGE"}
        return uids - {""}
