"""Which tiles an epoch is made of."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slidemask.base.settings import Settings
from slidemask.base.types import IGNORE
from slidemask.data.truth import Truth
from slidemask.geometry.box import Box
from slidemask.tiles.grid import TileGrid
from slidemask.tiles.select import TileSet

log = logging.getLogger(__name__)

_SAMPLES_PER_TILE = 64
_BAND_SAMPLES = 1 << 24


class Sampling(Settings):
    """How an epoch's tiles are drawn.

    Parameters
    ----------
    tiles_per_epoch : int, optional
        None: every candidate once, or, with a ratio, every positive once and negatives to match.
    negatives_per_positive : float, optional
        Negative tiles for each positive one; None takes them as they come.
    min_positive_share : float
        A tile is positive when more than nothing and at least this share of it is foreground.
    max_unknown_share : float
        Tiles of which more is unknown are no candidates.
    jitter : float
        Share of the stride by which a training tile moves at random, half to either side.
    seed : int
        Another seed, another order, other movements, other augmentation.
    """

    tiles_per_epoch: int | None = Field(default=None, ge=1)
    negatives_per_positive: float | None = Field(default=None, ge=0)
    min_positive_share: float = Field(default=0.0, ge=0, le=1)
    max_unknown_share: float = Field(default=0.9, ge=0, le=1)
    jitter: float = Field(default=1.0, ge=0, le=2)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, eq=False)
class TileTable:
    """Candidate tiles, one entry of each array per tile.

    Parameters
    ----------
    case : (N,) int32
        Index of the case.
    x, y : (N,) float64
        Top left corner, level-0 pixels.
    positive, unknown : (N,) float32
        Shares of foreground and of unknown pixels in the tile's part inside the slide.
    """

    case: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    positive: NDArray[np.float32]
    unknown: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.case)

    def where(self, wanted: NDArray[np.bool_]) -> "TileTable":
        """Return the tiles for which `wanted` is True."""
        return TileTable(*(getattr(self, field.name)[wanted] for field in fields(self)))

    def is_positive(self, sampling: Sampling) -> NDArray[np.bool_]:
        """Return which tiles hold enough foreground."""
        return (self.positive > 0) & (self.positive >= sampling.min_positive_share)


def tabulate(case: int, tiles: TileSet, truth: Truth, sampling: Sampling) -> TileTable:
    """List the kept tiles of one case of which enough is known."""
    grid = tiles.grid
    positive, unknown = (share[tiles.kept] for share in known_shares(grid, truth))
    x, y = (np.array([tile.box[axis] for tile in tiles], np.float64) for axis in (0, 1))
    table = TileTable(np.full(len(x), case, np.int32), x, y, positive, unknown)
    return table.where((unknown <= sampling.max_unknown_share) & (unknown < 1))


def join(tables: Sequence[TileTable]) -> TileTable:
    """Put the tables of several cases one after the other."""
    return TileTable(
        *(
            np.concatenate([getattr(table, field.name) for table in tables])
            for field in fields(TileTable)
        )
    )


def known_shares(grid: TileGrid, truth: Truth) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the shares of foreground and of unknown pixels of each tile, (rows, columns).

    The truth is sampled at 64 x 64 points a tile (fewer where a tile has fewer pixels), in bands
    of tile rows so that memory stays bounded, and summed over tiles by an integral image.
    """
    side, step = grid.tile * grid.downsample, grid.stride * grid.downsample
    coarse = max(grid.downsample, side / _SAMPLES_PER_TILE)
    columns = grid.slide.at(coarse).width
    band = max(1, int((_BAND_SAMPLES / columns * coarse - side) // step))
    shares = [
        _band_shares(grid, truth, range(first, min(first + band, grid.shape[0])), coarse)
        for first in range(0, grid.shape[0], band)
    ]
    positive, unknown = (np.concatenate(parts) for parts in zip(*shares, strict=True))
    return positive, unknown


def draw(table: TileTable, sampling: Sampling, epoch: int) -> NDArray[np.intp]:
    """Return the tiles of an epoch in their order; depends on the seed and the epoch alone.

    Where more tiles of a kind are asked for than there are, all are taken equally often, but for
    the last round.
    """
    rng = np.random.default_rng((sampling.seed, epoch))
    ratio, wanted = sampling.negatives_per_positive, sampling.tiles_per_epoch
    positive = table.is_positive(sampling)
    ones, zeros = np.flatnonzero(positive), np.flatnonzero(~positive)
    if ratio is None or not len(ones) or not len(zeros):
        everything = np.arange(len(table))
        return _rounds(everything, len(table) if wanted is None else wanted, rng)
    positives = len(ones) if wanted is None else max(1, round(wanted / (1 + ratio)))
    negatives = round(ratio * positives) if wanted is None else wanted - positives
    chosen = np.concatenate([_rounds(ones, positives, rng), _rounds(zeros, negatives, rng)])
    return rng.permutation(chosen)


def epoch_length(table: TileTable, sampling: Sampling) -> int:
    """Return how many tiles each epoch has."""
    return len(draw(table, sampling, 0))


def moved(
    origin: tuple[float, float], grid: TileGrid, jitter: float, rng: np.random.Generator
) -> Box:
    """Return the box of a training tile moved by chance, then pushed back onto the slide.

    It moves by whole pixels of the network's input, so that no needless resampling blurs it. A
    slide smaller than a tile stays inside the tile.
    """
    side = grid.tile * grid.downsample
    reach = jitter * grid.stride / 2
    steps = np.round(rng.uniform(-reach, reach, 2)) * grid.downsample
    x, y = (
        float(np.clip(place + step, min(0.0, length - side), max(0.0, length - side)))
        for place, step, length in zip(origin, steps, grid.slide, strict=True)
    )
    return Box(x, y, side, side)


def _rounds(pool: NDArray[np.intp], count: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """Draw `count` of `pool`, none twice before each was drawn once."""
    times = -(-count // len(pool))
    return np.concatenate([rng.permutation(pool) for _ in range(times)] or [pool[:0]])[:count]


def _band_shares(
    grid: TileGrid, truth: Truth, rows: range, coarse: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    side, step = grid.tile * grid.downsample, grid.stride * grid.downsample
    top = rows[0] * step
    height = min(grid.slide.height - top, (len(rows) - 1) * step + side)
    box = Box(0, top, grid.slide.width, max(height, coarse))
    labels = truth.labels(box, coarse)
    # Samples whose centre rounding put outside the slide are no part of any tile.
    inside = [
        max(1, int(np.sum((np.arange(count) + 0.5) * coarse < length)))
        for count, length in zip(labels.shape, (height, grid.slide.width), strict=True)
    ]
    labels = labels[: inside[0], : inside[1]]
    tops = np.round(np.arange(len(rows)) * step / coarse).astype(np.intp)
    lefts = np.round(np.arange(grid.shape[1]) * step / coarse).astype(np.intp)
    extent = round(side / coarse)
    return (
        _window_means((labels > 0) & (labels != IGNORE), tops, lefts, extent),
        _window_means(labels == IGNORE, tops, lefts, extent),
    )


def _window_means(
    mask: NDArray[np.bool_], tops: NDArray[np.intp], lefts: NDArray[np.intp], extent: int
) -> NDArray[np.float32]:
    """Return the mean of `mask` in each window, of its part inside, (tops, lefts)."""
    height, width = mask.shape
    tops, lefts = np.minimum(tops, height - 1), np.minimum(lefts, width - 1)
    bottoms, rights = np.minimum(tops + extent, height), np.minimum(lefts + extent, width)
    sums = np.asarray(cv2.integral(mask.view(np.uint8)))  # int32; a band is < 2**25 samples
    total = (
        sums[np.ix_(bottoms, rights)]
        - sums[np.ix_(tops, rights)]
        - sums[np.ix_(bottoms, lefts)]
        + sums[np.ix_(tops, lefts)]
    )
    return (total / np.outer(bottoms - tops, rights - lefts)).astype(np.float32)
