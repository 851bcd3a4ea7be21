"""Coded concepts of measurements and attributes, for DICOM: standard codes where there are any, a private scheme elsewhere.

The private scheme is called ``99CTREASONER`` (designators that begin with 99 are local, PS3.3 8.2). A code value has at most 16
characters (PS3.3 table 8.8-1), so an attribute has two letters, and its values begin with them: "CA", "CA-present".
"""

from __future__ import annotations

from typing import NamedTuple

from . import Code

SCHEME = "99CTREASONER"
SCHEME_NAME = "CTReasoner attributes"
SCHEME_VERSION = "1"    # grows when a concept changes its meaning; new ones may come without

_SCT, _DCM = "SCT", "DCM"
ML: Code = ("ml", "UCUM", "milliliter")
MM: Code = ("mm", "UCUM", "millimeter")
HU: Code = ("[hnsf'U]", "UCUM", "Hounsfield unit")
_MEAN, _SD = ("373098007", _SCT, "Mean"), ("386136009", _SCT, "Standard Deviation")
_MAXIMUM, _MEDIAN = ("56851009", _SCT, "Maximum"), ("373099004", _SCT, "Median")
_DIAMETER, _ATTENUATION = ("81827009", _SCT, "Diameter"), ("112031", _DCM, "Attenuation Coefficient")


class MeasurementCode(NamedTuple):
    """How a measurement is said in DICOM (PS3.16 TID 300): concept, unit, derivation, and a part of the object."""

    concept: Code
    unit: Code
    derivation: Code | None = None
    site: Code | None = None


MEASUREMENTS: dict[str, MeasurementCode] = {
    "volume": MeasurementCode(("118565006", _SCT, "Volume"), ML),
    "long_axis": MeasurementCode(("103339001", _SCT, "Long Axis"), MM),
    "short_axis": MeasurementCode(("103340004", _SCT, "Short Axis"), MM),
    "diameter_max": MeasurementCode(_DIAMETER, MM, _MAXIMUM),
    "diameter_median": MeasurementCode(_DIAMETER, MM, _MEDIAN),
    "diameter_max_ascending": MeasurementCode(_DIAMETER, MM, _MAXIMUM, ("54247002", _SCT, "Ascending aorta")),
    "diameter_max_arch": MeasurementCode(_DIAMETER, MM, _MAXIMUM, ("57034009", _SCT, "Aortic arch")),
    "diameter_max_descending": MeasurementCode(_DIAMETER, MM, _MAXIMUM, ("281130003", _SCT, "Descending aorta")),
    "mean_hu": MeasurementCode(_ATTENUATION, HU, _MEAN),
    "sd_hu": MeasurementCode(_ATTENUATION, HU, _SD),
}
"""Measurement name -> its codes, in the order of a report. What is not here does not go into one."""

_ATTRIBUTES: dict[str, tuple[str, str, dict[str, str]]] = {
    "density": ("DE", "Density class", {"air": "Air", "fat": "Fat", "soft": "Soft tissue", "dense": "Denser than soft tissue",
                                        "enhanced": "Contrast-enhanced", "bone": "Bone"}),
    "homogeneity": ("HO", "Homogeneity", {"homogeneous": "Homogeneous", "heterogeneous": "Heterogeneous"}),
    "calcification": ("CA", "Calcification", {"none": "No calcification", "present": "Calcification present"}),
    "gas": ("GA", "Gas", {"none": "No gas", "present": "Gas present"}),
    "size": ("SI", "Size class", {"small": "Small", "normal": "Normal", "large": "Large"}),
    "shape": ("SH", "Shape", {"compact": "Compact", "elongated": "Elongated", "irregular": "Irregular"}),
    "extent": ("EX", "Extent in the scan", {"complete": "Completely scanned", "cut": "Cut by the scan"}),
    "texture": ("TE", "Nodule texture", {"solid": "Solid", "part-solid": "Part-solid", "ground-glass": "Ground-glass"}),
    "margin": ("MA", "Margin", {"sharp": "Sharp", "ill-defined": "Ill-defined"}),
    "spiculation": ("SP", "Spiculation", {"none": "No spiculation", "present": "Spiculation present"}),
}


def attribute_code(attribute: str) -> Code | None:
    """Return the concept of an attribute, None for one without.

    >>> attribute_code("calcification")
    ('CA', '99CTREASONER', 'Calcification')
    """
    known = _ATTRIBUTES.get(attribute)
    return (known[0], SCHEME, known[1]) if known else None


def value_code(attribute: str, value: str) -> Code | None:
    """Return the concept of an attribute's value, None for one without.

    >>> value_code("calcification", "present")
    ('CA-present', '99CTREASONER', 'Calcification present')
    """
    known = _ATTRIBUTES.get(attribute)
    return (f"{known[0]}-{value}", SCHEME, known[2][value]) if known and value in known[2] else None


def attribute_of(concept: str, value: str) -> tuple[str, str] | None:
    """Return (attribute, value) of two code values of the private scheme, None where they are none of ours.

    >>> attribute_of("CA", "CA-present")
    ('calcification', 'present')
    """
    for attribute, (letters, _, values) in _ATTRIBUTES.items():
        if letters == concept and value.startswith(f"{letters}-") and value[3:] in values:
            return attribute, value[3:]
    return None
