"""The figures that a study compares, out of an evaluation."""

import math
from collections.abc import Sequence
from typing import Final

from slidemask.evaluate.compare import compare
from slidemask.evaluate.evaluation import Evaluation
from slidemask.evaluate.figures import (
    ALL_FOREGROUND,
    MEAN_OF_CLASSES,
    POOLED,
    SLIDE,
    TILES_WITH_OBJECT,
    Figure,
)
from slidemask.recipes.study.row import Measured
from slidemask.recipes.study.verdict import Contender, Gap

LEVELS: Final = (TILES_WITH_OBJECT, SLIDE)
COLUMNS: Final = {
    "mcc": ("mcc", "accuracy", "dice", "iou", "recall", "specificity", "precision"),
    "iou": ("iou", "precision", "recall", "accuracy", "dice", "specificity", "mcc"),
}
"""By the figure that decides, which comes first; the others as in the magnification paper's table
(McCombe et al., IMVIP 2022) and the rails paper's (Frank, rs-122564/v3, 2022)."""
FEWEST: Final = 6
"""Patients from which on a sign test in which all agree has p < .05."""


def figure_of(evaluation: Evaluation, name: str, level: str, average: str) -> Figure | None:
    """Return a figure of the one foreground class, or its mean over several; None without it."""
    return pick(evaluation.figures, name, level, average, classes=evaluation.names)


def pick(
    figures: Sequence[Figure], name: str, level: str, average: str, *, classes: tuple[str, ...]
) -> Figure | None:
    """Find a figure among others; with several foreground classes it is their mean."""
    class_name, wanted = _named(average, classes)
    for figure in figures:
        key = (figure.name, figure.level, figure.average, figure.class_name)
        if key == (name, level, wanted, class_name):
            return figure
    return None


def value_of(figures: Sequence[Figure], name: str, level: str, classes: tuple[str, ...]) -> float:
    """Return a pooled figure's value, NaN where it was not counted."""
    found = pick(figures, name, level, POOLED, classes=classes)
    return found.value if found else math.nan


def contender(measured: Measured, decides: str) -> Contender:
    """Return what the verdict needs of a row; `decides` names the figure."""
    figures, names = measured.evaluation.figures, measured.evaluation.names
    return Contender(
        measured.row.label,
        value_of(figures, decides, SLIDE, names),
        value_of(figures, decides, TILES_WITH_OBJECT, names),
        measured.segmenting.seconds_per_slide,
    )


def lead(best: Evaluation, other: Evaluation, decides: str) -> Gap:
    """Return by how much `best` leads `other` in a slide-level pooled figure, by patient.

    Below `FEWEST` patients there is no interval: even if all agree, chance does that too often.
    """
    class_name, average = _named(POOLED, best.names)
    for difference in compare(other, best):
        key = (difference.name, difference.level, difference.average, difference.class_name)
        if key == (decides, SLIDE, average, class_name):
            if difference.patients < FEWEST:
                return Gap(difference.value, math.nan, math.nan)
            return Gap(difference.value, difference.low, difference.high)
    return Gap(math.nan, math.nan, math.nan)


def _named(average: str, classes: tuple[str, ...]) -> tuple[str, str]:
    """Return class and average as figures name them."""
    if len(classes) == 2:
        return classes[1], average
    return ALL_FOREGROUND, f"{MEAN_OF_CLASSES} ({average})"
