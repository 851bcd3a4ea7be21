"""What docs/ says is true: its error sentences, controls, numbers, files, commands, pictures and tests exist."""

from __future__ import annotations

import ast
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ctreasoner import cli
from ctreasoner.client import local, plan, telling
from ctreasoner.client.pythons import NEWEST, OLDEST

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
MODULE = ROOT / "CTReasoner"
PACKAGE = MODULE / "Logic" / "ctreasoner"
# whose errors a person may see; training, evaluation and bench are for those who make models, but for published data sets
SHOWN = [p for p in sorted(PACKAGE.rglob("*.py"))
         if p.relative_to(PACKAGE).parts[0] not in ("training", "evaluation", "bench") or p.name in ("recipe.py", "benchmark.py")]
CODE = re.compile(r"CTR(-[A-Z]+)?-\d{3}")
# where the panel says something without a code
TELLS = {"tell", "note", "abandon", "fail_all", "_leave"}
FRIENDLY = ("Exporting …", "The findings are in the clipboard.", "Exported to …", "The DICOM objects are in the database.")


def text_of(node: ast.AST | None) -> str | None:
    """Return a string as a person reads it, with "…" for what is filled in; None for no string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "…" for v in node.values)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "_":
        return text_of(node.args[0])
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "format":
        return re.sub(r"\{\w*\}", "…", text_of(node.func.value) or "")
    return None


def sayings(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (code, sentence) of everything in a file that carries a code; "" where the sentence is made elsewhere."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        named: dict[str | None, ast.AST] = {}
        if isinstance(node, ast.Call):
            parts, named = list(node.args), {k.arg: k.value for k in node.keywords}
        elif isinstance(node, ast.Tuple):
            parts = list(node.elts)
        elif isinstance(node, ast.Dict):
            parts, named = [], {text_of(k): v for k, v in zip(node.keys, node.values, strict=True) if k is not None}
        else:
            continue
        words = [w for w in map(text_of, [*parts, named.get("code")]) if w]
        codes = [w for w in words if CODE.fullmatch(w)]
        said = text_of(named.get("sentence")) or next((w for w in words if not CODE.fullmatch(w)), "")
        if codes:
            yield codes[0], said


def codes_of(path: Path) -> set[str]:
    """Return every code that stands as a string in a file."""
    return {n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(n, ast.Constant) and isinstance(n.value, str) and CODE.fullmatch(n.value)}


def told(path: Path) -> Iterator[str]:
    """Yield the sentences that a file of the panel says to a person without a code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TELLS:
            first = next((t for t in map(text_of, node.args) if t and " " in t), "")
            if first:
                yield first


def pieces(sentence: str) -> list[str]:
    """Return the words between what is filled in, where they are enough to know the sentence by."""
    return [p for p in (part.strip(" .,:;()'\"") for part in sentence.split("…")) if len(p) >= 5]


@cache
def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@cache
def rows() -> tuple[str, ...]:
    return tuple(line for line in page("troubleshooting.md").splitlines() if line.startswith("| "))


# ---------------------------------------------------------------- errors

@pytest.mark.parametrize("path", SHOWN, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_every_error_stands_in_the_troubleshooting_with_its_own_words(path: Path) -> None:
    missing = [(code, said) for code, said in sayings(path)
               if not any(code in row and all(p in row for p in pieces(said)) for row in rows())
               and not (not pieces(said) and code in page("troubleshooting.md"))]
    assert missing == []
    assert {code for code in codes_of(path) if code not in page("troubleshooting.md")} == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "panel").glob("*.py")), ids=lambda p: p.name)
def test_what_the_panel_says_without_a_code_stands_there_too(path: Path) -> None:
    missing = [s for s in told(path) if not s.startswith(FRIENDLY) and not any(all(p in r for p in pieces(s)) for r in rows())]
    assert missing == []


def test_no_code_on_the_page_is_made_up() -> None:
    real = set().union(*map(codes_of, SHOWN))
    assert {m[0] for m in CODE.finditer(page("troubleshooting.md"))} - real == set()


def test_every_row_says_why_and_what_to_do() -> None:
    assert [row for row in rows() if re.search(r"\|\s*\|\s*$", row) or row.count("|") not in (4, 5)] == []


# ---------------------------------------------------------------- the panel

def controls() -> list[str]:
    """Return the texts of buttons, boxes and labels of the panel in its order, and the choices of its lists."""
    found = []
    for widget in ET.parse(MODULE / "Resources" / "UI" / "CTReasoner.ui").iter("widget"):
        if widget.get("class") in ("QPushButton", "QCheckBox", "QLabel", "ctkCollapsibleButton"):
            found += [p.findtext("string") for p in widget.findall("property") if p.get("name") == "text" and p.findtext("string")]
        found += [i.findtext("property/string") for i in widget.findall("item")]
    return found


def test_every_control_is_explained_in_the_order_of_the_panel() -> None:
    text, at = page("panel.md"), 0
    for shown in controls():
        found = re.compile(rf"(\*\*|\*|^## ){re.escape(shown)}(\*|$)", re.MULTILINE).search(text, at)
        if found is None and shown in text:     # explained together with a neighbour
            assert re.search(rf"(\*\*|\*|^## ){re.escape(shown)}(\*|$)", text, re.MULTILINE), shown
            continue
        assert found, shown
        at = found.start() if text[found.start():found.start() + 2] != "##" else found.end()


def test_keys_and_numbers_are_those_of_the_code() -> None:
    def constant(file: str, name: str) -> object:
        tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
        return next(ast.literal_eval(n.value) for n in tree.body
                    if isinstance(n, ast.Assign) and getattr(n.targets[0], "id", "") == name)

    panel, tutorial, trouble = page("panel.md"), page("slicer.md"), page("troubleshooting.md")
    assert f"`{constant('panel/keys.py', 'CLICK_KEY')}`" in panel and f"`{constant('panel/keys.py', 'CLICK_KEY')}`" in tutorial
    assert constant("scene/journal.py", "DEPTH") == 20 and "Twenty answers" in panel
    assert f"the newest {constant('scene/transcript.py', 'MAX_TURNS')} turns" in panel
    assert f"up to {constant('model/processor.py', 'LONGEST_QUESTION')} characters" in panel
    assert constant("panel/controller.py", "EDIT_QUIET_S") == 2 and "two seconds after" in panel.lower()
    assert local.ACKNOWLEDGE_S == 2 and "after two seconds" in panel and local.STOP_S == 60
    assert f"each {telling.SILENT_S:.0f} seconds" in trouble
    assert f"about {plan.DOWNLOAD_MB} MB" in tutorial and f"about {plan.DISK_MB:,} MB" in tutorial
    assert f"{plan.DOWNLOAD_MB + plan.DISK_MB:,} MB must be free" in tutorial
    assert f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}" in trouble


# ---------------------------------------------------------------- what is named exists

def links(text: str) -> Iterator[str]:
    yield from re.findall(r"\]\(([^)]+)\)", text)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_links_lead_to_files_and_headings(path: Path) -> None:
    for link in links(page(path.name)):
        if re.match(r"https?://", link) or "pictures/" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (DOCS / file).resolve() if file else path
        assert target.is_file(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, link


def test_pictures_are_those_that_the_script_makes() -> None:
    scripts = ROOT / "Testing" / "Host" / "make_pictures.py", DOCS / "data_picture.py", DOCS / "overview_picture.py"
    made = {name for script in scripts for name in re.findall(r'"([\w-]+\.png)"', script.read_text(encoding="utf-8"))}
    named = {Path(link).name for path in PAGES for link in links(page(path.name)) if "pictures/" in link}
    assert named and named <= made
    there = {p.name for p in (DOCS / "pictures").glob("*.png")} if (DOCS / "pictures").is_dir() else set()
    assert not there & made or named <= there       # all of them, as soon as the script has run


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_pictures_are_described(path: Path) -> None:
    assert all(len(words) > 20 for words in re.findall(r"!\[([^\]]*)\]", page(path.name)))


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_files_and_tests_that_are_named_exist(path: Path) -> None:
    for name in re.findall(r"`((?:CTReasoner|Testing|docs)/[^`\s]+)`", page(path.name)):
        file, _, test = name.partition("::")
        if "Resources/Models/compact" in file:      # the model's place, whether one lies there or not
            continue
        assert (ROOT / file).exists(), name
        assert not test or f"def {test}(" in (ROOT / file).read_text(encoding="utf-8"), name


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_commands_that_are_named_exist(path: Path) -> None:
    text = page(path.name)
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"(?:\$ |`)make (\w+)", text)) <= targets
    verbs = {command.name or command.callback.__name__ for command in cli.app.registered_commands}
    verbs |= {group.name for group in cli.app.registered_groups}
    assert set(re.findall(r"(?:\$ |`)ctreasoner (\w+)", text)) <= verbs
    for program in re.findall(r"python ([\w/]+\.py)", text):
        assert (ROOT / program).is_file(), program


def test_the_index_names_every_page() -> None:
    assert {p.name for p in PAGES} - {"README.md"} <= set(links(page("README.md")))


def test_privacy_names_each_promise_with_a_test() -> None:
    parts = re.split(r"^## ", page("privacy.md"), flags=re.MULTILINE)
    for promise in ("No reporting", "No listening", "No code in data files"):
        part = next(p for p in parts if p.startswith(promise))
        assert "`Testing/" in part and "::test_" in part
