"""Write ``slicer_names.json``, the part of the full API index that the host judges by.

Usage: python trim_names.py slicer_api.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

CLASS_KEYS = (
    "py",
    "bases",
    "new",
    "ui",
    "cpp_class",
    "properties",
    "notify",
    "signals",
    "slots",
    "invokables",
    "decorated",
    "static",
    "cpp_static",
    "enums",
    "nonpublic_slots",
)
SECTIONS = (
    "slicer_util_functions",
    "slicer_util_classes",
    "slicer_packaging",
    "slicer_i18n",
    "ScriptedLoadableModule",
    "parameterNodeWrapper",
    "modules_python",
    "module_names",
    "shortcuts",
    "mrml_in_wheel_newer_than_release",
)


def trimmed(full: dict) -> dict:
    """Names, kinds and marks; where they were found stays in the full index."""
    classes = {}
    for name, entry in full["classes"].items():
        kept = {key: entry[key] for key in CLASS_KEYS if entry.get(key)}
        kept["bases"] = entry["bases"]
        kept["newer"] = sorted({mark.split(":", 1)[1].split("(")[0] for mark in entry.get("newer_than_release", ())})
        newer_forms = {mark.split(":", 1)[1] for mark in entry.get("newer_than_release", ())}
        for key in ("signals", "slots", "invokables", "decorated", "static"):
            if key in kept:
                kept[key] = [form for form in kept[key] if form.split("->")[0] not in newer_forms]
        for mark in newer_forms:
            kept.get("properties", {}).pop(mark, None)
        if not kept["newer"]:
            del kept["newer"]
        classes[name] = kept
    sections = {key: full[key] for key in SECTIONS}
    sections["shortcuts"] = {key: value for key, value in full["shortcuts"].items() if key != "how_to_read"}
    return {
        "release": full["header"]["release"],
        "release_commit": full["header"]["release_tag_commit"],
        "classes": classes,
        **sections,
    }


if __name__ == "__main__":
    source = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    target = Path(__file__).with_name("slicer_names.json")
    target.write_text(json.dumps(trimmed(source), separators=(",", ":"), ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
