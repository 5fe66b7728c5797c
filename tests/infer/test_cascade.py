"""Where a fine network looks, against naive loops over pixels and tiles."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes import Darkness, info
from slidemask.base.errors import BundleError
from slidemask.base.stages import Stages
from slidemask.geometry.box import Size
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
)
from slidemask.infer.job import Job
from slidemask.infer.predict import predict
from slidemask.io.array import ArraySlide
from slidemask.tiles.grid import TileGrid, Tiling
from slidemask.tiles.select import TileSet


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
    maxima = tile_maxima(found, step, grid)
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
