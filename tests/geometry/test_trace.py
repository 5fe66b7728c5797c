"""Masks become polygons along pixel edges, and masks again."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage
from shapely.geometry import Polygon

from slidemask.base.types import Mask
from slidemask.geometry.box import Box
from slidemask.geometry.raster import rasterise
from slidemask.geometry.trace import Tracer, in_reading_order, trace

flat = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=14))
busy = st.builds(
    lambda seed, share, rows, columns: np.random.default_rng(seed).random((rows, columns)) < share,
    st.integers(0, 2**32 - 1),
    st.floats(0.2, 0.9),
    st.integers(1, 14),
    st.integers(1, 14),
)
masks = flat | busy


def painted(polygons: list[Polygon], shape: tuple[int, ...]) -> Mask:
    """Count how often each pixel is inside; a valid answer is 0 or 1."""
    box = Box(0, 0, shape[1], shape[0])
    inside = sum((rasterise(p, box).astype(int) for p in polygons), np.zeros(shape, int))
    assert inside.max(initial=0) <= 1
    return inside.astype(bool)


def nested_rings() -> Mask:
    rows, columns = np.mgrid[:21, :21]
    return np.maximum(abs(rows - 10), abs(columns - 10)) % 2 == 0


CASES = {
    "empty": np.zeros((3, 4), bool),
    "full": np.ones((3, 4), bool),
    "ring": np.pad(np.zeros((3, 5), bool), 2, constant_values=True),
    "checkerboard": np.indices((7, 8)).sum(axis=0) % 2 == 0,
    "nested rings": nested_rings(),
    "touches itself": np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1]], bool),
    "holes touch": np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 1]], bool),
    "closed diagonally": np.array([[1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 1], [0, 1, 1, 1]], bool),
}


@pytest.mark.parametrize("name", CASES)
def test_known_shapes_come_back(name):
    mask = CASES[name]
    polygons = trace(mask)
    assert all(shapely.is_valid(polygons))
    assert np.array_equal(painted(polygons, mask.shape), mask)


def test_a_ring_is_one_polygon_with_one_hole():
    (ring,) = trace(CASES["ring"])
    assert ring.equals(shapely.box(0, 0, 9, 7) - shapely.box(2, 2, 7, 5))
    assert len(ring.exterior.coords) == 5


@given(masks)
@settings(deadline=None, max_examples=300)
def test_mask_to_polygons_to_mask_is_the_identity(mask):
    polygons = trace(mask)
    _, parts = ndimage.label(mask)  # pyright: ignore[reportGeneralTypeIssues] - scipy's int
    assert all(shapely.is_valid(polygons))
    assert len(polygons) == parts
    assert np.array_equal(painted(polygons, mask.shape), mask)


@given(masks)
@settings(deadline=None, max_examples=150)
def test_agrees_with_the_union_of_the_pixels(mask):
    squares = [shapely.box(j, i, j + 1, i + 1) for i, j in np.argwhere(mask)]
    assert shapely.equals(shapely.union_all(trace(mask)), shapely.union_all(squares))


@given(masks)
@settings(deadline=None, max_examples=150)
def test_no_corner_can_be_left_out(mask):
    for polygon in trace(mask):
        for ring in (polygon.exterior, *polygon.interiors):
            steps = np.diff(ring.coords, axis=0, append=[ring.coords[1]])
            turns = steps[:-1, 0] * steps[1:, 1] - steps[:-1, 1] * steps[1:, 0]
            assert (turns != 0).all()


@given(masks, st.lists(st.integers(1, 5), max_size=14))
@settings(deadline=None, max_examples=200)
def test_any_cut_into_bands_gives_the_same_polygons(mask, heights):
    tracer = Tracer(mask.shape[1], scale=1.25)
    cuts = np.cumsum(heights)
    found = [p for band in np.split(mask, cuts[cuts < len(mask)]) for p in tracer.add(band)]
    found = in_reading_order(found + tracer.finish())
    whole = [shapely.transform(p, lambda places: places * 1.25) for p in trace(mask)]
    assert [p.wkt for p in found] == [p.wkt for p in whole]


def test_finished_parts_leave_at_once():
    tracer = Tracer(6)
    band = np.array([[1, 1, 0, 0, 1, 0], [0, 0, 0, 0, 1, 0]], bool)
    assert [p.wkt for p in tracer.add(band)] == ["POLYGON ((0 0, 2 0, 2 1, 0 1, 0 0))"]
    assert tracer.add(np.ones((2, 6), bool)) == []
    assert len(tracer.finish()) == 1
