"""A photo's halves against means of blocks, and where their parts lie."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.types import Rgb
from slidemask.post import halves as halves_module
from slidemask.post.halves import Halves


@pytest.fixture(autouse=True)
def small_photos_have_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(halves_module, "_SMALLEST_PX", 10)


def noise(height: int, width: int) -> Rgb:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


def test_pixels_of_a_half_are_means_of_four() -> None:
    levels = Halves.of(noise(48, 80)).levels
    assert [level.shape[:2] for level in levels] == [(48, 80), (24, 40), (12, 20), (6, 10)]
    for finer, half in pairwise(levels):
        blocks = finer.reshape(len(half), 2, half.shape[1], 2, 3).mean(axis=(1, 3))
        assert np.abs(half - blocks).max() <= 0.5


def test_a_last_row_and_column_without_a_partner_are_left_out() -> None:
    photo = noise(41, 61)
    halves = Halves.of(photo)
    assert halves.size == (60, 40)
    np.testing.assert_array_equal(halves.photo, photo[:40, :60])
    assert [level.shape[:2] for level in halves.levels] == [(40, 60), (20, 30), (10, 15)]
    assert Halves.of(noise(13, 17)).size == (17, 13)  # too small for halves: nothing is left out


@pytest.mark.parametrize(
    ("ratio", "number"), [(1.0, 0), (0.51, 0), (0.5, 1), (0.26, 1), (0.25, 2), (0.001, 3)]
)
def test_the_smallest_half_that_is_fine_enough_is_taken(ratio: float, number: int) -> None:
    halves = Halves.of(noise(48, 80))
    level, which = halves.shrunk(ratio)
    assert which == number
    assert level is halves.levels[number]


@given(st.tuples(*[st.integers(0, 47)] * 2), st.tuples(*[st.integers(0, 79)] * 2))
@settings(deadline=None, max_examples=40)
def test_a_part_is_the_same_place_in_every_half(
    rows: tuple[int, int], columns: tuple[int, int]
) -> None:
    (top, bottom), (left, right) = sorted(rows), sorted(columns)
    halves = Halves.of(noise(48, 80))
    part, x, y = halves.part(left, top, right + 1, bottom + 1)
    width, height = part.size
    assert left - 8 < x <= left
    assert right < x + width < right + 9
    assert top - 8 < y <= top
    assert bottom < y + height < bottom + 9
    for number, (level, whole) in enumerate(zip(part.levels, halves.levels, strict=True)):
        at = slice(y >> number, (y + height) >> number), slice(x >> number, (x + width) >> number)
        np.testing.assert_array_equal(level, whole[at])
