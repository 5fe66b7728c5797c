"""Weighted overlap in a ring of rows: as high as one tile, whatever the slide's height."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from slidemask.base.settings import Settings
from slidemask.base.types import Probs, Quantised


class Blend(Settings):
    """How overlapping tiles are joined.

    Parameters
    ----------
    window : {"ramp", "flat"}
        Weight of a tile's pixels: rising from its edge over the overlap, or all alike.
    augmentation : {"none", "flips", "all"}
        Mean over the tile as it is, its four flips, or all eight flips and quarter turns.
    batch : int
        Tiles a forward pass.
    """

    window: Literal["ramp", "flat"] = "ramp"
    augmentation: Literal["none", "flips", "all"] = "none"
    batch: int = Field(default=4, ge=1)


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


class Ring:
    """Sums of weighted foreground probabilities for the rows that are still open.

    Memory is (classes + 1) x tile x width float32.

    Parameters
    ----------
    classes : int
        Foreground classes K.
    tile : int
        Tile side.
    width : int
        Columns of the canvas; tiles may reach over it.
    """

    def __init__(self, classes: int, tile: int, width: int) -> None:
        self._sum = np.zeros((classes, tile, width), np.float32)
        self._weight = np.zeros((tile, width), np.float32)
        self._width = width

    def add(self, probs: Probs, x: int, weight: NDArray[np.float32]) -> None:
        """Add one tile's (K, tile, tile) foreground probabilities at column `x`."""
        end = min(x + weight.shape[1], self._width)
        weight = weight[:, : end - x]
        self._sum[:, :, x:end] += probs[:, :, : end - x] * weight
        self._weight[:, x:end] += weight

    def flush(self, rows: int) -> Quantised:
        """Return the first `rows` rows, finished, and move the rest up.

        Where no tile was, everything is background.
        """
        seen = self._weight[:rows]
        share = np.divide(
            self._sum[:, :rows], seen, out=np.zeros_like(self._sum[:, :rows]), where=seen > 0
        )
        for array in (self._sum, self._weight):
            array[..., :-rows, :] = array[..., rows:, :].copy() if rows < array.shape[-2] else 0
            array[..., -rows:, :] = 0
        return np.rint(share * 255).astype(np.uint8)
