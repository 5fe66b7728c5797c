"""The few figures that come first, on the screen and in the report."""

import math
from collections.abc import Iterable
from typing import Final, TypeVar

from slidemask.evaluate.compare import Difference
from slidemask.evaluate.figures import (
    AVERAGE_PRECISION,
    MEAN_OF_PATIENTS,
    MEAN_OF_SLIDES,
    OBJECT,
    POOLED,
    SLIDE,
    TILES_WITH_OBJECT,
    Figure,
)

HEADLINE: Final = (
    ("dice", SLIDE, POOLED),
    ("dice", SLIDE, MEAN_OF_SLIDES),
    ("dice", SLIDE, MEAN_OF_PATIENTS),
    ("iou", SLIDE, POOLED),
    ("mcc", SLIDE, POOLED),
    ("precision", SLIDE, POOLED),
    ("recall", SLIDE, POOLED),
    (AVERAGE_PRECISION, SLIDE, POOLED),
    ("dice", TILES_WITH_OBJECT, POOLED),
    ("object f1", OBJECT, POOLED),
    ("pq", OBJECT, POOLED),
    ("object hausdorff", OBJECT, POOLED),
)
"""Name, level, average. The tile level stands there to be seen beside the slides', not to be quoted
alone: tiles chosen because they hold the object hide what was found elsewhere."""

Shown = TypeVar("Shown", Figure, Difference)


def headline(figures: Iterable[Shown]) -> list[Shown]:
    """Choose the figures, or differences of figures, to show first, class by class.

    Where every slide is a patient of its own, the mean of patients is the mean of slides and is
    left out; so is what was not counted.
    """
    chosen = [f for f in figures if (f.name, f.level, f.average) in HEADLINE]
    by_key = {(f.class_name, f.name, f.level, f.average): f for f in chosen}
    classes = dict.fromkeys(figure.class_name for figure in chosen)
    ordered = [by_key[name, *key] for name in classes for key in HEADLINE if (name, *key) in by_key]
    slides = {(f.class_name, f.name): f for f in ordered if f.average == MEAN_OF_SLIDES}
    return [
        figure
        for figure in ordered
        if figure.average != MEAN_OF_PATIENTS
        or _differs(figure.value, slides.get((figure.class_name, figure.name)))
    ]


def _differs(value: float, other: Figure | Difference | None) -> bool:
    if other is None or math.isnan(value):
        return other is None or not math.isnan(other.value)
    return not math.isclose(value, other.value, rel_tol=1e-9)
