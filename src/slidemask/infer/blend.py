"""Weighted overlap of tiles: only sums of what further tiles may still reach are held."""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slidemask.base.settings import Settings
from slidemask.base.types import Probs, Quantised
from slidemask.geometry.squeezed import blank, zeros
from slidemask.infer.votes import Votes
from slidemask.models.devices import Precision


class Blend(Settings):
    """How tiles are predicted, and how overlapping ones are joined.

    Parameters
    ----------
    window : {"ramp", "flat"}
        Weight of a tile's pixels: rising from its edge over the overlap, or all alike.
    augmentation : {"none", "flips", "all"}
        Mean over the tile as it is, its four flips, or all eight flips and quarter turns.
    batch : int
        Tiles a forward pass; 0 = what suits the device: 1 on the CPU, whose caches and memory
        more of them only strain, 8 elsewhere.
    precision : {"auto", "fp32", "bf16", "fp16"}
        Numbers in which the network computes; auto: the fastest that the device multiplies in.
    votes : Votes
        For a network that says one class a tile: how its tiles make a map. The window is
        not for it.
    vote_share : float, optional
        For a network that says a class for each pixel: a tile counts as all foreground, of the
        class that it has most of, where at least this share of its pixels is positive (foreground
        probability 0.5 or more), else as background; 0.7 for the U-Net in Frank 2022,
        rs-122564/v3. None: pixels count for themselves.
    """

    window: Literal["ramp", "flat"] = "ramp"
    augmentation: Literal["none", "flips", "all"] = "none"
    batch: int = Field(default=0, ge=0)
    precision: Precision = "auto"
    votes: Votes = Votes()
    vote_share: float | None = Field(default=None, gt=0, le=1)

    def batch_on(self, device: str) -> int:
        """Tiles a forward pass on "cpu", "cuda:0" or the like.

        >>> Blend().batch_on("cpu"), Blend().batch_on("cuda:0"), Blend(batch=3).batch_on("cpu")
        (1, 8, 3)
        """
        return self.batch or (1 if device == "cpu" else 8)


def weights(tile: int, stride: int, window: str) -> NDArray[np.float32]:
    """Return (tile, tile) weights: 1 in the core, falling over the overlap, never zero.

    >>> weights(4, 3, "ramp")[0].round(2).tolist()
    [0.25, 0.5, 0.5, 0.25]
    """
    if window == "flat":
        return np.ones((tile, tile), np.float32)
    from_edge = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1
    ramp = np.minimum(1.0, from_edge / (tile - stride + 1))
    return np.outer(ramp, ramp).astype(np.float32)


def as_votes(probs: Probs, share: float) -> Probs:
    """Make tiles of pixels say one class each, certainly.

    Parameters
    ----------
    probs : (N, K + 1, H, W) float32
    share : float
        A tile is positive where at least this share of its pixels is.

    Returns
    -------
    (N, K + 1, H, W) float32
        0 or 1: background, or the class that most positive pixels have, the first of equals.

    Examples
    --------
    >>> tile = np.float32([[[[0.1, 0.6], [0.2, 0.5]], [[0.9, 0.4], [0.8, 0.5]]]])
    >>> as_votes(tile, 0.75)[0, 1].tolist(), as_votes(tile, 0.8)[0, 1].tolist()
    ([[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]])
    """
    best = 1 + probs[:, 1:].argmax(axis=1)
    best[probs[:, 1:].sum(axis=1) < 0.5 - 1e-6] = 0  # softmax may miss a tie by the last bits
    counts = np.stack([(best == index).mean(axis=(1, 2)) for index in range(1, probs.shape[1])])
    said = np.where(counts.sum(axis=0) >= share - 1e-9, 1 + counts.argmax(axis=0), 0)
    votes = np.zeros_like(probs)
    votes[np.arange(len(said)), said] = 1
    return votes


class Ring:
    """Sums of weighted foreground probabilities, only where tiles may still be added.

    Sums are held in blocks of columns. Of a block that the tiles of a row have passed, the rows
    that are finished become bytes at once and only what the next row of tiles reaches into is
    kept as sums: memory is (classes + 1) x overlap float32 and classes x stride bytes for each
    column where tiles were, and time goes by tiles, whatever the slide's width.

    Parameters
    ----------
    classes : int
        Foreground classes K.
    tile : int
        Tile side.
    stride : int
        From a row of tiles to the next.
    width : int
        Columns of the canvas; tiles may reach over it.
    """

    def __init__(self, *, classes: int, tile: int, stride: int, width: int) -> None:
        self._open: dict[int, _Sums] = {}
        self._above: dict[int, _Sums] = {}  # what the row above left, until a block is opened
        self._below: dict[int, _Sums] = {}
        self._band: Quantised | None = None
        self._at = 0
        self._classes, self._tile, self._stride, self._width = classes, tile, stride, width

    def add(self, probs: Probs, x: int, weight: NDArray[np.float32]) -> None:
        """Add one tile's (K, tile, tile) foreground probabilities at column `x`.

        Raises
        ------
        ValueError
            If a tile of the row further to the right came before.
        """
        if x < self._at:
            raise ValueError(f"tiles come from the left to the right, not {self._at} before {x}")
        self._at = x
        side, end = self._tile, min(x + weight.shape[1], self._width)
        for number in [number for number in self._open if (number + 1) * side <= x]:
            self._settle(number)
        for number in range(x // side, -(-end // side)):
            left = number * side
            columns = slice(max(x, left), min(end, left + side))
            here, there = _moved(columns, left), _moved(columns, x)
            block = self._opened(number)
            block.sum[:, :, here] += probs[:, :, there] * weight[:, there]
            block.weight[:, here] += weight[:, there]

    def flush(self, rows: int) -> Quantised:
        """Return the first `rows` rows, finished, and go on to the next row of tiles.

        All rows of tiles have `stride` rows but the last, which ends with the canvas. Where no
        tile was, everything is background; the array may be read-only.
        """
        for number in {*self._open, *self._above}:
            self._opened(number)
            self._settle(number)
        self._above, self._below = self._below, {}
        band, self._band, self._at = self._band, None, 0
        shape = self._classes, rows, self._width
        if band is None:  # glass, as most of a large slide
            return blank(shape)
        if rows == self._stride:
            return band
        last = zeros(shape)
        last[:, : self._stride] = band[:, :rows]
        for number, below in self._above.items() if rows > self._stride else ():
            part = last[:, self._stride :, self._columns(number)]
            part[:] = below.means(rows - self._stride)[:, :, : part.shape[2]]
        return last

    def _columns(self, number: int) -> slice:
        return slice(number * self._tile, (number + 1) * self._tile)

    def _opened(self, number: int) -> "_Sums":
        """Return a block that tiles can be added to, with what the row above left."""
        if number not in self._open:
            block = _Sums.empty(self._classes, self._tile)
            if number in self._above:
                block.begin(self._above.pop(number))
            self._open[number] = block
        return self._open[number]

    def _settle(self, number: int) -> None:
        """Finish the rows of a block that the next row of tiles does not reach."""
        block = self._open.pop(number)
        if self._band is None:
            self._band = zeros((self._classes, self._stride, self._width))
        part = self._band[:, :, self._columns(number)]
        part[:] = block.means(self._stride)[:, :, : part.shape[2]]
        below = block.below(self._stride)
        if below.weight.any():
            self._below[number] = below


class _Sums(NamedTuple):
    """What a block of columns holds."""

    sum: NDArray[np.float32]
    weight: NDArray[np.float32]

    @classmethod
    def empty(cls, classes: int, side: int) -> "_Sums":
        return cls(np.zeros((classes, side, side), np.float32), np.zeros((side, side), np.float32))

    def means(self, rows: int) -> NDArray[np.float32]:
        """Return the first rows' weighted means, 0..255; their sums are lost."""
        share, seen = self.sum[:, :rows], self.weight[:rows]
        np.divide(share, seen, out=share, where=seen > 0)
        share *= 255
        return np.rint(share, out=share)

    def begin(self, above: "_Sums") -> None:
        """Take over the first rows' sums."""
        for mine, theirs in zip(self, above, strict=True):
            mine[..., : theirs.shape[-2], :] = theirs

    def below(self, rows: int) -> "_Sums":
        """Return a copy of the sums of what lies below some rows."""
        return _Sums(self.sum[:, rows:].copy(), self.weight[rows:].copy())


def _moved(part: slice, by: int) -> slice:
    return slice(part.start - by, part.stop - by)
