"""A stand-in for a Python with pip: `write(folder)` makes a program that notes what it is asked for and does what `say` tells.

`<folder>/say.json` maps a word of the command line to {"print": lines, "code": n, "wait": file}; "wait" goes on until that file
exists. `<folder>/asked.jsonl` holds the command lines and a few variables. "-c" runs in the real Python, "-m venv DIR" makes an
environment whose Python is this program again, and "-m pip install --target DIR" a DIR/bin/uv that does too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

PROGRAM = """#!{python} -IS
import json, os, sys, time
HERE = {here!r}
words = sys.argv[1:]
if words[0] == "-c":
    os.execv({python!r}, [{python!r}, *words])
with open(HERE + "/asked.jsonl", "a") as file:
    file.write(json.dumps({{"words": words, "variables": dict(os.environ)}}) + "\\n")
def copy_to(path):
    os.makedirs(os.path.dirname(path))
    with open(__file__) as source, open(path, "w") as copy:
        copy.write(source.read())
    os.chmod(path, 0o755)
if words[:2] == ["-m", "venv"] or words[0] == "venv":
    copy_to(words[-1] + "/bin/python")
if "--target" in words:
    copy_to(words[words.index("--target") + 1] + "/bin/uv")
if words[0] == "venv" and "UV_PYTHON_INSTALL_DIR" in os.environ:
    os.makedirs(os.environ["UV_PYTHON_INSTALL_DIR"])
with open(HERE + "/say.json") as file:
    todo = json.load(file)
code = 0
for word, do in todo.items():
    if any(word in w for w in words):
        print("\\n".join(do.get("print", ())), flush=True)
        until = time.monotonic() + 300
        while do.get("wait") and not os.path.exists(do["wait"]) and time.monotonic() < until:
            time.sleep(0.01)
        code = do.get("code", 0)
sys.exit(code)
"""


class FakePython:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "python3.11"
        folder.mkdir(parents=True, exist_ok=True)
        self.path.write_text(PROGRAM.format(python=sys.executable, here=str(folder)))
        self.path.chmod(0o755)
        self.say({})

    def say(self, todo: dict) -> None:
        (self.folder / "say.json").write_text(json.dumps(todo))

    @property
    def asked(self) -> list[dict]:
        path = self.folder / "asked.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
