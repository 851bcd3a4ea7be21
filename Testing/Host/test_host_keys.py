"""The main window owns the keys that Slicer's owns; the inert ones stay inert; two bindings of a key silence both."""

from __future__ import annotations

import host
import pytest
import qt
import slicer


@pytest.fixture
def window(app):
    app.window.activateWindow()
    app.process()
    app.window.fired.clear()
    return slicer.util.mainWindow()


@pytest.mark.parametrize(("keys", "what"), [
    ("Ctrl+O", "FileAddDataAction"), ("Ctrl+S", "FileSaveSceneAction"), ("Ctrl+W", "FileCloseSceneAction"),
    ("Ctrl+H", "ModuleHomeAction"),
    ("Ctrl+4", "ViewExtensionsManagerAction"), ("Ctrl+2", "EditApplicationSettingsAction"), ("Ctrl+5", "panel dock"),
    ("Ctrl+0", "error log"), ("Ctrl+3", "Python console"), ("Ctrl+1", "documentation"), ("Ctrl+F", "module finder"),
    ("Ctrl+Left", "previous module"), ("Ctrl+Right", "next module"), ("Ctrl+Shift+A", "create markups node"),
    ("Ctrl+Shift+T", "toggle place persistence"), ("Ctrl+Shift+Space", "place a point"),
])
def test_slicers_own_keys_fire(app, window, keys, what):
    host.key(window, keys)
    assert app.window.fired == [what]


@pytest.mark.parametrize("keys", ["Ctrl+Z", "Ctrl+Y", "Ctrl+6", "Escape", "Ctrl+B"])
def test_inert_keys_do_nothing(app, window, keys):
    host.key(window, keys)
    assert app.window.fired == []


def test_two_bindings_of_one_key_silence_both(app, window):
    heard = []
    shortcuts = []
    for name in ("first", "second"):
        shortcut = qt.QShortcut(window)
        shortcut.setKey(qt.QKeySequence("Ctrl+Alt+K"))
        shortcut.connect("activated()", lambda n=name: heard.append(n))
        shortcut.connect("activatedAmbiguously()", lambda n=name: heard.append("ambiguous " + n))
        shortcuts.append(shortcut)
    host.key(window, "Ctrl+Alt+K")
    assert heard and all(entry.startswith("ambiguous") for entry in heard)
    for shortcut in shortcuts:
        shortcut.setParent(None)
        shortcut.deleteLater()


def test_a_key_of_slicer_is_taken(app, window):
    """A module that binds Ctrl+O makes both bindings dead; findChildren shows the shortcuts that are QShortcuts."""
    taken = {shortcut.key.toString() for shortcut in window.findChildren(qt.QShortcut)}
    assert {"Ctrl+F", "Ctrl+Shift+A", "Ctrl+5"} <= taken
    assert "Ctrl+Z" not in taken


def test_letters_go_to_a_focused_line_edit(app, window):
    heard = []
    shortcut = qt.QShortcut(window)
    shortcut.setKey(qt.QKeySequence("Z"))
    shortcut.connect("activated()", lambda: heard.append("Z"))
    edit = qt.QLineEdit(window)
    edit.show()
    edit.setFocus()
    app.process()
    host.text(edit, "lungz")
    assert (edit.text, heard) == ("lungz", [])
    shortcut.setParent(None)
    edit.setParent(None)


def test_a_key_in_a_view_reaches_its_interactor(app):
    view = slicer.app.layoutManager().sliceWidget("Red").sliceView()
    heard = []
    tag = view.interactor().AddObserver("KeyPressEvent", lambda i, _e: heard.append(i.GetKeySym()))
    host.key(view, "x")
    host.key(view, qt.Qt.Key_Escape)
    view.interactor().RemoveObserver(tag)
    assert heard == ["x", "Escape"]
