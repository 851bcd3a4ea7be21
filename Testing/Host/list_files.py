"""Write the lists of CTReasoner/CMakeLists.txt: every file of the module by name, as Slicer installs only what is listed.

    python Testing/Host/list_files.py
"""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "CTReasoner"
DATA = (".json", ".html", ".css", ".yaml", ".txt")
GLOBBED = "Resources/Models/"       # weights come and go with training; CMakeLists.txt takes what lies there
LEFT_OUT = ("__pycache__", "Testing")


def lists() -> tuple[list[str], list[str]]:
    """Return (scripts, resources), relative to the module's folder, in alphabetical order."""
    found = (p for p in FOLDER.rglob("*") if p.is_file() and not any(part in LEFT_OUT for part in p.relative_to(FOLDER).parts))
    files = sorted(p.relative_to(FOLDER).as_posix() for p in found)
    scripts = [f for f in files if f.endswith(".py")]
    resources = [f for f in files if f.startswith("Resources/") or (f.startswith("Logic/") and f.endswith(DATA))]
    return scripts, [f for f in resources if not f.startswith(GLOBBED)]


def written(text: str) -> str:
    """Return the text of a CMakeLists.txt with its two lists made anew."""
    for name, files in zip(("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES"), lists(), strict=True):
        head = f"set({name}\n"
        start = text.index(head) + len(head)
        end = text.index("  )\n", start)
        text = text[:start] + "".join(f"  {f}\n" for f in files) + text[end:]
    return text


if __name__ == "__main__":
    path = FOLDER / "CMakeLists.txt"
    path.write_text(written(path.read_text(encoding="utf-8")), encoding="utf-8")
