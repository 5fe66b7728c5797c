"""Every figure of every level, as sums over patients that can be resampled.

A level is a pile of units (slides, tiles) that belong to patients. Each unit holds counts, and a
measure turns counts into one value per class, whether they are a unit's, a patient's or the whole
cohort's: the averages differ only in what is added up before, and what after, the measure.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from slidemask.evaluate.bootstrap import Estimate, Values
from slidemask.evaluate.figures import (
    ALL_FOREGROUND,
    MEAN_OF_CLASSES,
    MEAN_OF_PATIENTS,
    POOLED,
    TOTAL,
    Figure,
)

Measure = Callable[[Values], Values]
"""Counts (..., S) to a value per class (..., K); NaN where it is not defined."""


@dataclass(frozen=True, eq=False)
class Pile:
    """Units of one kind, and whose they are.

    Parameters
    ----------
    mean : str
        What an average over them is called: `MEAN_OF_SLIDES`, `MEAN_OF_TILES`.
    counts : (U, S) float64
        What was counted in each unit.
    present : (U, K) bool
        Whether the unit belongs there, by class: a tile without the object does not belong to the
        tiles with it. Where it is false the class's counts are zero.
    owner : (U,) int
        Each unit's patient, 0..P-1.
    """

    mean: str
    counts: Values
    present: NDArray[np.bool_]
    owner: NDArray[np.intp]

    def by_owner(self, owners: int) -> "Pile":
        """Add up what belongs to one patient: P units, each its own."""
        counts = add_by_owner(self.counts, self.owner, owners)
        present = add_by_owner(self.present.astype(np.float64), self.owner, owners) > 0
        return Pile(MEAN_OF_PATIENTS, counts, present, np.arange(owners))


@dataclass(frozen=True, eq=False)
class Level:
    """What was counted, and the figures that follow from it.

    Parameters
    ----------
    name : str
        As in `Figure.level`.
    classes : tuple of str
        The K classes that the measures give values of.
    pile : Pile
    measures : mapping of figure name to Measure
    amounts : collection of figure names
        Of numbers and areas, which are added up, where others are pooled.
    units : mapping of figure name to str
        "µm", "mm²"; what is not there is a share or a number.
    """

    name: str
    classes: tuple[str, ...]
    pile: Pile
    measures: Mapping[str, Measure]
    amounts: frozenset[str] = frozenset()
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Measured:
    """One figure under one average: of each class and, where there are several, their mean.

    Parameters
    ----------
    name, average, level, unit : str
        As in `Figure`.
    classes : tuple of str
        K classes.
    estimate : Estimate
        Gives (K,), or (K + 1,) with the mean of the classes last.
    n, skipped : (K,) int
        Units (patients) counted and left out, by class.
    counted : (U, K) bool, optional
        Of a mean: which units it is over, by class.
    """

    name: str
    average: str
    level: str
    unit: str
    classes: tuple[str, ...]
    estimate: Estimate
    n: NDArray[np.intp]
    skipped: NDArray[np.intp]
    counted: NDArray[np.bool_] | None = None

    @property
    def labels(self) -> list[tuple[str, str]]:
        """(class, average) of each value of the estimate."""
        own = [(name, self.average) for name in self.classes]
        if len(own) < 2 or self.average == TOTAL:
            return own
        return [*own, (ALL_FOREGROUND, f"{MEAN_OF_CLASSES} ({self.average})")]

    def figures(self, seed: int = 0) -> list[Figure]:
        """Return the values with their intervals."""
        values = self.estimate.value
        nothing = np.full(values.shape, np.nan)
        low, high = (nothing, nothing) if self.average == TOTAL else self.estimate.interval(seed)
        defined = ~np.isnan(values[: len(self.classes)])
        n = [*self.n, defined.sum()]
        skipped = [*self.skipped, (~defined).sum()]
        return [
            Figure(
                self.name, class_name, float(values[place]), average, int(n[place]),
                int(skipped[place]), self.level, float(low[place]), float(high[place]), self.unit,
            )
            for place, (class_name, average) in enumerate(self.labels)
        ]  # fmt: skip


def measured(level: Level, patients: int, *, named: bool) -> Iterator[Measured]:
    """Yield each figure of a level under each average.

    Parameters
    ----------
    level : Level
    patients : int
        P, of whom some may have nothing in this level.
    named : bool
        Whether the patients are known; if not, slides stand in for them, and there is no mean of
        patients.
    """
    theirs = level.pile.by_owner(patients)
    piles = (level.pile, theirs) if named else (level.pile,)
    for name in level.measures:
        yield _joint(level, name, theirs.counts)
        for pile in piles:
            yield _mean_over(pile, level, name, patients)


def ratio(part: Values, whole: Values) -> Values:
    """Divide; NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full(np.shape(part), np.nan), where=whole > 0)


def add_by_owner(values: Values, owner: NDArray[np.intp], owners: int) -> Values:
    """Add (U, S) up to (P, S)."""
    sums = np.zeros((owners, *values.shape[1:]))
    np.add.at(sums, owner, values)
    return sums


def _joint(level: Level, name: str, sums: Values) -> Measured:
    """Take the figure of everything added up."""
    measure, n = level.measures[name], level.pile.present.sum(0)
    amount = name in level.amounts
    estimate = Estimate(sums, measure) if amount else _estimate(sums, measure)
    unit, average = level.units.get(name, ""), TOTAL if amount else POOLED
    return Measured(name, average, level.name, unit, level.classes, estimate, n, np.zeros_like(n))


def _mean_over(pile: Pile, level: Level, name: str, patients: int) -> Measured:
    """Take the figure of each unit, then the mean of those where it is defined."""
    values = np.where(pile.present, level.measures[name](pile.counts), np.nan)
    defined = ~np.isnan(values)
    both = np.stack([np.where(defined, values, 0.0), defined], axis=1)
    estimate = _estimate(add_by_owner(both, pile.owner, patients), _mean)
    n, skipped = defined.sum(0), (pile.present & ~defined).sum(0)
    unit = level.units.get(name, "")
    return Measured(name, pile.mean, level.name, unit, level.classes, estimate, n, skipped, defined)


def _mean(sums: Values) -> Values:
    """Divide (..., 2, K) sums of values by their numbers."""
    return ratio(sums[..., 0, :], sums[..., 1, :])


def _estimate(sums: Values, measure: Measure) -> Estimate:
    """Estimate a measure and, where there are several classes, their mean.

    A resample without the patients who hold a rare class has a mean over fewer classes, which is
    another figure; such resamples have none.
    """
    needed = ~np.isnan(measure(sums.sum(0)))
    return Estimate(sums, _with_mean(measure), _with_mean(measure, needed))


def _with_mean(measure: Measure, needed: NDArray[np.bool_] | None = None) -> Measure:
    """Add the mean of the classes where there are several; NaN where a needed one lacks."""

    def both(sums: Values) -> Values:
        values = measure(sums)
        if values.shape[-1] < 2:
            return values
        defined = ~np.isnan(values)
        mean = ratio(np.where(defined, values, 0.0).sum(-1), defined.sum(-1).astype(np.float64))
        if needed is not None:
            mean = np.where((needed & ~defined).any(-1), np.nan, mean)
        return np.concatenate([values, mean[..., None]], -1)

    return both
