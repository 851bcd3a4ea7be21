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
    """One panel for each kind of thing that is clicked; the model's line is whole, those of trivial rows are dotted."""
    kinds = list(dict.fromkeys(line["kind"] for line in lines))
    figure = Figure(figsize=(2.9 * len(kinds), 3.2), dpi=DPI, layout="constrained")
    shown = figure.subplots(1, len(kinds), sharey=True, squeeze=False)[0]
    for axes, kind in zip(shown, kinds, strict=True):
        mine = [line for line in lines if line["kind"] == kind]
        for colour, line in zip(LINES, mine, strict=False):
            axes.plot([int(n) for n in line["dice"]], [d["mean"] for d in line["dice"].values()],
                      "o-" if line["row"] == "model" else "o:", color=colour, markersize=4, label=line["row"])
        _plain(axes, "clicks", "Dice" if axes is shown[0] else "")
        axes.set_title(f"{kind} (n {mine[0]['n']})", fontsize=7)
        axes.set_ylim(0, 1)
        axes.set_xticks([1, 2, 3, 5])
    figure.legend(*shown[0].get_legend_handles_labels(), frameon=False, fontsize=8, ncols=3, loc="outside lower center")
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
    _plain(axes, x, y)
    return figure, axes


def _plain(axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
