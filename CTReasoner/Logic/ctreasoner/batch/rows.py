"""What one answer says of each object, as one flat row: in ``unit.json`` first, in the table of all CTs at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..answer import Answer, FoundObject

VERDICTS = ("verified", "refuted", "not checkable")


def object_rows(answer: Answer, folder: Path) -> list[dict[str, Any]]:
    """Return one row for each object of an answer, or one without an object where it found none.

    measurements : {name: value} in the units of ``appearance.measure.NAMES``; what could not be measured is left out.
    checks : the statements of the text about this object. mask : relative to ``folder``.
    """
    common = {"question": answer.question, "answer": answer.id, "text": answer.text.strip(),
              "warnings": [warning["code"] for warning in answer.warnings]}
    return [common | _object(found, answer, folder) for found in answer.objects] or [common]


def _object(found: FoundObject, answer: Answer, folder: Path) -> dict[str, Any]:
    mask = f"masks/{found.id}.nii.gz"
    return {
        "object": found.id,
        "name": found.name,
        "display": found.display or found.name,
        "existence": found.existence,
        "probability": found.probability,
        "box": {"centre_ras": found.box["centre_ras"], "size_mm": found.box["size_mm"]} if found.box else None,
        "mask": mask if (folder / mask).is_file() else None,
        "voxels": getattr(found.mask, "voxels", None),
        "cut_by_scan": getattr(found.mask, "cut_by_scan", None),
        "measurements": {m["name"]: m["value"] for m in found.measurements if m["value"] is not None},
        "categories": {c["attribute"]: c["value"] for c in found.categories},
        "checks": [{key: s[key] for key in ("verdict", "rule", "said", "found")} for s in answer.statements if _about(s, found.id)],
    }


def _about(statement: dict[str, Any], key: str) -> bool:
    """Whether a statement is about an object: its claim or its evidence names it, or a measurement of it."""
    named = [*_strings(statement.get("claim")), *_strings(statement.get("evidence"))]
    return any(text == key or text.startswith(f"{key}.") for text in named)


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [text for item in items for text in _strings(item)]
