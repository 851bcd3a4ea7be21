"""Which series lie in a folder, which of them is read, and what a DICOMDIR has to do with it."""

from __future__ import annotations

import json

import pytest
from ctreasoner import cli
from ctreasoner.dicom import list_series, read_series, read_sources
from ctreasoner.errors import InputError, UsageError
from ctreasoner.io import read_volume
from dicom_series import SHAPE, hounsfield, multi_frame, save, series
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MediaStorageDirectoryStorage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def described(slices, description: str, kernel: str = "Br40", thickness: str = "2.5"):
    for ds in slices:
        ds.SeriesDescription, ds.ConvolutionKernel, ds.SliceThickness = description, kernel, thickness
    return slices


@pytest.fixture
def disc(tmp_path):
    """A study as scanners send it: scout, tracking of the bolus, two phases, a dose sheet and a dose report."""
    folder = tmp_path / "disc"
    scout = series(hounsfield((30, 40, 1)), number=1)
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(scout, folder, "A")
    save(described(series(hounsfield((12, 10, 9)), number=2, step=(0, 0, 0)), "Bolus tracking"), folder, "B")
    save(described(series(number=3), "Thorax nativ", "Bl57"), folder, "C")
    save(described(series(hounsfield((12, 10, 5)) // 2 * 2, number=4), "Thorax portal venous"), folder, "D")
    sheet = series(hounsfield((12, 10, 1)), number=501)
    sheet[0].ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    del sheet[0].ImagePositionPatient
    save(sheet, folder, "E")
    save(series(hounsfield((9, 9, 1)), number=997, modality="SR", sop_class="1.2.840.10008.5.1.4.1.1.88.67"), folder, "F")
    return folder


def test_every_series_is_listed_with_what_one_chooses_by(disc):
    listed = {entry.number: entry for entry in list_series(disc)}
    assert list(listed) == ["1", "2", "3", "4", "501", "997"]
    native, venous = listed["3"], listed["4"]
    assert (native.modality, native.images, native.thickness_mm, native.spacing_mm) == ("CT", 8, 2.5, 2.5)
    assert (native.phase, native.kernel, native.problem) == ("native", "Bl57", "")
    assert (venous.phase, venous.kernel, venous.images, venous.problem) == ("portal venous", "Br40", 5, "")
    assert listed["1"].problem == "Not a CT volume: scout."
    assert listed["501"].problem == "Not a CT volume: sheet without a place."
    assert listed["997"].problem == "Not a CT volume: SR object."
    assert "8 of 9 slices stand where another one stands" in listed["2"].problem


def test_two_volumes_are_asked_about_and_either_is_read_by_number_or_identifier(disc):
    with pytest.raises(InputError, match=r"2 CT series here: series 3 \(8 slices, 2.5 mm\) and series 4") as caught:
        read_series(disc)
    assert caught.value.code == "CTR-IO-031" and "--series" in caught.value.hint
    assert read_series(disc, series="4").volume.shape == (12, 10, 5)
    assert read_series(disc, series="1.2.826.0.1.3").volume.shape == SHAPE
    with pytest.raises(InputError, match="number or identifier '9'"):
        read_series(disc, series="9")


def test_the_one_volume_among_scouts_sheets_and_tracking_is_chosen_and_the_rest_is_noted(disc):
    for path in disc.glob("D*"):
        path.unlink()
    got = read_series(disc)
    assert got.volume.shape == SHAPE and got.uid == "1.2.826.0.1.3"
    assert got.notes == ("Left out: 1 SR object, 1 scout, 1 sheet without a place.",
                         "Left out, too few places for a volume: series 2 (9 slices, 2.5 mm).")


def test_a_volume_remembers_its_series_so_that_a_segmentation_refers_to_it(disc):
    volume = read_volume(disc, series="4")
    assert volume.series == "1.2.826.0.1.4"
    sources, _ = read_sources(disc, series=volume.series)
    assert {ds.SeriesInstanceUID for ds in sources} == {"1.2.826.0.1.4"} and len(sources) == 5


def test_a_segmentation_is_written_on_the_series_that_was_chosen(disc, tmp_path):
    import pydicom
    from ctreasoner.dicom import SegObject, write_seg

    volume = read_volume(disc, series="3")
    sources, template = read_sources(disc, series=volume.series)
    mask = (volume.voxels > 0).astype("uint8")
    thing = SegObject(key="liver", display="Liver", mask=mask, first_voxel=(0, 0, 0), algorithm="AUTOMATIC", tracking_id="a1.o1")
    write_seg(tmp_path / "seg.dcm", [thing], volume, sources, template=template, derived_folder=tmp_path / "ct")
    assert pydicom.dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence[0].SeriesInstanceUID == "1.2.826.0.1.3"


def test_a_file_of_another_format_has_no_series(tmp_path):
    import nibabel
    import numpy as np

    nibabel.save(nibabel.Nifti1Image(hounsfield(), np.eye(4)), tmp_path / "ct.nii.gz")
    with pytest.raises(UsageError, match="no series to choose from"):
        read_volume(tmp_path / "ct.nii.gz", series="3")


def test_an_enhanced_ct_is_listed_with_what_its_frames_share(tmp_path):
    multi_frame(series(), [5, 1, 0, 2, 7, 3, 4, 6]).save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    entry, = list_series(tmp_path)
    assert (entry.images, entry.thickness_mm, entry.spacing_mm, entry.kernel, entry.problem) == (8, 2.5, 2.5, "Br40", "")


@pytest.mark.parametrize(("words", "agent", "phase"), [
    ("Abdomen art. 1.0", "", "arterial"), ("LIVER PV 70s", "", "portal venous"), ("Spät 10min", "", "delayed"),
    ("Thorax", "Ultravist", "with contrast"), ("Thorax", "", ""), ("Aorta", "", ""), ("without contrast", "", "native")])
def test_the_phase_is_what_the_description_names(tmp_path, words, agent, phase):
    slices = described(series(), words)
    for ds in slices:
        ds.ContrastBolusAgent = agent
    assert list_series(save(slices, tmp_path))[0].phase == phase


# --- DICOMDIR --------------------------------------------------------------------------------------------------------
def dicomdir(files: dict[str, Dataset]) -> Dataset:
    """Return a DICOMDIR of {file id: image}, without the records of patient, study and series."""
    whole = Dataset()
    whole.file_meta = FileMetaDataset()
    whole.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    whole.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    whole.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.9"
    records = []
    for name, ds in files.items():
        record = Dataset()
        record.OffsetOfTheNextDirectoryRecord = record.OffsetOfReferencedLowerLevelDirectoryEntity = 0
        record.RecordInUseFlag, record.DirectoryRecordType, record.ReferencedFileID = 0xFFFF, "IMAGE", name.split("/")
        record.ReferencedSOPClassUIDInFile, record.ReferencedSOPInstanceUIDInFile = ds.SOPClassUID, ds.SOPInstanceUID
        records.append(record)
    whole.FileSetID, whole.FileSetConsistencyFlag, whole.DirectoryRecordSequence = "DISC", 0, records
    return whole


@pytest.fixture
def medium(tmp_path):
    """A disc with a DICOMDIR, whose files have names that say nothing."""
    slices = series()
    folder = save(slices, tmp_path / "medium" / "PT000000" / "ST000000", "I", shuffle=False)
    names = {f"PT000000/ST000000/{path.name}": ds for path, ds in zip(sorted(folder.iterdir()), slices, strict=True)}
    dicomdir(names).save_as(tmp_path / "medium" / "DICOMDIR", enforce_file_format=True)
    return tmp_path / "medium"


def test_a_dicomdir_stands_for_its_folder(medium):
    by_file, by_folder = read_series(medium / "DICOMDIR"), read_series(medium)
    assert by_file.volume.identity == by_folder.volume.identity
    assert by_file.volume.shape == SHAPE and by_file.notes == ()
    assert read_volume(medium / "DICOMDIR").shape == SHAPE
    assert [entry.images for entry in list_series(medium / "DICOMDIR")] == [SHAPE[2]]


def test_images_that_a_dicomdir_lists_and_nobody_copied_are_noted(medium):
    slices = sorted(path for path in medium.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    slices[-1].unlink()
    assert read_series(medium / "DICOMDIR").notes == ("Images that the DICOMDIR lists and that are not here: 1.",)


def test_a_dicomdir_that_points_elsewhere_is_not_followed(medium, tmp_path):
    """ReferencedFileID names a file outside: it is neither opened nor missed."""
    save(series(hounsfield(seed=2)), tmp_path / "secret")
    data = (medium / "DICOMDIR").read_bytes()
    assert b"PT000000" in data
    (medium / "DICOMDIR").write_bytes(data.replace(b"PT000000", b"..\\secre"))
    assert read_series(medium / "DICOMDIR").volume.shape == SHAPE


# --- the verb --------------------------------------------------------------------------------------------------------
def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as left:
        cli.main(list(arguments))
    return left.value.code or 0


def test_the_verb_prints_a_table_and_json(disc, capsys):
    assert run("series", str(disc), "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["number"], row["images"]) for row in rows][2:4] == [("3", 8), ("4", 5)]
    assert run("series", str(disc)) == 0
    printed = capsys.readouterr().out
    assert "portal" in printed and "Bl57" in printed and "scout" in printed


def test_words_out_of_a_file_are_neither_markup_nor_terminal_codes(tmp_path, capsys):
    save(described(series(sop_class=CTImageStorage), "[red]evil[/red] \x1b]0;owned\x07"), tmp_path)
    assert run("series", str(tmp_path)) == 0
    printed = capsys.readouterr().out
    assert "\x1b" not in printed and "[red]" in "".join(printed.split())


def test_a_folder_without_dicom_is_one_sentence(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("x")
    assert run("series", str(tmp_path)) == 3
    assert "holds no DICOM files" in capsys.readouterr().err
