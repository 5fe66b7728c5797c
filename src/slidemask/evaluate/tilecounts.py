"""Pixel counts of every tile of a grid: what scores per tile are made of."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import CohortError, GridError, SettingsError
from slidemask.base.types import IGNORE, Labels
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.score import MaskRows, Truth, walk
from slidemask.geometry.box import Size
from slidemask.tiles.grid import TileGrid

Counts = NDArray[np.int64]
Edges = NDArray[np.intp]

_CHUNK = 1 << 20
"""Pixels counted at a time; their 64-bit keys take 8 MB."""


@dataclass(frozen=True, eq=False)
class TileCounts:
    """Counts of (truth, prediction) pairs in each tile; `+` puts tiles of slides together.

    Parameters
    ----------
    counts : (T, C, C) int64
        By tile, truth and prediction. Where tiles overlap a pixel counts in each of them; a tile
        in which nothing is known has no counts.

    Examples
    --------
    >>> tiles = TileCounts(np.array([[[4, 0], [1, 3]], [[8, 0], [0, 0]], [[0, 0], [0, 0]]]))
    >>> tiles.with_object(1).tolist(), tiles.known.tolist()
    ([True, False, False], [True, True, False])
    >>> tiles.where(tiles.with_object(1)).pooled.dice.round(2).tolist()
    [0.89, 0.86]
    """

    counts: Counts

    def __len__(self) -> int:
        return len(self.counts)

    def __add__(self, other: "TileCounts") -> "TileCounts":
        return TileCounts(np.concatenate([self.counts, other.counts]))

    @property
    def known(self) -> NDArray[np.bool_]:
        """(T,) whether any pixel of the tile is known."""
        return self.counts.sum((1, 2)) > 0

    def with_object(self, class_index: int) -> NDArray[np.bool_]:
        """Return (T,) whether the truth has a pixel of the class there."""
        return self.counts[:, class_index].sum(1) > 0

    def where(self, chosen: NDArray[np.bool_]) -> "TileCounts":
        """Return the chosen tiles."""
        return TileCounts(self.counts[chosen])

    @property
    def pooled(self) -> Confusion:
        """Counts of all tiles added up."""
        return Confusion(self.counts.sum(0))


def count_tiles(
    truth: Truth,
    mask: MaskRows,
    slide_size: Size,
    *,
    downsample: float,
    names: tuple[str, ...],
    grid: TileGrid,
) -> TileCounts:
    """Count truth against prediction in every tile of a grid over a whole slide.

    Truth and mask meet as in `score_slide`; a pixel belongs to the tiles in which its centre
    lies, whatever the grid's own resolution. Every pixel is read once: pixels are counted between
    neighbouring tile edges, and a tile is the sum of the cells that it covers.

    Parameters
    ----------
    truth : Truth
        Labels of any box.
    mask : MaskRows
        Prediction over the canvas, `slide_size.at(downsample)` pixels.
    slide_size : Size
        Level-0 pixels.
    downsample : float
        Level-0 pixels per mask pixel.
    names : tuple of str
        The truth's class names by index, background first.
    grid : TileGrid
        The tiles, laid over a slide of this size.

    Returns
    -------
    TileCounts
        `len(grid)` tiles in the grid's order.

    Raises
    ------
    GridError
        If the grid was laid over a slide of another size.
    CohortError
        If the mask's size is not the slide's at `downsample`, or it has other classes.
    SettingsError
        If truth or mask hold an index that is no class.
    """
    if tuple(grid.slide) != tuple(slide_size):
        raise GridError(f"the tiles lie on a slide of {grid.slide}, but this one has {slide_size}")
    if mask.names and mask.names != names:
        raise CohortError(
            f"the mask's classes are {list(mask.names)}, the truth's {list(names)}; "
            "score it with the class map of the model that made it"
        )
    step = truth.native_downsample or downsample
    size = slide_size.at(step)
    rows, columns = (
        _spans(count, grid, step, limit)
        for count, limit in zip(grid.shape, (size.height, size.width), strict=True)
    )
    edges = _edges(rows, size.height), _edges(columns, size.width)
    cells = _count_cells(walk(truth, mask, slide_size, downsample), edges, len(names))
    counts = _sums(_sums(cells, edges[0], rows), edges[1], columns, axis=1)
    return TileCounts(counts.reshape(len(grid), len(names), len(names)))


def _spans(count: int, grid: TileGrid, step: float, limit: int) -> Edges:
    """Return (count, 2) first and end pixel of each row (or column) of tiles.

    A pixel is `step` level-0 px wide; it belongs to a tile that holds its centre.
    """
    start = np.arange(count) * (grid.stride * grid.downsample)
    borders = np.stack([start, start + grid.tile * grid.downsample], axis=1)
    return np.ceil(borders / step - 0.5 - 1e-6).clip(0, limit).astype(np.intp)


def _edges(spans: Edges, limit: int) -> Edges:
    """Return where tiles begin or end, sorted, with both ends of the slide."""
    return np.unique(np.append(spans, [0, limit]))


def _count_cells(
    bands: Iterator[tuple[Labels, Labels]], edges: tuple[Edges, Edges], classes: int
) -> Counts:
    """Count pairs in each cell between row and column edges: (R, S, classes²)."""
    row_of, column_of = (np.repeat(np.arange(len(e) - 1), np.diff(e)) for e in edges)
    cells = np.zeros((len(edges[0]) - 1, len(edges[1]) - 1, classes**2), np.int64)
    rows = max(1, _CHUNK // len(column_of))
    top = 0
    for known, predicted in bands:
        for start in range(0, len(known), rows):
            part = slice(start, min(start + rows, len(known)))
            row = row_of[top + part.start : top + part.stop]
            key = (row[:, None] - row[0]) * cells.shape[1] + column_of
            pairs = _pairs(known[part], predicted[part], classes)
            counted = pairs >= 0
            into = cells[row[0] : row[-1] + 1]
            flat = key[counted] * classes**2 + pairs[counted]
            into += np.bincount(flat, minlength=into.size).reshape(into.shape)
        top += len(known)
    return cells


def _pairs(known: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Return truth * classes + prediction, -1 where either is unknown."""
    counts = (known != IGNORE) & (predicted != IGNORE)
    for what, values in (("truth", known[counts]), ("prediction", predicted[counts])):
        if values.size and values.max() >= classes:
            raise SettingsError(
                f"{what} holds class index {values.max()}, but there are {classes} classes "
                f"(0..{classes - 1}); check that model and class map list the same classes"
            )
    return np.where(counts, known.astype(np.int64) * classes + predicted, -1)


def _sums(cells: Counts, edges: Edges, spans: Edges, axis: int = 0) -> Counts:
    """Add up the cells of each span along an axis."""
    before = np.zeros_like(cells[:1] if axis == 0 else cells[:, :1])
    running = np.concatenate([before, cells.cumsum(axis)], axis)
    first, end = np.searchsorted(edges, spans).T
    return running.take(end, axis) - running.take(first, axis)
