"""Who may import whom: read from the sources, so that a new arrow is a decision and not an accident."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "CTReasoner" / "Logic" / "ctreasoner"

GROUND = {"errors", "events", "checked", "geometry", "resampling", "components", "vocabulary", "version", "answer"}
BELOW_ENGINE = GROUND | {"model", "appearance", "io", "experts"}
ENGINE = {"engine", "answering", "consulting", "looking", "refining", "conversation"}  # one thing in six files
FRONT = BELOW_ENGINE | ENGINE | {"dicom", "report"}
DOORS = {"reasoner", "remote", "cli", "session", "output", "listing", "demo", "bench", "system", "__main__",
         "archiving", "exporting", "importing", "roundtrip", "cluster"}

# area (first name below the package) -> the areas that it may import, beside itself
MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(GROUND, GROUND),
    "model": GROUND,
    "appearance": GROUND,
    "experts": GROUND | {"client"},         # their processes are run and watched as the panel does its engine's
    "io": GROUND | {"dicom"},               # read_volume hands a DICOM folder on, and imports that only then
    **dict.fromkeys(ENGINE, BELOW_ENGINE | ENGINE),
    "dicom": BELOW_ENGINE - {"io"},
    "pacs": GROUND | {"dicom"},
    "report": BELOW_ENGINE | ENGINE | {"dicom"},
    **dict.fromkeys(DOORS, FRONT | DOORS | {"pacs"}),
    "remote": GROUND | {"client", "reasoner"},
    "evaluation": FRONT | DOORS | {"dataset", "training"},
    "dataset": FRONT | {"reasoner"},        # reads and describes as the engine does, and lets it propose
    "training": GROUND | {"dataset", "model", "appearance"},
    "teach": GROUND | {"dataset", "model", "training"},
    "client": GROUND,                       # the files of ENGINE_SIDE: more
    "scene": GROUND | {"client"},
    "panel": GROUND | {"client", "scene"},
    "server": FRONT | DOORS | {"client", "pacs"},   # its engine is the worker process that the panel has
    "batch": FRONT | DOORS | {"pacs"},
    "mcp": FRONT | DOORS | {"client"},      # its export is the worker's
    "__init__": GROUND | {"reasoner", "remote"},
}
# what runs in the engine's process, though it lies beside the panel's half of the conversation
ENGINE_SIDE = {"client/worker.py", "client/bringing.py", "client/exporting.py", "client/pushing.py", "client/restoring.py"}
# verbs that only start another program
FORWARDS = {("cli", "training"), ("cli", "evaluation"), ("cli", "dataset"), ("cli", "server"), ("cli", "mcp"), ("cli", "batch")}
# tables are data: the grammar builds its tokens from the attributes and measures nothing with them; a data set takes its
# questions and sentences from the texts
TABLES = {"appearance.attributes", "appearance.phrases", "training.prompts", "training.wordings"}

LIGHT = {"client", "scene", "panel"}
HEAVY = {"torch", "transformers", "monai", "SimpleITK"}
# what the ground floor may have from outside: numpy, and rapidfuzz inside the function that suggests
GROUND_OUTSIDE = {"numpy", "rapidfuzz"}


def area_of(path: Path) -> str:
    """Return the first name below the package."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path: Path) -> set[tuple[str, str]]:
    """Return {("inside", area) or ("outside", package)} for every import of a file, those inside functions too."""
    parts = ("ctreasoner", *path.relative_to(PACKAGE).with_suffix("").parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(parts[: len(parts) - node.level]) if node.level else []
            stem = ".".join([*base, node.module] if node.module else base)
            names = [f"{stem}.{alias.name}" if stem == "ctreasoner" else stem for alias in node.names]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first != "ctreasoner":
                found.add(("outside", first))
            elif rest and ".".join(rest) not in TABLES:
                found.add(("inside", rest[0]))
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_arrow_points_upwards(path: Path) -> None:
    area = area_of(path)
    assert area in MAY_IMPORT, f"{area} is a new area: say in MAY_IMPORT what it may import"
    inside = {name for where, name in imports_of(path) if where == "inside"} - {area}
    names = {name for name in inside if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()}
    allowed = MAY_IMPORT[area] | (FRONT | DOORS | {"pacs"} if path.relative_to(PACKAGE).as_posix() in ENGINE_SIDE else set())
    wrong = {name for name in names - allowed if (area, name) not in FORWARDS}
    assert not wrong, f"{area} may not import {sorted(wrong)}"


@pytest.mark.parametrize("path", [p for p in FILES if area_of(p) in GROUND], ids=lambda p: str(p.relative_to(PACKAGE)))
def test_the_ground_floor_needs_numpy_and_the_standard_library_alone(path: Path) -> None:
    outside = {name for where, name in imports_of(path) if where == "outside"}
    assert outside <= GROUND_OUTSIDE | set(sys.stdlib_module_names)


def test_what_runs_inside_slicer_imports_nothing_heavy() -> None:
    heavy = {p.name: found for p in FILES if area_of(p) in LIGHT
             if (found := {name for where, name in imports_of(p) if where == "outside"} & HEAVY)}
    assert heavy == {}


def test_the_panel_s_half_of_the_client_does_not_import_the_engine_s() -> None:
    stems = {Path(name).stem for name in ENGINE_SIDE}
    for path in (p for p in FILES if area_of(p) == "client" and p.relative_to(PACKAGE).as_posix() not in ENGINE_SIDE):
        named = {alias.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
                 for alias in (*node.names, ast.alias((node.module or "").rpartition(".")[2]))}
        assert not named & stems, path.name


def test_the_client_needs_numpy_and_the_standard_library_alone() -> None:
    outside = {name for p in FILES if area_of(p) == "client" for where, name in imports_of(p) if where == "outside"}
    assert outside <= {"numpy"} | set(sys.stdlib_module_names)


def test_monai_is_imported_by_the_bench_and_training_alone() -> None:
    importers = {area_of(p) for p in FILES if ("outside", "monai") in imports_of(p)}
    assert importers <= {"bench", "training"}


def test_a_relative_import_is_resolved_to_its_area() -> None:
    assert ("inside", "errors") in imports_of(PACKAGE / "answer.py")
    assert ("inside", "reasoner") in imports_of(PACKAGE / "session.py")
