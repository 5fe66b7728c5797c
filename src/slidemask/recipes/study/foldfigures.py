"""The figures of a study of folds: each fold's, their mean and spread."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from slidemask.evaluate.anyclass import ANY_CLASS, any_class
from slidemask.evaluate.evaluation import Evaluation, none_if_nan
from slidemask.evaluate.figures import MEAN_OF_SLIDES, POOLED, SLIDE
from slidemask.recipes.study.crossfold import PARTS, POOLED_MODELS, FoldDone
from slidemask.recipes.study.scores import figure_of

FIGURES: Final = ("iou", "precision", "recall")
LABEL: Final = "slide label accuracy"
COLUMNS: Final = (*FIGURES, LABEL)
"""In the order of the rails paper's table (Frank, rs-122564/v3, 2022)."""
AVERAGES: Final = (POOLED, MEAN_OF_SLIDES)
MEAN, SPREAD = "mean", "standard deviation"


@dataclass(frozen=True)
class Line:
    """One row of a table: a fold, all models together, or the mean or spread of the folds.

    Parameters
    ----------
    label : str
    values : dict
        By part, by name of `COLUMNS`; NaN where not defined.
    """

    label: str
    values: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Table:
    """The figures of all folds in one way of counting.

    Parameters
    ----------
    scope : str
        Of the one foreground class, of "any class", or the mean of several classes.
    average : str
        Over what pixels are counted.
    lines : tuple of Line
        Folds, their mean and standard deviation, all models together.
    """

    scope: str
    average: str
    lines: tuple[Line, ...]


def tables_of(done: Sequence[FoldDone]) -> list[Table]:
    """Return a table for each scope and average; none before a fold is done."""
    evaluations = [part.evaluation for one in done for part in one.parts.values()]
    if not evaluations:
        return []
    return [
        _table(done, scope, average)
        for scope in scopes_of(evaluations[0].names)
        for average in AVERAGES
    ]


def lines_of(done: Sequence[FoldDone]) -> Iterator[dict[str, Any]]:
    """Yield the lines of study.csv: one for each way of counting, row and part."""
    by_label = {one.label: one for one in done}
    for table in tables_of(done):
        for line in table.lines:
            for part, values in line.values.items():
                yield {
                    "row": line.label,
                    "part": part,
                    "of": table.scope,
                    "average": table.average,
                    **{name: none_if_nan(value) for name, value in values.items()},
                    **_facts(by_label.get(line.label), part),
                }


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (with n - 1) of what is defined; NaN without enough.

    >>> mean_and_spread([1.0, 3.0, float("nan")])
    (2.0, 1.4142135623730951)
    """
    known = [value for value in values if not math.isnan(value)]
    mean = float(np.mean(known)) if known else math.nan
    return mean, float(np.std(known, ddof=1)) if len(known) > 1 else math.nan


def scopes_of(names: tuple[str, ...]) -> list[str]:
    """Return what figures are of: the one class; of several any of them, and their mean.

    >>> scopes_of(("background", "a")), scopes_of(("background", "a", "b"))
    (['a'], ['any class', 'mean of classes'])
    """
    return [names[1]] if len(names) == 2 else [ANY_CLASS, "mean of classes"]


def in_scope(evaluation: Evaluation, scope: str) -> Evaluation:
    """Return the counts that a scope's figures are of."""
    return any_class(evaluation) if scope == ANY_CLASS else evaluation


def figures_of(counted: Evaluation, average: str) -> dict[str, float]:
    """Return the slide level's `FIGURES`, NaN where not defined."""
    found = {name: figure_of(counted, name, SLIDE, average) for name in FIGURES}
    return {name: figure.value if figure else math.nan for name, figure in found.items()}


def _table(done: Sequence[FoldDone], scope: str, average: str) -> Table:
    lines = [
        Line(
            one.label,
            {
                part: {
                    **figures_of(in_scope(found.evaluation, scope), average),
                    LABEL: found.labels.accuracy,
                }
                for part, found in one.parts.items()
            },
        )
        for one in done
    ]
    folds = [line for line in lines if line.label != POOLED_MODELS]
    pooled = [line for line in lines if line.label == POOLED_MODELS]
    return Table(scope, average, (*folds, *_summarised(folds), *pooled))


def _summarised(folds: Sequence[Line]) -> tuple[Line, Line]:
    parts = [part for part in PARTS if any(part in line.values for line in folds)]
    both: dict[str, dict[str, tuple[float, float]]] = {
        part: {
            name: mean_and_spread(
                [line.values[part][name] for line in folds if part in line.values]
            )
            for name in COLUMNS
        }
        for part in parts
    }
    mean, spread = (
        {part: {name: pair[at] for name, pair in both[part].items()} for part in parts}
        for at in (0, 1)
    )
    return Line(MEAN, mean), Line(SPREAD, spread)


def _facts(one: FoldDone | None, part: str) -> dict[str, Any]:
    """Return what else is known of a fold; nothing of mean and spread."""
    if one is None:
        return {}
    found, training = one.parts[part], one.training
    return {
        "slides": len(found.evaluation.slides),
        "slides labelled right": found.labels.right,
        "slides labelled wrong": found.labels.wrong,
        "slides left empty": found.labels.empty,
        "seconds_per_slide": found.segmenting.seconds_per_slide,
        "training_seconds": training and training.seconds,
        "best_epoch": training and training.best_epoch,
        "parameters": training and training.parameters,
    }
