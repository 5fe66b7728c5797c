"""Tiles are chosen by tissue, from the small picture alone."""

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slidemask.base.types import Mask, Rgb
from slidemask.geometry.box import Box, Size
from slidemask.io.array import ArraySlide
from slidemask.tiles.filters import Filters, keep_pixels
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.rails import Rails
from slidemask.tiles.reading import read_tile
from slidemask.tiles.select import TileSet, judge, select, tissue_shares
from slidemask.tiles.tissue import TissueFilter, TissueMask


def share_by_counting(mask: Mask, downsample: float, box: Box):
    """Cut every mask pixel into 20 x 20 points and count those inside the box."""
    fine = np.kron(mask, np.ones((20, 20)))
    at = [(np.arange(n) + 0.5) * downsample / 20 for n in fine.shape]
    inside = ((at[0] > box.y) & (at[0] < box.y + box.height))[:, None] & (
        (at[1] > box.x) & (at[1] < box.x + box.width)
    )
    return fine[inside].mean() if inside.any() else 0.0


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 99),
    st.sampled_from([1.0, 2.5, 7.3]),
    st.tuples(*[st.floats(-0.4, 1.0)] * 2),
    st.tuples(*[st.floats(0.2, 1.2)] * 2),
)
def test_share_is_the_area_inside(
    seed: int, downsample: float, corner: tuple[float, float], extent: tuple[float, float]
):
    mask = np.random.default_rng(seed).random((9, 13)) < 0.5
    height, width = mask.shape[0] * downsample, mask.shape[1] * downsample
    box = Box(corner[0] * width, corner[1] * height, extent[0] * width, extent[1] * height)
    visible = box.intersect(Box(0, 0, width, height))
    share = TissueMask(mask, downsample).share(box)
    assert 0 <= share <= 1
    if min(visible.width, visible.height) > downsample:
        assert share == pytest.approx(share_by_counting(mask, downsample, box), abs=0.06)


def test_share_is_exact_on_whole_pixels_and_between_them():
    tissue = TissueMask(np.array([[True, False, False], [True, True, False]]), 4.0)
    assert tissue.share(Box(0, 0, 12, 8)) == 0.5
    assert tissue.share(Box(0, 4, 8, 4)) == 1.0
    assert tissue.share(Box(2, 0, 4, 4)) == 0.5
    assert tissue.share(Box(-8, 0, 12, 8)) == 1.0  # only the part inside the slide counts
    assert tissue.share(Box(50, 50, 4, 4)) == 0.0


def test_shares_of_a_grid_are_those_of_its_boxes():
    rng = np.random.default_rng(3)
    tissue = TissueMask(rng.random((70, 90)) < 0.3, 10.01)
    grid = TileGrid(Size(900, 700), 37, 29, 2.3)
    expected = np.array([tissue.share(tile.box) for tile in grid]).reshape(grid.shape)
    np.testing.assert_allclose(tissue_shares(tissue, grid), expected, atol=1e-9)


@dataclass
class Watched:
    """A slide that remembers how it was read."""

    slide: ArraySlide
    pixels_read: list[int] = field(default_factory=list)
    downsamples_read: list[float] = field(default_factory=list)
    id: str = "watched"
    mpp: float | None = 0.5

    @property
    def size(self) -> Size:
        return self.slide.size

    @property
    def downsamples(self) -> tuple[float, ...]:
        return (1.0,)

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        pixels = self.slide.read(box, downsample)
        self.pixels_read.append(pixels.shape[0] * pixels.shape[1])
        self.downsamples_read.append(downsample)
        return pixels


def half_and_half(width: int = 2400, height: int = 1600):
    pixels = np.full((height, width, 3), 243, np.uint8)
    pixels[:, width // 2 :] = (190, 110, 170)
    return pixels


def test_only_tiles_with_tissue_are_kept_and_full_resolution_is_not_read():
    slide = Watched(ArraySlide("half", half_and_half(), mpp=0.5))
    grid = TileGrid(slide.size, 200, 200, 1.0)
    tiles = select(slide, grid, Filters(tissue=TissueFilter(shortest_px=1, margin_um=0)))
    expected = np.zeros(grid.shape, bool)
    expected[:, 6:] = True
    np.testing.assert_array_equal(tiles.kept, expected)
    assert tiles.kept.shape == tiles.columns["tissue_share"].shape == (8, 12)
    assert [tile.column for tile in tiles][:6] == [6, 7, 8, 9, 10, 11]
    assert len(tiles) == 48
    assert min(slide.downsamples_read) >= 16
    assert sum(slide.pixels_read) == 150 * 100


def test_without_a_tissue_filter_all_tiles_are_kept_and_nothing_is_read():
    slide = Watched(ArraySlide("half", half_and_half()))
    tiles = select(slide, TileGrid(slide.size, 512, 512), Filters(tissue=None))
    assert tiles.kept.all()
    assert tiles.tissue is None
    assert slide.pixels_read == []


def test_a_tile_without_tissue_is_dropped_even_where_no_share_is_asked_for():
    slide = ArraySlide("half", half_and_half(), mpp=0.5)
    filters = Filters(min_tissue_share=0, tissue=TissueFilter(margin_um=0))
    kept = select(slide, TileGrid(slide.size, 200, 200), filters).kept
    assert not kept[:, :5].any()
    assert kept[:, 6:].all()


def test_tissue_that_is_known_is_not_looked_for_again():
    slide = Watched(ArraySlide("half", half_and_half(), mpp=0.5))
    grid, filters = TileGrid(slide.size, 200, 200), Filters()
    first = select(slide, grid, filters)
    slide.pixels_read.clear()
    again = select(slide, grid, filters, tissue=first.tissue)
    assert slide.pixels_read == []
    np.testing.assert_array_equal(again.kept, first.kept)


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("downsample", [1.0, 2.0])
def test_rules_on_pixels_are_applied_to_few_tiles_as_to_many(few: bool, downsample: float):
    pixels = half_and_half(300, 200)
    noise = np.random.default_rng(0).integers(-40, 41, (200, 60, 3))
    pixels[:, 100:160] = (pixels[:, 100:160] + noise).clip(0, 255)
    slide = Watched(ArraySlide("some", pixels))
    grid = TileGrid(slide.size, 32, 16, downsample)
    kept = np.zeros(grid.shape, bool)
    kept[1:2, 1:9] = True
    tiles = TileSet(grid, kept if few else np.ones(grid.shape, bool), {"known": kept})
    filters = Filters(tissue=None, max_background_share=0.5, rails=Rails(low=1, high=8))
    judged = judge(slide, tiles, filters)
    if few:
        assert sum(slide.pixels_read) <= 8 * 32**2
    alone = filters.model_copy(update={"rails": None})
    for tile in grid:
        place = tile.row, tile.column
        passes = keep_pixels(read_tile(slide, tile.box, downsample), alone)
        assert judged.kept[place] == (tiles.kept[place] and passes)
        assert np.isnan(judged.columns["entropy"][place]) != judged.kept[place]
    assert 0 < len(judged) < len(tiles)
    assert judged.columns["known"] is kept


def test_without_rules_on_pixels_nothing_is_read():
    slide = Watched(ArraySlide("half", half_and_half()))
    tiles = select(slide, TileGrid(slide.size, 512, 512), Filters(tissue=None))
    assert judge(slide, tiles, Filters(tissue=None)) is tiles
    assert slide.pixels_read == []
