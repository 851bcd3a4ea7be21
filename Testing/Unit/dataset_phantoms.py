"""A phantom thorax and miniature data sets in every published layout, written by other people's libraries."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

SHAPE, SPACING = (84, 66, 60), 3.5                      # voxels, mm
LICENCE = "CC BY 4.0"
SEGTHOR = {"esophagus": 1, "heart": 2, "trachea": 3, "aorta": 4}


def affine() -> np.ndarray:
    out = np.diag([SPACING] * 3 + [1.0])
    out[:3, 3] = -np.array(SHAPE) * SPACING / 2
    return out


@cache
def thorax(seed: int = 0) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(HU int16 [x, y, z] RAS, masks by key): a body with lungs, heart (left), trachea, oesophagus and aorta."""
    at = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1) @ affine()[:3, :3].T + affine()[:3, 3]
    rng = np.random.default_rng(seed)
    r, a, s = at[..., 0] + 3 * (seed % 5), at[..., 1], at[..., 2]

    def ball(centre, radii):
        return sum(((w - c) / n) ** 2 for w, c, n in zip((r, a, s), centre, radii, strict=True)) < 1

    def tube(centre, radius, low, high):
        return ((r - centre[0]) ** 2 + (a - centre[1]) ** 2 < radius**2) & (s > low) & (s < high)

    masks = {
        "heart": ball((-20, 25, -25), (45, 45, 45)), "trachea": tube((0, 10, 0), 9, 30, 85),
        "esophagus": tube((0, -30, 0), 8, -85, 85), "aorta": tube((-22, -45, 0), 12, -85, 85),
    }
    taken = np.any(list(masks.values()), axis=0)
    masks["lung_right"] = ball((72, 0, 0), (42, 60, 75)) & ~taken
    masks["lung_left"] = ball((-72, 0, 0), (42, 60, 75)) & ~taken
    hu = np.full(SHAPE, -1000.0)
    hu[((r / 130) ** 2 + (a / 105) ** 2) < 1] = -80
    for key, value in {"heart": 45, "trachea": -950, "esophagus": 30, "aorta": 180, "lung_right": -820, "lung_left": -810}.items():
        hu[masks[key]] = value
    return (hu + rng.normal(0, 8, SHAPE)).astype(np.int16), masks


def label_map(numbers: dict[str, int], seed: int = 0) -> np.ndarray:
    out = np.zeros(SHAPE, np.uint8)
    for key, number in numbers.items():
        out[thorax(seed)[1][key]] = number
    return out


def save(path: Path, array: np.ndarray, where: np.ndarray | None = None) -> Path:
    """NIfTI or, by the name, NRRD."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".nrrd":
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(array.transpose(2, 1, 0))
        image.SetSpacing([SPACING] * 3)
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
        image.SetOrigin((np.diag([-1, -1, 1]) @ affine()[:3, 3]).tolist())
        sitk.WriteImage(image, str(path), True)
        return path
    nibabel.save(nibabel.Nifti1Image(array, affine() if where is None else where, dtype=array.dtype), path)
    return path


def about(folder: Path, **more) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "source.json").write_text(json.dumps({"licence": LICENCE, **more}))
    return folder


# ---------------------------------------------------------------- one function for each layout

def pairs(folder: Path, count: int = 1, names=("one", "two", "three")) -> Path:
    about(folder, name="mine", labels=SEGTHOR)
    for seed, name in enumerate(names[:count]):
        save(folder / "images" / f"{name}.nii.gz", thorax(seed)[0])
        save(folder / "labels" / f"{name}.nii.gz", label_map(SEGTHOR, seed))
    return folder


def totalsegmentator(folder: Path) -> Path:
    about(folder)
    for seed, name in enumerate(("s0001", "s0002")):
        save(folder / name / "ct.nii.gz", thorax(seed)[0])
        for key in ("heart", "aorta", "trachea"):
            save(folder / name / "segmentations" / f"{key}.nii.gz", thorax(seed)[1][key].astype(np.uint8))
        save(folder / name / "segmentations" / "mandible.nii.gz", np.zeros(SHAPE, np.uint8))
    (folder / "meta.csv").write_text("image_id;age;split\ns0001;60;train\ns0002;61;test\n")
    return folder


def segthor(folder: Path) -> Path:
    about(folder)
    save(folder / "train" / "Patient_01" / "Patient_01.nii.gz", thorax()[0])
    save(folder / "train" / "Patient_01" / "GT.nii.gz", label_map(SEGTHOR))
    save(folder / "test" / "Patient_41.nii.gz", thorax(1)[0])
    return folder


def btcv(folder: Path) -> Path:
    about(folder)
    for seed, number in enumerate(("0001", "0035")):
        save(folder / "Training" / "img" / f"img{number}.nii.gz", thorax(seed)[0])
        save(folder / "Training" / "label" / f"label{number}.nii.gz", label_map({"esophagus": 5, "aorta": 8}, seed))
    split = {"training": [{"image": "imagesTr/img0001.nii.gz"}], "validation": [{"image": "imagesTr/img0035.nii.gz"}]}
    (folder / "dataset_0.json").write_text(json.dumps(split))
    return folder


def amos(folder: Path) -> Path:
    about(folder)
    labels = {"0": "background", "1": "spleen", "5": "esophagus", "8": "aorta"}
    (folder / "dataset.json").write_text(json.dumps({"name": "AMOS", "labels": labels}))
    for seed, (part, number) in enumerate((("Tr", "0001"), ("Va", "0008"), ("Tr", "0507"))):
        save(folder / f"images{part}" / f"amos_{number}.nii.gz", thorax(seed)[0])
        save(folder / f"labels{part}" / f"amos_{number}.nii.gz", label_map({"esophagus": 5, "aorta": 8}, seed))
    return folder


def flare(folder: Path) -> Path:
    about(folder)
    save(folder / "Training" / "images" / "FLARE22_Tr_0001_0000.nii.gz", thorax()[0])
    save(folder / "Training" / "labels" / "FLARE22_Tr_0001.nii.gz", label_map({"aorta": 5, "esophagus": 10}))
    save(folder / "Unlabeled" / "images" / "Case_00001_0000.nii.gz", thorax(1)[0])
    return folder


def decathlon(folder: Path) -> Path:
    (folder / "imagesTr").mkdir(parents=True)
    content = {"name": "Thorax", "licence": LICENCE, "labels": {"background": 0, "heart": 1, "liver": 2}}
    (folder / "dataset.json").write_text(json.dumps(content))
    save(folder / "imagesTr" / "t_001_0000.nii.gz", thorax()[0])
    save(folder / "labelsTr" / "t_001.nii.gz", label_map({"heart": 1}))
    return folder


def mosmed(folder: Path) -> Path:
    from openpyxl import Workbook

    about(folder)
    hu, masks = thorax()
    for part, numbers in (("Train", (20, 24)), ("Val", (28,)), ("Test", (32,))):
        place, book = folder / f"{part}_Folder", Workbook()
        book.active.append(["Image", "Description"])
        for k in numbers:
            grey = np.clip((hu[:, :, k] + 1000) / 6, 0, 255).astype(np.uint8)
            name = f"Morozov_study_0255_{k}.png"
            for sub, pixels in (("img", grey), ("labelcol", masks["heart"][:, :, k].astype(np.uint8) * 255)):
                (place / sub).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.T[::-1, ::-1]).save(place / sub / name)
            book.active.append([name, "Unilateral pulmonary infection, one infected area, lower left lung."])
        book.save(place / f"{part}_text.xlsx")
    return folder


def compact(folder: Path) -> Path:
    """The compact layout with one thorax and one nodule crop, animated AVIF and index lines as published."""
    folder.mkdir(parents=True)
    hu, _ = thorax()
    small = np.s_[8:76, 4:62, 2:58]
    labels = label_map(SEGTHOR)[small]
    lines = [_stored(folder, "thorax_01", "segthor", hu[small], labels, SEGTHOR, "train", hu_class="fine")]
    at = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in (24, 24, 8)), indexing="ij"), -1)
    ball = np.linalg.norm(at * [1, 1, 2.5], axis=-1) < 7
    crop = np.where(ball, 30, -850).astype(np.int16)
    ratings = [[5, 1, 6, 3, 5, 2, 1, 5, 4], [5, 1, 6, 3, 4, 1, 1, 5, 3], [4, 1, 6, 4, 2, 1, 4, 3, 3]]
    nodule = {"labels": ball.astype(np.uint8), "values": {"lung_nodule": 1}, "kind": "crop", "ratings": ratings}
    lines.append(_stored(folder, "lidc_9_1", "lidc", crop, split="fold1", **nodule))
    demo = _stored(folder, "lidc_0001_1", "lidc", np.where(ball, 10, -870).astype(np.int16), split="fold0", **nodule)
    lines.append({**demo, "patient": "LIDC-IDRI-0001"})
    (folder / "index.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sources = {name: {"data_licence": LICENCE, "labels_by": "people", "protocol": "theirs"} for name in ("segthor", "lidc")}
    (folder / "SOURCES.json").write_text(json.dumps({"sources": sources}))
    return folder


def _stored(folder: Path, name: str, source: str, hu, labels, values, split, kind="volume", **more) -> dict:
    codes = np.round(np.interp(np.clip(hu, -1024, 1704), (-1024, -192, 300, 1704), (0, 52, 216, 255))).astype(np.uint8)
    frames = [Image.fromarray(codes[:, :, k].T) for k in range(hu.shape[2])]
    frames[0].save(folder / f"{name}.avif", save_all=True, append_images=frames[1:], quality=95, subsampling="4:0:0")
    np.savez_compressed(folder / f"{name}.npz", labels=labels.transpose(2, 1, 0))
    return {"id": name, "source": source, "kind": kind, "split": split, "file": f"{name}.avif", "label_file": f"{name}.npz",
            "shape": list(hu.shape), "spacing_mm": [SPACING] * 3 if kind == "volume" else [0.7, 0.7, 2.0],
            "origin_ras_mm": [0, 0, 0],
            "covered": list(values), "label_values": values, "cut_by_crop": [], "patient": f"{source}_{name}", **more}


WRITERS = {w.__name__: w for w in (pairs, totalsegmentator, segthor, btcv, amos, flare, decathlon, mosmed, compact)}
