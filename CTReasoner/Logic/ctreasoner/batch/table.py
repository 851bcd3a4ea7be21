"""``objects.parquet``: one row for each object, with every measurement in a column of its own; one row for each CT that failed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..appearance.measure import NAMES
from ..io.files import atomic
from .rows import VERDICTS
from .sources import Source
from .units import CASES, Job

FILE = "objects.parquet"
LOT = 1000      # rows in memory at a time
SUFFIXES = {"ml": "ml", "mm": "mm", "mm2": "mm2", "HU": "hu", "HU/mm": "hu_per_mm", "%": "percent", "1": ""}


def column(name: str) -> str:
    """Return a measurement's column: its name with its unit.

    >>> column("volume"), column("mean_hu"), column("share_above_130"), column("sphericity")
    ('volume_ml', 'mean_hu', 'share_above_130_percent', 'sphericity')
    """
    unit = SUFFIXES[NAMES[name].unit]
    return name if not unit or name.endswith(f"_{unit}") else f"{name}_{unit}"


MEASURED = {name: column(name) for name in NAMES}
SCHEMA = pa.schema([
    *((name, pa.string()) for name in ("case", "source", "series", "state", "code", "sentence", "unit", "volume", "question",
                                       "answer", "text", "object", "name", "display", "existence")),
    ("probability", pa.float64()),
    ("box_centre_ras", pa.list_(pa.float64())),
    ("box_size_mm", pa.list_(pa.float64())),
    ("mask", pa.string()),
    ("voxels", pa.int64()),
    ("cut_by_scan", pa.bool_()),
    *(pa.field(MEASURED[name], pa.float64(), metadata={"unit": d.unit, "method": d.method, "source": d.source})
      for name, d in NAMES.items()),
    ("other_measurements", pa.string()),
    ("categories", pa.string()),
    *((verdict.replace(" ", "_"), pa.int64()) for verdict in VERDICTS),
    ("checks", pa.string()),
    ("warnings", pa.list_(pa.string())),
    *((name, pa.string()) for name in ("model", "weights", "ctreasoner", "created")),
    ("seconds", pa.float64()),
])  # fmt: skip
COLUMNS = SCHEMA.names


def write_table(job: Job, sources: Iterable[Source], done: dict[str, str], failed: dict[str, dict[str, Any]]) -> Path:
    """Write the table of all sources, in their order, whole or not at all; a few units are in memory at a time.

    done : key of a source -> name of its unit. failed : key -> its outcome.
    """
    path = job.out / FILE
    rows = _rows(job, sources, done, failed)
    with atomic(path) as file, pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        while lot := list(islice(rows, LOT)):
            writer.write_table(pa.Table.from_pylist(lot, SCHEMA))
    return path


def _rows(job: Job, sources: Iterable[Source], done: dict[str, str], failed: dict[str, dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for source in sources:
        about = {"case": source.name, "source": source.path or f"{source.server} {source.study}", "series": source.series}
        unit = job.state(done[source.key]) if source.key in done else None
        if unit is not None:
            for row in unit["rows"]:
                yield about | {"state": "done"} | _of_unit(unit) | _of_object(row, unit["unit"])
        elif source.key in failed:
            outcome = failed[source.key]
            yield about | {"state": "failed", "code": outcome["code"], "sentence": outcome["sentence"]}


def _of_unit(unit: dict[str, Any]) -> dict[str, Any]:
    by = unit["by"]
    return {"unit": unit["unit"], "volume": unit["volume"], "model": by["model"].get("name"), "weights": by["model"].get("hash"),
            "ctreasoner": by["ctreasoner"], "created": unit["created"], "seconds": sum(unit["seconds"].values())}


def _of_object(row: dict[str, Any], unit: str) -> dict[str, Any]:
    measured, checks, box = row.get("measurements", {}), row.get("checks", []), row.get("box") or {}
    other = {name: value for name, value in measured.items() if name not in MEASURED}
    flat = {name: row.get(name) for name in ("question", "answer", "text", "object", "name", "display", "existence", "probability",
                                             "voxels", "cut_by_scan", "warnings")}
    return flat | {MEASURED[name]: value for name, value in measured.items() if name in MEASURED} | {
        "box_centre_ras": box.get("centre_ras"),
        "box_size_mm": box.get("size_mm"),
        "mask": f"{CASES}/{unit}/{row['mask']}" if row.get("mask") else None,
        "other_measurements": json.dumps(other) if other else None,
        "categories": json.dumps(row.get("categories", {})),
        "checks": json.dumps(checks, ensure_ascii=False),
    } | {verdict.replace(" ", "_"): sum(check["verdict"] == verdict for check in checks) for verdict in VERDICTS}
