"""A DICOM folder, file or zip becomes a Volume, or one sentence says why not."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from ctreasoner.dicom import is_dicom, read_series, read_sources
from ctreasoner.errors import InputError, NotACTError
from dicom_series import SHAPE, STRAIGHT, hounsfield, save, series

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


def expected_affine(spacing=(0.7, 0.8), step=2.5, origin=(-40.0, -50.0, 100.0)) -> np.ndarray:
    affine = np.diag([-spacing[1], -spacing[0], step, 1.0])
    affine[:3, 3] = [-origin[0], -origin[1], origin[2]]
    return affine


# --- what is right ---------------------------------------------------------------------------------------------------
def test_slices_are_sorted_by_position_and_rescaled(tmp_path):
    hu = hounsfield() // 2 * 2
    got = read_series(save(series(hu), tmp_path / "ct"))
    np.testing.assert_array_equal(got.volume.voxels, hu)
    assert got.volume.voxels.dtype == np.int16
    np.testing.assert_allclose(got.volume.affine, expected_affine(), atol=1e-9)
    assert [ds.InstanceNumber for ds in got.sources] == list(range(1, SHAPE[2] + 1))
    assert "PixelData" not in got.sources[0]


def test_a_series_stored_from_head_to_foot_gives_the_same_voxels_in_the_same_places(tmp_path):
    hu = hounsfield() // 2 * 2
    down = series(hu[:, :, ::-1], origin=(-40, -50, 100 + 7 * 2.5), step=(0, 0, -2.5))
    got = read_series(save(down, tmp_path / "ct")).volume
    np.testing.assert_array_equal(got.voxels, hu)
    np.testing.assert_allclose(got.affine, expected_affine(), atol=1e-9)


@pytest.mark.parametrize("angles", [(20, 0, 0), (10, -15, 30), (0, 90, 0)])
def test_an_oblique_series_keeps_every_voxel_in_its_place(tmp_path, angles):
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    hu = hounsfield() // 2 * 2
    slices = series(hu, orientation=turn[:, :2].T, step=turn[:, 2] * 2.5)
    volume = read_series(save(slices, tmp_path / "ct")).volume
    for k in (0, 3, 7):
        lps = np.array(slices[k].ImagePositionPatient, float) + turn[:, 0] * 0.8 * 5 + turn[:, 1] * 0.7 * 2
        index = volume.world_to_index([lps * [-1, -1, 1]])[0]
        np.testing.assert_allclose(index, np.rint(index), atol=1e-6)
        assert volume.voxels[tuple(np.rint(index).astype(int))] == hu[5, 2, k]


def test_fractional_rescale_gives_float_hu(tmp_path):
    hu = hounsfield()
    slices = series(hu, slope=1.0)
    for ds in slices:
        ds.RescaleSlope = "0.5"
    voxels = read_series(save(slices, tmp_path / "ct")).volume.voxels
    assert voxels.dtype == np.float32
    np.testing.assert_allclose(voxels, (hu.astype(float) + 1024) * 0.5 - 1024)


def test_a_zip_and_a_nested_folder_with_bystanders_read_the_same(tmp_path):
    folder = save(series(), tmp_path / "disc" / "PAT1" / "ST1")
    (tmp_path / "disc" / "README.TXT").write_text("hello")
    (tmp_path / "disc" / "DICOMDIR").write_bytes(b"not read")
    with zipfile.ZipFile(tmp_path / "ct.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"ct/{path.name}")
    a, b = read_series(tmp_path / "disc").volume, read_series(tmp_path / "ct.zip").volume
    assert a.identity == b.identity
    assert is_dicom(tmp_path / "ct.zip")


def test_scouts_and_reports_beside_the_series_are_left_out_and_noted(tmp_path):
    folder = save(series(), tmp_path / "ct")
    scout = series(hounsfield((30, 40, 1)), number=1)
    scout[0].ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    save(scout, folder, "SC")
    save(series(hounsfield((9, 9, 2)), number=99, modality="SR", sop_class="1.2.840.10008.5.1.4.1.1.88.67"), folder, "SR")
    got = read_series(folder)
    assert got.volume.shape == SHAPE
    assert got.notes == ("Left out: 2 SR object, 1 scout.",)


def test_headers_alone_name_the_same_sources(tmp_path):
    folder = save(series(), tmp_path / "ct")
    sources, template = read_sources(folder)
    assert [ds.SOPInstanceUID for ds in sources] == [ds.SOPInstanceUID for ds in read_series(folder).sources]
    assert template.PatientID == "P1"


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_one_series(tmp_path):
    slices = series(step=(0, 0, 1.25))
    for ds in slices:
        ds.ImagePositionPatient = [*ds.ImagePositionPatient[:2], round(float(ds.ImagePositionPatient[2]), 1)]
    assert read_series(save(slices, tmp_path / "ct")).volume.spacing[2] == pytest.approx(1.25, abs=0.02)


def test_a_tilted_gantry_is_resampled_onto_a_rectangular_grid(tmp_path):
    """A tilted cylinder's axis along S is slanted in the slices; afterwards world positions are right."""
    tilt = np.radians(20)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(tilt), -np.sin(tilt)])
    columns, rows, count = 40, 60, 24
    origin, step = np.array([-20.0, -30.0, 0.0]), np.array([0, 0, 2.0])
    i, j, k = np.meshgrid(np.arange(columns), np.arange(rows), np.arange(count), indexing="ij")
    place = origin + i[..., None] * row + j[..., None] * column + k[..., None] * step
    hu = np.rint(place[..., 1] * 10 + place[..., 0] * 4).astype(np.int16)  # linear in the world: interpolation is exact
    slices = series(hu, orientation=[row, column], spacing=(1, 1), step=step, origin=origin, slope=1)
    got = read_series(save(slices, tmp_path))
    volume = got.volume
    assert "tilted by 20.0 degrees" in got.notes[0]
    assert got.sources == ()
    inside = np.argwhere(volume.voxels > -1024 + 500)
    world = volume.index_to_world(inside) * [-1, -1, 1]
    error = volume.voxels[tuple(inside.T)] - (world[:, 1] * 10 + world[:, 0] * 4)
    assert len(inside) > 0.9 * hu.size
    assert np.quantile(np.abs(error), 0.95) < 1.5


# --- what is wrong ---------------------------------------------------------------------------------------------------
def refused(path: Path, *words: str, kind=InputError) -> str:
    with pytest.raises(kind) as caught:
        read_series(path)
    sentence = str(caught.value)
    assert caught.value.code.startswith("CTR-")
    for word in words:
        assert word in sentence
    return sentence


def test_missing_slices_are_refused_with_numbers(tmp_path):
    slices = series()
    del slices[3]
    refused(
        save(slices, tmp_path),
        "A slice is missing between slice 3 of 7 (image 3) (105.0 mm) and slice 4 of 7 (image 5)",
        "5.00 mm",
        "2.50 mm",
    )


def test_several_missing_slices_are_counted(tmp_path):
    slices = series(hounsfield((12, 10, 20)))
    kept = [ds for k, ds in enumerate(slices) if k not in (4, 5, 12)]
    refused(save(kept, tmp_path), "2 slices are missing", "(3 in all)")


def test_unequal_distances_are_refused(tmp_path):
    slices = series()
    for k, ds in enumerate(slices[4:]):
        ds.ImagePositionPatient = [-40, -50, 110 + 3.7 * (k + 1)]
    refused(save(slices, tmp_path), "unequal distances", "mm")


def test_duplicate_slices_are_refused_with_numbers(tmp_path):
    folder = save(series(), tmp_path)
    (folder / "IM0002 (copy)").write_bytes((folder / "IM0002").read_bytes())
    refused(folder, "1 of 9 slices stand where another one stands")


def test_a_series_of_two_phases_is_refused(tmp_path):
    both = series() + series(hounsfield(seed=1) // 2 * 2)
    refused(save(both, tmp_path), "Every position holds 2 slices (16 slices at 8 positions)")


def test_two_series_are_refused_and_both_are_named(tmp_path):
    folder = save(series(), tmp_path)
    save(series(hounsfield((12, 10, 5)) // 2 * 2, number=7), folder, "B")
    sentence = refused(folder, "2 CT series", "series 3 (8 slices, 2.5 mm)", "series 7 (5 slices, 2.5 mm)")
    assert "Thorax" not in sentence
    assert read_series(folder, series="1.2.826.0.1.7").volume.shape == (12, 10, 5)


@pytest.mark.parametrize(("modality", "uid"), [("MR", "4"), ("US", "6.1")])
def test_other_modalities_are_refused_by_name(tmp_path, modality, uid):
    folder = save(series(modality=modality, sop_class=f"1.2.840.10008.5.1.4.1.1.{uid}"), tmp_path)
    refused(folder, f"not a CT: the 8 DICOM files here are {modality}", kind=NotACTError)


def test_colour_constant_and_foreign_units_are_refused(tmp_path):
    slices = series()
    for ds in slices:
        ds.RescaleType = "Z_EFF"
    refused(save(slices, tmp_path / "a"), "Z_EFF", kind=NotACTError)
    refused(save(series(np.full(SHAPE, 40, np.int16)), tmp_path / "b"), "same value (40 HU)", kind=NotACTError)
    slices = series()
    for ds in slices:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.PixelData = ds.PixelData * 3
    refused(save(slices, tmp_path / "c"), "colour picture", kind=NotACTError)
    slices = series()
    del slices[2].RescaleIntercept
    refused(save(slices, tmp_path / "d"), "lacks RescaleIntercept")


def test_single_slices_and_empty_folders_are_refused(tmp_path):
    folder = save(series(), tmp_path / "ct")
    refused(folder / "IM0000", "There is 1 CT slice here")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "holds no files")
    refused(tmp_path / "nowhere", "no file or folder 'nowhere'")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("x")
    refused(tmp_path / "text", "no DICOM files")


def test_a_wandering_or_turning_series_is_refused(tmp_path):
    slices = series()
    slices[4].ImagePositionPatient = [-30, -50, slices[4].ImagePositionPatient[2]]
    refused(save(slices, tmp_path / "a"), "shifted sideways by 10.0 mm")
    slices = series()
    slices[4].ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
    refused(save(slices, tmp_path / "b"), "1 of the 8 slices", "another direction")
    slices = series()
    slices[4].PixelSpacing = [0.5, 0.5]
    refused(save(slices, tmp_path / "c"), "different pixel spacings", "7 of 0.7 x 0.8", "1 of 0.5 x 0.5")


def test_slices_in_different_frames_of_reference_are_refused(tmp_path):
    slices = series()
    slices[5].FrameOfReferenceUID = "1.2.826.0.1.99"
    refused(save(slices, tmp_path), "lie in 2 frames of reference")


def test_no_message_holds_a_patient_name(tmp_path):
    slices = series()
    del slices[3]
    assert "Müller" not in refused(save(slices, tmp_path))


def test_orientation_of_the_fixture_is_straight():
    assert np.array_equal(STRAIGHT, [[1, 0, 0], [0, 1, 0]])
