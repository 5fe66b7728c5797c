"""Choose the tiles of a grid: by tissue, before any of them is read, then by their pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidemask.io.slide import Slide
from slidemask.tiles.canvas import Canvas
from slidemask.tiles.filters import Filters, judge_pixels, judge_tiles
from slidemask.tiles.grid import Tile, TileGrid
from slidemask.tiles.reading import read_tile
from slidemask.tiles.tissue import TissueMask, find_tissue


@dataclass(frozen=True, eq=False)
class TileSet:
    """A grid, which of its tiles are kept, and what is known of each.

    Parameters
    ----------
    grid : TileGrid
    kept : (rows, columns) bool
    columns : dict of str to (rows, columns) arrays
        One value per tile, such as "tissue_share".
    tissue : TissueMask, optional
        None where no tissue filter was asked for.
    """

    grid: TileGrid
    kept: NDArray[np.bool_]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    tissue: TissueMask | None = None

    def __len__(self) -> int:
        return int(np.count_nonzero(self.kept))

    def __iter__(self) -> Iterator[Tile]:
        """Yield the kept tiles by rows."""
        for number in np.flatnonzero(self.kept):
            yield self.grid[int(number)]


def select(
    slide: Slide,
    grid: TileGrid,
    filters: Filters | None = None,
    *,
    tissue: TissueMask | None = None,
) -> TileSet:
    """Keep the tiles that hold enough tissue; reads nothing but one small picture.

    The rules on pixels (`keep_pixels`) are for whoever reads the tiles.

    Parameters
    ----------
    slide : Slide
    grid : TileGrid
        Laid over this slide.
    filters : Filters, optional
        With `tissue` None every tile is kept.
    tissue : TissueMask, optional
        What `find_tissue` found with these filters, where it is known already.
    """
    filters = filters or Filters()
    if filters.tissue is None:
        return TileSet(grid, np.ones(grid.shape, bool))
    tissue = tissue or find_tissue(slide, filters.tissue)
    share = tissue_shares(tissue, grid)
    kept = (share > 0) & (share >= filters.min_tissue_share)
    return TileSet(grid, kept, {"tissue_share": share.astype(np.float32)}, tissue)


def judge(slide: Slide, tiles: TileSet, filters: Filters) -> TileSet:
    """Drop the tiles that fail a rule on pixels, but for the rails, and note the others' entropy.

    Pixels are read only where there are such rules. Then tiles that cover much of the slide are
    judged all at once, by bands of it, and a few tiles one by one.

    Returns
    -------
    TileSet
        With a column "entropy", bits, NaN of dropped tiles, where the filters ask for rails.
    """
    if not filters.reads_pixels:
        return tiles
    grid, kept = tiles.grid, tiles.kept
    bits = np.full(grid.shape, np.nan)
    if len(tiles) * grid.tile**2 < grid.canvas.width * grid.canvas.height:
        kept = kept.copy()
        for tile in tiles:
            place = tile.row, tile.column
            pixels = read_tile(slide, tile.box, grid.downsample)
            kept[place], bits[place] = judge_pixels(pixels, filters)
    else:
        passing, bits = judge_tiles(Canvas(slide, grid), filters)
        kept = kept & passing
    columns = tiles.columns
    if filters.rails is not None:
        columns = columns | {"entropy": np.where(kept, bits, np.nan)}
    return replace(tiles, kept=kept, columns=columns)


def tissue_shares(tissue: TissueMask, grid: TileGrid) -> NDArray[np.float64]:
    """Return the tissue share of every tile, (rows, columns), of its part inside the slide."""
    step, side = grid.stride * grid.downsample, grid.tile * grid.downsample
    tops, lefts = (np.arange(count) * step for count in grid.shape)
    rows, columns = np.concatenate([tops, tops + side]), np.concatenate([lefts, lefts + side])
    # A mask of its own, whose sums (4 bytes a pixel) go with it and not with the tiles.
    return TissueMask(tissue.mask, tissue.downsample).shares(rows, columns)
