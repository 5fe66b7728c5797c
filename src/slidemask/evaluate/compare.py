"""Two models on the same patients: whether one is better, or was lucky.

Both are scored on the same slides, so what makes a slide hard makes it hard for both, and the
difference varies far less than either figure. Drawing the same patients for both (a paired
bootstrap; Efron and Tibshirani, "An introduction to the bootstrap", 1993, chapter 16) keeps that.
Overlapping intervals of two figures say nothing about their difference; its own interval does.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from slidemask.base.errors import CohortError
from slidemask.evaluate.bootstrap import Values, bounds, draws
from slidemask.evaluate.evaluation import Evaluation
from slidemask.evaluate.figures import (
    ALL_TILES,
    BRIER_SCORE,
    CALIBRATION_ERROR,
    LABELS,
    TILES_WITH_OBJECT,
    written,
)
from slidemask.evaluate.levels import AMOUNTS
from slidemask.evaluate.measures import Measured

LOWER_IS_BETTER: Final = frozenset({"object hausdorff", CALIBRATION_ERROR, BRIER_SCORE})


@dataclass(frozen=True)
class Difference:
    """One figure of two models, and by how much the other differs from the one.

    Parameters
    ----------
    name, class_name, average, level, unit : str
        As in `Figure`.
    one, other : float
        The figure of each.
    value : float
        `other - one`.
    low, high : float
        Its 95 % interval by paired bootstrap over patients; NaN where there is none.
    better : float
        Share of resamples in which `other` is better (of distances and errors: lower); where both
        are equal neither is.
    p : float
        Two-sided: twice the share of resamples on the rarer side of zero, ties on both sides, but
        never below 2 / 2^patients: the few patients that all agree would do so by chance that
        often (sign test), which resampling them cannot see. With many figures some are small by
        chance, so settle on the figure before you look.
    patients : int
        Patients (or slides that stand in) that both figures are of.

    Examples
    --------
    >>> print(Difference("mcc", "gland", "pooled", "slide", "", one=0.70, other=0.75, value=0.05,
    ...       low=0.01, high=0.09, better=0.99, p=0.02, patients=30))
    MCC of gland: 0.700 to 0.750, difference +0.050 [+0.010, +0.090], p = 0.020 (slide, pooled,
    30 patients)
    """

    name: str
    class_name: str
    average: str
    level: str
    unit: str
    one: float
    other: float
    value: float
    low: float
    high: float
    better: float
    p: float
    patients: int

    def __str__(self) -> str:
        one, other = (written(value, self.name, self.unit) for value in (self.one, self.other))
        known = not math.isnan(self.low)
        interval = f" [{self._signed(self.low)}, {self._signed(self.high)}]" if known else ""
        unit = f" {self.unit}" if self.unit else ""
        p = f", p = {self.p:.3f}" if known else ""
        return (
            f"{LABELS.get(self.name, self.name)} of {self.class_name}: {one} to {other}, "
            f"difference {self._signed(self.value)}{interval}{unit}{p} "
            f"({self.level}, {self.average}, {self.patients} patients)"
        )

    def _signed(self, value: float) -> str:
        text = written(abs(value), self.name, self.unit)
        return text if math.isnan(value) else f"{'-' if value < 0 else '+'}{text}"


def compare(one: Evaluation, other: Evaluation, seed: int = 0) -> list[Difference]:
    """Compare two models that were scored on the same slides of the same patients.

    Figures that only one of them has are passed over, and so are numbers and areas, of which more
    is not better, and the tile levels where a slide was cut into another number of tiles: figures
    of tiles of two sizes are no comparison. So are means over other slides: precision of a model
    that finds nothing on the hard ones is a mean over the easy ones.

    Parameters
    ----------
    one, other : Evaluation
        Say, an older model and a newer one.
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of Difference
        By level, class, figure and average.

    Raises
    ------
    CohortError
        If classes, slides or patients differ.
    """
    _check(one, other)
    others = {_key(found): found for found in other.measured}
    apart = () if _tiles_of(one) == _tiles_of(other) else (TILES_WITH_OBJECT, ALL_TILES)
    pairs = [
        (found, others[_key(found)])
        for found in one.measured
        if _key(found) in others and found.name not in AMOUNTS and found.level not in apart
    ]
    weights = draws(len(one.patients), seed) if one.patients else np.zeros((1, 0))
    found = [each for pair in pairs for each in _differences(*pair, weights)]
    return sorted(found, key=lambda each: one.place_of(each.level, each.class_name))


def _differences(one: Measured, other: Measured, weights: Values) -> list[Difference]:
    """Compare one figure, class by class."""
    values = one.estimate.value, other.estimate.value
    drawn = other.estimate.resampled(weights) - one.estimate.resampled(weights)
    low, high = bounds(drawn)
    patients, alike = _patients(one, other), _alike(one, other)
    sign = -1 if one.name in LOWER_IS_BETTER else 1
    return [
        Difference(
            one.name, class_name, average, one.level, one.unit,
            one=float(values[0][at]), other=float(values[1][at]),
            value=float(values[1][at] - values[0][at]), patients=int(patients[at]),
            **_verdict(drawn[:, at], (low[at], high[at]), sign, patients=int(patients[at])),
        )
        for at, (class_name, average) in enumerate(one.labels)
        if alike[at]
    ]  # fmt: skip


def _patients(one: Measured, other: Measured) -> NDArray[np.intp]:
    """Return how many patients each value is of: pooled, all of whom something was counted."""
    if one.counted is not None:
        return (one.estimate.alone & other.estimate.alone).sum(0)
    parts = (each.estimate.parts for each in (one, other))
    some = [part.any(tuple(range(1, part.ndim))) for part in parts]
    return np.full(len(one.labels), np.count_nonzero(some[0] | some[1]))


def _alike(one: Measured, other: Measured) -> list[bool]:
    """Say of each value whether it is a mean over the same units, or no mean."""
    if one.counted is None or other.counted is None:
        return [True] * len(one.labels)
    if one.counted.shape != other.counted.shape:
        return [False] * len(one.labels)
    same = (one.counted == other.counted).all(0)
    return [*same.tolist(), *([bool(same.all())] if len(one.labels) > len(same) else [])]


def _verdict(
    drawn: Values, interval: tuple[float, float], sign: int, *, patients: int
) -> dict[str, float]:
    """Return interval, share of resamples in which the other is better, and p."""
    defined = drawn[~np.isnan(drawn)]
    if patients < 2 or not defined.size:
        return dict.fromkeys(("low", "high", "better", "p"), math.nan)
    rarer = min((defined <= 0).sum(), (defined >= 0).sum())
    least = 2 * 0.5**patients  # of a sign test when all patients agree
    return {
        "low": float(interval[0]),
        "high": float(interval[1]),
        "better": float((sign * defined > 0).mean()),
        "p": float(min(1.0, max(least, 2 * (rarer + 1) / (defined.size + 1)))),
    }


def _key(found: Measured) -> tuple[str, ...]:
    return found.name, found.average, found.level, found.unit, *found.classes


def _tiles_of(evaluation: Evaluation) -> dict[str, int | None]:
    """Return how many tiles each slide was cut into."""
    return {s.slide: None if s.tiles is None else len(s.tiles) for s in evaluation.slides}


def _check(one: Evaluation, other: Evaluation) -> None:
    if one.names != other.names:
        raise CohortError(
            f"the classes are {list(one.names)} and {list(other.names)}; only scores of the same "
            "classes can be compared"
        )
    ours, theirs = ({s.slide: s.patient for s in each.slides} for each in (one, other))
    alone = sorted(set(ours) ^ set(theirs))
    if alone:
        raise CohortError(
            f"{len(alone)} slides were scored in one of the two only ({', '.join(alone[:5])}); "
            "score both on the same part of the cohort"
        )
    moved = sorted(slide for slide, patient in ours.items() if theirs[slide] != patient)
    if moved:
        raise CohortError(
            f"slides {moved[:5]} belong to other patients in the second scores; score both with "
            "the same cohort.csv"
        )
