"""The parts of an evaluation: what each asks, and under which keys of the result its figures stand."""
from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctreasoner.errors import InputError

if TYPE_CHECKING:
    from ctreasoner.engine import Engine
    from ctreasoner.evaluation.scans import Scan

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"


@dataclass(frozen=True)
class Amount:
    """How much of everything is asked: the full form, or the short one of ``--quick``."""
    patients: int | None = None
    wordings: int = 25
    routes: int = 40
    nouns: int | None = None
    unanswerable: int | None = None


FULL, QUICK = Amount(), Amount(patients=2, wordings=5, routes=10, nouns=40, unanswerable=20)


@dataclass(frozen=True)
class Run:
    """What every part needs. `limit`: at most so many patients of each source (and nodules); `small`: the proofs' small form."""
    engine: Engine
    data: Path
    out: Path
    amount: Amount
    limit: int | None
    small: bool
    say: Callable[[str], None]
    baseline: Path | None = None

    @property
    def known(self) -> Path | None:
        """The folder of the labelled scans, or None beside a checkout that has none."""
        from ctreasoner.evaluation import scans

        try:
            return scans.folder(self.data)
        except InputError:
            if self.data != SHARED:
                raise
            return None

    def patients(self, demo: bool = False) -> Iterator[Scan]:
        """The validation patients of thorax and neck, and the demo's CT where asked for, one at a time."""
        from ctreasoner.evaluation import scans

        if (folder := self.known) is not None:
            for source in ("segthor", "openkbp"):
                yield from scans.validation(folder, source, self.limit)
        else:
            self.say("No labelled patients lie beside this checkout: the demo's CT alone is measured.")
        if demo:
            yield scans.demo(self.say)


def answers(run: Run) -> dict:
    """Masks, boxes, existence and understanding."""
    from ctreasoner.evaluation import existence, scans, segmentation, understanding

    engine, amount = run.engine, run.amount
    absent, wordings, orders = [], [], []

    def after(scan: Scan) -> None:
        absent.extend(existence.absent_rows(engine, scan))
        if not any(r["scan"].startswith(scan.source) for r in wordings):
            keys = [k for k in scan.present if k in ("heart", "aorta", "trachea", "mandible", "brainstem", "parotid_left")][:4]
            wordings.extend(understanding.wording_rows(engine, scan, keys, amount.wordings))
            orders.extend(understanding.order_rows(engine, scan, [("heart", "aorta"), ("mandible", "brainstem")]))

    rows = segmentation.measure(engine, run.patients(), run.say, after)
    demo = scans.demo(run.say)
    rows += segmentation.measure(engine, [demo], run.say)
    run.say("held-out wordings and nouns")
    nouns = existence.unsupported_rows(engine, demo.volume, amount.nouns)
    routes = understanding.routing(engine, demo.volume, amount.routes)
    unanswerable = understanding.unanswerable_rows(engine, demo.volume, amount.unanswerable)
    return {"segmentation": _segmented(rows, [r for r in absent if r["how"] != "erased"]),
            "existence": existence.summarise(rows, absent, nouns), "trust": existence.trusted(rows, absent, nouns),
            "understanding": understanding.summarise(routes, unanswerable, wordings, orders),
            "cases": {"absent": absent, "nouns": nouns, "unanswerable": unanswerable, "wordings": wordings, "orders": orders,
                      "wrong_plans": routes["wrong"]}}


def given_plans(run: Run) -> dict:
    """Masks and boxes alone, with the plans given."""
    from ctreasoner.evaluation import segmentation

    return {"segmentation": _segmented(segmentation.measure(run.engine, run.patients(demo=True), run.say, given=True), [])}


def _segmented(rows: list[dict], outside: list[dict]) -> dict:
    from ctreasoner.evaluation import segmentation

    lines = segmentation.summarise(rows)
    segmentation.add_precision(lines, rows, outside)
    return {"lines": lines, "by_hu_class": segmentation.by_hu_class(rows), "rows": rows}


def looks(run: Run) -> dict:
    """The closer look against none, a wrong one, the true one, and empty magnification."""
    from ctreasoner.evaluation import looks as measured

    return {"looks": measured.summarise(measured.measure(run.engine, run.patients(demo=True), run.say))}


def clicks(run: Run) -> dict:
    """Dice against clicks: nodules, organs clicked as things, and organs that were never trained on."""
    from ctreasoner.evaluation import clicks as measured

    if run.known is None:
        return {}
    rows = measured.measure(run.engine, measured.nodules(run.known, run.limit), "nodules", run.say)
    rows += measured.measure(run.engine, measured.things(run.patients()), "organs it knows, clicked without a name", run.say)
    body = run.known.parent / "body"
    if (body / "index.jsonl").is_file():
        rows += measured.measure(run.engine, measured.never_trained(body), "organs it never learned", run.say)
    return {"clicks": {"lines": measured.summarise(rows), "rows": rows}}


def words(run: Run) -> dict:
    """Category words, numbers of texts, planted errors, sides."""
    from ctreasoner.evaluation import faithful, sides
    from ctreasoner.evaluation import words as measured

    rows = measured.organs(run.engine, run.patients(), run.say)
    said, errors, sentences = faithful.measure(run.engine, run.patients(demo=True), run.say)
    asked = sides.measure(run.engine, run.patients(), run.say)
    out = {"words": {"organs": measured.summarise(rows)},
           "faithful": faithful.summarise(said, errors, sentences) | sides.summarise(asked)}
    out["word_cases"] = {"organs": rows, "numbers": said, "sides": asked, "sentences": sentences,
                         "missed": [r for r in errors if r["kind"] != "true" and not r["caught"]],
                         "alarms": [r for r in errors if r["kind"] == "true" and r["refuted"]]}
    if run.known is not None:
        nodules = measured.nodules(run.engine, run.known, run.limit, run.say)
        out["words"]["nodules"] = {**measured.summarise(nodules), "raters": measured.raters(run.known)}
        out["word_cases"]["nodules"] = nodules
    return out


def proofs(run: Run) -> dict:
    """The proofs that masks follow the hidden states and the last look."""
    from ctreasoner.evaluation import proofs as measured
    from ctreasoner.evaluation import scans, understanding
    from ctreasoner.model.config import CTReasonerConfig
    from ctreasoner.model.language import CTReasonerForConditionalGeneration

    limit, engine = 10 if run.limit is None else run.limit, run.engine
    few = Run(**{**vars(run), "limit": limit})
    rows = measured.run(engine, few.patients(), 2 * limit, run.say, small=run.small)
    rows.append(measured.gradient_row(CTReasonerForConditionalGeneration(CTReasonerConfig()),
                                      engine.speaker.processor.name_ids["aorta"]))
    rows.append(measured.planning_row(understanding.routing(engine, scans.demo(run.say).volume, run.amount.routes)["routes"]))
    return {"proofs": sorted(rows, key=lambda row: int(row["proof"].split()[0]))}


def plain(run: Run) -> dict:
    """The plain 3D U-Net on the same patients; compared with the masks of an earlier or this run of the answers."""
    from ctreasoner.evaluation import plain as measured

    return {"plain": measured.measure(run.engine, run.baseline, run.patients(demo=True), run.say)}


def calibrate(run: Run) -> dict:
    """Temperature and threshold of existence, from patients set aside."""
    from ctreasoner.evaluation import calibrate as fitted
    from ctreasoner.evaluation import scans

    return {"calibration": fitted.run(run.engine, scans.folder(run.data), run.out / "calibration.json", run.say, run.limit)}


PARTS: dict[str, Callable[[Run], dict]] = {"answers": answers, "looks": looks, "clicks": clicks, "words": words, "proofs": proofs,
                                           "plain": plain, "given-plans": given_plans, "calibrate": calibrate}
WHOLE, SHORT = ("answers", "looks", "clicks", "words", "proofs"), ("answers", "proofs")


def timed(name: str, run: Run) -> tuple[dict, float]:
    """A part's result, and the CPU seconds that it took (all threads of this process)."""
    start = time.process_time()
    return PARTS[name](run), time.process_time() - start
