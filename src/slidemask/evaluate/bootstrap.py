"""Intervals by resampling patients: every figure is a function of sums over patients.

A cohort is a sample of patients; the pixels, tiles, objects and slides of one patient resemble one
another and are no samples of their own. The bootstrap draws as many patients as there are, with
replacement, thousands of times, and looks how the figure varies (B. Efron, "Bootstrap methods:
another look at the jackknife", Annals of Statistics 7, 1979; percentile intervals: B. Efron and
R. J. Tibshirani, "An introduction to the bootstrap", 1993, chapter 13). Drawing patients means
weighting their sums, so pooled figures and means of any kind go one way: weights times sums.

Limits: an interval knows only the variation between the patients that are there. From few of them
it is too narrow: that of a mean by a fifth at 10 patients, by a tenth at 20 (its quantiles are
those of z, not of t, and the spread is divided by P, not P - 1), and worse where few patients carry
the object. With one patient there is none. It says nothing of other scanners, stains and hospitals
than the cohort's.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

RESAMPLES: Final = 2000
"""Draws of a cohort; the bounds of an interval then vary by 1.5 % of its width with the seed."""

BOUNDS: Final = (0.025, 0.975)
"""Quantiles of the resampled figures that bound a 95 % interval."""

_CHUNK = 1 << 21
"""Numbers that are resampled at a time (16 MB): histograms are 512 numbers and more a patient."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """A figure (or several of one kind) with what is needed to resample it.

    Parameters
    ----------
    parts : (P, ...) float64
        What each patient adds: pixel counts, or a sum of values and their number.
    figure : callable
        The figure, of shape R, from the sum of parts, for any leading axes; NaN where it is not
        defined.
    redrawn : callable, optional
        The same for resamples, where it is stricter about what is defined.

    Examples
    --------
    The mean of one number a patient, and where its 95 % interval lies:

    >>> numbers = np.arange(100.0)
    >>> mean = Estimate(np.stack([numbers, np.ones(100)], 1), lambda s: s[..., 0] / s[..., 1])
    >>> low, high = mean.interval()
    >>> float(mean.value), round(float(low)), round(float(high))
    (49.5, 44, 55)
    """

    parts: Values
    figure: Callable[[Values], Values]
    redrawn: Callable[[Values], Values] | None = None

    @property
    def value(self) -> Values:
        """The figure of the cohort as it is, of shape R."""
        return np.asarray(self.figure(self.parts.sum(0)))

    @property
    def alone(self) -> NDArray[np.bool_]:
        """Whether each patient, taken alone, has the figure, (P, R)."""
        chunks = [self.figure(part) for part in _chunks(self.parts)]
        return ~np.isnan(np.concatenate(chunks) if chunks else np.empty((0, *self.value.shape)))

    @property
    def defined(self) -> NDArray[np.intp]:
        """In how many patients, taken alone, the figure is defined, of shape R."""
        return np.asarray(self.alone.sum(0))

    def resampled(self, weights: Values) -> Values:
        """Return (B, R) figures of B cohorts drawn with `weights`, (B, P)."""
        one = self.parts.shape[1:]
        flat = self.parts.reshape(len(self.parts), int(np.prod(one)))
        step = max(1, _CHUNK // max(1, flat.shape[1]))
        starts = range(0, len(weights), step)
        drawn = ((weights[start : start + step] @ flat).reshape(-1, *one) for start in starts)
        figure = self.redrawn or self.figure
        return np.concatenate([figure(sums) for sums in drawn])

    def interval(self, seed: int = 0, resamples: int = RESAMPLES) -> tuple[Values, Values]:
        """Return the lower and upper bounds of the 95 % interval, each of shape R.

        Draws in which the figure is not defined are left out. NaN where fewer than two patients
        have the figure: what one patient has cannot vary.
        """
        enough = self.defined >= 2
        if not enough.any():
            nothing = np.full(enough.shape, np.nan)
            return nothing, nothing
        drawn = self.resampled(draws(len(self.parts), seed, resamples))
        low, high = bounds(drawn)
        return np.where(enough, low, np.nan), np.where(enough, high, np.nan)


@lru_cache(maxsize=4)
def draws(patients: int, seed: int = 0, resamples: int = RESAMPLES) -> Values:
    """Return (B, P) float64: how often each patient is drawn in each resample; rows sum to P.

    The same arguments give the same draws, so figures that share them vary together.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(patients, np.full(patients, 1 / patients), size=resamples)
    weights = drawn.astype(np.float64)
    weights.setflags(write=False)
    return weights


def bounds(drawn: Values) -> tuple[Values, Values]:
    """Return the 2.5 and 97.5 per cent quantiles of (B, R) over B, NaNs left out."""
    columns = drawn.reshape(len(drawn), -1)
    found = np.full((2, columns.shape[1]), np.nan)
    for number, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if defined.size:
            found[:, number] = np.quantile(defined, BOUNDS)
    low, high = found.reshape(2, *drawn.shape[1:])
    return low, high


def _chunks(parts: Values) -> Iterator[Values]:
    step = max(1, _CHUNK // max(1, int(np.prod(parts.shape[1:]))))
    return (parts[start : start + step] for start in range(0, len(parts), step))
