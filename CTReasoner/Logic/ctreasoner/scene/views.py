"""How the views of a scene stand: where each slice view looks, and the whole of it to be brought back later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .volume import to_numpy, to_vtk

MARGIN = 1.15  # of the field of view round a box
LAYER_IDS = ("BackgroundVolumeID", "ForegroundVolumeID", "LabelVolumeID")
LAYER_OPACITIES = ("ForegroundOpacity", "LabelOpacity")


def nodes(mrml_scene: Any, class_name: str) -> list[Any]:
    """All nodes of a class."""
    return [mrml_scene.GetNthNodeByClass(n, class_name) for n in range(mrml_scene.GetNumberOfNodesByClass(class_name))]


def slice_views(mrml_scene: Any) -> list[Any]:
    """The slice nodes on the screen; all of them where no layout says which."""
    every = nodes(mrml_scene, "vtkMRMLSliceNode")
    return [n for n in every if n.IsMappedInLayout()] or every


def cameras(mrml_scene: Any) -> list[Any]:
    """The cameras of the 3D views on the screen; all of them where no layout says which."""
    every = nodes(mrml_scene, "vtkMRMLCameraNode")
    shown = {n.GetLayoutName() for n in nodes(mrml_scene, "vtkMRMLViewNode") if n.IsMappedInLayout()}
    return [c for c in every if c.GetLayoutName() in shown] or every


@dataclass(frozen=True)
class SliceView:
    """Where a slice view looks: the world point in its middle and its field of view (x, y), mm."""

    centre: np.ndarray
    field: np.ndarray


def look_of(node: Any) -> SliceView:
    """How a slice view stands now, pan included."""
    to_ras, pan = to_numpy(node.GetSliceToRAS()), node.GetXYZOrigin()
    return SliceView((to_ras @ [pan[0], pan[1], 0.0, 1.0])[:3], np.array(node.GetFieldOfView()[:2]))


def look_at_box(node: Any, centre: np.ndarray, edges: np.ndarray) -> SliceView:
    """A view that holds a box: the box's middle in its middle, square pixels. edges : columns are full edges, world mm."""
    axes = to_numpy(node.GetSliceToRAS())[:3, :3]
    size = np.abs(axes[:, :2].T @ edges).sum(axis=1)  # width and height of the box as this view sees it
    aspect = aspect_of(node)
    width = max(size[0], size[1] * aspect, 1.0) * MARGIN
    return SliceView(np.asarray(centre, float), np.array([width, width / aspect]))


def aspect_of(node: Any) -> float:
    """Width by height of a view in pixels."""
    width, height = node.GetDimensions()[:2]
    return width / height if width > 0 and height > 0 else 1.0


def set_look(node: Any, look: SliceView) -> None:
    """Move a slice view: one event, pixels square, no pan left over."""
    was = node.StartModify()
    to_ras = node.GetSliceToRAS()
    for row in range(3):
        to_ras.SetElement(row, 3, float(look.centre[row]))
    width = float(look.field[0])
    node.SetXYZOrigin(0.0, 0.0, 0.0)
    node.SetFieldOfView(width, width / aspect_of(node), node.GetFieldOfView()[2])
    node.UpdateMatrices()
    node.EndModify(was)


def between(start: SliceView, end: SliceView, share: float) -> SliceView:
    """A view on the way: the zoom goes evenly in steps of scale, and the target nears the middle as it does."""
    field = start.field[0] ** (1 - share) * end.field[0] ** share
    span = start.field[0] - end.field[0]
    along = (start.field[0] - field) / span if abs(span) > 0.2 * end.field[0] else share
    return SliceView(start.centre + (end.centre - start.centre) * along, np.array([field, field * end.field[1] / end.field[0]]))


@dataclass
class SavedView:
    """Everything that a motion or a look may change."""

    layout: int | None = None
    slices: dict[str, dict[str, Any]] = field(default_factory=dict)
    layers: dict[str, dict[str, Any]] = field(default_factory=dict)
    cameras: dict[str, dict[str, Any]] = field(default_factory=dict)
    window: dict[str, Any] = field(default_factory=dict)


def save(mrml_scene: Any, ct_node: Any) -> SavedView:
    """How layout, slice views, layers, cameras and the CT's window stand."""
    out = SavedView()
    layout = mrml_scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    out.layout = layout.GetViewArrangement() if layout is not None else None
    for node in nodes(mrml_scene, "vtkMRMLSliceNode"):
        out.slices[node.GetID()] = {"to_ras": to_numpy(node.GetSliceToRAS()), "pan": tuple(node.GetXYZOrigin()),
                                    "field": tuple(node.GetFieldOfView()), "orientation": node.GetOrientation(),
                                    "resolution": node.GetSliceResolutionMode()}
    for node in nodes(mrml_scene, "vtkMRMLSliceCompositeNode"):
        out.layers[node.GetID()] = {name: getattr(node, f"Get{name}")() for name in (*LAYER_IDS, *LAYER_OPACITIES)}
    for node in nodes(mrml_scene, "vtkMRMLCameraNode"):
        camera = node.GetCamera()
        out.cameras[node.GetID()] = {"position": camera.GetPosition(), "focal": camera.GetFocalPoint(), "up": camera.GetViewUp(),
                                     "scale": camera.GetParallelScale(), "angle": camera.GetViewAngle()}
    display = ct_node.GetDisplayNode()
    if display is not None:
        out.window = {"auto": display.GetAutoWindowLevel(), "window": display.GetWindow(), "level": display.GetLevel(),
                      "threshold": display.GetApplyThreshold(), "auto_threshold": display.GetAutoThreshold(),
                      "lower": display.GetLowerThreshold(), "upper": display.GetUpperThreshold()}
    return out


def restore(mrml_scene: Any, ct_node: Any, saved: SavedView) -> None:
    """Bring a saved view back; nodes that have gone since are left out, views that were resized keep square pixels."""
    layout = mrml_scene.GetFirstNodeByClass("vtkMRMLLayoutNode")
    if layout is not None and saved.layout is not None and layout.GetViewArrangement() != saved.layout:
        layout.SetViewArrangement(saved.layout)
    for node_id, kept in saved.layers.items():
        node = mrml_scene.GetNodeByID(node_id)
        for name, value in kept.items() if node is not None else ():
            if name not in LAYER_IDS or value is None or mrml_scene.GetNodeByID(value) is not None:
                getattr(node, f"Set{name}")(value)
    for node_id, kept in saved.slices.items():
        node = mrml_scene.GetNodeByID(node_id)
        if node is not None:
            _restore_slice(node, kept)
    for node_id, kept in saved.cameras.items():
        node = mrml_scene.GetNodeByID(node_id)
        if node is not None:
            set_camera(node, kept["focal"], kept["position"], kept["up"])
            node.GetCamera().SetParallelScale(kept["scale"])
            node.GetCamera().SetViewAngle(kept["angle"])
    _restore_window(ct_node.GetDisplayNode(), saved.window)


def _restore_slice(node: Any, kept: dict[str, Any]) -> None:
    was = node.StartModify()
    node.GetSliceToRAS().DeepCopy(to_vtk(kept["to_ras"]))
    node.SetSliceResolutionMode(kept["resolution"])
    node.SetXYZOrigin(*kept["pan"])
    width, _, depth = kept["field"]
    node.SetFieldOfView(width, width / aspect_of(node), depth)
    node.UpdateMatrices()
    node.EndModify(was)


def _restore_window(display: Any, kept: dict[str, Any]) -> None:
    if display is None or not kept:
        return
    was = display.StartModify()
    display.SetAutoWindowLevel(0)
    display.SetWindowLevel(kept["window"], kept["level"])
    display.SetAutoThreshold(0)
    display.SetThreshold(kept["lower"], kept["upper"])
    display.SetApplyThreshold(kept["threshold"])
    if kept["auto_threshold"]:
        display.SetAutoThreshold(1)
    if kept["auto"]:
        display.SetAutoWindowLevel(1)
    display.EndModify(was)


def set_camera(node: Any, focal: Sequence[float], position: Sequence[float], up: Sequence[float] | None = None) -> None:
    """Move the camera of a 3D view."""
    was = node.StartModify()
    node.SetFocalPoint(*map(float, focal))
    node.SetPosition(*map(float, position))
    if up is not None:
        node.SetViewUp(*map(float, up))
    node.ResetClippingRange()
    node.EndModify(was)


def show_plane(node: Any, origin: Sequence[float], normal: Sequence[float]) -> None:
    """Turn a slice view into a plane, its own right kept to the right as far as that goes."""
    old = to_numpy(node.GetSliceToRAS())
    normal = np.asarray(normal, float) / np.linalg.norm(normal)
    normal = normal if normal @ old[:3, 2] >= 0 else -normal
    right = old[:3, 0] - normal * (normal @ old[:3, 0])
    if np.linalg.norm(right) < 1e-3:
        right = np.cross(old[:3, 1], normal)
    right /= np.linalg.norm(right)
    up = np.cross(normal, right)
    up = up if up @ old[:3, 1] >= 0 else -up  # axial and coronal views are left-handed
    turned = np.eye(4)
    turned[:3] = np.stack([right, up, normal, np.asarray(origin, float)], axis=1)
    was = node.StartModify()
    node.GetSliceToRAS().DeepCopy(to_vtk(turned))
    node.SetXYZOrigin(0.0, 0.0, 0.0)
    node.UpdateMatrices()
    node.EndModify(was)
