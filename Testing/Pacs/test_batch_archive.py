"""A batch over what an archive finds: fetched when its turn comes, nothing kept, an archive that is down is a row."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from fake_engine import phantom_volume
from orthanc import USER, Orthanc, a_study
from test_dicomweb import run

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "Batch"))
from batch_double import DoubleWorker
from ctreasoner.batch.cli import make_job
from ctreasoner.batch.sources import Source, find
from ctreasoner.errors import NetworkError
from ctreasoner.reasoner import load_volume

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


def test_the_series_that_a_query_finds_are_fetched_asked_about_and_not_kept(orthanc: Orthanc, tmp_path, secrets) -> None:
    pushed = set()
    for n in range(2):
        voxels = phantom_volume().voxels + np.int16(n)
        folder, _ = a_study(tmp_path / f"scanner{n}", hu=voxels, spacing=(2.0, 2.0), step=(0, 0, 3.0), slope=1.0)
        assert run("push", folder, orthanc.url, *secrets["basic"]) == 0
        pushed.add(load_volume(folder).identity)
    access = {"user": USER, "password_file": tmp_path / "password"}
    job = make_job(tmp_path / "out", ["segment the heart"], access=access, dicom=["seg"])
    worker, sources = DoubleWorker(job), find(f"{orthanc.url}/studies?PatientID=P1", job.archive)
    outcomes = {source.key: worker.outcome(source) for source in sources}      # other tests' studies are there, too
    ours = {key: outcome for key, outcome in outcomes.items() if outcome.get("volume") in pushed}
    assert len(ours) == 2 and {outcome["state"] for outcome in ours.values()} == {"done"}
    assert all((job.case(outcome["unit"]) / "dicom" / "segmentation.dcm").is_file() for outcome in ours.values())
    assert not any(job.work.iterdir())
    assert {worker.outcome(source)["state"] for source in sources if source.key in ours} == {"already"}


def test_an_archive_that_is_down_is_said_and_stops_no_other_ct(tmp_path, secrets, monkeypatch) -> None:
    job = make_job(tmp_path / "out", ["segment the heart"])
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(NetworkError):
        find("http://127.0.0.1:9/dicom-web/studies?PatientID=P1", job.archive)
    gone = Source("1.2", series="1.2", study="1.1", server="http://127.0.0.1:9/dicom-web")
    outcome = DoubleWorker(job).outcome(gone)
    assert (outcome["state"], outcome["code"]) == ("failed", "CTR-NET-010")
