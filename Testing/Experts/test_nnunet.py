"""A model that the real nnU-Net v2 trained, from its folder to an answer."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from ctreasoner.events import Mask, Options
from ctreasoner.experts import commands, registry
from ctreasoner.experts.grids import Crop
from ctreasoner.experts.protocol import ExpertError
from ctreasoner.geometry import Volume
from tiny_nnunet import SPACING_MM, phantom

SEED = 91               # of a phantom that the training did not see
NAMES = {"liver": 1, "spleen": 2}


@pytest.fixture
def added(tiny_model, nnunet_python, tmp_path, monkeypatch):
    """The list of experts with the tiny model in it, as the commands put it there."""
    monkeypatch.setenv(registry.PLACE, str(tmp_path / "experts.json"))
    commands.add(tiny_model, name="Tiny", python=nnunet_python)
    commands.add(tiny_model, name="Tiny", python=nnunet_python, labels=tmp_path / "Tiny.labels.json")
    return registry.experts()[0][0]


def scan(seed: int = SEED) -> tuple[Volume, np.ndarray]:
    """A phantom that the model did not see, stored RAS, and its labels."""
    hu, labels = phantom(seed)
    affine = np.diag([SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = -np.array(hu.shape) * SPACING_MM / 2
    return Volume(hu[::-1, ::-1], affine, name="phantom"), labels[::-1, ::-1]


def dice(found, labels: np.ndarray, number: int) -> float:
    whole = np.zeros(labels.shape, bool)
    whole[tuple(slice(f, f + n) for f, n in zip(found.first_voxel, found.mask.shape, strict=True))] = found.mask > 0
    return 2 * (whole & (labels == number)).sum() / (whole.sum() + (labels == number).sum())


def test_it_tells_what_it_is(added) -> None:
    assert added.version == "2.8.1" and added.licence.note == "CC0-1.0" and list(added.objects) == ["liver", "spleen"]
    assert added.expected_seconds(scan()[0]) > 0


def test_masks_are_those_of_the_package(added, tiny_model, nnunet_python, tmp_path) -> None:
    """A model of few steps is no good one: what is compared is what the package says itself of the same scan."""
    volume, labels = scan()
    theirs = predicted(tiny_model, nnunet_python, tmp_path)[::-1, ::-1]
    assert np.array_equal(added._labels(Crop.of(volume), None, lambda: False), theirs)
    whole = added.segment(volume, ["liver", "spleen"])
    assert min(dice(whole[name], theirs, number) for name, number in NAMES.items()) > 0.85
    where = np.argwhere(labels == 1)
    box = volume.index_to_world([where.min(0), where.max(0)])
    crop = added.segment(volume, ["liver"], (box.min(0), box.max(0)))["liver"]
    assert dice(crop, theirs, 1) > 0.5


def predicted(model: Path, python: Path, folder: Path) -> np.ndarray:
    """Labels [x, y, z] along LPS of the scan, by the package's own command on a file."""
    (folder / "in").mkdir()
    sitk.WriteImage(image_of(phantom(SEED)[0]), folder / "in" / "scan_0000.nii.gz")
    command = python.with_name("nnUNetv2_predict_from_modelfolder")
    subprocess.run([python, command, "-i", folder / "in", "-o", folder / "out", "-m", model, "-f", "all", "-device", "cpu",
                    "--disable_tta", "-npp", "1", "-nps", "1"], check=True, capture_output=True)
    return sitk.GetArrayFromImage(sitk.ReadImage(folder / "out" / "scan.nii.gz")).transpose(2, 1, 0)


def image_of(hu: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(hu.transpose(2, 1, 0))
    image.SetSpacing((SPACING_MM,) * 3)
    return image


def test_an_answer_shows_its_mask(added) -> None:
    from ctreasoner import Reasoner
    from ctreasoner.reasoner import make_request

    reasoner, volume = Reasoner.from_pretrained("compact", threads=1), scan()[0]
    request = make_request(reasoner.register(volume), "segment the liver", options=Options(experts=True))
    mask = next(e for e in reasoner.answer(request) if isinstance(e, Mask))
    assert mask.by.name == "Tiny" and mask.by.version == "2.8.1"
    assert mask.voxels > 0


def test_a_checkpoint_with_more_than_tensors_is_refused(added, tiny_model, nnunet_python, tmp_path) -> None:
    evil = tmp_path / "evil" / tiny_model.name
    shutil.copytree(tiny_model, evil)
    checkpoint = next(evil.glob("fold_*/checkpoint_final.pth"))
    checkpoint.write_bytes(b"cposix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(ExpertError, match="nothing in it was run"):
        commands.add(evil, name="Evil", python=nnunet_python, labels=tmp_path / "Tiny.labels.json")
    assert not (tmp_path / "ran").exists() and [e.name for e in registry.experts()[0]] == ["Tiny"]


@pytest.mark.parametrize("harm", ["cut", "renamed"])
def test_damaged_weights_are_a_sentence(added, tiny_model, nnunet_python, tmp_path, harm) -> None:
    broken = tmp_path / "broken" / tiny_model.name
    shutil.copytree(tiny_model, broken)
    checkpoint: Path = next(broken.glob("fold_*/checkpoint_final.pth"))
    if harm == "cut":
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    else:
        for file in broken.glob("fold_*/*.pth"):
            file.rename(file.with_suffix(".old"))
    with pytest.raises(ExpertError):
        commands.add(broken, name="Broken", python=nnunet_python, labels=tmp_path / "Tiny.labels.json")
