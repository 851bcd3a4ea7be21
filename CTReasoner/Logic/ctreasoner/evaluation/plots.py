"""Small plots of an evaluation, drawn without a window: reliability, risk against coverage, clicks, looks."""
from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

SIZE, DPI = (4.6, 3.4), 90
INK, LINES = "#333333", ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#999999")


def write(result: dict, out: Path) -> dict[str, str]:
    """Draws what the result holds; file name -> caption."""
    drawn: dict[str, str] = {}
    trusted = result.get("trust")
    if trusted and trusted["all"]["bins"]:
        _save(reliability(trusted), out / "reliability.png")
        _save(risk(trusted), out / "risk-coverage.png")
        drawn["reliability.png"] = "Is it there: what the model says against how often it is so (15 bins of equal mass)"
        drawn["risk-coverage.png"] = "Wrong answers among the surest ones"
    if result.get("clicks"):
        _save(clicks(result["clicks"]["lines"]), out / "clicks.png")
        drawn["clicks.png"] = "Dice against the number of clicks of a simulated user"
    if result.get("looks"):
        _save(looks(result["looks"]["lines"]), out / "looks.png")
        drawn["looks.png"] = "Mean Dice by what the last look was; every look has as many voxels"
    return drawn


def reliability(trusted: dict) -> Figure:
    figure, axes = _empty("said: it is there", "is there")
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
    for colour, name in zip(LINES, ("all", "outside", "erased"), strict=False):
        bins = trusted[name]["bins"]
        axes.plot([b["p"] for b in bins], [b["rate"] for b in bins], "o-", color=colour, markersize=4,
                  label=f"present and {'not' if name == 'all' else name}, ECE {trusted[name]['ece']:.3f}")
    axes.legend(frameon=False, fontsize=8)
    return figure


def risk(trusted: dict) -> Figure:
    figure, axes = _empty("share of questions answered", "share wrong")
    for colour, name in zip(LINES, ("all", "outside", "erased"), strict=False):
        curve = trusted[name]["risk_coverage"]
        axes.plot([c["coverage"] for c in curve], [c["risk"] for c in curve], color=colour, label=name)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=8)
    return figure


def clicks(lines: list[dict]) -> Figure:
    figure, axes = _empty("clicks", "Dice")
    for colour, line in zip(LINES * 3, lines, strict=False):
        x = [int(n) for n in line["dice"]]
        axes.plot(x, [d["mean"] for d in line["dice"].values()], "o-" if line["row"] == "model" else "o:", color=colour,
                  markersize=4, label=f"{line['kind']}: {line['row']} (n {line['n']})")
    axes.set_ylim(0, 1)
    axes.set_xticks([1, 2, 3, 5])
    axes.legend(frameon=False, fontsize=7)
    return figure


def looks(lines: list[dict]) -> Figure:
    from ctreasoner.evaluation.looks import ARMS

    figure, axes = _empty("", "Dice", (7.5, 3.4))
    for n, (colour, arm) in enumerate(zip(LINES, ARMS, strict=True)):
        axes.bar([i + (n - 3) * 0.12 for i in range(len(lines))], [line[arm] for line in lines], 0.12, color=colour, label=arm)
    axes.set_xticks(range(len(lines)), [f"{line['object'].replace('_', ' ')}\n{line['source']}" for line in lines], rotation=45,
                    ha="right", fontsize=7)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, fontsize=7, ncols=7, loc="upper center", bbox_to_anchor=(0.5, 1.14))
    return figure


def _empty(x: str, y: str, size: tuple[float, float] = SIZE):
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
