"""Installing the engine: said before it is done, done outside Slicer's Python, and whole or not there at all."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from client_bench import LONGEST_S, is_gone, vanishes
from ctreasoner.client import install, plan, pythons
from ctreasoner.client.environment import LOGIC
from ctreasoner.client.install import Installer, explain, installed_python
from ctreasoner.client.packages import (
    REQUIREMENTS,
    engine_packages,
    host_requirements,
    installed_packages,
    normalised,
    write_constraints,
)
from ctreasoner.client.plan import CPU_INDEX, environment_folder, make_plan
from ctreasoner.client.pythons import check_engine_python, environment_python, find_python, maker_python
from ctreasoner.errors import InputError, ResourceError
from fake_python import FakePython
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(os.name != "posix", reason="the stand-in for a Python is a script")


@pytest.fixture
def fake(tmp_path):
    return FakePython(tmp_path / "made with")


@pytest.fixture
def installer(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(plan, "DISK_MB", 1)
    monkeypatch.setattr(plan, "DOWNLOAD_MB", 1)
    made = Installer(tmp_path / "engine", environment={"PATH": f"{fake.folder}:/usr/bin:/bin", "PYTHONHOME": "/slicer",
                                                       "PYTHONPATH": "/slicer/lib", "PIP_TARGET": "/slicer", "PIP_PROXY": "p"})
    yield made
    made.close(LONGEST_S)


def ends(installer: Installer, *states: str) -> dict:
    """Wait for one of these states and return its facts."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        for message in installer.poll():
            assert message.kind == "install"
            if message.facts["state"] in states:
                return message.facts
        time.sleep(0.01)
    raise AssertionError((installer.state, installer.log))


def planned(installer: Installer):
    installer.look(torch_index=CPU_INDEX)
    return ends(installer, "planned")["plan"]


def begun(installer: Installer, name: str, line: str = "") -> None:
    """Wait until a step has begun (and has said something)."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        for message in installer.poll():
            if message.facts.get("name") == name and line in message.facts.get("line", ""):
                return
        time.sleep(0.01)
    raise AssertionError((installer.state, installer.log))


# ---------------------------------------------------------------- the list of packages

def test_the_list_is_the_engine_extra_with_the_measured_pins():
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["engine"]
    measured = {(r := Requirement(line)).name.lower(): str(r.specifier)
                for line in (ROOT / "constraints-py311.txt").read_text().splitlines() if line and line[0] != "#"}
    listed = {p.name.lower(): f"=={p.version}" for p in engine_packages()}
    assert listed.keys() == {Requirement(text).name.lower() for text in extra} | {"numpy", "huggingface-hub"}
    assert listed == {name: measured[name] for name in listed}
    assert all(p.licence and "GPL" not in p.licence for p in engine_packages())


def test_the_licences_are_those_that_the_packages_declare():
    for package in engine_packages():
        about = importlib.metadata.metadata(package.name)
        declared = " ".join([about.get("License-Expression") or "", (about.get("License") or "")[:80],
                             *(c for c in about.get_all("Classifier") or [] if c.startswith("License"))])
        said = package.licence.split("-")[0].split()[0]
        expected = {"Matplotlib": "Python Software Foundation"}.get(said, said)
        assert expected in declared, (package, declared)


def test_a_damaged_list_is_said_in_a_sentence(tmp_path):
    (tmp_path / "list").write_text("torch>=2\n")
    with pytest.raises(InputError, match="no pin"):
        engine_packages(tmp_path / "list")
    with pytest.raises(InputError, match="cannot be read"):
        engine_packages(tmp_path / "none")


def test_constraints_name_everything_that_is_installed_here(tmp_path):
    lines = write_constraints(tmp_path / "new" / "constraints.txt").read_text().splitlines()
    pins = {normalised((r := Requirement(line)).name): str(r.specifier) for line in lines}
    assert len(pins) == len(lines) and pins["numpy"] == f"=={importlib.metadata.version('numpy')}"
    assert pins.keys() == installed_packages().keys() and len(pins) > 20
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError):
        write_constraints(tmp_path / "file" / "constraints.txt")


def test_for_slicer_s_own_python_what_it_has_is_asked_for_by_name_alone(tmp_path):
    (tmp_path / "list").write_text("NumPy==1.0  # BSD\nno-such-package==3.1  # MIT\n")
    assert host_requirements(tmp_path / "list") == ["NumPy", "no-such-package==3.1"]


# ---------------------------------------------------------------- Pythons

def test_a_python_is_asked_what_it_lacks(tmp_path, fake):
    assert check_engine_python(sys.executable).problem == ""
    (tmp_path / "ls").symlink_to("/bin/ls")
    assert "does not start" in check_engine_python(tmp_path / "ls").problem
    assert "does not start" in check_engine_python(tmp_path / "none").problem
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    found = check_engine_python(bare)
    assert "torch" in found.lacking and "SimpleITK" in found.problem and "numpy" in found.problem


@pytest.mark.parametrize(("answer", "words"), [
    ({"version": [3, 9, 1], "wide": True, "lacking": []}, "This is Python 3.9.1"),
    ({"version": [3, 99, 0], "wide": True, "lacking": []}, "needs 3.11 to 3.13"),
    ({"version": [3, 11, 0], "wide": False, "lacking": []}, "32 bits"),
    ({"version": [3, 11, 0], "wide": True, "lacking": ["ensurepip"]}, "python3-venv")])
def test_a_python_that_cannot_make_environments_says_why(tmp_path, answer, words):
    program = tmp_path / "python3.12"
    program.write_text(f"#!/bin/sh\necho 'hello'\necho '{json.dumps(answer)}'\n")
    program.chmod(0o755)
    found = maker_python(program)
    assert words in found.problem
    assert find_python({"PATH": str(tmp_path)}) is None


def test_the_first_fitting_python_of_the_path_is_taken_but_not_slicer_s_own(tmp_path, fake):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "python3.12").write_text("#!/bin/sh\nexit 127\n")
    (broken / "python3.12").chmod(0o755)
    path = {"PATH": f"{broken}:{fake.folder}"}
    assert find_python(path).path == str(fake.path)
    assert find_python(path, avoid=[fake.folder]) is None
    (broken / "python3.11").symlink_to(broken / "python3.12")
    assert find_python(path).path == str(fake.path)


def test_a_mac_is_searched_where_its_installers_put_pythons(monkeypatch):
    monkeypatch.setattr(pythons.sys, "platform", "darwin")
    asked = []
    monkeypatch.setattr(pythons.shutil, "which", lambda name, path: asked.append(path))
    assert find_python({"PATH": "/usr/bin:/bin"}) is None
    assert "/usr/bin" not in asked and {"/bin", "/opt/homebrew/bin"} <= set(asked)


# ---------------------------------------------------------------- the plan

def test_the_plan_says_everything_before_anything_is_done(installer, fake, tmp_path):
    made = planned(installer)
    text = "\n".join(made.lines)
    for word in (str(fake.path), CPU_INDEX, str(made.environment), "MB", "minutes", "free", "torch 2.13.0: BSD"):
        assert word in text
    assert [s.name for s in made.steps] == ["environment", "PyTorch", "packages", "check"] and made.problem == {}
    assert not (tmp_path / "engine").exists() and [a["words"] for a in fake.asked] == []


def test_nvidia_s_licence_is_named_where_its_libraries_come_along(tmp_path, fake, monkeypatch):
    monkeypatch.setattr(plan.sys, "platform", "linux")
    made = make_plan(tmp_path, python=fake.path, torch_index="")
    assert any("NVIDIA" in line for line in made.lines) and made.disk_mb > 4000
    assert "--index-url" not in made.steps[1].command
    assert make_plan(tmp_path, python=fake.path).torch_index == CPU_INDEX
    monkeypatch.setattr(plan.sys, "platform", "darwin")
    assert make_plan(tmp_path, python=fake.path).torch_index == "" and not any("NVIDIA" in line for line in make_plan(
        tmp_path, python=fake.path).lines)


def test_without_a_python_one_is_downloaded_into_the_folder_or_the_plan_says_why_not(tmp_path):
    made = make_plan(tmp_path, {"PATH": ""}, host_python="/slicer/bin/PythonSlicer")
    assert made.python is None and made.problem == {}
    assert made.steps[0].command[:4] == ("/slicer/bin/PythonSlicer", "-m", "pip", "install") and "--target" in made.steps[0].command
    assert made.steps[1].variables["UV_PYTHON_INSTALL_DIR"].startswith(str(tmp_path)) and "downloaded" in made.lines[0]
    made = make_plan(tmp_path, {"PATH": ""})
    assert made.problem["code"] == "CTR-INS-001" and made.problem["hint"]
    made = make_plan(tmp_path, python=tmp_path / "none")
    assert made.problem["code"] == "CTR-INS-001"


def test_too_little_space_is_said_before_and_once_more_at_the_start(installer, fake, monkeypatch):
    made = planned(installer)
    monkeypatch.setattr(plan.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**6}))
    assert planned(installer).problem["code"] == "CTR-RES-001"
    installer.start(made)
    failed = ends(installer, "failed", "ready")
    assert failed["code"] == "CTR-RES-001" and "1 MB are free" in failed["sentence"] and fake.asked == []


# ---------------------------------------------------------------- installing

def test_an_installation_runs_its_steps_and_is_found_again(installer, fake):
    made = planned(installer)
    fake.say({"requirements-engine.txt": {"print": ["Collecting scipy", "Installing collected packages"]}})
    installer.start(made)
    ready = ends(installer, "ready", "failed")
    assert ready["state"] == "ready" and ready["python"] == installer.python == environment_python(made.environment)
    words = [a["words"] for a in fake.asked]
    assert words == [["-m", "venv", str(made.environment)],
                     ["-m", "pip", "install", "--index-url", CPU_INDEX, "torch==2.13.0"],
                     ["-m", "pip", "install", "-r", str(REQUIREMENTS)],
                     ["-m", "ctreasoner.system", "engine"]]
    for asked in fake.asked:
        assert not {"PYTHONHOME", "PIP_TARGET"} & asked["variables"].keys()
        assert asked["variables"]["PIP_PROXY"] == "p" and asked["variables"]["TMPDIR"].startswith(str(made.folder))
    assert [a["variables"].get("PYTHONPATH") for a in fake.asked] == [None, None, None, str(LOGIC)]
    assert sorted(p.name for p in made.folder.iterdir()) == [made.environment.name, install.LOCK]
    assert "Collecting scipy" in installer.log and not installer.is_busy


def test_without_a_python_uv_brings_one_and_goes_again(installer, fake):
    made = make_plan(installer.folder, {"PATH": ""}, host_python=str(fake.path), torch_index="")
    fake.say({"torch": {"print": ["error sending request for url"], "code": 1}})
    installer.start(made)
    assert ends(installer, "ready", "failed")["code"] == "CTR-NET-001"
    assert [p.name for p in made.folder.iterdir()] == [install.LOCK]
    fake.say({})
    installer.start(made)
    assert ends(installer, "ready", "failed")["state"] == "ready" and installer.python
    assert sorted(p.name for p in made.folder.iterdir()) == [made.environment.name, install.LOCK, plan.PYTHONS]
    uv = fake.asked[1]["words"]
    assert uv[0] == "venv" and "--managed-python" in uv and "--seed" in uv and uv[-1] == str(made.environment)


def test_progress_says_step_words_and_seconds(installer, fake, tmp_path):
    gate = tmp_path / "gate"
    fake.say({"torch": {"print": ["Downloading torch (190 MB)"], "wait": str(gate)}})
    installer.start(planned(installer))
    begun(installer, "PyTorch", "190 MB")
    installer._told = -1e9                     # as if a while had passed without a word
    [tick] = [m.facts for m in installer.poll()]
    assert (tick["state"], tick["step"], tick["of"], tick["name"]) == ("installing", 2, 4, "PyTorch") and tick["seconds"] >= 0
    gate.touch()
    assert ends(installer, "ready", "failed")["state"] == "ready"


@pytest.mark.parametrize("step", ["venv", "torch", "requirements-engine.txt", "ctreasoner.system"])
def test_a_cancel_at_any_step_leaves_nothing_and_the_next_start_makes_it_whole(installer, fake, tmp_path, step):
    fake.say({step: {"print": ["here"], "wait": str(tmp_path / "never")}})
    made = planned(installer)
    installer.start(made)
    begun(installer, {"venv": "environment", "torch": "PyTorch", "requirements-engine.txt": "packages"}.get(step, "check"), "here")
    pid = installer._process.pid
    installer.cancel()
    installer.cancel()
    assert ends(installer, "cancelled", "failed", "ready")["state"] == "cancelled"
    assert is_gone(pid) and installer.python is None and not installer.is_busy
    assert [p.name for p in made.folder.iterdir()] == [install.LOCK]
    fake.say({})
    installer.start(made)
    assert ends(installer, "ready", "failed")["state"] == "ready" and installer.python


def test_what_a_cut_installation_left_is_never_taken_for_whole_and_is_made_anew(installer, fake):
    made = planned(installer)
    left = environment_python(made.environment)
    left.parent.mkdir(parents=True)
    left.write_text("half")
    (made.folder / "gone-1").mkdir()
    (made.environment / (install.STAMP + ".part")).write_text("{")
    assert installer.python is None
    (made.environment / install.STAMP).write_text('{"cut')
    assert installed_python(made.folder) is None
    installer.start(made)
    assert ends(installer, "ready", "failed")["state"] == "ready"
    assert "half" not in left.read_text() and not (made.folder / "gone-1").exists()


def test_an_engine_of_another_version_stays_until_the_new_one_is_whole(installer, fake):
    made = planned(installer)
    old = made.folder / "env-0ld"
    environment_python(old).parent.mkdir(parents=True)
    environment_python(old).touch()
    (old / install.STAMP).write_text("{}")
    fake.say({"torch": {"code": 1}})
    installer.start(made)
    assert ends(installer, "ready", "failed")["state"] == "failed" and old.exists() and not made.environment.exists()
    fake.say({})
    installer.start(made)
    assert ends(installer, "ready", "failed")["state"] == "ready" and not old.exists()


@pytest.mark.parametrize(("words", "code"), [
    ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", "CTR-RES-001"),
    ("WARNING: Retrying ... NewConnectionError(...)\nERROR: No matching distribution found for torch==2.13.0", "CTR-NET-001"),
    ("SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]", "CTR-NET-002"),
    ("Collecting torch\nERROR: THESE PACKAGES DO NOT MATCH THE HASHES\nbye", "CTR-INS-002")])
def test_a_step_that_fails_says_what_happened_and_what_to_do(installer, fake, words, code):
    fake.say({"torch": {"print": words.split("\n"), "code": 1}})
    made = planned(installer)
    installer.start(made)
    failed = ends(installer, "failed", "ready")
    assert failed["code"] == code and "PyTorch" in failed["sentence"] and failed["hint"]
    assert installer.python is None and not made.environment.exists()
    assert words.split("\n")[-1] in installer.log


def test_a_step_without_words_has_a_sentence_too():
    assert "said nothing" in str(explain("PyTorch", []))


def test_a_disk_that_is_full_at_the_very_last_leaves_no_stamp(installer, monkeypatch):
    made = planned(installer)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(install.os, "replace", full)
    installer.start(made)
    failed = ends(installer, "failed", "ready")
    assert failed["code"] == "CTR-RES-001" and installer.python is None and not made.environment.exists()


def test_a_folder_that_cannot_be_made_is_said(fake, tmp_path):
    (tmp_path / "file").touch()
    installer = Installer(tmp_path / "file" / "engine", environment={"PATH": str(fake.folder)})
    installer.start(make_plan(installer.folder, python=fake.path, torch_index=CPU_INDEX))
    failed = ends(installer, "failed", "ready")
    assert failed["code"] == "CTR-RES-001" and failed["sentence"] and installer.python is None
    installer.close(LONGEST_S)


def test_two_at_once_are_refused_in_one_program_and_in_two(installer, fake, tmp_path):
    gate = tmp_path / "gate"
    fake.say({"torch": {"print": ["here"], "wait": str(gate)}})
    made = planned(installer)
    installer.start(made)
    begun(installer, "PyTorch", "here")
    installer.look()
    refused = next(f for f in (m.facts for m in installer.poll()) if "code" in f)
    assert refused["code"] == "CTR-INS-003" and refused["state"] == "installing"
    other = Installer(made.folder, environment={"PATH": str(fake.folder)})
    other.start(made)
    assert ends(other, "failed", "ready")["code"] == "CTR-INS-003"
    gate.touch()
    assert ends(installer, "ready", "failed")["state"] == "ready"


def test_a_person_s_own_python_is_checked_off_the_main_thread(installer):
    installer.check(sys.executable)
    assert ends(installer, "checked")["python"].problem == ""
    installer.check("/no/such/python")
    assert "does not start" in ends(installer, "checked")["python"].problem


PANEL = """
import sys, time; sys.path[:0] = sys.argv[3:]
from pathlib import Path
from ctreasoner.client.install import Installer
from ctreasoner.client import plan
from test_client_install import begun
plan.DISK_MB = plan.DOWNLOAD_MB = 1
installer = Installer(sys.argv[1])
installer.start(plan.make_plan(Path(sys.argv[1]), python=sys.argv[2], torch_index=""))
begun(installer, "PyTorch", "here")
print(installer._process.pid, flush=True)
sys.stdin.read()
"""


def test_a_program_that_installs_ends_with_the_panel(fake, tmp_path, monkeypatch):
    fake.say({"torch": {"print": ["here"], "wait": str(tmp_path / "never")}})
    paths = [str(LOGIC), str(Path(__file__).parent)]
    command = [sys.executable, "-c", PANEL, str(tmp_path / "engine"), str(fake.path), *paths]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as panel:
        leash = int(panel.stdout.readline())
        panel.kill()
        panel.stdin.close()
        assert is_gone(leash)
    assert installed_python(tmp_path / "engine") is None and vanishes(environment_folder(tmp_path / "engine"))
