"""One CT from its file to its folder, without Ray: whole or not at all, once, and never a stop."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from batch_double import DoubleWorker
from conftest import QUESTION
from ctreasoner.answer import read_answer_file
from ctreasoner.batch import units
from ctreasoner.batch.cli import make_job
from ctreasoner.batch.overview import outliers, write_overview
from ctreasoner.batch.sources import Source, find
from ctreasoner.batch.table import MEASURED, write_table
from ctreasoner.batch.units import Index, Job, sole_owner, to_do
from ctreasoner.errors import CTReasonerError, InputError, ModelError, UsageError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


def all_outcomes(worker: DoubleWorker, where: Path) -> dict[str, dict]:
    return {source.name: worker.outcome(source) for source in find(str(where))}


def finished(job: Job, worker: DoubleWorker, where: Path) -> list[dict]:
    """The table of a batch that ran in this process."""
    sources = find(str(where))
    outcomes = {source.key: worker.outcome(source) for source in sources}
    failed = {key: outcome for key, outcome in outcomes.items() if outcome["state"] == "failed"}
    write_table(job, sources, {key: outcome["unit"] for key, outcome in outcomes.items() if key not in failed}, failed)
    return pq.read_table(job.out / "objects.parquet").to_pylist()


def test_each_ct_becomes_a_whole_folder_and_a_broken_one_a_code(worker, job, cts) -> None:
    outcomes = all_outcomes(worker, cts)
    assert outcomes.pop("broken.nii.gz")["code"] == "CTR-IO-203"
    assert {outcome["state"] for outcome in outcomes.values()} == {"done"}
    for outcome in outcomes.values():
        case = job.case(outcome["unit"])
        content = read_answer_file(case / "answer.json")
        assert content["volume"]["identity"] == outcome["volume"]
        assert {path.name for path in case.iterdir()} == {"answer.json", "events.jsonl", "markups.mrk.json", "masks", "pictures",
                                                           "report.html", "segmentation.seg.nrrd", "unit.json"}
    assert not any(job.work.iterdir())
    assert worker.engine.volumes == {}


def test_what_is_there_is_not_done_again(worker, job, cts) -> None:
    first = all_outcomes(worker, cts)["ct00.nii.gz"]
    before = (job.case(first["unit"]) / "unit.json").stat()
    asked = worker.engine.asked
    (cts / "copy.nii.gz").write_bytes((cts / "ct00.nii.gz").read_bytes())
    again = all_outcomes(worker, cts)
    assert {again[name]["state"] for name in ("ct00.nii.gz", "copy.nii.gz")} == {"already"}
    assert again["copy.nii.gz"]["unit"] == first["unit"]
    assert worker.engine.asked == asked
    after = (job.case(first["unit"]) / "unit.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_question_or_other_weights_are_another_unit(job) -> None:
    same = replace(job, run="later", dicom=("seg",))
    assert same.name("x") == job.name("x")
    assert len({job.name("x"), job.name("y"), replace(job, questions=("a",)).name("x"), replace(job, weights="w").name("x")}) == 4


def test_of_two_workers_with_the_same_ct_one_keeps_it(job, cts) -> None:
    source = next(s for s in find(str(cts)) if s.name == "ct01.nii.gz")
    twin = Source(**{**json.loads(source.to_json()), "name": "twin", "mark": "other"})
    states, meet = [], threading.Barrier(2)

    class Meeting(DoubleWorker):
        def _write(self, *arguments):
            super()._write(*arguments)
            meet.wait(30)

    workers = [Meeting(job), Meeting(job)]
    threads = [threading.Thread(target=lambda w=w, s=s: states.append(w.outcome(s)["state"]))
               for w, s in zip(workers, (source, twin), strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(states) == ["already", "done"]
    assert len(list((job.out / "cases").iterdir())) == 1


def test_dicom_that_is_asked_for_later_comes_without_the_model(worker, job, cts) -> None:
    first = all_outcomes(worker, cts)["ct00.nii.gz"]
    assert not (job.case(first["unit"]) / "dicom").exists()
    later = DoubleWorker(replace(job, dicom=("seg", "sr")))
    assert all_outcomes(later, cts)["ct00.nii.gz"]["state"] == "done"
    assert later.engine.asked == 0
    assert {p.name for p in (job.case(first["unit"]) / "dicom").iterdir()} == {"ct", "segmentation.dcm", "measurements.dcm"}
    assert all_outcomes(later, cts)["ct00.nii.gz"]["state"] == "already"
    assert all_outcomes(DoubleWorker(replace(job, dicom=("seg",))), cts)["ct00.nii.gz"]["state"] == "already"


def test_a_ct_at_which_processes_die_is_given_up(worker, job, cts) -> None:
    source = find(str(cts))[1]
    job.work.mkdir(parents=True)
    (job.work / f"{source.key}.tries").write_bytes(b"." * units.MOST_DEATHS)
    outcome = worker.outcome(source)
    assert (outcome["state"], outcome["code"]) == ("failed", "CTR-BAT-005")


def test_a_ct_that_saw_a_process_die_is_tried_alone(worker, job, cts) -> None:
    broken, first, second, third, fourth = find(str(cts))
    job.work.mkdir(parents=True)
    (job.work / f"{second.key}.tries").write_bytes(b".")
    together, most, lock = [], [], threading.Lock()

    def watched(source: Source) -> None:
        with worker.room.place(job, source):
            with lock:
                together.append(source.name)
                most.append(set(together))
            time.sleep(0.05)
            with lock:
                together.remove(source.name)

    threads = [threading.Thread(target=watched, args=(source,)) for source in (first, second, broken, third, fourth)]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(30)
    assert len(most) == 5
    assert all(names == {second.name} for names in most if second.name in names)
    assert not list(job.work.iterdir())


def test_what_a_process_left_half_made_is_no_unit(worker, job, cts) -> None:
    source = find(str(cts))[1]
    half = job.work / source.key
    half.mkdir(parents=True)
    (half / "unit.json").write_text("{}")
    (half / "stray").write_text("")
    made = job.case(worker.outcome(source)["unit"])
    assert not (made / "stray").exists()
    (made / "unit.json").write_text('{"v": 1, "un')
    assert not job.is_done(made.name)
    assert worker.outcome(source)["state"] == "done"
    assert job.is_done(made.name)


def test_a_fault_or_a_failed_answer_takes_no_other_ct_with_it(job, cts, monkeypatch) -> None:
    worker = DoubleWorker(job)
    monkeypatch.setattr(worker.engine, "register", lambda volume: (_ for _ in ()).throw(ZeroDivisionError("x")))
    assert all_outcomes(worker, cts)["ct00.nii.gz"]["code"] == "CTR-BUG-000"
    worker = DoubleWorker(job)
    monkeypatch.setattr(worker.engine, "answer", lambda request, workspace: (_ for _ in ()).throw(MemoryError))
    assert all_outcomes(worker, cts)["ct00.nii.gz"]["code"] == "CTR-RES-002"


def test_a_model_that_cannot_be_loaded_is_said_by_the_worker(job, cts, monkeypatch) -> None:
    monkeypatch.setattr(DoubleWorker, "load", lambda self: (_ for _ in ()).throw(ModelError("Damaged.", code="CTR-MODEL-002")))
    outcome = DoubleWorker(job).outcome(find(str(cts))[0])
    assert (outcome["state"], outcome["code"]) == ("broken", "CTR-MODEL-002")


def test_the_index_saves_reading_and_survives_a_cut(worker, job, cts) -> None:
    sources = find(str(cts))
    index = Index(job.out)
    assert to_do(job, sources, index) == (sources, {})
    outcome = worker.outcome(sources[1])
    index.add(sources[1], outcome["volume"])
    with index.path.open("a") as file:
        file.write('{"source": "half')
    again = Index(job.out)
    again.add(sources[2], "v")
    left, done = to_do(job, sources, Index(job.out))
    assert done == {sources[1].key: outcome["unit"]}
    assert [source.name for source in left] == [source.name for source in sources if source is not sources[1]]
    assert Index(job.out).known[sources[2].key] == "v"


def test_a_ct_that_is_listed_twice_is_read_once_and_has_two_rows(worker, job, cts) -> None:
    (cts / "list.csv").write_text("path,name\nct00.nii.gz,a\nct00.nii.gz,b\n")
    sources = find(str(cts / "list.csv"))
    (left,), done = to_do(job, sources, Index(job.out))
    assert done == {}
    write_table(job, sources, {left.key: worker.outcome(left)["unit"]}, {})
    assert pq.read_table(job.out / "objects.parquet")["case"].to_pylist() == ["a", "b"]


def test_one_batch_works_in_a_folder(tmp_path) -> None:
    (tmp_path / "out" / "work" / "old").mkdir(parents=True)
    with sole_owner(tmp_path / "out"):
        assert not (tmp_path / "out" / "work").exists()
        with pytest.raises(InputError) as refused, sole_owner(tmp_path / "out"):
            pass
        assert refused.value.code == "CTR-BAT-006"
    (tmp_path / "file").write_text("")
    with pytest.raises(CTReasonerError), sole_owner(tmp_path / "file"):
        pass


def test_the_table_has_each_object_with_its_measurements_and_what_was_checked(worker, job, cts) -> None:
    rows = {row["case"]: row for row in finished(job, worker, cts)}
    broken = rows.pop("broken.nii.gz")
    assert (broken["state"], broken["code"], broken["object"]) == ("failed", "CTR-IO-203", None)
    for row in rows.values():
        mask = job.out / row["mask"]
        voxels = row["voxels"]
        assert mask.is_file()
        assert row["volume_ml"] == pytest.approx(voxels * 0.012)
        assert (row["name"], row["existence"], row["verified"], row["refuted"]) == ("heart", "present", 1, 0)
        assert json.loads(row["checks"])[0]["verdict"] == "verified"
        assert (row["model"], row["weights"], row["question"]) == ("double", "0", QUESTION)
    assert len({row["volume_ml"] for row in rows.values()}) > 1
    assert len(set(MEASURED.values())) == len(MEASURED)


def test_a_question_that_names_nothing_keeps_its_row(tmp_path, cts) -> None:
    job = make_job(tmp_path / "other", [QUESTION, "hello", "where is the mandible"])
    rows = [row for row in finished(job, DoubleWorker(job), cts) if row["case"] == "ct00.nii.gz"]
    assert [(row["question"], row["name"], row["existence"]) for row in rows] == [
        (QUESTION, "heart", "present"), ("hello", None, None), ("where is the mandible", "mandible", "outside")]  # fmt: skip
    assert rows[1]["warnings"] == ["question_unsupported"]


def test_the_overview_loads_nothing_and_leads_to_every_case(worker, job, cts) -> None:
    (cts / "<script>alert(1)<").mkdir()
    (cts / "<script>alert(1)<" / "x.nii.gz").write_bytes((cts / "ct02.nii.gz").read_bytes()[:-1] + b"\0")
    rows = finished(job, worker, cts)
    page = write_overview(job).read_text()
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    assert "default-src &#39;none&#39;" in page or "default-src 'none'" in page
    for unit in {row["unit"] for row in rows if row["unit"]}:
        assert f'href="cases/{unit}/report.html"' in page
        assert (job.out / "cases" / unit / "report.html").is_file()
    assert page.count("<img") == 4 and "CTR-IO-203" in page and "Volume" in page


def test_outliers_are_those_far_from_the_median() -> None:
    import numpy as np

    assert outliers(np.array([10.0, 11, 12, 13, 11, 12, 10, 90, -70])) == [8, 7]
    assert outliers(np.array([10.0, 11, 900])) == []
    assert outliers(np.array([100.0] * 9 + [104.0])) == []
    assert outliers(np.array([0.0] * 9 + [6.0])) == []


@pytest.mark.parametrize("questions", [[], [" "], ["a", ""]])
def test_a_batch_without_a_question_is_refused(tmp_path, questions) -> None:
    with pytest.raises(UsageError) as refused:
        make_job(tmp_path, questions)
    assert refused.value.code == "CTR-BAT-007"
