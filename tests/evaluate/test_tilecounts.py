"""Counts of tiles against cutting the arrays tile by tile."""

from dataclasses import dataclass

import numpy as np
import pytest

from slidemask.base.errors import CohortError, GridError, SettingsError
from slidemask.evaluate import score, tilecounts
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.score import score_slide
from slidemask.evaluate.tilecounts import TileCounts, count_tiles
from slidemask.geometry.box import Box, Size
from slidemask.tiles.grid import TileGrid

NAMES = ("background", "gland", "vessel")


@dataclass
class ArrayTruth:
    """Labels of a whole slide at one resolution."""

    pixels: np.ndarray
    downsample: float
    native_downsample: float | None = None

    def labels(self, box: Box, downsample: float) -> np.ndarray:
        assert downsample == self.downsample
        top, (height, width) = round(box.y / downsample), box.shape_at(downsample)
        return self.pixels[top : top + height, :width]


@dataclass
class ArrayMask:
    """Labels in memory; remembers the rows that were read."""

    pixels: np.ndarray
    names: tuple[str, ...] = NAMES
    read: int = 0
    tallest: int = 0

    @property
    def size(self) -> Size:
        return Size(self.pixels.shape[1], self.pixels.shape[0])

    def rows(self, top: int, height: int) -> np.ndarray:
        self.read += height
        self.tallest = max(self.tallest, height)
        return self.pixels[top : top + height]


def labels_of(size: Size, seed: int, values: tuple[int, ...] = (0, 1, 2)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.choice(np.array(values, np.uint8), (size.height, size.width))


def tile_by_tile(truth: np.ndarray, predicted: np.ndarray, grid: TileGrid, step: float):
    """Return each tile's counts from the pixels whose centres lie in its box."""
    rows, columns = ((np.arange(n) + 0.5) * step for n in truth.shape)
    for tile in grid:
        box = tile.box
        row = (rows >= box.y) & (rows < box.y + box.height)
        column = (columns >= box.x) & (columns < box.x + box.width)
        part = np.ix_(row, column)
        yield Confusion.of(truth[part], predicted[part], len(NAMES)).counts


@pytest.mark.parametrize("chunk", [40, 1 << 20])
@pytest.mark.parametrize(
    ("downsample", "tile", "stride", "grid_downsample"),
    [(1.0, 16, 16, 1.0), (1.0, 16, 12, 1.0), (2.5, 8, 5, 2.5), (1.0, 7, 4, 3.3), (4.0, 9, 9, 1.0)],
)
def test_each_tile_counts_its_own_pixels(
    monkeypatch: pytest.MonkeyPatch,
    chunk: int,
    downsample: float,
    tile: int,
    stride: int,
    grid_downsample: float,
):
    monkeypatch.setattr(score, "BAND_ROWS", 5)
    monkeypatch.setattr(tilecounts, "_CHUNK", chunk)
    slide = Size(83, 61)
    canvas = slide.at(downsample)
    truth, mask = labels_of(canvas, 0, (0, 1, 2, 255)), ArrayMask(labels_of(canvas, 1))
    grid = TileGrid(slide, tile, stride, grid_downsample)
    found = count_tiles(
        ArrayTruth(truth, downsample), mask, slide, downsample=downsample, names=NAMES, grid=grid
    )
    wanted = list(tile_by_tile(truth, mask.pixels, grid, downsample))
    np.testing.assert_array_equal(found.counts, wanted)
    assert mask.read == canvas.height  # once
    assert mask.tallest <= 5


@pytest.mark.parametrize("downsample", [4.0, 1.6])
def test_label_images_count_at_their_own_pixels(downsample: float):
    slide = Size(50, 40)
    truth, mask = labels_of(slide, 2), ArrayMask(labels_of(slide.at(downsample), 3))
    row, column = ((np.arange(n) + 0.5) / downsample for n in (40, 50))
    there = mask.pixels[np.ix_(row.astype(int), column.astype(int))]
    grid = TileGrid(slide, 6, 4, downsample)
    found = count_tiles(
        ArrayTruth(truth, 1.0, 1.0), mask, slide, downsample=downsample, names=NAMES, grid=grid
    )
    np.testing.assert_array_equal(found.counts, list(tile_by_tile(truth, there, grid, 1.0)))


def test_tiles_without_overlap_add_up_to_the_slide():
    slide = Size(70, 90)
    truth, mask = ArrayTruth(labels_of(slide, 4, (0, 1, 255)), 1.0), ArrayMask(labels_of(slide, 5))
    grid = TileGrid(slide, 32, 32)
    tiles = count_tiles(truth, mask, slide, downsample=1.0, names=NAMES, grid=grid)
    whole = score_slide(truth, mask, slide, downsample=1.0, names=NAMES)
    np.testing.assert_array_equal(tiles.pooled.counts, whole.counts)


def test_tiles_with_the_object_are_those_whose_known_truth_holds_it():
    truth = np.zeros((8, 16), np.uint8)
    truth[2, 3], truth[:, 8:] = 1, 255
    slide = Size(16, 8)
    tiles = count_tiles(
        ArrayTruth(truth, 1.0),
        ArrayMask(np.ones((8, 16), np.uint8)),
        slide,
        downsample=1.0,
        names=NAMES,
        grid=TileGrid(slide, 4, 4),
    )
    assert np.flatnonzero(tiles.with_object(1)).tolist() == [0]
    assert np.flatnonzero(tiles.known).tolist() == [0, 1, 4, 5]
    assert not tiles.with_object(2).any()
    assert tiles.where(tiles.known).pooled.total == 64
    assert len(tiles + tiles) == 2 * len(tiles) == 16
    assert (tiles + tiles).pooled.total == 128


def test_what_does_not_belong_together_is_refused():
    slide = Size(16, 16)
    truth, grid = ArrayTruth(np.zeros((16, 16), np.uint8), 1.0), TileGrid(slide, 8, 8)

    def count(mask: ArrayMask, size: Size = slide) -> TileCounts:
        return count_tiles(truth, mask, size, downsample=1.0, names=NAMES, grid=grid)

    with pytest.raises(CohortError, match="classes"):
        count(ArrayMask(truth.pixels, ("background", "tumour")))
    with pytest.raises(CohortError, match="px"):
        count(ArrayMask(truth.pixels[:8]))
    with pytest.raises(GridError, match="slide"):
        count(ArrayMask(truth.pixels), Size(17, 16))
    with pytest.raises(SettingsError, match="class index 3"):
        count(ArrayMask(truth.pixels + np.uint8(3)))
