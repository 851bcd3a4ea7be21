"""The checker's own reading of words: phrases and what they claim. Written apart from the wordings that a model learns.

Order matters: a phrase is blanked once it is read, so ``not enlarged`` is read before ``enlarged``.
"""

from __future__ import annotations

import re

NUMBER = r"-?\d+(?:\.\d+)?"

_WORDS: tuple[tuple[str, str, str], ...] = (
    ("density", "dense", r"denser than soft tissue|brighter than soft tissue|(?:is|looks) dense\b|(?:has )?a? ?high density"),
    ("density", "soft", r"not enhanced|soft tissue(?: density)?|density of soft tissue"),
    ("density", "air", r"contains air|filled with air|density of air|air-filled"),
    ("density", "fat", r"density of fat|fat density|fatty|mostly fat"),
    ("density", "enhanced", r"enhanced(?: by contrast)?|contrast enhancement|filled with contrast"),
    ("density", "bone", r"as dense as bone|density of bone|bone density|bony"),
    ("homogeneity", "heterogeneous", r"heterogeneous|uneven(?: inside)?|mixed density"),
    ("homogeneity", "homogeneous", r"homogeneous|uniform(?: inside)?|even density"),
    ("calcification", "none", r"(?:no|free of|without) calcifications?|not calcified"),
    ("calcification", "present", r"calcified|(?:shows|has|contains) calcifications?"),
    ("gas", "none", r"(?:no|free of) gas(?: inside)?"),
    ("gas", "present", r"(?:contains|shows|has|holds)(?: some)? gas(?: inside)?"),
    ("size", "normal", r"(?:of |a )?normal (?:size|width)|not (?:enlarged|dilated|widened)|within the reference (?:size|width)"),
    ("size", "small", r"smaller than the reference|narrower than the reference|below the reference (?:size|width)"
                      r"|(?:rather |is )(?:small|narrow)\b"),
    ("size", "large", r"(?:larger|wider) than the reference|above the reference (?:size|width)|enlarged|dilated|widened"
                      r"|is large\b"),
    ("shape", "compact", r"compact(?: shape| in shape)?"),
    ("shape", "elongated", r"elongated(?: shape| in shape)?"),
    ("shape", "irregular", r"irregular(?: shape| in shape)?"),
    ("extent", "cut", r"not completely covered by the scan|cut (?:off )?by the (?:border of the )?scan"
                      r"|reaches the border of the scan"),
    ("extent", "complete", r"(?:completely |fully )(?:covered by|inside) the scan|complete in this scan"),
    ("texture", "part-solid", r"part-solid(?: texture| nodule)?"),
    ("texture", "ground-glass", r"(?:like )?ground-glass(?: texture| nodule)?"),
    ("texture", "solid", r"solid(?: texture| nodule)?"),
    ("margin", "ill-defined", r"ill-defined(?: margin| borders)?|blurred margin"),
    ("margin", "sharp", r"sharp (?:margin|borders)|sharply defined|well-defined margin"),
    ("spiculation", "none", r"(?:no|free of) (?:spiculation|spicules)|not spiculated"),
    ("spiculation", "present", r"spiculated(?: outline)?|(?:shows|has) (?:spiculation|spicules)"),
)
WORDS = tuple((attribute, value, re.compile(rf"\b(?:{pattern})(?![\w-])", re.IGNORECASE)) for attribute, value, pattern in _WORDS)

_STATES: tuple[tuple[str, str], ...] = (
    ("lost", r"not confirmed|did not confirm|took .* back|at first i saw"),
    ("unsupported", r"not know the\b|not learned the\b|not an object that i know|not among the objects|was not trained"),
    ("outside", r"outside (?:this|the) scan|does not (?:reach|cover) the\b"),
    ("absent", r"not there\b|is absent"),
    ("present", r"\bhere is the\b|\bhere are the\b|\b(?:is|are) here\b|\b(?:is|are|lies?) in (?:the|this|these) box(?:es)?"
                r"|\b(?:is|are) (?:there|in this scan)\b|\bis outlined\b|\bi outlined\b|\bis marked\b|\bmask of the\b"
                r"|\bthis is the\b|\bclicked on the\b|\bbelongs to the\b|\bclick lies in the\b"),
)
STATES = tuple((state, re.compile(pattern, re.IGNORECASE)) for state, pattern in _STATES)

INSTRUCTION = re.compile(
    r"cannot answer|question that i can answer|not answer such|beyond what i can say|you can ask|ask me where|i can find, outline"
    r"|please click|need a click|click on the nodule|cannot search for|cannot name|no name for|not know its name", re.IGNORECASE)

SIDE = re.compile(r"\b(?:(left|right) of|in) the midline\b", re.IGNORECASE)
SEGMENTS = {
    "ascending": re.compile(r"\bascending (?:aorta|part)\b", re.IGNORECASE),
    "arch": re.compile(r"\baortic arch\b|\bthe arch\b", re.IGNORECASE),
    "descending": re.compile(r"\bdescending (?:aorta|part)\b", re.IGNORECASE),
}
QUANTITY = re.compile(rf"(?<![\w.])({NUMBER})(?:\s*x\s*({NUMBER})\s*x\s*({NUMBER}))?\s*(ml|mm²|mm|HU|%)(?!\w)")
RANGE = re.compile(rf"(?<![\w.])({NUMBER}) to ({NUMBER}) ml(?!\w)")
LIMIT = re.compile(rf"\b(above|below) the (?:limit|reference) of ({NUMBER}) mm(?!\w)(?:\s*\(([^()]*)\))?")
LIMITS = re.compile(rf"\b(above|below|within) the (?:range|reference) of ({NUMBER}) to ({NUMBER}) ml(?!\w)(?:\s*\(([^()]*)\))?")
COMPARED = tuple((name, re.compile(rf"\bThe ([\w ,-]+?) is (?:the )?{word}(?: one)?\b|\b{word} one is the ([\w ,-]+?)(?=, by|\.|$)",
                                   re.IGNORECASE)) for name, word in (("volume", "larger"), ("mean_hu", "denser")))
MISSING = re.compile(r"not measurable \([^()]*\)")

FUNCTION_WORDS = frozenset(re.findall(r"\w+", (
    "a after although am an and are as at average averages axes axial between box boxes but by cannot click "
    "clicked closer comparison contains covered covers diameter differ fills find first for found from has have "
    "here holds i in inside is it its largest lie lies long look looked looks marked mask mean measures median "
    "most of on one outlined part place plane ranges reach scan show shows sits size some spreads structure takes "
    "that the them there these they this those to up value values volume was what where which wide widest with "
    "yes you"
)))
"""Words that claim nothing by themselves; any other word that is left over makes a sentence not checkable."""
