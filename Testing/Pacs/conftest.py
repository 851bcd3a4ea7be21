"""One Orthanc for all tests of this folder; each test pushes studies of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from orthanc import PASSWORD, TOKEN, USER, Orthanc, Proxy, a_study


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the server."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.orthanc)


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """A running server."""
    server = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield server
    server.stop()


@pytest.fixture
def proxy(orthanc: Orthanc) -> Iterator[Proxy]:
    """What stands before the server, wants a token and misbehaves when it is told to."""
    with Proxy(orthanc.http) as between:
        yield between


@pytest.fixture
def secrets(tmp_path: Path) -> dict[str, list[str]]:
    """The options that let one in: ``basic`` at the server, ``bearer`` at the proxy."""
    (tmp_path / "password").write_text(PASSWORD + "\n")
    (tmp_path / "token").write_text(TOKEN)
    return {"basic": ["--user", USER, "--password-file", str(tmp_path / "password")],
            "bearer": ["--token-file", str(tmp_path / "token")]}


@pytest.fixture
def study(tmp_path: Path) -> tuple[Path, str]:
    """A small CT of its own: (folder, StudyInstanceUID)."""
    return a_study(tmp_path / "ct")
