"""Trains a tiny nnU-Net v2 in its own format; runs in a Python that has the package: python tiny_nnunet.py FOLDER.

The images are bodies of soft tissue with a bright ball on the patient's right (liver) and one on the left (spleen), LPS, 3 mm.
Prints the model folder.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np

SHAPE, SPACING_MM = (80, 60, 48), 3.0           # x to the left, y to the back, z up


def phantom(seed: int, shape: tuple[int, int, int] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """(HU, labels), [x, y, z] along LPS: 1 the ball on the right, 2 the one on the left."""
    rng = np.random.default_rng(seed)
    grid = np.indices(shape) * SPACING_MM - np.array(shape)[:, None, None, None] * SPACING_MM / 2
    hu = np.where((grid[0] / 110) ** 2 + (grid[1] / 80) ** 2 < 1, 20.0, -1000.0)
    labels = np.zeros(shape, np.uint8)
    for label, x, radius, value in ((1, -55, 34, 160), (2, 55, 24, 240)):
        centre = np.array([x, 0, 0]) + rng.uniform(-10, 10, 3)
        ball = ((grid - centre[:, None, None, None]) ** 2).sum(0) < (radius + rng.uniform(-3, 3)) ** 2
        hu[ball], labels[ball] = value, label
    return (hu + rng.normal(0, 15, shape)).astype(np.int16), labels


def train(folder: Path, epochs: int = 2, iterations: int = 50) -> Path:
    raw, data = folder / "raw", folder / "raw" / "Dataset077_Tiny"
    for name, value in (("nnUNet_raw", raw), ("nnUNet_preprocessed", folder / "preprocessed"),
                        ("nnUNet_results", folder / "results"), ("nnUNet_n_proc_DA", "1"), ("nnUNet_compile", "false")):
        os.environ[name] = str(value)
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    torch.manual_seed(0)
    for name in ("imagesTr", "labelsTr"):
        (data / name).mkdir(parents=True)
    for n in range(6):
        for array, file in zip(phantom(n), (f"imagesTr/case{n}_0000.nii.gz", f"labelsTr/case{n}.nii.gz"), strict=True):
            image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
            image.SetSpacing((SPACING_MM,) * 3)
            sitk.WriteImage(image, data / file)
    (data / "dataset.json").write_text(json.dumps({
        "channel_names": {"0": "CT"}, "labels": {"background": 0, "Liver": 1, "spleen": 2}, "numTraining": 6,
        "file_ending": ".nii.gz", "licence": "CC0-1.0"}))

    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    extract_fingerprints([77], num_processes=1)
    plan_experiments([77])
    plans_file = folder / "preprocessed" / "Dataset077_Tiny" / "nnUNetPlans.json"
    plans = json.loads(plans_file.read_text())
    settings = plans["configurations"]["3d_fullres"]
    kwargs = settings["architecture"]["arch_kwargs"]
    for key in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage", "n_conv_per_stage_decoder"):
        kwargs[key] = kwargs[key][:2 if key == "n_conv_per_stage_decoder" else 3]
    kwargs |= {"n_stages": 3, "features_per_stage": [6, 12, 24], "n_conv_per_stage": [1, 1, 1], "n_conv_per_stage_decoder": [1, 1],
               "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "kernel_sizes": [[3, 3, 3]] * 3}
    settings |= {"patch_size": [32, 32, 32], "batch_size": 2}
    plans_file.write_text(json.dumps(plans))
    preprocess([77], configurations=("3d_fullres",), num_processes=(1,))

    os.environ.update(nnUNet_n_proc_DA="0")         # batches are made in this very process
    from nnunetv2.run.run_training import get_trainer_from_args
    trainer = get_trainer_from_args("77", "3d_fullres", "all", device=torch.device("cpu"))
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = epochs, iterations, 1
    trainer.run_training()
    return Path(trainer.output_folder_base)


if __name__ == "__main__":
    print(train(Path(sys.argv[1]).resolve()))
