"""Histograms of all tiles of a grid at once, and what they say of each tile.

Overlapping tiles count the same pixels many times. Here every pixel is counted once: the edges of
all tiles cut the canvas into cells, each cell has its histogram, and a tile's is the sum of its
cells', from running sums along both axes. Counts are whole numbers, so nothing is rounded.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from slidemask.base.types import Rgb
from slidemask.tiles.canvas import Canvas, bands

BINS = 256
BLOCK_ROWS = 512
"""OpenCV counts in float32: so many rows of the widest cell stay below 2**24, and exact."""
TABLE = 2**20
"""Pixels of a tile up to which logarithms are looked up: 8 MB."""


def tile_counts(canvas: Canvas, *, pooled: bool = False) -> Iterator[NDArray[np.int64]]:
    """Yield the 256-bin histograms of each row of tiles, from the top: (columns, 256) int64.

    Memory grows with the canvas's width, not with its height.

    Parameters
    ----------
    canvas : Canvas
        The tiles are those of its grid.
    pooled : bool
        Count red, green and blue values together, three a pixel, in place of grey ones (8-bit
        luma of ITU-R BT.601, as everywhere).
    """
    grid = canvas.grid
    rows, columns = (_Cuts.of(count, grid.tile, grid.stride) for count in grid.shape)
    count = _counter(columns.at * (3 if pooled else 1))
    total = np.zeros((BINS, len(columns.at) - 1), np.int64)
    # Totals above the first row of each tile that has begun and is not finished.
    begun: deque[NDArray[np.int64]] = deque()
    first, last = set(rows.starts.tolist()), set(rows.ends.tolist())
    for number, band in enumerate(bands(canvas, rows.at.tolist(), slice(0, canvas.size.width))):
        if number in first:
            begun.append(total)
        total = total + count(_values(band, pooled=pooled))
        if number + 1 in last:
            sums = np.zeros((BINS, len(columns.at)), np.int64)
            np.cumsum(total - begun.popleft(), axis=1, out=sums[:, 1:])
            yield np.ascontiguousarray((sums[:, columns.ends] - sums[:, columns.starts]).T)


def entropies(counts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return Shannon entropies in bits, (...), of histograms (..., 256); 0 of an empty one.

    >>> entropies(np.array([[8, 0, 0, 0], [4, 4, 0, 0], [2, 2, 2, 2]])).tolist()
    [0.0, 1.0, 2.0]
    """
    total = counts.sum(axis=-1)
    largest = int(total.max(initial=1))
    if largest < TABLE:
        weighted = np.take(_n_log_n(largest), counts).sum(axis=-1)
    else:
        weighted = (counts * np.log2(np.maximum(counts, 1))).sum(axis=-1)
    total = np.maximum(total, 1)
    bits = np.log2(total, dtype=np.float64) - weighted / total
    return np.maximum(bits, 0).astype(np.float64, copy=False)


@lru_cache(maxsize=2)
def _n_log_n(largest: int) -> NDArray[np.float64]:
    """Return n log2 n for n = 0 … largest: looked up faster than computed."""
    numbers = np.arange(largest + 1, dtype=np.float64)
    return numbers * np.log2(np.maximum(numbers, 1))


def background_shares(
    counts: NDArray[np.integer], light: int = 235, dark: int = 15
) -> NDArray[np.float64]:
    """Return of each histogram (..., 256) the share of values above `light` or below `dark`."""
    outside = counts[..., light + 1 :].sum(axis=-1) + counts[..., :dark].sum(axis=-1)
    return outside / np.maximum(counts.sum(axis=-1), 1)


def peak_shares(counts: NDArray[np.integer], values: int = 3) -> NDArray[np.float64]:
    """Return of each histogram (..., 256) the share that its most frequent values hold together.

    Frank's rule for slides whose stain was normalised, and whose background is not white any
    more: glass has few values, tissue many. A tile is dropped when the share exceeds the share of
    background that is allowed.

    >>> peak_shares(np.array([5, 1, 3, 1]), values=2)
    array(0.8)
    """
    highest = np.partition(counts, -values, axis=-1)[..., -values:]
    return np.asarray(highest.sum(axis=-1) / np.maximum(counts.sum(axis=-1), 1))


@dataclass(frozen=True)
class _Cuts:
    """Where the edges of a line of tiles cut it."""

    at: NDArray[np.int64]
    """Rising positions."""
    starts: NDArray[np.int64]
    """Of each tile, the number of the cut where it begins."""
    ends: NDArray[np.int64]
    """Of each tile, the number of the cut where it ends."""

    @classmethod
    def of(cls, count: int, tile: int, stride: int) -> "_Cuts":
        starts = np.arange(count) * stride
        at = np.unique(np.concatenate([starts, starts + tile]))
        return cls(at, np.searchsorted(at, starts), np.searchsorted(at, starts + tile))


def _values(band: Rgb, *, pooled: bool) -> NDArray[np.uint8]:
    """Return what is counted: (h, w) grey, or (h, 3 w) values of all three channels."""
    if pooled:
        return band.reshape(band.shape[0], -1)
    return np.asarray(cv2.cvtColor(band, cv2.COLOR_RGB2GRAY), np.uint8)


def _counter(at: NDArray[np.int64]) -> Callable[[NDArray[np.uint8]], NDArray[np.int64]]:
    """Return what counts the cells of a band (h, w) that is cut at `at`: (256, cells).

    A histogram in two dimensions, value and number of the cell, counts up to 256 cells at once.
    """
    cells = len(at) - 1
    groups = [slice(first, min(first + BINS, cells)) for first in range(0, cells, BINS)]
    line = np.concatenate(
        [
            np.arange(g.stop - g.start, dtype=np.uint8).repeat(np.diff(at[g.start : g.stop + 1]))
            for g in groups
        ]
    )
    # One picture of cell numbers, of which bands of any height take the upper rows.
    numbers = np.tile(line, (BLOCK_ROWS, 1))

    def count(values: NDArray[np.uint8]) -> NDArray[np.int64]:
        counts = np.zeros((BINS, cells), np.int64)
        for top in range(0, len(values), BLOCK_ROWS):
            block = values[top : top + BLOCK_ROWS]
            for g in groups:
                columns, size = slice(at[g.start], at[g.stop]), g.stop - g.start
                pair = [block[:, columns], numbers[: len(block), columns]]
                found = cv2.calcHist(pair, [0, 1], None, [BINS, size], [0, BINS, 0, size])
                counts[:, g] += found.astype(np.int64)
        return counts

    return count
