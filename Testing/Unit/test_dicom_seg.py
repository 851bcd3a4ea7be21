"""A DICOM segmentation is read back voxel for voxel, by two other readers, wherever the volume's axes point."""

from __future__ import annotations

import datetime
import errno
import json
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pydicom
import pytest
from ctreasoner.dicom import SegObject, read_series, write_derived, write_seg
from ctreasoner.errors import GeometryError, InputError, ResourceError
from ctreasoner.geometry import Volume
from ctreasoner.vocabulary import Vocabulary
from dicom_checks import complaints, dcmqi
from dicom_series import hounsfield, save, series

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5)
SHAPE = (20, 18, 9)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:(pydicom|highdicom)")


def turned(axes=(0, 1, 2), flips=(1, 1, 1), degrees=(0, 0, 0)) -> np.ndarray:
    """Return an affine whose voxel axes are permuted, flipped and turned."""
    from scipy.spatial.transform import Rotation

    affine = np.eye(4)
    directions = np.eye(3)[:, list(axes)] * np.array(flips)
    affine[:3, :3] = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix() @ directions * [0.7, 0.8, 2.5]
    affine[:3, 3] = [12.3, -45.6, 78.9]
    return affine


def random_mask(shape, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape) > 0.4


def objects(seed: int = 0) -> list[SegObject]:
    """Return three objects, apart from one another, one of them outside the vocabulary and clicked."""
    return [
        SegObject("heart", "Heart", random_mask((7, 6, 4), seed), (1, 2, 3), tracking_id="a1.o1"),
        SegObject("parotid_left", "Left parotid", random_mask((5, 5, 5), seed + 1), (10, 3, 4), tracking_id="a1.o2"),
        SegObject("thing", "Clicked thing", random_mask((6, 6, 2), seed + 2), (3, 11, 0), "SEMIAUTOMATIC"),
    ]


def points(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Return the RAS positions of a mask's voxels, in thousandths of a mm, sorted."""
    ijk = np.argwhere(mask)
    ras = ijk @ affine[:3, :3].T + affine[:3, 3]
    ras = np.rint(ras * 100).astype(int)
    return ras[np.lexsort(ras.T)]


def expected_points(item: SegObject, volume: Volume) -> np.ndarray:
    whole = np.zeros(volume.shape, bool)
    whole[tuple(slice(f, f + n) for f, n in zip(item.first_voxel, item.mask.shape, strict=True))] = item.mask
    return points(whole, volume.affine)


def read_with_highdicom(path: Path) -> list[np.ndarray]:
    """Return the RAS points of each segment."""
    import highdicom as hd

    volume = hd.seg.segread(path).get_volume()
    affine = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    return [points(volume.array[..., n], affine) for n in range(volume.array.shape[-1])]


def same_places(got: np.ndarray, wanted: np.ndarray) -> bool:
    return got.shape == wanted.shape and np.abs(got - wanted).max() <= 1  # a hundredth of a mm


AXES = [(axes, flips) for axes in permutations(range(3)) for flips in product((1, -1), repeat=3)][::5]


@pytest.mark.parametrize(("axes", "flips"), AXES)
def test_no_voxel_moves_whichever_way_the_axes_of_a_volume_run(tmp_path, axes, flips):
    volume = Volume(hounsfield(SHAPE), turned(axes, flips))
    path = write_seg(tmp_path / "a.dcm", objects(), volume)
    for got, item in zip(read_with_highdicom(path), objects(), strict=True):
        assert same_places(got, expected_points(item, volume))


@pytest.mark.parametrize("degrees", [(10, 0, 0), (25, -30, 40), (44, 44, 0)])
def test_no_voxel_moves_in_an_oblique_volume(tmp_path, degrees):
    volume = Volume(hounsfield(SHAPE), turned((1, 0, 2), (-1, 1, -1), degrees))
    path = write_seg(tmp_path / "a.dcm", objects(), volume)
    for got, item in zip(read_with_highdicom(path), objects(), strict=True):
        assert same_places(got, expected_points(item, volume))


def test_the_derived_series_is_axial_and_holds_the_same_hu_in_the_same_places(tmp_path):
    volume = Volume(hounsfield(SHAPE), turned((2, 0, 1), (1, -1, 1), (5, 10, 0)))
    write_seg(tmp_path / "a.dcm", objects(), volume)
    derived = read_series(tmp_path / "a_ct").volume
    lps = np.diag([-1, -1, 1]) @ derived.affine[:3, :3] / derived.spacing
    assert (np.diag(lps) > 0.9).all()
    index = volume.world_to_index(derived.index_to_world([[0, 0, 0], [3, 5, 7], [8, 2, 4]]))
    np.testing.assert_allclose(index, np.rint(index), atol=1e-3)
    here = [volume.voxels[tuple(at)] for at in np.rint(index).astype(int)]
    assert here == [derived.voxels[0, 0, 0], derived.voxels[3, 5, 7], derived.voxels[8, 2, 4]]


def test_a_segmentation_of_a_series_refers_to_its_slices_and_keeps_patient_and_study(tmp_path):
    got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
    path = write_seg(tmp_path / "a.dcm", objects(), got.volume, got.sources)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dcm", "ct"]
    seg = pydicom.dcmread(path)
    assert (seg.PatientName, seg.PatientID) == ("Müller^Test", "P1")
    assert seg.StudyInstanceUID == got.sources[0].StudyInstanceUID
    assert seg.FrameOfReferenceUID == got.sources[0].FrameOfReferenceUID
    known = {ds.SOPInstanceUID for ds in got.sources}
    used = {
        f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for f in seg.PerFrameFunctionalGroupsSequence
    }
    assert used <= known
    for found, item in zip(read_with_highdicom(path), objects(), strict=True):
        assert same_places(found, expected_points(item, got.volume))


def test_codes_colours_names_and_algorithms_are_those_of_the_vocabulary(tmp_path):
    volume = Volume(hounsfield(SHAPE), turned())
    seg = pydicom.dcmread(write_seg(tmp_path / "a.dcm", objects(), volume, model="compact 1"))
    heart, parotid, thing = seg.SegmentSequence
    vocabulary = Vocabulary.load()
    for segment, key in ((heart, "heart"), (parotid, "parotid_left")):
        kind = segment.SegmentedPropertyTypeCodeSequence[0]
        assert (kind.CodeValue, kind.CodingSchemeDesignator) == vocabulary[key].type[:2]
    modifier = parotid.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0]
    assert modifier.CodeValue == vocabulary["parotid_left"].modifier[0]
    assert (thing.SegmentLabel, thing.SegmentAlgorithmType) == ("Clicked thing", "SEMIAUTOMATIC")
    assert heart.SegmentationAlgorithmIdentificationSequence[0].AlgorithmVersion == "compact 1"
    assert heart.TrackingID == "a1.o1"
    assert "research use only" in seg.SeriesDescription
    import highdicom as hd

    colour = hd.color.CIELabColor.from_dicom_value(heart.RecommendedDisplayCIELabValue).to_rgb()
    np.testing.assert_allclose(colour, vocabulary["heart"].colour, atol=2)


def test_an_unchanged_answer_exports_to_the_same_bytes_and_another_one_to_another_instance(tmp_path):
    volume = Volume(hounsfield(SHAPE), turned())
    a = write_seg(tmp_path / "a.dcm", objects(), volume, created=WHEN)
    b = write_seg(tmp_path / "b.dcm", objects(), volume, created=WHEN)
    c = write_seg(tmp_path / "c.dcm", objects(seed=7), volume, created=WHEN)
    assert a.read_bytes() == b.read_bytes()
    first, other = pydicom.dcmread(a), pydicom.dcmread(c)
    assert first.SOPInstanceUID != other.SOPInstanceUID
    assert first.StudyInstanceUID == other.StudyInstanceUID


def test_overlapping_objects_keep_every_voxel(tmp_path):
    volume = Volume(hounsfield(SHAPE), turned(flips=(-1, 1, 1)))
    items = [
        SegObject("lung_left", "Left lung", np.ones((9, 9, 5), bool), (2, 3, 1)),
        SegObject("lung_nodule", "Lung nodule", random_mask((4, 4, 3), 5), (4, 5, 2)),
    ]
    path = write_seg(tmp_path / "a.dcm", items, volume)
    assert pydicom.dcmread(path).SegmentsOverlap == "YES"
    for got, item in zip(read_with_highdicom(path), items, strict=True):
        assert same_places(got, expected_points(item, volume))


def test_a_resampled_gantry_exports_with_a_derived_series_of_the_same_study(tmp_path):
    tilt = np.radians(15)
    slices = series(hounsfield(SHAPE) // 2 * 2, orientation=[[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)]])
    got = read_series(save(slices, tmp_path / "ct"))
    path = write_seg(tmp_path / "a.dcm", objects(), got.volume, got.sources, template=got.template)
    seg = pydicom.dcmread(path)
    assert seg.StudyInstanceUID == got.template.StudyInstanceUID
    assert pydicom.dcmread(tmp_path / "a_ct" / "slice_00001.dcm").PatientID == "P1"


def test_what_cannot_be_exported_is_said(tmp_path):
    volume = Volume(hounsfield(SHAPE), turned())
    with pytest.raises(InputError, match="no mask"):
        write_seg(tmp_path / "a.dcm", [SegObject("heart", "Heart", np.zeros((3, 3, 3)), (0, 0, 0))], volume)
    with pytest.raises(GeometryError, match="leaves the scan"):
        write_seg(tmp_path / "a.dcm", [SegObject("heart", "Heart", np.ones((3, 3, 3)), (18, 0, 0))], volume)
    other = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
    with pytest.raises(GeometryError, match="grid"):
        write_seg(tmp_path / "a.dcm", objects(), volume, other.sources)


def test_a_full_disk_leaves_nothing_behind_and_says_so(tmp_path, monkeypatch):
    got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))

    def full(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pydicom.Dataset, "save_as", full)
    with pytest.raises(ResourceError, match="No space left"):
        write_seg(tmp_path / "out" / "a.dcm", objects(), got.volume, got.sources)
    assert not list((tmp_path / "out").iterdir())


def test_a_shorter_derived_series_leaves_no_slices_of_the_longer_one(tmp_path):
    write_derived(Volume(hounsfield(SHAPE), turned()), tmp_path / "ct")
    write_derived(Volume(hounsfield((20, 18, 5)), turned()), tmp_path / "ct")
    assert read_series(tmp_path / "ct").volume.shape == (20, 18, 5)


# --- overlaps, kinds, references -------------------------------------------------------------------------------------
def nested(shape=SHAPE) -> list[SegObject]:
    """Return five objects of which three overlap: two layers hold them all."""
    return [
        SegObject("lung_left", "Left lung", np.ones((9, 9, 5), bool), (2, 3, 1), tracking_id="a1.o1"),
        SegObject("heart", "Heart", random_mask((4, 5, 4), 3), (12, 2, 4), tracking_id="a1.o2"),
        SegObject("lung_nodule", "Lung nodule", random_mask((4, 4, 3), 5), (4, 5, 2), tracking_id="a1.o3"),
        SegObject("aorta", "Aorta", random_mask((3, 3, 6), 6), (13, 9, 1), tracking_id="a1.o4"),
        SegObject("thing", "Clicked thing", random_mask((3, 3, 1), 7), (7, 9, 4), "SEMIAUTOMATIC"),
    ]


@pytest.mark.parametrize("shape", [SHAPE, (19, 17, 9)], ids=["whole bytes", "frames that end within a byte"])
def test_many_objects_of_which_some_overlap_keep_every_voxel_and_their_order(tmp_path, shape):
    volume = Volume(hounsfield(shape), turned((0, 1, 2), (1, -1, -1), (5, 0, 10)))
    path = write_seg(tmp_path / "a.dcm", nested(), volume)
    seg = pydicom.dcmread(path)
    assert [(s.SegmentNumber, s.SegmentLabel) for s in seg.SegmentSequence] == list(enumerate([o.display for o in nested()], 1))
    for got, item in zip(read_with_highdicom(path), nested(), strict=True):
        assert same_places(got, expected_points(item, volume))


def test_overlapping_objects_cost_layers_and_not_an_array_for_each(tmp_path, monkeypatch):
    import highdicom as hd

    written, real = [], hd.seg.Segmentation.__init__

    def spy(self, *args, **kwargs):
        written.append(kwargs["pixel_array"].shape)
        real(self, *args, **kwargs)

    monkeypatch.setattr(hd.seg.Segmentation, "__init__", spy)
    items = [SegObject("heart", f"{n}", np.ones((2, 2, 2), bool), (2 * (n % 6), 3 * (n // 6), n % 3)) for n in range(11)]
    items.append(SegObject("aorta", "over two", np.ones((3, 1, 1), bool), (1, 1, 1)))
    write_seg(tmp_path / "a.dcm", items, Volume(hounsfield(SHAPE), turned()))
    assert written == [(4, 18, 20), (1, 18, 20)]


def test_frames_and_their_source_images_are_exactly_those_of_the_segment(tmp_path):
    got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
    seg = pydicom.dcmread(write_seg(tmp_path / "a.dcm", nested(), got.volume, got.sources))
    at = {tuple(float(v) for v in ds.ImagePositionPatient): (k, ds.SOPInstanceUID) for k, ds in enumerate(got.sources)}
    found: dict[int, set[int]] = {}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        k, uid = at[tuple(float(v) for v in frame.PlanePositionSequence[0].ImagePositionPatient)]
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == uid
        found.setdefault(int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber), set()).add(k)
    for number, item in enumerate(nested(), start=1):
        held = np.flatnonzero(item.mask.any(axis=(0, 1))) + item.first_voxel[2]
        assert found[number] == set(held.tolist())
    (referenced,) = seg.ReferencedSeriesSequence
    assert {i.ReferencedSOPInstanceUID for i in referenced.ReferencedInstanceSequence} == {d.SOPInstanceUID for d in got.sources}
    assert float(seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices) == 2.5


def test_the_index_of_every_frame_is_its_place_among_the_slices(tmp_path):
    seg = pydicom.dcmread(write_seg(tmp_path / "a.dcm", nested(), Volume(hounsfield(SHAPE), turned())))
    places: dict[int, set[float]] = {}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        number, place = frame.FrameContentSequence[0].DimensionIndexValues
        assert number == frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        places.setdefault(place, set()).add(float(frame.PlanePositionSequence[0].ImagePositionPatient[2]))
    assert sorted(places) == list(range(1, len(places) + 1))
    heights = [places[place] for place in sorted(places)]
    assert all(len(height) == 1 for height in heights)
    steps = np.diff([height.pop() for height in heights])
    assert (steps > 0).all() or (steps < 0).all()


def test_a_label_map_holds_the_same_voxels_and_refuses_masks_that_overlap(tmp_path):
    import highdicom as hd

    volume = Volume(hounsfield(SHAPE), turned())
    seg = hd.seg.segread(write_seg(tmp_path / "a.dcm", objects(), volume, kind="LABELMAP"))
    assert seg.SegmentationType == "LABELMAP"
    whole = seg.get_volume(combine_segments=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ whole.affine
    for number, item in enumerate(objects(), start=1):
        assert same_places(points(whole.array == number, affine), expected_points(item, volume))
    with pytest.raises(InputError, match="overlap"):
        write_seg(tmp_path / "b.dcm", nested(), volume, kind="LABELMAP")


def test_probabilities_survive_as_fractions_of_255(tmp_path):
    import highdicom as hd

    volume = Volume(hounsfield(SHAPE), turned())
    soft = np.linspace(0.01, 1, 60, dtype=np.float32).reshape(3, 4, 5)
    items = [SegObject("heart", "Heart", soft, (2, 3, 1)), SegObject("aorta", "Aorta", soft[::-1], (3, 3, 2))]
    seg = hd.seg.segread(write_seg(tmp_path / "a.dcm", items, volume, kind="FRACTIONAL"))
    assert (seg.SegmentationType, seg.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    got = seg.get_volume(rescale_fractional=True)
    affine = np.diag([-1.0, -1, 1, 1]) @ got.affine
    for n, item in enumerate(items):
        held = np.argwhere(got.array[..., n] > 0)
        where = volume.world_to_index(held @ affine[:3, :3].T + affine[:3, 3])
        inside = np.rint(where).astype(int) - item.first_voxel
        np.testing.assert_allclose(got.array[..., n][tuple(held.T)], item.mask[tuple(inside.T)], atol=0.003)
        assert len(held) == 60


def test_a_name_a_colour_and_a_tracking_identifier_are_kept(tmp_path):
    import highdicom as hd

    item = SegObject("heart", "Heart", np.ones((2, 2, 2)), (1, 1, 1), "MANUAL", "a1.o1", "1.2.3.4", note="Changed by hand.")
    (segment,) = pydicom.dcmread(write_seg(tmp_path / "a.dcm", [item], Volume(hounsfield(SHAPE), turned()))).SegmentSequence
    assert (segment.TrackingID, segment.TrackingUID, segment.SegmentDescription) == ("a1.o1", "1.2.3.4", "Changed by hand.")
    assert segment.SegmentAlgorithmType == "MANUAL"
    assert "SegmentAlgorithmName" not in segment and "SegmentationAlgorithmIdentificationSequence" not in segment
    back = np.array(hd.color.CIELabColor.from_dicom_value(segment.RecommendedDisplayCIELabValue).to_rgb())
    assert np.abs(back - Vocabulary.load()["heart"].colour).max() <= 2


# --- other people's readers ------------------------------------------------------------------------------------------
def with_dcmqi(path: Path, folder: Path) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return labels, affine (RAS) and the description that dcmqi's segimage2itkimage makes."""
    import SimpleITK as sitk

    options = ["--outputType", "nrrd", "--mergeSegments", "--prefix", "x"]
    dcmqi("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, *options)
    image = sitk.ReadImage(str(next(folder.glob("*.nrrd"))))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    labels = sitk.GetArrayFromImage(image).transpose(2, 1, 0)
    return labels, np.diag([-1.0, -1, 1, 1]) @ affine, json.loads(next(folder.glob("*.json")).read_text())


@pytest.mark.parametrize("kind", ["series", "flipped", "oblique"])
def test_dcmqi_reads_every_voxel_and_the_names(tmp_path, kind):
    if kind == "series":
        got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
        volume, sources = got.volume, got.sources
    else:
        degrees = (20, 10, -15) if kind == "oblique" else (0, 0, 0)
        volume, sources = Volume(hounsfield(SHAPE), turned((0, 1, 2), (-1, 1, -1), degrees)), None
    path = write_seg(tmp_path / "a.dcm", objects(), volume, sources)
    (tmp_path / "out").mkdir()
    labels, affine, described = with_dcmqi(path, tmp_path / "out")
    segments = [segment for group in described["segmentAttributes"] for segment in group]
    assert [segment["SegmentLabel"] for segment in segments] == ["Heart", "Left parotid", "Clicked thing"]
    for number, item in enumerate(objects(), start=1):
        assert same_places(points(labels == number, affine), expected_points(item, volume))


def test_dcmqi_reads_objects_that_overlap_one_by_one(tmp_path):
    import SimpleITK as sitk

    volume = Volume(hounsfield(SHAPE), turned())
    path = write_seg(tmp_path / "a.dcm", nested(), volume)
    (tmp_path / "out").mkdir()
    dcmqi("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", tmp_path / "out", "--outputType", "nrrd", "--prefix", "x")
    for number, item in enumerate(nested(), start=1):
        image = sitk.ReadImage(str(tmp_path / "out" / f"x-{number}.nrrd"))
        assert int((sitk.GetArrayFromImage(image) > 0).sum()) == int(item.mask.sum())


@pytest.mark.dciodvfy
@pytest.mark.parametrize("kind", ["series", "volume", "overlap", "fractional"])
def test_dciodvfy_finds_nothing_that_is_not_explained(tmp_path, kind):
    got = read_series(save(series(hounsfield(SHAPE) // 2 * 2), tmp_path / "ct"))
    items = nested() if kind == "overlap" else objects()
    if kind == "series":
        write_seg(tmp_path / "a.dcm", items, got.volume, got.sources)
    else:
        volume = Volume(hounsfield(SHAPE), turned(degrees=(10, 5, 0)))
        write_seg(tmp_path / "a.dcm", items, volume, kind="FRACTIONAL" if kind == "fractional" else "BINARY")
    for path in [tmp_path / "a.dcm", *sorted(tmp_path.glob("a_ct/*"))[:2]]:
        assert complaints(path) == []
