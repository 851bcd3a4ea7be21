"""Sources through workers to units, on Ray Data: a pool of actors, each with an engine of its own, fed one CT at a time.

Only the words of a source and of its outcome pass through Ray; voxels never leave the worker that read them.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ..cluster import ray_cluster
from ..errors import ResourceError, error_of
from .sources import Source
from .units import Index, Job, to_do
from .worker import CALLS, Worker

WORKER_BYTES = 2 << 30      # an engine, and two CTs of 512 x 512 x 600 voxels
MOST_BLOCKS = 4000          # what Ray plans at once; larger batches get several CTs into one block


@dataclass
class Progress:
    """How far a batch is."""

    of: int
    began: float = field(default_factory=time.monotonic)
    done: int = 0
    failed: int = 0

    @property
    def rate_per_min(self) -> float:
        """CTs per minute since the workers were asked for, their start included."""
        return 60 * self.done / max(time.monotonic() - self.began, 1e-6)

    @property
    def remaining_s(self) -> float | None:
        return 60 * (self.of - self.done) / self.rate_per_min if self.done else None


@dataclass
class Outcome:
    """What a batch came to: key of a source -> name of its unit, or what was wrong with it; and how many were done before."""

    done: dict[str, str]
    failed: dict[str, dict[str, Any]]
    before: int
    again: int = 0      # read anew, and found done under another name


def process(job: Job, sources: Sequence[Source], *, address: str | None = None, workers: int | None = None,
            worker: type[Worker] = Worker, show=lambda outcome, progress: None) -> Outcome:
    """Do what is missing; call ``show(outcome, progress)`` for each CT as it ends.

    Raises
    ------
    CTReasonerError : Ray or the model cannot be started. A CT that is broken raises nothing.
    """
    index = Index(job.out)
    left, done = to_do(job, sources, index)
    result, of = Outcome(done, {}, len(done)), {source.key: source for source in left}
    if not left:
        return result
    progress = Progress(len(left))
    with ray_cluster(address, cpus=workers or affordable()) as ray:
        count = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(left))
        for outcome in _stream(ray, job, left, count, worker):
            if outcome["state"] == "broken":
                raise error_of(outcome)
            key = outcome["source"]
            progress.done += 1
            if outcome["state"] == "failed":
                progress.failed += 1
                result.failed[key] = outcome
            else:
                result.done[key] = outcome["unit"]
                result.again += outcome["state"] == "already"
                index.add(of[key], outcome["volume"])
            show(outcome, progress)
    return result


def _stream(ray: ModuleType, job: Job, left: Sequence[Source], count: int, worker: type[Worker]) -> Iterator[dict[str, Any]]:
    """Yield the outcomes as they come, in no order."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1    # one CT may take long; a dead worker is noticed by itself
    context.target_max_block_size = 1               # an outcome leaves its worker at once
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    rows = [{"source": source.to_json()} for source in left]
    pool = ray.data.ActorPoolStrategy(size=count, max_tasks_in_flight_per_actor=CALLS + 1, max_concurrent_calls_per_actor=CALLS,
                                      enable_true_multi_threading=True)
    data = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
    data = data.map(worker, fn_constructor_args=(job,), compute=pool, num_cpus=1)
    try:
        for batch in data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for text in batch.column("outcome").to_pylist():
                yield json.loads(text)
    except ray.exceptions.RayError as error:
        words = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
        raise ResourceError(f"Ray gave up: {words}", code="CTR-BAT-004",
                            hint="What is done is kept: the same command goes on. Fewer --workers need less memory.") from error


def affordable() -> int:
    """Return how many workers this machine can feed: one for each core that we may use, and 2 GB for each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if sys.platform != "linux":
        return cores
    lines = Path("/proc/meminfo").read_text().splitlines()
    free = next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable")), WORKER_BYTES)
    return max(1, min(cores, free // WORKER_BYTES))
