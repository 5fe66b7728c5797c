"""Where a fine network looks, against naive loops over pixels and tiles."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import Darkness, info
from slidemask.base.errors import BundleError, SlideError
from slidemask.base.stages import Stages
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size
from slidemask.infer.blend import Blend
from slidemask.infer.cascade import (
    Cascade,
    CascadeSpec,
    best_seen,
    coarser,
    highest_threshold,
    level_of,
    narrow,
    tile_maxima,
    touching,
)
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.infer.unread import TolerantSlide
from slidemask.io.array import ArraySlide
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import TileGrid, Tiling
from slidemask.tiles.select import TileSet
from slidemask.tiles.tissue import TissueFilter


@st.composite
def grids(draw: st.DrawFn) -> tuple[TileGrid, float]:
    size = Size(draw(st.integers(1, 80)), draw(st.integers(1, 80)))
    tile = draw(st.integers(2, 24))
    fine = draw(st.sampled_from([1.0, 1.5, 2.0]))
    grid = TileGrid(size, tile, draw(st.integers(max(1, tile // 2), tile)), fine)
    return grid, fine * draw(st.sampled_from([2.0, 2.7, 4.0]))


@given(case=grids(), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_tile_has_the_largest_value_that_it_touches(
    case: tuple[TileGrid, float], seed: int
) -> None:
    grid, step = case
    canvas = grid.slide.at(step)
    found = np.random.default_rng(seed).integers(0, 256, (canvas.height, canvas.width), np.uint8)
    cut = canvas.height // 3  # two bands, the first of them empty on flat maps
    bands = [(0, found[None, :cut]), (cut, found[None, cut:])]
    maxima = tile_maxima(bands, canvas, step, grid)
    seen = np.zeros_like(found)
    for tile in grid:
        x, y, side, _ = tile.box
        touched = [
            int(found[i, j])
            for i in range(canvas.height)
            for j in range(canvas.width)
            if i * step < y + side - 1e-6 and (i + 1) * step > y + 1e-6
            and j * step < x + side - 1e-6 and (j + 1) * step > x + 1e-6
        ]  # fmt: skip
        assert maxima[tile.row, tile.column] == max(touched, default=maxima[tile.row, tile.column])
        for i in range(canvas.height):
            for j in range(canvas.width):
                inside = y <= (i + 0.5) * step < y + side and x <= (j + 0.5) * step < x + side
                if inside:
                    seen[i, j] = max(seen[i, j], maxima[tile.row, tile.column])
    np.testing.assert_array_equal(best_seen(maxima, grid, found.shape, step), seen)


@given(case=grids(), other=st.integers(2, 40), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_touching_tiles_share_area(case: tuple[TileGrid, float], other: int, seed: int) -> None:
    fine, step = case
    coarse = TileGrid(fine.slide, other, max(1, other - other // 4), step)
    kept = np.random.default_rng(seed).random(fine.shape) < 0.2
    expected = np.zeros(coarse.shape, bool)
    for ours in coarse:
        for theirs in (tile for tile in fine if kept[tile.row, tile.column]):
            a, b = ours.box, theirs.box
            wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
            high = min(a.y + a.height, b.y + b.height) - max(a.y, b.y)
            expected[ours.row, ours.column] |= wide > 1e-6 and high > 1e-6
    np.testing.assert_array_equal(touching(coarse, fine, kept), expected)


def test_classes_are_added_up_without_overflow() -> None:
    band = np.full((2, 4, 4), 200, np.uint8)
    maxima = tile_maxima([(0, band)], Size(4, 4), 1.0, TileGrid(Size(4, 4), 4, 4))
    assert maxima.tolist() == [[255]]


@given(values=st.lists(st.integers(0, 255), min_size=1, max_size=50), recall=st.floats(0.01, 1))
@settings(max_examples=100, deadline=None)
def test_the_highest_threshold_that_keeps_enough(values: list[int], recall: float) -> None:
    counts = np.bincount(values, minlength=256).astype(np.int64)
    threshold = highest_threshold(counts, recall)
    kept = [sum(v >= level for v in values) / len(values) for level in range(256)]
    enough = [level for level in range(256) if kept[level] >= recall - 1e-9]
    assert level_of(threshold) == max(enough)


def test_only_tiles_where_the_coarse_network_finds_anything_are_looked_at(tmp_path: Path) -> None:
    """Darkness finds what is dark; one dark spot leaves the tiles that touch it."""
    pixels = np.full((128, 128, 3), 255, np.uint8)
    pixels[40:48, 72:80] = 0
    slide = ArraySlide("spot", pixels)
    coarse = Darkness(info=info(tile=16, overlap=0.0, downsample=4.0), digest="coarse")
    fine = Darkness(info=info(tile=32, overlap=0.0))
    fine.coarse = coarse  # type: ignore[attr-defined]
    tiles = TileSet(TileGrid(slide.size, 32, 32), np.ones((4, 4), bool))
    job = Job(slide, tiles, fine, Blend())  # type: ignore[arg-type]
    stages = Stages()
    assert narrow(job, Cascade(threshold=0), tmp_path / "none", stages) is job
    narrowed = narrow(job, Cascade(threshold=0.5), tmp_path / "coarse", stages)
    expected = np.zeros((4, 4), bool)
    expected[1, 2] = True
    np.testing.assert_array_equal(narrowed.tiles.kept, expected)
    assert stages.seconds["coarse"] > 0
    assert narrowed.identity != job.identity

    found = np.concatenate(
        [band for _, band in predict(narrowed, tmp_path / "fine", Stages()).bands()], axis=1
    )
    np.testing.assert_array_equal(found[0], 255 - pixels[..., 0])
    assert fine.seen == 1

    with pytest.raises(BundleError, match="train it anew"):
        narrow(job, None, tmp_path / "x", Stages())


def test_small_pieces_of_tissue_are_looked_at_coarsely_too(tmp_path: Path) -> None:
    """The fine grid keeps one tile; it is a hundredth of the coarse one, which rules would drop."""
    pixels = np.full((320, 320, 3), 255, np.uint8)
    pixels[100:110, 100:110] = 0
    slide = ArraySlide("crumb", pixels)
    strict = Filters(tissue=TissueFilter(), min_tissue_share=0.5, max_background_share=0.1)
    coarse_info = info(tile=80, overlap=0.0, downsample=4.0)
    coarse = Darkness(info=coarse_info.model_copy(update={"filters": strict}), digest="coarse")
    fine = Darkness(info=info(tile=32, overlap=0.0))
    fine.coarse = coarse  # type: ignore[attr-defined]
    kept = np.zeros((10, 10), bool)
    kept[3, 3] = True
    job = Job(slide, TileSet(TileGrid(slide.size, 32, 32), kept), fine, Blend())  # type: ignore[arg-type]
    narrowed = narrow(job, Cascade(threshold=0.5), tmp_path / "coarse", Stages())
    np.testing.assert_array_equal(narrowed.tiles.kept, kept)


class Torn(ArraySlide):
    """A slide of whose coarse level one place cannot be read."""

    def read(self, box: Box, downsample: float = 1.0) -> Rgb:
        if downsample > 2 and box.x == 32 and box.y < 64:
            raise SlideError("torn")
        return super().read(box, downsample)


def test_what_the_coarse_network_cannot_read_is_left_to_the_fine_one(tmp_path: Path) -> None:
    """Notes of coarse tiles stay apart: their numbers mean other tiles in the fine grid."""
    slide = Torn("torn", np.full((128, 128, 3), 255, np.uint8))
    coarse = Darkness(info=info(tile=8, overlap=0.0, downsample=4.0), digest="coarse")
    fine = Darkness(info=info(tile=32, overlap=0.0))
    fine.coarse = coarse  # type: ignore[attr-defined]
    tiles = TileSet(TileGrid(slide.size, 32, 32), np.ones((4, 4), bool))
    tolerant = TolerantSlide(slide, tmp_path / "unread-1.jsonl")
    job = Job(tolerant, tiles, fine, Blend())  # type: ignore[arg-type]
    expected = np.zeros((4, 4), bool)
    expected[:2, 1] = True
    for again in (job, replace(job, slide=slide)):  # the second time it is there already
        narrowed = narrow(again, Cascade(threshold=0.5), tmp_path / "coarse", Stages())
        np.testing.assert_array_equal(narrowed.tiles.kept, expected)
    assert tolerant.unread == {}
    assert fine.seen == 0


@pytest.mark.parametrize(
    ("given_as", "expected"),
    [("mpp", 4.0), ("magnification", 0.25), ("downsample", 4.0), ("longest_side_px", 500)],
)
def test_coarser_in_every_resolution(given_as: str, expected: float) -> None:
    value = {"mpp": 0.5, "magnification": 2.0, "downsample": 0.5, "longest_side_px": 4000}[given_as]
    tiling = Tiling.model_validate({"tile_px": 64, "context": 3.0, given_as: value})
    coarse = coarser(tiling, CascadeSpec(factor=8, tile_px=128))
    assert getattr(coarse, given_as) == expected
    assert (coarse.tile_px, coarse.context) == (128, None)
