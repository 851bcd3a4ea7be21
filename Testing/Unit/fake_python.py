"""A stand-in for a Python with pip: `write(folder)` makes a program that notes what it is asked for and does what `say` tells.

`<folder>/say.json` maps a word of the command line to {"print": lines, "code": n, "wait": file}; "wait" goes on until that file
exists. `<folder>/asked.jsonl` holds the command lines and a few variables. "-c" runs in the real Python, "-m venv DIR" makes an
environment whose Python is this program again.
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
if words[:2] == ["-m", "venv"]:
    os.makedirs(words[2] + "/bin")
    with open(__file__) as source, open(words[2] + "/bin/python", "w") as copy:
        copy.write(source.read())
    os.chmod(words[2] + "/bin/python", 0o755)
with open(HERE + "/say.json") as file:
    todo = json.load(file)
code = 0
for word, do in todo.items():
    if any(word in w for w in words):
        print("\\n".join(do.get("print", ())), flush=True)
        until = time.monotonic() + 60
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
