"""What counts as a CT in a folder, a manifest and an archive, and when it counts as changed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dicom_series
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from batch_double import write_cts
from ctreasoner.batch.sources import Source, at_hand, find
from ctreasoner.errors import CTReasonerError, InputError, UsageError
from ctreasoner.pacs.archive import Study, StudySeries
from ctreasoner.reasoner import load_volume


def write_series(folder: Path, number: int = 3, **options) -> Path:
    dicom_series.save(dicom_series.series(number=number, **options), folder / "new")
    for k, path in enumerate(sorted((folder / "new").iterdir())):
        path.rename(folder / f"{number}-{k}.dcm")
    (folder / "new").rmdir()
    return folder


def names(where: Path) -> list[str]:
    return [source.name for source in find(str(where))]


def test_a_folder_gives_its_files_and_its_series(cts: Path) -> None:
    write_series(cts / "patient" / "thorax")
    two = write_series(cts / "patient" / "two", 4)
    write_series(two, 5)
    (cts / "notes.txt").write_text("no CT")
    shutil.copy(cts / "ct00.nii.gz", cts / "answer.seg.nrrd")
    assert names(cts) == ["broken.nii.gz", "ct00.nii.gz", "ct01.nii.gz", "ct02.nii.gz", "ct03.nii.gz", "patient/thorax",
                          "patient/two/1.2.826.0.1.4", "patient/two/1.2.826.0.1.5"]


def test_a_series_that_is_found_can_be_read(tmp_path: Path) -> None:
    write_series(write_series(tmp_path / "ct", 4), 5)
    volumes = [load_volume(source.path, source.series) for source in find(str(tmp_path))]
    assert [volume.series for volume in volumes] == ["1.2.826.0.1.4", "1.2.826.0.1.5"]


def test_what_is_no_ct_is_left_out_and_what_is_damaged_is_not(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", modality="MR", sop_class="1.2.840.10008.5.1.4.1.1.4")
    with pytest.raises(InputError) as none:
        find(str(tmp_path))
    assert none.value.code == "CTR-BAT-001"
    damaged = write_series(tmp_path / "ct")
    (damaged / "3-2.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (source,) = find(str(tmp_path))
    assert (source.name, source.series) == ("ct", "")
    with pytest.raises(CTReasonerError):
        load_volume(source.path)


def test_links_are_not_followed(cts: Path, tmp_path: Path) -> None:
    other = write_cts(tmp_path / "elsewhere", 1)
    (cts / "linked.nii.gz").symlink_to(other / "ct00.nii.gz")
    (cts / "folder").symlink_to(other)
    assert len(names(cts)) == 5


def test_what_an_earlier_batch_wrote_is_no_ct(cts: Path) -> None:
    write_cts(cts / "night" / "cases", 2)
    assert len(find(str(cts))) == 8
    assert len(find(str(cts), leave_out=(cts / "night").resolve())) == 5


def test_a_source_is_the_same_until_its_files_change(cts: Path) -> None:
    before = {source.name: source.key for source in find(str(cts))}
    assert before == {source.name: source.key for source in find(str(cts))}
    os.utime(cts / "ct01.nii.gz", ns=(1, 1))
    after = {source.name: source.key for source in find(str(cts))}
    assert {name for name in before if before[name] != after[name]} == {"ct01.nii.gz"}


def test_a_manifest_names_paths_series_and_cases(cts: Path) -> None:
    (cts / "list.csv").write_text("path,name\nct01.nii.gz,007\nct00.nii.gz,007\nmissing.nii.gz,\n")
    assert [(Path(s.path).name, s.name) for s in find(str(cts / "list.csv"))] == [
        ("ct01.nii.gz", "007"), ("ct00.nii.gz", "007 (2)"), ("missing.nii.gz", "missing.nii.gz")]  # fmt: skip
    pq.write_table(pa.table({"path": ["ct02.nii.gz"], "series": ["1.2"]}), cts / "list.parquet")
    (source,) = find(str(cts / "list.parquet"))
    assert (Path(source.path), source.series) == (cts / "ct02.nii.gz", "1.2")


@pytest.mark.parametrize(("text", "says"), [
    ("file\na.nii\n", "unknown column 'file'"),
    ("path,colour\na.nii,red\n", "unknown column 'colour'"),
    ("name\nx\n", "no column 'path'"),
    ("path,name\n,x\n", "Row 1 of list.csv names no path"),
    ("path,name\n\"a\nb", "cannot be read as a table"),
    ("", "cannot be read as a table"),
])  # fmt: skip
def test_a_manifest_that_is_none_is_refused_in_words(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(UsageError, match=says) as refused:
        find(str(tmp_path / "list.csv"))
    assert refused.value.code == "CTR-BAT-002"


class Archive:
    """Two studies; of what each holds only the CT counts."""

    def studies(self, **wanted):
        self.wanted = wanted
        return [Study(f"1.{n}", "", "", "", "", "", None) for n in range(2)]

    def series(self, study):
        return [StudySeries(f"{study}.{n}", str(n), modality, "", 12) for n, modality in enumerate(("CT", "SR", "CT"))]


def test_an_archive_gives_the_ct_series_of_what_a_query_finds() -> None:
    archive, asked = Archive(), []
    found = find("https://pacs.example.org/dicom-web/studies?StudyDate=20260101-20260131&PatientID=7",
                 lambda address: asked.append(address) or archive)
    assert asked == ["https://pacs.example.org/dicom-web"]
    assert archive.wanted == {"date": "20260101-20260131", "patient_id": "7"}
    assert [(s.study, s.series) for s in found] == [("1.0", "1.0.0"), ("1.0", "1.0.2"), ("1.1", "1.1.0"), ("1.1", "1.1.2")]
    assert len({s.key for s in found}) == 4


@pytest.mark.parametrize("query", ["", "?", "?Modality=CT", "?PatientID=1&x=2"])
def test_a_query_for_everything_or_for_what_no_server_is_asked_is_refused(query: str) -> None:
    with pytest.raises(UsageError) as refused:
        find(f"https://pacs.example.org/dicom-web/studies{query}", lambda address: pytest.fail("asked"))
    assert refused.value.code == "CTR-BAT-003"


def test_files_stay_where_they_are(cts: Path, tmp_path: Path) -> None:
    with at_hand(Source("x", path=str(cts / "ct00.nii.gz")), tmp_path / "scratch", None) as path:
        assert path == cts / "ct00.nii.gz"
    assert path.is_file()
