"""The scene and the logics of a running Slicer, made in the order of qSlicerCoreApplication::setMRMLScene."""

from __future__ import annotations

import ctypes
import gc

import slicer
import vtk

from . import errors, names

SLICE_MANAGERS = [
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLTransformsDisplayableManager2D",
]
THREED_MANAGERS = [
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLCrosshairDisplayableManager3D",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
]
LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "VolumeRendering": "vtkSlicerVolumeRenderingLogic",
    "Models": "vtkSlicerModelsLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Texts": "vtkSlicerTextsLogic",
    "Tables": "vtkSlicerTablesLogic",
    "Colors": "vtkSlicerColorLogic",
    "Cameras": "vtkSlicerCamerasModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "CropVolume": "vtkSlicerCropVolumeLogic",
    "Units": "vtkSlicerUnitsLogic",
}


class _Newer:
    """Stands where the wheel has a name that the release has not."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __get__(self, thing, owner=None):
        raise errors.NotInSlicer(f"{self.owner}.{self.name} is newer than Slicer {names.index()['release']}")


def hide_newer_names() -> int:
    """Make every name that only the wheel has raise; returns how many."""
    count = 0
    for class_name, members in names.newer_mrml().items():
        cls = getattr(slicer, class_name, None)
        if cls is None:
            continue
        space = gc.get_referents(cls.__dict__)[0]  # the dict behind the read-only view of a C++ class
        for member in members:
            if member in space:
                space[member] = _Newer(class_name, member)
                count += 1
        ctypes.pythonapi.PyType_Modified(ctypes.py_object(cls))
    return count


class _Snake:
    """Stands where the wheel's wrappers have a second, snake_case spelling of Get and Set."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __get__(self, thing, owner=None):
        raise errors.NotInSlicer(f"{self.owner}.{self.name} is a spelling of the wheel alone: use Get and Set")

    def __set__(self, thing, value):
        self.__get__(thing)


def hide_other_spellings() -> int:
    """Make snake_case attributes of MRML classes raise, and names that the wheel spreads over ``slicer``; returns how many."""
    count = 0
    for name, value in list(vars(slicer).items()):
        origin = str(getattr(value, "__module__", ""))
        if isinstance(value, type) and origin.startswith(("slicer_core", "vtkAddonPython")):
            space = gc.get_referents(value.__dict__)[0]
            for member in [m for m, v in space.items() if type(v).__name__ == "getset_descriptor" and not m.startswith("__")]:
                space[member] = _Snake(name, member)
                count += 1
            ctypes.pythonapi.PyType_Modified(ctypes.py_object(value))
        elif (
            not name.startswith("__") and not name.startswith("vtk") and name != "util" and not isinstance(value, type(slicer))
        ) or name in ("sys", "me", "module"):
            delattr(slicer, name)  # functions of slicer.util and leftovers of the wheel's loop
            count += 1
    return count


class Core:
    """Scene, application logic, module logics, displayable manager factories."""

    def __init__(self):
        self.scene = slicer.vtkMRMLScene()
        crosshair = slicer.vtkMRMLCrosshairNode()
        crosshair.SetCrosshairName("default")
        self.scene.AddNode(crosshair)
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.logic.SetMRMLScene(self.scene)
        self.logic.GetColorLogic().SetMRMLScene(self.scene)
        self.logic.GetColorLogic().AddDefaultColorNodes()
        self.logic.SetSliceLogics(vtk.vtkCollection())
        self.logic.SetViewLogics(vtk.vtkCollection())
        self.slice_factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        self.threed_factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        for factory, managers in ((self.slice_factory, SLICE_MANAGERS), (self.threed_factory, THREED_MANAGERS)):
            factory.SetMRMLApplicationLogic(self.logic)
            for manager in managers:
                if not factory.IsDisplayableManagerRegistered(manager):
                    factory.RegisterDisplayableManager(manager)
        self.module_logics = {}
        spoken = vtk.vtkLogger.GetCurrentVerbosityCutoff()
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)  # the wheel has no terminology files and says so at length
        for name, class_name in LOGICS.items():
            logic = self.module_logics[name] = getattr(slicer, class_name)()
            logic.SetMRMLApplicationLogic(self.logic)
            logic.SetMRMLScene(self.scene)
            self.logic.SetModuleLogic(name, logic)
        vtk.vtkLogger.SetStderrVerbosity(spoken)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.layout_logic = slicer.vtkMRMLLayoutLogic()
        self.layout_logic.SetMRMLScene(self.scene)
