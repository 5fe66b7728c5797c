"""Pixels counted by truth, best class and probability: every threshold's confusion from one pass.

A mask is one threshold's answer. The histogram keeps what the threshold would have seen, so that
curves over all thresholds, calibration, and the choice of a threshold need the network, and the
slide, only once.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.base.types import IGNORE, Labels, Quantised
from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.score import Truth, walk
from slidemask.geometry.box import Size

LEVELS = 256
"""Values of a probability that is stored as uint8."""

_CHUNK = 1 << 20
"""Pixels counted at a time; their 64-bit indices take 8 MB."""


class ProbabilityRows(Protocol):
    """Foreground probabilities that are read by rows."""

    @property
    def size(self) -> Size:
        """Pixels of the map."""
        ...

    def rows(self, top: int, height: int) -> Quantised:
        """Return (K, height, width) uint8."""
        ...


@dataclass(frozen=True, eq=False)
class Histogram:
    """Pixels of known truth; add histograms to pool slides.

    Parameters
    ----------
    counts : (C, K, 256) int64
        By true class (C = K + 1, background first), by most probable foreground class (0..K-1,
        the first of equals) and by foreground probability: the K values of a pixel added up, at
        most 255. This is what `slidemask.post.clean.labels_of` compares with the threshold.

    Examples
    --------
    >>> truth = np.array([[0, 1, 1, 255]], np.uint8)
    >>> probability = np.array([[[10, 200, 90, 255]]], np.uint8)
    >>> histogram = Histogram.of(truth, probability)
    >>> histogram.total, histogram.confusion_at(0.5).counts.tolist()
    (3, [[1, 0], [1, 1]])
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, truth: Labels, probability: Quantised) -> "Histogram":
        """Count one image; pixels whose truth is IGNORE do not count.

        Parameters
        ----------
        truth : (H, W) uint8
            0 to K, or IGNORE.
        probability : (K, H, W) uint8
            Foreground probabilities times 255.

        Raises
        ------
        SettingsError
            If the shapes differ, or the truth holds an index above K.
        """
        if probability.ndim != 3 or probability.shape[1:] != truth.shape:
            raise SettingsError(
                f"truth is {truth.shape} (rows, columns) and the probabilities are "
                f"{probability.shape} (classes, rows, columns); bring both to one resolution"
            )
        foreground = len(probability)
        known, values = truth.ravel(), probability.reshape(foreground, -1)
        counts = np.zeros((foreground + 1) * foreground * LEVELS, np.int64)
        for start in range(0, known.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            counts += _count(known[part], values[:, part])
        return cls(counts.reshape(foreground + 1, foreground, LEVELS))

    @classmethod
    def zero(cls, classes: int) -> "Histogram":
        """Return empty counts for `classes` classes, background included."""
        return cls(np.zeros((classes, classes - 1, LEVELS), np.int64))

    def __add__(self, other: "Histogram") -> "Histogram":
        return Histogram(self.counts + other.counts)

    @property
    def total(self) -> int:
        """Pixels counted."""
        return int(self.counts.sum())

    def confusion_at(self, threshold: float) -> Confusion:
        """Return the confusion of `labels_of` at `threshold`, before any cleaning.

        Raises
        ------
        SettingsError
            If the threshold is not within 0..1.
        """
        if not 0 <= threshold <= 1:
            raise SettingsError(f"a threshold of {threshold} is not within 0..1")
        return Confusion(self.confusions()[level_of(threshold)])

    def confusions(self) -> NDArray[np.int64]:
        """Return (256, C, C): the confusion where foreground is a total of v or more, by v."""
        return confusions_of(self.counts)


def confusions_of(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Turn (..., C, K, 256) histogram counts into (..., 256, C, C) confusion counts."""
    reached = counts[..., ::-1].cumsum(-1)[..., ::-1]
    foreground = np.moveaxis(reached, -1, -3)
    background = counts.sum((-1, -2))[..., None, :, None] - foreground.sum(-1, keepdims=True)
    return np.concatenate([background, foreground], axis=-1)


def level_of(threshold: float) -> int:
    """Return the least uint8 total that `labels_of` calls foreground at `threshold`.

    >>> level_of(0.5), level_of(0.2), level_of(1.0)
    (128, 51, 255)
    """
    return math.ceil(threshold * 255 - 1e-9)


def histogram_slide(
    truth: Truth,
    probability: ProbabilityRows,
    slide_size: Size,
    *,
    downsample: float,
    classes: int,
) -> Histogram:
    """Count a whole slide, band by band.

    Truth and probabilities meet as truth and mask do in `score_slide`: a label image at its own
    pixels, polygons at the map's.

    Parameters
    ----------
    truth : Truth
        Labels of any box.
    probability : ProbabilityRows
        Over the canvas, `slide_size.at(downsample)` pixels.
    slide_size : Size
        Level-0 pixels.
    downsample : float
        Level-0 pixels per pixel of the map.
    classes : int
        Number of classes, background included.

    Raises
    ------
    CohortError
        If the map's size is not the slide's at `downsample`.
    SettingsError
        If the map has another number of classes.
    """
    total = Histogram.zero(classes)
    for known, values in walk(truth, probability, slide_size, downsample):
        if len(values) != classes - 1:
            raise SettingsError(
                f"the probabilities are of {len(values)} foreground classes, but the truth has "
                f"{classes - 1}; score them with the class map of the model that made them"
            )
        total = total + Histogram.of(known, values)
    return total


def _count(truth: Labels, values: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count flat pixels: truth (N,), values (K, N)."""
    known = truth != IGNORE
    true, found = truth[known].astype(np.int64), values[:, known]
    foreground = len(found)
    if true.size and true.max() > foreground:
        raise SettingsError(
            f"truth holds class index {true.max()}, but the probabilities are of {foreground} "
            "foreground classes; check that model and class map list the same classes"
        )
    best = found.argmax(0)
    total = np.minimum(found.sum(0, dtype=np.int64), LEVELS - 1)
    index = (true * foreground + best) * LEVELS + total
    shape = (foreground + 1) * foreground * LEVELS
    return np.bincount(index, minlength=shape).astype(np.int64, copy=False)
