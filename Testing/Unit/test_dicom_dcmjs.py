"""dcmjs, the JavaScript library behind web viewers, reads the same voxels, names, codes and numbers under Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.dicom import build_seg, read_series, write_seg, write_sr
from ctreasoner.vocabulary import Vocabulary
from dicom_series import hounsfield, save, series
from test_dicom_seg import SHAPE, WHEN, nested, objects

DCMJS = "dcmjs@0.52.2"
FOLDER = Path(__file__).resolve().parents[2] / "build" / "dcmjs"
pytestmark = [pytest.mark.node, pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")]


@pytest.fixture(scope="module")
def dcmjs() -> Path:
    """The installed library; put into build/ once, from the npm registry, without running its scripts."""
    package = FOLDER / "node_modules" / "dcmjs"
    if not package.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", FOLDER, DCMJS],
                       check=True, capture_output=True, timeout=300)
    return package


def read(path: Path, package: Path) -> dict:
    script = Path(__file__).with_name("dcmjs_read.cjs")
    done = subprocess.run([shutil.which("node"), script, path, package], check=True, capture_output=True, text=True, timeout=120)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def ct(tmp_path):
    return read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))


def voxels(got: dict, number: int, sources) -> set[tuple[int, int, int]]:
    """(column, row, slice) of a segment, by the images that its frames refer to."""
    places = {str(source.SOPInstanceUID): k for k, source in enumerate(sources)}
    return {(at % got["columns"], at // got["columns"], places[frame["image"]])
            for frame in got["frames"] if frame["segment"] == number for at in frame["on"]}


@pytest.mark.parametrize("made", [objects, nested], ids=["apart", "overlapping"])
def test_every_voxel_lies_on_the_same_image(tmp_path, ct, dcmjs, made):
    write_seg(tmp_path / "a.dcm", made(), ct.volume, ct.sources)
    got = read(tmp_path / "a.dcm", dcmjs)
    for number, item in enumerate(made(), start=1):
        wanted = {tuple(int(v) for v in at) for at in np.argwhere(item.mask) + np.array(item.first_voxel)}
        assert voxels(got, number, ct.sources) == wanted


def test_names_codes_and_algorithms_are_read(tmp_path, ct, dcmjs):
    write_seg(tmp_path / "a.dcm", objects(), ct.volume, ct.sources)
    heart, parotid, thing = read(tmp_path / "a.dcm", dcmjs)["segments"]
    assert (heart["label"], heart["type"], heart["tracking"]) == ("Heart", ["80891009", "SCT"], "a1.o1")
    assert heart["algorithm"] == "AUTOMATIC"
    assert (parotid["label"], parotid["category"]) == ("Left parotid", ["123037004", "SCT"])
    assert (thing["type"], thing["algorithm"]) == (["85756007", "SCT"], "SEMIAUTOMATIC")
    # the white point of its CIELab is another
    assert np.abs(np.array(heart["colour"]) - np.array(Vocabulary.load()["heart"].colour)).max() <= 4


def test_the_numbers_of_a_report_are_read(tmp_path, ct, dcmjs):
    heart = replace(objects()[0], measurements=({"name": "volume", "value": 612.25, "unit": "ml"},))
    segmentation = build_seg([heart], ct.volume, ct.sources, created=WHEN)
    write_sr(tmp_path / "r.dcm", [heart], segmentation, ct.volume, ct.sources, created=WHEN)
    assert ["118565006", "SCT", 612.25, "ml"] in read(tmp_path / "r.dcm", dcmjs)["numbers"]
