"""Tiles over the edge mirror the slide."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.geometry.box import Box
from slidemask.io.array import ArraySlide
from slidemask.tiles.reading import read_tile


def picture(height: int, width: int, seed: int = 0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def mirrored(index: int, length: int):
    """Return the pixel that stands at `index` when the edges are mirrors."""
    turn = index % (2 * length)
    return turn if turn < length else 2 * length - 1 - turn


@settings(deadline=None, max_examples=80)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(-30, 30), st.integers(-30, 30)),
    st.tuples(st.integers(9, 40), st.integers(9, 40)),
)
def test_every_pixel_is_its_mirror_image(
    size: tuple[int, int], corner: tuple[int, int], extent: tuple[int, int]
):
    (height, width), (rows, columns) = size, extent
    y, x = corner
    pixels = picture(height, width)
    tile = read_tile(ArraySlide("a", pixels), Box(x, y, columns, rows), 1.0)
    across = [mirrored(x + j, width) for j in range(columns)]
    down = [mirrored(y + i, height) for i in range(rows)]
    np.testing.assert_array_equal(tile, pixels[np.ix_(down, across)])


def test_inside_it_is_just_reading():
    slide = ArraySlide("a", picture(60, 80))
    box = Box(3.5, 7.25, 41, 33)
    np.testing.assert_array_equal(read_tile(slide, box, 2.7), slide.read(box, 2.7))


@pytest.mark.parametrize("downsample", [0.5, 1.0, 1.3, 4.0, 9.7])
def test_a_flat_slide_stays_flat_at_any_scale(downsample: float):
    slide = ArraySlide("flat", np.full((50, 70, 3), 77, np.uint8))
    box = Box(-30, -20, 64 * downsample, 48 * downsample)
    tile = read_tile(slide, box, downsample)
    assert tile.shape == (48, 64, 3)
    assert (tile == 77).all()


def test_a_slide_of_one_pixel_fills_the_tile():
    slide = ArraySlide("dot", np.full((1, 1, 3), 12, np.uint8))
    assert (read_tile(slide, Box(0, 0, 16, 16), 1.0) == 12).all()
    assert read_tile(slide, Box(0, 0, 64, 64), 4.0).shape == (16, 16, 3)
