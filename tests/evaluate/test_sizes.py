"""Recall of small and large objects."""

import numpy as np
import pytest
import shapely

from slidemask.base.errors import SettingsError
from slidemask.evaluate.overlaps import meet
from slidemask.evaluate.sizes import ObjectSizes, recall_by_size, sizes_of
from slidemask.geometry.annotations import Annotations


def squares(*found: tuple[float, float, float]) -> Annotations:
    polygons = [shapely.box(x, 0, x + width, height) for x, width, height in found]
    return Annotations.of(polygons, [""] * len(found))


def test_objects_are_measured_and_judged():
    truth = squares((0, 1000, 1000), (2000, 2000, 1000), (6000, 1000, 1000))
    predicted = squares((0, 600, 1000), (2000, 500, 1000), (2500, 500, 1000))
    sizes = sizes_of(meet(truth, predicted), um_per_px=0.5)
    np.testing.assert_allclose(sizes.mm2, [0.25, 0.5, 0.25])
    assert sizes.found.tolist() == [True, False, False]  # IoU .6, .25 and .25, none
    np.testing.assert_allclose(sizes.covered_mm2, [0.15, 0.25, 0])


def test_what_two_predictions_cover_twice_counts_once():
    sizes = sizes_of(meet(squares((0, 10, 10)), squares((0, 10, 10), (0, 10, 10))), um_per_px=1)
    np.testing.assert_allclose(sizes.covered_mm2, sizes.mm2)


def test_slides_add_up_into_ranges():
    one = ObjectSizes(np.array([0.1, 0.5]), np.array([True, False]), np.array([0.1, 0.2]))
    both = one + ObjectSizes(np.array([0.4]), np.array([False]), np.array([0.0])) + one.none()
    small, large = recall_by_size(both, [0.5])
    assert (small.objects, small.found, small.recall) == (2, 1, 0.5)
    assert small.pixel_recall == pytest.approx(0.2)
    assert (large.low_mm2, large.high_mm2, large.objects, large.recall) == (0.5, np.inf, 1, 0)
    empty = recall_by_size(both, [0.01, 0.5])[0]
    assert empty.objects == 0
    assert np.isnan([empty.recall, empty.pixel_recall]).all()


@pytest.mark.parametrize("groups", [1, 3, 4])
def test_without_borders_each_group_has_its_share(groups: int):
    areas = np.random.default_rng(0).permutation(np.arange(1, 121) / 10)
    sizes = ObjectSizes(areas, areas > 6, areas)
    rows = recall_by_size(sizes, groups=groups)
    assert [row.objects for row in rows] == [120 // groups] * groups
    assert (rows[0].low_mm2, rows[-1].high_mm2) == (0.1, 12)
    assert sum(row.found for row in rows) == 60
    assert rows[0].recall <= rows[-1].recall


def test_equal_areas_are_one_group_and_no_objects_none():
    same = ObjectSizes(np.full(5, 0.2), np.ones(5, bool), np.full(5, 0.2))
    (row,) = recall_by_size(same)
    assert (row.objects, row.recall) == (5, 1)
    assert recall_by_size(ObjectSizes.none()) == []


@pytest.mark.parametrize("edges", [[0.0], [0.2, 0.2], [0.3, 0.1]])
def test_borders_must_rise(edges: list[float]):
    with pytest.raises(SettingsError, match="rise"):
        recall_by_size(ObjectSizes.none(), edges)
    with pytest.raises(SettingsError, match="group"):
        recall_by_size(ObjectSizes.none(), groups=0)
