"""How a sentence says a category: attribute -> value -> its phrases. `width` is the size of a tube.

A model learns these wordings, and its grammar knows by them when a sentence begins to say a category. Data; the checker reads words
with a lexicon of its own.
"""

from __future__ import annotations

PHRASES: dict[str, dict[str, tuple[str, ...]]] = {
    "density": {
        "air": ("contains air", "is filled with air", "has the density of air", "is air-filled"),
        "fat": ("has the density of fat", "is fatty", "has fat density", "is mostly fat"),
        "soft": ("has soft tissue density", "has the density of soft tissue", "is soft tissue", "is not enhanced"),
        "dense": ("is dense", "is denser than soft tissue", "has a high density", "is brighter than soft tissue"),
        "enhanced": ("is enhanced by contrast", "shows contrast enhancement", "is filled with contrast", "is enhanced"),
        "bone": ("has bone density", "has the density of bone", "is as dense as bone", "is bony"),
    },
    "homogeneity": {
        "homogeneous": ("is homogeneous", "looks uniform", "is uniform inside", "has an even density"),
        "heterogeneous": ("is heterogeneous", "looks uneven", "is uneven inside", "has a mixed density"),
    },
    "calcification": {
        "none": ("shows no calcification", "is not calcified", "has no calcification", "is free of calcification"),
        "present": ("is calcified", "shows calcification", "has calcification", "contains calcification"),
    },
    "gas": {
        "none": ("contains no gas", "is free of gas", "shows no gas", "has no gas inside"),
        "present": ("contains gas", "shows gas", "has gas inside", "holds some gas"),
    },
    "size": {
        "small": ("is small", "is smaller than the reference", "is below the reference size", "is rather small"),
        "normal": ("is of normal size", "has a normal size", "is not enlarged", "is within the reference size"),
        "large": ("is large", "is enlarged", "is larger than the reference", "is above the reference size"),
    },
    "width": {
        "small": ("is narrow", "is narrower than the reference", "is below the reference width", "is rather narrow"),
        "normal": ("is not dilated", "has a normal width", "is of normal width", "is within the reference width"),
        "large": ("is dilated", "is wider than the reference", "is widened", "is above the reference width"),
    },
    "shape": {
        "compact": ("has a compact shape", "is compact", "is compact in shape", "looks compact"),
        "elongated": ("has an elongated shape", "is elongated", "is elongated in shape", "looks elongated"),
        "irregular": ("has an irregular shape", "is irregular", "is irregular in shape", "looks irregular"),
    },
    "extent": {
        "complete": (
            "is completely covered by the scan", "lies completely inside the scan",
            "is complete in this scan", "is fully inside the scan",
        ),
        "cut": (
            "is cut by the border of the scan", "is not completely covered by the scan",
            "reaches the border of the scan", "is cut off by the scan",
        ),
    },
    "texture": {
        "solid": ("is solid", "has a solid texture", "is a solid nodule", "looks solid"),
        "part-solid": ("is part-solid", "has a part-solid texture", "is a part-solid nodule", "looks part-solid"),
        "ground-glass": ("is ground-glass", "has a ground-glass texture", "is a ground-glass nodule", "looks like ground-glass"),
    },
    "margin": {
        "sharp": ("has a sharp margin", "is sharply defined", "has sharp borders", "has a well-defined margin"),
        "ill-defined": ("has an ill-defined margin", "is ill-defined", "has ill-defined borders", "has a blurred margin"),
    },
    "spiculation": {
        "none": ("shows no spiculation", "is not spiculated", "has no spicules", "is free of spiculation"),
        "present": ("is spiculated", "shows spiculation", "has spicules", "has a spiculated outline"),
    },
}
