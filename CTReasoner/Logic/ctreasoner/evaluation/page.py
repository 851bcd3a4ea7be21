"""The one page of an evaluation: the same rows as Markdown and as a table for the terminal."""
from __future__ import annotations

from pathlib import Path

from ctreasoner.evaluation.looks import ARMS
from ctreasoner.evaluation.segmentation import SOURCES

Rows = list[tuple[str, ...]]
RATES = {  # key of a section with rates -> (what a person reads, what is hoped for)
    "present_found": ("present objects that were found", ">= 97 %"),
    "outside_said": ("objects outside the scan: \"outside\"", ">= 96 %"),
    "outside_said, other region": ("  of another region", ""),
    "outside_said, cropped": ("  scan cropped 15 mm beyond", ""),
    "outside_not_present": ("objects outside the scan: not called present", ">= 96 %"),
    "nouns_unsupported": ("held-out nouns: \"unsupported\"", ">= 95 %"),
    "nouns_pointed_right": ("held-out nouns: the words pointed at", ""),
    "erased_said": ("erased objects: \"absent\"", ">= 85 %"),
    "erased_not_present": ("erased objects: not called present", ""),
    "false_masks": ("masks of what is outside or unsupported", "<= 5 %"),
    "unanswerable_masks": ("questions that name no object: masks", "0"),
    "unanswerable_warned": ("questions that name no object: the right warning", ""),
    "wording_same_state": ("other wordings: same existence", ">= 98 %"),
    "wording_same_mask": ("other wordings: Dice >= 0.95", ">= 95 %"),
    "typing_error_same_state": ("one typing error: same existence", ">= 90 %"),
    "order_same_mask": ("objects in the other order: Dice >= 0.95", "all"),
    "sentences_checkable": ("sentences that state a finding: checkable, before any is left out", ">= 90 %"),
    "claims_refuted": ("claims of answers that the checker refutes", ""),
    "numbers_same": ("numbers in texts: as measured anew on the exported mask", "100 %"),
    "numbers_recounted": ("numbers in texts: the checker's own recount agrees", "100 %"),
    "numbers_edited_same": ("after an edited mask: as measured anew", "100 %"),
    "numbers_edited_recounted": ("after an edited mask: the recount agrees", "100 %"),
    "planted_numbers_caught": ("planted wrong numbers caught", ">= 99 %"),
    "planted_sides_caught": ("planted wrong sides caught", ">= 99 %"),
    "planted_words_caught": ("planted wrong words caught", ">= 99 %"),
    "false_alarms": ("claims of true texts that were called wrong", "<= 1 %"),
    "sides_confused": ("questions by side: left and right confused", "0"),
    "sides_answered": ("questions by side of what is there: a mask", ""),
    "contradictions": ("category words against the rule on the predicted mask: contradiction", "<= 2 %"),
}
RATES |= {f"sides_confused, {kind}": (f"  {kind}", "") for kind in (
    "whole", "cropped", "mirrored", "mirrored and cropped", "other side alone")}


def segmentation_rows(lines: list[dict]) -> Rows:
    out: Rows = [("scans", "object", "n", "Dice", "95 %", "worst", "floor", "surface Dice", "HD95 mm", "below 0.1", "volume error",
                  "bias", "found")]
    for line in lines:
        d = line["dice"]
        floor = "" if line["floor"] is None else f"{line['floor']:.2f} {'reached' if d['mean'] >= line['floor'] else 'missed'}"
        out.append((SOURCES[line["source"]], _name(line), str(d["n"]), f"{d['mean']:.3f}", _interval(d), f"{d['worst']:.2f}", floor,
                    _number(line["nsd"]["mean"]), _number(line["hd95_mm"], 1), str(line["failures"]),
                    _percent(line["volume_error"]), _percent(line["volume_bias"], "+"), f"{line['found']} of {d['n']}"))
    return out


def box_rows(lines: list[dict]) -> Rows:
    out: Rows = [("scans", "object", "n", "IoU, head", "IoU, mask", "AP@0.5, head", "AP@0.5, mask", "wall mm, head",
                  "wall mm, mask")]
    for line in lines:
        out.append((SOURCES[line["source"]], _name(line), str(line["dice"]["n"]), _number(line["box_iou_head"], 2),
                    _number(line["box_iou_mask"], 2), _number(line.get("ap_head"), 2), _number(line.get("ap_mask"), 2),
                    _number(line["wall_mm_head"], 1), _number(line["wall_mm_mask"], 1)))
    return out


def look_rows(lines: list[dict]) -> Rows:
    return [("scans", "object", "n", *ARMS)] + [
        (SOURCES[line["source"]], line["object"], str(line["n"]), *(f"{line[arm]:.3f}" for arm in ARMS)) for line in lines]


def gain_rows(pairs: list[dict]) -> Rows:
    return [("objects", "Dice of", "n", "difference", "95 %")] + [
        (p["group"], p["arms"], str(p["n"]), f"{p['mean']:+.3f}", _interval(p, "+")) for p in pairs]


def click_rows(lines: list[dict]) -> Rows:
    counts = list(lines[0]["dice"])
    improved = list(lines[0]["improved"])
    out: Rows = [("what is clicked", "row", "n", *(f"Dice, {n} click{'s' if n != '1' else ''}" for n in counts),
                  *(f"better by click {n}" for n in improved))]
    for line in lines:
        out.append((line["kind"], line["row"], str(line["n"]),
                    *(f"{d['mean']:.3f} ({_interval(d)})".replace(" ()", "") for d in line["dice"].values()),
                    *(f"{v:.0%}" for v in line["improved"].values())))
    return out


def word_rows(summary: dict) -> Rows:
    raters = summary.get("raters")
    out: Rows = [("attribute", "n", "words of the truth", "right", "kappa", "kappa, rule on the predicted mask",
                  *(("kappa, one radiologist against the others",) if raters else ()))]
    for line in summary["lines"]:
        out.append((line["attribute"], str(line["n"]), ", ".join(f"{k} {n}" for k, n in line["classes"].items()),
                    f"{line['right']:.0%}", _number(line["kappa"]["model"], 2), _number(line["kappa"]["on_mask"], 2),
                    *((_number(raters.get(line["attribute"]), 2),) if raters else ())))
    f1 = summary["macro_f1"]
    out.append((f"macro-F1 over {summary['classes']} classes with n >= 20", "", ", ".join(
        f"{name} {_number(f1[row], 2)}" for row, name in (("majority", "most frequent word"), ("blind", "another's picture"))
        if f1.get(row) is not None),
                _number(f1["model"], 2), "", f"macro-F1 {_number(f1['on_mask'], 2)}", *(("",) if raters else ())))
    return out


def trust_rows(trusted: dict) -> Rows:
    out: Rows = [("present against", "n", "AUROC", "ECE", "area under risk-coverage")]
    for name in ("outside", "erased", "unsupported"):
        more = trusted.get(name, {})
        out.append((name, f"{trusted['n']['present']} and {trusted['n'][name]}", _number(trusted["auroc"][name]),
                    _number(more.get("ece")), _number(more.get("aurc"))))
    out.append(("outside and erased", "", "", _number(trusted["all"]["ece"]), _number(trusted["all"]["aurc"])))
    return out


def plain_rows(lines: list[dict]) -> Rows:
    out: Rows = [("scans", "object", "n", "Dice, plain U-Net", "95 %", "surface Dice", "HD95 mm", "ours more", "95 %")]
    for line in lines:
        d, g = line["dice"], line["gain"]
        out.append((SOURCES[line["source"]], line["object"], str(d["n"]), f"{d['mean']:.3f}", _interval(d),
                    _number(line["nsd"]["mean"]), _number(line["hd95_mm"], 1), "" if g["mean"] is None else f"{g['mean']:+.3f}",
                    _interval(g, "+")))
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
        lines = result["segmentation"]["lines"]
        out += [("Masks, through the engine's own loop", segmentation_rows(lines)),
                ("Boxes, of the heads and of the masks", box_rows(lines))]
        if result["segmentation"]["by_hu_class"]:
            out.append(("Thorax, by the grey steps of its 8-bit source", grey_rows(result["segmentation"]["by_hu_class"])))
    if result.get("plain"):
        from ctreasoner.evaluation.plain import against

        about, ours = result["plain"]["about"], result.get("segmentation", {}).get("rows", [])
        out.append((f"A plain 3D U-Net by sliding window ({about['views']} views, {about['seconds']:.0f} s, seed {about['seed']}, "
                    f"{about['spacing_mm']:g} mm)", plain_rows(against(result["plain"]["rows"], ours))))
    if result.get("looks"):
        out += [("The closer look: Dice by what the last look was", look_rows(result["looks"]["lines"])),
                ("What the closer look brings (validation patients, paired)", gain_rows(result["looks"]["pairs"]))]
    if result.get("clicks"):
        out.append(("Dice against clicks of a simulated user", click_rows(result["clicks"]["lines"])))
    rates = rate_rows(result.get("existence", {}), result.get("understanding", {}))
    if len(rates) > 1:
        out.append(("Existence and understanding", rates))
    if result.get("trust"):
        out.append(("How far \"it is there\" can be trusted", trust_rows(result["trust"])))
    for name, truth in (("organs", "rule on the true mask"), ("nodules", "median of the radiologists")):
        if result.get("words", {}).get(name, {}).get("lines"):
            out.append((f"Category words of {name} (truth: {truth})", word_rows(result["words"][name])))
    if result.get("faithful"):
        out.append(("Words, numbers and sides", rate_rows(result["faithful"], {k: v for k, v in result["words"]["organs"].items()
                                                                                if k == "contradictions"})))
    if result.get("proofs"):
        from ctreasoner.evaluation.proofs import from_parts

        rows = sorted([*result["proofs"], *from_parts(result)], key=lambda row: int(row["proof"].split()[0]))
        out.append(("Proofs that the hidden state draws the mask", proof_rows(rows)))
    if result.get("calibration"):
        c = result["calibration"]
        names = ("temperature", "threshold", "n_present", "n_outside", "recall", "false_present", "ece_before", "ece_after")
        out.append(("Calibration of existence", [tuple(n.replace("_", " ") for n in names), tuple(f"{c[n]:.3g}" for n in names)]))
    return out


def markdown(result: dict, drawn: dict[str, str] | None = None) -> str:
    """The page; `drawn` are file names of plots beside it and their captions."""
    about, hours = result["about"], result.get("cpu_hours", {})
    commands = ", ".join(f"`{c}`" for c in about["commands"])
    lines = [f"# Evaluation of {about['model']['name']} ({about['model']['hash']})", "",
             f"CTReasoner {about['ctreasoner']}, {about['date']}. Commands: {commands}. Patients are those of the "
             "validation split; intervals are bootstrapped over patients (1000 drawings, seed 7), those of rates are Wilson's. "
             "Surface Dice is at 2 mm, at 4 mm on the neck's coarse grid. "
             "Research data with 8-bit thorax scans at about 2 mm and neck scans at 4 mm: no figure here is a clinical one.", ""]
    if hours:
        lines += [f"CPU hours: {sum(hours.values()):.2f} (" + ", ".join(f"{k} {v:.2f}" for k, v in hours.items()) + ").", ""]
    if about.get("limited"):
        lines += [f"**A short form: {about['limited']}.** The figures of a release come from the full form.", ""]
    for title, rows in tables(result):
        lines += [f"## {title}", "", "| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows[1:]] + [""]
    for name, caption in (drawn or {}).items():
        lines += [f"![{caption}]({name})", "", f"*{caption}.*", ""]
    return "\n".join(lines)


def publish(result: dict, folder: Path) -> Path:
    """The page and its plots in a folder of the documentation; returns the page."""
    from ctreasoner.errors import InputError
    from ctreasoner.evaluation import plots

    if "about" not in result:
        raise InputError("There is no evaluation.json in --out to publish.", code="CTR-DATA-003",
                         hint="Run `ctreasoner evaluate --out DIR` first.")
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / f"{result['about']['model']['name']}.md"
    page.write_text(markdown(result, plots.write(result, folder)), encoding="utf-8")
    return page


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


def _name(line: dict) -> str:
    return line["object"] + (" (rule)" if line["rule_made"] else "")


def _interval(summary: dict, sign: str = "") -> str:
    return "" if summary["patients"] < 2 else f"{summary['low']:{sign}.3f} to {summary['high']:{sign}.3f}"


def _number(value: float | None, figures: int = 3) -> str:
    return "" if value is None else f"{value:.{figures}f}"


def _percent(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{value:{sign}.0%}"
