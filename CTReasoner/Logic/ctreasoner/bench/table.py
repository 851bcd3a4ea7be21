"""What the bench prints: one row for each thing that was measured, beside what it must reach."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class Row:
    """One line. ``limit`` is the most (or, where ``at_least``, the least) that ``value`` may be; None: no demand."""

    what: str
    value: float | None
    unit: str
    limit: float | None = None
    at_least: bool = False
    cpu_s: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """Return "reached", "missed", or "" where nothing is demanded."""
        if self.limit is None:
            return ""
        if self.value is None:
            return "missed"
        return "reached" if (self.value >= self.limit if self.at_least else self.value <= self.limit) else "missed"


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the table's rows as plain dicts, with their verdicts."""
    return [{**asdict(row), "verdict": row.verdict} for row in _rows(result)]


def _rows(result: dict[str, Any]) -> Iterator[Row]:
    yield Row("import ctreasoner (no torch)", result["import"]["wall_s"], "s", 0.5, cpu_s=result["import"]["cpu_s"])
    load = result["model_load"]
    yield Row("model load, imports included", load["wall_s"], "s", cpu_s=load["cpu_s"],
              note=f"weights alone {load['again']['wall_s']:.2f} s")
    cold = result["cold"]
    yield Row("cold start to first look", cold["first_look_s"], "s", 6.0, note="command line, uncompressed NIfTI, reading included")
    yield Row("cold start to first answer", cold["first_answer_s"], "s", 10.0, cpu_s=cold["cpu_s"])
    warm = result["warm"]
    for entry in warm:
        yield from _warm_rows(entry, first=entry is warm[0])
    if len(warm) > 1:
        factor = _ratio(warm[-1]["second_question"], warm[0]["second_question"])
        yield Row(f"time at {warm[-1]['slices']} slices over {warm[0]['slices']}", factor, "x", 1.5)
    every = result["all_objects"]
    present = sum(state == "present" for state in every["objects"].values())
    yield Row("all objects of tier A and B", every["wall_s"], "s", 20.0, cpu_s=every["cpu_s"],
              note=f"{every['asked']} asked, {present} present, {every['looks']} looks")
    yield Row("peak memory, all objects", every["peak_memory_mb"], "MB", 4096.0)
    if "rival" in result:
        yield from _rival_rows(result)


def _warm_rows(entry: dict[str, Any], *, first: bool) -> Iterator[Row]:
    slices = entry["slices"]
    answer, new = entry["second_question"], entry["new_scan"]
    yield Row(f"one object, warm, 512x512x{slices}", answer["wall_s"], "s", 3.0 if first else None, cpu_s=answer["cpu_s"],
              note=f"{answer['looks']} looks; " + ", ".join(f"{k} {v:.2f}" for k, v in answer["stages_s"].items()))
    if first:
        yield Row("  CPU seconds of it", answer["cpu_s"], "s", 4.0)
    yield Row("  first question about a scan (whole-scan view included)", new["wall_s"], "s", cpu_s=new["cpu_s"])
    click = entry["click"]
    yield Row("  refinement by a click", click and click["wall_s"], "s", 0.8 if first else None, cpu_s=click and click["cpu_s"],
              note="" if click else "no object was found to click on")
    yield Row("  peak memory", entry["peak_memory_mb"], "MB", 3072.0 if first else None)


def _rival_rows(result: dict[str, Any]) -> Iterator[Row]:
    rival, ours = result["rival"], result["warm"][0]["second_question"]
    patch = rival["patch"]
    yield Row("plain U-Net, sliding window", rival["wall_s"], "s", cpu_s=rival["cpu_s"],
              note=f"computed: {rival['patches']} patches x the median of {patch['timed']} that were timed "
                   f"({patch['wall_s']:.1f} s, {patch['cpu_s']:.1f} CPU s)")
    yield Row("  it takes, in wall time", rival["wall_s"] / ours["wall_s"], "x ours")
    yield Row("  it takes, in CPU seconds", rival["cpu_s"] / ours["cpu_s"], "x ours", 150.0, at_least=True)
    work = result["flops"]["answer"]
    if work:
        yield Row("  it takes, in floating point operations", rival["flops"] / work, "x ours", note=f"ours {work / 1e9:.0f} GFLOP")


def _ratio(a: dict | None, b: dict | None) -> float | None:
    return a["wall_s"] / b["wall_s"] if a and b else None


def print_table(result: dict[str, Any]) -> None:
    """Print the table for people."""
    from rich.console import Console
    from rich.table import Table

    machine = result["machine"]
    title = f"{machine['processor']}, {machine['threads']} threads; other programs used {machine['busy_cores_before']} cores before"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("", "measured", "CPU s", "demanded", " ", "  "):
        table.add_column(name, justify="right" if name.strip() else "left", overflow="fold")
    for row in result["rows"]:
        value = "-" if row["value"] is None else f"{row['value']:.4g} {row['unit']}"
        cpu = "" if row["cpu_s"] is None else f"{row['cpu_s']:.2f}"
        sign = "" if row["limit"] is None else f"{'>=' if row['at_least'] else '<='} {row['limit']:g}"
        table.add_row(row["what"], value, cpu, sign, row["verdict"], row["note"])
    Console(width=160).print(table)
