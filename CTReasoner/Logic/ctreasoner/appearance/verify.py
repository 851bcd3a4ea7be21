"""Check a text against the exported masks and the CT: every sentence becomes claims, every claim is counted again.

It reads the rendered text with its own lexicon and takes no value from a measurement. A sentence in which anything is left
over that was not understood is *not checkable*; whoever shows the text drops it when it states a finding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from . import lexicon as lex
from .recount import Recount
from .wording import short_source, spoken

VERIFIED, REFUTED, OPEN = "verified", "refuted", "not checkable"
_TOLERANCE = {   # absolute, relative; beside half of the last digit that was said
    "volume": (0.0, 0.01), "mean_hu": (1.0, 0.0), "sd_hu": (1.0, 0.01),
    "p5_hu": (3.0, 0.01), "p50_hu": (2.0, 0.01), "p95_hu": (3.0, 0.01),
    "calcified_volume": (0.02, 0.05), "gas_volume": (0.02, 0.03), "equivalent_diameter": (0.2, 0.01),
    "long_axis": (1.0, 0.05), "short_axis": (1.0, 0.08), "diameter": (1.5, 0.16),
}
_AGAINST_LIMIT = " against its limit"
MIDLINE_MM, SIDE_MM = 22.0, 3.0   # 'in the midline' up to this far off; a side from this far on


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An object as it was exported: ``mask`` a path to a .npy, an array or None, ``obj`` its vocabulary entry.

    A box without a mask is an object with ``mask`` None and ``box_mm``, its exported size along R, A, S.
    """

    object: str
    display: str
    key: str = "thing"
    mask: Any = None
    first_voxel: Sequence[int] = (0, 0, 0)
    obj: Any = None
    state: str = "present"
    asked: str = ""
    box_mm: Sequence[float] | None = None


@dataclass(frozen=True, kw_only=True)
class Checked:
    """One claim: where it stands in the text, what it says, what was found, and what follows."""

    start: int
    end: int
    claim: dict
    verdict: str
    rule: str
    said: Any = None
    found: Any = None
    evidence: dict = field(default_factory=dict)


def verify(text: str, objects: Sequence[Exported] | Mapping[str, Exported], volume, body_centre_ras=None,
           counted: dict[str, Recount] | None = None) -> list[Checked]:
    """Check every sentence of ``text``; claims in the order of the text.

    objects : what the answer exported, in its order, objects that were not found included (their ``state`` says so).
    counted : object id -> Recount of an earlier check of the same masks; filled with new ones, so that nothing is counted twice.
    A sentence without a finding (what can be asked, please click) gives no claim.
    """
    known = list(objects.values()) if isinstance(objects, Mapping) else list(objects)
    reader = _Reader(known, volume, body_centre_ras, {} if counted is None else counted)
    out: list[Checked] = []
    for start, end in sentences(text):
        out += reader.read(text[start:end], start)
    return sorted(_consistent(out), key=lambda c: (c.start, c.end))


def _consistent(claims: list[Checked]) -> list[Checked]:
    """A size word near its limit passes by itself; beside a diameter that lies on the other side of the limit it is refuted."""
    sides: dict[str, set[str]] = {}
    for c in claims:
        if c.claim["kind"].endswith(_AGAINST_LIMIT) and c.verdict == VERIFIED:
            sides.setdefault(c.claim["object"], set()).add("large" if c.said.startswith("above") else "normal")
    out = []
    for c in claims:
        shown = sides.get(c.claim.get("object"), set()) if c.claim["kind"] == "size" else set()
        if c.verdict == VERIFIED and shown and c.said not in shown:
            c = replace(c, verdict=REFUTED, found=sorted(shown), rule="the diameter against its limit in the same text")
        out.append(c)
    return out


def checked_text(text: str, spans: Sequence, objects: Mapping[str, Sequence], volume, vocabulary=None,
                 body_centre_ras=None) -> tuple[str, list, list[Checked]]:
    """Check a text and leave out the sentences that cannot be read; give text, spans and claims that belong together.

    objects : id -> (display, key or None, mask or path or None, first voxel, state[, box size in mm]), in the answer's order.
    spans : events.Span of the text. Sentences with a refuted claim stay: the claim says what was found instead. So do those with
    a comparison too near its limit to be sure.
    """
    known = [Exported(object=name, display=display, key=key or "thing", mask=mask,
                      first_voxel=first if first is not None else (0, 0, 0),
                      obj=vocabulary.get(key) if vocabulary is not None and key else None, state=state,
                      box_mm=more[0] if more else None)
             for name, (display, key, mask, first, state, *more) in objects.items()]
    checked = verify(text, known, volume, body_centre_ras)
    kept, out_spans, claims, length = [], [], [], 0
    for start, end in sentences(text):
        if not understood(checked, start, end):
            continue
        move = length - start
        kept.append(text[start:end])
        out_spans += [replace(s, start=s.start + move, end=s.end + move) for s in spans if start <= s.start and s.end <= end]
        claims += [replace(c, start=c.start + move, end=c.end + move) for c in checked if start <= c.start and c.end <= end]
        length += end - start + 1
    return " ".join(kept), out_spans, claims


def sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence starts and ends; full stops inside brackets and decimals end nothing."""
    blank = re.sub(r"\([^()]*\)", lambda found: "_" * len(found[0]), text)
    found, start = [], 0
    for stop in re.finditer(r"[.!?](?=\s|$)", blank):
        begin = start + len(text[start:stop.end()]) - len(text[start:stop.end()].lstrip())
        found.append((begin, stop.end()))
        start = stop.end()
    if text[start:].strip():
        found.append((start + len(text[start:]) - len(text[start:].lstrip()), len(text.rstrip())))
    return found


def understood(checked: Sequence[Checked], start: int, end: int) -> bool:
    """Whether a sentence may be shown: there is nothing in it that could not be read or has nothing to be held against."""
    return all(c.verdict != OPEN or c.claim["kind"].endswith(_AGAINST_LIMIT) for c in checked if c.start < end and c.end > start)


def checkable(checked: Sequence[Checked], start: int, end: int) -> bool:
    """Whether nothing in a sentence is left unchecked."""
    return all(c.verdict != OPEN for c in checked if c.start < end and c.end > start)


def share_checkable(text: str, checked: Sequence[Checked]) -> tuple[int, int]:
    """How many sentences with a finding could be checked, and how many there are."""
    stating = [(a, b) for a, b in sentences(text) if any(c.start < b and c.end > a for c in checked)]
    return sum(checkable(checked, a, b) for a, b in stating), len(stating)


class _Reader:
    """Reads sentence after sentence; remembers which object 'it' is."""

    def __init__(self, objects: list[Exported], volume, body_centre_ras, counted: dict[str, Recount]) -> None:
        self.objects, self.volume = objects, volume
        for o in objects:
            if o.mask is not None and o.object not in counted:
                counted[o.object] = Recount(o.mask, o.first_voxel, volume, o.obj, body_centre_ras)
        self.recounts = {o.object: counted[o.object] for o in objects if o.mask is not None}
        self.current = objects[0] if objects else None

    def read(self, sentence: str, offset: int) -> list[Checked]:
        """Claims of one sentence, positions counted from the start of the text."""
        if lex.INSTRUCTION.search(sentence):
            self._mentions(sentence)
            return []
        self.offset, self.sentence, self.out = offset, sentence, []
        self.rest = lex.MISSING.sub(lambda found: " " * len(found[0]), sentence)
        self.mentions = self._mentions(self.rest)
        for place, end, _ in self.mentions:
            self._blank(place, end)
        for step in (self._sides_of_names, self._states, self._comparisons, self._limits, self._quantities, self._places,
                     self._words):
            step()
        left = self._left_over()
        if left or not self.out:
            if not left and lex.MISSING.search(sentence):
                return self.out
            self.out.append(Checked(start=offset, end=offset + len(sentence), claim={"kind": "sentence", "text": sentence},
                                    verdict=OPEN, rule="not understood", said=" ".join(left) or None))
        if self.mentions:
            self.current = self.mentions[-1][2] or self.current
        return self.out

    # Who is spoken of

    def _mentions(self, sentence: str) -> list[tuple[int, int, Exported | None]]:
        """Names in a sentence, longest first where they overlap: (start, end, object)."""
        found: list[tuple[int, int, Exported | None]] = []
        names = [(name, o) for o in self.objects
                 for name in dict.fromkeys((spoken(o.display), spoken(o.asked or o.display)))]
        for name, obj in sorted(names, key=lambda pair: -len(pair[0])):
            for hit in re.finditer(rf"(?<![\w-]){re.escape(name)}(?![\w-])", sentence, re.IGNORECASE):
                if not any(a < hit.end() and b > hit.start() for a, b, _ in found):
                    found.append((hit.start(), hit.end(), obj))
        for obj in self.objects:                       # its name with the other side: the side is checked, and refuted
            side, _, name = spoken(obj.display).partition(" ")
            other = {"left": "right", "right": "left"}.get(side)
            for hit in re.finditer(rf"\b{other} {re.escape(name)}(?![\w-])", sentence) if other else ():
                if not any(a < hit.end() and b > hit.start() for a, b, _ in found):
                    found.append((hit.start(), hit.end(), obj))
        return sorted(found, key=lambda m: m[0])

    def _at(self, place: int) -> Exported | None:
        before = [obj for start, _, obj in self.mentions if start <= place]
        return before[-1] if before else self.current

    def _recount(self, obj: Exported | None) -> Recount | None:
        return self.recounts.get(obj.object) if obj is not None else None

    # Steps; each blanks what it understood

    def _sides_of_names(self) -> None:
        """A left or right in a name is checked against where the mask lies."""
        for start, end, obj in self.mentions:
            said = re.match(r"(left|right)\b", self.sentence[start:end], re.IGNORECASE)
            recount = self._recount(obj)
            if said and recount is not None and not recount.empty:
                self._side(start, end, obj, "side of the name", said[1].lower(), recount)

    def _side(self, start: int, end: int, obj, kind: str, said: str, recount: Recount) -> None:
        offset = recount.side_mm
        self._add(start, end, obj, kind, _side_right(said, offset), said, _side_word(offset),
                  "mask's centre against the body's middle", offset_mm=round(offset, 1))

    def _states(self) -> None:
        for state, pattern in lex.STATES:
            hit = pattern.search(self.rest)
            if not hit:
                continue
            shared = state == "present" and re.search(r"\bare\b|\bthese boxes\b|\blie in\b", self.rest)
            named = [obj for _, _, obj in self.mentions] if shared else [self._at(hit.end())] if self.mentions else [self.current]
            if not shared and self.mentions:
                named = [min(self.mentions, key=lambda m: abs(m[0] - hit.start()))[2]]
            for obj in dict.fromkeys(o.object for o in named if o is not None):
                self._state(hit, next(o for o in self.objects if o.object == obj), state)
            self._blank(0, len(self.rest) if state != "present" else hit.end(), hit if state == "present" else None)
            return

    def _state(self, hit, obj: Exported, state: str) -> None:
        recount = self._recount(obj)
        there = recount is not None and not recount.empty
        found = "present" if there or (obj.state == "present" and obj.mask is None) else obj.state
        same = {"lost": ("lost", "absent", "outside")}.get(state, (state, "lost"))
        right = found == "present" if state == "present" else not there and obj.state in same
        self._add(hit.start(), hit.end(), obj, "existence", right, state, found, "an exported mask, or the state without one")

    def _comparisons(self) -> None:
        for name, pattern in lex.COMPARED:
            hit = pattern.search(self.sentence)
            if not hit:
                continue
            pair = [o for o in self.objects if self._recount(o) is not None][:2]
            if len(pair) < 2:
                continue
            said = next((o for a, _, o in self.mentions if hit.start() <= a <= hit.end()), None)
            counted = [self._recount(o).value(name) for o in pair]
            most = pair[counted[1] > counted[0]]
            equal = abs(counted[0] - counted[1]) <= (0.02 * max(counted) if name == "volume" else 2.0)
            self._add(hit.start(), hit.end(), said, f"more {name}", said is most or equal, said.object if said else None,
                      most.object, "both masks counted")
            self._blank(hit.start(), hit.end())
        for hit in re.finditer(rf"\bby ({lex.NUMBER}) (ml|HU)(?!\w)", self.rest):
            pair = [o for o in self.objects if self._recount(o) is not None][:2]
            if len(pair) < 2 or not re.search(r"larger|denser|differ", self.sentence):
                continue
            name = "volume" if hit[2] == "ml" else "mean_hu"
            counted = [self._recount(o).value(name) for o in pair]
            apart = abs(counted[0] - counted[1])
            slack = 2 * _digit(hit[1]) + (0.01 * max(map(abs, counted)) if name == "volume" else 2.0)
            self._add(hit.start(), hit.end(), None, f"difference of {name}", abs(float(hit[1]) - apart) <= slack, float(hit[1]),
                      round(apart, 2), "both masks counted", unit=hit[2])
            self._blank(hit.start(), hit.end())

    def _limits(self) -> None:
        for hit in lex.LIMIT.finditer(self.rest):
            self._limit(hit)
            self._blank(hit.start(), hit.end())
        for hit in lex.LIMITS.finditer(self.rest):
            obj = self._at(hit.start())
            low, high = getattr(getattr(obj, "obj", None), "volume_ml_range", (None, None))
            recount = self._recount(obj)
            if recount is not None and low is not None:
                volume = recount.value("volume")
                found = "below" if volume < low else "above" if volume > high else "within"
                near = min(abs(volume - low), abs(volume - high)) <= 0.01 * volume
                same = (float(hit[2]), float(hit[3])) == (float(low), float(high))
                known = same and _known_source(hit[4], [obj.obj.volume_source])
                self._add(hit.start(), hit.end(), obj, "volume against its range", known and (hit[1] == found or near), hit[0],
                          f"{found} {low:g} to {high:g} ml", "vocabulary's range; mask counted", volume_ml=round(volume, 2))
            else:
                self._open(hit, obj, "no range to compare with")
            self._blank(hit.start(), hit.end())

    def _limit(self, hit) -> None:
        obj, recount = self._at(hit.start()), self._recount(self._at(hit.start()))
        name = self._diameter_name(hit.start(), whole=True)
        known = [r for r in getattr(getattr(obj, "obj", None), "size_reference", ()) if r["measurement"] == "diameter_max"
                 and (not r.get("segment") or name.endswith(r["segment"]) or name == "diameter_max")]
        counted = recount.value(name) if recount is not None else None
        if counted is None or not known:
            self._open(hit, obj, "no diameter to compare with")
            return
        limit = float(hit[2])
        stands = any(float(r["upper_mm"]) == limit and _known_source(hit[3], [r["source"]]) for r in known)
        said = [float(q[1]) for q in lex.QUANTITY.finditer(self.sentence)
                if q[4] == "mm" and not hit.start() <= q.start() < hit.end()]
        agrees = not said or (said[0] > limit - 0.5 if hit[1] == "above" else said[0] < limit + 0.5)
        slack = _TOLERANCE["diameter"][1] * limit
        beyond = limit - counted if hit[1] == "above" else counted - limit
        limits = sorted({float(r["upper_mm"]) for r in known})
        rule = "vocabulary's reference; smallest cut through the tube"
        if stands and agrees and 0 < beyond <= slack:     # the two ways to measure do not agree on the side
            claim = {"kind": name + _AGAINST_LIMIT, "object": obj.object}
            self.out.append(Checked(start=self.offset + hit.start(), end=self.offset + hit.end(), claim=claim, verdict=OPEN,
                                    rule=f"too near the limit: {counted:.1f} mm across the smallest cut through the tube",
                                    said=hit[0], found=round(counted, 1), evidence={"limits_mm": limits}))
        else:
            self._add(hit.start(), hit.end(), obj, name + _AGAINST_LIMIT, stands and agrees and beyond <= slack, hit[0],
                      round(counted, 1), rule, limits_mm=limits)

    def _quantities(self) -> None:
        for hit in list(lex.QUANTITY.finditer(self.rest)):
            obj = self._at(hit.start())
            name = self._quantity_name(hit, obj)
            recount = self._recount(obj)
            if name == "box" and (recount is not None or getattr(obj, "box_mm", None) is not None):
                self._box(hit, obj, recount)
            elif name is None or recount is None:
                self._open(hit, obj, "no mask to count on" if name else "a number without a name")
            else:
                self._number(hit, obj, name, recount)
            tail = re.match(r" of (?:calcification|gas)", self.sentence[hit.end():])
            self._blank(hit.start(), hit.end() + (tail.end() if tail else 0))

    def _box(self, hit, obj, recount: Recount | None) -> None:
        found = obj.box_mm if recount is None else recount.box_mm
        right = all(abs(float(s) - f) <= 1.0 + 0.02 * f for s, f in zip(hit.groups()[:3], found, strict=True))
        rule = "exported box" if recount is None else "extent of the mask's voxels"
        self._add(hit.start(), hit.end(), obj, "box", right, hit[0], [round(float(f), 1) for f in found], rule)

    def _number(self, hit, obj, name: str, recount: Recount) -> None:
        counted = recount.value(name)
        if counted is None:
            self._open(hit, obj, f"{name} cannot be counted on this mask")
            return
        absolute, relative = _TOLERANCE["diameter" if name.startswith("diameter") else name]
        slack = absolute + relative * abs(counted) + _digit(hit[1])
        if name in ("long_axis", "short_axis"):
            slack += float(max(recount.spacing)) / 2
        self._add(hit.start(), hit.end(), obj, name, abs(float(hit[1]) - counted) <= slack, float(hit[1]), round(counted, 2),
                  "counted on the mask", unit=hit[4], tolerance=round(slack, 2))

    def _quantity_name(self, hit, obj) -> str | None:
        before, after, unit = self.sentence[:hit.start()], self.sentence[hit.end():], hit[4]
        if hit[2]:
            return "box"
        noun = re.search(r"\b(diameter|volume|mean|averages?)\b[^,.;\d]*$", before)
        if noun and unit != {"diameter": "mm", "volume": "ml"}.get(noun[1], "HU"):
            return None
        if unit == "ml":
            what = re.match(r" of (calcification|gas)", after)
            return {"calcification": "calcified_volume", "gas": "gas_volume"}[what[1]] if what else "volume"
        if unit == "HU":
            if re.search(r"(?:from|between) $", before):
                return "p5_hu"
            upper = re.search(r"(?:ranges|between|spreads|values).*HU (?:to|and) $", before)
            return "p95_hu" if upper else "mean_hu"
        if unit != "mm":
            return None
        if getattr(getattr(obj, "obj", None), "tubular", False):
            return self._diameter_name(hit.start())
        if re.search(r"mm (?:by|and) $|mm long and $", before) or after.startswith(" wide"):
            return "short_axis"
        if re.search(r"^ (?:by|and|long)\b", after):
            return "long_axis"
        return "equivalent_diameter" if "equivalent" in before else None

    def _diameter_name(self, place: int, whole: bool = False) -> str:
        """Which diameter a number speaks of: its segment stands behind it in a list, or is what the sentence is about."""
        after = self.sentence[place:]
        nearest = [(found.start(), s) for s, p in lex.SEGMENTS.items() for found in [p.search(after)] if found]
        segments = {s for s, p in lex.SEGMENTS.items() if p.search(self.sentence)}
        if not segments:
            return "diameter_median" if re.search(r"median", self.sentence[max(0, place - 25):place + 30]) else "diameter_max"
        if len(segments) == 1:
            return f"diameter_max_{segments.pop()}"
        return f"diameter_max_{min(nearest)[1]}" if nearest else "diameter_max"

    def _places(self) -> None:
        for hit in lex.SIDE.finditer(self.rest):
            obj, recount = self._at(hit.start()), self._recount(self._at(hit.start()))
            said = hit[1].lower() if hit[1] else "midline"
            if recount is None or recount.empty:
                self._open(hit, obj, "no mask to count on")
            else:
                self._side(hit.start(), hit.end(), obj, "side", said, recount)
            self._blank(hit.start(), hit.end())
        if any(o.key == "aorta" for o in self.objects):
            self.rest = re.sub(r"\b(?:ascending|descending|aortic|arch)\b", lambda found: " " * len(found[0]), self.rest)

    def _words(self) -> None:
        for attribute, value, pattern in lex.WORDS:
            for hit in list(pattern.finditer(self.rest)):
                obj, recount = self._at(hit.start()), self._recount(self._at(hit.start()))
                right = recount.words(attribute) if recount is not None else ()
                if not right:
                    self._open(hit, obj, f"no rule for {attribute} here")
                else:
                    self._add(hit.start(), hit.end(), obj, attribute, value in right, value, list(right),
                              f"rule of {attribute} on the mask")
                self._blank(hit.start(), hit.end())

    def _left_over(self) -> list[str]:
        rest = re.sub(r"\([^()]*\)", " ", self.rest)
        words = re.findall(r"[A-Za-z]+(?:-[a-z]+)*|\d+(?:\.\d+)?", rest)
        return [w for w in words if w.lower() not in lex.FUNCTION_WORDS]

    # Bookkeeping

    def _blank(self, start: int, end: int, keep_outside=None) -> None:
        if keep_outside is not None:
            start = keep_outside.start()
        self.rest = self.rest[:start] + " " * (end - start) + self.rest[end:]

    def _add(self, start, end, obj, kind, right, said, found, rule, **evidence) -> None:
        claim = {"kind": kind, "object": obj.object if obj is not None else None}
        verdict = VERIFIED if right else REFUTED
        self.out.append(Checked(start=self.offset + start, end=self.offset + end, claim=claim, verdict=verdict, rule=rule,
                                said=said, found=found, evidence=evidence))

    def _open(self, hit, obj, why: str) -> None:
        claim = {"kind": "unknown", "object": obj.object if obj is not None else None}
        self.out.append(Checked(start=self.offset + hit.start(), end=self.offset + hit.end(), claim=claim, verdict=OPEN,
                                rule=why, said=hit[0]))


def _digit(said: str) -> float:
    """Half of the last digit that was said."""
    return 0.5 * 10.0 ** -len(said.partition(".")[2])


def _side_right(said: str, offset_mm: float) -> bool:
    if said == "midline":
        return abs(offset_mm) <= MIDLINE_MM
    return offset_mm > SIDE_MM if said == "right" else offset_mm < -SIDE_MM


def _side_word(offset_mm: float) -> str:
    return "midline" if abs(offset_mm) < SIDE_MM else "right" if offset_mm > 0 else "left"


def _known_source(said: str | None, sources: Sequence[str]) -> bool:
    return said is None or any(said.strip() == short_source(s) for s in sources)
