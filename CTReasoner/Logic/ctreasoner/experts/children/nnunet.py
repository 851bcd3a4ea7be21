"""An nnU-Net v2 model folder in its own Python (package ``nnunetv2``): one crop of a CT in, labels out."""

from __future__ import annotations

import inspect
import os
import time

import channel
import numpy as np


def predictor_of(job: dict):
    """The package's predictor with the weights of the first fold, read without running code of the file."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, job["folder"])      # the package warns without; nothing is written there
    import nnunetv2
    import torch
    from batchgenerators.utilities.file_and_folder_operations import load_json
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    torch.set_num_threads(job["threads"])
    core = np._core if hasattr(np, "_core") else np.core
    numbers = [core.multiarray.scalar, np.dtype, *(type(np.dtype(n)) for n in ("f8", "f4", "i8", "i4", "bool"))]
    weights = channel.load_weights(job["checkpoint"], numbers)
    dataset, plans = (load_json(os.path.join(job["folder"], n)) for n in ("dataset.json", "plans.json"))
    try:
        trainer_name, configuration = weights["trainer_name"], weights["init_args"]["configuration"]
        parameters, axes = weights["network_weights"], weights.get("inference_allowed_mirroring_axes")
    except (KeyError, TypeError) as error:
        raise channel.Refused(f"{os.path.basename(job['checkpoint'])} is no checkpoint of nnU-Net v2: it lacks {error}.") from error
    manager = PlansManager(plans)
    settings = manager.get_configuration(configuration)
    place = os.path.join(os.path.dirname(nnunetv2.__file__), "training", "nnUNetTrainer")
    trainer = recursive_find_python_class(place, trainer_name, "nnunetv2.training.nnUNetTrainer")
    if trainer is None:
        raise channel.Refused(f"The model was trained by {trainer_name}, which this Python's nnunetv2 does not have.")
    channels = len(dataset["channel_names"])
    heads = manager.get_label_manager(dataset).num_segmentation_heads
    build = trainer.build_network_architecture
    if "plans_manager" in inspect.signature(build).parameters:
        network = build(manager, settings, channels, heads, enable_deep_supervision=False)
    else:                                               # before nnunetv2 2.8
        network = build(settings.network_arch_class_name, settings.network_arch_init_kwargs,
                        settings.network_arch_init_kwargs_req_import, channels, heads, enable_deep_supervision=False)
    network.load_state_dict(parameters)
    device = torch.device("cuda" if job.get("device") == "cuda" and torch.cuda.is_available() else "cpu")
    predictor = nnUNetPredictor(tile_step_size=0.5, use_mirroring=bool(job.get("mirroring")), device=device, verbose=False,
                                perform_everything_on_device=device.type == "cuda", allow_tqdm=False)
    predictor.manual_initialization(network, manager, settings, [parameters], dataset, trainer_name, axes)
    return predictor


def check(job: dict) -> dict:
    from importlib.metadata import version

    import torch

    begun = time.monotonic()
    predictor = predictor_of(job)
    start = time.monotonic() - begun
    patch = predictor.configuration_manager.patch_size
    noise = torch.randn((1, 1, *patch))
    begun = time.monotonic()
    with torch.inference_mode():
        predictor.network.to(predictor.device)(noise.to(predictor.device))
    return {"package": version("nnunetv2"), "start_s": start, "patch_s": time.monotonic() - begun, "device": predictor.device.type}


def segment(job: dict, tell) -> np.ndarray:
    predictor = predictor_of(job)
    tell(reply="progress", stage="ready")
    image = np.load(job["image"]).astype(np.float32).transpose(2, 1, 0)         # the package counts z, y, x
    spacing = [float(s) for s in job["spacing_mm"][::-1]]
    labels = predictor.predict_single_npy_array(image[None], {"spacing": spacing}, None, None, False)
    return np.ascontiguousarray(np.asarray(labels).transpose(2, 1, 0).astype(np.uint16))


if __name__ == "__main__":
    raise SystemExit(channel.run(check, segment))
