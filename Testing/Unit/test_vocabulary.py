"""The vocabulary: keys, codes, ranges, names, and suggestions that never stand in for the model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ctreasoner.errors import InputError
from ctreasoner.vocabulary import TIERS, Vocabulary
from ctreasoner.vocabulary import __file__ as package_file

KEYS = {
    "heart": "80891009",
    "aorta": "15825003",
    "trachea": "44567001",
    "esophagus": "32849002",
    "mandible": "91609006",
    "brainstem": "15926001",
    "parotid_right": "45289007",
    "parotid_left": "45289007",
    "spinal_cord": "2748008",
    "larynx": "4596009",
    "lung_right": "39607008",
    "lung_left": "39607008",
    "lung_nodule": "27925004",
}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


def test_every_object_has_its_snomed_type(vocabulary):
    assert {item.key: item.type[0] for item in vocabulary} == KEYS
    assert all(item.type[1] == item.category[1] == "SCT" for item in vocabulary)


def test_snomed_codes_carry_their_check_digit(vocabulary):
    for item in vocabulary:
        for code in (item.category, item.type, item.modifier, item.anatomic_region):
            assert code is None or _verhoeff(code[0]), code


def test_codes_are_those_of_the_dicom_dictionary(vocabulary):
    concepts = pytest.importorskip("pydicom.sr._concepts_dict").concepts["SCT"]
    meanings = {
        value: {entry[value][0] for entry in concepts.values() if value in entry}
        for value in set(KEYS.values()) - {"15926001"}
    }
    for item in vocabulary:
        if item.type[0] in meanings:
            assert item.type[2] in meanings[item.type[0]]


def test_sides_point_at_each_other(vocabulary):
    for item in vocabulary:
        assert (item.laterality is None) == (item.pair is None) == (item.modifier is None)
        if item.pair:
            other = vocabulary[item.pair]
            assert other.pair == item.key and {item.laterality, other.laterality} == {"left", "right"}
            assert item.modifier[2].lower() == item.laterality == item.key.rsplit("_", 1)[1]
            assert all(name.count(other.laterality) == 0 for name in item.names)


def test_tiers_and_floors_are_as_planned(vocabulary):
    tiers = {tier: {item.key for item in vocabulary if item.tier == tier} for tier in TIERS}
    assert tiers["A"] == {"heart", "aorta", "trachea", "mandible", "brainstem", "parotid_left", "parotid_right"}
    assert tiers["C"] == {"lung_nodule"} == {item.key for item in vocabulary if item.clickable_only}
    floors = {item.key: item.spacing_floor_mm for item in vocabulary}
    assert (
        floors["aorta"] == 2.4
        and floors["larynx"] == 2.5
        and floors["lung_left"] == 3.0
        and floors["lung_nodule"] == 0.8
    )


def test_ranges_and_references_name_their_sources(vocabulary):
    for item in vocabulary:
        assert item.hu_source and item.volume_source
        for reference in item.size_reference:
            assert reference["source"] and reference["phase"] and reference["upper_mm"] > (reference["lower_mm"] or 0)
    limits = {r["segment"]: r["upper_mm"] for r in vocabulary["aorta"].size_reference}
    assert limits["ascending"] == 40 and limits["descending"] == 30


def test_no_name_means_two_objects(vocabulary):
    owner: dict[str, str] = {}
    for item in vocabulary:
        for name in (item.display.lower(), *item.names, *item.plurals, *item.parts):
            assert owner.setdefault(name, item.key) == item.key


def test_colours_differ(vocabulary):
    assert len({item.colour for item in vocabulary}) == len(vocabulary)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("aorrta", "aorta"),
        ("esophogus", "esophagus"),
        ("Wind-pipe", "trachea"),
        ("left parrotid", "parotid_left"),
        ("mandibel", "mandible"),
    ],
)
def test_suggests_what_is_spelled_alike(vocabulary, words, key):
    pytest.importorskip("rapidfuzz")
    assert vocabulary.suggest(words)[0] == key


@pytest.mark.parametrize("words", ["", "x", "kidney", "spleen", "guitar", "心脏", "   ", "a" * 10000])
def test_suggests_nothing_for_what_is_far(vocabulary, words):
    assert vocabulary.suggest(words) == []


def test_display_of_an_unknown_key_is_its_words(vocabulary):
    assert vocabulary.display("thing") == "Thing" and vocabulary.display("lung_left") == "Lung, left"
    assert vocabulary.get("liver") is None and "liver" not in vocabulary


def _shipped() -> dict:
    return json.loads(Path(package_file).with_name("objects.json").read_text(encoding="utf-8"))


def _wrong(change) -> str:
    table = _shipped()
    change(table["objects"])
    return json.dumps(table)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"objects": 3}',
        '{"objects": [3]}',
        '{"objects": [{"key": "x"}]}',
        _wrong(lambda objects: objects[0].update(tier="Z")),
        _wrong(lambda objects: objects[0].update(type=["1", "SCT"])),
        _wrong(lambda objects: objects[0].update(colour=[1, 2, 300])),
        _wrong(lambda objects: objects[0].update(hu_range=[3, 1])),
        _wrong(lambda objects: objects[0].update(hu_range=[3])),
        _wrong(lambda objects: objects[0].update(laterality="up")),
        _wrong(lambda objects: objects[0].update(pair="liver")),
        _wrong(lambda objects: objects.append(objects[0])),
    ],
)
def test_a_wrong_vocabulary_is_refused_with_a_code(tmp_path, text):
    path = tmp_path / "objects.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        Vocabulary.load(path)
    assert caught.value.code.startswith("CTR-VOC-00") and caught.value.hint and str(tmp_path) not in str(caught.value)


def test_a_missing_vocabulary_is_refused(tmp_path):
    with pytest.raises(InputError):
        Vocabulary.load(tmp_path / "none.json")


def test_unknown_fields_are_ignored(tmp_path):
    path = tmp_path / "objects.json"
    path.write_text(_wrong(lambda objects: objects[0].update(shoe_size=43)), encoding="utf-8")
    assert Vocabulary.load(path).keys() == tuple(KEYS)


def test_loading_imports_nothing_heavy():
    code = (
        "import sys; from ctreasoner.vocabulary import Vocabulary; Vocabulary.load();"
        "print([m for m in ('torch', 'transformers', 'rapidfuzz', 'SimpleITK', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(Path(package_file).parents[2])},
    )
    assert done.stdout.strip() == "[]", done.stderr


def _verhoeff(number: str) -> bool:
    """Whether a SNOMED CT identifier ends in its own check digit (Verhoeff's dihedral scheme)."""
    check = 0
    for place, digit in enumerate(reversed(number)):
        digit = int(digit)
        for _ in range(place % 8):
            digit = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[digit]
        check = _dihedral(check, digit)
    return check == 0


def _dihedral(a: int, b: int) -> int:
    if a < 5:
        return (a + b) % 5 if b < 5 else 5 + (a + b) % 5
    return 5 + (a - b) % 5 if b < 5 else (a - b) % 5
