"""A whole rescaled slide, as far as the tiles of a grid reach, read by slices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np

from slidemask.base.errors import GridError
from slidemask.base.types import Rgb
from slidemask.geometry.box import Box, Size
from slidemask.io.array import ArraySlide
from slidemask.io.slide import Slide
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.reading import read_tile

READ_ROWS = 256
"""Rows read at once: thinner bands would decode a slide's own tiles several times."""


class Pixels(Protocol):
    """What gives (h, w, 3) uint8 for `pixels[top:bottom, left:right]`: a `Canvas`, an array."""

    def __getitem__(self, window: tuple[slice, slice], /) -> Rgb: ...


@dataclass(frozen=True)
class Canvas:
    """Every pixel that a tile of the grid sees, mirrored where tiles reach over the slide's edge.

    What a slice holds is what `read_tile` gives of the same place: bands of many tiles can be read
    once, in place of tiles that overlap. (A slide's own resampling may round a pixel otherwise in
    a wider window.)

    Parameters
    ----------
    slide : Slide
    grid : TileGrid
        Laid over this slide.

    Examples
    --------
    >>> slide = ArraySlide("ramp", np.arange(6, dtype=np.uint8).repeat(3).reshape(1, 6, 3))
    >>> canvas = Canvas(slide, TileGrid(slide.size, tile=4, stride=3))
    >>> canvas.size, canvas[0:1, 2:7][..., 0]
    (Size(width=7, height=4), array([[2, 3, 4, 5, 5]], dtype=uint8))
    """

    slide: Slide
    grid: TileGrid

    @property
    def size(self) -> Size:
        """From the first tile's corner to the last's."""
        grid = self.grid
        rows, columns = ((count - 1) * grid.stride + grid.tile for count in grid.shape)
        return Size(columns, rows)

    def __getitem__(self, window: tuple[slice, slice]) -> Rgb:
        rows, columns = window
        # Only what lies beside the slide is turned over: whole bands would be copied by pixels.
        edge = int(self.slide.size.width / self.grid.downsample + 1e-6)
        if columns.start < edge < columns.stop:
            halves = (slice(columns.start, edge), slice(edge, columns.stop))
            return np.concatenate([self._read(rows, half) for half in halves], axis=1)
        return self._read(rows, columns)

    def _read(self, rows: slice, columns: slice) -> Rgb:
        step = self.grid.downsample
        box = Box(
            columns.start * step,
            rows.start * step,
            (columns.stop - columns.start) * step,
            (rows.stop - rows.start) * step,
        )
        return read_tile(self.slide, box, step)


def canvas_of(pixels: Rgb, tile: int, stride: int) -> Canvas:
    """Lay a grid over an array that already has the network's resolution.

    Parameters
    ----------
    pixels : (H, W, 3) uint8
    tile, stride : int
        Pixels.

    Raises
    ------
    GridError
        If the array has another shape, or the numbers make no grid.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise GridError(f"pixels must be (H, W, 3), got {pixels.shape}")
    slide = ArraySlide("array", pixels)
    return Canvas(slide, TileGrid(slide.size, tile, stride))


def bands(pixels: Pixels, cuts: Sequence[int], columns: slice) -> Iterator[Rgb]:
    """Yield the rows between successive cuts, top to bottom, read `READ_ROWS` or more at a time.

    Parameters
    ----------
    pixels : Canvas or array
    cuts : sequence of int
        Rows, rising: n + 1 cuts make n bands.
    columns : slice
        With start and stop.

    Examples
    --------
    >>> [band.shape for band in bands(np.zeros((9, 9, 3), np.uint8), [2, 3, 7], slice(1, 9))]
    [(1, 8, 3), (4, 8, 3)]
    """
    first = 0
    while first < len(cuts) - 1:
        last = first + 1
        while last < len(cuts) - 1 and cuts[last] - cuts[first] < READ_ROWS:
            last += 1
        block = pixels[cuts[first] : cuts[last], columns]
        for top, bottom in pairwise(cuts[first : last + 1]):
            yield block[top - cuts[first] : bottom - cuts[first]]
        first = last
