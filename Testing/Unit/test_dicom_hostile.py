"""DICOM files that were made, or damaged, to harm whoever reads them: one sentence, little work, nothing printed, no path."""

from __future__ import annotations

import os
import stat
import struct
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from ctreasoner.dicom import SegObject, list_series, read_series, safe_unpack, write_seg
from ctreasoner.dicom.archive import Member
from ctreasoner.dicom.derived import write_derived
from ctreasoner.dicom.header import read_header
from ctreasoner.dicom.pixels import stored_values
from ctreasoner.errors import CTReasonerError, InputError
from dicom_series import compressed, deflated, hounsfield, jpeg_lossless, save, series
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.encaps import encapsulate
from work import bounded

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
LITTLE = {"calls": 100_000, "megabytes": 60}     # eight small slices cost 30,000 calls; a second is millions
FUZZED = int(os.environ.get("CTREASONER_FUZZ", "60"))  # mutated files; `make fuzz` makes many more
OPENED: list[str] = []


def watch(event: str, arguments: tuple) -> None:
    if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.symlink", "os.link"):
        OPENED.extend(str(argument) for argument in arguments[:2])


sys.addaudithook(watch)     # stays for the rest of the process and costs next to nothing


@pytest.fixture(autouse=True)
def nothing_is_printed(capfd):
    """Every test of this file: no parser writes to the terminal."""
    yield
    assert capfd.readouterr() == ("", "")


def refused(path: Path, *words: str, readers=(read_series, list_series)) -> str:
    """Read as ask and as series do: one sentence with a code each time, and little work."""
    sentences = []
    for read in readers:
        with bounded(**LITTLE), pytest.raises(InputError) as caught:
            read(path)
        sentences.append(str(caught.value))
        assert caught.value.code.startswith("CTR-IO-") and "\n" not in sentences[-1] and len(sentences[-1]) < 300
    assert all(word in sentences[0] for word in words), sentences[0]
    return sentences[0]


# --- cut and damaged -------------------------------------------------------------------------------------------------
def packed(syntax: str, folder: Path, shape=(8, 8, 3)) -> Path:
    """Write a tiny series in a syntax and return one of its files."""
    slices = series(hounsfield(shape) // 2 * 2)
    if syntax == "deflated":
        deflated(slices, folder)
    elif syntax in ("plain", "JPEG lossless"):
        save(jpeg_lossless(slices) if syntax == "JPEG lossless" else slices, folder)
    else:
        compressed(slices, pydicom.uid.RLELossless if syntax == "RLE" else pydicom.uid.JPEG2000Lossless, folder)
    return folder / "IM0001"


@pytest.mark.parametrize("syntax", ["plain", "RLE", "JPEG 2000", "JPEG lossless", "deflated"])
def test_a_slice_cut_at_any_byte_is_never_read(tmp_path, syntax):
    whole = packed(syntax, tmp_path, (32, 32, 3) if syntax == "JPEG 2000" else (8, 8, 3)).read_bytes()
    end = len(whole) - (syntax == "deflated" and whole[-1] == 0)  # one byte of padding carries nothing
    for cut in range(end):
        with pytest.raises(InputError):
            stored_values(read_header(Member("slice", cut, lambda limit=-1, part=whole[:cut]: part)))


@pytest.mark.parametrize("cut", [0, 131, 133, 700, -1])
def test_a_series_with_a_slice_that_was_cut_is_refused_by_name(tmp_path, cut):
    victim = packed("plain", tmp_path)
    victim.write_bytes(victim.read_bytes()[:cut])
    refused(tmp_path, "'IM0001'")


@settings(max_examples=FUZZED, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 2**31), st.integers(0, 255)), min_size=1, max_size=8))
def test_mutated_files_end_in_a_volume_or_in_our_own_error(tmp_path, changes):
    folder = tmp_path / "ct"
    if not folder.exists():
        save(series(hounsfield((8, 8, 3)) // 2 * 2), folder)
        (tmp_path / "whole").write_bytes((folder / "IM0001").read_bytes())
    data = bytearray((tmp_path / "whole").read_bytes())
    header = len(data) - 2 * 8 * 8
    for at, value in changes:
        data[at % header] = value
    (folder / "IM0001").write_bytes(bytes(data))
    try:
        read_series(folder)
    except CTReasonerError as error:
        assert "Traceback" not in str(error)


@pytest.mark.parametrize("syntax", [pydicom.uid.RLELossless, pydicom.uid.JPEGLSLossless, pydicom.uid.JPEG2000Lossless])
def test_damaged_codestreams_end_in_a_volume_or_in_our_own_error(tmp_path, syntax):
    folder = compressed(series(hounsfield((40, 36, 3)) // 2 * 2), syntax, tmp_path / "ct")
    whole = (folder / "IM0001").read_bytes()
    random = np.random.default_rng(5)
    for _ in range(30):
        data = bytearray(whole)
        for at in random.integers(len(data) * 2 // 5, len(data), 4):
            data[at] = random.integers(0, 256)
        (folder / "IM0001").write_bytes(bytes(data))
        try:
            read_series(folder)
        except CTReasonerError as error:
            assert error.code.startswith("CTR-")


# --- archives and bombs ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["../evil.dcm", "/abs.dcm", "a/../../evil.dcm", "..\\evil.dcm", "C:evil.dcm"])
def test_a_path_that_leaves_its_archive_is_refused_and_nothing_is_written(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        archive.writestr(name, b"x")
    refused(tmp_path / "bad.zip", "leaves the archive")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError):
        safe_unpack(tmp_path / "bad.zip", tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())


def test_links_encrypted_members_and_bombs_are_refused(tmp_path):
    link = zipfile.ZipInfo("link")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    refused(tmp_path / "link.zip", "a link")
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(20_000_000))
    refused(tmp_path / "bomb.zip", "200")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "bomb.zip").read_bytes()[:-30])
    refused(tmp_path / "cut.zip")


def test_a_damaged_zip_member_is_refused(tmp_path):
    folder = save(series(), tmp_path / "ct")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in folder.iterdir():
            archive.write(path, path.name)
    data = bytearray((tmp_path / "ct.zip").read_bytes())
    data[data.find(b"DICM") + 900] ^= 0xFF
    (tmp_path / "ct.zip").write_bytes(bytes(data))
    refused(tmp_path / "ct.zip", "damaged")


@pytest.mark.parametrize("megabytes", [30, 300])
def test_a_deflate_bomb_is_refused_before_it_is_inflated(tmp_path, megabytes):
    folder = deflated(series(), tmp_path / "ct")
    path = folder / "IM0003"
    whole = path.read_bytes()
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start_of_data = whole.find(b"DICM") + 4 + 12 + int.from_bytes(whole[140:144], "little")
    path.write_bytes(whole[:start_of_data] + b"".join(packer.compress(bytes(1_000_000)) for _ in range(megabytes)) + packer.flush())
    refused(folder, "inflates to more than")


@pytest.mark.parametrize("depth", [100, 1500, 50_000])
def test_deep_nesting_ends_in_a_sentence(tmp_path, depth):
    opening = struct.pack("<HH2sHL", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    folder = save(series(), tmp_path)
    whole = (folder / "IM0003").read_bytes()
    at = whole.rindex(struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    (folder / "IM0003").write_bytes(whole[:at] + opening * depth + closing * depth + whole[at:])
    refused(folder)


def test_a_picture_larger_than_its_header_is_refused_before_it_is_decoded(tmp_path):
    slices = series(hounsfield((64, 48, 4)) // 2 * 2)
    folder = compressed(slices, pydicom.uid.JPEG2000Lossless, tmp_path / "ct")
    victim = pydicom.dcmread(folder / "IM0001")
    stream = bytearray(next(pydicom.encaps.generate_frames(victim.PixelData, number_of_frames=1)))
    stream[8:16] = (60000).to_bytes(4, "big") * 2
    victim.PixelData = encapsulate([bytes(stream)])
    victim.save_as(folder / "IM0001")
    refused(folder, "60000", readers=[read_series])      # a listing decodes no picture



@pytest.mark.parametrize("where", ["before the patient", "in the functional groups"])
def test_fifteen_hundred_nested_sequences_are_refused_wherever_they_stand(tmp_path, where):
    tag = (0x0008, 0x1140) if where == "before the patient" else (0x5200, 0x9230)
    opening = struct.pack("<HH2sHL", *tag, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF)
    closing = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
    folder = save(series(), tmp_path)
    whole = (folder / "IM0003").read_bytes()
    at = whole.rindex(struct.pack("<HH2s", 0x0010, 0x10, b"PN") if tag[0] == 8 else struct.pack("<HH2s", 0x7FE0, 0x10, b"OW"))
    (folder / "IM0003").write_bytes(whole[:at] + opening * 1500 + closing * 1500 + whole[at:])
    refused(folder)


def test_ten_million_empty_elements_are_not_counted_to_the_end(tmp_path):
    """33 KB of zeros inflate to 33 MB of elements without length."""
    folder = deflated(series(), tmp_path / "ct")
    path = folder / "IM0003"
    whole = path.read_bytes()
    start = whole.find(b"DICM") + 4 + 12 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(whole[:start] + packer.compress(bytes(15_000_000)) + packer.flush())
    refused(folder)


# --- values that look like paths -------------------------------------------------------------------------------------
EVIL = ("../../evil", "/tmp/evil", "..\\..\\evil", "1.2.3/../../evil", "evil\x00.dcm")


@pytest.mark.parametrize("uid", EVIL)
def test_no_value_of_a_file_becomes_a_path(tmp_path, uid):
    """Identifiers, names and the description of a series are paths: whatever is read, listed and written, none is opened."""
    slices = series()
    for ds in slices:
        with pydicom.config.disable_value_validation():
            ds.SeriesInstanceUID = ds.StudyInstanceUID = ds.FrameOfReferenceUID = uid
            ds.SOPInstanceUID = f"{uid}.{ds.InstanceNumber}"
            ds.PatientID = ds.SeriesDescription = ds.StudyID = ds.AccessionNumber = uid[:16]
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    with pydicom.config.disable_value_validation():
        folder = save(slices, tmp_path / "ct")
    OPENED.clear()
    try:
        got = read_series(folder)
        list_series(folder)
        write_derived(got.volume, tmp_path / "derived", got.template)
        thing = SegObject(key="liver", display="Liver", mask=(got.volume.voxels > 0).astype("uint8"), first_voxel=(0, 0, 0),
                          algorithm="AUTOMATIC", tracking_id="a1.o1")
        write_seg(tmp_path / "seg.dcm", [thing], got.volume, got.sources, template=got.template,
                  derived_folder=tmp_path / "derived")
    except (CTReasonerError, ValueError):
        pass    # refused is as good
    assert OPENED and [path for path in OPENED if "evil" in path] == []
    assert sorted(p.name for p in tmp_path.parent.rglob("*evil*")) == []
