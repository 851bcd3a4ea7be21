"""Files that must not be trusted: each is refused with one sentence and a code, and none is read in silence."""

from __future__ import annotations

import gzip
import os
import resource
import struct
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from ct_files import FORMATS, OBLIQUE, a_ct, write
from ctreasoner.errors import CTReasonerError, GeometryError, InputError, NotACTError
from ctreasoner.io import read_volume
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

FUZZED = int(os.environ.get("CTREASONER_FUZZ", "60"))  # forged headers of each format; `make fuzz` makes many more
WIDE = np.diag([8.0, 8.0, 8.0, 1.0])  # 24 x 20 voxels of 8 mm: as wide as a patient


def refused(path, kind=InputError, code=None, words="") -> CTReasonerError:
    """The error of reading a file, which is a sentence with a code and names no folder."""
    with pytest.raises(kind) as caught:
        read_volume(path)
    error = caught.value
    assert error.code.startswith("CTR-") and not error.code.endswith("000")
    assert str(error).endswith(".") and "\n" not in str(error) and str(Path(path).parent) not in str(error)
    assert code is None or error.code == code, str(error)
    assert words in str(error)
    return error


# ---------------------------------------------------------------- cut off, damaged, forged


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_cut_at_any_of_100_points_is_refused(tmp_path, name):
    path = write(tmp_path / name, a_ct())
    whole = path.read_bytes()
    rng = np.random.default_rng(7)
    cuts = {*range(8), *(len(whole) - n for n in range(1, 12)), *rng.integers(8, len(whole), 100).tolist()}
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        refused(path)


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_with_bytes_too_many_is_refused(tmp_path, name):
    path = write(tmp_path / name, a_ct())
    for extra in (b"\1", bytes(1000)):
        path.write_bytes(path.read_bytes() + extra)
        refused(path)


@pytest.mark.parametrize("name", [n for n in FORMATS if n in ("ct.nii.gz", "gzip.nrrd", "packed.mha")])
def test_a_flipped_bit_in_packed_voxels_is_noticed(tmp_path, name):
    path = write(tmp_path / name, a_ct())
    whole = path.read_bytes()
    for place in np.random.default_rng(1).integers(len(whole) // 4, len(whole), 40).tolist():
        damaged = bytearray(whole)
        damaged[place] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        try:
            read_volume(path)
        except CTReasonerError as error:
            assert error.code
        else:
            pytest.fail(f"bit flip at byte {place} of {len(whole)} was not noticed")


@pytest.mark.parametrize("name", FORMATS)
@settings(max_examples=FUZZED, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_a_forged_header_is_read_or_refused_but_never_a_traceback(tmp_path, name, changes):
    path = write(tmp_path / name, a_ct((6, 5, 4)))
    content = path.read_bytes()
    content = bytearray(gzip.decompress(content) if name == "ct.nii.gz" else content)
    for place, value in changes:
        content[int(place * min(len(content) - 1, 420))] = value
    path.write_bytes(gzip.compress(bytes(content)) if name == "ct.nii.gz" else bytes(content))
    try:
        read_volume(path)
    except CTReasonerError as error:
        assert error.code and str(error)


def claim(path: Path, dims: tuple[int, int, int]) -> None:
    """Rewrite the size in the header of a file, and nothing else."""
    content = path.read_bytes()
    if ".nii" in path.name:
        raw = bytearray(gzip.decompress(content) if path.name.endswith("gz") else content)
        raw[42:48] = struct.pack("<3h", *dims)
        content = gzip.compress(bytes(raw)) if path.name.endswith("gz") else bytes(raw)
    else:
        content = content.replace(b"24 20 12", " ".join(map(str, dims)).encode())
    path.write_bytes(content)


@pytest.mark.parametrize("dims", [(30000, 30000, 30000), (1200, 1200, 1200)])
@pytest.mark.parametrize("name", FORMATS)
def test_a_header_that_claims_a_huge_size_costs_neither_time_nor_memory(tmp_path, name, dims):
    path = write(tmp_path / name, a_ct())
    claim(path, dims)
    limit, start = resource.getrlimit(resource.RLIMIT_AS), time.process_time()
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), limit[1]))
    try:
        refused(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limit)
    assert time.process_time() - start < 2


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path):
    """One gigabyte of zeros in one megabyte."""
    path = write(tmp_path / "ct.nii.gz", a_ct())
    header = bytearray(gzip.decompress(path.read_bytes())[:352])
    header[42:48] = struct.pack("<3h", 800, 800, 800)
    path.write_bytes(gzip.compress(bytes(header)) + 32 * gzip.compress(bytes(1 << 25)))
    start = time.process_time()
    refused(path, code="CTR-IO-208")
    assert time.process_time() - start < 2


def test_more_voxels_than_the_header_says_are_not_unpacked(tmp_path):
    path = write(tmp_path / "ct.nii.gz", a_ct())
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content + bytes(50 << 20), 1))
    start = time.process_time()
    refused(path, code="CTR-IO-204")
    assert time.process_time() - start < 1


# ---------------------------------------------------------------- headers that point elsewhere


def test_detached_headers_are_refused(tmp_path):
    image = sitk.GetImageFromArray(a_ct())
    for name in ("ct.nhdr", "ct.mhd"):
        sitk.WriteImage(image, str(tmp_path / name))
        refused(tmp_path / name, code="CTR-IO-207", words="in another file")
    nibabel.save(nibabel.Nifti1Pair(a_ct(), OBLIQUE), tmp_path / "pair.hdr")
    refused(tmp_path / "pair.hdr", code="CTR-IO-207")


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../secret.raw", b"LIST", b"secret.raw", b"local", b"s%03d.raw 1 9 1"])
def test_an_element_data_file_that_is_not_local_is_refused(tmp_path, target):
    (tmp_path / "secret.raw").write_bytes(bytes(24 * 20 * 12 * 2))
    path = write(tmp_path / "plain.mha", a_ct())
    path.write_bytes(path.read_bytes().replace(b"LOCAL", target))
    refused(path, code="CTR-IO-207")


@pytest.mark.parametrize("field", [b"data file: /etc/passwd", b"Data File: LIST", b"datafile: x.raw"])
def test_a_nrrd_with_a_data_file_is_refused(tmp_path, field):
    path = write(tmp_path / "raw.nrrd", a_ct())
    path.write_bytes(path.read_bytes().replace(b"encoding: raw", field + b"\nencoding: raw"))
    refused(path, code="CTR-IO-207")


# ---------------------------------------------------------------- nothing there, something else there


def test_what_is_not_there_or_empty_or_something_else(tmp_path):
    refused(tmp_path / "no.nii.gz", code="CTR-IO-001", words="no file or folder")
    for name in ("ct.nii", "ct.nii.gz", "ct.nrrd", "ct.mha", "ct.dcm", "ct"):
        (tmp_path / name).write_bytes(b"")
        refused(tmp_path / name, code="CTR-IO-201", words="is empty")
        (tmp_path / name).write_bytes(b"Dear patient,\n" * 100)
        refused(tmp_path / name)
        (tmp_path / name).write_bytes(gzip.compress(b"Dear patient,\n" * 100))
        refused(tmp_path / name)
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", words="no files")
    (tmp_path / "ct.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    assert "NIfTI" in refused(tmp_path / "ct.png", code="CTR-IO-202").hint


# ---------------------------------------------------------------- readable, but no CT


def saved(tmp_path, voxels, affine=WIDE, name="ct.nii.gz") -> Path:
    return write(tmp_path / name, voxels, affine)


def test_time_series_and_colours_are_no_ct(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.stack([a_ct()] * 4, axis=-1), WIDE), tmp_path / "4d.nii.gz")
    refused(tmp_path / "4d.nii.gz", NotACTError, "CTR-IO-110", "4 axes")
    colours = np.zeros((8, 8, 8), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    nibabel.save(nibabel.Nifti1Image(colours, WIDE), tmp_path / "rgb.nii")
    refused(tmp_path / "rgb.nii", NotACTError, "CTR-IO-111", "colours")
    nibabel.save(nibabel.Nifti1Image(np.ones((8, 8, 8), np.complex64), WIDE), tmp_path / "c.nii")
    refused(tmp_path / "c.nii", NotACTError, "CTR-IO-111")
    vectors = sitk.GetImageFromArray(np.zeros((8, 8, 8, 3), np.int16), isVector=True)
    for name in ("v.nrrd", "v.mha"):
        sitk.WriteImage(vectors, str(tmp_path / name))
        refused(tmp_path / name, NotACTError)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["ct.nii.gz", "raw.nrrd", "plain.mha"])
def test_voxels_that_are_no_numbers_are_refused(tmp_path, name, value):
    voxels = a_ct().astype(np.float32)
    voxels[3, 4, 5] = value
    refused(saved(tmp_path, voxels, name=name), InputError, "CTR-IO-214", "1 voxels")
    refused(saved(tmp_path, np.full((8, 8, 8), 1e300), name=name), InputError, "CTR-IO-214")


@pytest.mark.parametrize("value", [0, -1024, 40])
def test_an_all_constant_volume_is_refused(tmp_path, value):
    refused(saved(tmp_path, np.full((8, 8, 8), value, np.int16)), InputError, "CTR-IO-215", "the same value")


@pytest.mark.parametrize("shape", [(64, 64, 1), (64, 64, 2), (1, 64, 64)])
@pytest.mark.parametrize("name", FORMATS)
def test_fewer_than_three_slices_are_refused(tmp_path, name, shape):
    refused(write(tmp_path / name, a_ct((64, 64, 64))[tuple(slice(0, n) for n in shape)]), InputError, "CTR-IO-210",
            "at least three slices")


def test_a_flat_image_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(a_ct((64, 64, 3))[:, :, 0], WIDE), tmp_path / "2d.nii")
    refused(tmp_path / "2d.nii", InputError, "CTR-IO-210")


def test_a_sheared_affine_is_refused(tmp_path):
    affine = WIDE.copy()
    affine[0, 2] = 1.0
    image = nibabel.Nifti1Image(a_ct(), affine)
    image.set_qform(None, code=0)
    nibabel.save(image, tmp_path / "ct.nii.gz")
    refused(tmp_path / "ct.nii.gz", GeometryError, "CTR-GEO-005", "sheared by 7.1 degrees")
    path = write(tmp_path / "raw.nrrd", a_ct(), WIDE)
    path.write_bytes(path.read_bytes().replace(b"(0,0,8)", b"(0,2,8)"))
    refused(path, GeometryError, "CTR-GEO-005")


@pytest.mark.parametrize("value", [b"1e999", b"nan", b"1e200"])
def test_a_place_that_is_no_number_is_refused_before_anything_is_computed(tmp_path, value):
    path = write(tmp_path / "plain.mha", a_ct())
    lines = [b"ElementSpacing = 1 1 " + value if line.startswith(b"ElementSpacing") else line
             for line in path.read_bytes().split(b"\n")]  # fmt: skip
    path.write_bytes(b"\n".join(lines))
    refused(path, code="CTR-IO-206")


@pytest.mark.parametrize("diagonal", [(0.0, 1, 1), (1e-5, 1, 1), (900, 1, 1)])
def test_voxels_of_no_size_are_refused(tmp_path, diagonal):
    image = nibabel.Nifti1Image(a_ct(), np.eye(4))
    image.header["srow_x"][0], image.header["sform_code"], image.header["qform_code"] = diagonal[0], 1, 0
    head = bytearray(image.header.binaryblock)
    head[108:112], head[344:348] = struct.pack("<f", 352), b"n+1\0"
    (tmp_path / "ct.nii").write_bytes(bytes(head) + bytes(4) + a_ct().tobytes(order="F"))
    refused(tmp_path / "ct.nii", GeometryError, "CTR-GEO-004")


def test_a_file_that_does_not_say_how_the_patient_lies_is_refused(tmp_path):
    nibabel.save(nibabel.Nifti1Image(a_ct(), None), tmp_path / "ct.nii")
    refused(tmp_path / "ct.nii", InputError, "CTR-IO-211", "which way the patient lies")
    path = write(tmp_path / "raw.nrrd", a_ct())
    path.write_bytes(path.read_bytes().replace(b"space: left-posterior-superior", b"space: scanner-xyz"))
    refused(path, InputError, "CTR-IO-211")


@pytest.mark.parametrize("affine", [WIDE, OBLIQUE], ids=["wide", "crop"])
def test_rescaled_intensities_are_no_ct(tmp_path, affine):
    ct = a_ct().astype(np.float32)
    unit = (ct - ct.min()) / (ct.max() - ct.min())
    for voxels in (unit, unit * 2 - 1, (ct - ct.mean()) / ct.std()):
        refused(saved(tmp_path, voxels, affine), NotACTError, "CTR-IO-113", "not Hounsfield units")


@pytest.mark.parametrize("affine", [WIDE, OBLIQUE], ids=["wide", "crop"])
@pytest.mark.parametrize("name", FORMATS)
def test_eight_bit_pictures_are_no_ct(tmp_path, name, affine):
    picture = np.clip((a_ct() + 1000) / 8, 0, 255).astype(np.uint8)
    refused(saved(tmp_path, picture, affine, name), NotACTError, "CTR-IO-112", "8-bit")
    picture[0, 0, :2] = 0, 255
    refused(saved(tmp_path, picture.astype(np.int16), affine, name), NotACTError, "CTR-IO-112")


def test_mr_pet_labels_and_a_forgotten_offset_are_no_ct(tmp_path):
    rng = np.random.default_rng(0)
    mr = np.abs(rng.normal(400, 200, (24, 20, 12))).astype(np.int16)
    labels = rng.integers(0, 105, (24, 20, 12)).astype(np.int16)
    uptake = rng.exponential(3, (24, 20, 12)).astype(np.float32)
    for voxels in (mr, labels, uptake, a_ct() + 1100):
        refused(saved(tmp_path, voxels), NotACTError, "CTR-IO-115", "neither air nor fat")
    refused(saved(tmp_path, mr.astype(np.float32) * 1e4), NotACTError, "CTR-IO-114")
    refused(saved(tmp_path, a_ct() + 5000, OBLIQUE), NotACTError, "CTR-IO-114")


def test_thick_slices_and_padding_are_answered(tmp_path):
    ct = a_ct()
    ct[:3] = -2048
    assert read_volume(saved(tmp_path, ct, np.diag([1.0, 1.0, 10.0, 1.0]))).spacing[2] == 10
    ct[:3] = -32768
    assert read_volume(saved(tmp_path, ct)).voxels.min() == -32768
