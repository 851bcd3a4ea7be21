"""``slicer.app.coreIOManager()`` over the storage nodes of slicer-core, and a DICOM database of files by their UIDs."""

from __future__ import annotations

import logging
import os
import shutil
import traceback
import types
from pathlib import Path

from PyQt5 import QtCore

from . import errors, receivers
from .indexclasses import implements
from .wrapping import unwrap

ENDINGS = {
    "VolumeFile": (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd"),
    "SegmentationFile": (".seg.nrrd", ".seg.nhdr"),
    "SceneFile": (".mrml", ".mrb"),
    "ModelFile": (".vtk", ".vtp", ".stl", ".ply", ".obj"),
    "MarkupsFile": (".mrk.json", ".fcsv"),
    "TransformFile": (".h5", ".tfm", ".txt.tfm"),
    "TextFile": (".txt", ".json"),
    "TableFile": (".csv", ".tsv"),
}
STORAGE = {
    "SegmentationFile": ("vtkMRMLSegmentationNode", "vtkMRMLSegmentationStorageNode"),
    "TransformFile": ("vtkMRMLTransformNode", "vtkMRMLTransformStorageNode"),
    "TextFile": ("vtkMRMLTextNode", "vtkMRMLTextStorageNode"),
    "TableFile": ("vtkMRMLTableNode", "vtkMRMLTableStorageNode"),
    "ModelFile": ("vtkMRMLModelNode", "vtkMRMLModelStorageNode"),
}


@implements("qSlicerCoreIOManager")
class CoreIOManager(QtCore.QObject):
    """Reads and writes nodes and scenes."""

    def __init__(self, core, parent=None):
        super().__init__(parent)
        self._core = core

    def fileType(self, name):
        ranked = sorted(
            ((len(e), kind) for kind, endings in ENDINGS.items() for e in endings if name.lower().endswith(e)), reverse=True
        )
        return ranked[0][1] if ranked else "NoFile"

    def loadNodes(self, kind, properties, loaded=None, _messages=None):
        path = properties["fileName"]
        if not os.path.exists(path):
            return False
        if kind == "SceneFile":
            return self._load_scene(path, properties)
        node = self._read(kind, path, properties)
        if node is None:
            return False
        if loaded is not None:
            loaded.AddItem(node)
        receivers.emit(self, "newFileLoaded(qSlicerIO::IOProperties)", dict(properties))
        return True

    def _read(self, kind, path, properties):
        name = properties.get("name") or os.path.basename(path).split(".")[0]
        if kind == "VolumeFile":
            labels = 1 if properties.get("labelmap") else 0
            return self._core.module_logics["Volumes"].AddArchetypeVolume(path, name, labels)
        if kind == "MarkupsFile":
            return self._core.scene.GetNodeByID(self._core.module_logics["Markups"].LoadMarkups(path, name) or "")
        if kind not in STORAGE:
            raise errors.missing("qSlicerCoreIOManager", f"loadNodes({kind!r})")
        node_class, storage_class = STORAGE[kind]
        node = self._core.scene.AddNewNodeByClass(node_class, name)
        storage = self._core.scene.AddNewNodeByClass(storage_class)
        storage.SetFileName(path)
        if not storage.ReadData(node):
            self._core.scene.RemoveNode(node)
            self._core.scene.RemoveNode(storage)
            return None
        node.SetAndObserveStorageNodeID(storage.GetID())
        if node.IsA("vtkMRMLDisplayableNode"):
            node.CreateDefaultDisplayNodes()
        return node

    def _load_scene(self, path, properties):
        scene = self._core.scene
        if path.endswith(".mrb"):
            return bool(scene.ReadFromMRB(path, bool(properties.get("clear", False))))
        scene.SetURL(path)
        return bool(scene.Connect() if properties.get("clear") else scene.Import())

    def fileWriterFileType(self, node, _format=""):
        kinds = {
            "vtkMRMLSegmentationNode": "SegmentationFile",
            "vtkMRMLVolumeNode": "VolumeFile",
            "vtkMRMLMarkupsNode": "MarkupsFile",
            "vtkMRMLTransformNode": "TransformFile",
            "vtkMRMLTextNode": "TextFile",
            "vtkMRMLTableNode": "TableFile",
            "vtkMRMLModelNode": "ModelFile",
        }
        return next((kind for cls, kind in kinds.items() if node.IsA(cls)), "NoFile")

    def saveNodes(self, kind, properties, _messages=None):
        path, scene = properties["fileName"], self._core.scene
        if kind == "SceneFile":
            if path.endswith(".mrb"):
                return bool(scene.WriteToMRB(path))
            if path.endswith(".mrml"):
                scene.SetURL(path)
                return bool(scene.Commit(path))
            os.makedirs(path, exist_ok=True)
            return bool(self._core.logic.SaveSceneToSlicerDataBundleDirectory(path, None))
        node = scene.GetNodeByID(properties["nodeID"])
        node.AddDefaultStorageNode()
        storage = node.GetStorageNode()
        storage.SetFileName(path)
        saved = bool(storage.WriteData(node))
        receivers.emit(self, "fileSaved(qSlicerIO::IOProperties)", dict(properties))
        return saved


@implements("qSlicerIOManager")
class IOManager(CoreIOManager):
    """The manager of an application with windows."""


@implements("ctkDICOMDatabase")
class DICOMDatabase(QtCore.QObject):
    """Instances by UID; a test says which there are with :meth:`_insert`, or imports a folder."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._instances, self._folder, self._open = {}, "", True

    @property
    def isOpen(self):
        return self._open

    @property
    def databaseDirectory(self):
        return self._folder

    def fileForInstance(self, uid):
        return self._instances.get(uid, "")

    def _insert(self, uid, path):
        self._instances[uid] = str(path)
        receivers.emit(self, "instanceAdded(QString)", uid)


    def _index(self, folder, copy):
        """What ctkDICOMIndexer.addDirectory does: every file below a folder that is DICOM, copied where that is wanted."""
        import pydicom

        for path in sorted(p for p in Path(folder).rglob("*") if p.is_file()):
            try:
                uid = str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            except (pydicom.errors.InvalidDicomError, AttributeError):
                continue
            if copy:
                target = Path(self._folder) / "dicom" / f"{uid}.dcm"
                target.parent.mkdir(parents=True, exist_ok=True)
                path = shutil.copyfile(path, target)
            self._insert(uid, path)


def dicom_utils_module(database: DICOMDatabase):
    """``DICOMLib.DICOMUtils``: importDicom reads the files of a folder into the database; it tells of an error and raises none."""

    def importDicom(dicomDataDir, dicomDatabase=None, copyFiles=False):
        try:
            (database if dicomDatabase is None else unwrap(dicomDatabase))._index(dicomDataDir, copyFiles)
        except Exception:
            traceback.print_exc()
            logging.error("Failed to import DICOM folder %s", dicomDataDir)
            return False
        return True

    utils = types.ModuleType("DICOMLib.DICOMUtils")
    utils.importDicom = importDicom
    library = types.ModuleType("DICOMLib")
    library.DICOMUtils = utils
    return library, utils


__all__ = ["IOManager", "CoreIOManager", "DICOMDatabase", "dicom_utils_module"]
