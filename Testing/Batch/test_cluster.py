"""Ray as we start it: nothing listens beyond loopback, nothing answers without the token, nothing stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from ctreasoner.cluster import ray_cluster
from ctreasoner.errors import UsageError

# A stranger on the same computer: all but the token.
STRANGER = """
import os, sys
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
print(ray.get(ray.remote(lambda: "inside").remote()))
"""


def test_ray_listens_on_loopback_alone_and_wants_its_token() -> None:
    before = {name: value for name, value in os.environ.items() if "AUTH" in name}
    with ray_cluster(cpus=1) as ray:
        here = psutil.Process()
        processes = [p for p in here.children(recursive=True) if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        ends = [c.laddr for p in (here, *processes) for c in p.net_connections() if c.status == psutil.CONN_LISTEN]
        folder = Path(ray._private.worker._global_node.get_session_dir_path())
        assert folder.is_dir() and folder.parent.name.startswith("ctr-ray-")
        stranger = subprocess.run([sys.executable, "-c", STRANGER, ray.get_runtime_context().gcs_address], capture_output=True,
                                  text=True, timeout=120, check=False)
        assert ray.get(ray.remote(lambda: "inside").remote()) == "inside"
        dashboards = [p.cmdline() for p in processes if any(word.endswith("dashboard.py") for word in p.cmdline())]
    assert all("--disable-frontend" in words and "--modules-to-load=UsageStatsHead" in words for words in dashboards)
    assert len(ends) >= 3
    assert {end.ip.removeprefix("::ffff:") for end in ends} == {"127.0.0.1"}
    assert stranger.returncode != 0
    assert "inside" not in stranger.stdout
    assert not folder.parent.exists()
    assert {name: value for name, value in os.environ.items() if "AUTH" in name} == before


def test_ray_without_authentication_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with pytest.raises(UsageError, match="RAY_AUTH_MODE"), ray_cluster():
        pass
