"""Copies for research without the patient: DICOM PS3.15 annex E, Basic Application Level Confidentiality Profile.

What happens to which attribute is table E.1-1 as the package dicom-anonymizer carries it; this module walks through every
sequence with it, keeps identifiers consistent over all objects, and counts. Options of the profile that apply: Clean Structured
Content (a report keeps its tree, its codes and its numbers; text, names and dates in it are replaced). Pixels are not looked
at: objects that may have words burned in are left out, and a head CT still shows a face.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path

import pydicom
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from ..answer import write_json
from ..errors import InputError, ResourceError
from .archive import members
from .choosing import is_ct_slice, kind
from .directory import is_directory
from .files import save
from .header import Header, read_header, reading
from .uids import content_uid

TABLE = "dicomfields_2026c"
REPORT = "deidentified.json"
DEEPEST = 64
SEGMENT_LABEL = 0x00620005
# beyond the table: free text of a report's tree and of a segment, which the table treats together with the sequence around it
BEYOND = {0x0040A160: "D", 0x00620006: "X"}
# beside CT slices: segmentations (binary, label map), structured reports with measurements, contours
TAKEN = {"1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7", "1.2.840.10008.5.1.4.1.1.88.22",
         "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.481.3"}
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000", "AS": "000Y", "DS": "0", "IS": "0", "PN": "Removed^",
           "UR": "https://removed.invalid", **dict.fromkeys(("AE", "CS"), "REMOVED"),
           **dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), "Removed"),
           **dict.fromkeys(("FD", "FL", "SL", "SS", "UL", "US", "SV", "UV"), 0)}
NOTES = (
    "Pixels are unchanged: a CT of the head shows a face, and a skilled person can recognise it.",
    "Dates are removed, not shifted: intervals between studies are lost.",
)


@dataclass
class Deidentified:
    """How often each attribute was removed, emptied or replaced, how many identifiers are new, what was left out. No values."""

    objects: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    removed: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)
    replaced: Counter[str] = field(default_factory=Counter)
    private_attributes: int = 0
    identifiers: int = 0


def deidentify(path: str | os.PathLike, folder: str | os.PathLike) -> Deidentified:
    """Write copies of the CT slices, segmentations, reports and contours under ``path`` into a new ``folder``.

    Identifiers are replaced by a function of the old one and a secret of this call that is kept nowhere: references between the
    objects of one call hold, and nobody can go back. ``deidentified.json`` in the folder says what was done. The folder appears
    when everything is in it.

    Raises
    ------
    InputError : a damaged file, nothing to copy, a folder that is there already.
    """
    folder = Path(folder)
    if folder.exists():
        raise InputError(f"{folder.name!r} is there already.", code="CTR-IO-043", hint="Name a folder that does not exist yet.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        growing = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=folder.parent))
    except OSError as error:
        raise ResourceError(f"{folder.name!r} cannot be made: {error.strerror or error}.", code="CTR-RES-001") from error
    try:
        done = _copy(Path(path), growing)
        write_json({"profile": "DICOM PS3.15 annex E, Basic Application Level Confidentiality Profile, Clean Structured Content",
                    "table": TABLE, **vars(done), "notes": list(NOTES)}, growing / REPORT)
        growing.chmod(0o755)
        os.replace(growing, folder)
    finally:
        shutil.rmtree(growing, ignore_errors=True)
    return done


def _copy(path: Path, folder: Path) -> Deidentified:
    profile = _Profile(secrets.token_hex(32))
    for member in members(path):
        header = read_header(member)
        if header is None or is_directory(header):
            continue
        if reason := _left_out(header):
            profile.done.left_out[reason] += 1
            continue
        with reading(member):
            dataset = pydicom.dcmread(BytesIO(member.read(-1)))
            profile.apply(dataset)
        place = (profile.short(str(dataset.SeriesInstanceUID)), f"{profile.short(str(dataset.SOPInstanceUID))}.dcm")
        save(dataset, folder.joinpath(*place))
        profile.done.objects += 1
    if not profile.done.objects:
        raise InputError("There is no CT, segmentation, report or contour here to copy.", code="CTR-IO-044")
    return profile.done


def _left_out(header: Header) -> str:
    """Return why an object is not copied; "" for one that is."""
    if str(header.BurnedInAnnotation or "").upper() == "YES":
        return "image with words burned in"
    return "" if is_ct_slice(header) or str(header.SOPClassUID) in TAKEN else kind(header)


@cache
def _actions() -> tuple[dict[int, str], list[tuple[int, ...]]]:
    """Return ({tag: action of table E.1-1}, tags of repeating groups, which are all removed)."""
    from dicomanonymizer.dicomfields_selector import dicom_anonymization_database_selector

    table = dicom_anonymization_database_selector(TABLE)
    actions: dict[int, str] = {}
    repeating: list[tuple[int, ...]] = []
    for name, tags in table.items():
        for tag in tags if name != "ALL_TAGS" else ():
            if len(tag) == 2:
                actions[tag[0] << 16 | tag[1]] = name.removesuffix("_TAGS")
            else:
                repeating.append(tuple(tag))
    return actions, repeating


class _Profile:
    """The profile with one secret: applies it to data sets and counts."""

    def __init__(self, secret: str) -> None:
        self._secret, self.done = secret, Deidentified()
        self._actions, self._repeating = _actions()
        self._new: dict[str, str] = {}

    def apply(self, dataset: Dataset) -> None:
        """Change a whole object."""
        patient = self.short(str(dataset.get("PatientID", "")))[:8].upper()
        self._visit(dataset, 0)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        for keyword in ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle",
                        "PrivateInformation", "PrivateInformationCreatorUID", "ImplementationVersionName"):
            if keyword in dataset.file_meta:
                delattr(dataset.file_meta, keyword)
        dataset.preamble = b"\0" * 128
        dataset.PatientName, dataset.PatientID = f"ANON-{patient}^", f"ANON-{patient}"
        dataset.PatientIdentityRemoved, dataset.LongitudinalTemporalInformationModified = "YES", "REMOVED"
        dataset.DeidentificationMethod = "CTReasoner: PS3.15 Basic Profile"
        dataset.DeidentificationMethodCodeSequence = list(_method_codes())

    def short(self, text: str) -> str:
        """Return 24 hexadecimal digits that stand for a text."""
        return f"{int(content_uid(self._secret, text).removeprefix('2.25.')):032x}"[:24]

    def _uid(self, old: str) -> str:
        if not old or old.startswith("1.2.840.10008."):  # a class or a syntax, not somebody's
            return old
        if old not in self._new:
            self._new[old] = content_uid(self._secret, old)
            self.done.identifiers += 1
        return self._new[old]

    def _visit(self, dataset: Dataset, depth: int) -> None:
        if depth > DEEPEST:
            raise InputError(f"A sequence nests deeper than {DEEPEST} levels.", code="CTR-IO-022")
        for element in list(dataset):
            self._element(dataset, element, depth)

    def _element(self, dataset: Dataset, element: DataElement, depth: int) -> None:
        tag, name = int(element.tag), element.keyword or str(element.tag)
        action = self._action(element)
        if element.tag.is_private:
            del dataset[element.tag]
            self.done.private_attributes += 1
        elif element.VR == "SQ" and action in ("", "U", "X_Z_U_STAR", "D", "Z_D", "X_D", "X_Z_D"):
            for item in element.value:  # what must stay keeps its shape, and every item is cleaned
                self._visit(item, depth + 1)
        elif tag == SEGMENT_LABEL:
            element.value = _label(dataset)
            self.done.replaced[name] += 1
        elif action == "U":
            values = element.value if isinstance(element.value, pydicom.multival.MultiValue) else [element.value]
            element.value = [self._uid(str(value)) for value in values] if len(values) > 1 else self._uid(str(values[0] or ""))
        elif action == "X":
            del dataset[element.tag]
            self.done.removed[name] += 1
        elif action in ("Z", "X_Z"):
            element.value = [] if element.VR == "SQ" else None
            self.done.emptied[name] += 1
        elif action:
            element.value = DUMMIES.get(element.VR, b"\0\0" if element.VR[0] == "O" else None)
            self.done.replaced[name] += 1

    def _action(self, element: DataElement) -> str:
        """Return the column of the table for an attribute; names of persons are replaced wherever they stand."""
        tag = element.tag
        for group, number, group_mask, number_mask in self._repeating:
            if tag.group & group_mask == group & group_mask and tag.element & number_mask == number & number_mask:
                return "X"
        return BEYOND.get(int(tag)) or self._actions.get(int(tag), "D" if element.VR == "PN" else "")


def _label(segment: Dataset) -> str:
    """Return the meaning of a segment's code: a label may hold words that somebody typed."""
    types = segment.get("SegmentedPropertyTypeCodeSequence")
    return str(types[0].get("CodeMeaning", "")) if types else f"Segment {segment.get('SegmentNumber', '')}"


def _method_codes() -> Iterator[Dataset]:
    """Yield the codes of what was done (PS3.16 CID 7050)."""
    for value, meaning in (("113100", "Basic Application Confidentiality Profile"), ("113104", "Clean Structured Content Option")):
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
        yield code
