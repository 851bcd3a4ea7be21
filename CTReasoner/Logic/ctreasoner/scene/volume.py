"""The CT of the scene as the engine wants it: voxels ``[i, j, k]`` and where they are in the world (RAS mm)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import InputError
from ..geometry import check_affine
from . import hierarchy

TRANSFORM_HINT = "Work on a straightened copy, or harden the transform (Data module, right click, Harden transform)."


def voxels_of(ct_node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return (voxels, ijk_to_world) of a scalar volume node.

    voxels : [i, j, k], a view of the node's own memory (i fastest), not to be written.
    ijk_to_world : 4x4, centre of voxel -> RAS mm, with every linear transform above the node applied.

    Raises InputError: no CT (CTR-SCN-001), no image (002), not one number a voxel (003), under a transform that is not
    linear (004); GeometryError for sheared or absurd axes.
    """
    check_node(ct_node)
    matrix = world_matrix(ct_node)
    check_affine(matrix)
    image = ct_node.GetImageData()
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    return scalars.reshape(image.GetDimensions()[::-1]).transpose(2, 1, 0), matrix


def check_node(ct_node: Any) -> None:
    """Refuse what is no scalar volume with an image (InputError)."""
    if ct_node is None:
        raise InputError("No CT is chosen.", code="CTR-SCN-001", hint="Choose a volume at the top of the panel.")
    name = ct_node.GetName() or "The chosen node"
    if not ct_node.IsA("vtkMRMLScalarVolumeNode") or ct_node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise InputError(f"{name} is not a CT: it is no scalar volume.", code="CTR-SCN-003", hint="Choose a CT volume.")
    image = ct_node.GetImageData()
    if image is None or image.GetPointData() is None or image.GetPointData().GetScalars() is None or not image.GetNumberOfPoints():
        raise InputError(f"{name} has no image data.", code="CTR-SCN-002", hint="Load the volume again.")
    if image.GetNumberOfScalarComponents() != 1:
        raise InputError(f"{name} is not a CT: it holds {image.GetNumberOfScalarComponents()} numbers in each voxel.",
                         code="CTR-SCN-003", hint="Choose a CT volume.")


def is_linear(node: Any) -> bool:
    """Whether every transform above a node is linear; no transform is linear, too."""
    parent = node.GetParentTransformNode()
    return parent is None or bool(parent.IsTransformToWorldLinear())


def parent_matrix(node: Any) -> np.ndarray:
    """4x4, coordinates of a node -> world RAS mm. InputError (CTR-SCN-004) for a transform that is not linear."""
    parent, matrix = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if not is_linear(node):
        raise InputError(f"{node.GetName()} lies under the transform {parent.GetName()}, which bends it.", code="CTR-SCN-004",
                         hint=TRANSFORM_HINT)
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
    return to_numpy(matrix)


def local_matrix(ct_node: Any) -> np.ndarray:
    """4x4, voxel index -> RAS mm without the transforms above the node."""
    matrix = vtk.vtkMatrix4x4()
    ct_node.GetIJKToRASMatrix(matrix)
    return to_numpy(matrix)


def world_matrix(ct_node: Any) -> np.ndarray:
    """4x4, voxel index -> world RAS mm. InputError (CTR-SCN-004) for a transform that is not linear."""
    return parent_matrix(ct_node) @ local_matrix(ct_node)


def contains(ct_node: Any, point_ras: Sequence[float]) -> bool:
    """Whether a world point lies inside the outer edges of the CT's voxels."""
    index = np.linalg.inv(world_matrix(ct_node)) @ [*point_ras, 1.0]
    return bool(np.all(index[:3] >= -0.5) and np.all(index[:3] <= np.array(ct_node.GetImageData().GetDimensions()) - 0.5))


def hardened_copy(mrml_scene: Any, ct_node: Any) -> Any:
    """Add a copy of a CT with its transform applied for good, and return it; a bent CT is resampled onto its own grid.

    The original is left as it is. Raises InputError as `check_node` does.
    """
    check_node(ct_node)
    copy = slicer.vtkSlicerVolumesLogic.CloneVolume(mrml_scene, ct_node, f"{ct_node.GetName()} straightened")
    parent = ct_node.GetParentTransformNode()
    if parent is not None:
        copy.SetAndObserveTransformNodeID(parent.GetID())
        copy.HardenTransform()
    hierarchy.place(mrml_scene, copy, ct_node)
    return copy


def to_numpy(matrix: vtk.vtkMatrix4x4) -> np.ndarray:
    """4x4 float64."""
    return np.array([[matrix.GetElement(r, c) for c in range(4)] for r in range(4)])


def to_vtk(matrix: np.ndarray) -> vtk.vtkMatrix4x4:
    """A vtkMatrix4x4 with the numbers of a 4x4 array."""
    out = vtk.vtkMatrix4x4()
    out.DeepCopy([float(v) for v in np.asarray(matrix).ravel()])
    return out
