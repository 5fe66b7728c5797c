"""What the recall seen on a few objects promises for others: thresholds chosen with confidence."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv


def lower_bound(kept: ArrayLike, total: int, confidence: float) -> NDArray[np.float64]:
    """Return the least share of objects that is kept, with this confidence, where so many were.

    One-sided interval of Clopper and Pearson (1934), exact for objects that are kept or lost
    independently of each other. Those of one slide are more alike than that, so it promises
    somewhat too much where there are few slides.

    Parameters
    ----------
    kept : int, or (n,) int
        Of `total` objects; each number is a case of its own.
    total : int
        At least 1.
    confidence : float
        Below 1.

    Examples
    --------
    >>> lower_bound(np.array([0, 30, 59]), 59, 0.95).round(3).tolist()
    [0.0, 0.395, 0.95]
    """
    kept = np.asarray(kept)
    found = betaincinv(np.maximum(kept, 1), total - kept + 1, 1 - confidence)
    return np.where(kept > 0, found, 0.0)


def objects_needed(recall: float, confidence: float) -> float:
    """Return how many objects promise a recall if all of them are kept; infinite for all.

    >>> objects_needed(0.95, 0.95), objects_needed(0.99, 0.95), objects_needed(1, 0.95)
    (59, 299, inf)
    """
    if recall == 1:
        return math.inf
    return math.ceil(math.log(1 - confidence) / math.log(recall) - 1e-9)


def surest_threshold(counts: NDArray[np.int64], recall: float, confidence: float) -> float:
    """Return the highest threshold at which the share of objects kept is surely this large.

    Lower thresholds keep more, so of all 256 the first that falls short ends the search, and the
    confidence holds for the one that is chosen (fixed-sequence testing). Where there are too few
    objects for any threshold to promise it, it is the highest that keeps all of them; without
    any object, 0.

    Parameters
    ----------
    counts : (256,) int64
        Objects by the highest value of the threshold that keeps them.
    recall : float
        Share that is asked for.
    confidence : float
        0: the share of these very objects is enough.

    Examples
    --------
    >>> counts = np.zeros(256, np.int64)
    >>> counts[[3, 100, 200]] = 1, 40, 59
    >>> [round(255 * surest_threshold(counts, 0.9, sure)) for sure in (0.0, 0.95, 0.9999)]
    [100, 100, 3]
    """
    total = int(counts.sum())
    if not total:
        return 0.0
    kept = np.cumsum(counts[::-1])[::-1]
    share = lower_bound(kept, total, confidence) if confidence else kept / total
    enough = np.flatnonzero(share >= recall - 1e-9)
    if not len(enough):
        enough = np.flatnonzero(kept == total)
    return float(enough[-1]) / 255
