"""What a figure says of itself."""

import math

import pytest

from slidemask.evaluate.figures import (
    ALL_TILES,
    MEAN_OF_SLIDES,
    POOLED,
    SLIDE,
    Figure,
    find,
    written,
)


def test_a_figure_says_level_average_number_and_what_was_left_out():
    text = str(Figure("mcc", "gland", 0.5, MEAN_OF_SLIDES, 7, 2, ALL_TILES, 0.25, 0.75))
    assert (
        text == "MCC of gland: 0.500 [0.250, 0.750] (all tiles, mean of slides, n = 7, 2 left out)"
    )


def test_without_interval_it_shows_none_and_nan_is_a_dash():
    assert str(Figure("dice", "a", 0.5, POOLED, 1)) == "Dice of a: 0.500 (slide, pooled, n = 1)"
    assert str(Figure("dice", "a", math.nan, POOLED, 0)) == "Dice of a: – (slide, pooled, n = 0)"


def test_amounts_have_units_and_numbers_none():
    distance = Figure("object hausdorff", "a", 41.26, POOLED, 3, low=9.0, high=160.4, unit="µm")
    assert str(distance).startswith("object Hausdorff of a: 41.3 [9, 160] µm (")
    assert written(12, "objects in truth", "") == "12"
    assert written(1, "dice", "") == "1.000"


def test_find_tells_levels_apart():
    slide = Figure("dice", "a", 0.5, POOLED, 1)
    tiles = Figure("dice", "a", 0.9, POOLED, 1, level=ALL_TILES)
    assert find([tiles, slide], "dice", POOLED, "a") is slide
    assert find([slide, tiles], "dice", POOLED, "a", level=ALL_TILES) is tiles


def test_asking_for_a_figure_that_is_not_there_says_which():
    with pytest.raises(KeyError, match=f"no figure 'auc' of 'a' as 'pooled' at level '{SLIDE}'"):
        find([], "auc", POOLED, "a")
