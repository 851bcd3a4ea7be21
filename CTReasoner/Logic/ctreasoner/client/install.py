"""Put the engine's packages into an environment of its own, outside Slicer's Python.

First a `Plan` says what would happen; `Installer` then runs its steps as programs. An environment counts only with the stamp
that is written last, so one that was cut off, however that came about, is never taken for whole: it is removed and made anew.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CTReasonerError, InputError, Interrupted, ResourceError
from ..version import __version__
from .environment import child_environment
from .folder import lock
from .packages import REQUIREMENTS
from .plan import PYTHONS, TOOLS, Plan, Step, engine_folder, environment_folder, free_mb, make_plan
from .process import LineProcess
from .pythons import check_engine_python, environment_python
from .telling import Message

STAMP, LOCK, TEMPORARY = "ctreasoner-engine.json", "installing.lock", "tmp"
LOG_LINES = 2000
TICK_S = 1.0            # a step that says nothing is reported so often, with its seconds
# Runs a program and ends as it does. When its own input ends, who started it is gone: then the program ends too, and the half
# environment goes (by another name first: a new installation may want the old one).
LEASH = """
import os, shutil, signal, subprocess, sys, threading, time
target, command = sys.argv[1], sys.argv[2:]
left = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: None)
child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
def watch():
    while os.read(0, 1):
        pass
    left.set()
    if os.name == "posix":
        os.killpg(0, signal.SIGTERM)
        time.sleep(5)
        os.killpg(0, signal.SIGKILL)
    subprocess.run(["taskkill", "/T", "/F", "/PID", str(child.pid)])
threading.Thread(target=watch, daemon=True).start()
code = child.wait()
if left.is_set() and os.path.isdir(target):
    gone = os.path.join(os.path.dirname(target), "gone-%d" % os.getpid())
    os.rename(target, gone)
    shutil.rmtree(gone, ignore_errors=True)
os._exit(code)
"""
# what pip and uv say when there is no network
UNREACHABLE = ("NewConnectionError", "NameResolutionError", "Max retries exceeded", "ReadTimeoutError", "ProxyError",
               "Connection refused", "getaddrinfo failed", "Temporary failure in name resolution", "error sending request",
               "Network is unreachable")
# pip reads these too; each would send packages elsewhere than into the environment
DIVERTING = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_CONSTRAINT", "PIP_DRY_RUN")


def installed_python(folder: Path | None = None) -> Path | None:
    """Return the Python of the engine that is installed in `folder` (None: `engine_folder()`) for this version, or None."""
    return _whole(environment_folder(folder or engine_folder()))


class Installer:
    """Looks, plans, installs; `poll()` returns `Message`s of kind "install", as `LocalEngine.poll` does.

    facts of a message: state, and with it
        looking, checking
        planned     plan
        cancelling
        checked     python (a `Python`; its `problem` is "" where it can run the engine)
        installing  step, of, name, line (the program's last words), seconds
        ready       python (a path)
        failed      code, sentence, hint
        cancelled

    Parameters
    ----------
    folder : where environments are kept; None: `engine_folder()`.
    environment : that in which the host program was started; inside Slicer `slicer.util.startupEnvironment()`.
    host_python : a Python that can run pip where this machine has no other, inside Slicer PythonSlicer. None: sys.executable.
    """

    def __init__(self, folder: str | os.PathLike | None = None, *, environment: Mapping[str, str] | None = None,
                 host_python: str | os.PathLike | None = None) -> None:
        self.folder = Path(folder) if folder else engine_folder()
        self.state, self.plan = "idle", None
        self.log: list[str] = []
        self._environment, self._host = environment, str(host_python or sys.executable)
        self._box: queue.Queue[dict[str, Any]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._working = False
        self._process: LineProcess | None = None
        self._guard, self._cancelled = threading.Lock(), False
        self._step: dict[str, Any] = {}
        self._told = 0.0

    @property
    def python(self) -> Path | None:
        """The Python of the installed engine, or None."""
        return installed_python(self.folder)

    @property
    def is_busy(self) -> bool:
        """Whether something runs: then nothing else is begun."""
        return self._working

    # ------------------------------------------------------------ on the main thread
    def look(self, python: str | os.PathLike | None = None, *, torch_index: str | None = None) -> None:
        """Make a plan; "planned" brings it. python : a person's choice. torch_index : see `make_plan`."""
        self._run("looking", lambda: self._plan(python, torch_index))

    def check(self, python: str | os.PathLike) -> None:
        """Ask whether a Python (or the folder of an environment) that a person points to can run the engine."""
        self._run("checking", lambda: {"state": "checked", "python": check_engine_python(python, self._environment)})

    def start(self, plan: Plan) -> None:
        """Do what the plan says."""
        self._run("installing", lambda: self._install(plan))

    def cancel(self) -> None:
        """Stop an installation; "cancelled" comes when what was made of it is gone again. Nothing else of the disk changes."""
        if not self._working or self._cancelled:
            return
        with self._guard:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()
        self._say("cancelling")

    def poll(self) -> list[Message]:
        """Return what happened since the last call; of a step's words the last ones."""
        facts: list[dict[str, Any]] = []
        while True:
            try:
                new = self._box.get_nowait()
            except queue.Empty:
                break
            if facts and new["state"] == facts[-1]["state"] == "installing" and new["step"] == facts[-1]["step"]:
                facts.pop()
            facts.append(new)
        if not facts and self.state == "installing" and self._step and time.monotonic() - self._told >= TICK_S:
            facts.append({"state": "installing", **self._step})
        for one in facts:
            self.state, self.plan = one["state"], one.get("plan", self.plan)
            if self.state == "installing" and "began" in one:
                self._step = dict(one)
                self._told = time.monotonic()
        return [Message("install", facts=_shown(one)) for one in facts]

    def close(self, wait_s: float = 2.0) -> None:
        """Stop what runs, and wait a little for its remains to be gone; what is left of them then, the next plan removes."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(wait_s)

    # ------------------------------------------------------------ on the thread
    def _run(self, state: str, work: Callable[[], dict[str, Any]]) -> None:
        if self._working:
            self._say(self.state, code="CTR-INS-003", sentence="An installation is being prepared or made already.",
                      hint="Wait for it, or cancel it.")
            return
        self.state, self._working, self._cancelled, self._step = state, True, False, {}
        self._say(state, step=0, of=0, name="", line="")
        self._thread = threading.Thread(target=self._guarded, args=(work,), daemon=True, name="ctreasoner-install")
        self._thread.start()

    def _guarded(self, work: Callable[[], dict[str, Any]]) -> None:
        """Do the work and say how it ended; whoever hears that may begin the next."""
        try:
            last = work()
        except Interrupted:
            last = {"state": "cancelled"}
        except CTReasonerError as error:
            last = _failure(error.code, str(error), error.hint)
        except OSError as error:
            last = _failure("CTR-RES-001", f"The engine could not be installed: {error.strerror or error}.",
                            "Free some space or choose another folder.")
        except Exception as error:
            last = _failure("CTR-INS-000", f"The installation stumbled: {type(error).__name__}: {error}",
                            "Start it again; it begins anew.")
        self._working = False
        self._box.put(last)

    def _say(self, state: str, **facts: Any) -> None:
        self._box.put({"state": state, **facts})

    def _plan(self, python: str | os.PathLike | None, torch_index: str | None) -> dict[str, Any]:
        plan = make_plan(self.folder, self._environment, python=python, torch_index=torch_index, host_python=self._host)
        if self._cancelled:
            raise Interrupted("The installation was cancelled.")
        return {"state": "planned", "plan": plan}

    def _install(self, plan: Plan) -> dict[str, Any]:
        if plan.problem:
            raise CTReasonerError(plan.problem["sentence"], code=plan.problem["code"], hint=plan.problem["hint"])
        plan.folder.mkdir(parents=True, exist_ok=True)
        with open(plan.folder / LOCK, "w", encoding="ascii") as held:
            if not lock(held):
                raise InputError("Another Slicer is installing the engine into this folder.", code="CTR-INS-003",
                                 hint="Wait for it, or choose another folder.")
            _remove_cut(plan.folder)
            _check_space(plan)
            target, temporary = plan.environment, plan.folder / TEMPORARY
            try:
                temporary.mkdir(exist_ok=True)
                for number, step in enumerate(plan.steps, start=1):
                    self._take(step, number, plan)
                _stamp(target, plan)
            except BaseException:
                _remove(target)
                if not any(plan.folder.glob("env-*")):          # else an older engine may stand on it
                    _remove(plan.folder / PYTHONS)
                raise
            finally:
                _remove(temporary)
                _remove(plan.folder / TOOLS)
            for old in plan.folder.glob("env-*"):
                if old != target:
                    _remove(old)
        return {"state": "ready", "python": environment_python(target)}

    def _take(self, step: Step, number: int, plan: Plan) -> None:
        """Run one step; raises what its failure means."""
        about = {"step": number, "of": len(plan.steps), "name": step.name, "line": "", "began": time.monotonic()}
        said: list[str] = []
        ended, codes = threading.Event(), []

        def on_line(line: str) -> None:
            said.append(line.rstrip())
            self.log.append(line.rstrip())
            del self.log[:-LOG_LINES]
            self._say("installing", **{**about, "line": line.strip()})

        def on_end(code: int) -> None:
            codes.append(code)
            ended.set()

        self._say("installing", **about)
        self.log.append(f"$ {' '.join(step.command)}")
        places = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(plan.folder / TEMPORARY))     # the system's may be too small
        variables = child_environment(self._environment, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", **places,
                                      **step.variables)
        variables = {k: v for k, v in variables.items() if k.upper() not in DIVERTING}
        with self._guard:
            if self._cancelled:
                raise Interrupted("The installation was cancelled.")
            self._process = LineProcess([plan.leash, "-c", LEASH, str(plan.environment), *step.command], env=variables,
                                        on_line=on_line, on_end=on_end, merge_errors=True)
        ended.wait()
        with self._guard:
            self._process = None
            if self._cancelled:
                raise Interrupted("The installation was cancelled.")
        if codes[0]:
            raise explain(step.name, said)


def _failure(code: str, sentence: str, hint: str) -> dict[str, Any]:
    return {"state": "failed", "code": code, "sentence": sentence, "hint": hint}


def explain(step: str, said: list[str]) -> CTReasonerError:
    """Return what the words of a failed step mean for a person."""
    text = "\n".join(said[-400:])
    if "No space left on device" in text or "Errno 28" in text or "not enough space on the disk" in text:
        return ResourceError(f"The disk became full during the step '{step}'.", code="CTR-RES-001",
                             hint="Free some space or choose another folder, and start again.")
    if "CERTIFICATE_VERIFY_FAILED" in text or "SSLError" in text:
        return CTReasonerError(f"The step '{step}' could not check the certificate of a server.", code="CTR-NET-002",
                               hint="A proxy or a virus scanner may stand in between: ask who runs your network.")
    if any(word in text for word in UNREACHABLE):
        return CTReasonerError(f"The step '{step}' could not reach the package index.", code="CTR-NET-001",
                               hint="Check the network and the proxy, and start again.")
    last = next((line for line in reversed(said) if "ERROR" in line or "rror:" in line), said[-1] if said else "it said nothing")
    return CTReasonerError(f"The step '{step}' failed: {last.strip()}", code="CTR-INS-002",
                           hint="The log holds the details; start again, it begins anew.")


def _stamp(target: Path, plan: Plan) -> None:
    """Say that an environment is whole. Written last, and so that it is there wholly or not at all."""
    content = {"version": __version__, "python": str(plan.python or ""), "torch_index": plan.torch_index,
               "requirements": REQUIREMENTS.read_text(encoding="utf-8")}
    part = target / (STAMP + ".part")
    part.write_text(json.dumps(content, indent=1), encoding="utf-8")
    os.replace(part, target / STAMP)


def _whole(target: Path) -> Path | None:
    """Return the Python of an environment that has its stamp."""
    python = environment_python(target)
    try:
        stamp = json.loads((target / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return python if isinstance(stamp, dict) and python.exists() else None


def _remove_cut(folder: Path) -> None:
    """Take away what an installation that was cut off left behind (the lock says that none runs)."""
    for target in (*folder.glob("env-*"), *folder.glob("gone-*")):
        if _whole(target) is None:
            _remove(target)


def _remove(target: Path) -> None:
    """Remove a folder; without its name first, so that no half of it is ever found under it."""
    if not target.exists():
        return
    gone = target.with_name(f"gone-{time.monotonic_ns()}")
    try:
        (target / STAMP).unlink(missing_ok=True)
        target.rename(gone)
    except OSError:             # a program in it still runs (Windows)
        gone = target
    shutil.rmtree(gone, ignore_errors=True)


def _check_space(plan: Plan) -> None:
    free = free_mb(plan.folder)
    if free < plan.needed_mb:
        raise ResourceError(f"The engine needs {plan.needed_mb:,} MB; {free:,} MB are free there.", code="CTR-RES-001",
                            hint="Free some space or choose another folder.")


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a message, with seconds instead of a start."""
    began = facts.get("began")
    shown = {k: v for k, v in facts.items() if k != "began"}
    return shown if began is None else {**shown, "seconds": round(time.monotonic() - began, 1)}
