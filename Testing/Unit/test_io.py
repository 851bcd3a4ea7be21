"""Reading keeps every voxel and its place; what is written reads back the same with other people's libraries."""

from __future__ import annotations

import gzip
import json
import resource
import shutil
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from ct_files import FORMATS, LPS, OBLIQUE, a_ct, write
from ctreasoner.errors import GeometryError, ResourceError, UsageError
from ctreasoner.geometry import View, Volume, sample
from ctreasoner.io import (
    BoxMarkup,
    LineMarkup,
    Segment,
    atomic,
    read_volume,
    terminology_entry,
    write_markups,
    write_mask_nifti,
    write_seg_nrrd,
)
from ctreasoner.vocabulary import Vocabulary
from dicom_series import hounsfield, save, series

# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_keeps_voxels_and_their_place(tmp_path, name):
    voxels = a_ct()
    volume = read_volume(write(tmp_path / name, voxels))
    assert volume.voxels.dtype == np.int16 and np.array_equal(volume.voxels, voxels)
    assert np.allclose(volume.affine, OBLIQUE, atol=1e-4)
    assert volume.name == name.split(".")[0] and volume.source == str(tmp_path / name)


def test_every_format_gives_the_same_view(tmp_path):
    view = View(centre_ras=(0, 0, 0), shape=(48, 48, 48), spacing_mm=(1.5, 1.5, 1.5))
    views = [sample(read_volume(write(tmp_path / name, a_ct())), view) for name in FORMATS]
    for other in views[1:]:
        assert np.mean(np.abs(other - views[0]) > 0.5) < 1e-4  # single voxels on the scan's very edge may differ


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "i4", "u2", "i8", "f4", "f8"])
@pytest.mark.parametrize("name", FORMATS)
def test_whole_numbers_become_int16_whatever_they_were(tmp_path, name, dtype):
    voxels = a_ct()
    if dtype == "u2":
        voxels = voxels + 1100
    if dtype == ">i2" and ".nii" in name:
        image = nibabel.Nifti1Image(voxels, OBLIQUE, nibabel.Nifti1Header(endianness=">"))
        nibabel.save(image, tmp_path / name)
    else:
        write(tmp_path / name, voxels.astype(np.dtype(dtype).newbyteorder("=")))
    if dtype == "u2":  # no HU below 0: small enough to be answered, and unsigned numbers are kept
        voxels = voxels.astype(np.uint16)
    volume = read_volume(tmp_path / name)
    assert volume.voxels.dtype == np.int16 and np.array_equal(volume.voxels, voxels)
    assert volume.voxels.dtype.isnative


def nifti_scaled(path, stored, slope, intercept):
    image = nibabel.Nifti1Image(stored, OBLIQUE)
    image.header.set_slope_inter(slope, intercept)
    nibabel.save(image, path)
    return path


def test_the_scale_of_a_nifti_is_applied_and_stays_int16_where_it_can(tmp_path):
    voxels = a_ct()
    volume = read_volume(nifti_scaled(tmp_path / "a.nii.gz", (voxels + 1100).astype(np.uint16), 1, -1100))
    assert volume.voxels.dtype == np.int16 and np.array_equal(volume.voxels, voxels)
    volume = read_volume(nifti_scaled(tmp_path / "b.nii", voxels, 0.5, 0.25))
    assert volume.voxels.dtype == np.float32 and np.allclose(volume.voxels, voxels * 0.5 + 0.25)


def test_fractions_stay_float32(tmp_path):
    voxels = a_ct() + 0.5
    volume = read_volume(write(tmp_path / "ct.nii.gz", voxels.astype(np.float64)))
    assert volume.voxels.dtype == np.float32 and np.array_equal(volume.voxels, voxels.astype(np.float32))


def test_an_eight_bit_file_with_a_scale_to_hu_is_read(tmp_path):
    stored = np.clip((a_ct() + 1000) // 8, 0, 255).astype(np.uint8)
    volume = read_volume(nifti_scaled(tmp_path / "a.nii", stored, 8, -1000))
    assert np.array_equal(volume.voxels, stored.astype(np.int16) * 8 - 1000)


def test_metres_and_microns_become_millimetres(tmp_path):
    for unit, factor in (("meter", 1e-3), ("micron", 1e3)):
        image = nibabel.Nifti1Image(a_ct(), np.diag([factor, factor, factor, 1]) @ OBLIQUE)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / "ct.nii")
        assert np.allclose(read_volume(tmp_path / "ct.nii").affine, OBLIQUE, atol=1e-3)


def test_an_empty_fourth_axis_and_header_extensions_do_no_harm(tmp_path):
    image = nibabel.Nifti2Image(a_ct()[..., None], OBLIQUE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 200))
    nibabel.save(image, tmp_path / "ct.nii.gz")
    assert np.array_equal(read_volume(tmp_path / "ct.nii.gz").voxels, a_ct())


def test_a_gzip_of_several_members_is_read(tmp_path):
    """As bgzip writes it, with borders anywhere."""
    content = gzip.decompress(write(tmp_path / "ct.nii.gz", a_ct()).read_bytes())
    parts = [content[a:b] for a, b in ((0, 300), (300, 5000), (5000, len(content)))]
    (tmp_path / "ct.nii.gz").write_bytes(b"".join(gzip.compress(p) for p in parts))
    assert np.array_equal(read_volume(tmp_path / "ct.nii.gz").voxels, a_ct())


@pytest.mark.parametrize("shape", [(128, 128, 64), (128, 128, 63), (73, 91, 83)])
def test_packed_voxels_longer_than_one_piece_are_read_whole(tmp_path, shape):
    voxels = np.random.default_rng(1).integers(-1000, 1000, shape).astype(np.int16)
    voxels[:, :, :20] = -1000  # packs well: much output waits behind little input
    for name in ("ct.nii.gz", "gzip.nrrd", "packed.mha"):
        assert np.array_equal(read_volume(write(tmp_path / name, voxels)).voxels, voxels)


@pytest.mark.parametrize(("name", "wrong"), [("ct.nii.gz", "ct.nii"), ("ct.nii", "ct.nrrd"), ("raw.nrrd", "scan"),
                                             ("plain.mha", "ct.nii.gz"), ("ct.nii.gz", "ct.dcm")])
def test_a_file_is_what_its_first_bytes_say(tmp_path, name, wrong):
    write(tmp_path / name, a_ct()).rename(tmp_path / wrong)
    assert np.array_equal(read_volume(tmp_path / wrong).voxels, a_ct())


def test_las_and_ras_nrrd_are_turned(tmp_path):
    for space, signs in (("right-anterior-superior", (1, 1, 1)), ("LAS", (-1, 1, 1)), ("left-posterior-superior", (-1, -1, 1))):
        world = np.diag([*signs, 1.0]) @ OBLIQUE
        header = {"space": space, "space directions": world[:3, :3].T, "space origin": world[:3, 3], "encoding": "gzip"}
        nrrd.write(str(tmp_path / "ct.nrrd"), a_ct(), header)
        assert np.allclose(read_volume(tmp_path / "ct.nrrd").affine, OBLIQUE)


def test_a_crop_of_three_slices_is_answered(tmp_path):
    """However small, also one inside an organ, where nothing is below 0 HU."""
    inside = np.random.default_rng(0).normal(350, 20, (9, 8, 3)).astype(np.int16)
    for voxels in (a_ct((3, 3, 3)), inside):
        assert read_volume(write(tmp_path / "ct.nii.gz", voxels)).shape == voxels.shape


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_a_dicom_series_comes_through_the_same_door(tmp_path, packed):
    folder = save(series(), tmp_path / "series")
    path = Path(shutil.make_archive(str(tmp_path / "series"), "zip", folder)) if packed else folder
    volume = read_volume(path)
    assert np.array_equal(volume.voxels, hounsfield() // 2 * 2) and volume.name == "series"
    assert volume.source == str(path) and volume.notes == ()
    assert np.allclose(volume.affine[:3, 3], (40, 50, 100))


# ---------------------------------------------------------------- writing


@pytest.fixture
def volume() -> Volume:
    return Volume(a_ct(), OBLIQUE, name="ct")


def a_mask(volume, lo, hi):
    whole = np.zeros(volume.shape, np.uint8)
    whole[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))] = 1
    whole[lo[0], lo[1], lo[2]] = 0  # no symmetric box: a flip would show
    return whole, whole[tuple(slice(a, b) for a, b in zip(lo, hi, strict=True))], lo


def test_a_mask_is_written_on_the_grid_of_the_ct(tmp_path, volume):
    whole, crop, first = a_mask(volume, (3, 2, 1), (9, 11, 5))
    write_mask_nifti(crop, first, volume, tmp_path / "m.nii.gz")
    image = nibabel.load(tmp_path / "m.nii.gz")
    assert image.get_data_dtype() == np.uint8 and np.array_equal(np.asarray(image.dataobj), whole)
    assert np.allclose(image.affine, volume.affine, atol=1e-5) and np.allclose(image.get_qform(), volume.affine, atol=1e-4)
    itk = sitk.ReadImage(str(tmp_path / "m.nii.gz"))
    assert np.array_equal(sitk.GetArrayFromImage(itk).transpose(2, 1, 0), whole)
    centre = itk.TransformContinuousIndexToPhysicalPoint([3.0, 4.0, 5.0])
    assert np.allclose(LPS[:3, :3] @ centre, volume.index_to_world([3, 4, 5]), atol=1e-3)


def test_what_is_written_is_the_same_byte_for_byte(tmp_path, volume):
    _, crop, first = a_mask(volume, (3, 2, 1), (9, 11, 5))
    for write_it in (lambda p: write_mask_nifti(crop, first, volume, p),
                     lambda p: write_seg_nrrd([Segment(id="a", key="x", display="X", mask=crop, first_voxel=first)], volume, p)):
        write_it(tmp_path / "one")
        write_it(tmp_path / "two")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_mask_that_leaves_the_scan_is_refused(tmp_path, volume):
    with pytest.raises(GeometryError):
        write_mask_nifti(np.ones((5, 5, 5)), (22, 0, 0), volume, tmp_path / "m.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_segments_keep_names_colours_and_terminology(tmp_path, volume):
    vocabulary = Vocabulary.load()
    lung, crop, first = a_mask(volume, (1, 2, 1), (9, 11, 5))
    other, crop2, first2 = a_mask(volume, (12, 2, 6), (20, 11, 10))
    write_seg_nrrd([Segment.named("parotid_left", crop, first, vocabulary, id="a1.o1"),
                    Segment.named("thing", crop2, first2, vocabulary, id="a1.o2", display="What | you ~ clicked")],
                   volume, tmp_path / "s.seg.nrrd")
    data, header = nrrd.read(str(tmp_path / "s.seg.nrrd"))
    assert np.array_equal(data, lung + 2 * other)
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = header["space directions"].T, header["space origin"]
    assert header["space"] == "left-posterior-superior" and np.allclose(LPS @ world, volume.affine)
    known = vocabulary["parotid_left"]
    assert header["Segment0_Name"] == known.display and header["Segment0_ID"] == "a1.o1"
    assert np.allclose(np.array(header["Segment0_Color"].split(), float) * 255, known.colour, atol=0.01)
    assert header["Segment0_Extent"] == "1 8 2 10 1 4" and header["Segment1_LabelValue"] == "2"
    assert f"SCT^{known.type[0]}^{known.type[2]}" in header["Segment0_Tags"]
    assert header["Segment1_Name"] == "What   you   clicked" and header["Segment1_Tags"].count("|") == 6
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "s.seg.nrrd"))).T, data)


def test_a_terminology_entry_has_seven_parts_of_three():
    entry = terminology_entry(Segment.named("parotid_left", np.ones((1, 1, 1)), (0, 0, 0), Vocabulary.load()))
    parts = entry.split("~")
    assert len(parts) == 7 and all(p.count("^") == 2 for i, p in enumerate(parts) if i not in (0, 4))
    assert parts[3].startswith("SCT^7771000^")  # left


def test_segments_that_overlap_get_layers(tmp_path, volume):
    masks = [a_mask(volume, (1, 2, 1), (9, 11, 5)), a_mask(volume, (8, 2, 1), (15, 11, 5)), a_mask(volume, (5, 5, 3), (12, 9, 7)),
             a_mask(volume, (16, 12, 8), (20, 16, 10))]
    write_seg_nrrd([Segment(id=f"o{n}", key="x", display=f"X{n}", mask=crop, first_voxel=first)
                    for n, (_, crop, first) in enumerate(masks)], volume, tmp_path / "s.seg.nrrd")
    data, header = nrrd.read(str(tmp_path / "s.seg.nrrd"))
    assert data.shape == (3, *volume.shape) and header["kinds"] == ["list", "domain", "domain", "domain"]
    for n, (whole, *_) in enumerate(masks):
        layer, label = int(header[f"Segment{n}_Layer"]), int(header[f"Segment{n}_LabelValue"])
        assert np.array_equal(data[layer] == label, whole == 1)


def test_a_segmentation_needs_segments_with_ids_of_their_own(tmp_path, volume):
    one = Segment(id="a", key="x", display="X", mask=np.ones((1, 1, 1)), first_voxel=(0, 0, 0))
    for wrong in ([], [one, one]):
        with pytest.raises(UsageError):
            write_seg_nrrd(wrong, volume, tmp_path / "s.seg.nrrd")


def test_markups_are_in_lps_with_their_axes(tmp_path):
    turned = ((0.0, 1.0, 0.0), (-1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    write_markups([BoxMarkup(name="Aorta", centre_ras=(1, 2, 3), size_mm=(10, 20, 30), axes=turned, colour=(255, 0, 51)),
                   LineMarkup(name="Long axis", ends_ras=((0, 0, 0), (3, 4, 0)))], tmp_path / "m.mrk.json")
    box, line = json.loads((tmp_path / "m.mrk.json").read_text())["markups"]
    assert box["type"] == "ROI" and box["center"] == [-1, -2, 3] and box["size"] == [10, 20, 30]
    assert np.array(box["orientation"]).reshape(3, 3)[:, 0].tolist() == [0, -1, 0]
    assert box["display"]["color"] == [1, 0, 0.2]
    assert line["type"] == "Line" and line["controlPoints"][1]["position"] == [-3, -4, 0]
    assert line["measurements"][0]["value"] == 5


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, volume):
    path = tmp_path / "m.nii.gz"
    path.write_bytes(b"old")
    noise = (np.random.default_rng(0).random(volume.shape) < 0.5).astype(np.uint8)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limit[1]))
    try:
        with pytest.raises(ResourceError, match=r"m\.nii\.gz could not be written") as caught:
            write_mask_nifti(noise, (0, 0, 0), volume, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert caught.value.code == "CTR-RES-001" and caught.value.exit_code == 5
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(ResourceError, match="could not be written"), atomic(tmp_path / "no" / "file"):
        pass
