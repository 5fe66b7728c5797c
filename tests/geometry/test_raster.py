"""Polygons become masks by the centre of each pixel."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from shapely.geometry import MultiPolygon, Polygon

from slidemask.base.types import Mask
from slidemask.geometry.box import Box
from slidemask.geometry.raster import rasterise


def naive(polygon: Polygon, width: int, height: int) -> Mask:
    """Cast a ray to the left of each centre, in exact fractions."""
    mask = np.zeros((height, width), bool)
    rings = [polygon.exterior, *polygon.interiors]
    for i, j in np.ndindex(height, width):
        x, y = Fraction(2 * j + 1, 2), Fraction(2 * i + 1, 2)
        crossed = 0
        for ring in rings:
            places = [(Fraction(a), Fraction(b)) for a, b in ring.coords]
            for (xa, ya), (xb, yb) in pairwise(places):
                if (ya <= y) != (yb <= y):
                    crossed += xa + (y - ya) * (xb - xa) / (yb - ya) <= x
        mask[i, j] = crossed % 2
    return mask


@given(arrays(np.int8, (7, 2), elements=st.integers(-4, 24)))
@settings(deadline=None, max_examples=150)
def test_agrees_with_a_ray_cast_in_exact_numbers(halves):
    polygon = Polygon(halves / 2)  # whole and half numbers: many centres lie on edges and corners
    assert np.array_equal(rasterise(polygon, Box(0, 0, 9, 8)), naive(polygon, 9, 8))


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_agrees_with_shapely_at_any_origin_and_downsample(seed):
    rng = np.random.default_rng(seed)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 30))
    star = np.stack([np.cos(angles), np.sin(angles)], 1) * rng.uniform(5, 40, (30, 1)) + 50
    polygon = Polygon(star, [shapely.Point(50, 50).buffer(3).exterior.coords])
    downsample = rng.uniform(0.4, 5)
    box = Box(rng.uniform(-20, 30), rng.uniform(-20, 30), rng.uniform(20, 90), rng.uniform(20, 90))
    rows, columns = box.shape_at(downsample)
    x = box.x + (np.arange(columns) + 0.5) * downsample
    y = box.y + (np.arange(rows) + 0.5) * downsample
    if polygon.is_valid:
        expected = shapely.contains_xy(polygon, x[np.newaxis], y[:, np.newaxis])
        assert np.array_equal(rasterise(polygon, box, downsample), expected)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.5, 1.3]))
@settings(deadline=None, max_examples=60)
def test_neighbours_share_out_every_pixel(seed, downsample):
    """A fan of triangles around a pixel centre covers the square: no pixel twice, none lost."""
    rng = np.random.default_rng(seed)
    corners = [(0, 0), (12, 0), (12, 12), (0, 12)]
    middle = tuple(rng.integers(0, 25, 2) / 2)
    triangles = [Polygon([corners[k - 1], corners[k], middle]) for k in range(4)]
    triangles = [Polygon(t.exterior.coords[::-1]) if k % 2 else t for k, t in enumerate(triangles)]
    owners = np.sum([rasterise(t, Box(0, 0, 12, 12), downsample) for t in triangles], axis=0)
    assert (owners == 1).all()


def test_holes_and_parts_that_reach_beyond_the_box():
    hole = shapely.box(2, 2, 4, 4).exterior
    ring = Polygon(shapely.box(-100, -100, 100, 100).exterior, [hole])
    both = MultiPolygon([ring, shapely.box(2, 3, 3, 4)])
    expected = np.ones((6, 6), bool)
    expected[2:4, 2:4] = False
    assert np.array_equal(rasterise(ring, Box(0, 0, 6, 6)), expected)
    expected[3, 2] = True
    assert np.array_equal(rasterise(both, Box(0, 0, 6, 6)), expected)


@pytest.mark.parametrize("polygon", [Polygon(), shapely.box(50, 50, 60, 60)])
def test_nothing_in_the_box_is_an_empty_mask(polygon):
    assert not rasterise(polygon, Box(0, 0, 5, 5)).any()


def test_fifty_thousand_vertices():
    angles = np.linspace(0, 2 * np.pi, 50_000, endpoint=False)
    radius = 900 + 50 * np.sin(200 * angles)
    polygon = Polygon(np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1) + 1000)
    mask = rasterise(polygon, Box(0, 0, 2000, 2000), 2.0)
    assert mask.sum() * 4 == pytest.approx(polygon.area, rel=1e-3)
