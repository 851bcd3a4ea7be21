"""Scenes, CTs and recorded-like answers for the tests of ``ctreasoner.scene``: slicer-core's real MRML, no Qt, no host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import slicer
import vtk
from ctreasoner import events as ev
from ctreasoner.scene import SceneWriter, world_matrix
from ctreasoner.vocabulary import Vocabulary
from vtk.util.numpy_support import numpy_to_vtk

VOCABULARY = Vocabulary.load()
BY = ev.By(kind="model", name="CTReasoner compact", version="1")
GRIDS = {  # name -> 4x4 voxel -> RAS
    "plain": np.array([[1.5, 0, 0, -40], [0, 1.5, 0, -50], [0, 0, 2.5, -60], [0, 0, 0, 1.0]]),
    "flipped": np.array([[-1.5, 0, 0, 40], [0, -1.5, 0, 50], [0, 0, 2.5, -60], [0, 0, 0, 1.0]]),
    "anisotropic": np.array([[0.7, 0, 0, 11], [0, 0.9, 0, -3], [0, 0, 5.0, 7], [0, 0, 0, 1.0]]),
    "permuted": np.array([[0, 0, 2.5, -60], [-1.5, 0, 0, 30], [0, 1.5, 0, -20], [0, 0, 0, 1.0]]),
}


def rotation(x: float, y: float, z: float) -> np.ndarray:
    """4x4 rotation; angles in degrees."""
    transform = vtk.vtkTransform()
    transform.RotateX(x)
    transform.RotateY(y)
    transform.RotateZ(z)
    m = transform.GetMatrix()
    return np.array([[m.GetElement(r, c) for c in range(4)] for r in range(4)])


GRIDS["oblique"] = rotation(12, -20, 33) @ GRIDS["plain"]


def matrix(array: np.ndarray) -> vtk.vtkMatrix4x4:
    out = vtk.vtkMatrix4x4()
    out.DeepCopy(np.asarray(array, float).ravel().tolist())
    return out


class Scene:
    """A scene with the logics that the scene code asks for, three slice views and a 3D view's camera."""

    def __init__(self) -> None:
        self.mrml = slicer.vtkMRMLScene()
        self.logics = {"segmentations": slicer.vtkSlicerSegmentationsModuleLogic(), "markups": slicer.vtkSlicerMarkupsLogic()}
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.mrml)
        for logic in self.logics.values():
            logic.SetMRMLApplicationLogic(self.application)
            logic.SetMRMLScene(self.mrml)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.mrml, True)

    def add_ct(self, grid: str = "plain", shape: tuple[int, int, int] = (60, 50, 40), name: str = "CT"):
        """A CT of smooth numbers [i, j, k] on one of the grids."""
        i, j, k = np.ogrid[:shape[0], :shape[1], :shape[2]]
        voxels = np.asfortranarray((i - 2 * j + 3 * k - 50) + np.zeros(shape)).astype(np.int16, order="F")
        return self.add_voxels(voxels, GRIDS[grid], name)

    def add_voxels(self, voxels: np.ndarray, affine: np.ndarray, name: str = "CT"):
        image = vtk.vtkImageData()
        image.SetDimensions(*voxels.shape)
        image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels.transpose(2, 1, 0)).ravel(), deep=1))
        node = slicer.vtkMRMLScalarVolumeNode()
        node.SetName(name)
        node.SetAndObserveImageData(image)
        node.SetIJKToRASMatrix(matrix(affine))
        self.mrml.AddNode(node)
        node.CreateDefaultDisplayNodes()
        return node

    def add_transform(self, node, array: np.ndarray):
        """Put a node under a new linear transform."""
        transform = slicer.vtkMRMLLinearTransformNode()
        self.mrml.AddNode(transform)
        transform.SetMatrixTransformToParent(matrix(array))
        node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    def add_bend(self, node):
        """Put a node under a transform that is not linear."""
        bend = vtk.vtkThinPlateSplineTransform()
        source, target = vtk.vtkPoints(), vtk.vtkPoints()
        for n, p in enumerate([(0, 0, 0), (90, 0, 0), (0, 80, 0), (0, 0, 90), (40, 40, 40)]):
            source.InsertNextPoint(p)
            target.InsertNextPoint([v + 4 * (n == 4) for v in p])
        bend.SetSourceLandmarks(source)
        bend.SetTargetLandmarks(target)
        bend.SetBasisToR()
        transform = slicer.vtkMRMLTransformNode()
        self.mrml.AddNode(transform)
        transform.SetAndObserveTransformToParent(bend)
        node.SetAndObserveTransformNodeID(transform.GetID())
        return transform

    def add_views(self, dimensions=((400, 300), (300, 300), (250, 500))):
        """Red, Yellow, Green slice nodes with composites, a 3D view node with its camera, a layout node."""
        layout = slicer.vtkMRMLLayoutNode()
        self.mrml.AddNode(layout)
        out = []
        for name, orientation, size in zip(("Red", "Yellow", "Green"), ("Axial", "Sagittal", "Coronal"), dimensions, strict=True):
            node = self.mrml.CreateNodeByClass("vtkMRMLSliceNode")  # with the presets of the scene's default node
            node.UnRegister(None)
            node.SetName(name)
            node.SetLayoutName(name)
            self.mrml.AddNode(node)
            node.SetOrientation(orientation)
            node.SetDimensions(*size, 1)
            node.SetFieldOfView(300.0, 300.0 * size[1] / size[0], 1.0)
            node.SetMappedInLayout(1)
            composite = slicer.vtkMRMLSliceCompositeNode()
            composite.SetLayoutName(name)
            self.mrml.AddNode(composite)
            out.append(node)
        view = slicer.vtkMRMLViewNode()
        view.SetLayoutName("1")
        self.mrml.AddNode(view)
        view.SetMappedInLayout(1)
        camera = slicer.vtkMRMLCameraNode()
        camera.SetLayoutName("1")
        self.mrml.AddNode(camera)
        camera.SetPosition(0, 500, 0)
        camera.SetFocalPoint(0, 0, 0)
        return out, camera

    def count(self) -> int:
        return self.mrml.GetNumberOfNodes()


def ball(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A lumpy mask, uint8 [i, j, k], i fastest in memory as the engine's are."""
    x, y, z = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in shape)]
    lumps = 0.12 * np.sin(5 * x + seed) * np.sin(4 * y + 2 * seed) * np.sin(6 * z + 3 * seed)
    return np.asfortranarray(x * x + y * y + z * z + lumps < 0.95).astype(np.uint8, order="F")


class Story:
    """Writes an answer as the engine would: its events, and masks beside them in a folder."""

    def __init__(self, folder: Path, answer: str = "a1") -> None:
        self.folder, self.stream, self.events = folder, ev.Stream(answer), []
        self.looks = 0

    def emit(self, kind, **fields):
        self.events.append(self.stream.emit(kind, **fields))
        return self.events[-1]

    def start(self, keys: tuple[str, ...]) -> None:
        self.emit(ev.Started, engine="test", model={"name": "CTReasoner compact", "hash": "0"}, volume={})
        self.look(None, (0, 0, 0), (200, 200, 200), "whole scan")
        self.emit(ev.Intent, routes=("segment",), by=BY, objects=tuple(
            {"id": self.id(n), "name": key, "asked": key} for n, key in enumerate(keys, 1)))

    def id(self, number: int) -> str:
        return f"{self.stream.answer}.o{number}"

    def look(self, obj, centre, size, why="object", window=(40.0, 400.0)):
        spacing = tuple(float(s) / 64 for s in size)
        centre, size = tuple(map(float, centre)), tuple(map(float, size))
        view = ev.ViewBox(centre_ras=centre, size_mm=size, spacing_mm=spacing, shape=(64, 64, 64))
        self.looks += 1
        return self.emit(ev.Look, object=obj, step=self.looks - 1 if obj else 0, view=view, why=why, window=window,
                         digest="0" * 16, by=BY)

    def exists(self, number: int, key: str, display: str, state: str = "present", probability: float | None = 0.97):
        return self.emit(ev.Existence, object=self.id(number), name=key, display=display, state=state, by=BY,
                         probability=probability)

    def box(self, number: int, centre, size, look: int = 0, score: float = 0.9):
        return self.emit(ev.Box, object=self.id(number), centre_ras=tuple(map(float, centre)), size_mm=tuple(map(float, size)),
                         score=score, look=look, by=BY)

    def mask(self, number: int | str, crop: np.ndarray, first, stage: str = "final"):
        obj = self.id(number) if isinstance(number, int) else number
        path = f"{obj}.{stage}.{len(self.events)}.npy"
        np.save(self.folder / path, crop)
        return self.emit(ev.Mask, object=obj, stage=stage, first_voxel=tuple(int(v) for v in first), shape=crop.shape, path=path,
                         voxels=int(crop.sum()), by=BY)

    def measured(self, number: int | str, name: str, value: float, unit: str, geometry=None, m: int = 1):
        obj = self.id(number) if isinstance(number, int) else number
        return self.emit(ev.Measurement, id=f"{obj}.m{m}", object=obj, name=name, value=value, unit=unit, method="own",
                         geometry=geometry)

    def said(self, number: int | str, verdict: str = "verified"):
        obj = self.id(number) if isinstance(number, int) else number
        self.emit(ev.Text, text="It is here.", spans=(ev.Span(start=0, end=2, kind="object", ref=obj),))
        self.emit(ev.Statement, id=f"{self.stream.answer}.s1", start=0, end=11, claim={"kind": "volume", "object": obj},
                  verdict=verdict, rule="volume", by=BY)

    def done(self, kind=ev.Done):
        self.emit(kind, timings_s={"all": 1.0})

    def find(self, number: int, key: str, display: str, crop: np.ndarray, first, affine: np.ndarray) -> None:
        """Everything for one object that is there: box, two looks, coarse and final mask, volume and mean HU."""
        lo, hi = np.array(first), np.add(first, crop.shape)
        corners = np.array([[(lo, hi)[b >> a & 1][a] - 0.5 for a in range(3)] for b in range(8)]) @ affine[:3, :3].T + affine[:3, 3]
        centre, size = (corners.min(0) + corners.max(0)) / 2, np.ptp(corners, axis=0)
        self.exists(number, key, display)
        self.box(number, centre, size * 1.2)
        self.look(self.id(number), centre, size * 1.4, "region")
        self.box(number, centre, size, look=1)
        self.look(self.id(number), centre, size * 1.1, "boundary")
        coarse = np.zeros_like(crop)
        coarse[1:-1, 1:-1, 1:-1] = crop[1:-1, 1:-1, 1:-1]
        self.mask(number, coarse, first, "coarse")
        self.mask(number, crop, first, "final")
        self.measured(number, "volume", float(crop.sum()) * abs(np.linalg.det(affine[:3, :3])) / 1000, "ml", m=1)
        self.measured(number, "mean_hu", 41.5, "HU", m=2)
        ends = [(centre - [size[0] / 2, 0, 0]).tolist(), (centre + [size[0] / 2, 0, 0]).tolist()]
        self.measured(number, "long_axis", float(size[0]), "mm", m=3,
                      geometry={"ends_ras": ends, "plane": {"origin": centre.tolist(), "normal": [0.0, 0.0, 1.0]}})


def tell(writer, story: Story, question: str = "segment it") -> None:
    """Bring a whole answer into the scene."""
    writer.begin(story.stream.answer, question)
    for event in story.events:
        writer.apply(event, story.folder)
    writer.end()


def whole(segmentation_node, segment_id: str, ct_node) -> np.ndarray:
    """The mask of a segment on the whole grid of a CT, bool [i, j, k], by Slicer's own export rather than by ours."""
    from vtk.util.numpy_support import vtk_to_numpy

    reference = slicer.vtkOrientedImageData()
    reference.SetExtent([v for n in ct_node.GetImageData().GetDimensions() for v in (0, n - 1)])
    to_ras = vtk.vtkMatrix4x4()
    ct_node.GetIJKToRASMatrix(to_ras)
    reference.SetGeometryFromImageToWorldMatrix(to_ras)
    image = slicer.vtkOrientedImageData()
    segmentation_node.GetBinaryLabelmapRepresentation(segment_id, image)
    out = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(image, reference, out, False, False)
    scalars = vtk_to_numpy(out.GetPointData().GetScalars())
    return scalars.reshape(out.GetDimensions()[::-1]).transpose(2, 1, 0) > 0


def placed(shape, crop: np.ndarray, first) -> np.ndarray:
    """A crop on the whole grid, bool [i, j, k]."""
    out = np.zeros(shape, bool)
    out[tuple(slice(f, f + n) for f, n in zip(first, crop.shape, strict=True))] = crop > 0
    return out


def writer_of(scene: Scene, ct, **options) -> SceneWriter:
    """A writer with the vocabulary that ships."""
    return SceneWriter(scene.mrml, ct, VOCABULARY, scene.logics, **options)


def heart(folder: Path, ct, answer: str = "a1", first=(7, 20, 3), crop=None) -> Story:
    """An answer about one heart."""
    story = Story(folder, answer)
    story.start(("heart",))
    story.find(1, "heart", "Heart", ball((21, 15, 11)) if crop is None else crop, first, world_matrix(ct))
    story.said(1)
    story.done()
    return story


def paint(node, segment_id: str, first, size=(3, 3, 3)) -> None:
    """A stroke of the Segment Editor's brush."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    image = slicer.vtkOrientedImageData()
    image.SetExtent([int(v) for f, n in zip(first, size, strict=True) for v in (f, f + n - 1)])
    geometry = node.GetSegmentation().GetSegment(segment_id).GetRepresentation("Binary labelmap")
    to_world = vtk.vtkMatrix4x4()
    geometry.GetImageToWorldMatrix(to_world)
    image.SetGeometryFromImageToWorldMatrix(to_world)
    image.AllocateScalars(3, 1)
    image.GetPointData().GetScalars().Fill(1)
    assert logic.SetBinaryLabelmapToSegment(image, node, segment_id, logic.MODE_MERGE_MASK, list(image.GetExtent()))
