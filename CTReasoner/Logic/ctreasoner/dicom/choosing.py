"""Which of the files are the one CT series that was meant: chosen where there is one choice, else asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from pydicom.dataset import Dataset

from ..errors import InputError, NotACTError
from .header import Header, reading
from .stack import FEWEST_SLICES

CT_CLASSES = {"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"}
MODALITIES = {"MR": "magnetic resonance", "US": "ultrasound", "PT": "positron emission", "NM": "nuclear medicine",
              "CR": "radiography", "DX": "radiography", "XA": "angiography", "MG": "mammography", "SEG": "segmentation",
              "RTSTRUCT": "contours", "RTDOSE": "dose", "SR": "structured report", "OT": "other"}  # fmt: skip


def choose(headers: Sequence[Header], wanted: str | None, notes: list[str]) -> list[Header]:
    """Return the slices of one CT series; what was left out becomes a note.

    Scouts, sheets and other objects are never slices. Of several series, those at fewer than three places (bolus tracking,
    single slices) are left out; where more than one remains, the person has to say which.

    Parameters
    ----------
    wanted : SeriesNumber or SeriesInstanceUID of the series that is meant; None where nobody said.

    Raises
    ------
    InputError, NotACTError : no CT here, no such series, or several.
    """
    slices = [header for header in headers if is_ct_slice(header)]
    if not slices:
        raise _not_a_ct(headers)
    groups: dict[str, list[Header]] = {}
    for header in slices:
        groups.setdefault(str(header.SeriesInstanceUID), []).append(header)
    groups = _wanted(groups, wanted) if wanted is not None else _volumes(groups, notes)
    if len(groups) > 1:
        named = [describe(group) for group in sorted(groups.values(), key=len, reverse=True)]
        listed = ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")
        listed = " and ".join(named) if len(named) == 2 else listed
        raise InputError(
            f"There are {len(groups)} CT series here: {listed}.",
            code="CTR-IO-031",
            hint="Choose one with --series (`ctreasoner series` lists them), or put it into a folder of its own.",
        )
    left_out = Counter(kind(header) for header in headers if not is_ct_slice(header))
    if left_out:
        notes.insert(0, "Left out: " + ", ".join(f"{count} {name}" for name, count in sorted(left_out.items())) + ".")
    return next(iter(groups.values()))


def _wanted(groups: dict[str, list[Header]], wanted: str) -> dict[str, list[Header]]:
    """Return the series with that identifier, or else all with that number."""
    found = {uid: group for uid, group in groups.items() if uid == wanted}
    found = found or {uid: group for uid, group in groups.items() if str(group[0].SeriesNumber or "") == wanted}
    if not found:
        raise InputError(
            f"None of the CT series here has the number or identifier {wanted[:64]!r}.",
            code="CTR-IO-031",
            hint="`ctreasoner series` lists those that there are.",
        )
    return found


def _volumes(groups: dict[str, list[Header]], notes: list[str]) -> dict[str, list[Header]]:
    """Return the series that could be a volume, where there are any beside others."""
    whole = {uid: group for uid, group in groups.items() if places(group) >= FEWEST_SLICES}
    small = [describe(group) for uid, group in groups.items() if uid not in whole]
    if whole and small:
        notes.append(f"Left out, too few places for a volume: {', '.join(small[:5])}{' and more' * (len(small) > 5)}.")
    return whole or groups


def places(group: Sequence[Header]) -> int:
    """Return at how many different positions the images of a series stand."""
    found, frames = set(), 0
    for header in group:
        with reading(header.member):
            if header.PerFrameFunctionalGroupsSequence:
                frames += len(header.PerFrameFunctionalGroupsSequence)
            elif header.ImagePositionPatient:
                found.add(tuple(round(float(v), 2) for v in header.ImagePositionPatient))
    return len(found) + frames


def is_ct_slice(header: Header) -> bool:
    """Whether a file is an image of a CT volume, and neither scout nor sheet."""
    with reading(header.member):
        return str(header.SOPClassUID) in CT_CLASSES and (header.Modality or "CT") == "CT" and not _flat(header)


def kind(header: Header) -> str:
    """Return what a file is that is no slice, in a few words for people."""
    with reading(header.member):
        if str(header.SOPClassUID) in CT_CLASSES and (flat := _flat(header)):
            return flat
        return f"{header.Modality or 'unnamed'} object" + ("" if header.has_pixels else " without pixels")


def _flat(header: Header) -> str:
    """Return what a CT image is that shows no slice: a scout, or a sheet of dose or protocol; "" for a slice.

    Vendors store such sheets as CT images that were derived and lie nowhere (no ImagePositionPatient).
    """
    types = header.ImageType
    types = {types} if isinstance(types, str) else set(types or ())
    if "LOCALIZER" in types:
        return "scout"
    nowhere = not header.ImagePositionPatient and not header.PerFrameFunctionalGroupsSequence
    return "sheet without a place" if nowhere and types & {"DERIVED", "SECONDARY", "SCREEN SAVE"} else ""


def describe(group: Sequence[Header]) -> str:
    """Return how a series is named in a message: by number and size; its free text may hold a name."""
    first = group[0]
    number = f"series {first.SeriesNumber}" if first.SeriesNumber not in (None, "") else "a series without a number"
    with reading(first.member):
        thickness = value_of(first, "SliceThickness")
        thick = f", {float(thickness):g} mm" if thickness not in (None, "") else ""
        count = sum(int(header.NumberOfFrames or 1) for header in group)
    return f"{number} ({count} slice{'s' * (count != 1)}{thick})"


def value_of(header: Header, keyword: str) -> object:
    """Return an attribute from the data set itself or, for a multi-frame object, from what its frames share."""
    found = header.dataset.get(keyword)
    if found in (None, "") and header.SharedFunctionalGroupsSequence:
        for group in header.SharedFunctionalGroupsSequence[0]:
            item = group.value[0] if group.VR == "SQ" and group.value else Dataset()
            if item.get(keyword) not in (None, ""):
                return item.get(keyword)
    return found


def _not_a_ct(headers: Sequence[Header]) -> InputError:
    with reading(headers[0].member):
        kinds = Counter(str(header.Modality or "OT") for header in headers)
        scouts = sum(kind(header) == "scout" for header in headers)
    modality, count = kinds.most_common(1)[0]
    if modality == "CT":
        what = "only scouts (localizers)" if scouts == len(headers) else "no CT slices, only captures or reports of a CT"
        return NotACTError(f"There are {what} here.", code="CTR-IO-101", hint="Give the folder of the axial series.")
    name = MODALITIES.get(modality, "another kind of object")
    return NotACTError(
        f"This is not a CT: {f'the {count} DICOM files here are' if count > 1 else 'the DICOM file is'} {modality} ({name}).",
        code="CTR-IO-101",
        hint="CTReasoner reads CT in Hounsfield units only.",
    )
