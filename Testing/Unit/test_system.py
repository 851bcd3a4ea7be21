"""A missing system library is named together with the package that brings it."""

from __future__ import annotations

import pytest
from ctreasoner import system


def test_a_missing_library_names_its_package() -> None:
    error = ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
    assert "apt-get install libgl1" in system.explain(error, "vtk")


def test_a_library_that_we_do_not_know_is_still_named() -> None:
    assert "libodd.so.2" in system.explain(ImportError("libodd.so.2: cannot open shared object file: x"), "vtk")


def test_a_missing_python_package_is_said() -> None:
    assert "does not load" in system.explain(ImportError("No module named 'vtk'"), "vtk")


def test_a_missing_program_does_not_stop_the_tests(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(system.shutil, "which", lambda _: None)
    monkeypatch.setitem(system.IMPORTS, "dev", ())
    assert system.main(["dev"]) == 0
    assert "dicom3tools" in capsys.readouterr().err


def test_a_missing_library_does(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setitem(system.IMPORTS, "engine", ("ctreasoner_not_there",))
    assert system.main(["engine"]) == 1
    assert "ctreasoner_not_there does not load" in capsys.readouterr().err
