"""What `import ctreasoner` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import ctreasoner

LOGIC = Path(__file__).resolve().parents[2] / "CTReasoner" / "Logic"
HEAVY = ("torch", "transformers", "SimpleITK", "nibabel", "pydicom", "highdicom", "scipy", "matplotlib", "monai")


def loaded_after(code: str) -> set[str]:
    """Return the heavy packages that a fresh interpreter has loaded after ``code``."""
    report = f"import sys; sys.path.insert(0, {str(LOGIC)!r}); {code}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_public_names_are_these() -> None:
    assert ctreasoner.__all__ == [
        "load_volume", "Reasoner", "Client", "Answer", "Request", "Click", "PromptBox", "Scribble", "Options", "CTReasonerError",
        "__version__",
    ]
    assert all(getattr(ctreasoner, name) is not None for name in ctreasoner.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(ctreasoner, "segment_everything")


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_after("import ctreasoner") == set()


def test_the_public_names_load_nothing_heavy() -> None:
    assert loaded_after("import ctreasoner; [getattr(ctreasoner, n) for n in ctreasoner.__all__]") == set()


def test_the_command_line_starts_without_anything_heavy() -> None:
    assert loaded_after("import ctreasoner.cli") == set()


def test_the_version_is_the_one_that_the_wheel_gets() -> None:
    text = (LOGIC / "ctreasoner" / "version.py").read_text()
    assert f'__version__ = "{ctreasoner.__version__}"' in text
