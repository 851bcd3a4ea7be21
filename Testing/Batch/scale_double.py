"""A worker whose engine is a sleep, and a Ray cluster of four nodes on this machine to let many of them run."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ctreasoner.batch.units import Job
from ctreasoner.batch.worker import Worker

NODES = 4


class Sleeper(Worker):
    """Nothing is read or written: what is left is Ray's own work, and ours around it."""

    def load(self):
        return None

    def outcome(self, source):
        with self.engine_free:
            time.sleep(float(os.environ["CTREASONER_SLEEP_S"]))
        return {"state": "done", "unit": source.key, "volume": source.key, "seconds": 0.0}


def job_of(out: Path) -> Job:
    out.mkdir(parents=True)
    return Job(out, ("nothing",), "none", "0", "scale")


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Yield the address of a cluster with one CPU (in Ray's books) for each worker; the token must be in the environment."""
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray.cluster_utils import Cluster

    nodes = min(NODES, workers)
    made = Cluster(initialize_head=True, shutdown_at_exit=True,
                   head_node_args={"num_cpus": workers // nodes, "include_dashboard": False, "object_store_memory": 100 << 20})
    try:
        for _ in range(nodes - 1):
            made.add_node(num_cpus=workers // nodes, object_store_memory=100 << 20)
        yield made.address
    finally:
        made.shutdown()
