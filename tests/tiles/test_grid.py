"""A grid leaves nothing out and never drifts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.errors import GridError, ResolutionUnknownError
from slidemask.geometry.box import Size
from slidemask.io.array import ArraySlide
from slidemask.tiles.grid import TileGrid, Tiling, lay_grid

quick = settings(deadline=None, max_examples=60)


@st.composite
def grids(draw: st.DrawFn):
    tile = draw(st.integers(6, 60))
    return TileGrid(
        Size(draw(st.integers(1, 300)), draw(st.integers(1, 300))),
        tile,
        draw(st.integers(max(1, tile // 4), tile)),
        draw(st.sampled_from([0.5, 1.0, 1.3, 2.0, 3.7, 10.01])),
    )


@quick
@given(grids())
def test_every_canvas_pixel_is_seen_and_no_tile_is_in_vain(grid: TileGrid):
    seen = np.zeros((grid.canvas.height, grid.canvas.width), int)
    for tile in grid:
        top, left = round(tile.box.y / grid.downsample), round(tile.box.x / grid.downsample)
        part = seen[top : top + grid.tile, left : left + grid.tile]
        assert part.size, "a tile that shows nothing of the slide"
        part += 1
    assert seen.min() >= 1
    assert seen.max() <= (-(-grid.tile // grid.stride)) ** 2


@quick
@given(grids())
def test_tiles_are_numbered_by_rows_and_stand_where_row_and_column_say(grid: TileGrid):
    rows, columns = grid.shape
    assert len(grid) == rows * columns
    assert [tile.number for tile in grid] == list(range(rows * columns))
    assert [(tile.row, tile.column) for tile in grid] == list(np.ndindex(rows, columns))
    for tile in list(grid)[:: max(1, len(grid) // 50)]:
        assert tile.box.shape_at(grid.downsample) == (grid.tile, grid.tile)
        # Worked out from the start, not by adding up steps, so that errors do not add up either.
        assert tile.box.x == pytest.approx(tile.column * grid.stride * grid.downsample, rel=1e-12)


@quick
@given(st.integers(1, 2000), st.integers(1, 64), st.integers(1, 64))
def test_count_is_the_least_that_reaches_the_end(length: int, tile: int, stride: int):
    stride = min(tile, stride)
    count = TileGrid(Size(length, 1), tile, stride).shape[1]
    assert (count - 1) * stride + tile >= length
    assert count == 1 or (count - 2) * stride + tile < length


def test_a_fractional_downsample_does_not_drift_over_a_whole_slide():
    grid = TileGrid(Size(150_000, 600), 512, 410, 1 / 0.526036)
    last = [grid[number] for number in range(grid.shape[1])][-1]
    assert last.box.x * 0.526036 / 410 == pytest.approx(last.column, abs=1e-9)
    assert last.box.x + last.box.width >= 150_000 > last.box.x


@pytest.mark.parametrize(
    ("asked", "downsample"),
    [
        ({"mpp": 1.0}, 4.0),
        ({"magnification": 5}, 8.0),
        ({"downsample": 2.5}, 2.5),
        ({"longest_side_px": 400}, 2.5),
    ],
)
def test_four_ways_to_say_a_resolution(asked: dict[str, Any], downsample: float):
    slide = ArraySlide("a", np.zeros((600, 1000, 3), np.uint8), mpp=0.25)
    grid = lay_grid(slide, Tiling(tile_px=64, overlap=0.25, **asked))
    assert grid.downsample == pytest.approx(downsample)
    assert (grid.tile, grid.stride, grid.slide) == (64, 48, slide.size)


def test_a_small_slide_is_not_enlarged_to_a_longest_side():
    slide = ArraySlide("a", np.zeros((60, 100, 3), np.uint8))
    assert lay_grid(slide, Tiling(longest_side_px=5000)).downsample == 1.0


def test_a_physical_resolution_needs_a_pixel_size():
    slide = ArraySlide("bare", np.zeros((60, 100, 3), np.uint8))
    with pytest.raises(ResolutionUnknownError, match="--mpp"):
        lay_grid(slide, Tiling(mpp=1.0))


@pytest.mark.parametrize("asked", [{}, {"mpp": 1, "magnification": 10}])
def test_exactly_one_resolution_must_be_given(asked: dict[str, Any]):
    with pytest.raises(ValueError, match="exactly one"):
        Tiling(**asked)


@pytest.mark.parametrize(
    ("tile", "stride", "downsample", "size"),
    [(8, 9, 1, (5, 5)), (8, 0, 1, (5, 5)), (0, 0, 1, (5, 5)), (8, 8, 0, (5, 5)), (8, 8, 1, (0, 5))],
)
def test_impossible_grids_are_refused(
    tile: int, stride: int, downsample: float, size: tuple[int, int]
):
    with pytest.raises(GridError):
        TileGrid(Size(*size), tile, stride, downsample)


def test_a_grid_ends():
    grid = TileGrid(Size(10, 10), 4, 4)
    with pytest.raises(IndexError):
        grid[9]
    with pytest.raises(IndexError):
        grid[-1]
