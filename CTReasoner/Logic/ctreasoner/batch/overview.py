"""``overview.html``: every object over all CTs, its distributions and outliers, and the way to each case. It loads nothing.

All numbers are read from ``objects.parquet``; pictures come from the units.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..appearance.measure import NAMES
from ..io.files import atomic
from ..report.page import FIRST_SHOWN, STATES, TITLES, UNITS, number, render
from ..version import __version__
from ..vocabulary import Vocabulary
from .pictures import SCAN
from .rows import VERDICTS
from .table import FILE, MEASURED
from .units import CASES, Job

PAGE = "overview.html"
HERE = Path(__file__).parent
MOST_CASES, MOST_OUTLIERS, MOST_FAILURES, MOST_WORDS = 200, 8, 200, 4      # on the page; the table has all
FEWEST = 8              # values, for one of them to be an outlier
FAR = 3.5               # modified z-score of an outlier (Iglewicz and Hoaglin, How to detect and handle outliers, 1993)
NARROW = 0.01           # a spread below this share of the median counts as so much: 5 % off is never far
HIST = (300, 44)        # size of a histogram in px
TEXT = ("case", "state", "code", "sentence", "unit", "question", "object", "name", "display", "existence", "seconds", "text",
        *(verdict.replace(" ", "_") for verdict in VERDICTS), "model", "weights")  # fmt: skip


def write_overview(job: Job) -> Path:
    """Write the page from the table; return its path."""
    table = pq.read_table(job.out / FILE, columns=[*TEXT, *MEASURED.values()])
    failures = table.filter(pc.equal(table["state"], "failed")).select(["case", "code", "sentence"])
    units = _units(table)
    objects = [_object(name, rows) for name, rows in _by_object(table)]
    content = {
        "version": __version__,
        "questions": job.questions,
        "facts": _facts(table, units, failures.num_rows),
        "objects": objects,
        "cases": list(_cases(job, units, objects)),
        "hidden": max(0, len(units) - MOST_CASES),
        "failures": failures.slice(0, MOST_FAILURES).to_pylist(),
        "more_failures": max(0, failures.num_rows - MOST_FAILURES),
        "table": FILE,
        "hist": HIST,
    }  # fmt: skip
    colours = [each["rgb"] for each in objects]
    with atomic(job.out / PAGE) as file:
        file.write(render(content, colours, template=HERE / "overview.jinja.html",
                          more_style=(HERE / "overview.css").read_text(encoding="utf-8")).encode())
    return job.out / PAGE


def report_of(unit: str) -> str:
    """Return the link to a case, relative to the page."""
    return f"{CASES}/{unit}/report.html"


def _units(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Return {unit: {case, text, seconds}} in the order of the table."""
    found: dict[str, dict[str, Any]] = {}
    for row in table.filter(pc.equal(table["state"], "done")).select(["unit", "case", "text", "seconds"]).to_pylist():
        known = found.setdefault(row["unit"], {"case": row["case"], "texts": {}, "seconds": row["seconds"]})
        known["texts"][row["text"]] = None
    return found


def _facts(table: pa.Table, units: dict[str, Any], failed: int) -> dict[str, str]:
    seconds = [known["seconds"] for known in units.values()]
    model = next((f"{m} {w}" for m, w in zip(table["model"].to_pylist(), table["weights"].to_pylist(), strict=True) if w), "")
    facts = {"CTs": f"{len(set(table['case'].to_pylist()))}", "answered": f"{len(units)}", "failed": f"{failed}", "model": model}
    return facts | ({"seconds for one CT": f"{np.median(seconds):.1f} (median)"} if seconds else {})


# --- objects ---------------------------------------------------------------------------------------------------------
def _by_object(table: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each kind of object that was named, commonest first; one row for each CT, that of its last answer."""
    named = table.filter(pc.and_(pc.equal(table["state"], "done"), pc.is_valid(table["name"])))
    for name, _ in Counter(named["name"].to_pylist()).most_common():
        rows = named.filter(pc.equal(named["name"], name))
        keys = zip(rows["unit"].to_pylist(), rows["object"].to_pylist(), strict=True)
        last = {key: n for n, key in enumerate(keys)}
        yield name, rows.take(sorted(last.values()))


def _object(name: str, rows: pa.Table) -> dict[str, Any]:
    entry = Vocabulary.load().get(name)
    states = Counter(rows["existence"].to_pylist())
    measured = [m for key in NAMES if (m := _measured(key, rows)) is not None]
    order = {key: n for n, key in enumerate(FIRST_SHOWN)}
    measured.sort(key=lambda m: order.get(m["key"], len(order)))
    return {
        "display": rows["display"][0].as_py(),
        "rgb": tuple(entry.colour) if entry else (235, 200, 80),
        "states": [(STATES.get(state, state or "not said"), n) for state, n in states.most_common()],
        "verdicts": {verdict: pc.sum(rows[verdict.replace(" ", "_")]).as_py() or 0 for verdict in VERDICTS},
        "measured": [m for m in measured if m["key"] in order],
        "more": [m for m in measured if m["key"] not in order],
    }


def _measured(key: str, rows: pa.Table) -> dict[str, Any] | None:
    """Return the distribution of one measurement, or None where no CT has it."""
    column = rows[MEASURED[key]]
    there = column.is_valid()
    values = column.filter(there).to_numpy()
    if not len(values):
        return None
    units, cases, objects = ([str(v) for v in rows[name].filter(there).to_pylist()] for name in ("unit", "case", "object"))
    unit = NAMES[key].unit
    far = outliers(values)
    low, middle, high = np.percentile(values, (5, 50, 95))
    nearest = int(np.argmin(np.abs(values - middle)))
    return {
        "key": key,
        "title": TITLES.get(key, key.replace("_", " ").capitalize()),
        "unit": UNITS.get(unit, unit),
        "method": NAMES[key].method,
        "count": len(values),
        "median": number(middle, unit),
        "median_case": (report_of(units[nearest]), cases[nearest]),
        "range": f"{number(low, unit)} to {number(high, unit)}",
        "bars": _bars(values, [report_of(u) for u in units], unit),
        "middle": _place(middle, values),
        "outliers": [{"case": cases[n], "unit": units[n], "object": objects[n], "value": number(values[n], unit)}
                     for n in far[:MOST_OUTLIERS]],
        "more_outliers": max(0, len(far) - MOST_OUTLIERS),
    }


def outliers(values: np.ndarray) -> list[int]:
    """Return the positions of values far from the median, farthest first; none among few.

    >>> outliers(np.array([9.0, 10, 10.5, 11, 11.5, 12, 10.2, 10.8, 30]))
    [8]
    """
    middle = np.median(values)
    away = np.abs(values - middle)
    spread = max(np.median(away), NARROW * abs(middle))
    if len(values) < FEWEST or spread == 0:
        return []
    score = 0.6745 * away / spread
    return [int(n) for n in np.argsort(-score, kind="stable") if score[n] > FAR]


def _place(value: float, values: np.ndarray) -> float:
    """Return where a value stands in a histogram, px from the left."""
    low, high = float(values.min()), float(values.max())
    return round(HIST[0] * (value - low) / (high - low), 1) if high > low else HIST[0] / 2


def _bars(values: np.ndarray, links: list[str], unit: str) -> list[dict[str, Any]]:
    """Return the bars of a histogram: place and size in px, words, and the case nearest to the bar's middle."""
    low, high = float(values.min()), float(values.max())
    if high <= low:
        low, high = low - 0.5, high + 0.5
    bins = int(np.clip(np.ceil(2 * len(values) ** 0.5), 5, 30))
    counts, edges = np.histogram(values, bins, (low, high))
    width, height = HIST[0] / bins, HIST[1]
    bars = []
    for n, count in enumerate(counts):
        if count:
            tall = max(2.0, height * count / counts.max())
            nearest = int(np.argmin(np.abs(values - (edges[n] + edges[n + 1]) / 2)))
            words = f"{count}: {number(edges[n], unit)} to {number(edges[n + 1], unit)} {UNITS.get(unit, unit)}".strip()
            bars.append({"x": round(n * width, 1), "y": round(height - tall, 1), "w": round(width - 1, 1), "h": round(tall, 1),
                         "words": words, "link": links[nearest]})
    return bars


# --- cases -----------------------------------------------------------------------------------------------------------
def _cases(job: Job, units: dict[str, dict[str, Any]], objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the cases with their pictures: those with outliers first, then the others in their order."""
    far: dict[str, list[tuple[str, str]]] = {}
    for each in objects:
        for m in (*each["measured"], *each["more"]):
            for o in m["outliers"]:
                words = f"{each['display']}: {m['title'].lower()} {o['value']} {m['unit']}".strip()
                far.setdefault(o["unit"], []).append((o["object"], words))
    for unit in [*sorted(far, key=lambda u: -len(far[u])), *(u for u in units if u not in far)][:MOST_CASES]:
        known = units[unit]
        shots = (job.state(unit) or {}).get("pictures", {})
        wanted = [SCAN, *dict.fromkeys(key for key, _ in far.get(unit, ()))][:3]
        yield {
            "unit": unit,
            "case": known["case"],
            "link": report_of(unit),
            "text": " ".join(known["texts"]),
            "far": [words for _, words in far.get(unit, ())][:MOST_WORDS],
            "more_far": max(0, len(far.get(unit, ())) - MOST_WORDS),
            "pictures": [data for name in wanted if name in shots and (data := _picture(job.case(unit) / shots[name]))],
        }


def _picture(path: Path) -> str:
    try:
        return base64.b64encode(path.read_bytes()).decode()
    except OSError:
        return ""
