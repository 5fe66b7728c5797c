"""Which cell of a sweep, at which threshold: a rule that is stated, not a look at the table."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from slidemask.evaluate.confusion import Confusion
from slidemask.evaluate.figures import LABELS
from slidemask.recipes.study.cells import Cell
from slidemask.recipes.study.sweep import Tried

METRICS: Final = ("dice", "iou", "mcc", "precision", "recall")
Metric = Literal["dice", "iou", "mcc"]
THRESHOLDS: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Rule:
    """How a cell is chosen, on the validation slides.

    The highest mean over repeats is looked for. Every cell whose mean lies at most one standard
    error below it is as good (the rule of one standard error; Breiman et al., "Classification and
    regression trees", 1984, section 3.4.3), and the cheapest of them is taken: the one with the
    fewest seconds a slide, then the fewest seconds of training.

    Parameters
    ----------
    metric : {"dice", "iou", "mcc"}
        From the pooled counts of the part's slides, mean over foreground classes.
    minimum : float, optional
        Models below it are not kept.
    thresholds : tuple of float
    """

    metric: Metric = "iou"
    minimum: float | None = None
    thresholds: tuple[float, ...] = THRESHOLDS


@dataclass(frozen=True, eq=False)
class CellTable:
    """A metric of every repeat of a cell at every threshold.

    Parameters
    ----------
    cell : Cell
    trials : tuple of Tried
        The repeats that are done.
    values : (R, T) float64
        NaN where it is not defined.
    """

    cell: Cell
    trials: tuple[Tried, ...]
    values: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """(T,) over repeats, those left out where it is not defined."""
        return _over(self.values, np.mean, 1)

    @property
    def std(self) -> NDArray[np.float64]:
        """(T,) of the sample, with R - 1; NaN for one repeat."""
        return _over(self.values, lambda column: np.std(column, ddof=1), 2)

    @property
    def highest(self) -> NDArray[np.float64]:
        """(T,) the best repeat's."""
        return _over(self.values, np.max, 1)

    @property
    def best(self) -> int | None:
        """Index of the threshold of the highest mean; None where no mean is defined."""
        return None if np.isnan(self.mean).all() else int(np.nanargmax(self.mean))

    @property
    def seconds_per_slide(self) -> float:
        """Mean over repeats, on the validation slides."""
        return float(np.mean([one.parts["validation"].seconds_per_slide for one in self.trials]))

    @property
    def training_seconds(self) -> float:
        """Mean over repeats; NaN where none is known."""
        known = [one.training.seconds for one in self.trials if one.training.seconds is not None]
        return float(np.mean(known)) if known else float("nan")

    @property
    def peak_memory_mb(self) -> tuple[float, float]:
        """Of training and of segmenting: the most of all repeats."""
        return (
            max(one.training.peak_memory_mb for one in self.trials),
            max(one.parts["validation"].peak_memory_mb for one in self.trials),
        )


@dataclass(frozen=True, eq=False)
class Choice:
    """What the rule chose.

    Parameters
    ----------
    cell : Cell
    threshold : float
    mean, std : float
        Of the metric on the validation slides, over repeats.
    tied : tuple of str
        Labels of cells within one standard error of the best.
    kept : tuple of Tried
        Repeats that reach the minimum, best first.
    test : (R,) float64 or None
        The metric of the chosen cell's repeats on the test slides.
    reason : str
    """

    cell: Cell
    threshold: float
    mean: float
    std: float
    tied: tuple[str, ...]
    kept: tuple[Tried, ...]
    test: NDArray[np.float64] | None
    reason: str


def scores_of(tried: Tried, part: str, metric: str, thresholds: Sequence[float]) -> list[float]:
    """Return a metric at each threshold, pooled over a part's slides, mean over classes."""
    pooled = tried.parts[part].pooled
    return [mean_of_classes(pooled.confusion_at(threshold), metric) for threshold in thresholds]


def mean_of_classes(confusion: Confusion, metric: str) -> float:
    """Mean over the foreground classes in which the metric is defined."""
    values = getattr(confusion, metric)[1:]
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else float("nan")


def tables_of(done: Sequence[Tried], rule: Rule, part: str = "validation") -> list[CellTable]:
    """Gather the repeats of each cell, in the order of the cells."""
    by_cell: dict[Cell, list[Tried]] = {}
    for tried in done:
        if part in tried.parts:
            by_cell.setdefault(tried.trial.cell, []).append(tried)
    return [
        CellTable(
            cell,
            tuple(some),
            np.array([scores_of(one, part, rule.metric, rule.thresholds) for one in some]),
        )
        for cell, some in by_cell.items()
    ]


def choose(done: Sequence[Tried], rule: Rule) -> Choice | None:
    """Apply the rule; None where the metric is defined nowhere."""
    tables = [table for table in tables_of(done, rule) if table.best is not None]
    if not tables:
        return None
    best = max(tables, key=_top)
    noise = _standard_error(best)
    tied = [table for table in tables if _top(table) >= _top(best) - noise]
    chosen = min(tied, key=_cost)
    at = int(np.nanargmax(chosen.mean))
    test = {table.cell: table.values[:, at] for table in tables_of(done, rule, "test")}
    return Choice(
        chosen.cell,
        rule.thresholds[at],
        float(chosen.mean[at]),
        float(chosen.std[at]),
        tuple(table.cell.label for table in tied),
        _kept(chosen, at, rule.minimum),
        test.get(chosen.cell),
        _reason(best, chosen, noise, rule),
    )


def _top(table: CellTable) -> float:
    return float(np.nanmax(table.mean))


def _cost(table: CellTable) -> tuple[float, float]:
    return table.seconds_per_slide, table.training_seconds


def _standard_error(table: CellTable) -> float:
    """Return the standard error of the mean at the best threshold; 0 for one repeat."""
    column = table.values[:, table.best]
    defined = column[~np.isnan(column)]
    return float(np.std(defined, ddof=1) / len(defined) ** 0.5) if len(defined) > 1 else 0.0


def _kept(table: CellTable, at: int, minimum: float | None) -> tuple[Tried, ...]:
    pairs = [
        (value, trial)
        for value, trial in zip(table.values[:, at].tolist(), table.trials, strict=True)
        if not math.isnan(value) and (minimum is None or value >= minimum)
    ]
    return tuple(trial for _, trial in sorted(pairs, key=lambda pair: -pair[0]))


def _reason(best: CellTable, chosen: CellTable, noise: float, rule: Rule) -> str:
    text = f"{best.cell.label} has the highest mean {LABELS[rule.metric]} on the validation slides "
    text += f"({_top(best):.3f} at threshold {rule.thresholds[best.best or 0]:g})."
    if not noise:
        return f"{text} With one repeat there is no standard error; the highest figure decides."
    if chosen is best:
        return f"{text} No cheaper cell lies within one standard error of it ({noise:.3f})."
    return (
        f"{text} {chosen.cell.label} ({_top(chosen):.3f}) lies within one standard error "
        f"({noise:.3f}) and takes {chosen.seconds_per_slide:.3g} s a slide instead of "
        f"{best.seconds_per_slide:.3g} s."
    )


def _over(
    values: NDArray[np.float64], figure: Callable[[NDArray[np.float64]], Any], least: int
) -> NDArray[np.float64]:
    """Apply `figure` to what is defined of each column; NaN below `least` values."""
    columns = [column[~np.isnan(column)] for column in values.T]
    return np.array([figure(column) if len(column) >= least else np.nan for column in columns])
