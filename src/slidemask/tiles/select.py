"""Choose the tiles of a grid by tissue, before any of them is read."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slidemask.io.slide import Slide
from slidemask.tiles.filters import Filters
from slidemask.tiles.grid import Tile, TileGrid
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


def select(slide: Slide, grid: TileGrid, filters: Filters | None = None) -> TileSet:
    """Keep the tiles that hold enough tissue; reads nothing but one small picture.

    The rules on pixels (`keep_pixels`) are for whoever reads the tiles.

    Parameters
    ----------
    slide : Slide
    grid : TileGrid
        Laid over this slide.
    filters : Filters, optional
        With `tissue` None every tile is kept.
    """
    filters = filters or Filters()
    if filters.tissue is None:
        return TileSet(grid, np.ones(grid.shape, bool))
    tissue = find_tissue(slide, filters.tissue)
    share = tissue_shares(tissue, grid)
    kept = (share > 0) & (share >= filters.min_tissue_share)
    return TileSet(grid, kept, {"tissue_share": share.astype(np.float32)}, tissue)


def tissue_shares(tissue: TissueMask, grid: TileGrid) -> NDArray[np.float64]:
    """Return the tissue share of every tile, (rows, columns), of its part inside the slide."""
    step, side = grid.stride * grid.downsample, grid.tile * grid.downsample
    tops, lefts = (np.arange(count) * step for count in grid.shape)
    rows, columns = np.concatenate([tops, tops + side]), np.concatenate([lefts, lefts + side])
    # A mask of its own, whose sums (4 bytes a pixel) go with it and not with the tiles.
    return TissueMask(tissue.mask, tissue.downsample).shares(rows, columns)
