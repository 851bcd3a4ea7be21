"""Files that Slicer reads are parsed, not trusted: .ui, CMakeLists, and the host's copy of the index."""

from __future__ import annotations

import ast
import sys
import threading
from pathlib import Path

import host
import pytest
from host import cmake, errors, lines, names, uifile
from test_host_rules import GOOD, UI

ROOT = Path(__file__).resolve().parents[2]

BAD_UI = {
    "an unknown property": {"properties": '<property name="nodeKinds"><bool>true</bool></property>'},
    "a property of another kind": {"properties": '<property name="noneEnabled"><string>yes</string></property>'},
    "a signal that is not there": {"signal": "sceneChanged(vtkMRMLScene*)"},
    "a signal with other types": {"signal": "mrmlSceneChanged(vtkObject*)"},
    "a custom class that does not exist": {
        "custom": "<customwidget><class>qMRMLChat</class><extends>QWidget</extends><header>x.h</header></customwidget>"},
}


@pytest.mark.parametrize("change", [pytest.param(value, id=key) for key, value in BAD_UI.items()])
def test_a_ui_file_that_slicer_would_not_load_whole_is_refused(app, change):
    with pytest.raises(errors.WrongUse):
        uifile.build(UI.format(**{**GOOD, **change}))


@pytest.mark.parametrize(("old", "new", "said"), [
    ('class="qMRMLNodeComboBox"', 'class="qMRMLNodeCombo"', "does not exist"),
    ("<class>qMRMLNodeComboBox</class><extends>", "<class>ctkComboBox</class><extends>", "not declared"),
    ("<slot>setMRMLScene(vtkMRMLScene*)</slot>", "<slot>setScene(vtkMRMLScene*)</slot>", "no slot"),
    ("<receiver>ctSelector</receiver>", "<receiver>selector</receiver>", "does not exist"),
    ('class="qMRMLNodeComboBox"', 'class="ctkMessageBox"', "no Designer plugin"),
])
def test_what_is_wrong_in_a_ui_file_is_said(app, old, new, said):
    text = UI.format(**GOOD).replace(old, new, 1)
    assert text != UI.format(**GOOD)
    with pytest.raises(errors.WrongUse, match=said):
        uifile.build(text)


def test_every_ui_file_of_the_module_resolves():
    import xml.etree.ElementTree as ET
    files = sorted((ROOT / "CTReasoner" / "Resources" / "UI").glob("*.ui"))
    assert files
    for file in files:
        assert uifile.check(ET.parse(file).getroot(), str(file)) == []


CMAKE = """
set(MODULE_NAME Small)   # a comment
set(MODULE_PYTHON_SCRIPTS
  ${MODULE_NAME}.py
  Lib/part
  )
slicerMacroBuildScriptedModule(
  NAME ${MODULE_NAME}
  SCRIPTS ${MODULE_PYTHON_SCRIPTS}
  RESOURCES "Resources/UI/Small.ui"
  WITH_GENERIC_TESTS
  )
if(BUILD_TESTING)
  slicer_add_python_unittest(SCRIPT ${MODULE_NAME}.py)
endif()
"""


@pytest.fixture
def small(tmp_path):
    source = tmp_path / "Small"
    for file in ("Small.py", "Lib/part.py", "Lib/forgotten.py", "Resources/UI/Small.ui"):
        (source / file).parent.mkdir(parents=True, exist_ok=True)
        (source / file).write_text("x = 1\n")
    (source / "CMakeLists.txt").write_text(CMAKE)
    return source


def test_a_copy_holds_what_cmake_lists_and_nothing_else(small, tmp_path):
    module = cmake.installed_copy(small, tmp_path / "installed")
    copied = sorted(p.relative_to(module.parent).as_posix() for p in module.parent.rglob("*") if p.is_file())
    assert copied == ["Lib/part.py", "Resources/UI/Small.ui", "Small.py"]


def test_a_listed_file_that_is_not_there_is_an_error(small):
    (small / "Lib/part.py").unlink()
    with pytest.raises(FileNotFoundError, match="part"):
        cmake.scripted_module(small)


def test_the_index_is_small_and_of_one_release():
    assert names.INDEX.stat().st_size < 1.5e6
    assert names.index()["release"] == "5.12.3"


def test_implementations_have_no_name_that_the_index_lacks():
    """Public members of the host's widgets are members of Slicer's; a leading underscore or a hook of the host is not."""
    from host import indexclasses
    hooks = {"open", "shut", "start", "show_node", "list_module", "forget", "show_module", "leave_module", "make", "panel", "add",
             "unload", "unload_all", "testing", "render_seconds", "render_count"}
    for name, cls in indexclasses._implementations.items():
        wrapper = indexclasses.index_class(name)
        for level in cls.__mro__:
            if not level.__module__.startswith("host"):
                continue
            for member in vars(level):
                ours = member.startswith("_") or member in hooks or member.isupper() or member.endswith("Event")
                assert ours or hasattr(wrapper, member), f"{name}.{member} is not in the index"


def test_newer_names_of_the_wheel_are_hidden():
    import slicer
    hidden = 0
    for cls, members in names.newer_mrml().items():
        for member in members:
            if hasattr(slicer, cls):
                hidden += 1
                with pytest.raises(host.NotInSlicer):
                    getattr(getattr(slicer, cls), member)
    assert hidden >= 50


def test_no_module_code_knows_the_host():
    """No import of the host, of PyQt5 or of the wheel's package, no processEvents."""
    module = ROOT / "CTReasoner"
    files = [module / "CTReasoner.py", *(module / "Logic" / "ctreasoner" / "panel").rglob("*.py"),
             *(module / "Logic" / "ctreasoner" / "scene").rglob("*.py")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            imported = [a.name for a in node.names] if isinstance(node, ast.Import) else \
                [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not {name.split(".")[0] for name in imported} & {"host", "PyQt5", "PySide6", "sip", "slicer_core"}, file
            assert not (isinstance(node, ast.Attribute) and node.attr in ("processEvents", "_host_object")), file


def test_lines_that_did_not_run_are_found(tmp_path):
    file = tmp_path / "watched.py"
    file.write_text("def f(x):\n    if x:\n        return 1\n    return 2\n\n\nf(1)\n")
    watched = lines.Lines([file])
    before = sys.gettrace(), threading.gettrace()
    watched.start()
    try:
        exec(compile(file.read_text(), str(file), "exec"), {})
    finally:
        sys.settrace(before[0])
        threading.settrace(before[1])
    assert watched.missing() == {str(file): [4]}
    assert lines.ranges([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
