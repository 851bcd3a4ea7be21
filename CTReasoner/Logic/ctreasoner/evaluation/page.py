"""The one page of an evaluation: the same rows as Markdown and as a table for the terminal."""
from __future__ import annotations

from ctreasoner.evaluation.segmentation import SOURCES

Rows = list[tuple[str, ...]]
RATES = {  # key of the existence or understanding section -> (what a person reads, what is hoped for)
    "present_found": ("present objects that were found", ">= 97 %"),
    "outside_said": ("objects outside the scan: \"outside\"", ">= 96 %"),
    "outside_said, other region": ("  of another region", ""),
    "outside_said, cropped": ("  scan cropped 15 mm beyond", ""),
    "outside_not_present": ("objects outside the scan: not called present", ">= 96 %"),
    "nouns_taken_for_something": ("held-out nouns taken for a known object", "<= 5 %"),
    "nouns_pointed_right": ("held-out nouns: the words pointed at", ""),
    "false_masks": ("masks of what is not there", "<= 5 %"),
    "unanswerable_masks": ("questions that name no object: masks", "0"),
    "unanswerable_warned": ("questions that name no object: the right warning", ""),
    "wording_same_state": ("other wordings: same existence", ">= 98 %"),
    "wording_same_mask": ("other wordings: Dice >= 0.95", ">= 95 %"),
    "typing_error_same_state": ("one typing error: same existence", ">= 90 %"),
    "order_same_mask": ("objects in the other order: Dice >= 0.95", "all"),
}


def segmentation_rows(lines: list[dict]) -> Rows:
    out: Rows = [("scans", "object", "n", "Dice", "95 %", "worst", "floor", "box IoU, head", "box IoU, mask", "found")]
    for line in lines:
        d = line["dice"]
        floor = "" if line["floor"] is None else f"{line['floor']:.2f} {'reached' if d['mean'] >= line['floor'] else 'missed'}"
        spread = "" if d["patients"] < 2 else f"{d['low']:.3f} to {d['high']:.3f}"
        name = line["object"] + (" (rule)" if line["rule_made"] else "")
        out.append((SOURCES[line["source"]], name, str(d["n"]), f"{d['mean']:.3f}", spread, f"{d['worst']:.2f}", floor,
                    f"{line['box_iou_head']:.2f}", f"{line['box_iou_mask']:.2f}", f"{line['found']} of {d['n']}"))
    return out


def grey_rows(lines: list[dict]) -> Rows:
    keys = [k for k in (lines[0] if lines else {}) if k not in ("hu_class", "patients")]
    return [("grey steps of the source", "patients", *keys)] + [
        (line["hu_class"], str(line["patients"]), *(f"{line[k]:.3f}" if k in line else "" for k in keys)) for line in lines]


def rate_rows(*sections: dict) -> Rows:
    out, values = [("what", "measured", "95 %", "hoped for")], {k: v for s in sections for k, v in s.items()}
    for key, (words, hoped) in RATES.items():
        if key in values and values[key]["n"]:
            out.append((words, _rate(values[key]), _spread(values[key]), hoped))
    routing = values.get("routing")
    if routing:
        out += [(f"held-out wordings, {name}: routes right", _rate(v), _spread(v), ">= 97 %")
                for name, v in routing["routes"].items()]
        for key, words in (("objects", "held-out wordings: objects right"),
                           ("pointed_known", "asked words pointed at, known objects"),
                           ("pointed_unknown", "asked words pointed at, unknown ones")):
            out.append((words, _rate(routing[key]), _spread(routing[key]), ""))
    return out


def proof_rows(rows: list[dict]) -> Rows:
    return [("proof", "n", "measured", "demanded", "")] + [
        (r["proof"], str(r["n"]), r["figure"], r["condition"], "passed" if r["passed"] else "not passed") for r in rows]


def tables(result: dict) -> list[tuple[str, Rows]]:
    """(title, rows with the head first) of everything that a result holds."""
    out = []
    if result.get("segmentation"):
        out.append(("Masks and boxes, through the engine's own loop", segmentation_rows(result["segmentation"]["lines"])))
        if result["segmentation"]["by_hu_class"]:
            out.append(("Thorax, by the grey steps of its 8-bit source", grey_rows(result["segmentation"]["by_hu_class"])))
    rates = rate_rows(result.get("existence", {}), result.get("understanding", {}))
    if len(rates) > 1:
        out.append(("Existence and understanding", rates))
    if result.get("proofs"):
        out.append(("Proofs that the hidden state draws the mask", proof_rows(result["proofs"])))
    if result.get("calibration"):
        c = result["calibration"]
        names = ("temperature", "threshold", "n_present", "n_outside", "recall", "false_present", "ece_before", "ece_after")
        out.append(("Calibration of existence", [tuple(n.replace("_", " ") for n in names), tuple(f"{c[n]:.3g}" for n in names)]))
    return out


def markdown(result: dict) -> str:
    about = result["about"]
    lines = [f"# Evaluation of {about['model']['name']} ({about['model']['hash']})", "",
             f"CTReasoner {about['ctreasoner']}, {about['date']}. Command: `{about['command']}`. Patients are those of the "
             "validation split; intervals are bootstrapped over patients (1000 drawings, seed 7), those of rates are Wilson's. "
             "Research data with 8-bit thorax scans at about 2 mm and neck scans at 4 mm: no figure here is a clinical one.", ""]
    if about.get("limited"):
        lines += [f"**A short form: {about['limited']}.** The figures of a release come from the full form.", ""]
    for title, rows in tables(result):
        lines += [f"## {title}", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows[1:]] + [""]
    return "\n".join(lines)


def show(result: dict) -> None:
    """Prints every table for people."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=170)
    for title, rows in tables(result):
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in rows[0]:
            table.add_column(name, overflow="fold")
        for row in rows[1:]:
            table.add_row(*row)
        console.print(table)
        console.print()


def _rate(value: dict) -> str:
    return "" if not value["n"] else f"{value['rate']:.1%} ({value['hits']} of {value['n']})"


def _spread(value: dict) -> str:
    return "" if not value["n"] else f"{value['low']:.0%} to {value['high']:.0%}"
