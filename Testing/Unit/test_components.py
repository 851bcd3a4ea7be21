"""Parts by runs are those of scipy's labelling, whatever the mask looks like."""

from __future__ import annotations

import numpy as np
import pytest
from ctreasoner.components import Components
from scipy import ndimage


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two labellings of the same voxels group them alike."""
    pairs = set(zip(a.tolist(), b.tolist(), strict=True))
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


@pytest.mark.parametrize("shape", [(7, 9, 30), (30, 7, 9), (9, 30, 7), (5, 5, 5), (1, 1, 12), (1, 6, 1)])
@pytest.mark.parametrize("share", [0.0, 0.15, 0.35, 0.6, 1.0])
@pytest.mark.parametrize("order", ["C", "F"])
def test_parts_are_those_of_scipy(shape, share, order):
    rng = np.random.default_rng(int(share * 100) + sum(shape))
    mask = np.asarray(rng.random(shape) < share, order=order)
    labels, count = ndimage.label(mask)
    found = Components(mask)
    assert len(found.sizes) == count and found.sizes.sum() == mask.sum()
    where = np.argwhere(mask)
    parts = np.array([found.part_at(tuple(p)) for p in where], int)
    assert same_partition(parts, labels[mask])
    assert sorted(found.sizes) == sorted(np.bincount(labels[mask])[1:])
    other = rng.random(shape) < 0.5
    assert np.array_equal(found.shared(other), np.bincount(parts[other[mask]], minlength=count))
    for part in range(min(count, 3)):
        assert np.array_equal(found.keep([part]), labels == labels[tuple(where[parts == part][0])])
    assert np.array_equal(found.keep(range(count)), mask)


def test_a_spiral_is_one_part():
    mask = np.zeros((21, 21, 4), bool)
    for ring in range(0, 10, 2):
        mask[ring:21 - ring, ring], mask[ring:21 - ring, 20 - ring] = True, True
        mask[ring, ring:21 - ring], mask[20 - ring, ring:21 - ring] = True, True
        if ring:
            mask[ring - 1, 10] = True
    assert len(Components(mask).sizes) == ndimage.label(mask)[1] == 1


def test_outside_of_the_mask_there_is_no_part():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 1, 1:3] = True
    found = Components(mask)
    assert found.part_at((1, 1, 2)) == 0
    assert found.part_at((0, 0, 0)) is None and found.part_at((1, 1, 9)) is None and found.part_at((-3, 1, 1)) is None
