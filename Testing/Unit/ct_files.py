"""Small CT files for tests, written by other people's libraries (nibabel, SimpleITK), never by our own writers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
OBLIQUE = np.array([[0.78, 0.1, 0.0, -40.0], [-0.1, 0.78, 0.0, 12.5], [0.0, 0.0, -2.5, 30.25], [0, 0, 0, 1.0]])
OBLIQUE[:3, :3] = np.array([[0.9848, -0.17101, 0.03015], [0.17365, 0.96985, -0.17101], [0.0, 0.17365, 0.98481]]) @ np.diag(
    [0.75, -0.8, 2.5])  # 10 degrees twice, the second axis flipped
FORMATS = ("ct.nii", "ct.nii.gz", "raw.nrrd", "gzip.nrrd", "plain.mha", "packed.mha")


def a_ct(shape=(24, 20, 12), seed=0) -> np.ndarray:
    """int16 HU: air round a noisy body with a bone in it."""
    rng = np.random.default_rng(seed)
    voxels = rng.normal(-1000, 12, shape)
    inner = tuple(slice(n // 5, n - n // 5) for n in shape)
    voxels[inner] = rng.normal(40, 25, voxels[inner].shape)
    voxels[tuple(slice(n // 2, n // 2 + 2) for n in shape)] = 900
    return voxels.astype(np.int16)


def write(path: Path, voxels: np.ndarray, affine: np.ndarray = OBLIQUE) -> Path:
    """Write [i, j, k] voxels with an affine in RAS, in the format and packing that the file's name says."""
    if ".nii" in path.name:
        import nibabel

        nibabel.save(nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype), path)
        return path
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
    lps = LPS @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path), useCompression=path.name.startswith(("gzip", "packed")))
    return path
