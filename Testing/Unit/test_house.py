"""The files that Slicer, pip and CI read say the same things."""

from __future__ import annotations

import json
import os
import re
import tomllib
from pathlib import Path

import pytest
from audit_packages import summary
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
PINS = {
    (pin := Requirement(line)).name.lower(): str(pin.specifier)[2:]
    for line in (ROOT / "constraints-py311.txt").read_text().splitlines()
    if line and not line.startswith("#")
}


def test_the_extras_are_these() -> None:
    assert list(EXTRAS) == ["engine", "pacs", "server", "mcp", "batch", "train", "dev"]


def test_building_never_fetches_torch() -> None:
    assert [Requirement(r).name for r in PROJECT["build-system"]["requires"]] == ["hatchling"]


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_pin_lies_in_its_range(extra: str) -> None:
    for text in EXTRAS[extra]:
        requirement = Requirement(text)
        pinned = PINS.get(requirement.name.lower())
        assert pinned is None or requirement.specifier.contains(pinned), f"{text} does not allow {pinned}"


def test_everything_that_the_engine_installs_is_pinned() -> None:
    assert {Requirement(text).name.lower() for text in EXTRAS["engine"]} <= set(PINS)


def test_no_extra_brings_a_package_under_the_gpl() -> None:
    named = {Requirement(text).name.lower() for texts in EXTRAS.values() for text in texts}
    assert "pylibjpeg-libjpeg" not in named


def test_the_wheel_carries_the_weights() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included == {"CTReasoner/Resources/Models": "ctreasoner/_models"}
    assert (ROOT / "CTReasoner" / "Resources" / "Models").is_dir()


def test_the_catalogue_entry_agrees_with_cmake() -> None:
    entry = json.loads((ROOT / "CTReasoner.json").read_text())
    cmake = (ROOT / "CMakeLists.txt").read_text()
    assert set(entry) == {"$schema", "build_dependencies", "build_subdirectory", "category", "scm_revision", "scm_url", "tier"}
    assert 'set(EXTENSION_DEPENDS "NA")' in cmake and entry["build_dependencies"] == []
    homepage = re.search(r'EXTENSION_HOMEPAGE "([^"]+)"', cmake)[1]
    assert entry["scm_url"] == homepage + ".git"
    old = (ROOT / "CTReasoner.s4ext").read_text()
    assert f"scmurl {entry['scm_url']}" in old and f"category {entry['category']}" in old


def test_pictures_that_cmake_names_are_in_the_repository() -> None:
    icon = re.search(r'EXTENSION_ICONURL "[^"]+/main/([^"]+)"', (ROOT / "CMakeLists.txt").read_text())[1]
    assert (ROOT / icon).is_file()


def test_the_paper_can_be_cited() -> None:
    text = (ROOT / "CITATION.cff").read_text()
    assert "arXiv:2605.15997" in text
    assert all(name in text for name in ("Liu", "Peng", "Ouyang", "Noble"))


def test_ci_runs_make_test() -> None:
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert script.read_text().rstrip().endswith("make test")


def test_make_says_what_it_installs_before_it_does() -> None:
    recipes = (ROOT / "Makefile").read_text()
    for stamp in (".torch", ".engine", ".bench", ".dev"):
        recipe = recipes.split(f"\n.venv/{stamp}:")[1].split("\n\n")[0].splitlines()[1:]
        assert "GB" in recipe[0] or "MB" in recipe[0]


WEAK = {"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1", "fix_versions": ["2"]}, {"id": "PYSEC-2", "fix_versions": []}]}
CLEAN = {"name": "b", "version": "1", "vulns": []}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(("packages", "status", "said"), [
    ([], 2, "No package was audited"),
    ([UNKNOWN], 2, "No package was audited"),
    ([CLEAN], 0, "Packages audited: 1; weaknesses known: 0."),
    ([CLEAN, WEAK, UNKNOWN], 1, "PYSEC-2, mended in no version yet\nPackages audited: 2; weaknesses known: 2. Not audited: c."),
])  # fmt: skip
def test_an_audit_that_asked_nobody_is_not_called_clean(packages, status, said) -> None:
    told, ended = summary(packages)
    assert said in told and ended == status
