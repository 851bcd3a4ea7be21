"""Whatever a slice is compressed, padded, encoded or packed as, its Hounsfield units are the same."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from ctreasoner.dicom import read_series
from ctreasoner.dicom.derived import write_derived
from dicom_series import compressed, deflated, hounsfield, jpeg_lossless, multi_frame, save, series
from pydicom.uid import (
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
HU = hounsfield((64, 48, 4)) // 2 * 2
ORDER = [2, 0, 3, 1]


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_compressed_series_read_as_uncompressed_ones(tmp_path, syntax):
    got = read_series(compressed(series(HU), syntax, tmp_path))
    np.testing.assert_array_equal(got.volume.voxels, HU)
    assert got.notes == ()


def test_jpeg_lossless_is_read(tmp_path):
    got = read_series(save(jpeg_lossless(series(HU)), tmp_path))
    np.testing.assert_array_equal(got.volume.voxels, HU)
    assert got.notes == ()


def test_jpeg_lossless_of_unsigned_values_with_an_odd_rescale_is_read(tmp_path):
    """GDCM's own rescale would round: it never sees one."""
    slices = series(HU)
    for k, ds in enumerate(slices):
        ds.PixelRepresentation, ds.RescaleSlope, ds.RescaleIntercept = 0, "1.37", "-1024.5"
        ds.PixelData = ((HU[:, :, k].T.astype(int) + 1024) % 4096).astype("<u2").tobytes()
    expected = ((HU.astype(int) + 1024) % 4096 * 1.37 - 1024.5).astype(np.float32)
    np.testing.assert_array_equal(read_series(save(jpeg_lossless(slices), tmp_path)).volume.voxels, expected)


def test_deflated_series_are_read(tmp_path):
    np.testing.assert_array_equal(read_series(deflated(series(HU), tmp_path)).volume.voxels, HU)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian], ids=lambda uid: uid.keyword)
def test_implicit_and_big_endian_series_are_read(tmp_path, syntax):
    slices = series(HU)
    for ds in slices:
        ds.PixelPaddingValue = 4000     # "US or SS": the type depends on another element
        pixels = np.frombuffer(ds.PixelData, "<i2").copy()
        pixels[:5] = 4000
        ds.PixelData = pixels.astype(">i2" if syntax == ExplicitVRBigEndian else "<i2").tobytes()
        ds.file_meta.TransferSyntaxUID = syntax
    expected = HU.copy()
    expected[:5, 0] = -1024
    np.testing.assert_array_equal(read_series(save(slices, tmp_path)).volume.voxels, expected)


def test_a_series_with_loss_is_read_and_noted(tmp_path):
    slices = series(HU)
    for ds in slices:
        ds.compress(JPEGLSNearLossless, jls_error=2)
        ds.LossyImageCompression = "01"
    got = read_series(save(slices, tmp_path))
    assert np.abs(got.volume.voxels.astype(int) - HU).max() in range(1, 5)      # 2 stored values of 2 HU each
    assert "compressed with loss" in got.notes[0]


@pytest.mark.parametrize("packed", ["plain", "RLE", "JPEG lossless", "JPEG 2000"])
def test_a_multi_frame_ct_is_read_frame_by_frame(tmp_path, packed):
    slices = series(HU)
    if packed == "JPEG lossless":
        jpeg_lossless(slices)
    elif packed != "plain":
        for ds in slices:
            ds.compress(RLELossless if packed == "RLE" else JPEG2000Lossless)
    multi_frame(slices, ORDER).save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    got = read_series(tmp_path / "ct.dcm")
    np.testing.assert_array_equal(got.volume.voxels, HU)
    assert got.sources == ()


def test_each_frame_of_a_multi_frame_ct_may_have_its_own_rescale(tmp_path):
    whole = multi_frame(series(HU), ORDER)
    rescale = whole.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    del whole.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
    for frame in whole.PerFrameFunctionalGroupsSequence:
        frame.PixelValueTransformationSequence = [pydicom.Dataset(rescale[0])]
    own = pydicom.Dataset()
    own.RescaleSlope, own.RescaleIntercept, own.RescaleType = "2", "-1000", "HU"
    whole.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence = [own]
    whole.save_as(tmp_path / "ct.dcm", enforce_file_format=True)
    expected = HU.copy()
    expected[:, :, ORDER[1]] += 24
    np.testing.assert_array_equal(read_series(tmp_path / "ct.dcm").volume.voxels, expected)


def test_padding_that_would_shine_becomes_air_and_other_padding_stays(tmp_path):
    slices = series(HU)
    for ds in slices:
        pixels = np.frombuffer(ds.PixelData, "<i2").copy()
        pixels[:4] = 30000, 30005, 30010, 30011
        ds.PixelPaddingValue, ds.PixelPaddingRangeLimit, ds.PixelData = 30000, 30010, pixels.tobytes()
    voxels = read_series(save(slices, tmp_path / "a")).volume.voxels
    assert voxels[:4, 0, 0].tolist() == [-1024, -1024, -1024, 30011 * 2 - 1024]
    slices = series(HU)
    for ds in slices:
        pixels = np.frombuffer(ds.PixelData, "<i2").copy()
        pixels[:2] = -500
        ds.PixelPaddingValue, ds.PixelData = -500, pixels.tobytes()
    assert (read_series(save(slices, tmp_path / "b")).volume.voxels[:2, 0] == -2024).all()


CHARACTER_SETS = {
    "UTF-8": ("ISO_IR 192", "Ωmega^Žofia", None),
    "Chinese": ("GB18030", "王^小东", None),
    "Japanese": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", None),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг", None),
    "unknown": ("ISO_IR 999", "", b"M\xfcller^Karla"),
    "wrong": ("ISO_IR 192", "", b"M\xfcller^Karla"),
    "missing": (None, "", b"M\xfcller^Karla"),
}


@pytest.mark.parametrize("name", CHARACTER_SETS)
def test_a_name_in_any_character_set_is_carried_on_or_at_least_harms_nothing(tmp_path, capfd, name):
    """Where the character set is right, the name comes out of what is derived as it went in."""
    charset, text, raw = CHARACTER_SETS[name]
    slices = series(HU)
    for ds in slices:
        ds.PatientName = text or "PLACEHOLDER^"
        if charset is None:
            del ds.SpecificCharacterSet
        elif raw is None:
            ds.SpecificCharacterSet = charset
    folder = save(slices, tmp_path / "ct")
    if raw is not None:
        for path in folder.iterdir():
            data = path.read_bytes().replace(b"PLACEHOLDER^", raw)
            path.write_bytes(data if charset is None else data.replace(b"ISO_IR 100", charset.encode()))
    got = read_series(folder)
    np.testing.assert_array_equal(got.volume.voxels, HU)
    write_derived(got.volume, tmp_path / "derived", got.template)
    back = read_series(tmp_path / "derived").template
    assert str(back.PatientName) == text or raw is not None
    assert back.PatientID == "P1"
    assert capfd.readouterr() == ("", "")
