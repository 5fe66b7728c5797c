"""Figures against the threshold, and whether probabilities mean what they say.

All of it follows from pooled `Histogram` counts. The functions that the bootstrap calls take
arrays with any leading axes, so that thousands of resamples are one call.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidemask.evaluate.confusion import matthews
from slidemask.evaluate.histogram import LEVELS, Histogram

Counts = NDArray[np.int64] | NDArray[np.float64]
Values = NDArray[np.float64]

BINS: Final = 10
"""Of equal width, for the reliability diagram and the calibration error."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """One class against the rest at every threshold, from counts pooled over all slides.

    Each array is (256,), from threshold 0 (all is foreground) to 1; NaN where it is not defined.
    """

    thresholds: Values
    precision: Values
    recall: Values
    dice: Values
    iou: Values
    mcc: Values

    def best(self, name: str = "dice") -> tuple[float, float]:
        """Return the threshold at which a figure is highest (the middle of equals), and its value.

        NaN, NaN where it is defined nowhere.
        """
        values = np.asarray(getattr(self, name))
        if np.isnan(values).all():
            return float("nan"), float("nan")
        highest = float(np.nanmax(values))
        places = np.flatnonzero(values == highest)
        return float(self.thresholds[places[len(places) // 2]]), highest


@dataclass(frozen=True)
class ReliabilityBin:
    """Pixels of like probability: what was promised and what was found.

    Parameters
    ----------
    low, high : float
        Foreground probabilities from `low` to below `high`; the last bin holds 1 too.
    promised : float
        Their mean probability; NaN without pixels.
    found : float
        Which share of them is foreground; NaN without pixels.
    pixels : int
    """

    low: float
    high: float
    promised: float
    found: float
    pixels: int


def sweep(histogram: Histogram, index: int) -> Sweep:
    """Take class `index` (1..K) against the rest at each of the 256 thresholds.

    A pixel is called the class where the class is its most probable one and its foreground
    probability reaches the threshold, as `slidemask.post.clean.labels_of` has it; cleaning comes
    after that and is not in the curve.
    """
    tp, fp, fn, tn = _one_vs_rest(histogram.confusions(), index)
    return Sweep(
        thresholds=np.arange(LEVELS) / (LEVELS - 1),
        precision=_ratio(tp, tp + fp),
        recall=_ratio(tp, tp + fn),
        dice=_ratio(2 * tp, 2 * tp + fp + fn),
        iou=_ratio(tp, tp + fp + fn),
        mcc=matthews(tp, fp, fn, tn),
    )


def average_precision(confusions: Counts) -> Values:
    """Return the area under the precision-recall curve (AUPRC) of each class.

    The sum of (gain in recall) x precision over falling thresholds, without interpolation: what
    scikit-learn calls `average_precision_score`. Straight lines between the points would flatter
    (Davis and Goadrich, ICML 2006). By chance alone it is the class's share of the pixels, not
    0.5. With several classes, recall ends where the class is no longer the most probable one; what
    is not reached adds nothing.

    Parameters
    ----------
    confusions : (..., 256, C, C)
        By threshold, from `Histogram.confusions` or `confusions_of`; sums may be weighted.

    Returns
    -------
    (..., C) float64
        NaN for background, and for a class that is not in the truth.

    Examples
    --------
    >>> truth, sure = np.array([[0, 0, 1, 1]], np.uint8), np.array([[[9, 99, 88, 200]]], np.uint8)
    >>> average_precision(Histogram.of(truth, sure).confusions()).round(3).tolist()
    [nan, 0.833]
    """
    result = np.full((*confusions.shape[:-3], confusions.shape[-1]), np.nan)
    for index in range(1, confusions.shape[-1]):
        tp, fp, fn, _ = _one_vs_rest(confusions, index)
        recall = _ratio(tp, tp + fn)
        precision = np.nan_to_num(_ratio(tp, tp + fp))
        lower = np.concatenate([recall[..., 1:], np.zeros_like(recall[..., :1])], axis=-1)
        result[..., index] = ((recall - lower) * precision).sum(-1)
    return result


def calibration_error(counts: Counts, bins: int = BINS) -> Values:
    """Return the expected calibration error (ECE) of the foreground probability.

    The mean, over all pixels, of the distance of the share that is foreground from the mean
    probability, in each of `bins` bins of equal width (Naeini et al., AAAI 2015; Guo et al.,
    ICML 2017). Foreground is any class but background: the map's probabilities added
    up. Slides are mostly background of which a network is rightly sure, so a small error can hide
    a badly calibrated border; read it with the reliability diagram.

    Parameters
    ----------
    counts : (..., C, K, 256)
        Of a `Histogram`; sums may be weighted.
    bins : int

    Returns
    -------
    (...) float64
        0 to 1; NaN without pixels.
    """
    promised, found, pixels = _binned(counts, bins)
    return _ratio(np.abs(promised - found).sum(-1), pixels.sum(-1))


def brier_score(counts: Counts) -> Values:
    """Return the mean of (probability - truth)² over pixels: foreground 1, background 0.

    0 is perfect; always saying 0.5 gives 0.25, and always the foreground's share s, s (1 - s).

    Parameters
    ----------
    counts : (..., C, K, 256)
        Of a `Histogram`; sums may be weighted.
    """
    nothing, something = _by_level(counts)
    level = np.arange(LEVELS) / (LEVELS - 1)
    lost = (nothing * level**2 + something * (1 - level) ** 2).sum(-1)
    return _ratio(lost, (nothing + something).sum(-1))


def reliability(histogram: Histogram, bins: int = BINS) -> list[ReliabilityBin]:
    """Return what was promised and what was found in bins of equal width.

    Examples
    --------
    >>> truth, sure = np.array([[0, 1, 1, 1]], np.uint8), np.full((1, 1, 4), 204, np.uint8)
    >>> (full,) = [bin for bin in reliability(Histogram.of(truth, sure)) if bin.pixels]
    >>> full.promised, full.found
    (0.8, 0.75)
    """
    promised, found, pixels = _binned(histogram.counts, bins)
    means, shares = _ratio(promised, pixels), _ratio(found, pixels)
    return [
        ReliabilityBin(n / bins, (n + 1) / bins, float(means[n]), float(shares[n]), int(pixels[n]))
        for n in range(bins)
    ]


def _one_vs_rest(confusions: Counts, index: int) -> tuple[Values, Values, Values, Values]:
    """Return (..., 256) true positives, false positives, false negatives, true negatives."""
    counts = confusions.astype(np.float64, copy=False)
    tp = counts[..., index, index]
    fp = counts[..., :, index].sum(-1) - tp
    fn = counts[..., index, :].sum(-1) - tp
    return tp, fp, fn, counts.sum((-1, -2)) - tp - fp - fn


def _by_level(counts: Counts) -> tuple[Values, Values]:
    """Return (..., 256) pixels of background and of foreground by probability."""
    by_truth = counts.sum(-2, dtype=np.float64)
    return by_truth[..., 0, :], by_truth[..., 1:, :].sum(-2)


def _binned(counts: Counts, bins: int) -> tuple[Values, Values, Values]:
    """Return (..., bins): probabilities added up, foreground pixels, pixels."""
    nothing, something = _by_level(counts)
    level = np.arange(LEVELS) / (LEVELS - 1)
    place = np.minimum((np.arange(LEVELS) * bins) // (LEVELS - 1), bins - 1)
    into = (place[:, None] == np.arange(bins)).astype(np.float64)
    both = nothing + something
    return (both * level) @ into, something @ into, both @ into


def _ratio(part: Values, whole: Values) -> Values:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)
