"""An answer as DICOM objects: from a conversation that just ended or from a saved folder, by the same way.

Everything comes from what ``answer.json`` holds and from the masks on the CT's grid, so that an unchanged answer gives the same
instances whenever it is exported.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answer import read_answer_file
from .errors import InputError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from .dicom import SegObject
    from .geometry import Volume

Crops = Mapping[str, tuple["np.ndarray", Sequence[int]]]
"""Object id -> (mask crop [i, j, k], its first voxel)."""

WHAT = ("seg", "sr", "keys", "rtstruct")
SEG, SR, KEYS, RTSTRUCT, CT = "segmentation.dcm", "measurements.dcm", "keys", "contours.dcm", "ct"
PROMPTED = ("click", "box", "scribble")
CHANGED_BY_HAND, CHANGED_SINCE_IMPORT = "Changed by hand.", "Changed since it was imported."


@dataclass(frozen=True)
class Wish:
    """What is to be written.

    what : of ``WHAT``, none for no DICOM at all; a report brings its segmentation.
    kind : of the segmentation, BINARY, LABELMAP or FRACTIONAL.
    accepted_by : the person who accepted the findings, for the report; nothing is ever marked as verified.
    incomplete : the segmentation is written where images of the series are missing, and refers to those that are there.
    """

    what: tuple[str, ...] = ("seg",)
    kind: str = "BINARY"
    accepted_by: str = ""
    incomplete: bool = False

    def __post_init__(self) -> None:
        unknown = set(self.what) - set(WHAT)
        if unknown:
            raise UsageError(f"There is no export of '{', '.join(sorted(unknown))}'; there are {', '.join(WHAT)}.",
                             code="CTR-USE-020")
        if self.incomplete and set(self.what) != {"seg"}:
            raise UsageError("Where images are missing, the segmentation alone can be written.", code="CTR-USE-025",
                             hint="Leave the other objects out, or give the complete series.")


# --- from an answer --------------------------------------------------------------------------------------------------
def objects_of(content: Mapping[str, Any], masks: Crops) -> list[SegObject]:
    """Return what ``answer.json`` says of every object that has a mask, in its last state; what was found twice once."""
    from .dicom.seg import digest_of

    kept: dict[tuple[str, str], SegObject] = {}
    for row, turn in _last_rows(content["turns"]).values():
        if row["id"] in masks and row["existence"] == "present" and masks[row["id"]][0].any():
            item = _object(row, turn, content, *masks[row["id"]])
            kept[(item.key, digest_of(item))] = item
    return list(kept.values())


def _last_rows(turns: Sequence[Mapping[str, Any]]) -> dict[str, tuple[dict[str, Any], Mapping[str, Any]]]:
    """Return {object id: (its row as the last turn has it, with what earlier ones measured; the turn that found it)}."""
    rows: dict[str, tuple[dict[str, Any], Mapping[str, Any]]] = {}
    for turn in turns:
        for row in turn["objects"]:
            old, first = rows.get(row["id"], ({}, turn))
            new = dict(row)
            for name, key in (("measurements", "name"), ("categories", "attribute")):
                new[name] = list({fact[key]: fact for fact in (*old.get(name, ()), *row[name])}.values())
            if row["origin"] == "earlier":
                was = old.get("origin", "text")
                new["origin"] = "click" if was == "edited" and row.get("stage") == "refined" else was
            new["imported"] = row.get("imported") or old.get("imported")
            rows[row["id"]] = (new, first)
    return rows


def _object(row: Mapping[str, Any], turn: Mapping[str, Any], content: Mapping[str, Any], mask: np.ndarray,
            first_voxel: Sequence[int]) -> SegObject:
    from .dicom import SegObject
    from .dicom.uids import content_uid

    uid = content_uid("finding", content["volume"].get("identity", ""), row["id"], row["name"], turn["question"], turn["clicks"])
    item = SegObject(
        key=row["name"],
        display=row["display"] or row["name"],
        mask=mask,
        first_voxel=tuple(int(n) for n in first_voxel),
        algorithm="MANUAL" if row["origin"] == "edited" else
                  "SEMIAUTOMATIC" if row["origin"] in PROMPTED or row.get("stage") == "refined" else "AUTOMATIC",
        tracking_id=row["id"],
        tracking_uid=uid,
        note=" ".join(filter(None, (CHANGED_BY_HAND if row["origin"] == "edited" else "", _origin_note(row.get("by"))))),
        maker=(row["by"]["name"], row["by"].get("version", "")) if maker_of(row.get("by")) else None,
        measurements=tuple(m for m in row["measurements"] if m.get("value") is not None),
        attributes={fact["attribute"]: fact["value"] for fact in row["categories"]},
        text=" ".join(dict.fromkeys(sentence for t in content["turns"] for sentence in _about(t, row["id"]))),
    )
    return _as_imported(item, row["imported"]) if row.get("imported") else item


def maker_of(by: Mapping[str, Any] | None) -> dict[str, str]:
    """Return {maker, licence} of a mask that an expert drew, nothing for the model's own."""
    if not by or by.get("kind") != "expert":
        return {}
    return {"maker": " ".join(filter(None, (by["name"], by.get("version")))), "licence": by.get("licence", "")}


def _origin_note(by: Mapping[str, Any] | None) -> str:
    made = maker_of(by)
    return f"Drawn by {made['maker']}; licence of its weights: {made['licence']}." if made else ""


def imported_facts(item: SegObject) -> dict[str, Any]:
    """Return what of an imported finding its export needs again, as JSON."""
    from .dicom.seg import digest_of

    return {"tracking_id": item.tracking_id, "tracking_uid": item.tracking_uid, "algorithm": item.algorithm, "note": item.note,
            "coding": None if item.coding is None else asdict(item.coding), "digest": digest_of(item)}


def _as_imported(item: SegObject, facts: Mapping[str, Any]) -> SegObject:
    """Return a finding with the identity and the codes that it came with; whether it was changed is said."""
    from .dicom.seg import digest_of
    from .dicom.segment import Coding

    coding = facts.get("coding")
    if coding is not None:
        coding = Coding(**{name: tuple(value) if value is not None else None for name, value in coding.items()})
    unchanged = facts["digest"] == digest_of(item)
    return replace(item, coding=coding, tracking_id=facts["tracking_id"] or item.tracking_id,
                   tracking_uid=facts["tracking_uid"] or item.tracking_uid,
                   algorithm=facts["algorithm"] if unchanged else "MANUAL" if item.algorithm == "MANUAL" else "SEMIAUTOMATIC",
                   note=facts["note"] if unchanged else CHANGED_SINCE_IMPORT)


def _about(turn: Mapping[str, Any], key: str) -> Iterator[str]:
    """Yield the sentences of an answer in which an object, or a measurement of it, stands."""
    text, start = turn["text"], 0
    ends = [match.end() for match in re.finditer(r"[.!?](?=\s|$)", text)]
    for end in dict.fromkeys([*ends, len(text)]):
        here = [span["ref"] for span in turn["spans"] if start <= span["start"] < end]
        if any(str(ref) == key or str(ref).startswith(f"{key}.") for ref in here):
            yield text[start:end].strip()
        start = end


def read_answer(folder: Path, volume: Volume) -> tuple[list[SegObject], dict[str, Any]]:
    """Return the objects of a saved answer about ``volume``, and the content of its ``answer.json``.

    Raises
    ------
    InputError : no answer there, one about another CT, or a mask that is missing.
    """
    from .io import read_mask

    folder = Path(folder)
    content = read_answer_file(folder / "answer.json")
    asked = content.get("volume", {})
    if asked.get("identity") != volume.identity:
        raise InputError(f"The answer is about the CT '{asked.get('name', '?')}' ({str(asked.get('identity'))[:8]}), "
                         f"not about '{volume.name}' ({volume.identity[:8]}).", code="CTR-IO-057",
                         hint="Give the very CT that was asked about.")
    masks = {}
    for row, _ in _last_rows(content["turns"]).values():
        if row.get("mask"):
            masks[row["id"]] = cropped(read_mask(inside(folder, row["mask"]), volume))
    return objects_of(content, masks), content


def inside(folder: Path, name: str) -> Path:
    """Return the path of a file that an answer names; one that leads elsewhere is refused."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError("The answer names a mask that lies outside its folder.", code="CTR-IO-058")
    return path


def cropped(whole: np.ndarray) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return (crop, first voxel) of a mask on the whole grid; an empty one has an empty crop."""
    import numpy as np

    spans = [np.flatnonzero(whole.any(axis=tuple(b for b in range(3) if b != a))) for a in range(3)]
    if not all(len(s) for s in spans):
        return whole[:0, :0, :0], (0, 0, 0)
    return whole[tuple(slice(s[0], s[-1] + 1) for s in spans)].copy(), tuple(int(s[0]) for s in spans)


def created_of(content: Mapping[str, Any]) -> datetime.datetime:
    """Return when an answer was made; its files say nothing else about time."""
    try:
        return datetime.datetime.fromisoformat(content["created"])
    except (KeyError, TypeError, ValueError):
        return datetime.datetime(2000, 1, 1)    # an answer of an earlier version: a time, but the same one each time


def model_of(content: Mapping[str, Any]) -> str:
    """Return name and hash of the model, as the algorithm's version."""
    model = content.get("versions", {}).get("model") or {}
    return " ".join(str(model.get(k, "")) for k in ("name", "hash")).strip()


# --- to files --------------------------------------------------------------------------------------------------------
def write_dicom(folder: Path, objects: Sequence[SegObject], volume: Volume, *, wish: Wish, source: Path | None = None,
                model: str = "", created: datetime.datetime | None = None) -> dict[str, str]:
    """Write what is wished of the objects; return {what: path relative to ``folder``}.

    Parameters
    ----------
    source : where the CT was read from; a DICOM series there is what everything refers to, else one is derived into "ct".

    Raises
    ------
    InputError, GeometryError, ResourceError : as the writers of each object do.
    """
    from .dicom import build_seg, write_derived, write_rtstruct, write_sr
    from .dicom.files import save
    from .experts import anatomy

    if not objects:
        raise InputError("There is no mask to export.", code="CTR-IO-050")
    sources, template = _present(volume, source) if wish.incomplete else _read_sources(volume, source)
    sources = sources or write_derived(volume, folder / CT, template)
    common: dict[str, Any] = {"vocabulary": anatomy.vocabulary(), "model": model, "created": created or datetime.datetime.now()}
    files = {}
    if {"seg", "sr"} & set(wish.what):
        segmentation = build_seg(objects, volume, sources, kind=wish.kind, **common)
        save(segmentation, folder / SEG)
        files["DICOM-SEG"] = SEG
    if "sr" in wish.what:
        write_sr(folder / SR, objects, segmentation, volume, sources, accepted_by=wish.accepted_by, **common)
        files["DICOM-SR"] = SR
    if "keys" in wish.what:
        _write_keys(folder / KEYS, objects, volume, sources, **common)
        files["key images"] = KEYS
    if "rtstruct" in wish.what:
        write_rtstruct(folder / RTSTRUCT, objects, volume, sources, **common)
        files["RTSTRUCT"] = RTSTRUCT
    return files


def volume_of(content: Mapping[str, Any], ct: Path) -> Volume:
    """Return the CT of an answer without its voxels, for an export from what is left of its series: grid, identity and series."""
    import numpy as np

    from .geometry import Volume

    about = content.get("volume", {})
    if not about.get("series"):
        raise InputError("The answer does not say which DICOM series it is about.", code="CTR-IO-069",
                         hint="Give the complete CT, without --incomplete.")
    voxels = np.broadcast_to(np.int16(0), tuple(about["shape"]))
    volume = Volume(voxels, np.array(about["ijk_to_ras"], float), name=about.get("name", ""), source=str(ct),
                    series=about["series"])
    volume.__dict__["identity"] = about["identity"]         # a cached property
    return volume


def _present(volume: Volume, source: Path | None) -> tuple[Sequence, None]:
    from .dicom import read_present

    return read_present(source, volume), None


def sources_of(volume: Volume, source: Path | None) -> Sequence:
    """Return the headers of the series that a volume was read from, or those of the series that would be derived from it."""
    from .dicom.derived import derived_headers

    sources, template = _read_sources(volume, source)
    return sources or derived_headers(volume, template)


def _read_sources(volume: Volume, source: Path | None) -> tuple[Sequence, Any]:
    from .dicom import is_dicom, read_sources

    if source is None or not is_dicom(source):
        return (), None
    return read_sources(source, series=volume.series or None)


def _write_keys(folder: Path, objects: Sequence[SegObject], volume: Volume, sources: Sequence, vocabulary, model: str,
                created: datetime.datetime) -> None:
    from .dicom import write_keys
    from .dicom.grid import grid_map
    from .dicom.seg import content_of
    from .report import key_image

    grid = grid_map(volume, sources)
    pictures = [key_image(item, volume, grid, vocabulary) for item in objects]
    written = write_keys(folder, pictures, sources, content_of(objects, sources, model), created=created)
    for path in set(folder.glob("key_*.dcm")) - set(written):      # of an earlier export with more findings
        path.unlink()
