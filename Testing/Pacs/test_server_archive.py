"""A server that fetches CTs by reference from a real archive: read as if they had been sent, and exported as what they are."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from ctreasoner import Client
from ctreasoner.errors import CTReasonerError
from ctreasoner.events import Done, Request
from ctreasoner.reasoner import load_volume
from fake_engine import phantom_volume
from orthanc import USER, Orthanc, a_study
from test_dicomweb import run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Server"))
from serving import served

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


@pytest.fixture
def pushed(orthanc: Orthanc, tmp_path, secrets) -> tuple[Path, pydicom.Dataset]:
    """The phantom as a series in the archive: its folder, and one of its images."""
    voxels = phantom_volume().voxels + np.int16(7)
    folder, _ = a_study(tmp_path / "scanner", hu=voxels, spacing=(2.0, 2.0), step=(0, 0, 3.0), slope=1.0)
    assert run("push", folder, orthanc.url, *secrets["basic"]) == 0
    return folder, pydicom.dcmread(next(path for path in sorted(folder.rglob("*")) if path.is_file()))


def refused(client: Client, *reference: str) -> CTReasonerError:
    with pytest.raises(CTReasonerError) as said:
        client.fetch(*reference)
    return said.value


def test_a_series_is_fetched_once_answered_about_and_exported_with_its_own_references(orthanc, pushed, tmp_path, secrets) -> None:
    folder, ours = pushed
    study = str(ours.StudyInstanceUID)
    access = {"user": USER, "password_file": str(tmp_path / "password")}
    with served(tmp_path / "data", archive=orthanc.url, access=access) as server:
        client = Client(server.url)
        volume = client.fetch(study, str(ours.SeriesInstanceUID))
        assert volume == load_volume(folder).identity
        assert client.fetch(study, str(ours.SeriesNumber)) == volume
        assert len(list((tmp_path / "data").rglob("*.npy"))) == 1 and not list((tmp_path / "data").rglob("*.series"))
        events = list(client.answer(Request(volume=volume, text="Segment the heart")))
        assert isinstance(events[-1], Done)
        client.wire.export(client.wire.conversation(volume, "default"), tmp_path / "out")
        written = pydicom.dcmread(next((tmp_path / "out").rglob("segmentation.dcm")))
        assert written.StudyInstanceUID == ours.StudyInstanceUID and written.PatientID == ours.PatientID
        assert refused(client, study, "99").code == "CTR-NET-018"
        assert refused(client, "http://elsewhere.example", "1").code == "CTR-IO-040"


def test_a_series_that_is_too_large_is_not_kept(orthanc, pushed, tmp_path, secrets) -> None:
    _, ours = pushed
    access = {"user": USER, "password_file": str(tmp_path / "password")}
    with served(tmp_path / "data", archive=orthanc.url, access=access, limits={"upload_bytes": 5000}) as server:
        assert refused(Client(server.url), str(ours.StudyInstanceUID), str(ours.SeriesInstanceUID)).code == "CTR-SRV-006"
        assert not list((tmp_path / "data").rglob("*.dcm"))


def test_an_archive_that_is_down_or_not_there_is_said(tmp_path) -> None:
    with served(tmp_path / "none") as server:
        assert refused(Client(server.url), "1.2", "1").code == "CTR-SRV-023"
