"""Round trips on oblique, flipped and anisotropic volumes; the same anatomy gives the same view however stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from ctreasoner.errors import GeometryError
from ctreasoner.geometry import (
    AIR_HU,
    View,
    Volume,
    body_extent,
    box_of,
    digest,
    hounsfield,
    inside_fraction,
    sample,
    to_grid,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def rotation(degrees) -> np.ndarray:
    """3x3 from three angles."""
    result = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def affine_of(spacing, origin=(0, 0, 0), degrees=(0, 0, 0), order=(0, 1, 2), signs=(1, 1, 1)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = (rotation(degrees) * signs)[:, order] * np.array(spacing)
    affine[:3, 3] = origin
    return affine


def smooth(points: np.ndarray) -> np.ndarray:
    """A field of the world (mm) whose wavelengths are 150 mm and more, between -280 and 320."""
    r, a, s = np.moveaxis(np.asarray(points, float), -1, 0)
    return 20 + 150 * np.sin(r / 24) + 100 * np.cos(a / 30 + 0.3) + 50 * np.sin(s / 28)


def field_on(shape, affine) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    return smooth(index @ affine[:3, :3].T + affine[:3, 3]).astype(np.float32)


def centred(shape, affine) -> np.ndarray:
    """The affine moved so that the volume's centre is the world's."""
    affine = affine.copy()
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


AFFINES = st.builds(
    affine_of, st.tuples(*[st.floats(0.3, 8)] * 3), st.tuples(*[st.floats(-500, 500)] * 3),
    st.tuples(*[st.floats(-180, 180)] * 3), st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3))


# ---------------------------------------------------------------- volumes

@given(AFFINES, st.lists(st.tuples(*[st.floats(-1000, 1000)] * 3), min_size=1, max_size=5))
def test_world_and_index_are_exact_inverses(affine, points):
    volume = Volume(np.zeros((4, 5, 6), np.int16), affine)
    back = volume.index_to_world(volume.world_to_index(points))
    assert np.allclose(back, points, atol=1e-8)
    assert np.allclose(volume.spacing, np.linalg.norm(affine[:3, :3], axis=0))
    assert np.isclose(volume.voxel_ml, np.prod(volume.spacing) / 1000)


@given(AFFINES)
def test_extent_holds_every_voxel_edge_and_touches(affine):
    volume = Volume(np.zeros((3, 7, 5), np.int16), affine)
    corners = volume.index_to_world([[i, j, k] for i in (-0.5, 2.5) for j in (-0.5, 6.5) for k in (-0.5, 4.5)])
    lo, hi = volume.extent_ras()
    assert np.allclose(corners.min(axis=0), lo) and np.allclose(corners.max(axis=0), hi)
    assert volume.contains(volume.index_to_world([1, 3, 2])) and not volume.contains(hi + 1)


def test_identity_is_of_the_content_and_not_of_its_layout():
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    one = Volume(voxels, np.eye(4))
    assert len(one.identity) == 64
    assert one.identity == Volume(np.asfortranarray(voxels), np.eye(4) + 1e-9, name="other").identity
    assert one.identity == Volume(voxels.astype(">i2"), np.eye(4)).identity
    assert one.identity == Volume(voxels.astype(np.int64), np.eye(4)).identity
    assert one.identity != Volume(voxels + np.int16(1), np.eye(4)).identity
    assert one.identity != Volume(voxels, affine_of((1, 1, 2))).identity
    assert one.identity != Volume(voxels.reshape(4, 3, 5), np.eye(4)).identity


def test_numbers_become_int16_only_without_loss():
    assert hounsfield(np.array([-32768, 32767])).dtype == np.int16
    assert hounsfield(np.array([40000])).dtype == np.float32
    assert hounsfield(np.array([0.5])).dtype == np.float32
    for wrong in (np.array(["a"]), np.array([True]), np.array([1j])):
        with pytest.raises(GeometryError):
            hounsfield(wrong)


def test_voxels_cannot_be_changed_behind_the_identity():
    voxels = np.zeros((3, 3, 3), np.int16)
    volume = Volume(voxels, np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        volume.voxels[0, 0, 0] = 1
    voxels[0, 0, 0] = 1  # the caller's own array stays the caller's


def sheared(amount):
    affine = np.eye(4)
    affine[0, 1] = amount
    return affine


@pytest.mark.parametrize("affine", [
    np.eye(3), np.zeros((4, 4)), np.full((4, 4), np.nan), sheared(0.1), sheared(5e-3), np.diag([1, 1, 0.0, 1]),
    np.diag([1, 1, 1, 2.0]), np.diag([1e-4, 1e-4, 1e-4, 1]), np.diag([700, 700, 700, 1.0]), np.diag([np.inf, 1, 1, 1])])
def test_affines_that_make_no_sense_are_refused(affine):
    with pytest.raises(GeometryError) as caught:
        Volume(np.zeros((3, 3, 3), np.int16), affine)
    assert caught.value.code.startswith("CTR-GEO-")


def test_rounding_of_stored_direction_cosines_is_no_shear():
    Volume(np.zeros((3, 3, 3), np.int16), np.round(affine_of((0.7, 0.7, 3), degrees=(11, -7, 3)), 4))


@pytest.mark.parametrize("shape", [(3, 3), (3, 3, 3, 1), (0, 3, 3)])
def test_shapes_that_are_no_volume_are_refused(shape):
    with pytest.raises(GeometryError):
        Volume(np.zeros(shape, np.int16), np.eye(4))


# ---------------------------------------------------------------- views

def test_a_views_edges_and_affine_agree():
    view = View(centre_ras=(10, -20, 30), shape=(96, 64, 48), spacing_mm=(2, 3, 4))
    assert np.allclose(view.lo, [-86, -116, -66]) and np.allclose(view.hi, [106, 76, 126])
    assert np.allclose(view.affine @ [-0.5, -0.5, -0.5, 1], [*view.lo, 1])
    assert np.allclose(view.affine @ [95.5, 63.5, 47.5, 1], [*view.hi, 1])
    assert np.isclose(view.axis(1)[3], (view.affine @ [0, 3, 0, 1])[1])


@pytest.mark.parametrize("wrong", [{"shape": (96, 96, 90)}, {"shape": (0, 16, 16)}, {"spacing_mm": (1, -1, 1)},
                                   {"centre_ras": (0, float("nan"), 0)}])
def test_views_that_make_no_sense_are_refused(wrong):
    with pytest.raises(GeometryError):
        View(**({"centre_ras": (0, 0, 0), "shape": (96, 96, 96), "spacing_mm": (1, 1, 1)} | wrong))


BOXES = st.tuples(st.tuples(*[st.floats(-300, 300)] * 3), st.tuples(*[st.floats(0, 500)] * 3))


@given(BOXES, st.floats(0, 30), st.floats(0.7, 4), st.floats(0.4, 5))
def test_a_view_around_a_box_holds_it_and_keeps_the_budget(box, margin, floor, native):
    lo = np.array(box[0])
    hi = lo + box[1]
    view = View.around(lo, hi, margin, spacing_floor=floor, native=(native, native, 5.0))
    assert np.all(view.lo <= lo - margin + 1e-6) and np.all(view.hi >= hi + margin - 1e-6)
    assert np.prod(view.shape) <= 1.15 * 96**3 and min(view.shape) >= 48
    assert view.spacing_mm[0] >= max(floor, native) - 1e-9 and len(set(view.spacing_mm)) == 1
    assert np.allclose(np.array(view.centre_ras) % 4, 0)


def test_two_nearly_equal_boxes_see_the_same_view():
    one = View.around((0, 0, 0), (60, 70, 80), 6.0, spacing_floor=2, native=1)
    assert one == View.around((0.4, -0.3, 0.2), (60.3, 69.8, 80.4), 6.0, spacing_floor=2, native=1)


def test_margins_may_differ_per_face():
    view = View.around((0, 0, 0), (200, 200, 200), [[0, 100], [0, 0], [50, 50]], spacing_floor=1, native=1)
    assert view.hi[0] >= 300 and view.lo[2] <= -50
    with pytest.raises(GeometryError):
        View.around((0, 0, 0), (-1, 5, 5), spacing_floor=1, native=1)


def a_body(affine=None, shape=(128, 128, 60)) -> Volume:
    voxels = np.full(shape, -1000, np.int16)
    voxels[30:100, 40:90, 5:55] = 40
    voxels[2, 3, :] = 500  # a wire
    return Volume(voxels, centred(shape, affine_of((3, 3, 5)) if affine is None else affine))


def test_the_whole_view_holds_the_body_and_not_the_air():
    volume = a_body()
    view = View.whole(volume)
    lo, hi = volume.index_to_world([[29.5, 39.5, 4.5], [99.5, 89.5, 54.5]])
    assert np.all(view.lo <= lo) and np.all(view.hi >= hi)
    assert np.prod(view.shape) <= 96**3 and view.spacing_mm[0] == 5.0
    assert np.all(view.size_mm < np.maximum((hi - lo) + 16 * 5 + 30, 64 * 5 + 1))
    assert np.allclose(np.array(view.centre_ras) % 4, 0)


def test_the_whole_view_gets_coarser_for_a_long_scan():
    view = View.whole(Volume(np.zeros((60, 60, 300), np.int16), np.diag([8, 8, 6, 1.0])))
    assert view.spacing_mm[0] > 5 and np.prod(view.shape) <= 96**3
    assert np.all(view.size_mm >= [480, 480, 1800])


def test_a_scan_of_air_and_a_tiny_crop_have_a_whole_view():
    air = Volume(np.full((20, 20, 20), -1000, np.int16), np.diag([5, 5, 5, 1.0]))
    assert np.allclose(body_extent(air), air.extent_ras())
    tiny = View.whole(Volume(np.zeros((16, 16, 3), np.int16), np.eye(4)))
    assert tiny.shape == (64, 64, 64)


# ---------------------------------------------------------------- resampling

def stored_ways():
    return [(order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)]


@pytest.mark.parametrize(("spacing", "size"), [(5.0, 48), (1.3, 48)])
def test_the_same_anatomy_gives_the_same_view_however_it_is_stored(spacing, size):
    rng = np.random.default_rng(3)
    plain = rng.normal(0, 300, (50, 41, 23)).astype(np.float32)
    affine = affine_of((1.7, 2.1, 4.9), (-41.3, -38.2, -50.1))
    view = View(centre_ras=(0, 4, 0), shape=(size,) * 3, spacing_mm=(spacing,) * 3)
    expected = sample(Volume(plain, affine), view)
    logits = to_grid(expected, view, Volume(plain, affine))
    for order, signs in stored_ways():
        flips = tuple(slice(None, None, s) for s in signs)
        turned = plain[flips].transpose(order)
        matrix = affine.copy()
        for a, s in enumerate(signs):
            if s < 0:
                matrix[:3, 3] += matrix[:3, a] * (plain.shape[a] - 1)
                matrix[:3, a] *= -1
        matrix[:3, :3] = matrix[:3, order]
        volume = Volume(np.ascontiguousarray(turned) if signs[0] > 0 else turned, matrix)
        assert np.abs(sample(volume, view) - expected).max() < 1e-3
        array, first = to_grid(expected, view, volume)
        whole = np.zeros(plain.shape, np.float32)[flips].transpose(order).copy()
        whole[tuple(slice(f, f + n) for f, n in zip(first, array.shape, strict=True))] = array
        back = whole.transpose(np.argsort(order))[flips]
        part = tuple(slice(f, f + n) for f, n in zip(logits[1], logits[0].shape, strict=True))
        assert np.abs(back[part] - logits[0]).max() < 1e-3


OBLIQUE = [((1.2, 1.4, 3.0), (0, 0, 0)), ((1.2, 1.4, 3.0), (12, -20, 33)), ((2.0, 2.0, 2.0), (0, 0, 8)),
           ((0.9, 0.9, 5.0), (90, 3, 180))]


@pytest.mark.parametrize(("spacing", "degrees"), OBLIQUE)
@pytest.mark.parametrize("fine", [1.0, 3.0])
def test_a_smooth_field_survives_sample_and_to_grid(spacing, degrees, fine):
    shape = tuple(int(200 / s) for s in spacing)
    affine = centred(shape, affine_of(spacing, degrees=degrees))
    volume = Volume(field_on(shape, affine), affine)
    view = View(centre_ras=(4, -8, 0), shape=(48, 48, 48), spacing_mm=(fine,) * 3)
    seen = sample(volume, view)
    truth = field_on(view.shape, view.affine)
    centre = tuple(slice(int(24 - 50 / fine), int(24 + 50 / fine)) if fine > 2 else slice(None) for _ in range(3))
    assert np.abs(seen - truth)[centre].max() < 3.0  # of 600: half a voxel of blur at a wavelength of 150 mm
    array, first = to_grid(seen, view, volume, (-40, -40, -40), (40, 40, 40))
    assert min(array.shape) > 5
    expected = volume.voxels[tuple(slice(f, f + n) for f, n in zip(first, array.shape, strict=True))]
    index = np.argwhere(np.ones(array.shape, bool)) + first
    world = volume.index_to_world(index).reshape(*array.shape, 3)
    inside = np.all((world > -18) & (world < 14), axis=-1)  # in every view tested, away from its edge
    assert inside.sum() > 500
    assert np.abs(array - expected)[inside].max() < 6.0


@settings(max_examples=15, deadline=None)
@given(st.tuples(*[st.floats(-30, 30)] * 3), st.floats(0.6, 6))
def test_positions_are_right_to_a_hundredth_of_a_voxel(degrees, spacing):
    """A linear field has no blur: what is left is a shift."""
    shape = (40, 30, 20)
    affine = centred(shape, affine_of((2.0, 2.5, 4.0), degrees=degrees))
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ affine[:3, :3].T + affine[:3, 3]
    volume = Volume((world @ [3.0, -2.0, 1.0]).astype(np.float32), affine)
    view = View(centre_ras=(0, 0, 0), shape=(16, 16, 16), spacing_mm=(min(spacing, 1.2),) * 3)
    grid = np.stack(np.meshgrid(*[view.axis(w) for w in range(3)], indexing="ij"), -1)
    assert np.abs(sample(volume, view) - grid @ [3.0, -2.0, 1.0]).max() < 0.02
    array, first = to_grid((grid @ [3.0, -2.0, 1.0]).astype(np.float32), view, volume, fill=-999)
    there = world[tuple(slice(f, f + n) for f, n in zip(first, array.shape, strict=True))]
    inner = np.all(np.abs(there) < view.hi - view.spacing_mm[0], axis=-1)
    assert np.abs(array - there @ [3.0, -2.0, 1.0])[inner].max(initial=0) < 0.02
    outside = np.any(np.abs(there) > view.hi + 1e-3, axis=-1)
    assert np.all(array[outside] == -999)


def test_the_average_of_a_view_is_the_average_of_the_scan():
    """Area averaging neither loses nor invents density: noise is averaged over all voxels, not picked from some."""
    rng = np.random.default_rng(0)
    voxels = rng.normal(100, 400, (160, 160, 40)).astype(np.int16)
    view = View(centre_ras=(0, 0, 0), shape=(32, 32, 16), spacing_mm=(5, 5, 5))
    volume = Volume(voxels, centred(voxels.shape, affine_of((1, 1, 2.5))))
    seen = sample(volume, view)[4:-4, 4:-4, 4:-4]
    assert abs(seen.mean() - 100) < 3
    assert seen.std() < 1.5 * 400 / np.sqrt(5 * 5 * 2)
    tilted = Volume(voxels, centred(voxels.shape, affine_of((1, 1, 2.5), degrees=(0, 0, 20))))
    assert sample(tilted, view)[10:-10, 10:-10, 4:-4].std() < 1.5 * 400 / np.sqrt(5 * 5 * 2)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (0, 0, 30)])
def test_outside_the_scan_is_air(degrees):
    volume = Volume(np.full((20, 20, 20), 50, np.int16), centred((20, 20, 20), affine_of((2, 2, 2), degrees=degrees)))
    view = View(centre_ras=(0, 0, 0), shape=(48, 48, 48), spacing_mm=(2, 2, 2))
    seen = sample(volume, view)
    inside = np.isclose(seen, 50)
    assert np.all(inside | (seen == AIR_HU))
    assert abs(inside.mean() - (20 / 48) ** 3) < 0.003
    assert inside_fraction(volume, view) == pytest.approx(inside.mean(), abs=1e-9)
    far = View(centre_ras=(400, 0, 0), shape=(48, 48, 48), spacing_mm=(2, 2, 2))
    assert np.all(sample(volume, far) == AIR_HU) and inside_fraction(volume, far) == 0
    array, _ = to_grid(seen, far, volume)
    assert array.size == 0


def test_padding_below_air_is_air():
    volume = Volume(np.full((20, 20, 20), -2048, np.int16), np.eye(4))
    assert sample(volume, View(centre_ras=(8, 8, 8), shape=(16, 16, 16), spacing_mm=(1, 1, 1))).min() == AIR_HU


def test_to_grid_returns_the_crop_that_was_asked_for():
    volume = Volume(np.zeros((100, 100, 50), np.int16), centred((100, 100, 50), affine_of((1, 1, 2))))
    view = View(centre_ras=(0, 0, 0), shape=(48, 48, 48), spacing_mm=(4, 4, 4))
    array, first = to_grid(np.ones(view.shape, np.float32), view, volume, (-10.2, -5, -3), (10.2, 5, 4))
    assert first == (40, 45, 23) and array.shape == (20, 10, 4) and array.dtype == np.float32
    assert np.allclose(array, 1)
    whole, first = to_grid(np.ones(view.shape, np.float32), view, volume)
    assert whole.shape == volume.shape and first == (0, 0, 0)
    with pytest.raises(GeometryError):
        to_grid(np.ones((2, 2, 2), np.float32), view, volume)


# ---------------------------------------------------------------- boxes, digests

@settings(max_examples=30, deadline=None)
@given(AFFINES, st.integers(0, 10**6))
def test_the_box_of_a_mask_is_the_box_of_its_voxels_corners(affine, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((5, 6, 4)) < 0.1
    mask[2, 3, 1] = True
    volume = Volume(np.zeros((20, 20, 20), np.int16), affine)
    centre, size = box_of(mask, (7, 3, 9), volume)
    offsets = np.array(list(product((-0.5, 0.5), repeat=3)))
    corners = volume.index_to_world((np.argwhere(mask)[:, None] + (7, 3, 9) + offsets).reshape(-1, 3))
    assert np.allclose(corners.min(axis=0), centre - size / 2) and np.allclose(corners.max(axis=0), centre + size / 2)


def test_an_empty_mask_has_no_box():
    with pytest.raises(GeometryError):
        box_of(np.zeros((3, 3, 3)), (0, 0, 0), Volume(np.zeros((3, 3, 3), np.int16), np.eye(4)))


def test_a_digest_tells_values_shape_and_type_apart():
    a = np.arange(6, dtype=np.float32)
    assert len(digest(a)) == 16 and digest(a) == digest(a.copy()) == digest(a.reshape(2, 3).T.T.ravel())
    assert len({digest(a), digest(a.reshape(2, 3)), digest(a.astype(np.float64)), digest(a + 1)}) == 4
