import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.io.naive import area_mean, block_means, centroid

from slidemask.base.errors import SettingsError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size
from slidemask.io import resample
from slidemask.io.array import ArraySlide
from slidemask.io.resample import level_for, levels_of, resampled


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pyramid(pixels, factors):
    """Levels and a fetch that notes which level it was asked for."""
    stored = [block_means(pixels, factor) if factor > 1 else pixels for factor in factors]
    asked = []

    def fetch(level, window) -> Rgb:
        asked.append(level)
        x, y, width, height = window
        whole = stored[level].shape
        assert x >= 0
        assert y >= 0
        assert x + width <= whole[1]
        assert y + height <= whole[0]
        return stored[level][y : y + height, x : x + width]

    return levels_of([Size(a.shape[1], a.shape[0]) for a in stored]), fetch, asked


@settings(deadline=None, max_examples=60)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    corner=st.tuples(st.floats(-15, 40), st.floats(-15, 40)),
    extent=st.tuples(st.floats(0.5, 50), st.floats(0.5, 50)),
    downsample=st.floats(1, 9),
)
def test_every_pixel_is_the_mean_of_what_it_covers(size, corner, extent, downsample):
    slide = ArraySlide("a", noise(*size))
    box = Box(*corner, *extent)
    found = slide.read(box, downsample)
    expected = area_mean(slide.pixels, box, downsample)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 0.51


@settings(deadline=None, max_examples=30)
@given(
    downsample=st.one_of(st.floats(0.3, 9), st.sampled_from([1.0, 2.0, 4.0])),
    tile=st.integers(3, 17),
    value=st.integers(0, 255),
)
def test_tiles_fit_together(downsample, tile, value):
    slide = ArraySlide("a", noise(70, 90, value))
    canvas = slide.size.at(downsample)
    whole = slide.read(Box(0, 0, canvas.width * downsample, canvas.height * downsample), downsample)
    for i in range(0, canvas.height - tile + 1, tile):
        for j in range(0, canvas.width - tile + 1, tile):
            side = tile * downsample
            part = slide.read(Box(j * downsample, i * downsample, side, side), downsample)
            difference = part.astype(int) - whole[i : i + tile, j : j + tile]
            assert np.abs(difference).max() <= 1


@settings(deadline=None, max_examples=40)
@given(value=st.integers(0, 255), downsample=st.floats(0.2, 40), x=st.floats(0, 9))
def test_a_constant_picture_stays_constant(value, downsample, x):
    pixels = np.full((120, 130, 3), value, np.uint8)
    levels, fetch, _ = pyramid(pixels, [1, 4, 16])
    read = resampled(levels, fetch, Box(x, x / 2, 110, 100), downsample)
    inside = read[: int(100 / downsample), : int(110 / downsample)]
    assert (inside == value).all()


@pytest.mark.parametrize("downsample", [1, 1.5, 2, 3.7, 4, 4.0003, 5.2, 8, 11.3, 16, 21])
@pytest.mark.parametrize("at", [(20.0, 33.0), (171.0, 141.0), (60.5, 90.25)])
def test_a_pattern_keeps_its_place_at_any_scale(downsample, at):
    pixels = np.full((191, 203, 3), 255, np.uint8)  # neither side a multiple of the levels' scales
    y, x = np.mgrid[:191, :203] + 0.5
    pixels[np.hypot(x - at[0], y - at[1]) < 17] = 30
    true = centroid(pixels)
    levels, fetch, _ = pyramid(pixels, [1, 4, 16])
    found = centroid(resampled(levels, fetch, Box(0, 0, 240, 230), downsample))
    for seen, expected in zip(found, true, strict=True):
        assert abs(seen * downsample - expected) < 0.5 * downsample * 0.2  # a fifth of the promise


def test_whole_factors_give_exact_block_means():
    slide = ArraySlide("a", noise(60, 80))
    for factor in (2, 4, 5):
        read = slide.read(Box(0, 0, 80, 60), factor)
        assert np.abs(read.astype(int) - block_means(slide.pixels, factor)).max() <= 1
        blocks = slide.pixels.reshape(60 // factor, factor, 80 // factor, factor, 3)
        assert np.abs(read - blocks.mean((1, 3))).max() <= 0.5


def test_level_0_is_left_alone_where_a_coarser_level_serves():
    levels, fetch, asked = pyramid(noise(128, 128), [1, 4, 16])
    for downsample in (1, 3.9, 3.9999, 4, 15, 16.2, 300):
        resampled(levels, fetch, Box(0, 0, 128, 128), downsample)
    assert asked == [0, 0, 1, 1, 1, 2, 2]


def test_coarse_levels_give_what_level_0_gives():
    pixels = noise(160, 160)
    levels, fetch, _ = pyramid(pixels, [1, 4])
    box = Box(8.4, 13.7, 120, 96)
    assert np.abs(resampled(levels, fetch, Box(8, 12, 120, 96), 8) - area_mean(
        pixels, Box(8, 12, 120, 96), 8)).max() <= 1  # fmt: skip
    smooth = np.repeat(np.add.outer(np.arange(160), np.arange(160))[..., None] // 2, 3, axis=2)
    levels, fetch, _ = pyramid(smooth.astype(np.uint8), [1, 4])
    assert np.abs(resampled(levels, fetch, box, 5.3) - area_mean(smooth, box, 5.3)).max() <= 1.5


def test_finer_than_level_0_is_linear():
    ramp = np.repeat(np.tile(np.arange(0, 200, 4, dtype=np.uint8), (20, 1))[..., None], 3, axis=2)
    read = ArraySlide("a", ramp).read(Box(10.3, 5, 20, 5), 0.25)[0, :, 0].astype(float)
    centres = 10.3 + (np.arange(80) + 0.5) * 0.25
    assert np.abs(read - 4 * (centres - 0.5)).max() <= 0.51


def test_outside_is_white():
    slide = ArraySlide("black", np.zeros((10, 10, 3), np.uint8))
    for box in (Box(100, 3, 5, 5), Box(-50, -60, 20, 20), Box(3, 10, 5, 5)):
        for downsample in (0.5, 1, 1.7):
            assert (slide.read(box, downsample) == 255).all()
    edge = slide.read(Box(8, 0, 4, 2), 1)
    assert (edge[:, :2] == 0).all()
    assert (edge[:, 2:] == 255).all()
    assert slide.read(Box(9.25, 0, 1, 1), 1)[0, 0, 0] == round(255 * 0.25)


def test_large_boxes_are_read_in_strips(monkeypatch):
    slide = ArraySlide("a", noise(97, 83))
    box = Box(-3.2, -7.7, 90, 120)
    whole = slide.read(box, 2.3)
    monkeypatch.setattr(resample, "STRIP_PX", 1000)
    monkeypatch.setattr(resample, "_STRIP_ROWS", 8)
    assert np.abs(slide.read(box, 2.3).astype(int) - whole).max() <= 1


def test_slices_of_a_strip_are_as_the_strip(monkeypatch):
    slide = ArraySlide("a", noise(97, 83))
    boxes = Box(-3.2, -7.7, 90, 120), Box(0, 80.5, 97, 30)  # the second ends below the slide
    whole = [slide.read(box, 2.3) for box in boxes]
    monkeypatch.setattr(resample, "_SLICE_PX", 500)
    for box, pixels in zip(boxes, whole, strict=True):
        np.testing.assert_array_equal(slide.read(box, 2.3), pixels)


@pytest.mark.parametrize(("strip_px", "most"), [(1, 300 // 50 + 1), (1 << 30, 1)])
def test_strips_are_as_high_as_tiles_at_least(monkeypatch, strip_px, most):
    """A level whose row of tiles no store can hold is not decoded again for each row of pixels."""
    monkeypatch.setattr(resample, "STRIP_PX", strip_px)
    monkeypatch.setattr(resample, "_STRIP_ROWS", 50)
    pixels, heights = noise(300, 400), list[int]()

    def fetch(_, window) -> Rgb:
        heights.append(window.height)
        return pixels[window.y : window.y + window.height, window.x : window.x + window.width]

    resample.resampled(levels_of([Size(400, 300)]), fetch, Box(0, 0, 400, 300), 2.5)
    assert len(heights) <= most
    assert sum(heights) >= 300


@pytest.mark.parametrize(
    ("sizes", "scales"),
    [
        ([(20014, 15177), (5004, 3795), (1251, 949), (313, 238)], [1, 4, 16, 64]),
        ([(4443, 3567), (2221, 1783)], [1, 2]),
        ([(300, 250), (150, 125), (75, 62), (37, 31)], [1, 2, 4, 8]),
        ([(1000, 900), (100, 90)], [1, 10]),
        ([(1000, 1000), (400, 400)], [1, 2.5]),
    ],
)
def test_scales_come_from_whole_factors_where_there_is_one(sizes, scales):
    assert [level.downsample for level in levels_of([Size(*s) for s in sizes])] == scales


def test_a_level_that_lost_its_begun_pixel_lends_its_last():
    pixels = np.full((9, 9, 3), 80, np.uint8)
    stored = [pixels, pixels[:2, :2]]  # 9 // 4
    levels = levels_of([Size(9, 9), Size(2, 2)])
    read = resampled(
        levels,
        lambda n, w: stored[n][w.y : w.y + w.height, w.x : w.x + w.width],
        Box(0, 0, 12, 12),
        4,
    )
    assert levels[1].downsample == 4
    assert (read[:2, :2] == 80).all()
    assert read[0, 2, 0] == round(255 - 175 / 4)  # one of four columns is slide


def test_levels_out_of_order_do_no_harm():
    levels = levels_of([Size(800, 800), Size(50, 50), Size(200, 200)])
    assert [level_for(levels, d) for d in (1, 4, 16)] == [0, 2, 1]


@pytest.mark.parametrize("downsample", [0, -1, float("nan"), float("inf")])
def test_impossible_scales_are_refused(downsample):
    with pytest.raises(SettingsError, match="downsample"):
        ArraySlide("a", noise(4, 4)).read(Box(0, 0, 4, 4), downsample)


def test_empty_boxes_are_refused():
    with pytest.raises(SettingsError, match="positive"):
        ArraySlide("a", noise(4, 4)).read(Box(0, 0, 0, 4))
