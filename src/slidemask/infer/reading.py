"""Reading ahead: threads read and decode while the network computes."""

from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Views
from slidemask.infer.unread import TolerantSlide
from slidemask.io.slide import Slide
from slidemask.tiles.filters import Filters, keep_pixels
from slidemask.tiles.grid import Tile, TileGrid
from slidemask.tiles.reading import read_around, read_tile
from slidemask.tiles.select import TileSet


class Batch(NamedTuple):
    """Tiles of one row of the grid, read."""

    row: int
    columns: tuple[int, ...]
    pixels: NDArray[np.uint8]
    """(N, tile, tile, 3), or 6 with a context; tiles that the pixel filters drop, and those that a
    tolerant slide cannot read, are not in it."""


def batches_in_order(tiles: TileSet, rows: range, batch: int) -> Iterator[list[Tile]]:
    """Yield kept tiles of some rows, at most `batch` of one row together.

    A batch never spans rows, so that it is the same whichever row a run begins with.
    """
    columns_of_grid = tiles.grid.shape[1]
    for row in rows:
        columns = np.flatnonzero(tiles.kept[row])
        for start in range(0, len(columns), batch):
            some = columns[start : start + batch]
            yield [tiles.grid[row * columns_of_grid + int(column)] for column in some]


def probe_tiles(slide: Slide, tiles: TileSet, count: int = 2) -> NDArray[np.uint8]:
    """Read some of the kept tiles, spread over the slide, whatever filters say of their pixels."""
    grid, kept = tiles.grid, np.flatnonzero(tiles.kept)
    some = kept[np.linspace(0, len(kept) - 1, count + 2).astype(int)[1:-1]] if len(kept) else []
    views = [_read(slide, grid[int(number)], grid, Filters(tissue=None)) for number in some]
    read = [view for view in views if view is not None]
    channels = 3 if grid.context is None else 6
    return np.stack(read) if read else np.empty((0, grid.tile, grid.tile, channels), np.uint8)


def read_ahead(
    slide: Slide, groups: Iterator[list[Tile]], grid: TileGrid, filters: Filters, *, threads: int
) -> Generator[Batch]:
    """Read batches in order, a bounded number of them ahead.

    Raises
    ------
    SlideError
        If a tile cannot be read, and the slide is no `TolerantSlide`; it says which place.
    """
    with ThreadPoolExecutor(threads, thread_name_prefix="read") as pool:

        def start(group: list[Tile]) -> tuple[list[Tile], list[Future[Views | None]]]:
            return group, [pool.submit(_read, slide, tile, grid, filters) for tile in group]

        waiting = deque(start(group) for group in islice(groups, threads + 1))
        try:
            while waiting:
                group, futures = waiting.popleft()
                pixels = [future.result() for future in futures]
                waiting.extend(start(following) for following in islice(groups, 1))
                yield _batch(group, pixels, grid)
        finally:
            for _, futures in waiting:
                for future in futures:
                    future.cancel()


def _read(slide: Slide, tile: Tile, grid: TileGrid, filters: Filters) -> Views | None:
    if isinstance(slide, TolerantSlide):
        return slide.unless_unread(tile, lambda: _views(slide, tile, grid, filters))
    return _views(slide, tile, grid, filters)


def _views(slide: Slide, tile: Tile, grid: TileGrid, filters: Filters) -> Views | None:
    """Read a tile, and its surroundings only where the filters keep the tile itself."""
    pixels = read_tile(slide, tile.box, grid.downsample)
    if not keep_pixels(pixels, filters):
        return None
    if grid.context is None:
        return pixels
    around = read_around(slide, tile.box, grid.downsample, grid.context)
    return np.concatenate([pixels, around], axis=2)


def _batch(group: list[Tile], pixels: list[Views | None], grid: TileGrid) -> Batch:
    kept = [
        (tile.column, views) for tile, views in zip(group, pixels, strict=True) if views is not None
    ]
    if not kept:
        channels = 3 if grid.context is None else 6
        return Batch(group[0].row, (), np.empty((0, grid.tile, grid.tile, channels), np.uint8))
    columns, views = zip(*kept, strict=True)
    return Batch(group[0].row, columns, np.stack(views))
