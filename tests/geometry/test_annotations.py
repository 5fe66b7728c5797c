"""Labelled polygons: gathering, choosing, painting."""

import pickle

import numpy as np
import pytest
import shapely
from shapely.geometry import MultiPolygon

from slidemask.geometry.annotations import Annotations
from slidemask.geometry.box import Box


@pytest.fixture
def regions() -> Annotations:
    squares = [shapely.box(0, 0, 6, 6), shapely.box(4, 4, 10, 10), shapely.box(20, 20, 30, 30)]
    return Annotations.of(squares, ["a", "b", "c"])


def test_later_polygons_win_and_unknown_names_are_passed_over(regions):
    labels = regions.rasterise(Box(0, 0, 10, 10), 2.0, {"a": 1, "b": 2}, fill=255)
    expected = np.full((5, 5), 255)
    expected[:3, :3] = 1
    expected[2:, 2:] = 2
    assert np.array_equal(labels, expected)
    assert labels.dtype == np.uint8
    assert not regions.rasterise(Box(0, 0, 10, 10), 2.0, {}).any()


def test_within_keeps_order_and_whole_polygons(regions):
    near = regions.within(Box(5, 5, 4, 4))
    assert near.labels == ("a", "b")
    assert near.polygons[0].equals(regions.polygons[0])
    assert len(regions.within(Box(12, 12, 2, 2))) == 0


def test_a_multipolygon_becomes_its_parts():
    pair = MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(5, 5, 6, 6)])
    gathered = Annotations.of([pair, shapely.box(8, 8, 9, 9)], ["two", "one"])
    assert gathered.labels == ("two", "two", "one")


def test_a_tile_shows_what_the_whole_picture_shows(regions):
    index = {"a": 1, "b": 2, "c": 3}
    whole = regions.rasterise(Box(0, 0, 39, 39), 1.3, index)
    part = regions.rasterise(Box(3 * 1.3, 2 * 1.3, 9 * 1.3, 20 * 1.3), 1.3, index)
    assert np.array_equal(part, whole[2:22, 3:12])


def test_pixels_that_rounding_adds_to_the_box_are_painted():
    """2.6 px at downsample 1 are read as 3 columns; the third lies half outside the box."""
    square = Annotations.of([shapely.box(2.61, 0, 4, 1)], ["a"])
    assert square.rasterise(Box(0, 0, 2.55, 1), 1.0, {"a": 1}).tolist() == [[0, 0, 0]]
    square = Annotations.of([shapely.box(1.56, 0, 4, 1)], ["a"])
    assert square.rasterise(Box(0, 0, 1.55, 1), 1.0, {"a": 1}).tolist() == [[0, 0]]
    wide = Annotations.of([shapely.box(1.9, 0, 4, 1)], ["a"])
    assert wide.rasterise(Box(0, 0, 2.5 - 0.7, 1), 1.25, {"a": 1}).tolist() == [[0]]
    assert wide.rasterise(Box(0, 0, 1.89, 1), 1.26, {"a": 1}).tolist() == [[0, 0]]


def test_travels_to_another_process(regions):
    regions.within(Box(0, 0, 1, 1))  # builds the tree
    again = pickle.loads(pickle.dumps(regions))
    assert again.within(Box(5, 5, 4, 4)).labels == ("a", "b")


def test_empty_and_unequal_lengths():
    assert len(Annotations.empty()) == 0
    assert not Annotations.empty().rasterise(Box(0, 0, 3, 3), 1.0, {"a": 1}).any()
    assert len(Annotations.of([], [])) == 0
    with pytest.raises(ValueError, match="1 polygons, but 2 labels"):
        Annotations.of([shapely.box(0, 0, 1, 1)], ["a", "b"])
    with pytest.raises(ValueError, match="have an area"):
        Annotations.of([shapely.Point(0, 0)], ["a"])  # pyright: ignore[reportArgumentType] - on purpose
