"""Make the recording that ships: a drawn chest, and an answer about it whose numbers are measured on its masks.

    python Testing/Host/make_recording.py CTReasoner/Resources/Recordings/chest
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "CTReasoner" / "Logic"), str(ROOT / "Testing" / "Unit")]

import phantom_story  # noqa: E402
from ctreasoner.events import (  # noqa: E402
    By,
    Done,
    Event,
    Existence,
    Look,
    Mask,
    Measurement,
    Progress,
    Span,
    Statement,
    Stream,
    Text,
    Warning_,
    write_events,
)
from ctreasoner.geometry import Volume  # noqa: E402

QUESTION = "Segment the heart, the aorta and the lung nodule, and describe them. Where is the mandible?"
NAME = "Phantom chest"
SHAPE, SPACING = (96, 72, 44), (3.4, 3.4, 6.0)
RULE = By(kind="rule", name="verify")
SAID = {"heart": "heart", "aorta": "aorta", "lung_nodule": "lung nodule"}
PAUSE_S = {Look: 0.45, Mask: 0.2, Text: 0.35, Existence: 0.1}


def main(folder: Path) -> None:
    """Write the recording into a folder."""
    volume, masks = phantom_story.chest(SHAPE, SPACING)
    volume = Volume(np.round(volume.voxels / 4).astype(np.int16) * 4, volume.affine, name=NAME)     # packs to a third
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    told = phantom_story.record(volume, masks, folder)
    events = [e for e in told if not isinstance(e, Text | Statement | Warning_ | Done) and not _is_spoon(e)]
    events = [_measured(e, volume, masks, told) for e in events]
    events += words(events)
    write_events(timed(events), folder / "events.jsonl")
    np.savez_compressed(folder / "ct.npz", voxels=volume.voxels, affine=volume.affine)
    facts = {"name": NAME, "question": QUESTION, "identity": volume.identity,
             "about": "A drawn phantom, no patient. The words were written by hand, the numbers measured on the masks."}
    (folder / "recording.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _is_spoon(event: Event) -> bool:
    return isinstance(event, Existence) and event.name == "spoon"


def _measured(event: Event, volume: Volume, masks: dict[str, np.ndarray], told: list[Event]) -> Event:
    """Put the true mean into a story that tells the same one for every object."""
    if isinstance(event, Measurement) and event.name == "mean_hu":
        name = next(e.name for e in told if isinstance(e, Existence) and e.object == event.object)
        return replace(event, value=float(volume.voxels[masks[name]].mean()))
    return event


def words(events: list[Event]) -> list[Event]:
    """Return the sentences about each object, and what is verified in them."""
    stream, out, at = Stream("a1"), [], 0
    for found in [e for e in events if isinstance(e, Existence)]:
        if found.state != "present":
            out.append(stream.emit(Text, text=f"The {found.display.lower()} lies outside this scan. "))
            at += len(out[-1].text)
            continue
        values = {m.name: m for m in events if isinstance(m, Measurement) and m.object == found.object}
        length = next(m for m in values.values() if m.unit == "mm")
        name, millilitres = SAID[found.name], f"{values['volume'].value:.0f} ml"
        across, mean = f"{length.value:.0f} mm", f"{values['mean_hu'].value:.0f} HU"
        text = f"The {name} has a volume of {millilitres} and measures {across} across. Its mean is {mean}. "
        spans = [Span(start=4, end=4 + len(name), kind="object", ref=found.object)]
        spans += [Span(start=text.index(said), end=text.index(said) + len(said), kind="measurement", ref=m.id)
                  for said, m in ((millilitres, values["volume"]), (across, length), (mean, values["mean_hu"]))]
        out.append(stream.emit(Text, text=text, spans=tuple(spans)))
        ends = [(0, text.index(" and measures"), "volume", millilitres, values["volume"]),
                (text.index("measures"), text.index(". Its"), "length", across, length),
                (text.index("Its"), len(text) - 2, "mean_hu", mean, values["mean_hu"])]
        for n, (start, end, rule, said, measured) in enumerate(ends):
            out.append(stream.emit(Statement, id=f"{found.object}.s{n}", start=at + start, end=at + end, rule=rule, said=said,
                                   found=f"{measured.value:.1f} {measured.unit}", evidence={"measurement": measured.id},
                                   claim={"kind": rule, "object": found.object}, verdict="verified", by=RULE))
        at += len(text)
    return [*out, stream.emit(Done, timings_s={"total": 8.0})]


def timed(events: list[Event]) -> list[Event]:
    """Number and time the events as an engine would, with its progress between."""
    out, t, looks = [], 0.0, sum(isinstance(e, Look) for e in events)
    done = 0
    for event in events:
        t += PAUSE_S.get(type(event), 0.02)
        if isinstance(event, Look):
            out.append(Progress(answer="a1", seq=len(out), t=round(t, 3), stage="looking", step=done, of=looks))
            done += 1
        out.append(replace(event, answer="a1", seq=len(out), t=round(t, 3)))
    return out


if __name__ == "__main__":
    main(Path(sys.argv[1]))
