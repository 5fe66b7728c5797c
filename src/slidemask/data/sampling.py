"""Which tiles an epoch is made of."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from slidemask.base.settings import Settings
from slidemask.base.types import IGNORE, Labels
from slidemask.data.truth import Truth
from slidemask.geometry.box import Box
from slidemask.tiles.grid import TileGrid

log = logging.getLogger(__name__)

OVERLAPS = (0.0, 0.25, 0.5, 0.6, 0.67, 0.75, 0.8, 0.84, 0.88, 0.9, 0.92, 0.94, 0.96)
"""Each gives about half as many tiles again as the one before, or more."""
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
        A tile is positive when more than nothing and at least this share of what is known of it is
        foreground; a network that votes calls it so by the same share, `model.min_share`.
    max_unknown_share : float
        Tiles of which more is unknown are no candidates.
    jitter : float
        Share of the stride by which a training tile moves at random, half to either side; 0 keeps
        tiles on their grid.
    squeeze : bool
        The whole slide is squeezed into its one tile, whatever its shape, for methods that see
        photos so; it needs a tiling that gives each slide but one.
    balance : {"none", "overlap"}
        "overlap": training tiles of each class, and those of none, are cut with an overlap of
        their own, so that there are equally many, and what is too much is left out by chance;
        Frank 2022, rs-122564/v3.
    overlaps : tuple of float
        Overlaps that `balance` may choose from.
    tiles_per_class : int, optional
        Most tiles of a class that `balance` takes; None: as many as the rarest class gives at the
        overlap where it gives most.
    hard_rounds : tuple of int
        After each of these epochs the network looks through all negative training tiles; from
        then on it sees more of those where it found most that is not there.
    hard_share : float
        Share of an epoch's negative tiles that are drawn from these.
    hard_pool : float
        Share of all negative tiles that they are; none that the network got right altogether.
    seed : int
        Another seed, another order, other movements, other augmentation.
    """

    tiles_per_epoch: int | None = Field(default=None, ge=1)
    negatives_per_positive: float | None = Field(default=None, ge=0)
    min_positive_share: float = Field(default=0.0, ge=0, le=1)
    max_unknown_share: float = Field(default=0.9, ge=0, le=1)
    jitter: float = Field(default=1.0, ge=0, le=2)
    squeeze: bool = False
    balance: Literal["none", "overlap"] = "none"
    overlaps: tuple[float, ...] = OVERLAPS
    tiles_per_class: int | None = Field(default=None, ge=1)
    hard_rounds: tuple[int, ...] = ()
    hard_share: float = Field(default=0.5, gt=0, le=1)
    hard_pool: float = Field(default=0.1, gt=0, le=1)
    seed: int = Field(default=0, ge=0)

    @field_validator("overlaps")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or not all(0 <= overlap < 1 for overlap in value):
            raise ValueError("overlaps must lie in 0..1, below 1, and there must be one")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _balanced(self) -> "Sampling":
        if self.tiles_per_class is not None and self.balance == "none":
            raise ValueError('tiles_per_class is for balance = "overlap"; set both or neither')
        return self

    @model_validator(mode="after")
    def _harder(self) -> "Sampling":
        if self.hard_rounds and self.negatives_per_positive is None:
            raise ValueError(
                "hard_rounds chooses among an epoch's negative tiles, so their number must be "
                "told: give negatives_per_positive, or leave hard_rounds empty"
            )
        if any(epoch < 1 for epoch in self.hard_rounds):
            raise ValueError("hard_rounds are numbers of epochs, from 1 on")
        return self


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
        Shares of foreground among known pixels (0 where there is none), and of unknown pixels
        among all, in the tile's part inside the slide.
    label : (N,) uint8
        The class that holds most of the tile where it is positive, otherwise 0.
    stride : (N,) int32
        Step of the grid that it comes from, pixels of the network's input.
    entropy : (N,) float64
        Bits; NaN where nobody asked.
    """

    case: NDArray[np.int32]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    positive: NDArray[np.float32]
    unknown: NDArray[np.float32]
    label: NDArray[np.uint8]
    stride: NDArray[np.int32]
    entropy: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.case)

    def where(self, wanted: NDArray[np.bool_] | NDArray[np.intp]) -> "TileTable":
        """Return the tiles for which `wanted` is True, or of these numbers."""
        return TileTable(*(getattr(self, field.name)[wanted] for field in fields(self)))

    def is_positive(self, sampling: Sampling) -> NDArray[np.bool_]:
        """Return which tiles hold enough foreground."""
        return _is_positive(self.positive, sampling)

    def is_known(self, sampling: Sampling) -> NDArray[np.bool_]:
        """Return of which tiles enough is known."""
        return (self.unknown <= sampling.max_unknown_share) & (self.unknown < 1)


def tabulate(
    case: int, grid: TileGrid, truth: Truth, sampling: Sampling, *, classes: int = 1
) -> TileTable:
    """List all tiles of a case's grid, by rows, with what is known of them.

    Parameters
    ----------
    case : int
        Index of the case.
    grid : TileGrid
        Over its slide.
    truth : Truth
        Of the slide.
    sampling : Sampling
        From which share of foreground on a tile is positive.
    classes : int
        Number of foreground classes.
    """
    positive, unknown = (share.ravel() for share in known_shares(grid, truth))
    label = _is_positive(positive, sampling).astype(np.uint8)
    if classes > 1:
        label *= _largest_class(grid, truth, classes).ravel()
    step, (rows, columns) = grid.stride * grid.downsample, grid.shape
    count = rows * columns
    return TileTable(
        case=np.full(count, case, np.int32),
        x=np.tile(np.arange(columns, dtype=np.float64) * step, rows),
        y=np.repeat(np.arange(rows, dtype=np.float64) * step, columns),
        positive=positive,
        unknown=unknown,
        label=label,
        stride=np.full(count, grid.stride, np.int32),
        entropy=np.full(count, np.nan),
    )


def _is_positive(share: NDArray[np.float32], sampling: Sampling) -> NDArray[np.bool_]:
    return (share > 0) & (share >= sampling.min_positive_share)


def join(tables: Sequence[TileTable]) -> TileTable:
    """Put the tables of several cases one after the other."""
    return TileTable(
        *(
            np.concatenate([getattr(table, field.name) for table in tables])
            for field in fields(TileTable)
        )
    )


def known_shares(grid: TileGrid, truth: Truth) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return `TileTable`'s shares of foreground and of the unknown of each tile, (rows, columns).

    The truth is sampled at 64 x 64 points a tile (fewer where a tile has fewer pixels), in bands
    of tile rows so that memory stays bounded, and summed over tiles by an integral image.
    """
    parts = []
    for labels, windows in _bands(grid, truth):
        known = labels != IGNORE
        masks = (known & (labels > 0), known, np.ones_like(known))
        parts.append([windows.sums(mask) for mask in masks])
    positive, known, whole = (np.concatenate(sums) for sums in zip(*parts, strict=True))
    share, unknown = positive / np.maximum(known, 1), 1 - known / whole
    return share.astype(np.float32), unknown.astype(np.float32)


def _largest_class(grid: TileGrid, truth: Truth, classes: int) -> NDArray[np.uint8]:
    """Return the class, 1..`classes`, that holds most of each tile, the first of equals."""
    rows = []
    for labels, windows in _bands(grid, truth):
        sums = [windows.sums(labels == number) for number in range(1, classes + 1)]
        rows.append(np.argmax(sums, axis=0).astype(np.uint8) + 1)
    return np.concatenate(rows)


def draw(
    table: TileTable, sampling: Sampling, epoch: int, hard: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Return the tiles of an epoch in their order; depends on seed, epoch and `hard` alone.

    Where more tiles of a kind are asked for than there are, all are taken equally often, but for
    the last round. `hard` are the negative tiles to be seen more often.
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
    harder = round(sampling.hard_share * negatives) if hard is not None and len(hard) else 0
    chosen = [_rounds(ones, positives, rng), _rounds(zeros, negatives - harder, rng)]
    if harder and hard is not None:
        chosen.append(_rounds(hard, harder, rng))
    return rng.permutation(np.concatenate(chosen))


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


@dataclass(frozen=True)
class _Windows:
    """Tiles over a band of sampled labels: upper and left edges, side, in samples."""

    tops: NDArray[np.intp]
    lefts: NDArray[np.intp]
    extent: int

    def sums(self, mask: NDArray[np.bool_]) -> NDArray[np.int32]:
        """Return how many samples of each tile `mask` holds, of its part inside, (tops, lefts)."""
        height, width = mask.shape
        tops, lefts = np.minimum(self.tops, height - 1), np.minimum(self.lefts, width - 1)
        bottoms = np.minimum(tops + self.extent, height)
        rights = np.minimum(lefts + self.extent, width)
        # A band is < 2**25 samples.
        sums = np.asarray(cv2.integral(mask.view(np.uint8)), np.int32)
        return (
            sums[np.ix_(bottoms, rights)]
            - sums[np.ix_(tops, rights)]
            - sums[np.ix_(bottoms, lefts)]
            + sums[np.ix_(tops, lefts)]
        )


def _bands(grid: TileGrid, truth: Truth) -> Iterator[tuple[Labels, _Windows]]:
    """Yield sampled labels of some rows of tiles after the other, and where the tiles lie."""
    side, step = grid.tile * grid.downsample, grid.stride * grid.downsample
    coarse = max(grid.downsample, side / _SAMPLES_PER_TILE)
    columns = grid.slide.at(coarse).width
    rows = max(1, int((_BAND_SAMPLES / columns * coarse - side) // step))
    lefts = np.round(np.arange(grid.shape[1]) * step / coarse).astype(np.intp)
    for first in range(0, grid.shape[0], rows):
        count = min(rows, grid.shape[0] - first)
        top = first * step
        height = min(grid.slide.height - top, (count - 1) * step + side)
        labels = truth.labels(Box(0, top, grid.slide.width, max(height, coarse)), coarse)
        # Samples whose centre rounding put outside the slide are no part of any tile.
        inside = [
            max(1, int(np.sum((np.arange(n) + 0.5) * coarse < length)))
            for n, length in zip(labels.shape, (height, grid.slide.width), strict=True)
        ]
        tops = np.round(np.arange(count) * step / coarse).astype(np.intp)
        windows = _Windows(tops, lefts, round(side / coarse))
        yield labels[: inside[0], : inside[1]], windows
