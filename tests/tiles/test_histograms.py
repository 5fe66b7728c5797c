"""Histograms of all tiles at once against those of each tile for itself."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import shannon_entropy

from slidemask.base.errors import GridError
from slidemask.io.array import ArraySlide
from slidemask.tiles import canvas as canvases
from slidemask.tiles import histograms
from slidemask.tiles.canvas import Canvas, canvas_of
from slidemask.tiles.filters import Filters, judge_tiles
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.histograms import background_shares, entropies, peak_shares, tile_counts
from slidemask.tiles.reading import read_tile


def pixels(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shade = np.linspace(5, 250, width)[None, :, None] + rng.normal(0, 9, (height, width, 3))
    return np.clip(shade, 0, 255).astype(np.uint8)


def tiles_of(canvas: Canvas) -> list[np.ndarray]:
    return [read_tile(canvas.slide, tile.box, canvas.grid.downsample) for tile in canvas.grid]


def naive(canvas: Canvas, *, pooled: bool) -> np.ndarray:
    rows = [
        np.bincount((t if pooled else cv2.cvtColor(t, cv2.COLOR_RGB2GRAY)).ravel(), minlength=256)
        for t in tiles_of(canvas)
    ]
    return np.stack(rows).reshape(*canvas.grid.shape, 256)


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.integers(2, 40),
    data=st.data(),
    pooled=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_counts_are_those_of_each_tile(
    height: int, width: int, tile: int, data: st.DataObject, pooled: bool
) -> None:
    stride = data.draw(st.integers(max(1, tile // 6), tile))
    canvas = canvas_of(pixels(height, width), tile, stride)
    np.testing.assert_array_equal(
        np.stack(list(tile_counts(canvas, pooled=pooled))), naive(canvas, pooled=pooled)
    )


@pytest.mark.parametrize("stride", [80, 32, 48, 17, 200])
def test_figures_are_those_of_each_tile(stride: int) -> None:
    canvas = canvas_of(pixels(411, 733), 200, stride)
    greys = [cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY) for tile in tiles_of(canvas)]
    shape = canvas.grid.shape
    _, found = judge_tiles(canvas, Filters(tissue=None, rails="learn"))
    bits = np.reshape([shannon_entropy(grey, 2) for grey in greys], shape)
    np.testing.assert_allclose(found, bits, atol=1e-12, rtol=0)
    counts = np.stack(list(tile_counts(canvas)))
    shares = np.reshape([np.mean((grey > 235) | (grey < 15)) for grey in greys], shape)
    np.testing.assert_array_equal(background_shares(counts), shares)
    ordered = [np.sort(np.bincount(grey.ravel(), minlength=256)) for grey in greys]
    peaks = np.reshape([each[-4:].sum() / 200**2 for each in ordered], shape)
    np.testing.assert_array_equal(peak_shares(counts, 4), peaks)


def test_more_cells_than_one_histogram_numbers() -> None:
    canvas = canvas_of(pixels(20, 700), 16, 2)
    assert canvas.grid.shape[1] > 300
    np.testing.assert_array_equal(np.stack(list(tile_counts(canvas))), naive(canvas, pooled=False))


def test_bands_higher_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(histograms, "BLOCK_ROWS", 7)
    monkeypatch.setattr(canvases, "READ_ROWS", 11)
    canvas = canvas_of(pixels(60, 50), 20, 20)
    np.testing.assert_array_equal(np.stack(list(tile_counts(canvas))), naive(canvas, pooled=False))


def test_entropies_of_huge_tiles_are_computed_not_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    counts = np.random.default_rng(0).integers(0, 90, (5, 256)) * (np.arange(256) % 3 > 0)
    looked_up = entropies(counts)
    monkeypatch.setattr(histograms, "TABLE", 1)
    np.testing.assert_allclose(entropies(counts), looked_up, atol=1e-12, rtol=0)
    shares = [c / counts[0].sum() for c in counts[0] if c]
    assert looked_up[0] == pytest.approx(-math.fsum(s * math.log2(s) for s in shares), abs=1e-12)


def test_extremes() -> None:
    assert entropies(np.full(256, 7)) == 8
    assert entropies(np.eye(256, dtype=int)[3] * 123) == 0
    assert entropies(np.zeros(256, int)) == 0
    assert peak_shares(np.eye(256, dtype=int)[3]) == 1


def test_canvas_reads_what_tiles_read_at_a_fraction() -> None:
    slide = ArraySlide("fine", pixels(303, 415))
    canvas = Canvas(slide, TileGrid(slide.size, tile=60, stride=25, downsample=2.0))
    whole = canvas[0 : canvas.size.height, 0 : canvas.size.width]
    for tile in canvas.grid:
        top, left = tile.row * 25, tile.column * 25
        np.testing.assert_array_equal(
            whole[top : top + 60, left : left + 60], read_tile(slide, tile.box, 2.0)
        )


def test_an_array_that_is_no_picture() -> None:
    with pytest.raises(GridError, match=r"\(H, W, 3\)"):
        canvas_of(np.zeros((9, 9), np.uint8), 4, 2)
