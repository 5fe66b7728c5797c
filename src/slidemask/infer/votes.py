"""From one vote a tile to a map: what the tiles that cover a pixel say together.

All edges of tiles cut the canvas into cells; in each of them the same tiles, a rectangle of the
grid, vote. So a map is computed cell by cell and drawn, however many tiles lie on a pixel.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slidemask.base.settings import Settings
from slidemask.base.types import Quantised
from slidemask.tiles.grid import TileGrid

BAND_ROWS = 256
_MOST_NUMBERS = 2**22
"""Votes that are sorted together for medians."""

VoteGrid = NDArray[np.float32]
"""(rows, columns, K + 1) probabilities of each tile of a grid, background first."""


class Votes(Settings):
    """How the votes of overlapping tiles become probabilities of pixels.

    Parameters
    ----------
    combine : {"mean", "max", "median", "union"}
        What the tiles over a pixel say together of the foreground: the mean of their
        probabilities, the greatest, the middle one; "union": 1 where any of them is positive, as
        in Frank 2022, rs-122564/v3. Classes share it as they share the votes over that pixel.
    dominant : bool
        Only the class with most positive tiles on the slide keeps its votes; the others' go to
        the background. With "union" the paper's map of the dominant subtype.
    threshold : float
        A tile is positive where its foreground probabilities add up to at least this; it counts
        for the most probable of its classes.
    """

    combine: Literal["mean", "max", "median", "union"] = "mean"
    dominant: bool = False
    threshold: float = Field(default=0.5, gt=0, le=1)


def positive_tiles(votes: VoteGrid, threshold: float) -> NDArray[np.uint8]:
    """Return the class of each tile, (rows, columns): 0 = not positive, 1..K.

    >>> positive_tiles(np.array([[[0.4, 0.5, 0.1], [0.6, 0.1, 0.3]]], np.float32), 0.5).tolist()
    [[1, 0]]
    """
    # What softmax leaves in the last bits must not undo a tie at the threshold.
    positive = votes[..., 1:].sum(axis=-1, dtype=np.float64) >= threshold - 1e-6
    return np.where(positive, 1 + votes[..., 1:].argmax(axis=-1), 0).astype(np.uint8)


def tally(votes: VoteGrid, threshold: float) -> tuple[int, ...]:
    """Return how many tiles are positive for each class, (K,)."""
    counts = np.bincount(positive_tiles(votes, threshold).ravel(), minlength=votes.shape[-1])
    return tuple(counts[1:].tolist())


def leading(counts: tuple[int, ...]) -> int:
    """Return the class with most positive tiles, the first of equals; 0 if there is no tile.

    >>> leading((3, 7, 7)), leading((0, 0))
    (2, 0)
    """
    return 1 + int(np.argmax(counts)) if any(counts) else 0


def map_bands(
    votes: VoteGrid, grid: TileGrid, settings: Votes, *, dominant: int = 0, first_row: int = 0
) -> Iterator[Quantised]:
    """Draw the map, band by band from `first_row` on.

    Parameters
    ----------
    votes : (rows, columns, K + 1) float32
        Of all tiles of the grid.
    grid : TileGrid
    settings : Votes
    dominant : int
        Class that alone keeps its votes; 0: as counted here, if the settings ask for it.
    first_row : int
        Rows of the canvas that are there already.

    Yields
    ------
    (K, h, W) uint8
        Foreground probabilities times 255; no band is higher than `BAND_ROWS`.
    """
    foreground = _foreground(votes, settings, dominant)
    rows, columns = (
        _Cells.of(count, grid.tile, grid.stride, length)
        for count, length in zip(grid.shape, (grid.canvas.height, grid.canvas.width), strict=True)
    )
    statistic = {"mean": _mean, "median": _median}.get(settings.combine, _max)
    widths = np.diff(columns.at)
    for top in range(first_row, grid.canvas.height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, grid.canvas.height)
        some, heights = rows.between(top, bottom)
        drawn = _shared_out(foreground, some, columns, statistic)
        yield np.rint(255 * drawn).astype(np.uint8).repeat(widths, axis=2).repeat(heights, axis=1)


@dataclass(frozen=True)
class _Cells:
    """A line of tiles, cut at all their edges."""

    at: NDArray[np.int64]
    """Rising positions on the canvas: n + 1 of n cells."""
    first: NDArray[np.int64]
    """Of each cell, the first tile that covers it."""
    last: NDArray[np.int64]
    """Of each cell, one after the last tile that covers it."""

    @classmethod
    def of(cls, count: int, tile: int, stride: int, length: int) -> "_Cells":
        starts = np.arange(count) * stride
        at = np.unique(np.concatenate([starts, starts + tile, [length]]))
        at = at[at <= length]
        first = np.searchsorted(starts + tile, at[:-1], side="right")
        return cls(at, first, np.searchsorted(starts, at[:-1], side="right"))

    def between(self, top: int, bottom: int) -> tuple["_Cells", NDArray[np.int64]]:
        """Return the cells that lie in some rows, and how many of these rows each has."""
        some = slice(
            int(np.searchsorted(self.at, top, side="right")) - 1,
            int(np.searchsorted(self.at, bottom, side="left")),
        )
        at = self.at[some.start : some.stop + 1].clip(top, bottom)
        return _Cells(at, self.first[some], self.last[some]), np.diff(at)


_Statistic: TypeAlias = Callable[[NDArray[np.float32], _Cells, _Cells], NDArray[np.float32]]


def _foreground(votes: VoteGrid, settings: Votes, dominant: int) -> NDArray[np.float32]:
    """Return what each tile says of each class, (K, rows, columns)."""
    if settings.dominant and not dominant:
        dominant = leading(tally(votes, settings.threshold))
    if settings.combine == "union":
        classes = np.arange(1, votes.shape[-1])[:, None, None]
        said = (positive_tiles(votes, settings.threshold) == classes).astype(np.float32)
    else:
        said = np.moveaxis(votes[..., 1:], -1, 0).copy()
    if settings.dominant and dominant:
        said[np.arange(len(said)) != dominant - 1] = 0
    return said


def _shared_out(
    foreground: NDArray[np.float32], rows: _Cells, columns: _Cells, statistic: _Statistic
) -> NDArray[np.float32]:
    """Return (K, row cells, column cells): the foreground's figure, shared among the classes."""
    means = np.stack([_mean(one, rows, columns) for one in foreground])
    if statistic is _mean:
        return means
    whole = statistic(foreground.sum(axis=0), rows, columns)
    if len(means) == 1:
        return whole[None]
    total = means.sum(axis=0)
    return means * np.divide(whole, total, out=np.zeros_like(total), where=total > 0)


def _mean(values: NDArray[np.float32], rows: _Cells, columns: _Cells) -> NDArray[np.float32]:
    """Mean of the tiles over each cell, by a summed-area table of these rows of the grid."""
    begin, end = int(rows.first[0]), int(rows.last[-1])
    table = np.zeros((end - begin + 1, values.shape[1] + 1))
    table[1:, 1:] = values[begin:end].cumsum(axis=0, dtype=np.float64).cumsum(axis=1)
    lines = table[rows.last - begin] - table[rows.first - begin]
    sums = lines[:, columns.last] - lines[:, columns.first]
    count = np.outer(rows.last - rows.first, columns.last - columns.first)
    return (sums.clip(0) / count).astype(np.float32)


def _max(values: NDArray[np.float32], rows: _Cells, columns: _Cells) -> NDArray[np.float32]:
    """Greatest of the tiles over each cell."""
    # `reduceat` takes pairs (first, last) of ranges that overlap, and says more between them.
    pairs = np.stack([columns.first, columns.last], axis=1).ravel()
    result = np.empty((len(rows.first), len(columns.first)), np.float32)
    for number, (first, last) in enumerate(zip(rows.first, rows.last, strict=True)):
        line = np.append(values[first:last].max(axis=0), np.float32(0))
        result[number] = np.maximum.reduceat(line, pairs)[::2]
    return result


def _median(values: NDArray[np.float32], rows: _Cells, columns: _Cells) -> NDArray[np.float32]:
    """Middle one of the tiles over each cell, the mean of two where their number is even."""
    result = np.empty((len(rows.first), len(columns.first)), np.float32)
    counts = columns.last - columns.first
    for number, (first, last) in enumerate(zip(rows.first, rows.last, strict=True)):
        lines = values[first:last]
        for count in np.unique(counts):
            cells = np.flatnonzero(counts == count)
            together = max(1, _MOST_NUMBERS // int(count * len(lines)))
            for some in np.split(cells, range(together, len(cells), together)):
                seen = lines[:, columns.first[some][:, None] + np.arange(count)]
                by_cell = np.moveaxis(seen, 1, 0).reshape(len(some), -1)
                result[number, some] = np.median(by_cell, axis=1)
    return result
