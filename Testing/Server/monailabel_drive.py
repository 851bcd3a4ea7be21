"""Drive a server with the client class of the package `monailabel`: `monailabel_drive.py PACKAGE URL CT FOLDER`.

Runs without site-packages, and prints what came as JSON. PACKAGE is the folder in which the package and what it needs lie. What is
asked is what the module of that name in 3D Slicer asks: it uploads under the volume's name, or makes a session, and always wants
NRRD with one byte per voxel.
"""

from __future__ import annotations

import json
import os
import sys
import warnings

warnings.simplefilter("ignore", DeprecationWarning)  # the client imports cgi
sys.path.insert(0, sys.argv[1])
from monailabel.client import MONAILabelClient  # noqa: E402
from monailabel.client.client import MONAILabelClientException  # noqa: E402

SLICER = {"result_extension": ".nrrd", "result_dtype": "uint8"}
POINTS = {"label": "object", "foreground": [[10, 11, 7], [8, 10, 6]], "background": [[13, 13, 8]]}


def main(url: str, ct: str, folder: str) -> None:
    client = MONAILabelClient(url, tmpdir=folder, client_id="user-xyz")
    said = {"auth": client.auth_enabled(), "info": client.info(), "training": client.train_status(check_if_running=True)}
    said["sent"] = [client.upload_image(ct, image_id="2: CT Thorax") for _ in range(2)]
    said["store"] = client.datastore()
    session = client.create_session(ct)["session_id"]
    client.get_session(session)

    def infer(name: str, model: str, params: dict, image: str = "2: CT Thorax", **more: str) -> None:
        file, said[name] = client.infer(model, image, params, **more)
        os.rename(file, f"{folder}/{name}{'.nii.gz' if file.endswith('.nii.gz') else '.nrrd'}")

    infer("organ", "organ", {"label": "Heart", **SLICER})
    infer("words", "words", {"text": "Where is the heart?", **SLICER})
    infer("click", "click", {**POINTS, **SLICER})
    infer("box", "click", {**POINTS, "roi": [14, 9, 20, 0, 2, 8], "reset_state": True, **SLICER})
    infer("all", "all", {**SLICER}, image="", session_id=session)
    infer("file", "organ", {"label": "Heart"}, image="", file=ct)
    client.remove_session(session)
    said["refused"] = {}
    for name, call in {
        "model": lambda: client.infer("none", "2: CT Thorax", {}),
        "image": lambda: client.infer("organ", "another", {}),
        "label": lambda: client.infer("organ", "2: CT Thorax", {"label": "Soul"}),
        "point": lambda: client.infer("click", "2: CT Thorax", {"foreground": [[1, 2, 9999]]}),
        "nothing": lambda: client.infer("click", "2: CT Thorax", {}),
        "scribbles": lambda: client.infer("click", "2: CT Thorax", {}, label_in=ct),
        "session": lambda: client.get_session(session),
        "save": lambda: client.save_label("2: CT Thorax", ct),
        "train": lambda: client.train_start("organ", {}),
        "next": lambda: client.next_sample("random", {}),
        "log in": lambda: client.auth_token("anna", "wrong"),
    }.items():
        try:
            call()
        except MONAILabelClientException as error:
            said["refused"][name] = str(error.msg)
    print(json.dumps(said))


main(*sys.argv[2:])
