"""The closed sets of words that the model may choose for an object, and the rule that gives each word's reference value.

The model emits one token per choice (``<cat:density=soft>``) *before* anything is measured. The rules below look at measurements of
the mask alone; they make training targets where no person rated a scan, and they judge the model's choice afterwards.
Near a border of a rule both words are right: :func:`accepted` says which ones, :func:`rule` gives the one on this side of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "density": ("air", "fat", "soft", "dense", "enhanced", "bone"),
    "homogeneity": ("homogeneous", "heterogeneous"),
    "calcification": ("none", "present"),
    "gas": ("none", "present"),
    "size": ("small", "normal", "large"),
    "shape": ("compact", "elongated", "irregular"),
    "extent": ("complete", "cut"),
    "texture": ("solid", "part-solid", "ground-glass"),
    "margin": ("sharp", "ill-defined"),
    "spiculation": ("none", "present"),
}
"""Attribute -> its values, in the order of the model's tokens (25 in all)."""

_BY_KEY: dict[str, tuple[str, ...]] = {
    "aorta": ("density", "calcification", "size", "extent"),
    "heart": ("density", "homogeneity", "size", "extent"),
    "trachea": ("density", "size", "extent"),
    "esophagus": ("density", "gas", "extent"),
    "lung_left": ("density", "homogeneity", "size", "extent"),
    "lung_right": ("density", "homogeneity", "size", "extent"),
    "mandible": ("density", "size", "extent"),
    "brainstem": ("density", "homogeneity", "size", "extent"),
    "parotid_left": ("density", "homogeneity", "size", "shape", "extent"),
    "parotid_right": ("density", "homogeneity", "size", "shape", "extent"),
    "spinal_cord": ("density", "extent"),
    "larynx": ("density", "size", "extent"),
    "lung_nodule": ("texture", "margin", "spiculation", "calcification"),
}
_OTHERWISE = ("density", "homogeneity", "shape", "extent")

_DENSITY_BY_KEY: dict[str, tuple[str, ...]] = {
    "aorta": ("soft", "enhanced"),
    "heart": ("soft", "enhanced"),
    "trachea": ("air",),
    "esophagus": ("air", "fat", "soft", "enhanced"),
    "lung_left": ("air", "soft"),
    "lung_right": ("air", "soft"),
    "mandible": ("soft", "bone"),
    "brainstem": ("soft", "enhanced"),
    "parotid_left": ("fat", "soft", "enhanced"),
    "parotid_right": ("fat", "soft", "enhanced"),
    "spinal_cord": ("soft", "enhanced"),
    "larynx": ("air", "fat", "soft", "enhanced"),
}

AIR_HU, FAT_HU, ENHANCED_HU, BONE_HU = -250.0, -20.0, 85.0, 150.0
"""Borders of the density words on the median HU: air | fat | soft tissue | enhanced or dense; bone from 150 HU for bones.
85 HU: unenhanced blood and organs lie at 30 to 70 HU."""
GREY_HU = 10.0             # within this of a border both density words are right
PATCHY_HU = 30.0           # SD of 5 mm block means above which an object is heterogeneous
CALCIFIED_ML = 0.10        # from this volume on calcification is present (Agatston's 130 HU, see measure.calcified)
GAS_ML = 0.30
ELONGATED, IRREGULAR = 0.55, 0.72   # PyRadiomics elongation below / sphericity below
SOLID_SHARE, GLASS_SHARE = 50.0, 15.0
"""Nodules, checked against the readers' median on 185 LIDC nodules: inner share above -300 HU, in per cent (kappa 0.60)."""
SHARP_HU_MM = 280.0        # gradient on the outline from which it is sharp (kappa 0.54)
SPICULATED = 0.75          # sphericity below which the outline has spikes (kappa 0.38; one reader reaches 0.50)
NODULE_CALCIUM_HU = 250.0  # 95th percentile from which a nodule is calcified (kappa 0.87)
_GREY = 0.15               # relative grey zone of every other border


@dataclass(frozen=True)
class Nameless:
    """What stands for the vocabulary entry of a thing without a name."""

    key: str = "thing"
    tubular: bool = False
    volume_ml_range: tuple[float, float] | None = None
    size_reference: tuple = ()


THING = Nameless()


def attributes_for(key: str) -> tuple[str, ...]:
    """Attributes that make sense for an object of the vocabulary, or for ``thing``, in the order they are emitted."""
    return _BY_KEY.get(key, _OTHERWISE)


def values_for(key: str, attribute: str) -> tuple[str, ...]:
    """Values that an object may have, empty where the attribute makes no sense for it."""
    if attribute not in attributes_for(key):
        return ()
    if attribute == "density":
        return _DENSITY_BY_KEY.get(key, ("air", "fat", "soft", "dense"))
    return ATTRIBUTES[attribute]


def tokens() -> list[str]:
    """All category tokens of the model, ``<cat:attribute=value>``, in a fixed order."""
    return [f"<cat:{attribute}={value}>" for attribute, values in ATTRIBUTES.items() for value in values]


def rule(attribute: str, obj, measured: Mapping[str, float], cut: bool = False) -> str | None:
    """Give the reference value of an attribute from measurements of the mask, or None where it cannot be told.

    ``obj`` needs ``key``, ``volume_ml_range`` and ``size_reference`` of a vocabulary entry; ``measured`` maps measurement names to
    values in the units of :data:`measure.NAMES`; ``cut`` says that the scan cuts the object.
    """
    obj = obj or THING
    key = obj.key
    if attribute not in attributes_for(key):
        return None
    value = _RULES[attribute](obj, measured, cut, 1.0)
    return value if value in values_for(key, attribute) else None


def accepted(attribute: str, obj, measured: Mapping[str, float], cut: bool = False) -> tuple[str, ...]:
    """Give every value that is right, more than one within the grey zone of a border; empty where it cannot be told."""
    obj = obj or THING
    found = [_RULES[attribute](obj, measured, cut, shift) for shift in (1.0, 1.0 - _GREY, 1.0 + _GREY)]
    allowed = values_for(obj.key, attribute)
    return tuple(dict.fromkeys(v for v in found if v in allowed))


# Every rule gets (object, measurements, cut, shift); shift moves the borders for the grey zone.

def _density(obj, measured, cut, shift):
    hu = measured.get("p50_hu")
    if hu is None:
        return None
    hu += (shift - 1.0) / _GREY * GREY_HU
    if hu < AIR_HU:
        return "air"
    if hu < FAT_HU:
        return "fat" if "fat" in values_for(obj.key, "density") else "soft"
    allowed = values_for(obj.key, "density")
    if "bone" in allowed:
        return "bone" if hu >= BONE_HU else "soft"
    if hu < ENHANCED_HU:
        return "soft"
    return "enhanced" if "enhanced" in allowed else "dense"


def _homogeneity(obj, measured, cut, shift):
    patchy = measured.get("patchiness_hu")
    limit = PATCHY_HU * (4.0 if obj.key.startswith("lung_") else 1.0)
    return None if patchy is None else "heterogeneous" if patchy > limit * shift else "homogeneous"


def _calcification(obj, measured, cut, shift):
    if obj.key == "lung_nodule":
        bright = measured.get("p95_hu")
        return None if bright is None else "present" if bright >= NODULE_CALCIUM_HU * shift else "none"
    volume = measured.get("calcified_volume")
    return None if volume is None else "present" if volume >= CALCIFIED_ML * shift**4 else "none"


def _gas(obj, measured, cut, shift):
    volume = measured.get("gas_volume")
    return None if volume is None else "present" if volume >= GAS_ML * shift**4 else "none"


def _size(obj, measured, cut, shift):
    relative = 1.0 + (shift - 1.0) / 5.0   # 3 %: about what a border half a voxel off makes of a volume or diameter
    limits = {reference_name(r): r["upper_mm"] for r in references(obj)}
    found = [measured[name] > upper * relative for name, upper in limits.items() if name in measured]
    if found:
        return "large" if any(found) else "normal"
    if limits or cut or obj.tubular or not obj.volume_ml_range or "volume" not in measured:
        return None
    low, high = obj.volume_ml_range
    volume = measured["volume"] / relative
    return "small" if volume < low else "large" if volume > high else "normal"


def _shape(obj, measured, cut, shift):
    elongation, sphericity = measured.get("elongation"), measured.get("sphericity")
    if elongation is None or sphericity is None or cut:
        return None
    if elongation < ELONGATED * shift:
        return "elongated"
    return "irregular" if sphericity < IRREGULAR * shift else "compact"


def _extent(obj, measured, cut, shift):
    return "cut" if cut else "complete"


def _texture(obj, measured, cut, shift):
    share = measured.get("solid_share")
    if share is None:
        return None
    share /= shift
    return "solid" if share >= SOLID_SHARE else "ground-glass" if share < GLASS_SHARE else "part-solid"


def _margin(obj, measured, cut, shift):
    steep = measured.get("rim_gradient")
    return None if steep is None else "sharp" if steep >= SHARP_HU_MM * shift else "ill-defined"


def _spiculation(obj, measured, cut, shift):
    sphericity = measured.get("sphericity")
    return None if sphericity is None else "present" if sphericity < SPICULATED * (1 + (shift - 1) / 3) else "none"


_RULES = {
    "density": _density, "homogeneity": _homogeneity, "calcification": _calcification, "gas": _gas, "size": _size,
    "shape": _shape, "extent": _extent, "texture": _texture, "margin": _margin, "spiculation": _spiculation,
}


def reference_name(reference: Mapping) -> str:
    """Name of the measurement that a size reference of the vocabulary speaks of (``diameter_max_ascending``)."""
    name, segment = reference["measurement"], reference.get("segment") or ""
    return f"{name}_{segment}" if name == "diameter_max" and segment else name


def references(obj) -> list[Mapping]:
    """One size reference of an object for each measurement: the first in the vocabulary, the widest where sexes differ."""
    chosen: dict[str, Mapping] = {}
    for reference in obj.size_reference or ():
        name = reference_name(reference)
        known = chosen.get(name)
        if known is None or (known.get("sex") and reference["upper_mm"] > known["upper_mm"]):
            chosen[name] = reference
    return list(chosen.values())


def nodule_labels(case: Mapping) -> dict[str, str]:
    """Give the words of a nodule from its radiologists' ratings (median over readers of an index line of the LIDC part).

    Order of a reader's ratings: subtlety, internal structure, calcification, sphericity, margin, lobulation, spiculation, texture,
    malignancy. Texture 1 to 2 is ground glass, 4 to 5 solid; margin from 4 sharp; spiculation from 2.5; calcification 6 is absent.
    """
    return {a: word(median(r[place] for r in case["ratings"])) for a, (place, word) in _RATED.items()}


def nodule_soft_labels(case: Mapping) -> dict[str, dict[str, float]]:
    """Give the share of readers behind each word, for soft targets; shares sum to 1 for each attribute."""
    out = {}
    for attribute, (place, word) in _RATED.items():
        votes: Sequence[str] = [word(r[place]) for r in case["ratings"]]
        out[attribute] = {value: votes.count(value) / len(votes) for value in ATTRIBUTES[attribute]}
    return out


_RATED = {
    "texture": (7, lambda r: "ground-glass" if r <= 2 else "solid" if r >= 4 else "part-solid"),
    "margin": (4, lambda r: "sharp" if r >= 4 else "ill-defined"),
    "spiculation": (6, lambda r: "present" if r >= 2.5 else "none"),
    "calcification": (2, lambda r: "none" if r >= 5.5 else "present"),
}
