"""``python -m ctreasoner.bench.dicom``: time and memory of a segmentation and a report on ten segments of a large CT.

Without and with overlaps, each in a process of its own, so that the peak of memory is that of the export. The CT is empty and only
described, since an export reads none of its voxels.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from ..geometry import Volume

GOALS = {"apart": (12.0, 2048.0), "overlapping": (20.0, 3072.0)}     # s, MB
MEASURED = {"volume": "ml", "long_axis": "mm", "short_axis": "mm", "mean_hu": "HU", "sd_hu": "HU"}


def main(argv: list[str] | None = None) -> int:
    """Print one JSON line for each case; the exit code is 1 where a goal was missed."""
    from . import child
    from .machine import busy_cores, require_idle

    parser = argparse.ArgumentParser(prog="python -m ctreasoner.bench.dicom", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="columns and rows (default 512)")
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--segments", type=int, default=10)
    parser.add_argument("--even-if-busy", action="store_true", help="measure although other programs run")
    options = parser.parse_args(argv)
    if not options.even_if_busy:
        require_idle(busy_cores())
    missed = False
    for case, (most_s, most_mb) in GOALS.items():
        given = {"size": options.size, "slices": options.slices, "segments": options.segments, "overlap": case == "overlapping"}
        result = child("dicom_export", given, threads=1)
        reached = result["wall_s"] <= most_s and result["peak_memory_mb"] <= most_mb
        missed |= not reached
        print(json.dumps({"case": case, **result, "goal_s": most_s, "goal_mb": most_mb, "reached": reached}))
    return int(missed)


def dicom_export(given: dict[str, Any]) -> dict[str, Any]:
    """Time the making and writing of both objects."""
    from ..dicom import build_seg, write_sr
    from ..dicom.derived import derived_headers
    from ..dicom.files import save

    volume = Volume(np.broadcast_to(np.int16(0), (given["size"], given["size"], given["slices"])), np.diag([-0.8, -0.8, 1.0, 1.0]))
    headers = derived_headers(volume)
    objects = list(_ellipsoids(volume, given["segments"], overlap=given["overlap"]))
    with tempfile.TemporaryDirectory(prefix="ctreasoner-bench-") as scratch:
        wall, cpu = time.perf_counter(), time.process_time()
        segmentation = build_seg(objects, volume, headers)
        save(segmentation, Path(scratch) / "seg.dcm")
        written = time.perf_counter()
        write_sr(Path(scratch) / "sr.dcm", objects, segmentation, volume, headers)
        done = time.perf_counter()
        sizes = {name: round((Path(scratch) / f"{name}.dcm").stat().st_size / 1e6, 2) for name in ("seg", "sr")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return {"wall_s": round(done - wall, 2), "seg_s": round(written - wall, 2), "sr_s": round(done - written, 2),
            "cpu_s": round(time.process_time() - cpu, 2), "peak_memory_mb": round(peak, 1),
            "frames": int(segmentation.NumberOfFrames), "overlap": str(segmentation.SegmentsOverlap), "megabytes": sizes}


def _ellipsoids(volume: Volume, count: int, *, overlap: bool):
    """Yield segments in two rows, each on 40 % of the slices; with ``overlap`` each reaches into its neighbours."""
    from ..dicom import SegObject

    columns = (count + 1) // 2
    cell = np.array([volume.shape[0] / columns, volume.shape[1] / 2, volume.shape[2]])
    half = np.minimum(cell * ([0.62, 0.53, 0.2] if overlap else [0.47, 0.47, 0.2]), np.array(volume.shape) / 2 - 1)
    for n in range(count):
        centre = np.clip(cell * [n % columns + 0.5, n // columns + 0.5, 0.5], half, np.array(volume.shape) - 1 - half)
        first = np.ceil(centre - half).astype(int)
        axes = [(np.arange(f, int(c + h) + 1) - c) / h for f, c, h in zip(first, centre, half, strict=True)]
        mask = (axes[0] ** 2)[:, None, None] + (axes[1] ** 2)[:, None] + axes[2] ** 2 <= 1
        yield SegObject("thing", f"Segment {n + 1}", mask, tuple(first.tolist()), tracking_id=f"a1.o{n + 1}",
                        measurements=[{"name": name, "value": 10.0 + n, "unit": unit} for name, unit in MEASURED.items()],
                        attributes={"density": "soft", "shape": "compact"}, text=f"Segment {n + 1} measures {10 + n} ml.")


if __name__ == "__main__":
    sys.exit(main())
