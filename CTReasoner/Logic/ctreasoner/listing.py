"""The table behind ``ctreasoner objects``: what can be asked for, and how well it was measured to work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .errors import ModelError
from .experts.registry import experts
from .reasoner import model_folder
from .vocabulary import TIERS, Vocabulary

QUALITY = "quality.json"      # beside the weights: {object key: {"dice": 0.9, "cases": 10, "source": "..."}}


def quality_of(model: str | Path) -> dict[str, dict[str, Any]]:
    """Return what was measured for each object with a model; empty where nothing was, or there is no such model."""
    try:
        content = json.loads((model_folder(model) / QUALITY).read_text(encoding="utf-8"))
    except (ModelError, OSError, ValueError):
        return {}
    return content.get("objects", content) if isinstance(content, dict) else {}


def object_rows(model: str | Path) -> list[dict[str, Any]]:
    """Return one plain dict for each object: those of the vocabulary in its order, then those that experts cover.

    "by" says who does it: "itself", "click" (interactive only), or the name of an expert.
    """
    vocabulary, quality = Vocabulary.load(), quality_of(model)
    rows = []
    for key in vocabulary.keys():  # noqa: SIM118 (a method of ours, in file order)
        item = vocabulary.get(key)
        rows.append({
            "key": key,
            "display": item.display,
            "tier": item.tier,
            "tier_meaning": TIERS[item.tier],
            "region": item.region,
            "names": list(item.names),
            "laterality": item.laterality,
            "click_only": item.clickable_only,
            "quality": quality.get(key),
            "by": "click" if item.clickable_only else "itself",
        })
    shipped = {row["key"] for row in rows}
    for expert in experts()[0]:
        for key, item in expert.objects.items():
            if key not in shipped:              # the first expert that covers an object does it
                shipped.add(key)
                rows.append({"key": key, "display": item.display, "tier": "", "tier_meaning": "", "region": expert.region,
                             "names": list(item.names), "laterality": item.laterality, "click_only": False, "quality": None,
                             "by": expert.name, "licence": expert.licence.note})
    return rows


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Print the table for people."""
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("object", "by", "tier", "measured"):
        table.add_column(title, no_wrap=True)
    table.add_column("also called", overflow="fold")
    for row in rows:
        names = [n for n in row["names"] if n != row["display"]]
        name = row["display"] + (" (by click)" if row["click_only"] else "")
        table.add_row(name, row["by"], f"{row['tier']} {row['tier_meaning']}", _measured(row["quality"]), ", ".join(names[:4]))
    Console().print(table)


def _measured(quality: Any) -> str:
    """Return "Dice 0.89, 10 cases", or that nothing was measured."""
    if not isinstance(quality, dict) or quality.get("dice") is None:
        return "not measured"
    cases = quality.get("cases")
    return f"Dice {quality['dice']:.2f}" + (f", {cases} cases" if cases else "")
