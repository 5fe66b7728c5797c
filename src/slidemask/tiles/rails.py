"""The least and the greatest entropy that a diseased tile has."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, model_validator

from slidemask.base.errors import SettingsError
from slidemask.base.settings import Settings

SLACK_BITS = 1e-9
"""Sums in another order differ in the last bits: a tile on a rail lies within it all the same."""


class Rails(Settings):
    """Two entropies between which tiles are worth classifying; Frank 2022, rs-122564/v3.

    Parameters
    ----------
    low, high : float
        Bits, 0..8. In the paper 6.42 and 7.46 for 400 px tiles of PAIP2020.

    Examples
    --------
    >>> Rails(low=6.42, high=7.46).within([6.0, 6.42, 7.0, 7.5]).tolist()
    [False, True, True, False]
    """

    low: float = Field(ge=0, le=8)
    high: float = Field(ge=0, le=8)

    @model_validator(mode="after")
    def _in_order(self) -> "Rails":
        if self.low > self.high:
            raise ValueError(f"the lower rail is above the upper: {self.low} > {self.high} bits")
        return self

    @property
    def spread(self) -> float:
        """Distance of the rails, bits."""
        return self.high - self.low

    def within(self, entropies: ArrayLike) -> NDArray[np.bool_]:
        """Say of each entropy, any shape, whether it lies on or between the rails.

        NaN, an entropy that is not known, does not.
        """
        bits = np.asarray(entropies, np.float64)
        return (bits >= self.low - SLACK_BITS) & (bits <= self.high + SLACK_BITS)


def learn_rails(diseased: ArrayLike) -> Rails:
    """Return the rails of training tiles: the extremes over the diseased, subtypes together.

    Parameters
    ----------
    diseased : (N,) float
        Entropies of the tiles that count as diseased, bits; of training slides only.

    Raises
    ------
    SettingsError
        If there is no tile, or an entropy is not a number from 0 to 8.

    Examples
    --------
    >>> learn_rails([7.1, 6.4, 7.3])
    Rails(low=6.4, high=7.3)
    """
    bits = np.asarray(diseased, np.float64).ravel()
    if bits.size == 0:
        raise SettingsError(
            "No diseased tile to learn the rails from: lower the share of a tile that must be "
            "diseased, use smaller tiles, or check the annotations."
        )
    if not ((bits >= 0) & (bits <= 8)).all():
        wrong = bits[~((bits >= 0) & (bits <= 8))]
        raise SettingsError(
            f"Entropies of 8-bit tiles lie in 0..8 bits, got {wrong[0]:g} and "
            f"{wrong.size - 1} more such among {bits.size}."
        )
    return Rails(low=float(bits.min()), high=float(bits.max()))
