"""`make audit`: known weaknesses of the packages in an environment, by pip-audit; says so where its service could not be asked.

pip-audit itself calls an environment clean of which its service knew no package, as behind a mirror of the package index.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def main(pip_audit: str, packages: str) -> int:
    """Return 0 where no weakness is known, 1 where one is, 2 where the service could not be asked. `packages`: site-packages."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [pip_audit, "--progress-spinner", "off", "--path", packages, "--format", "json", "--output", str(found)]
        subprocess.run(command, capture_output=True, check=False)  # its status says 1 of a weakness and of no network alike
        told, status = summary(json.loads(found.read_text())["dependencies"] if found.is_file() else [])
    print(told)
    return status


def summary(packages: list[dict[str, Any]]) -> tuple[str, int]:
    """Return what to tell of pip-audit's findings, and the status."""
    asked = [p for p in packages if "skip_reason" not in p]
    if not asked:
        return "No package was audited: pip-audit's service (pypi.org) cannot be reached from here, or knows none of them.", 2
    lines = [f"{p['name']} {p['version']}: {v['id']}, mended in {', '.join(v['fix_versions']) or 'no version yet'}"
             for p in asked for v in p["vulns"]]  # fmt: skip
    unknown = sorted(p["name"] for p in packages if "skip_reason" in p)
    counted = f"Packages audited: {len(asked)}; weaknesses known: {len(lines)}." + (
        f" Not audited: {', '.join(unknown)}." if unknown else "")  # fmt: skip
    return "\n".join([*lines, counted]), int(bool(lines))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
