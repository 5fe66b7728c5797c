"""Pixel rules against their definitions, worked out the slow way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from slidemask.base.types import Rgb
from slidemask.tiles.filters import Filters, background_share, keep_pixels, rgb_std

tiles = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda s: (*s, 3))
)


@settings(deadline=None, max_examples=80)
@given(tiles)
def test_standard_deviation_is_numpys(tile: Rgb):
    assert rgb_std(tile) == pytest.approx(float(tile.astype(float).std()), abs=1e-6)


@settings(deadline=None, max_examples=80)
@given(tiles, st.integers(0, 255), st.integers(0, 255))
def test_background_share_counts_light_and_dark_grey(tile: Rgb, light: int, dark: int):
    grey = tile @ np.array([0.299, 0.587, 0.114])
    near = (np.abs(grey - light - 0.5) < 0.6) | (np.abs(grey - dark + 0.5) < 0.6)
    if dark > light or near.any():  # rounding decides there
        return
    assert background_share(tile, light, dark) == np.mean((grey > light) | (grey < dark))


@pytest.mark.parametrize(("white", "kept"), [(0.45, True), (0.55, False)])
def test_most_of_a_tile_must_not_be_background(white: float, kept: bool):
    tile = np.full((20, 20, 3), (180, 90, 150), np.uint8)
    tile.reshape(-1, 3)[: int(white * 400)] = 240
    assert keep_pixels(tile, Filters(max_background_share=0.5)) is kept
    assert keep_pixels(tile, Filters())


def test_the_rules_edges_are_those_of_the_paper():
    for value, share in ((235, 0.0), (236, 1.0), (15, 0.0), (14, 1.0)):
        assert background_share(np.full((4, 4, 3), value, np.uint8)) == share


def test_flat_tiles_fall_to_the_standard_deviation_rule():
    rng = np.random.default_rng(0)
    for spread, kept in ((10.0, False), (16.0, True)):
        tile = np.clip(rng.normal(200, spread, (64, 64, 3)), 0, 255).astype(np.uint8)
        assert keep_pixels(tile, Filters(min_std=12.5)) is kept
