"""Pixel counts, and the figures that follow from them.

What is empty is not counted: where a figure's denominator is zero the figure is NaN, never 0
and never 1. A class that is in neither truth nor prediction has no Dice; a class that was
predicted where there is none has Dice 0.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import SettingsError
from slidemask.base.types import IGNORE, Labels

PerClass = NDArray[np.float64]
"""(C,) one value per class, background first; NaN where it is not defined."""

_CHUNK = 1 << 20
"""Pixels counted at a time: the 64-bit pairs of a chunk take 8 MB, whatever the image's size."""


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts of (truth, prediction) pairs; add them to pool slides.

    Parameters
    ----------
    counts : (C, C) int64
        Pixels whose truth is the row's class and whose prediction is the column's. With leading
        axes, (..., C, C), the figures of many (tiles, resamples) come at once, as (..., C).

    Examples
    --------
    >>> truth, predicted = np.array([[0, 1, 1, 255]]), np.array([[0, 1, 0, 1]])
    >>> c = Confusion.of(truth.astype(np.uint8), predicted.astype(np.uint8), 3)
    >>> c.dice.round(2).tolist(), c.total
    ([0.67, 0.67, nan], 3)
    """

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, truth: Labels, predicted: Labels, classes: int) -> "Confusion":
        """Count one image; pixels whose truth or prediction is IGNORE do not count.

        Parameters
        ----------
        truth, predicted : (H, W) uint8
            Class indices below `classes`; IGNORE where nothing is known, or could be read.
        classes : int
            Number of classes C, background included.

        Raises
        ------
        SettingsError
            If the shapes differ, or a pixel that counts holds an index that is no class.
        """
        if truth.shape != predicted.shape:
            raise SettingsError(
                f"truth is {truth.shape} and prediction {predicted.shape} (rows, columns); "
                "bring both to one resolution before they are compared"
            )
        known, guess = truth.ravel(), predicted.ravel()
        counts = np.zeros(classes * classes, np.int64)
        for start in range(0, known.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            counts += _pairs(known[part], guess[part], classes)
        return cls(counts.reshape(classes, classes))

    @classmethod
    def zero(cls, classes: int) -> "Confusion":
        """Return empty counts, from which sums start."""
        return cls(np.zeros((classes, classes), np.int64))

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(self.counts + other.counts)

    @property
    def total(self) -> int:
        """Pixels counted."""
        return int(self.counts.sum())

    @property
    def overall_accuracy(self) -> float:
        """Share of pixels whose class was found; NaN without pixels."""
        return float(np.trace(self.counts)) / self.total if self.total else float("nan")

    @property
    def dice(self) -> PerClass:
        """2 TP / (2 TP + FP + FN), the F1 of pixels."""
        tp, fp, fn, _ = self.one_vs_rest()
        return _ratio(2 * tp, 2 * tp + fp + fn)

    @property
    def iou(self) -> PerClass:
        """TP / (TP + FP + FN), the Jaccard index."""
        tp, fp, fn, _ = self.one_vs_rest()
        return _ratio(tp, tp + fp + fn)

    @property
    def precision(self) -> PerClass:
        """TP / (TP + FP); NaN where the class was never predicted."""
        tp, fp, _, _ = self.one_vs_rest()
        return _ratio(tp, tp + fp)

    @property
    def recall(self) -> PerClass:
        """TP / (TP + FN), sensitivity; NaN where the class is not in the truth."""
        tp, _, fn, _ = self.one_vs_rest()
        return _ratio(tp, tp + fn)

    @property
    def specificity(self) -> PerClass:
        """TN / (TN + FP); NaN where every pixel is of the class."""
        _, fp, _, tn = self.one_vs_rest()
        return _ratio(tn, tn + fp)

    @property
    def accuracy(self) -> PerClass:
        """(TP + TN) / all, each class against the rest."""
        tp, fp, fn, tn = self.one_vs_rest()
        return _ratio(tp + tn, tp + fp + fn + tn)

    @property
    def mcc(self) -> PerClass:
        """Matthews's coefficient, -1..1, each class against the rest; see `matthews`."""
        return matthews(*self.one_vs_rest())

    def one_vs_rest(self) -> tuple[PerClass, PerClass, PerClass, PerClass]:
        """Return (..., C) true positives, false positives, false negatives, true negatives.

        They are exact up to 2^53 (9 * 10^15) pixels.
        """
        hit = self.counts.diagonal(axis1=-2, axis2=-1)
        false = self.counts.sum(-2) - hit
        missed = self.counts.sum(-1) - hit
        rest = self.counts.sum((-2, -1))[..., None] - hit - false - missed
        tp, fp, fn, tn = (part.astype(np.float64) for part in (hit, false, missed, rest))
        return tp, fp, fn, tn


def _pairs(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Count flat (truth, prediction) pairs where both are known."""
    known = (truth != IGNORE) & (predicted != IGNORE)
    rows, columns = truth[known], predicted[known]
    for what, values in (("truth", rows), ("prediction", columns)):
        if values.size and values.max() >= classes:
            raise SettingsError(
                f"{what} holds class index {values.max()}, but there are {classes} classes "
                f"(0..{classes - 1}); check that model and class map list the same classes"
            )
    pairs = rows.astype(np.int64) * classes + columns
    return np.bincount(pairs, minlength=classes * classes).astype(np.int64, copy=False)


def matthews(tp: PerClass, fp: PerClass, fn: PerClass, tn: PerClass) -> PerClass:
    """Return Matthews's correlation coefficient; NaN where the truth is all one class.

    Where only the prediction is all one class it is 0, as of chance (and as scikit-learn has it):
    were that left out, a network that finds nothing on some slides would be the better for it.
    The counts are multiplied as floats: the four margins of a 10^11 px slide give 10^44, and int64
    ends at 10^19.
    """
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    values = _ratio(tp * tn - fp * fn, np.sqrt(margins))
    return np.where((margins == 0) & (tp + fn > 0) & (fp + tn > 0), 0.0, values)


def _ratio(part: PerClass, whole: PerClass) -> PerClass:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)
