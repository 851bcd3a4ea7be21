"""A model folder in nnU-Net's layout, and a Python of its own that segments by thresholds, or misbehaves in a chosen way."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import numpy as np
from ctreasoner.experts import registry
from ctreasoner.geometry import Volume

PROGRAM = '''#!{python}
import json, os, sys, time
import numpy as np
job, how = json.loads(sys.stdin.readline()), {how!r}
def say(**c): print(json.dumps(c), flush=True)
if how == "crash": sys.exit("Segmentation fault")
if how == "hang": time.sleep(600)
if how == "eat": hog = np.ones(60_000_000); time.sleep(600)
if job["do"] == "check":
    say(reply="checked", package="2.8.1", start_s=2.0, patch_s=0.5, device="cpu"); sys.exit()
image = np.load(job["image"])
labels = np.zeros(image.shape, np.uint8)
labels[(image > 100) & (image < 200)] = 1
labels[image >= 200] = 2
if how == "empty": labels[:] = 0
if how == "body": labels[:] = 1
if how == "sides": labels = np.where(labels > 0, 3 - labels, 0).astype(np.uint8)
if how == "grid": labels = labels[:-1]
if how == "refuse": say(reply="refused", sentence="It has no wish to."); sys.exit()
print("a stray print")
np.save(job["result"], labels)
say(reply="segmented")
'''
LABELS = {"Kidney_R": "kidney_right", "Kidney_L": "kidney_left"}


def model_folder(folder: Path, labels: tuple[str, ...] = tuple(LABELS), **changes) -> Path:
    """nnU-Net's files for a model of 3 mm and patches of 32 voxels, with weights that nobody opens."""
    place = folder / "Dataset001_Test" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    (place / "fold_0").mkdir(parents=True)
    (place / "fold_0" / "checkpoint_final.pth").write_bytes(b"weights")
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **{n: i for i, n in enumerate(labels, 1)}}, **changes}
    (place / "dataset.json").write_text(json.dumps(dataset))
    (place / "plans.json").write_text(json.dumps({"image_reader_writer": "SimpleITKIO", "configurations": {
        "3d_fullres": {"spacing": [3.0, 3.0, 3.0], "patch_size": [32, 32, 32]}}}))
    return place


def python(folder: Path, how: str = "") -> Path:
    """A program that stands for the Python of an expert's environment."""
    path = folder / f"python_{how or 'good'}"
    path.write_text(PROGRAM.format(python=sys.executable, how=how))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def entry(folder: Path, how: str = "", name: str = "Ward 7", labels: dict | None = None, **changes) -> dict:
    labels = labels or LABELS
    return {"name": name, "kind": "nnunet", "folder": str(model_folder(folder / name.replace(" ", ""), tuple(labels))),
            "labels": labels, "python": str(python(folder, how)), "version": "2.8.1", "seconds": {"start": 2.0, "patch": 0.5},
            "licence": {"name": "CC BY-NC 4.0", "terms": "", "non_commercial": True}, **changes}


def install(*entries: dict, use: str = "ask") -> None:
    registry.write({"v": 1, "use": use, "experts": list(entries)})


def body(spacing: tuple[float, float, float] = (4.0, 4.0, 5.0), flip: bool = False) -> Volume:
    """A body 240 mm wide: a ball of 150 HU on the patient's right, one of 250 on the left; `flip`: stored the other way round."""
    shape = tuple(int(n / s) for n, s in zip((280, 200, 200), spacing, strict=True))
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(shape) * spacing / 2
    at = np.indices(shape) * np.array(spacing)[:, None, None, None] + affine[:3, 3, None, None, None]
    hu = np.where((at[0] / 120) ** 2 + (at[1] / 85) ** 2 < 1, 20, -1000).astype(np.int16)
    for x, value in ((60, 150), (-60, 250)):
        hu[((at - np.array([x, 10, 0])[:, None, None, None]) ** 2).sum(0) < 28**2] = value
    if flip:
        affine[:3, 3] += affine[:3, 0] * (shape[0] - 1)
        affine[:3, 0] *= -1
        hu = hu[::-1]
    return Volume(hu, affine, name="phantom")
