"""Pixel rules against their definitions, worked out the slow way."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pydantic import ValidationError

from slidemask.base.errors import SettingsError
from slidemask.base.types import Rgb
from slidemask.tiles.canvas import canvas_of
from slidemask.tiles.filters import (
    Filters,
    judge_tiles,
    keep_pixels,
    keep_tiles,
)
from slidemask.tiles.rails import Rails
from slidemask.tiles.reading import read_tile

tiles = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=9).map(lambda s: (*s, 3))
)


@settings(deadline=None, max_examples=80)
@given(tiles)
def test_standard_deviation_is_numpys(tile: Rgb):
    spread = float(tile.astype(float).std())
    assert keep_pixels(tile, Filters(min_std=max(0, spread - 1e-6)))
    assert not keep_pixels(tile, Filters(min_std=spread + 1e-6))


@settings(deadline=None, max_examples=80)
@given(tiles, st.integers(0, 255), st.integers(0, 255))
def test_background_share_counts_light_and_dark_grey(tile: Rgb, light: int, dark: int):
    grey = tile @ np.array([0.299, 0.587, 0.114])
    near = (np.abs(grey - light - 0.5) < 0.6) | (np.abs(grey - dark + 0.5) < 0.6)
    if dark > light or near.any():  # rounding decides there
        return
    share = float(np.mean((grey > light) | (grey < dark)))
    assert keep_pixels(tile, Filters(max_background_share=share, light=light, dark=dark))
    if share:
        less = Filters(max_background_share=share - 1e-9, light=light, dark=dark)
        assert not keep_pixels(tile, less)


@pytest.mark.parametrize(("white", "kept"), [(0.45, True), (0.55, False)])
def test_most_of_a_tile_must_not_be_background(white: float, kept: bool):
    tile = np.full((20, 20, 3), (180, 90, 150), np.uint8)
    tile.reshape(-1, 3)[: int(white * 400)] = 240
    assert keep_pixels(tile, Filters(max_background_share=0.5)) is kept
    assert keep_pixels(tile, Filters())


def test_the_rules_edges_are_those_of_the_paper():
    for value, kept in ((235, True), (236, False), (15, True), (14, False)):
        tile = np.full((4, 4, 3), value, np.uint8)
        assert keep_pixels(tile, Filters(max_background_share=0.5)) is kept


@pytest.mark.parametrize("name", ["tissue", "max_background_share", "max_common_share", "min_std"])
def test_false_switches_a_rule_off(name: str):
    assert getattr(Filters.model_validate({name: False}), name) is None
    with pytest.raises(ValidationError, match="off by false"):
        Filters.model_validate({name: True})


def test_light_and_dark_are_not_exchanged():
    with pytest.raises(ValidationError, match="light = 15 is below dark = 235"):
        Filters(light=15, dark=235)
    assert Filters(light=15, dark=15).light == 15


def test_flat_tiles_fall_to_the_standard_deviation_rule():
    rng = np.random.default_rng(0)
    for spread, kept in ((10.0, False), (16.0, True)):
        tile = np.clip(rng.normal(200, spread, (64, 64, 3)), 0, 255).astype(np.uint8)
        assert keep_pixels(tile, Filters(min_std=12.5)) is kept


def mixed(height: int, width: int, seed: int) -> Rgb:
    """Return noise whose mean and spread change from patch to patch; one patch is flat."""
    rng = np.random.default_rng(seed)
    patches = (-(-height // 16), -(-width // 16), 1)
    means, spreads = (
        np.kron(rng.uniform(*limits, patches), np.ones((16, 16, 1)))[:height, :width]
        for limits in ((5, 250), (0, 40))
    )
    noisy = means + spreads * rng.standard_normal((height, width, 3))
    noisy[:16, :16] = 240
    return noisy.clip(0, 255).astype(np.uint8)


RULES = [
    Filters(),
    Filters(max_background_share=0.3),
    Filters(max_common_share=0.2, common_values=5),
    Filters(min_std=25),
    Filters(rails=Rails(low=4, high=6.8)),
    Filters(rails=Rails(low=4, high=7), entropy="rgb"),
    Filters(rails=Rails(low=4, high=7), min_std=12.5, max_background_share=0.5),
]


@pytest.mark.parametrize("filters", RULES)
@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 99),
    size=st.tuples(st.integers(20, 90), st.integers(20, 90)),
    tile=st.integers(8, 32),
    overlap=st.floats(0, 0.85),
)
def test_a_grid_keeps_the_tiles_that_pass_one_by_one(
    filters: Filters, seed: int, size: tuple[int, int], tile: int, overlap: float
):
    canvas = canvas_of(mixed(*size, seed), tile, max(1, round(tile * (1 - overlap))))
    kept = keep_tiles(canvas, filters)
    one_by_one = [
        keep_pixels(read_tile(canvas.slide, cell.box, 1), filters) for cell in canvas.grid
    ]
    assert kept.shape == canvas.grid.shape
    assert kept.ravel().tolist() == one_by_one


def test_every_rule_drops_some_tiles_and_keeps_some():
    """Otherwise the test above would compare nothing."""
    canvas = canvas_of(mixed(90, 90, 1), 16, 8)
    shares = [keep_tiles(canvas, filters).mean() for filters in RULES]
    assert shares[0] == 1
    assert all(0 < share < 1 for share in shares[1:])


def test_rails_keep_tiles_of_middling_entropy():
    rng = np.random.default_rng(0)
    for values, kept in ((1, False), (8, True), (128, False)):  # 0, 3, 7 bits
        grey = rng.permutation(np.arange(4096) % values).reshape(64, 64).astype(np.uint8)
        tile = np.repeat(grey[..., None], 3, axis=2)
        for kind in ("grey", "rgb"):
            filters = Filters(rails=Rails(low=2, high=4), entropy=kind)
            assert keep_pixels(tile, filters) is kept


def test_entropy_of_colours_counts_all_three_channels_together():
    tile = np.full((8, 8, 3), (10, 60, 200), np.uint8)  # one grey value, three values of colour
    rails = Rails(low=1.5, high=1.6)  # log2 3 = 1.585
    assert keep_pixels(tile, Filters(rails=rails, entropy="rgb"))
    assert not keep_pixels(tile, Filters(rails=rails, entropy="grey"))


def test_few_grey_values_that_fill_a_tile_are_glass():
    grey = np.arange(100, dtype=np.uint8)
    grey[:60] = np.arange(60) % 3  # three values with 20 pixels each, and 40 single ones
    tile = np.repeat(grey.reshape(10, 10)[..., None], 3, axis=2)
    for values, most, kept in ((3, 0.6, True), (3, 0.59, False), (2, 0.4, True), (4, 0.6, False)):
        filters = Filters(max_common_share=most, common_values=values)
        assert keep_pixels(tile, filters) is kept


@pytest.mark.parametrize("rails", [False, "learn", {"low": 6.42, "high": 7.46}])
def test_rails_are_written_as_they_are_given(rails: object):
    filters = Filters.model_validate({"rails": rails})
    assert filters.model_dump()["rails"] == filters.model_dump(mode="json")["rails"] == rails
    assert Filters.model_validate_json(filters.model_dump_json()) == filters


@pytest.mark.parametrize(
    ("rails", "message"),
    [
        ({"low": 7, "high": 6}, r"rails want low and high in bits; the lower rail is above"),
        ({"low": 7}, "high: Field required"),
        ("lern", r'\{ low, high \} in bits, "learn", or false'),
        (3, '"learn", or false'),
    ],
)
def test_wrong_rails_are_told_in_one_sentence(rails: object, message: str):
    with pytest.raises(ValidationError, match=message) as error:
        Filters.model_validate({"rails": rails})
    assert error.value.error_count() == 1


def test_rails_that_nobody_learned_are_refused():
    canvas = canvas_of(mixed(32, 32, 0), 16, 16)
    filters = Filters(rails="learn")
    for keep in (
        lambda: keep_tiles(canvas, filters),
        lambda: keep_pixels(canvas[0:8, 0:8], filters),
    ):
        with pytest.raises(SettingsError, match="only a training learns them"):
            keep()
    assert np.isfinite(judge_tiles(canvas, filters)[1]).all()
